use refersion_relay_model::Class;
use refersion_relay_queue::{Queue, Room};

use super::node;
use refersion_relay_queue_testkit::events::{account, body, event, work};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::rabbitmq::Relay;
use refersion_relay_queue_testkit::waiting::{eventually, take_one};

/// The limit is out of a test's reach, but a policy with a lower one is in force instead.
#[tokio::test]
async fn what_a_work_queue_delivers_too_often_and_is_never_settled_is_poison_with_its_headers() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    let pattern = format!("^{}$", relay.work_queue("acme").replace('.', r"\."));
    node.ctl(&["set_policy", "low", &pattern, r#"{"delivery-limit":3}"#, "--apply-to", "queues"]).await.unwrap();
    relay.store(&work(), ["0", "1"].map(|body| event("one", body))).await;
    for _ in 0..=3 {
        let mut owned = relay.queue.own(work(), Room { events: 1 }).await.unwrap();
        assert_eq!(body(&take_one(&mut owned).await.message), "0");
        owned.release().await;
    }

    let letter = eventually("the letter", async || {
        let (_, letters) = relay.browse(Class::Poison, EVERYTHING).await;
        letters.into_iter().next()
    })
    .await;

    assert_eq!(body(&letter.message), "0");
    let headers = letter.message.headers;
    assert_eq!((headers.message_id.as_str(), headers.attempts, headers.account), ("0", 0, Some(account("acme"))));
    let death = headers.death.unwrap();
    assert_eq!((death.class, death.reason.as_str()), (Class::Poison, "delivery_limit"));
    let mut owned = relay.own(&work()).await;
    assert_eq!(body(&take_one(&mut owned).await.message), "1");
    owned.release().await;
}
