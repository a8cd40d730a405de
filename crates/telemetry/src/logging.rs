use std::io;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter has an error.
    #[error("the log filter {filter:?} is not understood")]
    Filter {
        /// As given.
        filter: String,
        /// Why not.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Sends log lines to stderr, filtered by `RUST_LOG`, else by `filter`. A second call in a process changes nothing.
pub fn init_logging(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    let filter = std::env::var("RUST_LOG").ok().filter(|set| !set.is_empty()).unwrap_or_else(|| filter.to_owned());
    let wanted = EnvFilter::try_new(&filter).map_err(|source| LoggingError::Filter { filter, source })?;
    let wanted = wanted.and(shown());
    let lines = fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry();
    std::panic::set_hook(Box::new(|panic| {
        // Where, and not what: the message of a panic may quote what it stumbled over.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic.place = place, "a panic");
    }));
    // The only error is that a subscriber is installed already, which is what a second call finds.
    let _ = match format {
        LogFormat::Text => {
            let ansi = io::IsTerminal::is_terminal(&io::stderr());
            registry.with(lines.with_ansi(ansi).with_filter(wanted)).try_init()
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(wanted)).try_init(),
    };
    Ok(())
}

/// Whether a filter is understood.
#[must_use]
pub fn is_log_filter(filter: &str) -> bool {
    EnvFilter::try_new(filter).is_ok()
}

/// Our own lines at any level, and of libraries only warnings and errors: below that they print what passes through
/// them, bodies and headers included. lapin prints a returned message whole even as a warning.
fn shown() -> FilterFn {
    filter_fn(is_shown)
}

/// What goes wrong with a broker is told by us, once, by those who know what it means: that a channel was closed, an error
/// to lapin, is an answer to who asks for a queue, and a connection that is lost is lost once, not once for each of its parts.
fn is_said_by_us(target: &str) -> bool {
    target == "lapin" || target.starts_with("lapin::")
}

fn is_shown(line: &Metadata<'_>) -> bool {
    let ours = line.target().starts_with("refersion_relay");
    ours || (*line.level() <= Level::WARN && !is_said_by_us(line.target()))
}
