//! Requests to the one process that reads the mailbox.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::BasicProperties;
use refersion_relay_queue::{MailboxDepth, MailboxError, MailboxReader, Queue, RabbitMq, RabbitMqSettings};
use refersion_relay_telemetry::Metrics;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::waiting::eventually;

/// Answers what begins with "ask" by what it has read before.
#[derive(Default)]
struct Remembers {
    read: Mutex<Vec<String>>,
    is_stuck: AtomicBool,
    tries: AtomicUsize,
}

#[async_trait]
impl MailboxReader for Remembers {
    async fn read(&self, requests: Vec<Bytes>) -> Option<Vec<Option<Bytes>>> {
        self.tries.fetch_add(1, Ordering::Relaxed);
        if self.is_stuck.load(Ordering::Relaxed) {
            return None;
        }
        let mut read = self.read.lock().unwrap();
        let mut answers = Vec::new();
        for request in requests {
            let request = String::from_utf8(request.to_vec()).unwrap();
            answers.push(request.starts_with("ask").then(|| Bytes::from(read.join(","))));
            read.push(request);
        }
        Some(answers)
    }
}

impl Remembers {
    fn all(&self) -> Vec<String> {
        self.read.lock().unwrap().clone()
    }
}

async fn started() -> Relay {
    let url = shared_broker();
    Relay::start_with(&url, RabbitMqSettings { directory: Some("0a1b2c3d".to_owned()), ..settings(&url) }).await
}

/// Another process with the same mailbox.
fn another(relay: &Relay) -> Arc<RabbitMq> {
    Arc::new(RabbitMq::start(relay.settings.clone(), Metrics::new()))
}

struct Reading {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn read(queue: &Arc<RabbitMq>, reader: &Arc<Remembers>) -> Reading {
    let (queue, reader, stop) = (queue.clone(), reader.clone(), CancellationToken::new());
    let stopped = stop.clone();
    Reading { stop, task: tokio::spawn(async move { queue.read_mailbox(&*reader, &stopped).await }) }
}

impl Reading {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn clean(relay: Relay) {
    relay.instance.queue.close().await;
    relay.admin.delete_queue(&relay.name("directory.0a1b2c3d")).await;
    relay.clean().await;
}

#[tokio::test]
async fn whatever_was_told_before_is_known_when_a_question_is_answered() {
    let relay = started().await;
    let (mailbox, reader) = (relay.queue.mailbox().unwrap(), Arc::<Remembers>::default());
    // Nobody reads yet.
    for n in 0..3 {
        mailbox.tell(format!("told {n}")).await.unwrap();
    }
    let depth =
        eventually("the messages", async || relay.queue.mailbox_depth().await.ok().filter(|depth| 1 <= depth.messages));
    assert!(!depth.await.is_read);
    let reading = read(&relay.queue, &reader);
    let elsewhere = another(&relay);
    let theirs = elsewhere.mailbox().unwrap();

    assert_eq!(mailbox.ask("ask 1").await.unwrap(), "told 0,told 1,told 2");
    theirs.tell("told 3").await.unwrap();
    assert_eq!(theirs.ask("ask 2").await.unwrap(), "told 0,told 1,told 2,ask 1,told 3");

    // Many at once, each with its own answer.
    let asking = (0..200).map(|n| {
        let mailbox = mailbox.clone();
        tokio::spawn(async move {
            mailbox.tell(format!("of {n}.")).await.unwrap();
            let answer = mailbox.ask(format!("ask of {n}.")).await.unwrap();
            assert!(String::from_utf8_lossy(&answer).contains(&format!(",of {n}.")), "{n}");
        })
    });
    for asked in asking.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    assert_eq!(reader.all().len(), 6 + 400, "each once");
    assert!(reader.tries.load(Ordering::Relaxed) < 200, "together");
    reading.end().await;
    elsewhere.close().await;
    clean(relay).await;
}

#[tokio::test]
async fn what_could_not_be_done_comes_again_and_of_two_readers_one_has_the_mailbox() {
    let relay = started().await;
    let mailbox = relay.queue.mailbox().unwrap();
    let (first, second) = (Arc::<Remembers>::default(), Arc::<Remembers>::default());
    first.is_stuck.store(true, Ordering::Relaxed);
    let reading = read(&relay.queue, &first);
    mailbox.tell("told").await.unwrap();
    eventually("it is tried again", async || (2 <= first.tries.load(Ordering::Relaxed)).then_some(())).await;
    let elsewhere = another(&relay);
    let standing_by = read(&elsewhere, &second);
    let is_read = Some(MailboxDepth { messages: 0, is_read: true });
    eventually("it is read", async || (relay.queue.mailbox_depth().await.ok() == is_read).then_some(())).await;

    reading.end().await;

    assert_eq!(mailbox.ask("ask").await.unwrap(), "told");
    assert_eq!((first.all().len(), second.all().len()), (0, 2));
    standing_by.end().await;
    elsewhere.close().await;
    clean(relay).await;
}

#[tokio::test]
async fn nobody_who_asks_waits_for_ever() {
    let relay = started().await;
    let mailbox = relay.queue.mailbox().unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(mailbox.ask("ask 1").await, Err(MailboxError::Silent));
    assert!(Duration::from_secs(4) < began.elapsed());
    // The next ones know that nobody reads, and leave nothing that somebody would have to read one day.
    let began = tokio::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(mailbox.ask("ask 2").await, Err(MailboxError::Silent));
    }
    assert!(began.elapsed() < Duration::from_secs(4));
    let one = Some(MailboxDepth { messages: 1, is_read: false });
    eventually("one waits", async || (relay.queue.mailbox_depth().await.ok() == one).then_some(())).await;

