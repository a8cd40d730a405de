//! What a publish promises.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use futures_util::future::join_all;
use refersion_relay_queue::{Message, Place, PublishError, Queue, Room};

use crate::backend::Backend;
use refersion_relay_queue_testkit::events::{DELIVERED, bodies, body, crowd, event, events, numbers, other_work, work};
use refersion_relay_queue_testkit::waiting::{nothing_comes, take};

pub(crate) async fn what_was_stored_is_there_for_somebody_else<B: Backend>() {
    let relay = B::start().await;
    let other = relay.another().await;

    relay.store(&work(), events(0..20)).await;

    assert_eq!(other.depth(&work()).await, 20);
    let mut owned = other.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 20).await), numbers(0..20));
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn what_was_stored_is_there_after_whoever_stored_it_went_away<B: Backend>() {
    let relay = B::start().await;
    let first = relay.another().await;
    first.store(&work(), events(0..20)).await;

    drop(first); // nothing is closed

    let second = relay.another().await;
    let mut owned = second.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 20).await), numbers(0..20));
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn the_events_of_one_subject_keep_the_order_of_their_batch<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..50)).await;

    let mut owned = relay.own(&work()).await;

    assert_eq!(bodies(&take(&mut owned, 50).await), numbers(0..50));
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn batches_that_follow_one_another_keep_their_order<B: Backend>() {
    let relay = B::start().await;
    let other = relay.another().await;
    let mut owned = relay.own(&work()).await;

    for begin in (0..60).step_by(10) {
        let instance = if begin % 20 == 0 { &*relay } else { &other };
        instance.store(&work(), crowd(begin..begin + 5)).await;
        instance.store(&work(), events(begin + 5..begin + 10)).await;
    }

    let taken = bodies(&take(&mut owned, 60).await);
    for (round, batch) in taken.chunks(5).enumerate() {
        // Events of different subjects in one batch have no order among them.
        let batch: BTreeSet<usize> = batch.iter().map(|body| body.parse().unwrap()).collect();
        assert_eq!(batch, (round * 5..round * 5 + 5).collect(), "batch {round}");
    }
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn a_refused_event_holds_back_the_later_ones_of_its_subject_and_nothing_else<B: Backend>() {
    let relay = B::start().await;
    let mut namesake = event("one", "5");
    namesake.headers.account = Some(refersion_relay_queue_testkit::events::account("other"));

    let results = relay
        .queue
        .publish(vec![
            (work(), event("one", "0")),
            (Place::Intake, event("one", "1")),
            (other_work(), event("one", "2")),
            (work(), event("two", "3")),
            (work(), event("one", "4")),
            (work(), namesake),
        ])
        .await;

    for position in [0, 3, 5] {
        assert_eq!(results[position], Ok(()), "{position}");
    }
    for position in [1, 2, 4] {
        assert!(matches!(&results[position], Err(PublishError::Refused(_))), "{position}: {:?}", results[position]);
    }
    let mut owned = relay.own(&work()).await;
    let stored: BTreeSet<_> = bodies(&take(&mut owned, 3).await).into_iter().collect();
    assert_eq!(stored, BTreeSet::from(["0", "3", "5"].map(str::to_owned)));
    nothing_comes(&mut owned).await;
    assert_eq!(relay.depth(&other_work()).await, 0);
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn results_come_in_the_order_of_the_batch<B: Backend>() {
    let relay = B::start().await;
    let refused = |number: usize| number % 7 == 3;
    let place = |number| if refused(number) { Place::Intake } else { work() };
    let batch = crowd(0..100).into_iter().enumerate().map(|(number, message)| (place(number), message)).collect();

    let results = relay.queue.publish(batch).await;

    assert_eq!(results.len(), 100);
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result.is_err(), refused(number), "{number}: {result:?}");
    }
    relay.until_depth(&work(), (0..100).filter(|number| !refused(*number)).count() as u64).await;
    relay.clean().await;
}

pub(crate) async fn a_publish_of_nothing_has_no_results<B: Backend>() {
    let relay = B::start().await;
    assert_eq!(relay.queue.publish(Vec::new()).await, []);
    relay.clean().await;
}

pub(crate) async fn a_publish_goes_on_when_its_caller_goes_away<B: Backend>() {
    let relay = B::start().await;
    let batch: Vec<_> = events(0..200).into_iter().map(|message| (work(), message)).collect();
    let single = vec![(work(), events(200..201).remove(0))];

    let gone = [batch, single].map(|events| relay.queue.publish(events).now_or_never());

    assert_eq!(gone, [None, None], "nothing is durable at once");
    relay.until_depth(&work(), 201).await;
    relay.clean().await;
}

pub(crate) async fn many_who_publish_one_event_each_all_hear_of_their_own<B: Backend>() {
    const SENDERS: usize = 350;
    let relay = B::start().await;
    let refused = |number: usize| number % 7 == 3;
    let publish = async |(number, message): (usize, Message)| {
        let place = if refused(number) { Place::Intake } else { work() };
        relay.queue.publish(vec![(place, message)]).await
    };

    let answers = join_all(crowd(0..SENDERS).into_iter().enumerate().map(publish)).await;

    for (number, answer) in answers.iter().enumerate() {
        let is_refused = matches!(answer[..], [Err(PublishError::Refused(_))]);
        assert!(is_refused == refused(number) && (is_refused || answer == &[Ok(())]), "{number}: {answer:?}");
    }
    relay.until_depth(&work(), (0..SENDERS).filter(|number| !refused(*number)).count() as u64).await;
    relay.clean().await;
}

pub(crate) async fn many_who_publish_at_once_lose_nothing<B: Backend>() {
    const SENDERS: usize = 8;
    const EVENTS: usize = 40;
    let relay = B::start().await;
    let other = relay.another().await;
    let mut owned = relay.queue.own(work(), Room { events: 50 }).await.unwrap();
    let sender = async |number: usize| {
        let instance = if number.is_multiple_of(2) { &*relay } else { &other };
        for event_number in 0..EVENTS {
            let text = (number * EVENTS + event_number).to_string();
            instance.store(&work(), [event(&format!("subject {number}"), &text)]).await;
        }
    };
    let receiver = async {
        let mut received: Vec<usize> = Vec::new();
        while received.len() < SENDERS * EVENTS {
            for delivery in take(&mut owned, 1).await {
                received.push(body(&delivery.message).parse().unwrap());
                delivery.settle(DELIVERED).await.unwrap();
            }
        }
        received
    };

    let (all, _) = futures_util::future::join(receiver, join_all((0..SENDERS).map(sender))).await;

    for number in 0..SENDERS {
        let of_sender = all.iter().copied().filter(|event| event / EVENTS == number);
        assert_eq!(of_sender.collect::<Vec<_>>(), (number * EVENTS..(number + 1) * EVENTS).collect::<Vec<_>>());
    }
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}
