use std::time::Duration;

use refersion_relay_model::{AccountName, Class, Shard};

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

    pub(crate) fn shard(&self, shard: Shard) -> String {
        self.name(&format!("events.{shard}"))
    }

    /// What says that a set of shards takes new events.
    pub(crate) fn gate(&self, shards: u16) -> String {
        self.name(&format!("events.n{shards}.gate"))
    }

    /// What says that it never will again.
    pub(crate) fn closed(&self, shards: u16) -> String {
        self.name(&format!("events.n{shards}.closed"))
    }

    /// Stands for the process that tries to give a set of shards up, and goes with its connection.
    pub(crate) fn gate_holder(&self, shards: u16) -> String {
        format!("{}.holder", self.gate(shards))
    }

    pub(crate) fn retry(&self, delay: Duration) -> String {
        // "1m", "90s" as "1m 30s": a queue's name has no spaces.
        let delay = humantime::format_duration(delay).to_string().replace(' ', "");
        self.name(&format!("retry.{delay}"))
    }

    pub(crate) fn held(&self, account: &AccountName) -> String {
        self.name(&format!("held.{account}"))
    }

    /// Whether a queue with this name is one that a single process at a time works: events, or those of a held account.
    pub(crate) fn is_worked(&self, queue: &str) -> bool {
        ["events.", "held."].iter().any(|begin| queue.starts_with(&self.name(begin)))
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

    /// Stands for the process that works an account's held events, and goes with its connection.
    pub(crate) fn held_holder(&self, account: &AccountName) -> String {
        self.name(&format!("holder.{account}"))
    }

    pub(crate) fn unrouted(&self) -> String {
        self.name("unrouted")
    }

    /// What processes write to that is no event: counts, and the gates of shards. The default exchange would be at hand, but who
    /// may publish there may publish to any queue.
    pub(crate) fn notes(&self) -> String {
        self.name("notes")
    }

    /// Where marks lead to that stay, see [`super::marks`].
    pub(crate) fn marks(&self) -> String {
        self.name("marks")
    }

    /// Where whoever asks for marks listens.
    pub(crate) fn asking(&self, number: u64) -> String {
        self.name(&format!("marks.asking.{number:016x}"))
    }

    /// What has one note of what was counted in it.
    pub(crate) fn tally(&self, slot: u16) -> String {
        self.name(&format!("tally.{slot}"))
    }

    /// Stands for the process that has a slot, and goes with its connection.
    pub(crate) fn tally_holder(&self, slot: u16) -> String {
        self.name(&format!("tally.{slot}.holder"))
    }

    pub(crate) fn tally_baseline(&self) -> String {
        self.name("tally.baseline")
    }

    /// Stands for the process that sets a baseline, and goes with its connection.
    pub(crate) fn baseline_holder(&self) -> String {
        self.name("tally.baseline.holder")
    }

    /// What has one note of what was ever configured in it.
    pub(crate) fn history(&self) -> String {
        self.name("history")
    }

    /// Stands for the process that writes that, and goes with its connection.
    pub(crate) fn history_holder(&self) -> String {
        self.name("history.holder")
    }

    /// The queue behind a place, for consuming and counting.
    pub(crate) fn queue(&self, place: &Place) -> String {
        match place {
            Place::Intake => self.intake(),
            // Which one is known only at the moment of publishing.
            Place::Subject(_) => self.events(),
            Place::Shard(shard) => self.shard(*shard),
            Place::Later(_, delay) => self.retry(*delay),
            Place::Held(account) => self.held(account),
            Place::Dead(class) => self.dead(*class),
        }
    }

    /// Where to publish what belongs to a place. Nothing of ours is published to the intake, and a subject's shard has to
    /// be known.
    pub(crate) fn address(&self, place: &Place) -> Option<Address> {
        let (exchange, key) = match place {
            Place::Intake | Place::Subject(_) => return None,
            Place::Shard(shard) => (self.events(), shard.to_string()),
            // The shard's key survives the wait: the retry queue dead-letters without a key of its own.
            Place::Later(shard, delay) => (self.retry(*delay), shard.to_string()),
            Place::Held(account) => (self.held(account), account.to_string()),
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
        let shard = Shard { index: 3, count: 8 };
        assert_eq!(names.queue(&Place::Shard(shard)), "refersion.events.n8.3");
        assert_eq!(names.queue(&Place::Later(shard, Duration::from_mins(1))), "refersion.retry.1m");
        assert_eq!(names.queue(&Place::Later(shard, Duration::from_secs(90))), "refersion.retry.1m30s");
        assert_eq!(names.queue(&Place::Held(account.clone())), "refersion.held.acme");
        assert_eq!(names.queue(&Place::Dead(Class::Poison)), "refersion.dead.poison");
        assert_eq!(names.queue(&Place::Dead(Class::Unrouted)), "refersion.unrouted");
        assert_eq!(names.gate(8), "refersion.events.n8.gate");
        assert_eq!(names.intake_exchange(&account), "refersion.intake.acme");
        let later = names.address(&Place::Later(shard, Duration::from_mins(10))).unwrap();
        assert_eq!((later.exchange.as_str(), later.key.as_str()), ("refersion.retry.10m", "n8.3"));
    }
}
