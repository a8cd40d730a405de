use crate::segment::fields::Fields;
use crate::segment::text::clean;

/// A person's first and last name, as far as the traits tell.
#[derive(Default)]
pub(crate) struct PersonName {
    pub(crate) first: Option<String>,
    pub(crate) last: Option<String>,
}

/// What stands behind a whole name and a comma, and is no first name.
const BEHIND_A_NAME: [&str; 16] =
    ["jr", "sr", "ii", "iii", "iv", "phd", "md", "dds", "esq", "mba", "cpa", "jd", "rn", "ma", "msc", "bsc"];

impl PersonName {
    /// Reads the separate fields, and fills what they leave open from `name`. Invents nothing.
    pub(crate) fn of(traits: Fields<'_>) -> Self {
        let part = |names| traits.text(names).and_then(|text| words(&text));
        let (first, last) = (part(&["firstName", "first_name"]), part(&["lastName", "last_name"]));
        if first.is_some() && last.is_some() {
            return Self { first, last };
        }
        let Some(name) = traits.text(&["name"]) else { return Self { first, last } };
        match (first, last) {
            (Some(first), None) => {
                let rest = name.strip_prefix(&first).filter(|rest| rest.starts_with(char::is_whitespace));
                let last = rest.and_then(words).or_else(|| split(&name).last);
                Self { first: Some(first), last }
            }
            (None, Some(last)) => {
                let rest = name.strip_suffix(&last).filter(|rest| rest.ends_with(char::is_whitespace));
                let first = rest.and_then(words).or_else(|| split(&name).first);
                Self { first, last: Some(last) }
            }
            (None, None) => split(&name),
            both => Self { first: both.0, last: both.1 },
        }
    }

    /// Whether something that is no text stands where a name should: somebody is meant, who cannot be read.
    pub(crate) fn is_unreadable(traits: Fields<'_>) -> bool {
        let fields: [&[&str]; 3] = [&["name"], &["firstName", "first_name"], &["lastName", "last_name"]];
        fields.iter().any(|names| traits.read(names).is_err())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.last.is_none()
    }
}

/// The first word, and the rest. One word leaves the last name open. A comma stands behind the last name, unless there
/// is but a title or a generation behind it.
fn split(name: &str) -> PersonName {
    match name.split_once(',').map(|(before, behind)| (words(before), words(behind))) {
        Some((Some(whole), Some(title))) if is_no_name(&title) => {
            let PersonName { first, last } = in_order(&whole);
            PersonName { first, last: last.map(|last| format!("{last}, {title}")) }
        }
        Some((Some(last), Some(first))) => PersonName { first: Some(first), last: Some(last) },
        Some((one, other)) => one.or(other).as_deref().map(in_order).unwrap_or_default(),
        None => in_order(name),
    }
}

fn in_order(name: &str) -> PersonName {
    let name = words(name).unwrap_or_default();
    match name.split_once(char::is_whitespace) {
        Some((first, rest)) => PersonName { first: words(first), last: words(rest) },
        None => PersonName { first: words(&name), last: None },
    }
}

/// A part of a name without the words that stand for a missing one, such as `undefined`. `None` if there is no other.
fn words(part: &str) -> Option<String> {
    let part = clean(part)?;
    if part.split_whitespace().all(|word| clean(word).is_some()) {
        return Some(part.into_owned());
    }
    let words: Vec<_> = part.split_whitespace().filter_map(clean).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn is_no_name(behind: &str) -> bool {
    let letters: String = behind.chars().filter(|c| !matches!(c, '.' | ' ')).flat_map(char::to_lowercase).collect();
    BEHIND_A_NAME.contains(&letters.as_str())
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
    fn a_comma_stands_behind_the_last_name() {
        check(&json!({"name": "Ford, Ann"}), Some("Ann"), Some("Ford"));
        check(&json!({"name": " van der  Berg ,Mary Ann "}), Some("Mary Ann"), Some("van der  Berg"));
        check(&json!({"name": "Ford, Ann", "firstName": "Ann"}), Some("Ann"), Some("Ford"));
        for one in ["Ford,", ", Ford", "Ford, undefined"] {
            check(&json!({"name": one}), Some("Ford"), None);
        }
    }

    #[test]
    fn a_title_behind_a_comma_is_no_first_name() {
        check(&json!({"name": "Ann Ford, Jr."}), Some("Ann"), Some("Ford, Jr."));
        check(&json!({"name": "Ann van Ford, Ph.D."}), Some("Ann"), Some("van Ford, Ph.D."));
        check(&json!({"name": "Ford, Jr"}), Some("Ford"), None);
    }

    #[test]
    fn what_a_program_writes_for_nobody_is_no_name() {
        for nobody in
            ["null", "undefined", "null null", "undefined undefined", "\u{200b}", " \n", "\0", "[object Object]"]
        {
            check(&json!({"name": nobody, "firstName": nobody, "lastName": nobody}), None, None);
        }
        check(&json!({"name": "Ann undefined"}), Some("Ann"), None);
        check(&json!({"firstName": "null", "lastName": "undefined", "name": "Ann Ford"}), Some("Ann"), Some("Ford"));
        check(&json!({"firstName": "Jennifer", "lastName": "Null"}), Some("Jennifer"), Some("Null"));
    }

    #[test]
    fn control_characters_part_the_words_of_a_name() {
        check(&json!({"name": "Ann\nFord"}), Some("Ann"), Some("Ford"));
        check(&json!({"name": "Ann\0Ford\t"}), Some("Ann"), Some("Ford"));
        check(&json!({"firstName": "Mary\r\nAnn", "lastName": "\tFord\u{200b}"}), Some("Mary Ann"), Some("Ford"));
        check(&json!({"name": "Ann\u{200b} \u{feff}Ford"}), Some("Ann"), Some("Ford"));
    }

    #[test]
    fn an_entity_of_html_is_as_it_was_written() {
        check(&json!({"name": "Ann O&#39;Brien &amp; Co"}), Some("Ann"), Some("O&#39;Brien &amp; Co"));
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
