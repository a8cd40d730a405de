use serde::Serialize;

/// One thing that was looked at, or could not be.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) level: Level,
    pub(super) says: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// Allowed, and worth a word; or something that could not be looked at.
    Warning,
    Failed,
}

impl Finding {
    pub(super) fn ok(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Ok, says: says.into() }
    }

    pub(super) fn warning(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Warning, says: says.into() }
    }

    pub(super) fn failed(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Failed, says: says.into() }
    }
}

/// One line, whatever stands in it: a broker's or a system's own words may have several.
impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warning => "WARN",
            Level::Failed => "FAIL",
        };
        let line = format!("{level} {}: {}", self.what, self.says);
        f.write_str(&line.replace(char::is_control, " "))
    }
}
