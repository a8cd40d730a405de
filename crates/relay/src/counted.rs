use std::fmt;

/// A number of something, in words: `1 letter`, `2 letters`.
pub(crate) fn counted(count: u64, one: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{count} {one}{}", if count == 1 { "" } else { "s" }))
}

/// One word or another for a number: `was`, `were`.
pub(crate) fn form<'a>(count: u64, one: &'a str, several: &'a str) -> &'a str {
    if count == 1 { one } else { several }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let lines: Vec<_> = [0, 1, 2].map(|n| format!("{} {}", counted(n, "line"), form(n, "is", "are"))).into();
        assert_eq!(lines, ["0 lines are", "1 line is", "2 lines are"]);
    }
}
