//! What a publish promises.

use std::collections::BTreeSet;
use std::time::Duration;

use refersion_relay_model::Class;
use refersion_relay_queue::{Place, PublishError, Queue, Room};
use tokio::time::timeout;

use crate::harness::{
    EVERYTHING, OTHER_SHARD, Relay, SHARD, account, bodies, body, crowd, event, events, nothing_comes, numbers, take,
};

#[tokio::test]
async fn the_events_of_one_subject_keep_the_order_of_their_batch() {
    let relay = Relay::start().await;
    relay.store(&SHARD, events(0..50)).await;

    let mut owned = relay.own(&SHARD).await;

    assert_eq!(bodies(&take(&mut owned, 50).await), numbers(0..50));
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn after_a_failure_the_later_events_of_that_subject_are_not_sent() {
    let relay = Relay::start().await;
    let ten_days = Duration::from_hours(240);
    let Place::Shard(shard) = SHARD else { unreachable!() };
    let nowhere = Place::Later(shard, ten_days); // no such tier

    let results = relay
        .queue
        .publish(vec![
            (SHARD, event("one", "0")),
            (nowhere, event("one", "1")),
            (SHARD, event("one", "2")),
            (SHARD, event("other", "3")),
            (SHARD, event("one", "4")),
        ])
        .await;

    assert_eq!((&results[0], &results[3]), (&Ok(()), &Ok(())));
    for position in [1, 2, 4] {
        assert!(matches!(&results[position], Err(PublishError::Refused(_))), "{position}: {:?}", results[position]);
    }
    let mut owned = relay.own(&SHARD).await;
    let stored: BTreeSet<_> = bodies(&take(&mut owned, 2).await).into_iter().collect();
    assert_eq!(stored, BTreeSet::from(["0".to_owned(), "3".to_owned()]));
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_publish_goes_on_when_its_caller_goes_away() {
    let relay = Relay::start().await;
    let batch = events(0..200).into_iter().map(|message| (SHARD, message)).collect();

    let publishing = relay.queue.publish(batch);
    let gone = timeout(Duration::from_millis(1), publishing).await;

    assert!(gone.is_err(), "two hundred confirms one after another take longer than that");
    relay.until_depth(&SHARD, 200).await;
    relay.clean().await;
}

#[tokio::test]
async fn exactly_what_no_queue_takes_is_in_the_lost_property() {
    let relay = Relay::start().await;
    relay.admin.unbind(&relay.shard_queue(1), &relay.name("events"), "n2.1").await;
    let place = |number: usize| if number.is_multiple_of(2) { SHARD } else { OTHER_SHARD };
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
    assert_eq!(relay.depth(&SHARD).await, 250);
    let mut owned = relay.queue.own(SHARD, Room { events: 250 }).await.unwrap();
    assert_eq!(bodies(&take(&mut owned, 250).await).into_iter().collect::<BTreeSet<_>>(), routed);
    owned.release().await;
    relay.clean().await;
}
