//! What commands print: on stdout what was asked for, on stderr everything else.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use refersion_relay_deadletter::visible;

use crate::exit::Exit;

/// How long to wait until a pipe that is full, and was set not to block by who reads it, takes more.
const FULL_PIPE: Duration = Duration::from_millis(10);

/// Prints lines of what was asked for, and fails where they cannot be written.
macro_rules! say {
    ($($what:tt)*) => { $crate::output::output::write_line(format_args!($($what)*)) };
}
pub(crate) use say;

/// Says something beside what was asked for.
macro_rules! tell {
    ($($what:tt)*) => { $crate::output::output::write_aside(format_args!($($what)*)) };
}
pub(crate) use tell;

/// Writes to stdout, with a line end, what a terminal does not act on. A reader that has seen enough, such as `head`, is no
/// failure; anything else is, such as a full disk.
pub(crate) fn write_line(text: fmt::Arguments<'_>) -> Result<(), Exit> {
    print_bytes(shown(&text.to_string()).as_bytes())
}

/// Writes to stderr. There is nobody left to hear that it failed.
pub(crate) fn write_aside(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(shown(&text.to_string()).as_bytes());
}

/// Prints the help or the version, which is styled on a terminal.
pub(crate) fn help(asked: &clap::Error) -> Result<(), Exit> {
    if io::stdout().is_terminal() {
        printed(asked.print().and_then(|()| io::stdout().flush()))
    } else {
        print_bytes(asked.render().to_string().as_bytes())
    }
}

/// Standard output itself. The one of the library takes it for written when nobody may write there.
pub(crate) fn stdout() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Whether it failed because nobody reads any more, which is no failure.
pub(crate) fn unread(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Writes to stdout as it is.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Exit> {
    printed(stdout().and_then(|mut stdout| write(&mut stdout, bytes)))
}

fn printed(result: io::Result<()>) -> Result<(), Exit> {
    match result {
        Err(error) if !unread(&error) => {
            Err(Exit::Failed(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(output: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(FULL_PIPE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The lines, each as a person may see it.
fn shown(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(visible).collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_seen_enough_is_no_failure() {
        assert!(printed(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        let full = printed(Err(io::ErrorKind::StorageFull.into()));
        assert!(
            matches!(&full, Err(Exit::Failed(error)) if format!("{error:#}").contains("standard output")),
            "{full:?}"
        );
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write(&mut full, b"a").map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }

    #[test]
    fn lines_stay_lines_and_nothing_else_reaches_a_terminal() {
        assert_eq!(shown("a\x1b[2J\nb\r"), "a\\u001b[2J\nb\\u000d\n");
    }
}
