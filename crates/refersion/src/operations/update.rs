use refersion_relay_model::{KeyPair, NewAffiliate, Personal};
use serde_json::{Map, Value};

use crate::answers::classify::Answer;
use crate::answers::failure::Unreadable;
use crate::operations::affiliates::confirms;
use crate::operations::lookup::{failure, is_disabled, is_of_map, number, unclear};
use crate::operations::request;
use crate::{Applied, Client, Failure, Operation, Rejection};

impl Client {
    /// Brings what is known of a person to the affiliate who has their address, which was just found to be taken.
    ///
    /// Nothing here is remembered between attempts: a repeat begins with the creation again, whatever happened to the
    /// affiliate in the meantime.
    pub(crate) async fn update(&self, keys: &KeyPair, affiliate: &NewAffiliate) -> Result<Applied, Failure> {
        let found = self.find(keys, &affiliate.email).await?;
        let [found] = found.as_slice() else {
            let none = found.is_empty();
            return Err(Failure::Rejected(if none { Rejection::TakenNotFound } else { Rejection::SeveralFound }));
        };
        if found.is_disabled() {
            return Ok(Applied::LeftInactive);
        }
        if found.status.trim().is_empty() {
            // They might be deactivated.
            return Err(unclear(Unreadable::NoSuccessKeys));
        }
        match self.call(keys, Operation::Edit, &request::edit(found.id, affiliate)).await {
            Answer::Success(answer) if confirms(&answer, found.id) => Ok(Applied::Updated),
            // What has nothing to change may be among the unchanged, so look before calling it a failure.
            Answer::Success(answer) if denies(&answer, found.id) => self.compare(keys, found.id, affiliate).await,
            other => Err(gone_or(other)),
        }
    }

    /// Says how an affiliate compares with what it should have been changed to, as far as that can be read back: the
    /// names and the company.
    async fn compare(&self, keys: &KeyPair, id: u64, wanted: &NewAffiliate) -> Result<Applied, Failure> {
        let affiliate = match self.call(keys, Operation::Get, &request::get_by_id(id)).await {
            Answer::Success(affiliate) => affiliate,
            other => return Err(gone_or(other)),
        };
        let ours = affiliate.get("id").and_then(number) == Some(id) && is_of_map(&affiliate, &wanted.email);
        if !ours {
            return Err(Failure::Rejected(Rejection::NotDone));
        }
        let holds = |key, value: &Personal| {
            let text = affiliate.get(key).and_then(Value::as_str);
            text.is_some_and(|text| text.trim() == value.expose().trim())
        };
        let status = affiliate.get("status").and_then(Value::as_str).unwrap_or_default();
        if is_disabled(status) {
            Ok(Applied::LeftInactive)
        } else if holds("first_name", &wanted.first_name)
            && holds("last_name", &wanted.last_name)
            && wanted.company.as_ref().is_none_or(|company| holds("company_name", company))
        {
            Ok(Applied::Unchanged)
        } else {
            Err(Failure::Rejected(Rejection::NotDone))
        }
    }
}

/// Whether our id is among those that were not changed; an answer that does not name it says nothing about us.
fn denies(answer: &Map<String, Value>, id: u64) -> bool {
    let unchanged = answer.get("ids_not_changed").and_then(Value::as_array);
    unchanged.is_some_and(|ids| ids.iter().any(|unchanged| number(unchanged) == Some(id)))
}

/// Reads an answer that is no success. An affiliate who was found and now is not has gone between two calls: the
/// repeat, which begins with the creation, settles what that means.
fn gone_or(answer: Answer) -> Failure {
    match answer {
        Answer::NotFound => Failure::Unclear { status: 422, bytes: 0, why: Unreadable::Vanished },
        other => failure(other),
    }
}
