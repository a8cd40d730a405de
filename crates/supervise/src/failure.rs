use std::any::Any;
use std::fmt;

/// A part that ended unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub part: String,
    /// How it ended.
    pub how: How,
}

/// How a part ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It came to its end.
    Returned,
    /// It panicked. Only a message that stands in the source as it is: one that was made may quote an event.
    Panicked(Option<&'static str>),
    /// The system did not give it a thread.
    NotBegun(String),
}

impl How {
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        Self::Panicked(payload.downcast_ref::<&'static str>().copied())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has ended unasked: {}", self.part, self.how)
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned => f.write_str("it returned"),
            Self::Panicked(None) => f.write_str("it panicked"),
            Self::Panicked(Some(message)) => write!(f, "it panicked: {message}"),
            Self::NotBegun(why) => write!(f, "it has no thread: {why}"),
        }
    }
}
