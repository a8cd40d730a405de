use refersion_relay_model::Class;
use refersion_relay_queue::{Place, Queue, Settle};

use tokio::time::timeout;

use super::node;
use crate::support::events::{DELIVERED, SHARD, bodies, dead, events, numbers};
use crate::support::rabbitmq::Relay;
use crate::support::waiting::{PATIENCE, eventually, take};

const REJECTED: Place = Place::Dead(Class::Rejected);

#[tokio::test]
async fn a_class_that_is_full_keeps_its_events_where_they_are_until_there_is_room() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    relay.store(&SHARD, events(0..3)).await;
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
    let mut owned = relay.own(&SHARD).await;
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
    let mut owned = relay.own(&SHARD).await;
    assert_eq!(bodies(&take(&mut owned, 1).await), numbers(2..3));
    owned.release().await;
}
