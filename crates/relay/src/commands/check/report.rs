use std::fmt;

use super::finding::{Finding, Level};

/// What was found, for a person: what has failed first, then what is worth a word, then the rest, and how many of each.
/// What only follows from something that has failed is left out.
pub(crate) struct Report<'a>(Vec<&'a Finding>);

impl<'a> Report<'a> {
    pub(crate) fn of(findings: &'a [Finding]) -> Self {
        let has_failed = |what: &str| findings.iter().any(|one| one.level == Level::Failed && one.what == what);
        let stands_alone = |finding: &&Finding| finding.follows.as_deref().is_none_or(|cause| !has_failed(cause));
        let mut shown: Vec<_> = findings.iter().filter(stands_alone).collect();
        shown.sort_by_key(|finding| match finding.level {
            Level::Failed => 0,
            Level::Warning => 1,
            Level::Ok => 2,
        });
        Self(shown)
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0 {
            writeln!(f, "{finding}")?;
        }
        let (failed, warnings, fine) = (self.count(Level::Failed), self.count(Level::Warning), self.count(Level::Ok));
        let s = if warnings == 1 { "" } else { "s" };
        write!(f, "{failed} failed, {warnings} warning{s}, {fine} fine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_failed_comes_first_what_only_follows_is_left_out_and_the_last_line_counts() {
        let findings = [
            Finding::ok("configuration", "relay.toml is understood"),
            Finding::failed("account acme: secret_key", "/nowhere cannot be read"),
            Finding::warning("account acme", "its keys were not tried").following("account acme: secret_key"),
            Finding::warning("clock", "was not compared"),
            Finding::warning("policies", "were not looked at").following("queue.url"),
            Finding::failed("queue", "two\nlines"),
        ];
        let expected = "\
FAIL account acme: secret_key: /nowhere cannot be read
FAIL queue: two lines
WARN clock: was not compared
WARN policies: were not looked at
ok   configuration: relay.toml is understood
2 failed, 2 warnings, 1 fine";
        assert_eq!(Report::of(&findings).to_string(), expected);
        assert_eq!(
            Report::of(&findings[3..4]).to_string(),
            "WARN clock: was not compared\n0 failed, 1 warning, 0 fine"
        );
    }
}
