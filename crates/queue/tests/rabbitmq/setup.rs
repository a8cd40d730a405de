//! What has to exist on the broker, and what is said when something else does.

use refersion_relay_model::Class;
use refersion_relay_queue::{BrokerState, Place, PublishError, Queue, QueueError};

use refersion_relay_queue_testkit::events::{account, event, events, other_work, work};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker, without_upkeep};

#[tokio::test]
async fn a_queue_that_differs_is_named_and_heals_when_it_is_gone() {
    let url = shared_broker();
    let settings = without_upkeep(settings(&url));
    let queue = format!("{}.events.other", settings.prefix);
    let before = Relay::begin(&url, settings.clone()).await;
    before.until_up().await;
    before.admin.delete_queue(&queue).await;
    before.admin.declare_classic_queue(&queue).await;
    drop(before);

    let relay = Relay::begin(&url, settings).await;

    let state = relay.until("a mismatch", |state| matches!(state, BrokerState::Mismatch { .. })).await.to_string();
    assert!(state.contains(&queue), "{state}");
    assert!(state.contains("x-queue-type") || state.contains("x-dead-letter"), "{state}");
    let refused = relay.queue.publish(vec![(work(), events(0..1).remove(0))]).await;
    assert!(matches!(&refused[..], [Err(PublishError::Refused(why))] if why.contains(&queue)), "{refused:?}");
    let report = relay.queue.check().await.unwrap();
    assert_eq!(report.differences.len(), 1, "{:?}", report.differences);
    assert!(report.differences[0].contains(&queue) && report.differences[0].contains("delete"), "{report:?}");

    relay.admin.delete_queue(&queue).await;

    relay.until_up().await;
    relay.store(&other_work(), events(0..1)).await;
    assert_eq!(relay.depth(&other_work()).await, 1);
    let healed = relay.queue.check().await.unwrap();
    assert_eq!((healed.differences.len(), healed.in_order), (0, report.in_order + 1));
    relay.clean().await;
}

#[tokio::test]
async fn a_check_names_everything_that_differs_at_once() {
    let url = shared_broker();
    let relay = Relay::start_with(&url, without_upkeep(settings(&url))).await;
    let everything = relay.queue.check().await.unwrap().in_order;
    let names = [relay.work_queue("acme"), relay.name("dead.invalid"), relay.name("retry.1s")];
    for name in &names {
        relay.admin.delete_queue(name).await;
        relay.admin.declare_classic_queue(name).await;
    }

    let report = relay.queue.check().await.unwrap();

    assert_eq!(report.in_order, everything - 3);
    for name in &names {
        let mentions = report.differences.iter().filter(|difference| difference.contains(name)).count();
        assert_eq!(mentions, 1, "{name}: {:?}", report.differences);
    }
    relay.clean().await;
}

#[tokio::test]
async fn accounts_are_admitted_only_once_they_have_their_places() {
    let relay = Relay::start().await;
    let (accounts, queue) = ([account("acme"), account("other"), account("new")], relay.work_queue("new"));
    relay.admin.declare_classic_queue(&queue).await;

    for _ in 0..2 {
        let refused = relay.queue.admit(&accounts).await;
        assert!(matches!(&refused, Err(QueueError::Mismatch(why)) if why.contains(&queue)), "{refused:?}");
    }
    assert_eq!(relay.queue.check().await.unwrap().differences, [""; 0], "the new account does not count");
    relay.admin.delete_queue(&queue).await;
    relay.queue.admit(&accounts).await.unwrap();

    relay.store(&Place::Work(account("new")), events(0..1)).await;
    relay.admin.delete_queue(&queue).await;
    relay.clean().await;
}

#[tokio::test]
async fn every_place_works_as_soon_as_the_relay_is_up() {
    let relay = Relay::start().await;
    let places = Class::ALL.into_iter().map(Place::Dead).chain([work(), other_work()]);
    for place in places {
        relay.store(&place, [event("one", "0")]).await;
        assert_eq!(relay.depth(&place).await, 1, "{place:?}");
    }
    relay.clean().await;
}
