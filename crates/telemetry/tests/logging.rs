//! What reaches the log, whatever filter an operator sets. The log goes to stderr, so it is read from a process of its
//! own: this test binary again, with only the test that says something.

use std::process::Command;

use refersion_relay_telemetry::{LogFormat, init_logging};

/// What the process under test does: the other tests run this one in a process of its own and read what it said.
#[test]
fn says_something_at_every_level() {
    let json = std::env::var_os("LOG_FORMAT_JSON").is_some();
    init_logging(if json { LogFormat::Json } else { LogFormat::Text }, "info").expect("the filter is fine");

    tracing::trace!(target: "refersion_relay_worker::work", "ours trace");
    tracing::debug!(target: "refersion_relay_worker::work", "ours debug");
    tracing::info!(target: "refersion_relay", "ours info");
    macro_rules! library_says {
        ($target:literal) => {
            tracing::trace!(target: $target, concat!($target, " trace"));
            tracing::debug!(target: $target, concat!($target, " debug"));
            tracing::info!(target: $target, concat!($target, " info"));
            tracing::warn!(target: $target, concat!($target, " warn"));
            tracing::error!(target: $target, concat!($target, " error"));
        };
    }
    library_says!("lapin");
    library_says!("hyper_util::client");
    library_says!("reqwest::connect");
    library_says!("lapin::returned_messages");
    let address = "peter@example.com";
    assert!(std::panic::catch_unwind(|| panic!("cannot stand {address}")).is_err());
}

#[test]
fn a_panic_says_where_it_happened_and_not_what_it_stumbled_over() {
    let log = log_of_another_process(LogFormat::Text, Some("debug"));
    assert!(log.contains("a panic") && log.contains("logging.rs"), "{log}");
    assert!(!log.contains("peter@example.com"), "{log}");
}

#[test]
fn of_libraries_only_warnings_and_errors_are_logged_even_at_trace() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let log = log_of_another_process(format, Some("trace"));
        for library in ["hyper_util::client", "reqwest::connect"] {
            for hidden in ["trace", "debug", "info"] {
                assert!(!log.contains(&format!("{library} {hidden}")), "{format:?}: {library} {hidden} in\n{log}");
            }
            for shown in ["warn", "error"] {
                assert!(log.contains(&format!("{library} {shown}")), "{format:?}: no {library} {shown} in\n{log}");
            }
        }
    }
}

/// Neither a message that came back, body and all, nor its complaints about connections.
#[test]
fn lapin_has_no_say_in_the_log() {
    for filter in ["trace", "lapin::returned_messages=trace", "lapin=trace"] {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = log_of_another_process(format, Some(filter));
            assert!(!log.contains("lapin"), "{format:?}, {filter}:\n{log}");
        }
    }
}

#[test]
fn our_own_lines_follow_the_filter() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let everything = log_of_another_process(format, Some("trace"));
        assert!(everything.contains("ours trace") && everything.contains("ours debug"), "{everything}");

        let debug = log_of_another_process(format, Some("refersion_relay_worker=debug"));
        assert!(debug.contains("ours debug") && !debug.contains("ours trace"), "{debug}");
        assert!(!debug.contains("reqwest"), "{debug}");
    }
}

#[test]
fn without_rust_log_the_configured_filter_counts() {
    for unset in [None, Some("")] {
        let log = log_of_another_process(LogFormat::Text, unset);
        assert!(log.contains("ours info") && !log.contains("ours debug"), "{log}");
    }
}

#[track_caller]
fn log_of_another_process(format: LogFormat, rust_log: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "says_something_at_every_level", "--nocapture"]);
    command.env_remove("RUST_LOG").env_remove("LOG_FORMAT_JSON");
    if let Some(filter) = rust_log {
        command.env("RUST_LOG", filter);
    }
    if format == LogFormat::Json {
        command.env("LOG_FORMAT_JSON", "1");
    }
    let output = command.output().expect("this binary runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("log lines are UTF-8");
    assert!(said.contains("reqwest::connect error") || rust_log.is_some_and(|filter| filter.contains('=')), "{said}");
    said
}
