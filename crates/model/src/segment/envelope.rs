use serde_json::{Map, Value};

use crate::EventType;
use crate::segment::fields::Fields;
use crate::segment::traits::opened;

/// What is known of an event beside its own bytes: how it came in, and what stood around it.
///
/// The default is an event that stands alone and that Segment has let through.
#[derive(Clone, Default)]
pub struct Envelope {
    kind: Option<EventType>,
    filters: Filters,
    integrations: Map<String, Value>,
    is_computed: bool,
}

/// Who applies `integrations`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Filters {
    /// Segment did, by the name of the destination that it sends to. What it says about all others decides nothing, and
    /// only a refusal that names Refersion counts.
    #[default]
    Upstream,
    /// Nobody before us: the whole rule applies.
    Here,
}

/// The name by which customers exclude Refersion, to the letter.
const NAME: &str = "Refersion";
/// What stands for every destination that is not named. Segment ignores other casings, and so does this.
const EVERYTHING: &str = "All";

impl Envelope {
    /// Around events that come straight from a library, with nobody in between who would have filtered them.
    #[must_use]
    pub fn unfiltered() -> Self {
        Self { filters: Filters::Here, ..Self::default() }
    }

    /// The type is known, whatever the event says itself.
    #[must_use]
    pub fn with_kind(self, kind: EventType) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// The type as a queue has it beside the event. A word that is no type says nothing.
    #[must_use]
    pub fn with_word(self, kind: &str) -> Self {
        Self { kind: EventType::named(kind), ..self }
    }

    /// What a batch says about all of its events, as far as they do not say it themselves.
    #[must_use]
    pub fn with_batch(self, integrations: Option<&Value>, context: Option<&Value>) -> Self {
        let read = |value: &Value| value.as_str().and_then(opened).unwrap_or_else(|| value.clone());
        let integrations = match integrations.map(read) {
            Some(Value::Object(integrations)) => integrations,
            _ => Map::new(),
        };
        Self { integrations, is_computed: is_computed(context.map(read).as_ref()), ..self }
    }

    pub(crate) fn kind(&self) -> Option<EventType> {
        self.kind
    }

    /// Whether `own`, the event's integrations, and those around it exclude Refersion. Only a literal `false` does.
    pub(crate) fn excludes(&self, own: Option<&Map<String, Value>>) -> bool {
        // By reference: one batch has thousands of events, and what stands there can be megabytes.
        let said = |name: &str| {
            let has = |value: &&Value| !value.is_null();
            own.and_then(|own| own.get(name).filter(has)).or_else(|| self.integrations.get(name).filter(has))
        };
        let decisive = match self.filters {
            Filters::Upstream => said(NAME),
            Filters::Here => said(NAME).or_else(|| said(EVERYTHING)),
        };
        decisive == Some(&Value::Bool(false))
    }

    /// Whether an event with this context was computed by Segment rather than sent by a person's doing.
    pub(crate) fn is_computed(&self, own: Option<&Value>) -> bool {
        self.is_computed || is_computed(own)
    }
}

/// Segment's Engage says `context.personas` of what it computed.
fn is_computed(context: Option<&Value>) -> bool {
    Fields::of(context).has(&["personas"])
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope").field("kind", &self.kind).field("filters", &self.filters).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whether Refersion is excluded: by a batch's integrations and an event's, where Segment has filtered, and where
    /// nobody has.
    #[track_caller]
    fn check(batch: &Value, own: &Value, upstream: bool, here: bool) {
        let excludes = |envelope: Envelope| envelope.with_batch(Some(batch), None).excludes(own.as_object());
        assert_eq!(excludes(Envelope::default()), upstream, "filtered upstream: {batch} {own}");
        assert_eq!(excludes(Envelope::unfiltered()), here, "filtered here: {batch} {own}");
    }

    #[test]
    fn refersion_is_excluded_by_its_name() {
        check(&json!({}), &json!({"Refersion": false}), true, true);
        check(&json!({}), &json!({"All": true, "Refersion": false}), true, true);
        for other in
            [json!({"refersion": false}), json!({"Refersion": true}), json!({"Refersion": {}}), json!([]), json!(null)]
        {
            check(&json!({}), &other, false, false);
        }
    }

    #[test]
    fn all_counts_only_where_nobody_has_filtered() {
        check(&json!({}), &json!({"All": false}), false, true);
        check(&json!({}), &json!({"All": false, "Webhooks": true}), false, true);
        check(&json!({}), &json!({"All": false, "Refersion": true}), false, false);
        check(&json!({}), &json!({"All": false, "Refersion": {"key": 1}}), false, false);
        check(&json!({}), &json!({"all": false}), false, false);
        check(&json!({}), &json!({"All": false, "Refersion": null}), false, true);
    }

    #[test]
    fn what_a_batch_says_as_json_text_is_read() {
        check(&json!("{\"Refersion\": false}"), &json!({}), true, true);
        check(&json!("Refersion"), &json!({}), false, false);
        let computed = |context: Value| Envelope::default().with_batch(None, Some(&context)).is_computed(None);
        assert!(computed(json!("{\"personas\": {}}")) && !computed(json!("personas")));
    }

    #[test]
    fn an_event_says_more_than_its_batch() {
        check(&json!({"Refersion": false}), &json!({}), true, true);
        check(&json!({"Refersion": false}), &json!({"Refersion": true}), false, false);
        check(&json!({"Refersion": true}), &json!({"All": false}), false, false);
        check(&json!({"All": false}), &json!({"Refersion": true}), false, false);
        check(&json!({"All": false}), &json!({"All": true}), false, false);
    }
}
