use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use futures_util::StreamExt;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use refersion_relay_tests::http_client;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{connect, say};

#[derive(Deserialize)]
struct Event {
    traits: Traits,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traits {
    email: String,
    first_name: String,
    last_name: String,
    phone: String,
}

#[derive(Serialize)]
struct Affiliate {
    email: String,
    first_name: String,
    last_name: String,
    phone: String,
}

pub(super) async fn run(
    url: &str,
    queue: &str,
    refersion: &str,
    in_flight: u16,
    together: usize,
) -> anyhow::Result<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(in_flight, BasicQosOptions::default()).await?;
    let refersion = Arc::new(Refersion { http: http_client().build()?, url: format!("{refersion}/affiliate/new") });
    let consuming =
        channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consuming.await?;
    let acks = Arc::new(Acks { channel, together, done: Mutex::default() });
    say("ready")?;
    loop {
        let delivery = consumer.next().await.context("the queue is still there")??;
        let (refersion, acks) = (refersion.clone(), acks.clone());
        tokio::spawn(async move {
            if let Err(error) = work(delivery, &refersion, &acks).await {
                eprintln!("throughput: {error:#}");
            }
        });
    }
}

async fn work(delivery: Delivery, refersion: &Refersion, acks: &Acks) -> anyhow::Result<()> {
    let Event { traits } = serde_json::from_slice(&delivery.data)?;
    let Traits { email, first_name, last_name, phone } = traits;
    refersion.create(&Affiliate { email, first_name, last_name, phone }).await?;
    acks.done(delivery.delivery_tag).await
}

struct Refersion {
    http: reqwest::Client,
    url: String,
}

impl Refersion {
    async fn create(&self, affiliate: &Affiliate) -> anyhow::Result<()> {
        let request = self.http.post(&self.url).header("content-type", "application/json");
        let request = request.header("refersion-public-key", "pub_1").header("refersion-secret-key", "sec_1");
        let answer = request.body(serde_json::to_vec(affiliate)?).send().await?.error_for_status()?;
        serde_json::from_slice::<serde_json::Value>(&answer.bytes().await?)?;
        Ok(())
    }
}

/// Acknowledges each, or so many at a time when all before them are done as well.
struct Acks {
    channel: Channel,
    together: usize,
    done: Mutex<Acknowledged>,
}

#[derive(Default)]
struct Acknowledged {
    /// All up to this one are acknowledged.
    acknowledged: u64,
    /// Those behind it.
    tags: BTreeSet<u64>,
}

impl Acks {
    async fn done(&self, tag: u64) -> anyhow::Result<()> {
        if self.together == 1 {
            return Ok(self.channel.basic_ack(tag, BasicAckOptions { multiple: false }).await?);
        }
        // Held until it is sent: the broker ends a channel that acknowledges what a later one has acknowledged.
        let mut done = self.done.lock().await;
        done.tags.insert(tag);
        if let Some(last) = done.take(self.together) {
            self.channel.basic_ack(last, BasicAckOptions { multiple: true }).await?;
        }
        Ok(())
    }
}

impl Acknowledged {
    /// The last of `together` or more that follow on the acknowledged ones without a gap, which count as acknowledged then.
    fn take(&mut self, together: usize) -> Option<u64> {
        let run = self.tags.iter().zip(self.acknowledged + 1..).take_while(|(tag, next)| *tag == next);
        let (count, last) = run.fold((0, 0), |(count, _), (tag, _)| (count + 1, *tag));
        if count < together {
            return None;
        }
        self.acknowledged = last;
        self.tags = self.tags.split_off(&(last + 1));
        Some(last)
    }
}
