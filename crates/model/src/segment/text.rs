//! What is a blank, what cannot be seen, and what stands for nothing: the same for every field of every event.

use std::borrow::Cow;

/// What programs write where they have nothing. To the letter: `Null` is a surname.
const NOTHING: [&str; 3] = ["null", "undefined", "[object Object]"];

/// What is left of bytes without the byte order marks before them, which some programs put before everything they write.
#[must_use]
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some(behind) = rest.trim_ascii_start().strip_prefix(b"\xef\xbb\xbf") {
        rest = behind;
    }
    rest
}

/// A text as it is used: without blanks and invisible characters around it, and on one line. `None` if that is nothing.
pub(crate) fn clean(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim_matches(is_edge);
    if text.chars().all(|c| is_edge(c) || is_invisible(c)) || NOTHING.contains(&text) {
        return None;
    }
    if !text.contains(char::is_control) {
        return Some(Cow::Borrowed(text));
    }
    let lines = text.split(char::is_control).map(|line| line.trim_matches(is_edge)).filter(|line| !line.is_empty());
    Some(Cow::Owned(lines.collect::<Vec<_>>().join(" ")))
}

/// A blank: white space, a control character, or what looks like nothing where a text begins or ends. There, but not
/// inside of a text, where it joins or parts letters, and not where it belongs to the emoji before it.
pub(crate) fn is_edge(c: char) -> bool {
    is_blank(c) || (is_invisible(c) && !matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0020}'..='\u{e01ef}'))
}

/// White space, or a control character such as NUL, a tab or the end of a line.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Whether a character has no shape of its own: Unicode's `Default_Ignorable_Code_Point`, what annotates, and the
/// pattern of Braille without a dot.
pub(crate) fn is_invisible(c: char) -> bool {
    // Nothing before the soft hyphen is.
    '\u{ad}' <= c
        && matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(clean(text).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn what_cannot_be_seen_around_a_text_is_no_part_of_it() {
        for around in
            [" ", "\0", "\n", "\t\r\n", "\u{a0}", "\u{200b}", "\u{feff}", "\u{ad}", "\u{202e}", "\u{2800}", "\u{7f}"]
        {
            check(&format!("{around}Ann{around}"), Some("Ann"));
            check(around, None);
        }
        check("\u{fe0f}\u{200d}\u{e0041}", None);
    }

    #[test]
    fn a_text_is_one_line() {
        check("Ann\nFord", Some("Ann Ford"));
        check("Ann\0 \r\n\tFord", Some("Ann Ford"));
        check("Ann  Ford", Some("Ann  Ford"));
    }

    #[test]
    fn what_joins_letters_and_what_colours_an_emoji_stays() {
        for text in ["نامه\u{200c}ای", "👩\u{200d}💻", "We \u{2764}\u{fe0f}", "🏴\u{e0067}\u{e0062}\u{e007f}"]
        {
            check(text, Some(text));
        }
    }

    #[test]
    fn what_a_program_writes_for_nothing_is_nothing() {
        for nothing in ["null", "undefined", " undefined\n", "[object Object]", ""] {
            check(nothing, None);
        }
        for text in ["Null", "NULL", "nullable", "[object]"] {
            check(text, Some(text));
        }
    }

    #[test]
    fn a_byte_order_mark_is_cut_wherever_it_stands_before_the_text() {
        for marked in ["\u{feff}{}", "\u{feff}\u{feff}{}", " \n\u{feff}{}"] {
            assert_eq!(without_byte_order_mark(marked.as_bytes()), b"{}");
        }
        for other in ["", " {}", "{\u{feff}}", "\u{fefe}"] {
            assert_eq!(without_byte_order_mark(other.as_bytes()), other.as_bytes());
        }
    }
}
