use refersion_relay_model::{Email, KeyPair, NewAffiliate};
use serde_json::{Map, Value};

use crate::answers::classify::Answer;
use crate::operations::lookup::{failure, is_disabled, is_of_map, number};
use crate::operations::request;
use crate::{Client, Failure, Operation, Rejection, generate_password};

/// The status of whoever was deactivated.
pub(crate) const DISABLED: &str = "DISABLED";

/// What an account wants of every new affiliate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NewAffiliateDefaults {
    /// The status it starts with.
    pub status: Status,
    /// Whether Refersion sends it a welcome mail.
    pub send_welcome: bool,
}

/// The status of a new affiliate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// The merchant has to approve it.
    #[default]
    Pending,
    /// It can promote at once.
    Active,
}

impl Status {
    /// Refersion's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Active => "ACTIVE",
        }
    }
}

/// What to do with an affiliate that exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Existing {
    /// Leave it as it is. Needs no look-up: that the address is taken is the whole answer.
    #[default]
    Keep,
    /// Bring what the event says of the person to it, unless it was deactivated.
    Update,
}

impl Existing {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Update => "update",
        }
    }
}

/// How a command came true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// The affiliate is new.
    Created,
    /// The address had an affiliate, which was left as it was.
    Existing,
    /// The affiliate existed and was brought up to date.
    Updated,
    /// The affiliate existed and had the same names and company already.
    Unchanged,
    /// The affiliate existed and is deactivated, so nothing was written to it.
    LeftInactive,
    /// The affiliate was deactivated.
    Deactivated,
    /// The affiliate had been deactivated before.
    AlreadyInactive,
    /// There is no affiliate with this address.
    NotFound,
}

impl Applied {
    /// Every way, in the order of this enum.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Existing,
        Self::Updated,
        Self::Unchanged,
        Self::LeftInactive,
        Self::Deactivated,
        Self::AlreadyInactive,
        Self::NotFound,
    ];

    /// The word in labels and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Existing => "existing",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::LeftInactive => "left_inactive",
            Self::Deactivated => "deactivated",
            Self::AlreadyInactive => "already_inactive",
            Self::NotFound => "not_found",
        }
    }
}

impl Client {
    /// Makes sure that an affiliate with this address exists. Creates first and reads "taken" as "exists": one call for
    /// new people, no race, and a repeat after a lost answer ends the same way.
    pub async fn create(
        &self,
        keys: &KeyPair,
        affiliate: &NewAffiliate,
        defaults: NewAffiliateDefaults,
        existing: Existing,
    ) -> Result<Applied, Failure> {
        let body = request::create(affiliate, defaults, &generate_password());
        match self.call(keys, Operation::New, &body).await {
            Answer::Success(_) => Ok(Applied::Created),
            Answer::Taken => match existing {
                Existing::Keep => Ok(Applied::Existing),
                Existing::Update => self.update(keys, affiliate).await,
            },
            other => Err(failure(other)),
        }
    }

    /// Makes sure that no active affiliate has exactly this address. This deactivates and erases nothing.
    pub async fn deactivate(&self, keys: &KeyPair, email: &Email) -> Result<Applied, Failure> {
        let found = self.find(keys, email).await?;
        if found.is_empty() {
            return Ok(Applied::NotFound);
        }
        let mut applied = Applied::AlreadyInactive;
        for affiliate in found.iter().filter(|affiliate| !affiliate.is_disabled()) {
            self.disable(keys, email, affiliate.id).await?;
            applied = Applied::Deactivated;
        }
        Ok(applied)
    }

    async fn disable(&self, keys: &KeyPair, email: &Email, id: u64) -> Result<(), Failure> {
        let answer = match self.call(keys, Operation::StatusChange, &request::disable(id)).await {
            Answer::Success(answer) => answer,
            other => return Err(failure(other)),
        };
        if confirms(&answer, id) {
            return Ok(());
        }
        // A change that was in force already may be reported as "not changed", so look before calling it a failure.
        match self.call(keys, Operation::Get, &request::get_by_id(id)).await {
            Answer::Success(affiliate)
                if affiliate.get("status").and_then(Value::as_str).is_some_and(is_disabled)
                    && is_of_map(&affiliate, email) =>
            {
                Ok(())
            }
            Answer::Success(_) => Err(Failure::Rejected(Rejection::NotDone)),
            other => Err(failure(other)),
        }
    }
}

/// A 200 may be a partial success: only our own id under `ids_changed` says that it is about us.
pub(crate) fn confirms(answer: &Map<String, Value>, id: u64) -> bool {
    let changed = answer.get("ids_changed").and_then(Value::as_array);
    changed.is_some_and(|ids| ids.iter().any(|changed| number(changed) == Some(id)))
}
