use std::{fmt, time::Duration};

/// How the simulated Refersion behaves for as long as it runs.
#[derive(Clone)]
pub struct Settings {
    /// The key pairs that are let in, public key first. Empty: any pair of which neither key is empty.
    pub keys: Vec<(String, String)>,
    /// Rows on one page of a search, and of a list that names no limit. Zero counts as one.
    pub page_size: usize,
    /// What the rows of search and list call `id`.
    pub list_ids: IdKind,
    /// What the affiliates' codes look like.
    pub code_style: CodeStyle,
    /// How long every API call takes at least.
    pub latency: Duration,
}

/// Which of an affiliate's two ids a row carries: accounts were seen to differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdKind {
    /// The short code, as a string.
    #[default]
    Code,
    /// The numeric id, as a number.
    Numeric,
}

/// What a code looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodeStyle {
    /// A few letters and digits, with at least one letter.
    #[default]
    Alphanumeric,
    /// Digits only. Every code is also the numeric id of the affiliate that is created next, so that a client which
    /// mistakes one for the other meets a stranger.
    AllDigits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            page_size: 10,
            list_ids: IdKind::default(),
            code_style: CodeStyle::default(),
            latency: Duration::ZERO,
        }
    }
}

/// Names no key.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("keys", &format_args!("{} pairs", self.keys.len()))
            .field("page_size", &self.page_size)
            .field("list_ids", &self.list_ids)
            .field("code_style", &self.code_style)
            .field("latency", &self.latency)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debugging_the_settings_shows_no_key() {
        let settings = Settings { keys: vec![("pub_1".into(), "sec_1".into())], ..Settings::default() };

        let shown = format!("{settings:?}");

        assert!(!shown.contains("pub_1") && !shown.contains("sec_1"), "{shown}");
    }
}
