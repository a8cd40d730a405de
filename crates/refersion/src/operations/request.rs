use refersion_relay_model::NewAffiliate;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::NewAffiliateDefaults;
use crate::operations::affiliates::DISABLED;

/// The body of the create operation. Absent fields are left out: what Refersion makes of null or "" is not published.
pub(crate) fn create(affiliate: &NewAffiliate, defaults: NewAffiliateDefaults, password: &SecretString) -> Value {
    let mut body = Map::new();
    let mut put = |key: &str, value: &str| body.insert(key.to_owned(), Value::from(value));
    // In the spelling that every later event about the person looks for, whatever capitals this one has.
    put("email", &affiliate.email.folded());
    put("first_name", affiliate.first_name.expose());
    put("last_name", affiliate.last_name.expose());
    put("password", password.expose_secret());
    put("status", defaults.status.as_str());
    put("send_welcome", if defaults.send_welcome { "TRUE" } else { "FALSE" });
    let optional = [
        ("company", &affiliate.company),
        ("phone", &affiliate.phone),
        ("address1", &affiliate.address1),
        ("city", &affiliate.city),
        ("state", &affiliate.state),
        ("zip", &affiliate.zip),
        ("unique_merchant_id", &affiliate.unique_merchant_id),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            put(key, value.expose());
        }
    }
    if let Some(country) = affiliate.country {
        put("country", country);
    }
    Value::Object(body)
}

/// The body of an edit of one affiliate: only fields that edit knows and the event has. The address is the same by
/// which the affiliate was found; status and password are not edit's to change.
pub(crate) fn edit(id: u64, affiliate: &NewAffiliate) -> Value {
    let mut item = Map::new();
    item.insert("id".to_owned(), Value::from(id));
    let texts = [
        ("first_name", Some(&affiliate.first_name)),
        ("last_name", Some(&affiliate.last_name)),
        ("company", affiliate.company.as_ref()),
        ("phone", affiliate.phone.as_ref()),
        ("address1", affiliate.address1.as_ref()),
        ("city", affiliate.city.as_ref()),
        ("state", affiliate.editable_state()),
        ("zip", affiliate.zip.as_ref()),
    ];
    let texts = texts.into_iter().filter_map(|(key, value)| Some((key, value?.expose())));
    // An empty text might clear a field.
    for (key, value) in
        texts.chain(affiliate.country.map(|code| ("country", code))).filter(|(_, value)| !value.is_empty())
    {
        item.insert(key.to_owned(), Value::from(value));
    }
    json!({"affiliates": [item]})
}

/// Pages are strings, from "1".
pub(crate) fn search(keyword: &str, page: u32) -> Value {
    json!({"keyword": keyword, "page": page.to_string()})
}

/// The cheapest call there is; good for asking whether the keys work. Both fields are strings.
pub(crate) fn list_one() -> Value {
    json!({"limit": "1", "page": "1"})
}

/// `get` takes exactly one of its two fields: the numeric id as an integer, or the code as a string.
pub(crate) fn get_by_id(id: u64) -> Value {
    json!({"id": id})
}

pub(crate) fn get_by_code(code: &str) -> Value {
    json!({"affiliate_code": code})
}

pub(crate) fn disable(id: u64) -> Value {
    json!({"ids": [id], "status": DISABLED})
}
