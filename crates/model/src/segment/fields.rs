use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::segment::text::{clean, is_invisible};

/// Looks up fields of a JSON object the way Segment's customers write them: any casing, and scalars of any type.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    /// The object itself. What should be an object and is `[]`, `null` or a scalar has no fields.
    pub(crate) fn of(value: Option<&'a Value>) -> Self {
        Self(value.and_then(Value::as_object))
    }

    pub(crate) fn of_map(map: &'a Map<String, Value>) -> Self {
        Self(Some(map))
    }

    /// The first value that is something: the names as given first, then any other spelling of the same name.
    pub(crate) fn get(self, names: &[&str]) -> Option<&'a Value> {
        self.find(names, |value| (!is_nothing(value)).then_some(value))
    }

    /// The first scalar as text: a string without blanks around it, or a number as it is written without a fraction of
    /// zero.
    pub(crate) fn text(self, names: &[&str]) -> Option<Cow<'a, str>> {
        self.find(names, scalar)
    }

    /// The same as [`Self::text`]; or `Err` if all that stands there is something else.
    pub(crate) fn read(self, names: &[&str]) -> Result<Option<Cow<'a, str>>, NoText> {
        match self.text(names) {
            None if self.get(names).is_some() => Err(NoText),
            text => Ok(text),
        }
    }

    /// Whether a field is there, and not null.
    pub(crate) fn has(self, names: &[&str]) -> bool {
        self.find(names, |value| (!value.is_null()).then_some(())).is_some()
    }

    pub(crate) fn object(self, names: &[&str]) -> Self {
        Self::of(self.get(names))
    }

    fn find<T>(self, names: &[&str], usable: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let map = self.0?;
        let exact = names.iter().filter_map(|name| map.get(*name)).find_map(&usable);
        exact.or_else(|| {
            let is_meant = |key: &str| names.iter().any(|name| is_same(name, key));
            map.iter().filter(|(key, _)| is_meant(key)).find_map(|(_, value)| usable(value))
        })
    }
}

/// Something stands where a text should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoText;

/// `first_name`, `firstName`, `First Name`, `FIRSTNAME` and `$first_name` are one field, and so are `address.city` and
/// `address_city`.
///
/// Asked for each wanted name and each key of each event, and nearly always answered by the first letter. So ASCII is
/// compared byte by byte, up to the first character of either that is none: from there on by what Unicode calls a letter.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one, other);
    loop {
        (one, other) = (one.trim_start_matches(is_between), other.trim_start_matches(is_between));
        match (one.as_bytes().first(), other.as_bytes().first()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a.is_ascii() && b.is_ascii() => {
                if !a.eq_ignore_ascii_case(b) {
                    return false;
                }
                (one, other) = (&one[1..], &other[1..]);
            }
            (Some(a), None) | (None, Some(a)) if a.is_ascii() => return false,
            _ => return letters(one).eq(letters(other)),
        }
    }
}

/// What people write between the words of a name.
fn is_between(c: char) -> bool {
    matches!(c, '_' | '-' | ' ' | '.' | '$')
}

/// The letters of a name in lower case, without what is between words and what cannot be seen.
fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| !is_between(*c) && !is_invisible(*c)).flat_map(char::to_lowercase)
}

/// Whether a value says as little as one that is missing. PHP writes `[]` for an object without fields, and `false` for
/// what it does not have.
pub(crate) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => clean(text).is_none(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

pub(crate) fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => clean(text),
        Value::Number(number) => Some(Cow::Owned(match number.as_f64() {
            // 94103.0 is how some languages write the integer 94103; every integer below 2^53 is exact.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => {
                format!("{float:.0}")
            }
            _ => number.to_string(),
        })),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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
    fn one_field_has_many_spellings() {
        for key in
            ["firstName", "first_name", "First Name", "FIRST-NAME", "$first_name", "first.name", "\u{feff}firstName"]
        {
            assert!(is_same("firstName", key), "{key}");
        }
        assert!(!is_same("firstName", "firstNames") && !is_same("firstName", "first") && !is_same("name", "firstName"));
    }

    /// The rule without anything that makes it quick.
    fn is_same_by_the_rule(one: &str, other: &str) -> bool {
        let letters = |name: &str| {
            let kept = name.chars().filter(|c| !"_- .$".contains(*c) && !is_invisible(*c));
            kept.flat_map(char::to_lowercase).collect::<String>()
        };
        letters(one) == letters(other)
    }

    /// Names that are often the same: few letters, with what is left out, and letters that become others or several in
    /// lower case, among them two that become ASCII.
    fn name() -> impl Strategy<Value = String> {
        proptest::string::string_regex("[aAkKsSi_\\-. $\u{e4}\u{c4}\u{3a3}\u{3c3}\u{3c2}\u{130}\u{212a}\u{17f}\u{307}\u{ad}\u{feff}\u{df}\u{1e9e}]{0,6}")
            .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn names_are_compared_by_the_rule_however_quickly(
            one in name(), other in name(), any in ".*", another in ".*"
        ) {
            for (one, other) in [(&one, &other), (&any, &another), (&one, &any), (&any, &any)] {
                prop_assert_eq!(is_same(one, other), is_same_by_the_rule(one, other), "{:?}, {:?}", one, other);
                let shouted = other.to_uppercase();
                prop_assert_eq!(is_same(other, &shouted), is_same_by_the_rule(other, &shouted), "{:?}", shouted);
                let spelt = other.chars().flat_map(|c| ['_', c]).collect::<String>();
                prop_assert!(is_same(other, &spelt), "{:?}", spelt);
            }
        }
    }

    #[test]
    fn what_is_there_and_no_text_is_told_from_what_is_missing() {
        let value =
            json!({"a": ["x"], "b": [], "c": {}, "d": true, "e": false, "f": "\u{200b}", "g": "undefined", "h": "x"});
        let fields = Fields::of(Some(&value));
        for something in ["a", "d"] {
            assert_eq!(fields.read(&[something]), Err(NoText), "{something}");
        }
        for nothing in ["b", "c", "e", "f", "g", "z"] {
            assert_eq!(fields.read(&[nothing]), Ok(None), "{nothing}");
        }
        assert_eq!(fields.read(&["a", "h"]), Ok(Some(Cow::Borrowed("x"))));
    }

    #[test]
    fn scalars_are_text_and_the_rest_is_nothing() {
        let value = json!({"a": 94103, "b": 94103.0, "c": 1.5, "d": true, "e": {}, "f": [], "g": " x "});
        let fields = Fields::of(Some(&value));
        let texts: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].iter().map(|key| fields.text(&[key])).collect();
        let expected = [Some("94103"), Some("94103"), Some("1.5"), None, None, None, Some("x")];
        assert_eq!(texts, expected.map(|text| text.map(Cow::Borrowed)));
    }

    #[test]
    fn an_array_in_place_of_an_object_has_no_fields() {
        for value in [json!([]), json!(null), json!("x"), json!(1)] {
            assert_eq!(Fields::of(Some(&value)).text(&["a"]), None);
        }
    }
}
