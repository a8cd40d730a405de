//! Looking at letters that are large, and looks that are cut off.

use std::time::Duration;

use bytes::Bytes;
use refersion_relay_model::Class;
use refersion_relay_queue::{BrokerUrl, Message, Queue, RabbitMqSettings, Scan};

use refersion_relay_queue_testkit::events::{INVALID, crowd, events, numbers};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::wire::Wire;

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_memory_while_large_letters_are_looked_at_is_bounded_by_bytes() {
    const LETTERS: usize = 12;
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    let large = |message: Message| Message { body: Bytes::from(vec![b'x'; 4 * MIB]), ..message };
    relay.store(&INVALID, crowd(0..LETTERS).into_iter().map(large)).await;
    let (before, mut most_ahead, mut seen) = (wire.received(), 0, 0);

    let mut visit = |_| {
        seen += 1;
        if seen == 1 {
            std::thread::sleep(Duration::from_secs(1)); // time for whatever comes unasked
        }
        most_ahead = most_ahead.max((wire.received() - before).saturating_sub(seen * 4 * MIB as u64));
    };
    let browsed = relay.queue.browse(Class::Invalid, Scan { letters: 1_000 }, &mut visit).await.unwrap();

    assert_eq!((browsed.seen, seen), (LETTERS as u64, LETTERS as u64));
    assert!(most_ahead < 17 * MIB as u64, "{most_ahead} bytes lay in memory beside the letter that was looked at");
    relay.clean().await;
}

#[tokio::test]
async fn a_look_that_is_cut_off_leaves_the_letters_in_order() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    relay.store(&INVALID, events(0..100)).await;
    let mut seen = 0;

    let mut visit = |_| {
        seen += 1;
        if seen == 70 {
            wire.cut();
        }
    };
    let looked = relay.queue.browse(Class::Invalid, EVERYTHING, &mut visit).await;

    assert!(looked.is_err(), "{looked:?}");
    let direct = RabbitMqSettings { url: BrokerUrl::parse(&url).unwrap(), ..relay.settings.clone() };
    let other = Relay::start_with(&url, direct).await;
    other.until_depth(&INVALID, 100).await;
    assert_eq!(other.bodies(Class::Invalid).await, numbers(0..100));
    drop(other);
    relay.clean().await;
}
