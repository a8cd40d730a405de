use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use refersion_relay_private_broker::{Options, PrivateBroker};
use refersion_relay_queue::{BrokerState, BrokerUrl, Queue, Terms};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use refersion_relay_queue_testkit::events::{DELIVERED, body, crowd, work};
use refersion_relay_queue_testkit::instance::ROOM;
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings};
use refersion_relay_queue_testkit::waiting::{PATIENCE, eventually};

/// Three nodes; the second and the third have joined the first.
async fn cluster() -> Vec<PrivateBroker> {
    let first = PrivateBroker::start().await.expect("RabbitMQ is installed");
    let mut nodes = vec![first];
    for _ in 0..2 {
        let cluster = Some(nodes[0].membership().unwrap());
        nodes.push(PrivateBroker::start_with(Options { cluster, ..Options::default() }).await.expect("it joins"));
    }
    nodes
}

/// The position of the node that leads a queue.
async fn leader(nodes: &[PrivateBroker], ask: usize, queue: &str) -> usize {
    let listed = nodes[ask].ctl(&["list_queues", "name", "leader", "members"]).await.unwrap();
    let line = listed.lines().find(|line| line.starts_with(&format!("{queue}\t"))).expect("it is there");
    let mut columns = line.split('\t').skip(1);
    let (leader, members) = (columns.next().unwrap(), columns.next().unwrap());
    assert!(nodes.iter().all(|node| members.contains(node.name())), "a member on each node: {line}");
    nodes.iter().position(|node| node.name() == leader).unwrap_or_else(|| panic!("{leader} is none of ours"))
}

#[tokio::test]
async fn a_cluster_that_loses_the_node_that_leads_loses_no_event_and_goes_on() {
    const BEFORE: usize = 500;
    const EVENTS: usize = 1_500;
    let mut nodes = cluster().await;
    let hosts: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let mut settings = settings(&nodes[0].url());
    settings.url = BrokerUrl::parse(&format!("amqp://guest:guest@{}/%2f", hosts.join(","))).unwrap();
    let relay = Relay::start_with(&nodes[0].url(), settings).await;
    let leading = leader(&nodes, 0, &relay.work_queue("acme")).await;
    relay.store(&work(), crowd(0..BEFORE)).await;

    // Somebody works all the time, and somebody publishes all the time and repeats what was not confirmed.
    let stop = CancellationToken::new();
    let (worked, stopped) = (Arc::new(std::sync::Mutex::new(BTreeSet::new())), stop.clone());
    let working = tokio::spawn({
        let (queue, worked): (Arc<dyn Queue>, _) = (relay.queue.clone(), worked.clone());
        async move {
            let mut terms = Terms::new(queue, work());
            while let Some(mut owned) = terms.next(ROOM, &stopped).await {
                while let Some(Some(delivery)) = stopped.run_until_cancelled(owned.next()).await {
                    let body = body(&delivery.message);
                    if delivery.settle(DELIVERED).await.is_ok() {
                        worked.lock().unwrap().insert(body);
                    }
                }
                owned.release().await;
            }
        }
    });
    let is_killed = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (queue, is_killed) = (relay.queue.clone(), is_killed.clone());
        async move {
            let (mut repeated, mut after) = (0, 0);
            for message in crowd(BEFORE..EVENTS) {
                while queue.publish(vec![(work(), message.clone())]).await.remove(0).is_err() {
                    repeated += 1;
                    queue.state().wait_for(BrokerState::is_up).await.unwrap();
                }
                after += usize::from(is_killed.load(Ordering::SeqCst));
            }
            (repeated, after)
        }
    });
    eventually("a good deal is worked", async || (BEFORE + 200 <= worked.lock().unwrap().len()).then_some(())).await;

    nodes[leading].kill().await;

    is_killed.store(true, Ordering::SeqCst);
    let (repeated, after) = timeout(PATIENCE * 2, publishing).await.expect("publishing goes on").unwrap();
    assert!(0 < after, "everything was published before the node died");
    eventually("every confirmed event is worked", async || (worked.lock().unwrap().len() == EVENTS).then_some(()))
        .await;
    println!("{after} of {EVENTS} events were confirmed after the node had died; {repeated} publishes were repeated");
    let ask = (leading + 1) % 3;
    assert_ne!(leader(&nodes, ask, &relay.work_queue("acme")).await, leading);
    stop.cancel();
    working.await.unwrap();
}
