use std::num::NonZeroU32;

use refersion_relay_model::{AccountName, Fingerprint, KeyPair, MissingLastName};
use refersion_relay_refersion::{Existing, NewAffiliateDefaults};

/// One Refersion merchant, as the worker needs it.
#[derive(Clone, Debug)]
pub struct Account {
    /// What it is called everywhere.
    pub name: AccountName,
    /// The keys of its calls.
    pub keys: KeyPair,
    /// What it wants of new affiliates.
    pub defaults: NewAffiliateDefaults,
    /// What to do with an affiliate that exists already.
    pub existing: Existing,
    /// What it wants of people without a last name.
    pub missing_last_name: MissingLastName,
    /// How many calls may begin in a second, if that is bounded.
    pub max_calls_per_second: Option<NonZeroU32>,
    /// Whether deletes that name only an id can be completed.
    pub has_directory: bool,
    /// Makes the ids of its messages and subjects.
    pub fingerprint: Fingerprint,
}
