/// A search for any part of a text, ignoring case, in which `_` stands for one character and `%` for any number, as it
/// does when a keyword lands unescaped in a SQL `LIKE`.
pub(crate) struct Like {
    keyword: String,
    /// `None` where no wildcard makes the plain search insufficient.
    pattern: Option<Vec<char>>,
}

impl Like {
    pub(crate) fn any_part(keyword: &str) -> Self {
        let keyword = keyword.to_lowercase();
        let pattern = keyword.contains(['_', '%']).then(|| format!("%{keyword}%").chars().collect());
        Self { keyword, pattern }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        match &self.pattern {
            None => text.contains(&self.keyword),
            Some(pattern) => matches(pattern, &text.chars().collect::<Vec<_>>()),
        }
    }
}

/// Matches greedily, and on a mismatch lets the latest `%` swallow one character more.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut latest: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('%') => {
                latest = Some((at, read));
                at += 1;
            }
            Some(wanted) if *wanted == '_' || *wanted == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((wildcard, swallowed)) = latest else {
                    return false;
                };
                latest = Some((wildcard, swallowed + 1));
                at = wildcard + 1;
                read = swallowed + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keyword: &str, text: &str, expected: bool) {
        assert_eq!(Like::any_part(keyword).matches(text), expected, "{keyword} in {text}");
    }

    #[test]
    fn any_part_is_found_whatever_its_case() {
        check("JO@x.co", "bojo@x.com", true);
        check("jo@y.co", "bojo@x.com", false);
    }

    #[test]
    fn an_underscore_is_any_one_character() {
        check("jo_ann@x.co", "jo.ann@x.co", true);
        check("jo_ann@x.co", "jo_ann@x.co", true);
        check("jo_ann@x.co", "joann@x.co", false);
    }

    #[test]
    fn a_percent_sign_is_any_number_of_characters() {
        check("jo%x", "aajoxjoyyx", true);
        check("jo%x", "jo", false);
        check("%", "anything", true);
        check("a%_b", "xab_", false);
        check("a%_b", "xaacb_", true);
    }
}