    let reader = Arc::<Remembers>::default();
    let reading = read(&relay.queue, &reader);
    eventually("there is an answer", async || mailbox.ask("ask 3").await.ok()).await;
    reading.end().await;
    clean(relay).await;
}

#[tokio::test]
async fn a_mailbox_that_somebody_deletes_is_there_again_with_the_next_request() {
    let relay = started().await;
    let (mailbox, reader) = (relay.queue.mailbox().unwrap(), Arc::<Remembers>::default());
    mailbox.tell("told before").await.unwrap();
    let queue = relay.name("directory.0a1b2c3d");
    relay.admin.delete_queue(&queue).await;
    mailbox.tell("told after").await.unwrap();
    relay.admin.unbind(&queue, &relay.name("notes"), &queue).await;
    mailbox.tell("told without a binding").await.unwrap();

    let reading = read(&relay.queue, &reader);

    assert_eq!(mailbox.ask("ask").await.unwrap(), "told after,told without a binding");
    relay.admin.delete_queue(&queue).await;
    eventually("it is read again", async || mailbox.ask("ask").await.ok()).await;
    reading.end().await;
    clean(relay).await;
}

#[tokio::test]
async fn who_hears_no_answers_any_more_listens_anew() {
    let relay = started().await;
    let (mailbox, reader) = (relay.queue.mailbox().unwrap(), Arc::<Remembers>::default());
    let reading = read(&relay.queue, &reader);
    let elsewhere = another(&relay);
    let theirs = elsewhere.mailbox().unwrap();
    for mailbox in [&mailbox, &theirs] {
        eventually("there is an answer", async || mailbox.ask("ask").await.ok()).await;
    }

    // With it go the bindings of both.
    relay.admin.delete_exchange(&relay.name("notes")).await;

    for mailbox in [&mailbox, &theirs] {
        eventually("there is an answer again", async || mailbox.ask("ask").await.ok()).await;
    }
    reading.end().await;
    elsewhere.close().await;
    clean(relay).await;
}

#[tokio::test]
async fn a_strangers_message_is_dropped_and_answers_go_to_nobody_but_who_asks() {
    let relay = started().await;
    let (mailbox, reader) = (relay.queue.mailbox().unwrap(), Arc::<Remembers>::default());
    let (notes, queue) = (relay.name("notes"), relay.name("directory.0a1b2c3d"));
    relay.admin.publish(&notes, &queue, b"garbage", BasicProperties::default()).await;
    // A question that wants its answer in the journal of counts.
    let question = [&7_u64.to_be_bytes()[..], &3_u32.to_be_bytes(), b"ask"].concat();
    let journal = relay.name("tally");
    let before = relay.admin.ready(&journal).await;
    relay
        .admin
        .publish(&notes, &queue, &question, BasicProperties::default().with_reply_to(journal.as_str().into()))
        .await;

    let reading = read(&relay.queue, &reader);

    assert_eq!(mailbox.ask("ask again").await.unwrap(), "ask");
    let entries = relay.admin.bodies(&journal).await;
    assert!(entries.len() >= before as usize);
    assert!(entries.iter().all(|entry| !entry.starts_with(&7_u64.to_be_bytes())), "{entries:?}");
    reading.end().await;
    clean(relay).await;
}
