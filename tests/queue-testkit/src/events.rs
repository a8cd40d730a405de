//! Events and places that are easy to recognise.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use refersion_relay_model::{AccountName, Class};
use refersion_relay_queue::{Death, Delivery, Ending, Headers, Message, Place, Settle};

/// The only tier there is in the tests.
pub const TIER: Duration = Duration::from_secs(1);
/// The class that most tests put letters into.
pub const INVALID: Place = Place::Dead(Class::Invalid);
pub const DELIVERED: Settle = Settle::Done(Ending::Delivered);

pub fn account(name: &str) -> AccountName {
    AccountName::try_from(name).unwrap()
}

/// The work queue of the account that the events of the tests belong to.
pub fn work() -> Place {
    Place::Work(account("acme"))
}

/// The only other work queue there is in the tests.
pub fn other_work() -> Place {
    Place::Work(account("other"))
}

/// The work queue of an account that the tests begin without.
pub fn strange_work() -> Place {
    Place::Work(account("stranger"))
}

/// The way back to [`work`].
pub fn later() -> Place {
    Place::Later(account("acme"), TIER)
}

/// The way back to [`other_work`].
pub fn other_later() -> Place {
    Place::Later(account("other"), TIER)
}

/// An event of `subject`.
pub fn event(subject: &str, body: &str) -> Message {
    let headers = Headers::received(body, "identify", account("acme"), subject.to_owned(), SystemTime::now());
    Message { body: Bytes::copy_from_slice(body.as_bytes()), headers }
}

/// Events of one subject, whose bodies are these numbers.
pub fn events(numbers: impl IntoIterator<Item = usize>) -> Vec<Message> {
    numbers.into_iter().map(|number| event("one", &number.to_string())).collect()
}

/// Events of as many subjects, whose bodies are these numbers.
pub fn crowd(numbers: impl IntoIterator<Item = usize>) -> Vec<Message> {
    numbers.into_iter().map(|number| event(&format!("subject {number}"), &number.to_string())).collect()
}

/// The bodies of [`events`] and [`crowd`].
pub fn numbers(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

pub fn body(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

pub fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| body(&delivery.message)).collect()
}

/// The event moves to `place`, as it is.
pub fn moved(delivery: &Delivery, place: Place) -> Settle {
    Settle::Move(place, Box::new(delivery.message.headers.clone()))
}

/// The headers of an event that ends in a class.
pub fn dead(headers: &Headers, class: Class) -> Box<Headers> {
    let death =
        Death { class, reason: "incomplete".to_owned(), status: None, error: None, dead_at: Some(headers.received_at) };
    Box::new(Headers { death: Some(death), ..headers.clone() })
}
