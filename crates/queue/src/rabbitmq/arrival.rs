use std::time::{Duration, SystemTime};

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use refersion_relay_model::{AccountName, Class};

use super::names::Names;
use super::properties;
use crate::{Headers, Message, Place};

/// Where a delivery is taken from, as far as that changes how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Intake,
    Dead(Class),
    Elsewhere,
}

impl From {
    pub(crate) fn place(place: &Place) -> Self {
        match place {
            Place::Intake => Self::Intake,
            Place::Dead(class) => Self::Dead(*class),
            Place::Shard(_) | Place::Later(..) | Place::Held(_) => Self::Elsewhere,
        }
    }
}

/// Reads a delivery. One that a pipeline published has no headers of ours, whatever it claims: its account is the one
/// whose exchange it came through, also when the broker itself has put it among the dead letters since.
pub(crate) fn read(names: &Names, from: From, exchange: &str, body: Vec<u8>, properties: &BasicProperties) -> Message {
    let class = match from {
        From::Dead(class) => Some(class),
        From::Intake | From::Elsewhere => None,
    };
    let message = properties::read(body, properties, class);
    let first_exchange = text(properties, "x-first-death-exchange");
    let account = names.intake_account(exchange).or_else(|| names.intake_account(first_exchange.as_deref()?));
    let died_there = text(properties, "x-first-death-queue").is_some_and(|queue| queue == names.intake());
    if from == From::Intake || account.is_some() || died_there {
        let at = class.map(|_| died_at(properties));
        plain(message, account, class, at.unwrap_or_else(SystemTime::now))
    } else {
        message
    }
}

fn plain(message: Message, account: Option<AccountName>, class: Option<Class>, at: SystemTime) -> Message {
    let headers = Headers {
        message_id: String::new(),
        kind: String::new(),
        account,
        subject: None,
        received_at: at,
        attempts: 0,
        first_failed_at: None,
        generation: 0,
        held_at: None,
        traceparent: message.headers.traceparent,
        death: class.map(|class| properties::broker_death(class, at)),
    };
    Message { body: message.body, headers }
}

/// When the broker gave up on it, to the second; for people only. Always the same for one letter, since its id is made
/// from it.
fn died_at(properties: &BasicProperties) -> SystemTime {
    let deaths = properties.headers().as_ref().and_then(|table| table.inner().get("x-death"));
    let seconds = match deaths {
        Some(AMQPValue::FieldArray(deaths)) => match deaths.as_slice().first() {
            Some(AMQPValue::FieldTable(death)) => match death.inner().get("time") {
                Some(AMQPValue::Timestamp(seconds)) => Some(*seconds),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unwrap_or(0).min(u64::from(u32::MAX)))
}

fn text(properties: &BasicProperties, key: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(key)? {
        AMQPValue::LongString(value) => std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(value) => Some(value.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;

    use super::*;

    fn forged(more: &[(&str, &str)]) -> BasicProperties {
        let mut table = FieldTable::default();
        let entries = [("x-relay-account", "victim"), ("x-relay-attempts", "9"), ("x-relay-reason", "refused")];
        for (key, value) in entries.iter().chain(more) {
            table.insert((*key).into(), AMQPValue::LongString((*value).into()));
        }
        BasicProperties::default().with_headers(table).with_message_id("peter@example.com".into())
    }

    fn account(from: From, exchange: &str, properties: &BasicProperties) -> (Option<String>, u32) {
        let headers = read(&Names::new("refersion"), from, exchange, b"{}".to_vec(), properties).headers;
        (headers.account.map(String::from), headers.attempts)
    }

    #[test]
    fn a_pipeline_speaks_for_the_account_of_its_exchange_whatever_it_claims() {
        let acme = (Some("acme".to_owned()), 0);
        assert_eq!(account(From::Intake, "refersion.intake.acme", &forged(&[])), acme);
        assert_eq!(account(From::Intake, "", &forged(&[])), (None, 0));
        assert_eq!(account(From::Intake, "refersion.intake.Not A Name", &forged(&[])), (None, 0));
        // No queue took it, or the broker gave up on it.
        assert_eq!(account(From::Dead(Class::Unrouted), "refersion.intake.acme", &forged(&[])), acme);
        let died =
            forged(&[("x-first-death-queue", "refersion.intake"), ("x-first-death-exchange", "refersion.intake.acme")]);
        assert_eq!(account(From::Dead(Class::Poison), "refersion.dead", &died), acme);
        let died = forged(&[("x-first-death-queue", "refersion.intake"), ("x-first-death-exchange", "")]);
        assert_eq!(account(From::Dead(Class::Poison), "refersion.dead", &died), (None, 0));
    }

    #[test]
    fn what_the_relay_published_itself_keeps_its_headers() {
        let own = (Some("victim".to_owned()), 9);
        assert_eq!(account(From::Elsewhere, "refersion.events", &forged(&[])), own);
        assert_eq!(account(From::Dead(Class::Rejected), "refersion.dead", &forged(&[])), own);
        let died = forged(&[("x-first-death-queue", "refersion.events.n8.3")]);
        assert_eq!(account(From::Dead(Class::Poison), "refersion.dead", &died), own);
    }
}
