use std::time::SystemTime;

use lapin::BasicProperties;
use lapin::message::Delivery;
use refersion_relay_model::{AccountName, Class};

use super::properties;
use crate::rabbitmq::topology::names::{DIED_AT_INTAKE, Names};
use crate::{Death, Headers, Message, Place};

/// Where a delivery is taken from, as far as that changes how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Intake,
    Work(AccountName),
    Dead(Class),
    Elsewhere,
}

/// The way a delivery took, as the broker says it.
#[derive(Clone, Copy, Debug)]
struct Route<'a> {
    exchange: &'a str,
    routing_key: &'a str,
}

impl Origin {
    pub(crate) fn place(place: &Place) -> Self {
        match place {
            Place::Intake => Self::Intake,
            Place::Dead(class) => Self::Dead(*class),
            Place::Work(account) => Self::Work(account.clone()),
            Place::Later(..) => Self::Elsewhere,
        }
    }
}

/// Reads a delivery, and takes its body out of it.
pub(crate) fn message(names: &Names, origin: &Origin, delivery: &mut Delivery) -> Message {
    let body = std::mem::take(&mut delivery.data);
    let route = Route { exchange: delivery.exchange.as_str(), routing_key: delivery.routing_key.as_str() };
    read(names, origin, route, body, &delivery.properties)
}

/// Reads a delivery. One that a pipeline published has no headers of ours, whatever it claims, also when the broker itself
/// has put it among the dead letters since. Only what the broker says is believed: the queue, the exchange and the routing key.
fn read(names: &Names, origin: &Origin, route: Route<'_>, body: Vec<u8>, properties: &BasicProperties) -> Message {
    let class = match origin {
        Origin::Dead(class) => Some(*class),
        Origin::Intake | Origin::Work(_) | Origin::Elsewhere => None,
    };
    let message = properties::read(body, properties, class);
    let account = names.intake_account(route.exchange);
    // Whose exchange such a letter came through is not known any more: what says so can be forged.
    let died_there = route.routing_key == DIED_AT_INTAKE;
    let mut message = if *origin == Origin::Intake || account.is_some() || died_there {
        plain(message, account, class.map(|class| properties::broker_death(class, properties)))
    } else {
        message
    };
    if let Origin::Work(account) = origin {
        message.headers.account = Some(account.clone());
    }
    message
}

fn plain(message: Message, account: Option<AccountName>, death: Option<Death>) -> Message {
    let headers = Headers {
        message_id: String::new(),
        kind: String::new(),
        account,
        subject: None,
        received_at: SystemTime::now(),
        attempts: 0,
        first_failed_at: None,
        due_at: None,
        generation: 0,
        create_only: false,
        vouched: false,
        traceparent: message.headers.traceparent,
        death,
    };
    Message { body: message.body, headers }
}

#[cfg(test)]
mod instruction_counts;

#[cfg(test)]
mod tests {
    use lapin::types::{AMQPValue, FieldTable};

    use super::*;

    fn forged(more: &[(&str, &str)]) -> BasicProperties {
        let mut table = FieldTable::default();
        let entries = [("x-relay-account", "victim"), ("x-relay-attempts", "9"), ("x-relay-reason", "refused")];
        for (key, value) in entries.iter().chain(more) {
            table.insert((*key).into(), AMQPValue::LongString((*value).into()));
        }
        BasicProperties::default().with_headers(table).with_message_id("peter@example.com".into())
    }

    fn account(origin: &Origin, exchange: &str, key: &str, properties: &BasicProperties) -> (Option<String>, u32) {
        let route = Route { exchange, routing_key: key };
        let headers = read(&Names::new("refersion"), origin, route, b"{}".to_vec(), properties).headers;
        (headers.account.map(String::from), headers.attempts)
    }

    #[test]
    fn a_pipeline_speaks_for_the_account_of_its_exchange_whatever_it_claims() {
        let acme = (Some("acme".to_owned()), 0);
        let claims = forged(&[
            ("x-first-death-queue", "refersion.events.victim"),
            ("x-first-death-exchange", "refersion.intake.victim"),
        ]);
        assert_eq!(account(&Origin::Intake, "refersion.intake.acme", "victim", &claims), acme);
        assert_eq!(account(&Origin::Intake, "", "refersion.intake", &claims), (None, 0));
        assert_eq!(account(&Origin::Intake, "refersion.intake.Not A Name", "", &claims), (None, 0));
        // No queue took it, or the broker gave up on it.
        assert_eq!(account(&Origin::Dead(Class::Unrouted), "refersion.intake.acme", "", &claims), acme);
        assert_eq!(account(&Origin::Dead(Class::Poison), "refersion.dead", "poison-intake", &claims), (None, 0));
        assert_eq!(account(&Origin::Dead(Class::Unrouted), "refersion.unrouted", "poison-intake", &claims), (None, 0));
    }

    #[test]
    fn what_the_relay_published_itself_keeps_its_headers() {
        let own = (Some("victim".to_owned()), 9);
        assert_eq!(account(&Origin::Dead(Class::Rejected), "refersion.dead", "rejected", &forged(&[])), own);
        assert_eq!(account(&Origin::Dead(Class::Poison), "refersion.dead", "poison", &forged(&[])), own);
    }
    #[test]
    fn a_work_queue_names_the_account_and_nothing_else_of_what_the_relay_wrote() {
        let work = Origin::Work(AccountName::try_from("acme").unwrap());
        assert_eq!(account(&work, "refersion.events", "victim", &forged(&[])), (Some("acme".to_owned()), 9));
        assert_eq!(
            account(&work, "", "refersion.events.acme", &BasicProperties::default()),
            (Some("acme".to_owned()), 0)
        );
    }
}
