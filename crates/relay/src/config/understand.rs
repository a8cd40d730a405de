use std::borrow::Cow;

use refersion_relay_model::AccountName;
use serde::de::DeserializeOwned;

use super::raw::{
    RawAccount, RawDirectory, RawIngest, RawLog, RawOps, RawQueue, RawRefersion, RawRetry, RawSettings, RawTelemetry,
    RawWorker,
};
use crate::config::mistakes::forms::form;
use crate::config::mistakes::mistakes::Mistakes;
use crate::config::mistakes::suggest::{nearest, normal};
use crate::config::source::environment::{self, variable_for};
use crate::config::source::file::File;
use crate::config::source::node::{self, Node, Origin, Table, Value};

/// Reads what a file says, with the environment over it, and everything that is wrong with how it is written. What is
/// wrong has its default in what is returned.
pub(crate) fn understand(text: &str, environment: &[(String, String)]) -> (RawSettings, Mistakes) {
    let File { mut table, broken, is_torn } = File::parse(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut found = Mistakes::default();
    found.may_lack = !broken.is_empty();
    let lines: Vec<_> = broken.iter().map(|(line, _)| *line).collect();
    for (line, why) in broken {
        found.at(Some(&Origin::Line(line)), &format!("line {line}"), &format!("not TOML: {why}"));
    }
    if is_torn {
        // Nobody knows what belongs where.
        table.clear();
    }
    if let Some(variable) = environment::merge(&mut table, environment) {
        found.at(Some(&Origin::Variable(variable)), ACCOUNT, ACCOUNT_VARIABLES);
    }
    let mut reader = Reader { table, lines, found };
    reader.sections();
    let raw = RawSettings {
        queue: reader.section("queue"),
        ingest: reader.section("ingest"),
        worker: reader.section("worker"),
        ops: reader.section("ops"),
        refersion: reader.section("refersion"),
        retry: reader.section("retry"),
        directory: reader.section("directory"),
        log: reader.section("log"),
        telemetry: reader.section("telemetry"),
        account: reader.accounts(),
        folder: std::path::PathBuf::new(),
    };
    (raw, reader.found)
}

/// The keys of each section.
fn sections() -> [(&'static str, &'static [&'static str]); 10] {
    [
        ("queue", node::keys::<RawQueue>()),
        ("ingest", node::keys::<RawIngest>()),
        ("worker", node::keys::<RawWorker>()),
        ("ops", node::keys::<RawOps>()),
        ("refersion", node::keys::<RawRefersion>()),
        ("retry", node::keys::<RawRetry>()),
        ("directory", node::keys::<RawDirectory>()),
        ("log", node::keys::<RawLog>()),
        ("telemetry", node::keys::<RawTelemetry>()),
        (ACCOUNT, node::keys::<RawAccount>()),
    ]
}

const ACCOUNT: &str = "account";

/// For `RELAY__ACCOUNT__0__…`, or `RELAY__ACCOUNT__ACME__…`.
const ACCOUNT_VARIABLES: &str = "an account is not given key by key: write [[account]] in the file, with its secrets in \
                                 …_file; or give all accounts in one variable, as \
                                 RELAY__ACCOUNT='[{name=\"acme\", public_key=\"…\", secret_key_file=\"…\"}]'";

/// Every key there is, as `queue.url`.
pub(crate) fn all_keys() -> Vec<String> {
    let keys = |(section, keys): &(&str, &'static [&'static str])| {
        let section = (*section).to_owned();
        keys.iter().map(move |key| format!("{section}.{key}")).collect::<Vec<_>>()
    };
    sections().iter().flat_map(keys).collect()
}

struct Reader {
    table: Table,
    /// The lines that are broken: nothing more is said about what stands there.
    lines: Vec<usize>,
    found: Mistakes,
}

impl Reader {
    /// Names what is no section. One that is misspelt is read as what is meant.
    fn sections(&mut self) {
        let known = sections().map(|(section, _)| section);
        let strangers: Vec<_> = self.table.extract_if(.., |name, _| !known.contains(&name.as_str())).collect();
        for (name, node) in strangers {
            let is_table = match &node.value {
                Value::Table(_) => true,
                Value::List(nodes) => nodes.iter().any(|node| matches!(node.value, Value::Table(_))),
                _ => false,
            };
            let meant = if is_table { nearest(&name, known.into_iter()) } else { None };
            let no_section = match quotable(&name, &node.origin) {
                Some(name) => format!("there is no section {name}"),
                None => "there is a section that cannot be one".to_owned(),
            };
            let (what, hint) = match (meant, is_table) {
                (Some(section), _) => (no_section, did_you_mean(&node.origin, section)),
                (None, true) => (no_section, format!(" (there are {})", known.join(", "))),
                (None, false) => self.loose(&name, &node.origin),
            };
            self.say(&node.origin, &name, &format!("{what}{hint}"));
            if let Some(section) = meant {
                self.found.settle(section);
                self.table.entry(section.to_owned()).or_insert(node);
            }
        }
    }

    /// A key that stands in no section.
    fn loose(&mut self, name: &str, origin: &Origin) -> (String, String) {
        let keys = all_keys();
        let last = |key: &&String| key.split_once('.').is_some_and(|(_, last)| normal(last) == normal(name));
        let mut meant: Vec<_> = keys.iter().filter(|key| normal(key) == normal(name)).cloned().collect();
        if meant.is_empty() {
            meant = keys.iter().filter(last).cloned().collect();
        }
        if meant.is_empty() {
            let lasts = keys.iter().filter_map(|key| Some(key.split_once('.')?.1));
            let near = nearest(name, lasts).map(str::to_owned);
            meant = keys
                .iter()
                .filter(|key| key.split_once('.').map(|(_, last)| last) == near.as_deref())
                .cloned()
                .collect();
        }
        for key in &meant {
            self.found.settle(key);
        }
        let what = match (quotable(name, origin), origin) {
            (Some(name), Origin::Line(_)) => format!("there is no key {name} outside of a section"),
            (Some(name), Origin::Variable(_)) => format!("there is no key {name}"),
            (None, Origin::Line(_)) => format!("{NO_KEY} outside of a section"),
            (None, Origin::Variable(_)) => NO_KEY.to_owned(),
        };
        let hint = if meant.is_empty() {
            let sections = sections().map(|(section, _)| section);
            format!(" (there are the sections {})", sections.join(", "))
        } else {
            let meant: Vec<_> = meant.iter().map(|key| written(origin, key)).collect();
            format!(": did you mean {}?", meant.join(" or "))
        };
        (what, hint)
    }

    fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let Some(node) = self.table.remove(name) else { return T::default() };
        self.found.stands(name, &node.origin);
        match node.value {
            Value::Table(table) => self.keys(name, name, ".", table),
            Value::List(_) => {
                self.say(&node.origin, name, &format!("[[{name}]] has to be [{name}]: there is one of it"));
                T::default()
            }
            _ => {
                self.say(&node.origin, name, &format!("{name} is a section: write [{name}], and its keys below it"));
                T::default()
            }
        }
    }

    fn accounts(&mut self) -> Vec<RawAccount> {
        let Some(node) = self.table.remove(ACCOUNT) else { return Vec::new() };
        let nodes = match node {
            Node { value: Value::List(nodes), .. } => nodes,
            Node { value: Value::Table(_), origin: origin @ Origin::Variable(_), .. } => {
                self.say(&origin, ACCOUNT, ACCOUNT_VARIABLES);
                return Vec::new();
            }
            // It is still read for what else is wrong: as one account, or as several with names of their own.
            Node { value: Value::Table(table), origin, raw } => {
                let says =
                    "[account] has to be [[account]], in two brackets, with its name below it: there can be several";
                self.say(&origin, ACCOUNT, says);
                if !table.is_empty() && table.values().all(|node| matches!(node.value, Value::Table(_))) {
                    table.into_values().collect()
                } else {
                    vec![Node { value: Value::Table(table), origin, raw }]
                }
            }
            Node { origin, .. } => {
                self.say(&origin, ACCOUNT, "account is a section: write [[account]], and its keys below it");
                return Vec::new();
            }
        };
        let mut accounts = Vec::new();
        for (number, node) in (1..).zip(nodes) {
            let label = label(&node, number, &accounts);
            self.found.stands(&label, &node.origin);
            let Value::Table(table) = node.value else {
                self.say(&node.origin, &label, r#"an account has to be a table, like { name = "acme", … }"#);
                self.found.settle(ACCOUNT);
                continue;
            };
            let account: RawAccount = self.keys(ACCOUNT, &label, ": ", table);
            accounts.push(RawAccount { label, ..account });
        }
        accounts
    }

    /// Reads each key on its own, so that each can be wrong on its own. `shown`: what messages call the section.
    fn keys<T: DeserializeOwned>(&mut self, section: &str, shown: &str, between: &str, table: Table) -> T {
        let known = node::keys::<T>();
        let mut good = Table::new();
        for (key, node) in table {
            let name = format!("{shown}{between}{key}");
            self.found.stands(&name, &node.origin);
            if self.is_broken(&node.origin) {
                self.found.settle(&name);
                if known.contains(&key.as_str()) {
                    let form = form(&format!("{section}.{key}"));
                    self.found.add(&node.origin, &format!("; {name} has to be {form}"));
                }
                continue;
            }
            if !known.contains(&key.as_str()) {
                self.unknown(section, shown, between, &key, &node.origin);
                continue;
            }
            let one = Node::new(Value::Table(Table::from_iter([(key.clone(), node.clone())])), node.origin.clone());
            match T::deserialize(&one) {
                Ok(_) => {
                    good.insert(key, node);
                }
                Err(unfit) => {
                    let origin = unfit.0.unwrap_or(node.origin);
                    let form = form(&format!("{section}.{key}"));
                    let quoted = matches!(node.value, Value::Text(_)) && !form.contains('"');
                    let hint = if quoted { ", without quotes" } else { "" };
                    self.say(&origin, &name, &format!("{name} has to be {form}{hint}"));
                }
            }
        }
        let good = Node::new(Value::Table(good), Origin::Line(1));
        T::deserialize(&good).expect("each key was read by itself, and none has to be there")
    }

    fn unknown(&mut self, section: &str, shown: &str, between: &str, key: &str, origin: &Origin) {
        let join = |key: &str| format!("{shown}{between}{key}");
        let sections = sections();
        let known = sections.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, keys)| keys);
        let elsewhere = || {
            let has = |(name, keys): &&(&str, &[&str])| *name != section && keys.contains(&key);
            let there: Vec<_> =
                sections.iter().filter(has).map(|(name, _)| written(origin, &format!("{name}.{key}"))).collect();
            (!there.is_empty()).then(|| there.join(" or "))
        };
        let hint = if let Some(meant) = nearest(key, known.iter().copied()) {
            self.found.settle(&join(meant));
            let meant =
                if section == ACCOUNT { meant.to_owned() } else { written(origin, &format!("{section}.{meant}")) };
            format!(": did you mean {meant}?")
        } else if let Some(meant) = elsewhere() {
            format!(": did you mean {meant}?")
        } else {
            format!(" (there are {})", known.join(", "))
        };
        let name = join(key);
        let says = match quotable(key, origin) {
            Some(key) if section == ACCOUNT => format!("{shown}: there is no key {key}{hint}"),
            Some(_) => format!("there is no key {name}{hint}"),
            None => format!("{shown}: {NO_KEY}{hint}"),
        };
        self.say(origin, &name, &says);
    }

    fn say(&mut self, origin: &Origin, key: &str, says: &str) {
        if self.is_broken(origin) {
            self.found.settle(key);
        } else {
            self.found.at(Some(origin), key, says);
        }
    }

    fn is_broken(&self, origin: &Origin) -> bool {
        matches!(origin, Origin::Line(line) if self.lines.contains(line))
    }
}

