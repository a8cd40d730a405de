//! What every process counts is in one queue, which readers give back or replace by its sum.

use lapin::BasicProperties;
use refersion_relay_queue::{Conservation, Queue, RabbitMq};
use serde_json::{Value, json};

use refersion_relay_queue_testkit::events::{DELIVERED, crowd, work};
use refersion_relay_queue_testkit::instance::Instance;
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::waiting::{eventually, take};
use refersion_relay_queue_testkit::wire::Wire;

/// So many entries are folded by whoever reads them, and so many by whoever appends to them.
const MANY: u64 = 201;
const VERY_MANY: u64 = 401;

async fn another(relay: &Relay) -> Instance<RabbitMq> {
    Relay::start_with(&shared_broker(), relay.settings.clone()).await.instance
}

async fn sum(queue: &Instance<RabbitMq>, wanted: impl Fn(&Conservation) -> bool) -> Conservation {
    eventually("the sum", async || queue.queue.conservation().await.ok().filter(|sum| wanted(sum))).await
}

/// An entry of a process that has accepted one event, which was delivered, and has ended.
fn entry(writer: &str) -> Value {
    let nowhere = [0; 8];
    let at_work = [1, 0, 0, 0, 0, 0, 0, 0];
    json!({ "step": {
        "writer": writer,
        "number": 0,
        "counts": {
            "accepted": 1,
            "copies": 0,
            "delivered": 1,
            "ignored": 0,
            "dropped": 0,
            "uncertain": 0,
            "entered": at_work,
            "left": at_work,
        },
        "in_hand": nowhere,
        "largest": 2,
        "last": true,
    }})
}

async fn append(relay: &Relay, bodies: impl IntoIterator<Item = Vec<u8>>) {
    let (exchange, key) = (relay.name("notes"), relay.name("tally"));
    for body in bodies {
        relay.admin.publish(&exchange, &key, &body, BasicProperties::default()).await;
    }
}

/// Entries of as many processes.
fn entries(name: &str, count: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(move |number| entry(&format!("{name}-{number}")).to_string().into_bytes())
}

#[tokio::test]
async fn whoever_reads_much_replaces_it_by_its_sum() {
    let relay = Relay::start().await;
    append(&relay, entries("a", MANY)).await;

    let sums = [relay.queue.conservation().await.unwrap(), relay.queue.conservation().await.unwrap()];

    assert!(relay.admin.ready(&relay.name("tally")).await < 10);
    assert_eq!((sums[0].accepted, sums[0].delivered, sums[0].difference()), (MANY, MANY, 0));
    assert_eq!(sums[0], sums[1]);
    relay.clean().await;
}

#[tokio::test]
async fn a_fold_and_what_it_was_made_of_count_once() {
    let relay = Relay::start().await;
    append(&relay, entries("a", MANY)).await;
    relay.queue.set_baseline().await.unwrap();
    relay.queue.remember().await.unwrap(); // a fold, so that the next one is of a fold too
    append(&relay, entries("b", MANY)).await;
    let before = relay.admin.bodies(&relay.name("tally")).await;
    let sum = relay.queue.conservation().await.unwrap();
    assert!(relay.admin.ready(&relay.name("tally")).await < 10);

    // As when its writer dies before it has taken anything away, or some of it.
    for left in [before.len(), before.len() / 2] {
        append(&relay, before.iter().take(left).cloned()).await;

        for _ in 0..2 {
            assert_eq!(relay.queue.conservation().await.unwrap(), sum);
        }
    }
    assert!(relay.admin.ready(&relay.name("tally")).await < u32::try_from(MANY).unwrap());
    assert_eq!(sum.accepted, 2 * MANY);
    relay.clean().await;
}

