use std::time::Duration;

use refersion_relay_model::{AccountName, Class};

use crate::Place;

/// The routing key under which the broker puts away what it gave up on at the intake. No publisher can claim it: the broker
/// writes it, and only the intake has it.
pub(crate) const DIED_AT_INTAKE: &str = "poison-intake";

/// What everything is called on the broker. The prefix is configurable, so that several relays can share one.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
}

/// An exchange and a routing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) exchange: String,
    pub(crate) key: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    pub(crate) fn intake_exchange(&self, account: &AccountName) -> String {
        self.name(&format!("intake.{account}"))
    }

    /// Whose intake exchange this is, if it is one.
    pub(crate) fn intake_account(&self, exchange: &str) -> Option<AccountName> {
        let account = exchange.strip_prefix(&self.intake())?.strip_prefix('.')?;
        AccountName::try_from(account).ok()
    }

    pub(crate) fn intake(&self) -> String {
        self.name("intake")
    }

    pub(crate) fn events(&self) -> String {
        self.name("events")
    }

    /// An account's work queue.
    pub(crate) fn work(&self, account: &AccountName) -> String {
        self.name(&format!("events.{account}"))
    }

    pub(crate) fn retry(&self, delay: Duration) -> String {
        // "1m", "90s" as "1m 30s": a queue's name has no spaces.
        let delay = humantime::format_duration(delay).to_string().replace(' ', "");
        self.name(&format!("retry.{delay}"))
    }

    /// Whether a queue with this name is a work queue, which a single process at a time consumes.
    pub(crate) fn is_worked(&self, queue: &str) -> bool {
        queue.starts_with(&self.name("events."))
    }

    pub(crate) fn dead_exchange(&self) -> String {
        self.name("dead")
    }

    pub(crate) fn dead(&self, class: Class) -> String {
        match class {
            // The broker's lost property is not a class it dead-letters into by key.
            Class::Unrouted => self.unrouted(),
            class => self.name(&format!("dead.{class}")),
        }
    }

    /// Where the notes of events that are worked alone lead to.
    pub(crate) fn alone(&self) -> String {
        self.name("alone")
    }

    /// The key of one note of one event.
    pub(crate) fn alone_note(&self, event: &str, number: u32) -> String {
        self.name(&format!("alone.{event}.{number}"))
    }

    pub(crate) fn unrouted(&self) -> String {
        self.name("unrouted")
    }

    /// What processes write to that is no event: what they count, and what was configured. The default exchange would be at hand,
    /// but who may publish there may publish to any queue.
    pub(crate) fn notes(&self) -> String {
        self.name("notes")
    }

    /// The journal of what was counted.
    pub(crate) fn tally(&self) -> String {
        self.name("tally")
    }

    /// Stands for a process that counts, and goes with its connection.
    pub(crate) fn tally_writer(&self, writer: &str) -> String {
        self.name(&format!("tally.{writer}"))
    }

    /// Stands for the one who reads the journal, and goes with its connection.
    pub(crate) fn tally_reader(&self) -> String {
        self.name("tally.reader")
    }

    /// The mailbox of a directory, by the name of its keys.
    pub(crate) fn mailbox(&self, keys: &str) -> String {
        self.name(&format!("directory.{keys}"))
    }

    /// Where one connection hears the answers to what it asks.
    pub(crate) fn answers(&self, connection: u64) -> String {
        self.name(&format!("answers.{connection:016x}"))
    }

    /// Whether something is published to such a place with this key.
    pub(crate) fn is_answers(&self, key: &str) -> bool {
        key.starts_with(&self.name("answers."))
    }

    /// The queue behind a place, for consuming and counting.
    pub(crate) fn queue(&self, place: &Place) -> String {
        match place {
            Place::Intake => self.intake(),
            Place::Work(account) => self.work(account),
            Place::Later(_, delay) => self.retry(*delay),
            Place::Dead(class) => self.dead(*class),
        }
    }

    /// Where to publish what belongs to a place. Nothing of ours is published to the intake.
    pub(crate) fn address(&self, place: &Place) -> Option<Address> {
        let (exchange, key) = match place {
            Place::Intake => return None,
            Place::Work(account) => (self.events(), account.to_string()),
            // The account's key survives the wait: the retry queue dead-letters without a key of its own.
            Place::Later(account, delay) => (self.retry(*delay), account.to_string()),
            Place::Dead(Class::Unrouted) => (self.unrouted(), String::new()),
            Place::Dead(class) => (self.dead_exchange(), class.to_string()),
        };
        Some(Address { exchange, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_documented_ones() {
        let names = Names::new("refersion");
        let account = AccountName::try_from("acme").unwrap();
        let later = |delay| Place::Later(account.clone(), delay);
        assert_eq!(names.queue(&Place::Work(account.clone())), "refersion.events.acme");
        assert_eq!(names.queue(&later(Duration::from_mins(1))), "refersion.retry.1m");
        assert_eq!(names.queue(&later(Duration::from_secs(90))), "refersion.retry.1m30s");
        assert_eq!(names.queue(&Place::Dead(Class::Poison)), "refersion.dead.poison");
        assert_eq!(names.queue(&Place::Dead(Class::Unrouted)), "refersion.unrouted");
        assert_eq!(names.intake_exchange(&account), "refersion.intake.acme");
        let later = names.address(&later(Duration::from_mins(10))).unwrap();
        assert_eq!((later.exchange.as_str(), later.key.as_str()), ("refersion.retry.10m", "acme"));
    }
}
