use serde::Serialize;

/// One thing that was looked at, or could not be.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) level: Level,
    pub(crate) says: String,
    /// What else has to be mended first, as that finding's `what` has it: this one only follows from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) follows: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// Allowed, and worth a word; or something that could not be looked at.
    Warning,
    Failed,
}

impl Finding {
    pub(crate) fn ok(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Ok, says: says.into(), follows: None }
    }

    pub(crate) fn warning(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Warning, says: says.into(), follows: None }
    }

    pub(crate) fn failed(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Failed, says: says.into(), follows: None }
    }

    /// The same, and where it comes from.
    pub(crate) fn following(self, cause: impl Into<String>) -> Self {
        Self { follows: Some(cause.into()), ..self }
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
