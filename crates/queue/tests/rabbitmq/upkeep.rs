//! What somebody deletes while the relay runs is there again within seconds.

use std::time::Duration;

use refersion_relay_model::Class;
use refersion_relay_queue::{Place, Queue, Settle};
use refersion_relay_telemetry::Connection;
use tokio::time::Instant;

use refersion_relay_queue_testkit::events::{
    DELIVERED, account, bodies, body, dead, event, events, later, numbers, other_work, work,
};
use refersion_relay_queue_testkit::instance::{EVERYTHING, ROOM};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::waiting::{eventually, take};

const REJECTED: Place = Place::Dead(Class::Rejected);

async fn until_declared_again(relay: &Relay, count: u64) {
    let deleted = Instant::now();
    eventually(&format!("{count} declared again"), async || (declared_again(relay) == count).then_some(())).await;
    println!("there again after {:?}", deleted.elapsed());
}

fn declared_again(relay: &Relay) -> u64 {
    let page = relay.metrics.render();
    let line = page.lines().find_map(|line| line.strip_prefix("refersion_relay_queue_declared_again_total "));
    line.expect("it is always there").parse().unwrap()
}

#[tokio::test]
async fn letters_for_a_class_whose_queue_was_deleted_are_not_lost_and_it_is_there_again() {
    let relay = Relay::start().await;
    relay.store(&work(), events(0..20)).await;
    let mut owned = relay.own(&work()).await;
    let mut deliveries = take(&mut owned, 20).await.into_iter();
    relay.admin.delete_queue(&relay.name("dead.rejected")).await;

    for delivery in deliveries.by_ref().take(10) {
        let headers = dead(&delivery.message.headers, Class::Rejected);
        delivery.settle(Settle::Move(REJECTED, headers)).await.unwrap();
    }
    until_declared_again(&relay, 1).await;
    for delivery in deliveries {
        let headers = dead(&delivery.message.headers, Class::Rejected);
        delivery.settle(Settle::Move(REJECTED, headers)).await.unwrap();
    }

    let (unrouted, rejected) = (relay.bodies(Class::Unrouted).await, relay.bodies(Class::Rejected).await);
    assert_eq!([unrouted, rejected.clone()].concat(), numbers(0..20), "each is there once");
    assert_eq!(rejected[rejected.len() - 10..], numbers(10..20), "what came later is where it belongs");
    assert!(relay.queue.stuck().borrow().is_empty());
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn every_kind_of_queue_is_declared_again_and_works() {
    let relay = Relay::start().await;
    let queues = [
        ("events.other", other_work()),
        ("unrouted", Place::Dead(Class::Unrouted)),
        ("dead.poison", Place::Dead(Class::Poison)),
        ("events.acme", work()),
        ("retry.1s", later()),
        ("intake", Place::Intake),
    ];
    for (rest, _) in &queues {
        relay.admin.delete_queue(&relay.name(rest)).await;
    }

    until_declared_again(&relay, queues.len() as u64).await;

    for (rest, place) in &queues[..4] {
        relay.store(place, [event("one", "0")]).await;
        assert_eq!(relay.depth(place).await, 1, "{rest}");
    }
    let mut owned = relay.own(&work()).await;
    take(&mut owned, 1).await.remove(0).settle(DELIVERED).await.unwrap();
    relay.store(&later(), events(1..3)).await;
    assert_eq!(bodies(&take(&mut owned, 2).await), numbers(1..3));
    assert_eq!(relay.metrics.connections_lost(Connection::Publish), 0);
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn the_queue_of_an_account_that_has_left_can_be_deleted() {
    let mut settings = settings(&shared_broker());
    settings.look_every = Duration::from_secs(1);
    let relay = Relay::start_with(&shared_broker(), settings).await;
    relay.queue.admit(&[account("acme")]).await.unwrap();

    relay.admin.delete_queue(&relay.work_queue("other")).await;
    relay.admin.delete_queue(&relay.name("dead.poison")).await;

    until_declared_again(&relay, 1).await;
    assert!(!relay.admin.queue_exists(&relay.work_queue("other")).await);
    relay.store(&other_work(), events(0..1)).await;
    assert_eq!(relay.bodies(Class::Unrouted).await, numbers(0..1), "for which there is no queue any more");
    relay.clean().await;
}

#[tokio::test]
async fn an_exchange_that_nobody_publishes_to_is_declared_again_with_what_is_bound_to_it() {
    let relay = Relay::start().await;
    relay.admin.delete_exchange(&relay.name("dead")).await;

    until_declared_again(&relay, 1).await;

    for class in [Class::Invalid, Class::Poison] {
        relay.store(&Place::Dead(class), [event("one", "0")]).await;
        let (_, letters) = relay.browse(class, EVERYTHING).await;
        assert_eq!(letters.iter().map(|letter| body(&letter.message)).collect::<Vec<_>>(), ["0"]);
    }
    relay.clean().await;
}

#[tokio::test]
async fn an_owner_whose_queue_is_deleted_has_it_back_at_once() {
    let relay = Relay::start().await;
    let mut owned = relay.own(&work()).await;
    relay.admin.delete_queue(&relay.work_queue("acme")).await;
    let deleted = Instant::now();
    assert!(owned.next().await.is_none());
    owned.release().await;

    let mut owned = eventually("the queue again", async || relay.queue.own(work(), ROOM).await.ok()).await;

    until_declared_again(&relay, 1).await; // it is there before it is bound
    assert!(deleted.elapsed() < Duration::from_secs(4), "not at once, but after {:?}", deleted.elapsed());
    relay.store(&work(), events(0..1)).await;
    assert_eq!(bodies(&take(&mut owned, 1).await), numbers(0..1));
    owned.release().await;
    relay.clean().await;
}
