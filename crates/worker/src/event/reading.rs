use std::sync::Arc;

use refersion_relay_model::{
    DeadReason, Envelope, Event, EventType, Judgement, MAX_EVENT_BYTES, PersonId, Subject, judge,
};
use refersion_relay_queue::Message;
use refersion_relay_refersion::Existing;

use crate::Account;
use crate::account::accounts::AccountState;
use crate::event::outcome::Outcome;
use crate::order::event_key::{EventKey, Identity, KeyHasher};

/// An event that was read, and who works it.
pub(crate) struct Job {
    pub(crate) account_state: Arc<AccountState>,
    pub(crate) subject: Subject,
    /// What it is known by.
    pub(crate) event_key: EventKey,
    pub(crate) kind: EventType,
    /// Whether it may change nothing that exists.
    pub(crate) create_only: bool,
    /// Whether a person has sent it again.
    pub(crate) is_replay: bool,
    /// Whom the merchant knows the person as, where there is a directory.
    pub(crate) person: Option<PersonId>,
    /// The event itself is not kept: read, it can be many times as large as its bytes.
    pub(crate) judgement: Judgement,
}

/// What a delivery turned out to be.
pub(crate) enum Reading {
    /// An event of a known account.
    Job(Box<Job>),
    /// Nothing to be worked; its outcome is known already.
    Final(Outcome),
}

/// Reads a delivery from an account's work queue. Pure; everything in `message` is untrusted.
pub(crate) fn read(message: &Message, hasher: &KeyHasher, account_state: &Arc<AccountState>) -> Reading {
    let dead = |reason: DeadReason, error: String| Reading::Final(Outcome::dead(reason, error));
    if MAX_EVENT_BYTES < message.body.len() {
        let error = format!("an event has at most {MAX_EVENT_BYTES} bytes, this one has {}", message.body.len());
        return dead(DeadReason::TooLarge, error);
    }
    // What a door knew of the type, from the path of a request perhaps, stands beside the event.
    let envelope = Envelope::default().with_word(&message.headers.kind);
    let event = match Event::parse_in(&message.body, &envelope) {
        Ok(event) => event,
        Err(error) => return dead(error.dead_reason(), error.to_string()),
    };
    let message_id = account_state.account().fingerprint.message_id(&event, &message.body);
    let subject = Subject::of(&event, message_id.as_str());
    let (kind, generation, create_only) = (event.kind(), message.headers.generation, message.headers.create_only);
    let settings = account_state.account();
    let judgement = judge(&event, settings.missing_last_name);
    let (judgement, person) =
        if settings.has_directory { (judgement, PersonId::of(&event)) } else { (judgement.without_directory(), None) };
    let account = &account_state.name;
    // Where nothing is changed anyway, it is the same event with fewer rights.
    let identity_differs = create_only && settings.existing == Existing::Update;
    let identity = Identity {
        account,
        kind,
        subject: &subject,
        message_id: &message_id,
        generation,
        create_only: identity_differs,
    };
    let event_key = hasher.of(identity, message.headers.received_at);
    Reading::Job(Box::new(Job {
        account_state: account_state.clone(),
        subject,
        event_key,
        kind,
        create_only,
        is_replay: 0 < generation,
        person,
        judgement,
    }))
}

impl Reading {
    /// What an event that was read is known by.
    pub(crate) fn event_key(&self) -> Option<&EventKey> {
        match self {
            Self::Job(job) => Some(&job.event_key),
            Self::Final(_) => None,
        }
    }
}

impl Job {
    /// The account as this event may use it.
    pub(crate) fn account(&self) -> Arc<Account> {
        let account = self.account_state.account();
        match account.existing {
            Existing::Update if self.create_only => {
                Arc::new(Account { existing: Existing::Keep, ..(*account).clone() })
            }
            Existing::Update | Existing::Keep => account,
        }
    }

    /// Whether it has an effect, so that its place among the events of its subject matters.
    pub(crate) fn is_work(&self) -> bool {
        matches!(self.judgement, Judgement::Work(_))
    }
}
