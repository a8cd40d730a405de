use refersion_relay_model::Class;
use refersion_relay_queue::{Place, PublishError, Queue, Settle};

use tokio::time::timeout;

use super::node;
use refersion_relay_queue_testkit::events::{DELIVERED, bodies, dead, event, events, numbers, work};
use refersion_relay_queue_testkit::rabbitmq::Relay;
use refersion_relay_queue_testkit::waiting::{PATIENCE, eventually, take};

const REJECTED: Place = Place::Dead(Class::Rejected);

#[tokio::test]
async fn a_class_that_is_full_keeps_its_events_where_they_are_until_there_is_room() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    relay.store(&work(), events(0..3)).await;
    let full = relay.name("dead.rejected");
    let pattern = format!("^{}$", full.replace('.', r"\."));
    node.ctl(&["set_policy", "full", &pattern, r#"{"max-length":1}"#, "--apply-to", "queues"]).await.unwrap();
    // The broker notices one message late that a queue is full.
    let mut there = Vec::new();
    eventually("it is full", async || {
        let message = events([100 + there.len()]).remove(0);
        let stored = relay.queue.publish(vec![(REJECTED, message)]).await.remove(0).is_ok();
        if stored {
            there.push((100 + there.len()).to_string());
        }
        (!stored).then_some(())
    })
    .await;
    let mut owned = relay.own(&work()).await;
    let mut taken = take(&mut owned, 3).await;
    let first = taken.remove(0);
    let headers = dead(&first.message.headers, Class::Rejected);

    let moving = tokio::spawn(first.settle(Settle::Move(REJECTED, headers)));

    let stuck = relay.queue.stuck();
    let said = eventually("it is said", async || stuck.borrow().first().map(ToString::to_string)).await;
    assert!(said.starts_with(&format!("1 event cannot be moved to {full}: ")), "{said}");
    assert!(relay.metrics.render().contains("queue_moves_stuck{to=\"dead\"} 1"));
    assert!(relay.queue.state().borrow().is_up(), "everything else goes on");
    taken.remove(0).settle(DELIVERED).await.unwrap();
    assert!(!moving.is_finished());
    // Nothing is settled that has no place to go to: another owner gets it again.
    assert_eq!(relay.bodies(Class::Rejected).await, there);

    node.ctl(&["clear_policy", "full"]).await.unwrap();

    timeout(PATIENCE, moving).await.expect("it goes on").unwrap().unwrap();
    assert!(stuck.borrow().is_empty());
    let accepted = 3 + there.len() as u64;
    assert_eq!(relay.bodies(Class::Rejected).await, [there, numbers(0..1)].concat(), "exactly one letter");
    assert_eq!(relay.bodies(Class::Unrouted).await, [""; 0]);
    let sum = eventually("the sum", async || {
        let sum = relay.queue.conservation().await.ok();
        sum.filter(|sum| sum.accepted == accepted && sum.difference() == 0)
    });
    assert_eq!(sum.await.tolerance.events(), 0, "what a full queue refuses is certainly not there");
    owned.release().await;
    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 1).await), numbers(2..3));
    owned.release().await;
}

/// Who publishes much takes longer to hand it over, so that others come in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_published_side_by_side_gets_the_answers_that_are_meant_for_it() {
    const LARGE: usize = 400 * 1024;
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    let full = relay.name("dead.rejected");
    let pattern = format!("^{}$", full.replace('.', r"\."));
    node.ctl(&["set_policy", "full", &pattern, r#"{"max-length":1}"#, "--apply-to", "queues"]).await.unwrap();
    eventually("it is full", async || {
        let stored = relay.queue.publish(vec![(REJECTED, events(0..1).remove(0))]).await;
        stored[0].is_err().then_some(())
    })
    .await;

    let publish = |place: Place, message| {
        let queue = relay.queue.clone();
        tokio::spawn(async move { queue.publish(vec![(place, message)]).await.remove(0) })
    };
    let mut answers = Vec::new();
    for number in 0..300 {
        let large = event(&format!("large {number}"), &"x".repeat(LARGE));
        let small = event(&format!("small {number}"), "small");
        answers.push((publish(REJECTED, large), publish(work(), small)));
        if number % 10 == 9 {
            for (large, small) in answers.drain(..) {
                let (large, small) = (large.await.unwrap(), small.await.unwrap());
                assert!(matches!(large, Err(PublishError::Refused(_))), "{number}: {large:?} for what is not there");
                assert_eq!(small, Ok(()), "{number}: for what is there");
            }
        }
    }

    assert_eq!(relay.depth(&work()).await, 300);
}
