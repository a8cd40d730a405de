use std::collections::BTreeMap;

use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Place, Queue, QueueError};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::node;
use refersion_relay_queue_testkit::events::{DELIVERED, body, crowd, work};
use refersion_relay_queue_testkit::judges::{by, number, replay};
use refersion_relay_queue_testkit::rabbitmq::Relay;
use refersion_relay_queue_testkit::waiting::PATIENCE;

#[tokio::test]
async fn a_broker_that_dies_under_a_sweep_loses_nothing() {
    const LETTERS: usize = 2_000;
    let mut node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    relay.store(&Place::Dead(Class::Invalid), crowd(0..LETTERS)).await;
    let (sender, mut reached) = mpsc::unbounded_channel();
    let mut judge = by(move |letter| {
        if number(letter) == 700 {
            sender.send(()).unwrap();
        }
        match number(letter) % 2 {
            0 => Action::Keep,
            _ => replay(letter, number(letter)),
        }
    });
    let queue = relay.queue.clone();
    let sweep = tokio::spawn(async move {
        queue.sweep(Class::Invalid, 20.try_into().unwrap(), &mut judge, &CancellationToken::new()).await
    });
    reached.recv().await.unwrap();

    node.kill().await;

    let swept = timeout(PATIENCE * 2, sweep).await.expect("it ends").unwrap();
    assert!(matches!(swept, Err(QueueError::Away(_) | QueueError::NotCopied(_))), "{swept:?}");
    node.restart().await.unwrap();
    relay.until_up().await;
    let mut copies = BTreeMap::<usize, usize>::new();
    for letter in relay.bodies(Class::Invalid).await {
        *copies.entry(letter.parse().unwrap()).or_default() += 1;
    }
    let mut owned = relay.own(&work()).await;
    for _ in 0..relay.depth(&work()).await + 100 {
        let Ok(Some(delivery)) = timeout(std::time::Duration::from_secs(2), owned.next()).await else { break };
        *copies.entry(body(&delivery.message).parse().unwrap()).or_default() += 1;
        delivery.settle(DELIVERED).await.unwrap();
    }
    owned.release().await;
    let lost: Vec<_> = (0..LETTERS).filter(|number| !copies.contains_key(number)).collect();
    assert_eq!(lost, [0; 0]);
    println!("{} letters are there more than once", copies.values().filter(|count| 1 < **count).count());
}
