//! The intake gives up on what kills whoever reads it.

use lapin::BasicProperties;
use refersion_relay_model::Class;
use refersion_relay_queue::Place;

use refersion_relay_queue_testkit::events::body;
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::rabbitmq::Relay;
use refersion_relay_queue_testkit::waiting::{eventually, nothing_comes, take_one};

#[tokio::test]
async fn what_the_intake_delivers_a_hundred_times_and_is_never_settled_is_poison() {
    let relay = Relay::start().await;
    relay.admin.publish(&relay.name("intake.acme"), "", b"deadly", BasicProperties::default()).await;
    for _ in 0..=100 {
        let mut owned = relay.own(&Place::Intake).await;
        take_one(&mut owned).await;
        owned.release().await;
    }

    let letter = eventually("the letter", async || {
        let (_, letters) = relay.browse(Class::Poison, EVERYTHING).await;
        letters.into_iter().next()
    })
    .await;

    assert_eq!(body(&letter.message), "deadly");
    let death = letter.message.headers.death.unwrap();
    assert_eq!((death.class, death.reason.as_str()), (Class::Poison, "delivery_limit"));
    let mut owned = relay.own(&Place::Intake).await;
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}
