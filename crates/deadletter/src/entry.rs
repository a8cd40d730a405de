use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use refersion_relay_queue::{Letter, rfc3339_millis};
use serde::Serialize;

/// Whether a person gets to see what an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// No: nothing personal is shown.
    Hidden,
    /// Yes.
    Shown,
}

/// A dead letter as it is printed: one JSON object, or a few lines.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Names the letter on the command line.
    pub id: String,
    /// Where it lies.
    pub class: &'static str,
    /// Why, in a word.
    pub reason: String,
    /// Why, in a sentence.
    pub error: Option<String>,
    /// The HTTP status of Refersion's answer.
    pub status: Option<u16>,
    /// Whose event it is.
    pub account: Option<String>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id, as its sender gave it unless it may be personal.
    pub message_id: String,
    /// Stands for the person it is about.
    pub subject: Option<String>,
    /// How often it was replayed.
    pub generation: u32,
    /// Charged attempts.
    pub attempts: u32,
    /// When it was received.
    pub received_at: String,
    /// When the first attempt failed.
    pub first_failed_at: Option<String>,
    /// When it became a dead letter.
    pub dead_at: Option<String>,
    /// Its size.
    pub body_bytes: usize,
    /// The event itself, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The event itself, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl Entry {
    /// Prepares a letter for printing.
    #[must_use]
    pub fn new(letter: &Letter, bodies: Bodies) -> Self {
        let (headers, body) = (&letter.message.headers, &letter.message.body);
        let death = headers.death.as_ref();
        let (body_text, body_base64) = match (bodies, std::str::from_utf8(body)) {
            (Bodies::Hidden, _) => (None, None),
            (Bodies::Shown, Ok(text)) => (Some(text.to_owned()), None),
            (Bodies::Shown, Err(_)) => (None, Some(STANDARD.encode(body))),
        };
        Self {
            id: letter.id.to_string(),
            class: letter.class.as_str(),
            reason: death.map_or_else(String::new, |death| death.reason.clone()),
            error: death.and_then(|death| death.error.clone()),
            status: death.and_then(|death| death.status),
            account: headers.account.as_ref().map(ToString::to_string),
            kind: headers.kind.clone(),
            message_id: headers.message_id.clone(),
            subject: headers.subject.clone(),
            generation: headers.generation,
            attempts: headers.attempts,
            received_at: rfc3339_millis(headers.received_at),
            first_failed_at: headers.first_failed_at.map(rfc3339_millis),
            dead_at: death.and_then(|death| death.dead_at).map(rfc3339_millis),
            body_bytes: body.len(),
            body: body_text,
            body_base64,
        }
    }
}
