//! What every process counts is stored on the broker, and a difference shows where it is.

use lapin::BasicProperties;
use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Conservation, Group, Place, Queue, RabbitMq};

use refersion_relay_queue_testkit::events::{DELIVERED, INVALID, crowd, work};
use refersion_relay_queue_testkit::instance::Instance;
use refersion_relay_queue_testkit::judges::{by, spawn_sweep};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::waiting::{eventually, take};
use refersion_relay_queue_testkit::wire::Wire;

async fn sum(queue: &Instance<RabbitMq>, wanted: impl Fn(&Conservation) -> bool) -> Conservation {
    eventually("the sum", async || {
        // A look at the wrong moment can cost the connection it was made over.
        queue.queue.conservation().await.ok().filter(|sum| wanted(sum))
    })
    .await
}

fn difference(sum: &Conservation, group: Group) -> i64 {
    sum.stocks.iter().find(|stock| stock.group == group).unwrap().difference
}

/// Another process with the same settings.
async fn another(relay: &Relay) -> Instance<RabbitMq> {
    Relay::start_with(&shared_broker(), relay.settings.clone()).await.instance
}

#[tokio::test]
async fn a_process_that_dies_widens_the_tolerance_and_is_counted_once() {
    let relay = Relay::start().await;
    let dying = another(&relay).await;
    dying.store(&work(), crowd(0..150)).await;
    sum(&relay, |sum| sum.accepted == 150).await;

    drop(dying);

    let dead = sum(&relay, |sum| sum.tolerance.deaths == 1).await;
    // Twice what its largest step was: its first entry may already have had some of the 150.
    let lost = dead.tolerance.lost;
    assert!((150..=300).contains(&lost), "{dead}");
    assert_eq!((dead.accepted, dead.waiting(), dead.difference()), (150, 150, 0));
    let said = format!("tolerance {lost} (0 for lost connections, {lost} for 1 process that died, 0 in motion)");
    assert!(dead.to_string().ends_with(&said), "{dead}");
    let next = another(&relay).await;
    next.store(&work(), crowd(150..160)).await;
    next.queue.close().await;
    let after = sum(&relay, |sum| sum.accepted == 160).await;
    assert_eq!((after.tolerance.deaths, after.tolerance.lost), (1, lost), "the same death, counted once");

    relay.instance.queue.set_baseline().await.unwrap();
    let since = sum(&relay, |_| true).await;
    assert_eq!((since.tolerance.events(), since.tolerance.deaths, since.difference()), (0, 0, 0));
    relay.clean().await;
}

#[tokio::test]
async fn the_tolerance_ends_when_nothing_moves_and_explains_what_is_missing() {
    let relay = Relay::start().await;
    let dying = another(&relay).await;
    dying.store(&work(), crowd(0..150)).await;
    sum(&relay, |sum| sum.accepted == 150).await;
    drop(dying);
    let before = sum(&relay, |sum| sum.tolerance.deaths == 1).await;
    let queue = &relay.instance.queue;
    // As if it had stored ten that it never counted.
    for event in 0..10 {
        let (exchange, key) = (relay.name("events"), "acme");
        relay.admin.publish(&exchange, key, format!("{event}").as_bytes(), BasicProperties::default()).await;
    }
    assert_eq!(queue.end_tolerance(&before).await.unwrap(), None, "something has moved");
    let still = sum(&relay, |sum| sum.difference() == 10).await;

    // Somebody looks at dead letters: what is in a hand is not counted.
    relay.store(&Place::Dead(Class::Invalid), crowd(200..201)).await;
    let still = sum(&relay, |sum| sum.accepted == 151 && sum.difference() == still.difference()).await;
    let hand = relay.admin.consume(&relay.name("dead.invalid")).await;
    assert_eq!(queue.end_tolerance(&still).await.unwrap(), None, "somebody reads");
    hand.close(200, "done".into()).await.unwrap();

    // Two at once: one does it.
    let other = another(&relay).await;
    let (one, two) = eventually("the tolerance ends", async || {
        let (one, two) = tokio::join!(queue.end_tolerance(&still), other.queue.end_tolerance(&still));
        let (one, two) = (one.ok()?, two.ok()?);
        (one.is_some() || two.is_some()).then_some((one, two))
    })
    .await;
    assert!(one.is_some() != two.is_some(), "{one:?} {two:?}");
    assert_eq!(one.or(two).unwrap().difference(), 10);
    let after = sum(&relay, |_| true).await;
    assert_eq!((after.tolerance.events(), after.difference(), after.baseline), (0, 0, 10), "{after}");

    // The alert sees again.
    relay.admin.purge(&relay.work_queue("acme")).await;
    let missing = sum(&relay, |sum| sum.difference() == -160).await;
    assert!(!missing.holds());
    assert_eq!(queue.end_tolerance(&missing).await.unwrap(), None, "nothing explains that");
    other.queue.close().await;
    relay.clean().await;
}

