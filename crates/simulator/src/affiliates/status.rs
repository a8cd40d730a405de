use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an affiliate stands with the merchant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Pending,
    #[default]
    Active,
    Denied,
    Disabled,
}

impl Status {
    /// Returns the word that goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Active => "ACTIVE",
            Self::Denied => "DENIED",
            Self::Disabled => "DISABLED",
        }
    }

    /// The status an affiliate may be created with.
    pub(crate) fn for_new(word: &str) -> Option<Self> {
        [Self::Pending, Self::Active].into_iter().find(|status| status.as_str() == word)
    }

    /// The status an affiliate may be moved to: nobody becomes pending again.
    pub(crate) fn for_change(word: &str) -> Option<Self> {
        [Self::Active, Self::Denied, Self::Disabled].into_iter().find(|status| status.as_str() == word)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
