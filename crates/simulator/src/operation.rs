use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::affiliates::directory::Directory;
use crate::http::refusal::Refusal;
use crate::settings::Settings;

mod edit;
mod get;
mod list;
mod new;
mod search;
mod status_change;

/// One of the calls that concern affiliates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    New,
    Edit,
    Search,
    Get,
    StatusChange,
    List,
}

impl Operation {
    pub const ALL: [Self; 6] = [Self::New, Self::Edit, Self::Search, Self::Get, Self::StatusChange, Self::List];

    /// Returns the last part of the operation's path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Edit => "edit",
            Self::Search => "search",
            Self::Get => "get",
            Self::StatusChange => "status_change",
            Self::List => "list",
        }
    }

    /// Carries the request out for the merchant of this public key, and returns what a 200 says.
    pub(crate) fn perform(
        self,
        request: Map<String, Value>,
        public_key: &str,
        directory: &mut Directory,
        settings: &Settings,
    ) -> Result<Value, Refusal> {
        match self {
            Self::New => new::perform(request, public_key, directory),
            Self::Edit => edit::perform(request, directory.merchant(public_key)),
            Self::Search => search::perform(request, directory.merchant(public_key), settings),
            Self::Get => get::perform(request, directory.merchant(public_key)),
            Self::StatusChange => status_change::perform(request, directory.merchant(public_key)),
            Self::List => list::perform(request, directory.merchant(public_key), settings),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
