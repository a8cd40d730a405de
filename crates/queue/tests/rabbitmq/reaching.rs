//! Reaching a broker, or not.

use std::time::Duration;

use refersion_relay_model::Class;
use refersion_relay_queue::{BrokerState, BrokerUrl, Place, PublishError, Queue, QueueError, RabbitMq};
use refersion_relay_telemetry::{Connection, Metrics};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use refersion_relay_queue_testkit::events::{bodies, crowd, events, numbers, other_work, work};
use refersion_relay_queue_testkit::instance::{EVERYTHING, ROOM};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::waiting::{PATIENCE, take};

/// More than the five seconds that one host is given, and much less than for ever.
const BOUND: Duration = Duration::from_secs(7);

#[tokio::test]
async fn a_host_that_accepts_and_never_answers_holds_nobody() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(silent.accept().await.unwrap());
        }
    });
    let begin = Instant::now();
    let queue = RabbitMq::start(settings(&format!("amqp://guest:s3cret@{address}/%2f")), Metrics::new());
    let mut state = queue.state();

    let said = state.wait_for(|state| matches!(state, BrokerState::Away { why } if why.contains("did not answer")));
    let mut ignored = |_| ();
    let (said, owned, browsed, checked) = timeout(PATIENCE, async {
        tokio::join!(
            said,
            queue.own(work(), ROOM),
            queue.browse(Class::Invalid, EVERYTHING, &mut ignored),
            queue.check()
        )
    })
    .await
    .expect("something waits for ever");

    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    let said = said.unwrap().to_string();
    assert!(said.contains(&address.to_string()) && !said.contains("s3cret"), "{said}");
    assert!(matches!(owned.map(drop), Err(QueueError::Away(_))));
    assert!(matches!(browsed, Err(QueueError::Away(_))));
    assert!(matches!(checked, Err(QueueError::Away(_))));
    assert!(matches!(queue.depth(&work()).await, Err(QueueError::Away(_))));
    let refused = queue.publish(vec![(work(), events(0..1).remove(0))]).await;
    assert!(matches!(refused[..], [Err(PublishError::Refused(_))]), "{refused:?}");
    accepting.abort();
}

/// lapin keeps an attempt that was abandoned open, with a thread of its own, for as long as the peer does.
#[tokio::test]
async fn a_host_that_was_silent_is_asked_in_a_way_that_leaves_nothing_behind() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let _queue = RabbitMq::start(settings(&format!("amqp://guest:guest@{address}/%2f")), Metrics::new());
    let (_first, _) = silent.accept().await.unwrap();

    let (mut second, _) = timeout(PATIENCE, silent.accept()).await.expect("it does not try again").unwrap();

    let mut said = Vec::new();
    timeout(PATIENCE, second.read_to_end(&mut said)).await.expect("the attempt is left open").unwrap();
    assert_eq!(said, b"AMQP\0\0\x09\x01");
}

#[tokio::test]
async fn a_dead_host_among_several_is_passed_over() {
    let url = shared_broker();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap(); // closed again at once
    let mut settings = settings(&url);
    settings.url = BrokerUrl::parse(&url.replace('@', &format!("@{dead},"))).unwrap();

    let relay = Relay::start_with(&url, settings).await;

    // Each connects anew, to a random host first: that all of them meet the good one first happens once in 4096 runs.
    for _ in 0..12 {
        relay.queue.check().await.unwrap();
    }
    relay.store(&work(), events(0..1)).await;
    relay.clean().await;
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_shown() {
    let url = shared_broker().replace("guest:guest@", "guest:wr0ng@");
    let queue = RabbitMq::start(settings(&url), Metrics::new());

    let mut state = queue.state();
    let state = timeout(
        PATIENCE,
        state.wait_for(|state| state.to_string().contains("refuses the user or password of queue.url")),
    )
    .await;

    let state = state.expect("the state never says why").unwrap().to_string();
    assert!(!state.contains("wr0ng"), "{state}");
}

#[tokio::test]
async fn an_exchange_that_is_deleted_is_declared_again_and_nothing_confirmed_is_lost() {
    let relay = Relay::start().await;
    relay.store(&work(), events(0..5)).await;
    relay.admin.delete_exchange(&relay.name("events")).await;

    let results = relay.queue.publish(crowd(5..25).into_iter().map(|message| (work(), message)).collect()).await;

    let failed =
        |result: &Result<(), PublishError>| matches!(result, Err(PublishError::Unknown(_) | PublishError::Refused(_)));
    assert!(results.iter().all(failed), "{results:?}");
    assert!(matches!(&results[0], Err(PublishError::Unknown(why)) if why.contains("no exchange")), "{results:?}");
    relay.until("away", |state| !state.is_up()).await;
    relay.until_up().await;
    assert_eq!(relay.metrics.connections_lost(Connection::Publish), 1);
    relay.store(&work(), events(25..30)).await;
    relay.store(&other_work(), events(30..31)).await;
    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 10).await), numbers((0..5).chain(25..30)));
    assert_eq!(relay.depth(&Place::Dead(Class::Unrouted)).await, 0);
    owned.release().await;
    relay.clean().await;
}
