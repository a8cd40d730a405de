use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::affiliates::affiliate::Affiliate;
use crate::affiliates::like::Like;
use crate::affiliates::merchant::Merchant;
use crate::affiliates::page::Page;
use crate::affiliates::row::row;
use crate::http::refusal::Refusal;
use crate::http::request::{exceeds_the_limit, given, typed};
use crate::settings::Settings;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchRequest {
    keyword: String,
    #[serde(default, deserialize_with = "given")]
    first_name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    last_name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    page: Option<String>,
}

/// Finds affiliates by any part of their e-mail address or by a whole id of either kind; names narrow that down.
///
/// Finding nobody is an error, while a page past the last is an empty one.
pub(crate) fn perform(request: Map<String, Value>, merchant: &Merchant, settings: &Settings) -> Result<Value, Refusal> {
    let too_long = exceeds_the_limit(&request);
    let request: SearchRequest = typed(request, &["keyword"])?;
    if too_long {
        return Err(Refusal::unacceptable("Value exceed the char limit"));
    }
    let page = Page::new(request.page.as_deref(), settings.page_size)?;
    let wanted = Wanted::from(request);
    let found: Vec<_> = merchant.affiliates().filter(|affiliate| wanted.fits(affiliate)).collect();
    if found.is_empty() {
        return Err(Refusal::unacceptable("Could not find affiliates with this keyword."));
    }
    let total = found.len();
    let results: Vec<_> = page.pick(found.into_iter()).map(|affiliate| row(affiliate, settings.list_ids)).collect();
    Ok(json!({ "total": total, "results": results }))
}

struct Wanted {
    id: String,
    email: Like,
    first_name: Option<Like>,
    last_name: Option<Like>,
}

impl From<SearchRequest> for Wanted {
    fn from(request: SearchRequest) -> Self {
        Self {
            email: Like::any_part(&request.keyword),
            id: request.keyword,
            first_name: request.first_name.as_deref().map(Like::any_part),
            last_name: request.last_name.as_deref().map(Like::any_part),
        }
    }
}

impl Wanted {
    fn fits(&self, affiliate: &Affiliate) -> bool {
        let found = self.email.matches(&affiliate.email)
            || affiliate.code == self.id
            || self.id.parse().is_ok_and(|id: u64| id == affiliate.id);
        let named = |like: &Option<Like>, name: &str| like.as_ref().is_none_or(|like| like.matches(name));
        found && named(&self.first_name, &affiliate.first_name) && named(&self.last_name, &affiliate.last_name)
    }
}
