use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::http::refusal::Refusal;

/// The longest text a field takes. Refersion has such limits and does not publish them.
const LONGEST_TEXT: usize = 255;

/// Reads a body as a JSON object.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.trim_ascii().is_empty() {
        return Err(Refusal::NoBody);
    }
    serde_json::from_slice(body).map_err(|_| Refusal::NotJson)
}

/// Reads an object as the request it should be: first the fields that must be there, then their types.
///
/// `T` has to deny unknown fields, and its types have to refuse what Refersion answers with a 204.
pub(crate) fn typed<T: DeserializeOwned>(object: Map<String, Value>, required: &[&str]) -> Result<T, Refusal> {
    if let Some(field) = required.iter().find(|field| is_missing(object.get(**field))) {
        return Err(Refusal::missing(field));
    }
    serde_json::from_value(Value::Object(object)).map_err(|_| Refusal::InvalidField)
}

/// An empty value counts as missing, as it does with the validators of PHP frameworks.
fn is_missing(value: Option<&Value>) -> bool {
    match value {
        None => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(elements)) => elements.is_empty(),
        Some(_) => false,
    }
}

/// Whether some text goes past the limit. A password has rules of its own.
pub(crate) fn exceeds_the_limit(object: &Map<String, Value>) -> bool {
    object
        .iter()
        .filter(|(field, _)| *field != "password")
        .filter_map(|(_, value)| value.as_str())
        .any(|text| text.chars().count() > LONGEST_TEXT)
}

/// For a field that may be left out and may not be `null`.
pub(crate) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// The loosest idea of an e-mail address that still tells one from other text.
pub(crate) fn looks_like_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty()
            && host.contains('.')
            && !host.starts_with('.')
            && !host.ends_with('.')
            && !text.contains(char::is_whitespace)
            && !host.contains('@')
    })
}
