use std::io;

use refersion_relay_model::{Event, EventType};
use refersion_relay_queue::Letter;
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{Bodies, Entry, visible};

/// Writes dead letters, one JSON document a line. Personal data.
pub struct Export<'a> {
    output: &'a mut (dyn AsyncWrite + Send + Unpin),
    lines: Lines,
    for_terminal: bool,
}

/// What stands on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// The letter: what is known about it, and the event itself.
    Letters,
    /// The event alone, as it can be put into a queue again.
    Events,
}

impl<'a> Export<'a> {
    /// Writes to `output`.
    pub fn new(output: &'a mut (dyn AsyncWrite + Send + Unpin), lines: Lines) -> Self {
        Self { output, lines, for_terminal: false }
    }

    /// A person looks at it: what a terminal would act on is written as an escape of JSON, which says the same.
    #[must_use]
    pub fn for_terminal(self, is_terminal: bool) -> Self {
        Self { for_terminal: is_terminal, ..self }
    }

    /// Writes a letter. Says whether there was anything to write: bytes that are no JSON are no event.
    pub(crate) async fn write(&mut self, letter: &Letter) -> io::Result<bool> {
        let line = match self.lines {
            Lines::Letters => Some(serde_json::to_vec(&Entry::new(letter, Bodies::Shown))?),
            Lines::Events => event(&letter.message.body),
        };
        let Some(mut line) = line else { return Ok(false) };
        if self.for_terminal {
            // A tab in JSON stands where a space can.
            line = visible(&String::from_utf8_lossy(&line).replace('\t', " ")).into_owned().into_bytes();
        }
        line.push(b'\n');
        self.output.write_all(&line).await?;
        Ok(true)
    }

    /// Whether a letter would be written as something else than it was taken for: only its body is, and that says another type than
    /// its door did. Whoever enqueues it again would have done what its sender may not.
    pub(crate) fn misleads(&self, letter: &Letter) -> bool {
        let says = || Event::parse(&letter.message.body).ok().map(|event| event.kind().as_str());
        matches!(self.lines, Lines::Events)
            && EventType::named(&letter.message.headers.kind).is_some()
            && says().is_some_and(|says| says != letter.message.headers.kind)
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.output.flush().await
    }
}

/// The bytes of an event on one line: in JSON a raw line end can only stand where a space can. `None`: not JSON.
fn event(body: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<Value>(body).ok()?; // read as the relay reads it
    Some(body.trim_ascii().iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::letter;

    #[test]
    fn what_says_another_type_than_its_door_took_it_for_misleads() {
        let mut output = Vec::new();
        for (kind, body, misleads) in [
            ("identify", r#"{"type":"delete","email":"a@example.com"}"#, true),
            ("identify", r#"{"type":"identify"}"#, false),
            ("identify", "{}", false),
            ("delete", r#"{"type":"Delete"}"#, false),
            ("unknown", r#"{"type":"delete"}"#, false),
        ] {
            let mut letter = letter("m1", |headers| headers.kind = kind.to_owned());
            letter.message.body = body.into();
            assert_eq!(Export::new(&mut output, Lines::Events).misleads(&letter), misleads, "{kind} {body}");
            assert!(!Export::new(&mut output, Lines::Letters).misleads(&letter));
        }
    }

    #[tokio::test]
    async fn on_a_terminal_nothing_is_written_that_it_would_act_on() {
        let mut foreign = letter("m1", |headers| headers.kind = "\u{202e}".to_owned());
        foreign.message.body = "{\"a\":\t\"\u{9b}31m\u{7f}\"}".into();
        for lines in [Lines::Letters, Lines::Events] {
            let mut output = Vec::new();
            Export::new(&mut output, lines).for_terminal(true).write(&foreign).await.unwrap();
            let line = String::from_utf8(output).unwrap();
            let seen = line.strip_suffix('\n').unwrap();
            assert_eq!(visible(seen), seen, "it is as a person may see it");
            assert!(serde_json::from_str::<Value>(seen).is_ok(), "{seen}");
        }
        let mut output = Vec::new();
        Export::new(&mut output, Lines::Events).write(&foreign).await.unwrap();
        assert_eq!(output, [&foreign.message.body[..], b"\n"].concat(), "a file gets the event as it is");
    }

    #[test]
    fn an_event_is_one_line_and_says_the_same() {
        let body = b"\n{\"type\":\r\n \"identify\",\"a\":\"x\\ny\"}\n";
        let line = event(body).unwrap();
        assert_eq!(line, b"{\"type\":   \"identify\",\"a\":\"x\\ny\"}");
        let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        assert_eq!(value(&line), value(body));
    }

    #[test]
    fn what_is_not_json_is_no_event() {
        for body in [b"".as_slice(), b"{", b"\xff\xfe", b"{} {}", b"\"a\nb\"", b"{\"a\":\"\xff\"}"] {
            assert_eq!(event(body), None, "{body:?}");
        }
    }
}
