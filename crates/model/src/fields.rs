use serde_json::{Map, Value};

/// Looks up fields of a JSON object the way Segment's customers write them: any casing, and scalars of any type.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    /// The object itself. What should be an object and is `[]`, `null` or a scalar has no fields.
    pub(crate) fn of(value: Option<&'a Value>) -> Self {
        Self(value.and_then(Value::as_object))
    }

    pub(crate) fn of_map(map: &'a Map<String, Value>) -> Self {
        Self(Some(map))
    }

    /// The first usable value: the names as given first, then any other casing of the same name.
    pub(crate) fn get(self, names: &[&str]) -> Option<&'a Value> {
        let map = self.0?;
        let exact = names.iter().filter_map(|name| map.get(*name)).find(|value| !value.is_null());
        exact.or_else(|| {
            let wanted: Vec<String> = names.iter().map(|name| plain(name)).collect();
            map.iter().find(|(key, value)| !value.is_null() && wanted.contains(&plain(key))).map(|(_, value)| value)
        })
    }

    /// A non-empty scalar as trimmed text: a string, or a number as it is written without a fraction of zero.
    pub(crate) fn text(self, names: &[&str]) -> Option<String> {
        let map = self.0?;
        let exact = names.iter().filter_map(|name| map.get(*name)).find_map(scalar);
        exact.or_else(|| {
            let wanted: Vec<String> = names.iter().map(|name| plain(name)).collect();
            map.iter().filter(|(key, _)| wanted.contains(&plain(key))).find_map(|(_, value)| scalar(value))
        })
    }

    pub(crate) fn object(self, names: &[&str]) -> Self {
        Self::of(self.get(names))
    }
}

/// `first_name`, `firstName`, `First Name` and `FIRSTNAME` are one field.
fn plain(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        }
        Value::Number(number) => Some(match number.as_f64() {
            // 94103.0 is how some languages write the integer 94103; every integer below 2^53 is exact.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => {
                format!("{float:.0}")
            }
            _ => number.to_string(),
        }),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_in_any_casing_and_the_documented_one_wins() {
        let value = json!({"FIRSTNAME": "c", "first_name": "b", "firstName": "a", "Last Name": "z"});
        let fields = Fields::of(Some(&value));
        assert_eq!(fields.text(&["firstName", "first_name"]).as_deref(), Some("a"));
        assert_eq!(fields.text(&["lastName", "last_name"]).as_deref(), Some("z"));
        assert_eq!(fields.text(&["name"]), None);
    }

    #[test]
    fn an_empty_or_null_field_does_not_hide_a_usable_one() {
        let value = json!({"firstName": " ", "first_name": null, "FirstName": "Peter"});
        assert_eq!(Fields::of(Some(&value)).text(&["firstName", "first_name"]).as_deref(), Some("Peter"));
    }

    #[test]
    fn scalars_are_text_and_the_rest_is_nothing() {
        let value = json!({"a": 94103, "b": 94103.0, "c": 1.5, "d": true, "e": {}, "f": [], "g": " x "});
        let fields = Fields::of(Some(&value));
        let texts: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].iter().map(|key| fields.text(&[key])).collect();
        let expected = [Some("94103"), Some("94103"), Some("1.5"), None, None, None, Some("x")];
        assert_eq!(texts, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn an_array_in_place_of_an_object_has_no_fields() {
        for value in [json!([]), json!(null), json!("x"), json!(1)] {
            assert_eq!(Fields::of(Some(&value)).text(&["a"]), None);
        }
    }
}
