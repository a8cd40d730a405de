use strsim::damerau_levenshtein;

/// The name that is most likely meant: one that differs by a slip, or by how its words are put together.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let word = normal(word);
    // Files are what a path is asked for.
    let word = word.strip_suffix("path").map(|begin| format!("{begin}file")).unwrap_or(word);
    let slips = |name: &&str| damerau_levenshtein(&word, &normal(name));
    let close = names.clone().filter(|name| slips(name) <= (word.len().max(normal(name).len()) / 3).clamp(1, 3));
    let begun = |name: &&str| 4 <= word.len() && (normal(name).starts_with(&word) || word.starts_with(&normal(name)));
    close.min_by_key(slips).or_else(|| names.filter(begun).min_by_key(|name| name.len()))
}

/// A name without what is between its words: `max-attempts`, `maxAttempts` and `max_attempts` are one.
pub(crate) fn normal(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_nothing_is_made_up() {
        let names =
            ["url", "url_file", "prefix", "accounts", "max_attempts", "secret_key", "secret_key_file", "listen"];
        for (word, meant) in [
            ("prefx", Some("prefix")),
            ("perfix", Some("prefix")),
            ("account", Some("accounts")),
            ("maxAttempts", Some("max_attempts")),
            ("max-attempts", Some("max_attempts")),
            ("secret", Some("secret_key")),
            ("secret_key_path", Some("secret_key_file")),
            ("uri", Some("url")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, names.iter().copied()), meant, "{word}");
        }
    }
}
