use crate::fields::Fields;

/// A person's first and last name, as far as the traits tell.
#[derive(Default)]
pub(crate) struct PersonName {
    pub(crate) first: Option<String>,
    pub(crate) last: Option<String>,
}

impl PersonName {
    /// Reads the separate fields, and fills what they leave open from `name`. Invents nothing.
    pub(crate) fn of(traits: Fields<'_>) -> Self {
        let first = traits.text(&["firstName", "first_name"]);
        let last = traits.text(&["lastName", "last_name"]);
        let Some(name) = traits.text(&["name"]) else { return Self { first, last } };
        match (first, last) {
            (Some(first), None) => {
                let last = name.strip_prefix(&first).filter(|rest| rest.starts_with(char::is_whitespace));
                let last = last.map(|rest| rest.trim().to_owned()).or_else(|| split(&name).last);
                Self { first: Some(first), last }
            }
            (None, Some(last)) => {
                let first = name.strip_suffix(&last).filter(|rest| rest.ends_with(char::is_whitespace));
                let first = first.map(|rest| rest.trim().to_owned()).or_else(|| split(&name).first);
                Self { first, last: Some(last) }
            }
            (None, None) => split(&name),
            both => Self { first: both.0, last: both.1 },
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.last.is_none()
    }
}

/// The first word, and the rest. One word leaves the last name open.
fn split(name: &str) -> PersonName {
    match name.trim().split_once(char::is_whitespace) {
        Some((first, rest)) => PersonName { first: Some(first.to_owned()), last: Some(rest.trim().to_owned()) },
        None => PersonName { first: Some(name.trim().to_owned()), last: None },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(traits: &Value, first: Option<&str>, last: Option<&str>) {
        let name = PersonName::of(Fields::of(Some(traits)));
        assert_eq!((name.first.as_deref(), name.last.as_deref()), (first, last), "{traits}");
    }

    #[test]
    fn a_name_is_split_at_its_first_space() {
        check(&json!({"name": "Peter Gibbons"}), Some("Peter"), Some("Gibbons"));
        check(&json!({"name": "  Peter   van der Gibbons "}), Some("Peter"), Some("van der Gibbons"));
    }

    #[test]
    fn one_word_leaves_the_last_name_open() {
        check(&json!({"name": "Cher"}), Some("Cher"), None);
    }

    #[test]
    fn separate_fields_win_over_the_name() {
        check(&json!({"name": "X Y", "firstName": "Peter", "lastName": "Gibbons"}), Some("Peter"), Some("Gibbons"));
        check(&json!({"name": "X Y", "first_name": "Peter", "last_name": "Gibbons"}), Some("Peter"), Some("Gibbons"));
    }

    #[test]
    fn a_half_given_name_is_completed_from_the_whole_one() {
        check(&json!({"name": "Mary Ann Smith", "firstName": "Mary Ann"}), Some("Mary Ann"), Some("Smith"));
        check(&json!({"name": "Mary Ann Smith", "lastName": "Smith"}), Some("Mary Ann"), Some("Smith"));
        check(&json!({"name": "Bob Smith", "firstName": "Robert"}), Some("Robert"), Some("Smith"));
        check(&json!({"firstName": "Robert"}), Some("Robert"), None);
    }
}
