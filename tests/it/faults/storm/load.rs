use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::installation::Installation;
use super::oracle::{Oracle, Person, Said, last_name};

const SENDERS: u64 = 8;
/// People of a sender who appear again and again, some of them far more often than others.
const REGULARS: u32 = 40;

/// Events that are sent one after another by senders who repeat what was not accepted, as Segment does.
///
/// Each sender has people of its own, so the order in which somebody's events were accepted is known.
pub(super) struct Load<'a> {
    installation: &'a Installation,
    oracle: &'a Oracle,
    events: u64,
    seed: u64,
    /// Whether one delete in two names only an id.
    by_id: bool,
}

impl<'a> Load<'a> {
    pub(super) fn new(installation: &'a Installation, oracle: &'a Oracle, events: u64, seed: u64) -> Self {
        Self { installation, oracle, events, seed, by_id: installation.has_directory() }
    }

    pub(super) async fn send(&self) {
        join_all((0..SENDERS).map(|sender| self.send_as(sender))).await;
    }

    async fn send_as(&self, sender: u64) {
        let mut random = StdRng::seed_from_u64(self.seed ^ (sender + 1));
        for n in 0..self.events.div_ceil(SENDERS) {
            let version = u32::try_from(n).expect("fewer");
            let (mut person, mut said) = draw(&mut random, sender, version);
            if said == Said::Delete && !self.oracle.knows(&person) {
                // Who is deleted first and comes right behind that may be deleted again, when both are worked a second time:
                // the one case in which a repeat leads elsewhere.
                person.email = format!("nobody-{version}-{sender}@example.com");
            } else if said == Said::Delete && self.by_id && n % 2 == 0 {
                said = Said::DeleteById;
            }
            let event = event(&person, said, &format!("storm-{sender}-{n}"));
            self.until_accepted(&person, &event).await;
            self.oracle.accept(&person, said);
        }
    }

    async fn until_accepted(&self, person: &Person, event: &Value) {
        let key = format!("pub_{0}.sec_{0}", person.account);
        loop {
            match self.installation.post(&key, event.to_string().into_bytes()).await {
                Some(202) => return,
                Some(503) | None => tokio::task::yield_now().await,
                Some(other) => panic!("{event} was answered with {other}"),
            }
        }
    }
}

fn draw(random: &mut StdRng, sender: u64, version: u32) -> (Person, Said) {
    // Some regulars have far more of the events than others.
    let regular = |random: &mut StdRng| {
        let mut first = REGULARS;
        while 1 < first && random.random_bool(0.5) {
            first /= 2;
        }
        random.random_range(0..first)
    };
    match random.random_range(0..100) {
        // Somebody new: one event, which is there afterwards or lost.
        0..45 => {
            (Person { account: 2, email: format!("new-{version}-{sender}@example.com") }, Said::Identify { version })
        }
        45..48 => {
            (Person { account: 2, email: format!("refusedforgood-{version}-{sender}@example.com") }, Said::Refused)
        }
        48..60 => {
            let email = format!("kept-{}-{sender}@example.com", regular(random));
            (Person { account: 2, email }, Said::Identify { version })
        }
        // Sooner or later nearly all of them are deleted, so there is always a new one in their place.
        60..98 => {
            let email = format!("regular-{}-{}-{sender}@example.com", version / 150, regular(random));
            // One event in two says what the one before it has said, if both are about the same person.
            (Person { account: 1, email }, Said::Identify { version: version - version % 2 })
        }
        _ => {
            let email = format!("regular-{}-{}-{sender}@example.com", version / 150, regular(random));
            (Person { account: 1, email }, Said::Delete)
        }
    }
}

fn event(person: &Person, said: Said, message_id: &str) -> Value {
    let email = &person.email;
    let identify = |version| {
        let traits = json!({ "firstName": "Storm", "lastName": last_name(version), "email": email });
        json!({ "type": "identify", "messageId": message_id, "userId": user(email), "traits": traits })
    };
    match said {
        Said::Identify { version } => identify(version),
        Said::Refused => identify(0),
        Said::Delete => json!({ "type": "delete", "messageId": message_id, "email": email }),
        Said::DeleteById => json!({ "type": "delete", "messageId": message_id, "userId": user(email) }),
    }
}

/// The merchant's id of somebody.
fn user(email: &str) -> &str {
    email.split('@').next().unwrap_or(email)
}
