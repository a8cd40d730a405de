use serde_json::{Map, Value};

use crate::segment::event::read_json;
use crate::segment::fields::{Fields, is_nothing, is_same};

/// Where an event has the traits of its person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traits {
    /// In `traits`, if it has any.
    Own,
    /// In `context.traits`: `traits` names nobody, and this does.
    Context,
    /// In something that is no object.
    Unreadable,
}

/// What may stand as JSON text where an object is meant.
const OBJECTS: [&str; 3] = ["traits", "context", "integrations"];
/// Whose presence makes traits a person's: of an address or a name there is more to say than that it is missing.
const PERSON: [&str; 6] = ["email", "name", "firstName", "first_name", "lastName", "last_name"];

impl Traits {
    /// Puts the objects of an event where everybody looks for them, and finds the traits of its person.
    pub(crate) fn settle(root: &mut Map<String, Value>) -> Self {
        open(root, &OBJECTS);
        for (key, value) in root.iter_mut() {
            if let Value::Object(context) = value
                && is_same("context", key)
            {
                open(context, &["traits"]);
            }
        }
        if Fields::of_map(root).get(&["traits"]).is_none() {
            gather(root);
        }
        Self::find(Fields::of_map(root))
    }

    fn find(root: Fields<'_>) -> Self {
        let own = root.get(&["traits"]);
        if own.is_some_and(|own| !own.is_object()) {
            return Self::Unreadable;
        }
        if names_somebody(own) {
            return Self::Own;
        }
        match root.object(&["context"]).get(&["traits"]) {
            context if names_somebody(context) => Self::Context,
            Some(context) if own.is_none() && !context.is_object() => Self::Unreadable,
            _ => Self::Own,
        }
    }
}

fn names_somebody(traits: Option<&Value>) -> bool {
    Fields::of(traits).get(&PERSON).is_some()
}

/// Replaces JSON text of an object by the object: some pipelines write one inside of the other.
pub(crate) fn open(map: &mut Map<String, Value>, names: &[&str]) {
    for (key, value) in map.iter_mut() {
        if let Value::String(text) = &*value
            && text.trim_start().starts_with('{')
            && names.iter().any(|name| is_same(name, key))
            && let Some(object) = opened(text)
        {
            *value = object;
        }
    }
}

/// The object that a text is.
pub(crate) fn opened(text: &str) -> Option<Value> {
    let text = text.trim_start();
    text.starts_with('{').then(|| read_json(text.as_bytes()).ok()).flatten().filter(Value::is_object)
}

/// Makes `traits` of keys such as `traits.email`, as tables have them.
fn gather(root: &mut Map<String, Value>) {
    let inside = |key: &str| {
        let (outer, inner) = key.split_once('.')?;
        (is_same("traits", outer) && !inner.is_empty()).then(|| inner.to_owned())
    };
    let traits: Map<_, _> = root
        .iter()
        .filter(|(_, value)| !is_nothing(value))
        .filter_map(|(key, value)| Some((inside(key)?, value.clone())))
        .collect();
    if !traits.is_empty() {
        root.insert("traits".to_owned(), Value::Object(traits));
    }
}
