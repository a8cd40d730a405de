use std::fmt;

/// A number of something, in words: `1 letter`, `2 letters`.
pub(crate) fn counted(count: u64, one: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{count} {one}{}", if count == 1 { "" } else { "s" }))
}

/// One word or another for a number: `was`, `were`.
pub(crate) fn form<'a>(count: u64, one: &'a str, several: &'a str) -> &'a str {
    if count == 1 { one } else { several }
}

/// A text as a shell takes it for one word.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let lines: Vec<_> = [0, 1, 2].map(|n| format!("{} {}", counted(n, "line"), form(n, "is", "are"))).into();
        assert_eq!(lines, ["0 lines are", "1 line is", "2 lines are"]);
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted("/tmp/demo-1/relay.toml"), "/tmp/demo-1/relay.toml");
        assert_eq!(quoted("/tmp/it's mine"), r"'/tmp/it'\''s mine'");
        assert_eq!(quoted(""), "''");
    }
}