#[tokio::test]
async fn what_was_not_accepted_is_a_difference_at_its_place() {
    let relay = Relay::start().await;
    relay.store(&work(), crowd(0..10)).await;
    relay.store(&Place::Dead(Class::Invalid), crowd(10..13)).await;
    sum(&relay, |sum| sum.accepted == 13).await;

    relay.admin.purge(&relay.work_queue("acme")).await;
    let missing = sum(&relay, |sum| sum.difference() == -10).await;
    assert_eq!((difference(&missing, Group::Work), difference(&missing, Group::Dead(Class::Invalid))), (-10, 0));
    assert!(!missing.holds());
    assert!(missing.to_string().ends_with("the difference is -10, work: -10"), "{missing}");

    relay.instance.queue.set_baseline().await.unwrap();
    let since = sum(&relay, |_| true).await;
    assert!(since.holds() && since.difference() == 0 && since.baseline == -10, "{since}");
    relay.store(&work(), crowd(20..25)).await;
    let more = sum(&relay, |sum| sum.accepted == 18).await;
    assert!(more.holds() && more.tolerance.events() == 0, "{more}");
    relay.clean().await;
}

#[tokio::test]
async fn copies_that_a_sweep_has_on_their_way_when_it_fails_are_a_tolerance() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    relay.store(&INVALID, crowd(0..20)).await;
    sum(&relay, |sum| sum.accepted == 20).await;
    wire.stall(); // the connections of now; that of the sweep is yet to come
    let sweep = spawn_sweep(&relay, 5, by(|_| Action::Keep));
    eventually("five copies", async || (relay.metrics.publishes_in_flight() == 5).then_some(())).await;

    relay.admin.delete_queue(&relay.name("dead.invalid")).await;

    assert!(sweep.await.unwrap().is_err());
    wire.cut();
    relay.until("away", |state| !state.is_up()).await;
    relay.until_up().await;
    let sum = sum(&relay, |sum| 0 < sum.tolerance.uncertain).await;
    assert_eq!(sum.tolerance.uncertain, 5, "{sum}");
    relay.clean().await;
}

#[tokio::test]
async fn a_process_that_has_nothing_to_count_is_not_taken_for_dead_when_it_was_cut_off() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    relay.store(&work(), crowd(0..5)).await;
    sum(&relay, |sum| sum.accepted == 5).await;
    eventually("that nobody adds up", async || (wire.connections() == 2).then_some(())).await;

    wire.cut();

    relay.until("away", |state| !state.is_up()).await;
    relay.until_up().await;
    eventually("its mark", async || (wire.connections() == 2).then_some(())).await;
    let after = sum(&relay, |sum| sum.accepted == 5).await;
    assert_eq!((after.tolerance.deaths, after.difference()), (0, 0), "{after}");
    relay.clean().await;
}

#[tokio::test]
async fn acknowledgements_that_may_be_lost_are_a_tolerance() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    relay.store(&work(), crowd(0..30)).await;
    let mut owned = relay.own(&work()).await;
    for delivery in take(&mut owned, 20).await {
        delivery.settle(DELIVERED).await.unwrap();
    }

    wire.cut();

    relay.until("away", |state| !state.is_up()).await;
    relay.until_up().await;
    // Whether the broker has taken the twenty, nobody here can say.
    let sum = sum(&relay, |sum| sum.tolerance.uncertain == 20).await;
    assert!(sum.holds(), "{sum}");
    assert_eq!(sum.delivered, 20);
    assert!((10..=30).contains(&sum.waiting()) && (0..=20).contains(&sum.difference()), "{sum}");
    relay.clean().await;
}
