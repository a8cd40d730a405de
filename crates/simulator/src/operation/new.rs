use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::affiliates::affiliate::{DEFAULT_OFFER, NewAffiliate};
use crate::affiliates::country::Country;
use crate::affiliates::directory::Directory;
use crate::affiliates::merchant::Merchant;
use crate::affiliates::password;
use crate::affiliates::status::Status;
use crate::http::refusal::{Refusal, bad_value};
use crate::http::request::{exceeds_the_limit, given, looks_like_email, typed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRequest {
    first_name: String,
    last_name: String,
    email: String,
    password: String,
    status: String,
    #[serde(default, deserialize_with = "given")]
    offer: Option<Digits>,
    #[serde(default, rename = "send_welcome", deserialize_with = "given")]
    _send_welcome: Option<Welcome>,
    #[serde(default, deserialize_with = "given")]
    country: Option<Country>,
    #[serde(default, deserialize_with = "given")]
    company: Option<String>,
    #[serde(default, deserialize_with = "given")]
    paypal_email: Option<String>,
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
    phone: Option<String>,
    #[serde(default, deserialize_with = "given")]
    unique_merchant_id: Option<String>,
    /// Accepted and forgotten: nothing reads it back.
    #[serde(default, rename = "conversion_trigger_coupon", deserialize_with = "given")]
    _coupon: Option<String>,
}

/// Whether to mail the new affiliate. Nobody is mailed from here.
#[derive(Deserialize)]
enum Welcome {
    #[serde(rename = "TRUE")]
    Send,
    #[serde(rename = "FALSE")]
    DoNotSend,
}

/// A number that has to come as a string.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Digits(u64);

#[derive(Debug, thiserror::Error)]
#[error("not a string of digits")]
struct NotDigits;

impl TryFrom<String> for Digits {
    type Error = NotDigits;

    fn try_from(text: String) -> Result<Self, NotDigits> {
        // `parse` would let a plus sign pass.
        if text.starts_with('+') {
            return Err(NotDigits);
        }
        text.parse().map(Self).map_err(|_| NotDigits)
    }
}

const REQUIRED: [&str; 5] = ["first_name", "last_name", "email", "password", "status"];

/// Creates an affiliate. The answer calls the code `id`, and has the numeric id in the middle of a sentence.
pub(crate) fn perform(
    request: Map<String, Value>,
    public_key: &str,
    directory: &mut Directory,
) -> Result<Value, Refusal> {
    let too_long = exceeds_the_limit(&request);
    let request: NewRequest = typed(request, &REQUIRED)?;
    let mut reasons = reasons_against(&request, directory.merchant(public_key));
    if too_long {
        // The stray quote is published like this for new and edit.
        reasons.push("Value exceed the char limit'".to_owned());
    }
    let status = match Status::for_new(&request.status) {
        Some(status) if reasons.is_empty() => status,
        _ => return Err(Refusal::Unacceptable(reasons)),
    };
    let affiliate = directory.create(public_key, request.into_affiliate(status));
    Ok(json!({
        "id": affiliate.code,
        "link": affiliate.link(),
        "message": format!(
            "The affiliate {} has been created with the status of {}.",
            affiliate.id, affiliate.status
        ),
    }))
}

/// All that is wrong with the values, at once.
fn reasons_against(request: &NewRequest, merchant: &Merchant) -> Vec<String> {
    let mut reasons = Vec::new();
    if merchant.has_email(&request.email) {
        reasons.push("The email you have entered is taken by another Affiliate.".to_owned());
    }
    if !looks_like_email(&request.email) {
        reasons.push(bad_value(&request.email, "email"));
    }
    if Status::for_new(&request.status).is_none() {
        reasons.push(bad_value(&request.status, "status"));
    }
    // Every offer exists but this one.
    if let Some(Digits(0)) = request.offer {
        reasons.push(bad_value("0", "offer"));
    }
    // Refersion says alphanumeric; whether it lets a hyphen pass is not known.
    if let Some(id) = &request.unique_merchant_id
        && !id.chars().all(|c| c.is_ascii_alphanumeric())
    {
        reasons.push(bad_value(id, "unique_merchant_id"));
    }
    reasons.extend(password::complaints(&request.password, &request.email));
    reasons
}

impl NewRequest {
    /// Leaves the password behind.
    fn into_affiliate(self, status: Status) -> NewAffiliate {
        NewAffiliate {
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            status,
            offer: self.offer.map_or(DEFAULT_OFFER, |Digits(offer)| offer),
            company: self.company,
            paypal_email: self.paypal_email,
            address1: self.address1,
            address2: self.address2,
            city: self.city,
            zip: self.zip,
            state: self.state,
            country: self.country.map(String::from),
            phone: self.phone,
            unique_merchant_id: self.unique_merchant_id,
            ..NewAffiliate::default()
        }
    }
}
