use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use crate::config::source::node::Origin;

/// One thing that is wrong with the configuration. Never quotes a value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    origin: Option<Origin>,
    says: String,
}

impl Mistake {
    /// In one line, with where it is.
    pub(crate) fn shown<'a>(&'a self, file: &'a Path) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            match &self.origin {
                None => write!(f, "{}: ", file.display())?,
                Some(Origin::Line(line)) => write!(f, "{}:{line}: ", file.display())?,
                Some(Origin::Variable(name)) => write!(f, "environment {name}: ")?,
            }
            f.write_str(&self.says.replace(char::is_control, " "))
        })
    }
}

/// What is wrong with a value.
#[derive(Debug)]
pub(crate) struct Invalid {
    key: String,
    why: String,
}

impl Invalid {
    pub(crate) fn new(key: &str, why: &str) -> Self {
        Self { key: key.to_owned(), why: why.to_owned() }
    }
}

/// Everything that is wrong, as far as it was looked at. What only follows from a mistake is none of its own: a key has
/// one at most.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    found: Vec<Mistake>,
    /// Where each key stands, by the name that messages have for it.
    origins: HashMap<String, Origin>,
    /// Keys that nothing more is said about.
    settled: HashSet<String>,
    /// Whether something may stand where it could not be read.
    pub(crate) may_lack: bool,
}

impl Mistakes {
    pub(crate) fn stands(&mut self, key: &str, origin: &Origin) {
        self.origins.insert(key.to_owned(), origin.clone());
    }

    /// Where exactly this key stands, if it is there.
    pub(crate) fn stands_at(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }

    /// Where it stands, or where it should.
    fn origin(&self, key: &str) -> Option<&Origin> {
        let above =
            |key: &str| key.rsplit_once(": ").or_else(|| key.rsplit_once('.')).map(|(above, _)| above.to_owned());
        let file = format!("{key}_file");
        self.origins.get(key).or_else(|| self.origins.get(&file)).or_else(|| self.origins.get(&above(key)?))
    }

    /// Says what is wrong with a key, where it stands.
    pub(crate) fn of(&mut self, key: &str, why: &str) {
        let origin = self.origin(key).cloned();
        self.at(origin.as_ref(), key, &format!("{key} {why}"));
    }

    /// Says that something is not there.
    pub(crate) fn lacks(&mut self, key: &str, why: &str) {
        if !self.may_lack {
            self.of(key, why);
        }
    }

    /// Says something about a key, with an origin of its own.
    pub(crate) fn at(&mut self, origin: Option<&Origin>, key: &str, says: &str) {
        if self.settled.insert(key.to_owned()) {
            self.found.push(Mistake { origin: origin.cloned(), says: says.to_owned() });
        }
    }

    /// Goes on with what was said of a place.
    pub(crate) fn add(&mut self, origin: &Origin, more: &str) {
        if let Some(mistake) = self.found.iter_mut().find(|mistake| mistake.origin.as_ref() == Some(origin)) {
            mistake.says.push_str(more);
        }
    }

    /// Takes it that enough was said about a key.
    pub(crate) fn settle(&mut self, key: &str) {
        self.settled.insert(key.to_owned());
    }

    pub(crate) fn is_settled(&self, key: &str) -> bool {
        self.settled.contains(key)
    }

    pub(crate) fn check(&mut self, key: &str, fine: bool, expected: &str) {
        if !fine {
            self.of(key, &format!("has to be {expected}"));
        }
    }

    pub(crate) fn take<T>(&mut self, checked: Result<T, Invalid>) -> Option<T> {
        checked.map_err(|Invalid { key, why }| self.of(&key, &why)).ok()
    }

    /// In the order of the file; what belongs to no line comes first, and the environment last.
    pub(crate) fn into_vec(mut self) -> Vec<Mistake> {
        self.found.sort_by(|one, other| one.origin.cmp(&other.origin));
        self.found
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}
