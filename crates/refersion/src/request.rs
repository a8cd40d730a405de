use refersion_relay_model::NewAffiliate;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::NewAffiliateDefaults;

/// The body of the create operation. Absent fields are left out: what Refersion makes of null or "" is not published.
pub(crate) fn create(affiliate: &NewAffiliate, defaults: NewAffiliateDefaults, password: &SecretString) -> Value {
    let mut body = Map::new();
    let mut put = |key: &str, value: &str| body.insert(key.to_owned(), Value::from(value));
    put("email", affiliate.email.expose());
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
    json!({"ids": [id], "status": "DISABLED"})
}