/// Of a key that is not quoted.
const NO_KEY: &str = "there is a key that cannot be one";

/// The longest name of a key that is quoted.
const MAX_QUOTED: usize = 64;

/// The name of an unknown key or section, if a message may quote it: what looks like no name, or stands within the value of
/// a variable, may be a part of a secret that lacks its quotes.
fn quotable<'a>(name: &'a str, origin: &Origin) -> Option<&'a str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_name = (1..=MAX_QUOTED).contains(&name.len()) && name.chars().all(allowed);
    let is_seen = match origin {
        Origin::Line(_) => true,
        Origin::Variable(variable) => {
            environment::path(variable).is_some_and(|path| path.split('.').any(|part| part == name))
        }
    };
    (is_name && is_seen).then_some(name)
}

/// A section as it is written where it stands.
fn did_you_mean(origin: &Origin, section: &str) -> String {
    let meant: Cow<'_, str> = match origin {
        Origin::Variable(_) => format!("{}__…", variable_for(section)).into(),
        Origin::Line(_) if section == ACCOUNT => "[[account]]".into(),
        Origin::Line(_) => format!("[{section}]").into(),
    };
    format!(": did you mean {meant}?")
}

/// A key as it is written where it stands.
fn written(origin: &Origin, key: &str) -> String {
    match origin {
        Origin::Line(_) => key.to_owned(),
        Origin::Variable(_) => variable_for(key),
    }
}

/// What messages call an account: by its name, or by its number where that is no name, or another's.
fn label(node: &Node, number: usize, before: &[RawAccount]) -> String {
    let name = match &node.value {
        Value::Table(table) => match table.get("name").map(|name| &name.value) {
            Some(Value::Text(name)) => AccountName::try_from(name.clone()).ok(),
            _ => None,
        },
        _ => None,
    };
    let label = name.map(|name| format!("account {name}"));
    let taken = |label: &String| before.iter().any(|account| account.label == *label);
    label.filter(|label| !taken(label)).unwrap_or_else(|| format!("account number {number}"))
}
