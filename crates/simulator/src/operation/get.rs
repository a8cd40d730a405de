use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::affiliates::merchant::Merchant;
use crate::affiliates::row::custom_fields;
use crate::http::refusal::Refusal;
use crate::http::request::{exceeds_the_limit, given, typed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetRequest {
    #[serde(default, deserialize_with = "given")]
    id: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    affiliate_code: Option<String>,
}

/// Shows one affiliate, with its numeric id and without its address.
pub(crate) fn perform(request: Map<String, Value>, merchant: &Merchant) -> Result<Value, Refusal> {
    let too_long = exceeds_the_limit(&request);
    let request: GetRequest = typed(request, &[])?;
    if too_long {
        return Err(Refusal::unacceptable("Value exceed the char limit"));
    }
    let found = match (request.id, request.affiliate_code) {
        (None, None) => return Err(Refusal::unacceptable("Request filter not provided.")),
        (Some(_), Some(_)) => return Err(Refusal::InvalidField),
        (Some(id), None) => merchant.by_id(id),
        (None, Some(code)) => merchant.by_code(&code),
    };
    let affiliate = found.ok_or_else(|| Refusal::unacceptable("Affiliate not found."))?;
    Ok(json!({
        "id": affiliate.id,
        "offer_id": affiliate.offer.to_string(),
        "status": affiliate.status,
        "first_name": affiliate.first_name,
        "last_name": affiliate.last_name,
        "company_name": affiliate.company.as_deref().unwrap_or_default(),
        "email": affiliate.email,
        "link": affiliate.link(),
        "custom_fields": custom_fields(affiliate),
    }))
}
