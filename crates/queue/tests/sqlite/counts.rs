//! That every event is accounted for, and where.

use futures_util::FutureExt;
use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Ending, Ledger, Place, Queue, Room, Settle};

use refersion_relay_queue_testkit::events::{
    DELIVERED, INVALID, account, body, crowd, dead, events, moved, other_later, other_work, work,
};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::judges::{by, number, replay, sweep};
use refersion_relay_queue_testkit::sqlite::Embedded;
use refersion_relay_queue_testkit::waiting::{eventually, take, take_one};

#[tokio::test]
async fn the_ledger_knows_what_became_of_every_event() {
    let relay = Embedded::start().await;
    let ledger = async || relay.queue.ledger().await.unwrap();
    assert_eq!(ledger().await, Ledger::default());
    relay.store(&work(), events(0..10)).await;
    assert_eq!(ledger().await, Ledger { accepted: 10, waiting: 10, ..Ledger::default() });
    let mut owned = relay.own(&work()).await;
    let mut taken = take(&mut owned, 10).await;
    assert_eq!(ledger().await, Ledger { accepted: 10, waiting: 10, ..Ledger::default() }, "in hand is not ended");

    taken.remove(0).settle(DELIVERED).await.unwrap();
    taken.remove(0).settle(Settle::Done(Ending::Ignored)).await.unwrap();
    assert_eq!(ledger().await, Ledger { accepted: 10, delivered: 1, ignored: 1, waiting: 8, ..Ledger::default() });

    for place in [work(), other_later(), other_work()] {
        let delivery = taken.remove(0);
        let settle = moved(&delivery, place);
        delivery.settle(settle).await.unwrap();
    }
    for delivery in taken.drain(..3) {
        let headers = dead(&delivery.message.headers, Class::Invalid);
        delivery.settle(Settle::Move(INVALID, headers)).await.unwrap();
    }
    assert_eq!(
        ledger().await,
        Ledger { accepted: 10, delivered: 1, ignored: 1, dead: 3, waiting: 5, ..Ledger::default() }
    );

    let mut judge = by(|letter| match number(letter) {
        5 => Action::Drop,
        6 => replay(letter, 6),
        _ => Action::Keep,
    });
    sweep(&*relay, 10, &mut judge).await;
    assert_eq!(ledger().await, Ledger { accepted: 10, delivered: 1, ignored: 1, dropped: 1, dead: 1, waiting: 6 });

    owned.release().await;
    let refused = relay.queue.publish(vec![(Place::Intake, events(0..1).remove(0))]).await;
    assert!(refused[0].is_err());
    let last = ledger().await;
    assert_eq!((last.accepted, last.waiting, last.difference()), (10, 6, 0), "what was refused was not accepted");
    relay.clean().await;
}

#[tokio::test]
async fn an_event_that_turns_out_to_be_gone_takes_up_no_room_any_more() {
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..2)).await;
    let mut owned = relay.queue.own(work(), Room { events: 1 }).await.unwrap();
    let first = take_one(&mut owned).await;
    // As when it was settled and nobody heard that the transaction was stored.
    let settled = "DELETE FROM event WHERE number = 1;
         UPDATE place SET events = events - 1, in_hand = in_hand - 1 WHERE name = 'events.acme';
         UPDATE state SET delivered = delivered + 1";
    relay.connection().execute_batch(&format!("BEGIN IMMEDIATE; {settled}; COMMIT")).unwrap();
    assert!(first.settle(DELIVERED).await.is_err());

    let second = take_one(&mut owned).await;

    assert_eq!(body(&second.message), "1");
    second.settle(DELIVERED).await.unwrap();
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn what_is_in_hand_is_counted_until_it_is_settled_or_given_up() {
    let relay = Embedded::start().await;
    let depth = async || {
        let depth = relay.queue.depth(&work()).await.unwrap();
        (depth.ready, depth.in_hand)
    };
    relay.store(&work(), events(0..5)).await;
    let mut owned = relay.queue.own(work(), refersion_relay_queue::Room { events: 3 }).await.unwrap();
    let mut taken = take(&mut owned, 3).await;
    assert_eq!(depth().await, (2, 3));

    taken.remove(0).settle(DELIVERED).await.unwrap();
    let next = take_one(&mut owned).await;
    assert_eq!(depth().await, (1, 3));
    drop((next, taken));
    assert_eq!(depth().await, (1, 3), "a delivery that is forgotten stays in hand");

    owned.release().await;

    assert_eq!(depth().await, (4, 0));
    relay.clean().await;
}

