//! What a publish promises.

use std::collections::BTreeSet;

use refersion_relay_model::Class;
use refersion_relay_queue::{Queue, Room};

use refersion_relay_queue_testkit::events::{account, bodies, body, crowd, numbers, other_work, work};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::rabbitmq::Relay;
use refersion_relay_queue_testkit::waiting::take;

#[tokio::test]
async fn exactly_what_no_queue_takes_is_in_the_lost_property() {
    let relay = Relay::start().await;
    relay.admin.unbind(&relay.work_queue("other"), &relay.name("events"), "other").await;
    let place = |number: usize| if number.is_multiple_of(2) { work() } else { other_work() };
    let batch = crowd(0..500).into_iter().enumerate().map(|(number, message)| (place(number), message)).collect();

    let results = relay.queue.publish(batch).await;

    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let routed: BTreeSet<_> = numbers((0..500).step_by(2)).into_iter().collect();
    let unrouted: BTreeSet<_> = numbers((1..500).step_by(2)).into_iter().collect();
    let (total, letters) = relay.browse(Class::Unrouted, EVERYTHING).await;
    assert_eq!((total, letters.len()), (250, 250));
    assert_eq!(letters.iter().map(|letter| body(&letter.message)).collect::<BTreeSet<_>>(), unrouted);
    let headers = &letters[0].message.headers;
    assert_eq!(headers.account, Some(account("acme")));
    assert_eq!(
        headers.death.as_ref().map(|death| (death.class, death.reason.as_str())),
        Some((Class::Unrouted, "no_queue"))
    );
    assert_eq!(relay.depth(&work()).await, 250);
    let mut owned = relay.queue.own(work(), Room { events: 250 }).await.unwrap();
    assert_eq!(bodies(&take(&mut owned, 250).await).into_iter().collect::<BTreeSet<_>>(), routed);
    owned.release().await;
    relay.clean().await;
}