#[tokio::test]
async fn a_reader_that_dies_when_its_fold_is_stored_leaves_a_sum_that_is_right() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    let observer = another_over(&relay, &url).await;
    append(&relay, entries("a", MANY)).await;
    wire.mute_after(Some(r#"{"fold":"#));
    let queue = relay.queue.clone();
    let reading = tokio::spawn(async move { queue.conservation().await });
    eventually("its fold", async || (wire.muted() == 1).then_some(())).await;
    eventually("that it is stored", async || (0 < relay.admin.ready(&relay.name("tally")).await).then_some(())).await;

    wire.cut();

    wire.mute_after(None);
    assert_eq!(observer.queue.conservation().await.unwrap().accepted, MANY);
    assert!(relay.admin.ready(&relay.name("tally")).await < 10, "the next one has taken away what was left");
    assert_eq!(observer.queue.conservation().await.unwrap().accepted, MANY);
    sum(&observer, |sum| sum.tolerance.events() == 0).await; // the relay is there again
    reading.abort();
    relay.clean().await;
}

#[tokio::test]
async fn where_nobody_reads_whoever_appends_folds() {
    let relay = Relay::start().await;
    append(&relay, entries("a", VERY_MANY)).await;

    let next = another(&relay).await;
    next.store(&work(), crowd(0..1)).await;

    eventually("few entries", async || (relay.admin.ready(&relay.name("tally")).await < 10).then_some(())).await;
    assert_eq!(relay.queue.conservation().await.unwrap().accepted, 1 + VERY_MANY);
    // At its end too: it may be all that there is of it.
    append(&relay, entries("b", VERY_MANY)).await;
    next.queue.close().await;
    assert!(relay.admin.ready(&relay.name("tally")).await < 10);
    assert_eq!(relay.queue.conservation().await.unwrap().accepted, 1 + 2 * VERY_MANY);
    relay.clean().await;
}

#[tokio::test]
async fn nothing_is_lost_or_counted_twice_while_some_fold_and_others_append() {
    const ROUNDS: usize = 12;
    const EVENTS: usize = 60; // enough for an entry
    let relay = Relay::start().await;
    let (one, two) = (another(&relay).await, another(&relay).await);
    let storing = async |queue: &Instance<RabbitMq>, from: usize| {
        for round in 0..ROUNDS {
            let first = from + round * EVENTS;
            queue.store(&work(), crowd(first..first + EVENTS)).await;
            relay.queue.conservation().await.unwrap();
        }
    };
    let folding = async {
        for round in 0..3 {
            append(&relay, entries(&format!("folded-{round}"), MANY)).await;
            let (one, two) = tokio::join!(one.queue.conservation(), two.queue.conservation());
            one.and(two).unwrap();
        }
    };

    tokio::join!(storing(&one, 0), storing(&two, 100_000), folding);

    let accepted = 2 * (ROUNDS * EVENTS) as u64 + 3 * MANY;
    let sum = sum(&relay, |sum| sum.accepted == accepted).await;
    assert_eq!((sum.difference(), sum.tolerance.events()), (0, 0), "{sum}");
    relay.clean().await;
}

#[tokio::test]
async fn an_entry_whose_answer_is_lost_is_there_twice_and_counts_once() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    let observer = another_over(&relay, &url).await;
    observer.store(&work(), crowd(0..60)).await;
    sum(&observer, |sum| sum.accepted == 60).await;
    let mut owned = relay.own(&work()).await;
    let deliveries = take(&mut owned, 60).await;
    let before = relay.admin.ready(&relay.name("tally")).await;
    wire.mute_after(Some(r#"{"step":"#));

    for delivery in deliveries {
        delivery.settle(DELIVERED).await.unwrap();
    }
    eventually("an entry on its way", async || (wire.muted() == 1).then_some(())).await;
    eventually("it", async || (before < relay.admin.ready(&relay.name("tally")).await).then_some(())).await;
    wire.mute_after(None);
    wire.cut();

    relay.until("away", |state| !state.is_up()).await;
    relay.until_up().await;
    let sum = sum(&observer, |sum| sum.tolerance.uncertain == 60 && sum.tolerance.deaths == 0).await;
    // Which acknowledgements the broker has taken, nobody here can say.
    assert!(sum.accepted == 60 && sum.delivered == 60 && sum.holds(), "{sum}");
    let bodies = relay.admin.bodies(&relay.name("tally")).await;
    let is_repeated = |body: &&Vec<u8>| 1 < bodies.iter().filter(|other| other == body).count();
    assert_eq!(bodies.iter().filter(is_repeated).count(), 2, "the entry was repeated");
    owned.release().await;
    relay.clean().await;
}

async fn another_over(relay: &Relay, url: &str) -> Instance<RabbitMq> {
    let settings = refersion_relay_queue::RabbitMqSettings {
        url: refersion_relay_queue::BrokerUrl::parse(url).unwrap(),
        ..relay.settings.clone()
    };
    Relay::start_with(url, settings).await.instance
}

#[tokio::test]
async fn what_is_in_somebodys_hand_counts_when_it_is_back() {
    let relay = Relay::start().await;
    let first = another(&relay).await;
    first.store(&work(), crowd(0..150)).await;
    first.queue.close().await;
    for _ in 0..2 {
        relay.queue.set_baseline().await.unwrap();
    }
    let (hand, _) = relay.admin.hold(&relay.name("tally")).await;

    let next = another(&relay).await;
    next.store(&work(), crowd(150..160)).await;
    next.queue.close().await;
    append(&relay, entries("a", MANY)).await;
    let meanwhile = relay.queue.conservation().await.unwrap();
    let is_back = async || (MANY <= u64::from(relay.admin.ready(&relay.name("tally")).await)).then_some(());
    eventually("what was read, since a fold would leave something out", is_back).await;
    hand.close(200, "done".into()).await.unwrap();

    assert_eq!(meanwhile.accepted, 10 + MANY);
    let sum = sum(&relay, |sum| sum.accepted == 160 + MANY).await;
    assert_eq!((sum.tolerance.events(), sum.difference()), (0, 0), "{sum}");
    relay.clean().await;
}

#[tokio::test]
async fn a_baseline_is_set_again_though_the_last_one_is_being_read() {
    let relay = Relay::start().await;
    relay.store(&work(), crowd(0..10)).await;
    sum(&relay, |sum| sum.accepted == 10).await;
    for _ in 0..2 {
        relay.queue.set_baseline().await.unwrap();
    }
    relay.admin.purge(&relay.work_queue("acme")).await;
    sum(&relay, |sum| sum.difference() == -10).await;
    let (hand, _) = relay.admin.hold(&relay.name("tally")).await;

    let setting = relay.queue.set_baseline();
    let (set, closed) = tokio::join!(setting, hand.close(200, "done".into()));

    set.unwrap();
    closed.unwrap();
    let since = relay.queue.conservation().await.unwrap();
    assert_eq!((since.difference(), since.baseline), (0, -10), "{since}");
    relay.clean().await;
}

#[tokio::test]
async fn a_journal_that_was_deleted_is_made_again_and_gone_on_with() {
    let relay = Relay::start().await;
    relay.store(&work(), crowd(0..10)).await;
    sum(&relay, |sum| sum.accepted == 10).await;

    relay.admin.delete_queue(&relay.name("tally")).await;

    relay.store(&work(), crowd(10..13)).await;
    let since = sum(&relay, |sum| sum.accepted == 3).await;
    assert_eq!((since.difference(), since.tolerance.deaths), (10, 0), "{since}");
    relay.clean().await;
}

#[tokio::test]
async fn a_journal_that_was_unbound_is_bound_again_and_has_its_history() {
    let relay = Relay::start().await;
    relay.store(&work(), crowd(0..10)).await;
    sum(&relay, |sum| sum.accepted == 10).await;
    let (queue, exchange) = (relay.name("tally"), relay.name("notes"));

    relay.admin.unbind(&queue, &exchange, &queue).await;

    relay.store(&work(), crowd(10..15)).await;
    let after = sum(&relay, |sum| sum.accepted == 15).await;
    assert_eq!((after.difference(), after.tolerance.deaths), (0, 0), "{after}");
    relay.clean().await;
}

#[tokio::test]
async fn what_no_relay_has_written_counts_nothing_and_goes_with_the_next_fold() {
    let relay = Relay::start().await;
    let mut unknown = entry("unknown");
    unknown["step"]["more"] = 1.into();
    let strange = [b"{}".to_vec(), vec![0xff; 1_000], vec![b'['; 100_000], unknown.to_string().into_bytes()];
    append(&relay, strange).await;
    append(&relay, [entry("twice").to_string().into_bytes(), entry("twice").to_string().into_bytes()]).await;

    assert_eq!(relay.queue.conservation().await.unwrap().accepted, 1);

    append(&relay, entries("a", MANY)).await;
    relay.queue.conservation().await.unwrap();
    assert!(relay.admin.ready(&relay.name("tally")).await < 4);
    assert_eq!(relay.queue.conservation().await.unwrap().accepted, 1 + MANY);
    relay.clean().await;
}
