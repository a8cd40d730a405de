use std::borrow::Cow;

use serde_json::Value;

use crate::segment::event::read_json;
use crate::segment::fields::{Fields, scalar};
use crate::{OmittedField, Personal, refersion_country};

/// Where a person lives, as far as Refersion takes it.
#[derive(Default)]
pub(crate) struct Address {
    pub(crate) address1: Option<Personal>,
    pub(crate) city: Option<Personal>,
    pub(crate) state: Option<Personal>,
    pub(crate) zip: Option<Personal>,
    pub(crate) country: Option<&'static str>,
    /// What the traits had of it and could not be used.
    pub(crate) omitted: Vec<OmittedField>,
}

/// What the parts of an address are called.
struct Names([&'static [&'static str]; 5]);

/// In an object of their own.
const INSIDE: Names = Names([&["street"], &["city"], &["state"], &["postalCode", "postal_code"], &["country"]]);
/// Among the traits, as tables have them.
const FLAT: Names = Names([
    &["address.street"],
    &["address.city"],
    &["address.state"],
    &["address.postalCode", "address.postal_code"],
    &["address.country"],
]);

impl Address {
    /// Reads `address`: an object, an array of one, JSON text of either, or a line, which is the street. Without it, the
    /// traits may have its parts, as `address.city`.
    pub(crate) fn of(traits: Fields<'_>) -> Self {
        traits.get(&["address"]).map_or_else(|| Self::of_parts(traits, &FLAT), Self::read)
    }

    fn read(value: &Value) -> Self {
        match value {
            Value::Object(parts) => Self::of_parts(Fields::of_map(parts), &INSIDE),
            Value::Array(items) => match items.as_slice() {
                [] => Self::default(),
                [one] => Self::read(one),
                _ => Self::left_out(),
            },
            Value::String(text) => match text.trim_start().as_bytes().first() {
                Some(b'{' | b'[') => Self::of_json(text),
                _ => Self::line(value),
            },
            Value::Number(_) => Self::line(value),
            Value::Null | Value::Bool(false) => Self::default(),
            Value::Bool(true) => Self::left_out(),
        }
    }

    /// Nobody's street begins with a brace; with a bracket it may.
    fn of_json(text: &str) -> Self {
        match read_json(text.as_bytes()) {
            Ok(value) => Self::read(&value),
            Err(_) if text.trim_start().starts_with('{') => Self::left_out(),
            Err(_) => Self { address1: Some(Personal::new(text.trim())), ..Self::default() },
        }
    }

    fn line(value: &Value) -> Self {
        Self { address1: scalar(value).map(Personal::new), ..Self::default() }
    }

    fn left_out() -> Self {
        Self { omitted: vec![OmittedField::Address], ..Self::default() }
    }

    fn of_parts(fields: Fields<'_>, Names([street, city, state, zip, country]): &Names) -> Self {
        let mut omitted = Vec::new();
        let mut part = |names| {
            fields.read(names).unwrap_or_else(|_| {
                omit(&mut omitted, OmittedField::Address);
                None
            })
        };
        let personal = |text: Option<Cow<'_, str>>| text.map(Personal::new);
        let (address1, city, state, zip) = (part(street), part(city), part(state), part(zip));
        let (address1, city, state, zip) = (personal(address1), personal(city), personal(state), personal(zip));
        let country = match fields.read(country) {
            Ok(None) => None,
            Ok(Some(text)) => refersion_country(&text).or_else(|| {
                omit(&mut omitted, OmittedField::Country);
                None
            }),
            Err(_) => {
                omit(&mut omitted, OmittedField::Country);
                None
            }
        };
        Self { address1, city, state, zip, country, omitted }
    }
}

/// Each field is said once.
pub(crate) fn omit(omitted: &mut Vec<OmittedField>, field: OmittedField) {
    if !omitted.contains(&field) {
        omitted.push(field);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(traits: &Value, street: Option<&str>, city: Option<&str>, omitted: &[OmittedField]) {
        let address = Address::of(Fields::of(Some(traits)));
        let text = |field: &Option<Personal>| field.as_ref().map(|text| text.expose().to_owned());
        assert_eq!(text(&address.address1).as_deref(), street, "{traits}");
        assert_eq!(text(&address.city).as_deref(), city, "{traits}");
        assert_eq!(address.omitted, omitted, "{traits}");
    }

    #[test]
    fn an_address_is_an_object_in_whatever_it_is_wrapped() {
        let object = json!({"street": "6th St", "city": "Austin"});
        let text = object.to_string();
        for address in [json!(object), json!([object]), json!(text), json!(format!(" [{text}]")), json!([text])] {
            check(&json!({"address": address}), Some("6th St"), Some("Austin"), &[]);
        }
    }

    #[test]
    fn a_line_is_the_street() {
        check(&json!({"address": " 6th St, Austin\n"}), Some("6th St, Austin"), None, &[]);
        check(&json!({"address": ["6th St"]}), Some("6th St"), None, &[]);
        check(&json!({"address": "[rear] 6th St"}), Some("[rear] 6th St"), None, &[]);
        check(&json!({"address": 12}), Some("12"), None, &[]);
    }

    #[test]
    fn the_parts_may_stand_among_the_traits() {
        for keys in
            [["address.street", "address.city"], ["address_street", "addressCity"], ["$address.street", "ADDRESS CITY"]]
        {
            let traits = json!({keys[0]: "6th St", keys[1]: "Austin"});
            check(&traits, Some("6th St"), Some("Austin"), &[]);
        }
        check(&json!({"address": {"street": "6th St"}, "address.city": "Austin"}), Some("6th St"), None, &[]);
    }

    #[test]
    fn what_says_nothing_is_not_left_out_and_what_cannot_be_read_is_said() {
        for nothing in
            [json!(null), json!([]), json!({}), json!(""), json!("{}"), json!("[]"), json!("null"), json!(false)]
        {
            check(&json!({"address": nothing}), None, None, &[]);
        }
        let one = json!({"street": "6th St"});
        for unreadable in
            [json!([one, one]), json!(true), json!("{'city': 'Austin'}"), json!("{\"city\":"), json!(["a", "b"])]
        {
            check(&json!({"address": unreadable}), None, None, &[OmittedField::Address]);
        }
        let parts = json!({"street": ["6th St", "rear"], "city": "Austin", "state": {"code": "TX"}, "country": ["US"]});
        check(&json!({"address": parts}), None, Some("Austin"), &[OmittedField::Address, OmittedField::Country]);
    }
}
