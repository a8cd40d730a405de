use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::affiliates::merchant::Merchant;
use crate::affiliates::page::{Page, positive};
use crate::affiliates::row::row;
use crate::http::refusal::Refusal;
use crate::http::request::{exceeds_the_limit, given, typed};
use crate::settings::Settings;

/// The most rows a client may ask for.
const HIGHEST_LIMIT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListRequest {
    #[serde(default, deserialize_with = "given")]
    limit: Option<String>,
    #[serde(default, deserialize_with = "given")]
    page: Option<String>,
}

/// Lists all affiliates in order of creation, and says which page this is in a field that only the field has seen.
pub(crate) fn perform(request: Map<String, Value>, merchant: &Merchant, settings: &Settings) -> Result<Value, Refusal> {
    let too_long = exceeds_the_limit(&request);
    let request: ListRequest = typed(request, &[])?;
    if too_long {
        return Err(Refusal::unacceptable("Value exceed the char limit"));
    }
    let page = Page::new(request.page.as_deref(), limit(request.limit.as_deref(), settings)?)?;
    let total = merchant.len();
    let results: Vec<_> = page.pick(merchant.affiliates()).map(|affiliate| row(affiliate, settings.list_ids)).collect();
    Ok(json!({ "total": total, "page": page.position(total), "results": results }))
}

fn limit(text: Option<&str>, settings: &Settings) -> Result<usize, Refusal> {
    let Some(text) = text else {
        return Ok(settings.page_size.min(HIGHEST_LIMIT));
    };
    match positive("limit", text)? {
        limit if limit <= HIGHEST_LIMIT => Ok(limit),
        _ => Err(Refusal::bad_value(text, "limit")),
    }
}
