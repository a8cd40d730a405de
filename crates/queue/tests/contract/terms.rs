//! Owning a place term after term.

use refersion_relay_queue::Terms;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use refersion_relay_queue_testkit::events::{bodies, events, numbers, work};
use refersion_relay_queue_testkit::instance::ROOM;
use refersion_relay_queue_testkit::waiting::{PATIENCE, nothing_comes, take, until_ended};

pub(crate) async fn a_place_is_taken_up_again_after_its_term_was_lost<B: Backend>() {
    let relay = B::start().await;
    let stop = CancellationToken::new();
    let mut terms = Terms::new(relay.queue.clone(), work());
    relay.store(&work(), events(0..5)).await;
    let mut owned = terms.next(ROOM, &stop).await.unwrap();
    // None is settled: on RabbitMQ what says so can be lost with the connection, and the event comes again.
    let _in_hand = take(&mut owned, 3).await;
    for round in 1..=2 {
        relay.lose_terms().await;
        until_ended(&mut owned).await;
        owned.release().await;

        owned = timeout(PATIENCE, terms.next(ROOM, &stop)).await.expect("it is up again").unwrap();

        assert_eq!(bodies(&take(&mut owned, 5).await), numbers(0..5), "in round {round}");
        nothing_comes(&mut owned).await;
    }
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn terms_end_when_they_are_told_to<B: Backend>() {
    let relay = B::start().await;
    let stop = CancellationToken::new();
    let mut terms = Terms::new(relay.queue.clone(), work());
    terms.next(ROOM, &stop).await.unwrap().release().await;

    stop.cancel();

    assert!(timeout(PATIENCE, terms.next(ROOM, &stop)).await.expect("at once").is_none());
    relay.clean().await;
}
