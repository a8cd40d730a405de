use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::affiliates::affiliate::Affiliate;
use crate::affiliates::merchant::Merchant;
use crate::affiliates::status::Status;
use crate::http::refusal::Refusal;
use crate::http::request::typed;

/// How many ids one request may name.
const MOST_IDS: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusChangeRequest {
    ids: Vec<u64>,
    status: String,
}

/// Moves affiliates to another status. An id that is unknown, or has the status already, is told among those not
/// changed.
pub(crate) fn perform(request: Map<String, Value>, merchant: &mut Merchant) -> Result<Value, Refusal> {
    let request: StatusChangeRequest = typed(request, &["ids", "status"])?;
    if request.ids.len() > MOST_IDS {
        return Err(Refusal::TooManyElements);
    }
    let status = Status::for_change(&request.status).ok_or_else(|| Refusal::bad_value(&request.status, "status"))?;

    let mut seen = HashSet::new();
    let (changed, not_changed): (Vec<u64>, Vec<u64>) =
        request.ids.into_iter().filter(|id| seen.insert(*id)).partition(|id| apply(*id, status, merchant));
    Ok(json!({ "ids_changed": changed, "ids_not_changed": not_changed }))
}

/// Returns whether the affiliate had another status before.
fn apply(id: u64, status: Status, merchant: &mut Merchant) -> bool {
    match merchant.by_id(id) {
        Some(before) if before.status != status => {
            let after = Affiliate { status, ..before.clone() };
            merchant.put(after);
            true
        }
        _ => false,
    }
}
