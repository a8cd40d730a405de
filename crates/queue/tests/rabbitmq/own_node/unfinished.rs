//! A queue that a broker died in the middle of making is there ever after, and nobody leads it.

use lapin::types::{AMQPValue, FieldTable};
use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_queue::{BrokerState, Queue, QueueError, RabbitMq, RabbitMqSettings};

use super::node;
use crate::support::events::{crowd, work};
use crate::support::instance::{Instance, ROOM};
use crate::support::rabbitmq::{Relay, settings};
use crate::support::waiting::take;

/// Leaves a queue as a restarted broker does that died between remembering it and electing who leads it: with a member that
/// has nothing, and waits to be told to vote.
async fn leave_unfinished(node: &PrivateBroker, queue: &str) {
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

/// Makes a queue as far as a broker does that dies meanwhile.
async fn begin_to_make(node: &PrivateBroker, relay: &Relay, queue: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
    // The relay declares what marks need when it first asks for one.
    relay.admin.mark(&relay.settings.prefix, &format!("{queue}.begun")).await;
    relay.admin.declare_queue(queue, arguments).await;
    leave_unfinished(node, queue).await;
}

/// Another process with the same settings.
async fn another(node: &PrivateBroker, relay: &Relay) -> Instance<RabbitMq> {
    Relay::start_with(&node.url(), relay.settings.clone()).await.instance
}

#[tokio::test]
async fn counts_find_a_slot_though_the_broker_died_while_it_was_made() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    begin_to_make(&node, &relay, &relay.name("tally.0")).await;

    // Nothing was ever stored in it, and it keeps nobody from adding up.
    assert_eq!(relay.queue.conservation().await.unwrap().accepted, 0);

    let short = another(&node, &relay).await;
    short.store(&work(), crowd(0..5)).await;
    short.queue.close().await; // at once, as a command does
    let sum = relay.queue.conservation().await.unwrap();
    assert_eq!((sum.accepted, sum.difference(), sum.tolerance.events()), (5, 0, 0), "{sum}");
}

#[tokio::test]
async fn a_baseline_is_set_though_the_broker_died_while_its_place_was_made() {
    let node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    begin_to_make(&node, &relay, &relay.name("tally.baseline")).await;
    let short = another(&node, &relay).await;
    short.store(&work(), crowd(0..5)).await;
    short.queue.close().await;
    relay.admin.purge(&relay.work_queue("acme")).await;
    assert_eq!(relay.queue.conservation().await.unwrap().difference(), -5);

    relay.queue.set_baseline().await.unwrap();

    assert_eq!(relay.queue.conservation().await.unwrap().difference(), 0);
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
async fn what_was_counted_first_of_all_survives_the_broker() {
    let mut node = node().await;
    let settings = RabbitMqSettings { settles_in: RabbitMqSettings::SETTLES_IN, ..settings(&node.url()) };
    let relay = Relay::start_with(&node.url(), settings).await;
    relay.store(&work(), crowd(0..5)).await;

    node.kill().await;
    node.restart().await.unwrap();

    relay.until("up again", BrokerState::is_up).await;
    relay.store(&work(), crowd(5..8)).await;
    relay.queue.close().await; // with the last note
    let after = Relay::start_with(&node.url(), relay.settings.clone()).await;
    let sum = after.queue.conservation().await.unwrap();
    assert_eq!((sum.accepted, sum.difference(), sum.tolerance.deaths), (8, 0, 0), "{sum}");
}
