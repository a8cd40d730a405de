use std::process::ExitCode;

use crate::output::output::tell;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Exit {
    /// It tried and failed: exit code 1.
    Failed(anyhow::Error),
    /// It was asked, or configured, wrongly: exit code 2.
    Usage(anyhow::Error),
    /// It failed and has already said so: exit code 1.
    Said,
}

impl Exit {
    pub(crate) fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed(error.into())
    }

    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    /// Says it on stderr, in one line; several mistakes in a configuration have a line each.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Failed(error) => {
                tell!("refersion-relay: {error:#}");
                ExitCode::from(1)
            }
            Self::Usage(error) => {
                tell!("refersion-relay: {error:#}");
                ExitCode::from(2)
            }
            Self::Said => ExitCode::from(1),
        }
    }
}
