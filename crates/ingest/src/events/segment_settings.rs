use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Map, Value};

/// The longest header of settings that is decoded, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// Reads `X-Segment-Settings`: base64 of a JSON object with the settings that a customer has beside the API key. Refersion's
/// destination has none, so nothing is done with them; what cannot be read is a misconfiguration that its merchant should
/// hear of. `None`: it cannot be read.
pub(crate) fn segment_settings(headers: &HeaderMap) -> Option<Map<String, Value>> {
    let value = headers.get("x-segment-settings").map_or(Some(""), |value| value.to_str().ok())?.trim();
    if value.is_empty() {
        return Some(Map::new());
    }
    if MAX_BYTES < value.len() {
        return None;
    }
    match serde_json::from_slice(&STANDARD.decode(value).ok()?).ok()? {
        Value::Object(settings) => Some(settings),
        Value::Null => Some(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<Map<String, Value>> {
        let headers = [("x-segment-settings".parse().unwrap(), value.parse().unwrap())].into_iter().collect();
        segment_settings(&headers)
    }

    #[test]
    fn settings_are_an_object_or_nothing() {
        assert_eq!(segment_settings(&HeaderMap::new()), Some(Map::new()));
        for nothing in [String::new(), STANDARD.encode("{}"), STANDARD.encode("null")] {
            assert_eq!(read(&nothing), Some(Map::new()), "{nothing}");
        }
        assert_eq!(read(&STANDARD.encode(r#"{"customSettingOne":"x"}"#)).unwrap().len(), 1);
        let long = STANDARD.encode(format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BYTES)));
        for bad in ["!!!", &STANDARD.encode("[]"), &STANDARD.encode("{"), &long] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
