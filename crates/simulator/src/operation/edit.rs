use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::affiliates::affiliate::{Affiliate, email_key};
use crate::affiliates::country::Country;
use crate::affiliates::merchant::Merchant;
use crate::http::refusal::{Refusal, bad_value};
use crate::http::request::{exceeds_the_limit, given, looks_like_email, typed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditRequest {
    affiliates: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    id: u64,
    #[serde(default, deserialize_with = "given")]
    offer: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    first_name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    last_name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    email: Option<String>,
    #[serde(default, deserialize_with = "given")]
    paypal_email: Option<String>,
    #[serde(default, deserialize_with = "given")]
    company: Option<String>,
    #[serde(default, deserialize_with = "given")]
    address1: Option<String>,
    #[serde(default, deserialize_with = "given")]
    address2: Option<String>,
    #[serde(default, deserialize_with = "given")]
    city: Option<String>,
    #[serde(default, deserialize_with = "given")]
    zip: Option<String>,
    #[serde(default, deserialize_with = "given")]
    state: Option<String>,
    #[serde(default, deserialize_with = "given")]
    country: Option<Country>,
    #[serde(default, deserialize_with = "given")]
    phone: Option<String>,
    #[serde(default)]
    custom_fields: Vec<BTreeMap<String, String>>,
}

/// Changes affiliates. What is wrong with one item refuses them all; an id that is unknown, or that has everything
/// already, is told among those not changed.
pub(crate) fn perform(request: Map<String, Value>, merchant: &mut Merchant) -> Result<Value, Refusal> {
    let request: EditRequest = typed(request, &["affiliates"])?;
    let too_long = request.affiliates.iter().any(exceeds_the_limit);
    let edits = request.affiliates.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    // Every offer exists but this one.
    if edits.iter().any(|edit| edit.offer == Some(0)) {
        return Err(Refusal::UnknownOffer);
    }
    let mut reasons = reasons_against(&edits, merchant);
    if too_long {
        // The stray quote is published like this for new and edit.
        reasons.push("Value exceed the char limit'".to_owned());
    }
    if !reasons.is_empty() {
        return Err(Refusal::Unacceptable(reasons));
    }

    let (mut changed, mut not_changed) = (Vec::new(), Vec::new());
    for edit in edits {
        let id = edit.id;
        let outcome = if apply(edit, merchant) { &mut changed } else { &mut not_changed };
        outcome.push(id);
    }
    Ok(json!({ "ids_changed": changed, "ids_not_changed": not_changed }))
}

fn read(item: Map<String, Value>) -> Result<Edit, Refusal> {
    if item.contains_key("id") && item.len() == 1 {
        // That a second key is needed is published; what happens without one is not.
        return Err(Refusal::missing("to edit"));
    }
    typed(item, &["id"])
}

fn reasons_against(edits: &[Edit], merchant: &Merchant) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut claimed = HashSet::new();
    for edit in edits {
        if let Some(email) = &edit.email {
            if merchant.email_belongs_to_another(email, edit.id) || !claimed.insert(email_key(email)) {
                reasons.push("The email you have entered is taken by another Affiliate.".to_owned());
            }
            if !looks_like_email(email) {
                reasons.push(bad_value(email, "email"));
            }
        }
        if let Some(state) = &edit.state
            && !((2..=3).contains(&state.len()) && state.chars().all(|c| c.is_ascii_alphabetic()))
        {
            reasons.push(bad_value(state, "state"));
        }
        for (field, value) in [("first_name", &edit.first_name), ("last_name", &edit.last_name)] {
            if value.as_deref() == Some("") {
                reasons.push(bad_value("", field));
            }
        }
    }
    reasons
}

/// Returns whether the edit made a difference.
fn apply(edit: Edit, merchant: &mut Merchant) -> bool {
    let Some(before) = merchant.by_id(edit.id) else {
        return false;
    };
    let after = edit.over(before.clone());
    let differs = after != *before;
    if differs {
        merchant.put(after);
    }
    differs
}

impl Edit {
    fn over(self, mut affiliate: Affiliate) -> Affiliate {
        if let Some(offer) = self.offer {
            affiliate.offer = offer;
        }
        let required = [
            (&mut affiliate.first_name, self.first_name),
            (&mut affiliate.last_name, self.last_name),
            (&mut affiliate.email, self.email),
        ];
        for (field, value) in required {
            if let Some(value) = value {
                *field = value;
            }
        }
        let optional = [
            (&mut affiliate.paypal_email, self.paypal_email),
            (&mut affiliate.company, self.company),
            (&mut affiliate.address1, self.address1),
            (&mut affiliate.address2, self.address2),
            (&mut affiliate.city, self.city),
            (&mut affiliate.zip, self.zip),
            (&mut affiliate.state, self.state),
            (&mut affiliate.country, self.country.map(String::from)),
            (&mut affiliate.phone, self.phone),
        ];
        for (field, value) in optional {
            if let Some(value) = value {
                // Whether an empty text clears a field is not known; here it does.
                *field = Some(value).filter(|value| !value.is_empty());
            }
        }
        for (id, value) in self.custom_fields.into_iter().flatten() {
            if value.is_empty() {
                affiliate.custom_fields.remove(&id);
            } else {
                affiliate.custom_fields.insert(id, value);
            }
        }
        affiliate
    }
}
