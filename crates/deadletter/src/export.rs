use std::io;

use refersion_relay_queue::Letter;
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{Bodies, Entry};

/// Writes dead letters, one JSON document a line. Personal data.
pub struct Export<'a> {
    output: &'a mut (dyn AsyncWrite + Send + Unpin),
    lines: Lines,
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
        Self { output, lines }
    }

    /// Writes a letter. Says whether there was anything to write: bytes that are no JSON are no event.
    pub(crate) async fn write(&mut self, letter: &Letter) -> io::Result<bool> {
        let line = match self.lines {
            Lines::Letters => Some(serde_json::to_vec(&Entry::new(letter, Bodies::Shown))?),
            Lines::Events => event(&letter.message.body),
        };
        let Some(mut line) = line else { return Ok(false) };
        line.push(b'\n');
        self.output.write_all(&line).await?;
        Ok(true)
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
