use std::borrow::Cow;
use std::fmt::Write as _;

/// Text of strangers as a person may see it: what a terminal would act on, or would not show, is written as JSON writes
/// it (`\u001b`).
///
/// In JSON such a character can only stand within a string, so JSON stays JSON and says the same. Line ends are among
/// them: who prints text of several lines prints each line.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(shown, "\\u{unit:04x}").expect("a String takes everything");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Joiners are not among them: names in Persian and Hindi are written with them, and no terminal acts on them.
fn is_hidden(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let ends_a_line = matches!(c, '\u{2028}' | '\u{2029}');
    let is_invisible = matches!(c,
        '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    // C0, DEL and C1: an escape sequence begins with one of them.
    c.is_control() || turns || ends_a_line || is_invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_written_out() {
        for (text, shown) in [
            ("\x1b]0;owned\x07", r"\u001b]0;owned\u0007"),
            ("\u{9b}31m\x7f", r"\u009b31m\u007f"),
            ("a\r\n\tb\0", r"a\u000d\u000a\u0009b\u0000"),
            ("\u{202e}gpj.exe\u{2066}\u{200f}", r"\u202egpj.exe\u2066\u200f"),
            ("a\u{200b}b\u{feff}\u{2028}\u{e0041}", r"a\u200bb\ufeff\u2028\udb40\udc41"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn what_people_are_called_stays_as_it_is() {
        for text in ["Zoë O’Neill-Łuk", "علی\u{200c}رضا", "क्\u{200d}ष", "李小龍 👩\u{200d}💻", r"back\slash"]
        {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn json_stays_json_and_says_the_same() {
        let value = serde_json::json!({"a\u{9b}": "\x1b\x7f\u{202e}\u{e0041}\n"});
        let shown = visible(&value.to_string()).into_owned();
        assert!(!shown.contains(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
