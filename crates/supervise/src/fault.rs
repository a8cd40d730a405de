//! Parts that end on demand, for tests. Not in a release build.
//!
//! `RELAY_FAULT=panic:intake` lets the intake panic when it begins, `return:intake` lets it return, and
//! `panic:intake:/tmp/now` waits until there is such a file.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// How often it is looked whether the file is there.
const LOOK_EVERY: Duration = Duration::from_millis(10);

static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| Fault::parse(&std::env::var("RELAY_FAULT").ok()?));

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    panics: bool,
    part: String,
    file: Option<PathBuf>,
}

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ':');
        let panics = match words.next()? {
            "panic" => true,
            "return" => false,
            _ => return None,
        };
        Some(Self { panics, part: words.next()?.to_owned(), file: words.next().map(PathBuf::from) })
    }

    fn is_due(&self) -> bool {
        self.file.as_ref().is_none_or(|file| file.exists())
    }

    fn happen(&self) {
        assert!(!self.panics, "RELAY_FAULT says so");
    }
}

fn of(part: &str) -> Option<&'static Fault> {
    FAULT.as_ref().filter(|fault| fault.part == part)
}

/// Resolves, or panics, when the part is to end.
pub(crate) async fn end(part: &str) {
    let Some(fault) = of(part) else { return std::future::pending().await };
    while !fault.is_due() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    fault.happen();
}

/// The same in a thread, which then does nothing else. `false`: it is not to end.
pub(crate) fn ends_thread(part: &str) -> bool {
    let Some(fault) = of(part) else { return false };
    while !fault.is_due() {
        std::thread::sleep(LOOK_EVERY);
    }
    fault.happen();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_how_which_part_and_when() {
        let fault = |panics, file: Option<&str>| {
            Some(Fault { panics, part: "account other".to_owned(), file: file.map(PathBuf::from) })
        };
        assert_eq!(Fault::parse("panic:account other"), fault(true, None));
        assert_eq!(Fault::parse("return:account other:/tmp/a:b"), fault(false, Some("/tmp/a:b")));
        for none in ["", "panic", "explode:intake"] {
            assert_eq!(Fault::parse(none), None, "{none}");
        }
    }
}
