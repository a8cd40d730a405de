//! A queue that a broker died in the middle of making is there ever after, and nobody leads it.

use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_queue::{Queue, QueueError};

use super::node;
use refersion_relay_queue_testkit::events::{DELIVERED, crowd, work};
use refersion_relay_queue_testkit::instance::ROOM;
use refersion_relay_queue_testkit::rabbitmq::Relay;
use refersion_relay_queue_testkit::waiting::{eventually, take};

/// Leaves a queue as a restarted broker does that died between remembering it and electing who leads it: with a member that
/// has nothing, and waits to be told to vote.
pub(super) async fn leave_unfinished(node: &PrivateBroker, queue: &str) {
    let program = format!(
        r#"Name = rabbit_misc:r(<<"/">>, queue, <<"{queue}">>),
           {{ok, Queue}} = rabbit_amqqueue:lookup(Name),
           Id = amqqueue:get_pid(Queue),
           ok = ra:force_delete_server(quorum_queues, Id),
           Machine = {{module, rabbit_fifo, #{{name => element(1, Id), queue_resource => Name}}}},
           ra:start_server(quorum_queues, element(1, Id), Id, Machine, [Id])."#
    );
    assert_eq!(node.ctl(&["eval", &program]).await.unwrap().trim(), "ok");
}

#[tokio::test]
async fn a_queue_that_answers_nobody_is_named_and_works_once_it_was_deleted() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    assert_eq!(relay.queue.check().await.unwrap().differences, [""; 0]);
    let (queue, tier) = (relay.work_queue("acme"), relay.name("retry.1s"));
    for name in [&queue, &tier] {
        leave_unfinished(&node, name).await;
    }

    let found = relay.queue.check().await.unwrap().differences;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains(&queue) && found[1].contains(&tier), "{found:?}");
    let Err(QueueError::Away(why)) = relay.queue.own(work(), ROOM).await else { panic!("nobody leads it") };
    assert!(why.ends_with(&format!("the queue {queue} does not answer")), "{why}");

    for name in [&queue, &tier] {
        relay.admin.delete_queue(name).await;
    }
    assert_eq!(relay.queue.check().await.unwrap().differences, [""; 0]);
    relay.store(&work(), crowd(0..5)).await;
    let mut owned = relay.own(&work()).await;
    take(&mut owned, 5).await;
    owned.release().await;
}

#[tokio::test]
async fn events_are_stored_and_worked_though_the_journal_of_counts_answers_nobody() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    let journal = relay.name("tally");
    leave_unfinished(&node, &journal).await;

    let next = Relay::start_with(&node.url(), relay.settings.clone()).await;

    next.store(&work(), crowd(0..5)).await;
    let mut owned = next.own(&work()).await;
    for delivery in take(&mut owned, 5).await {
        delivery.settle(DELIVERED).await.unwrap();
    }
    owned.release().await;
    let found = next.queue.check().await.unwrap().differences;
    assert!(found.len() == 1 && found[0].contains(&journal), "{found:?}");
    let Err(QueueError::Away(why)) = next.queue.conservation().await else { panic!("nobody leads it") };
    assert!(why.contains(&format!("the queue {journal} does not answer")), "{why}");
    relay.admin.delete_queue(&journal).await;
    relay.queue.check().await.unwrap(); // declares it again
    let counted = async || next.queue.conservation().await.ok().filter(|sum| sum.delivered == 5);
    let sum = eventually("what was counted meanwhile", counted).await;
    assert_eq!(sum.difference(), 0, "{sum}");
}