#[tokio::test]
async fn what_is_taken_and_given_up_at_once_is_not_in_hand() {
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..5)).await;
    let mut owned = relay.own(&work()).await;
    take(&mut owned, 5).await;
    // While somebody else writes, everything below comes together for one transaction.
    let writing = relay.connection();
    writing.execute_batch("BEGIN IMMEDIATE").unwrap();
    let queue = relay.queue.clone();
    let publishing = tokio::spawn(async move { queue.publish(vec![(work(), events(5..6).remove(0))]).await });
    eventually("the next event is being stored", async || {
        assert!(owned.next().now_or_never().is_none());
        (0 < relay.metrics.publishes_in_flight()).then_some(())
    })
    .await;
    for message in events(6..9) {
        let _ = relay.queue.publish(vec![(work(), message)]).now_or_never();
    }
    assert!(owned.next().now_or_never().is_none());

    drop(owned);

    writing.execute_batch("COMMIT").unwrap();
    assert_eq!(publishing.await.unwrap(), [Ok(())]);
    eventually("everything can be delivered", async || {
        let depth = relay.queue.depth(&work()).await.unwrap();
        ((depth.ready, depth.in_hand) == (9, 0)).then_some(())
    })
    .await;
    relay.clean().await;
}

#[tokio::test]
async fn the_space_of_events_that_have_ended_is_used_again() {
    let relay = Embedded::start().await;
    let mut owned = relay.own(&work()).await;
    let mut sizes = Vec::new();
    for _ in 0..12 {
        let large = crowd(0..100).into_iter().map(|mut message| {
            message.body = vec![b'x'; 20 * 1024].into();
            message
        });
        relay.store(&work(), large).await;
        for delivery in take(&mut owned, 100).await {
            tokio::spawn(delivery.settle(DELIVERED));
        }
        relay.until_depth(&work(), 0).await;
        eventually("everything is settled", async || (relay.queue.ledger().await.unwrap().waiting == 0).then_some(()))
            .await;
        let size = |suffix: &str| {
            let path = format!("{}{suffix}", relay.path().display());
            std::fs::metadata(path).unwrap().len()
        };
        sizes.push((size(""), size("-wal")));
    }

    // Twelve rounds write 24 MB, of which 2 MB are there at a time.
    let (file, log) = sizes[11];
    assert!(file < 6_000_000, "{sizes:?}");
    assert!(log < 40_000_000, "{sizes:?}");
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn what_is_delivered_too_often_and_never_settled_is_poison() {
    const LIMIT: i64 = 1_000_000;
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..3)).await;
    relay.connection().execute("UPDATE event SET deliveries = ?1 - number", [LIMIT + 1]).unwrap();
    for left in [3, 2] {
        let mut owned = relay.own(&work()).await;
        take(&mut owned, left).await;
        owned.release().await;
    }

    let (_, letters) = relay.browse(Class::Poison, EVERYTHING).await;

    assert_eq!(letters.iter().map(|letter| body(&letter.message)).collect::<Vec<_>>(), ["0", "1"]);
    for letter in letters {
        let headers = letter.message.headers;
        let death = headers.death.unwrap();
        assert_eq!((headers.attempts, headers.account), (0, Some(account("acme"))));
        assert_eq!((death.class, death.reason.as_str()), (Class::Poison, "delivery_limit"));
    }
    let mut owned = relay.own(&work()).await;
    assert_eq!(body(&take_one(&mut owned).await.message), "2");
    owned.release().await;
    relay.clean().await;
}
