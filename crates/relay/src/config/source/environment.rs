use super::node::{Node, Origin, Table, Value};
use super::variable;
use crate::config::mistakes::suggest::{self, normal};

/// What a variable of the environment begins with, and what stands between its parts.
const PREFIX: &str = "RELAY__";
const BETWEEN: &str = "__";

/// The variables that this program reads for something else than the configuration.
const OTHERS: [&str; 2] = ["RELAY_CONFIG", "RELAY_STATE"];

/// The name of the variable for a key: `RELAY__QUEUE__URL`.
pub(crate) fn variable_for(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', BETWEEN))
}

/// Puts the variables of the environment over what the file says; later ones win. Returns one that is for a key of an
/// account, which no variable can be.
pub(crate) fn merge(table: &mut Table, environment: &[(String, String)]) -> Option<String> {
    let mut of_account = None;
    for (name, text) in environment {
        let Some(path) = path(name) else { continue };
        if path.starts_with("account.") {
            of_account = of_account.or_else(|| Some(name.clone()));
            continue;
        }
        let mut node = variable::parse(text, name);
        let mut parts = path.split('.').rev();
        let first = parts.next_back().unwrap_or_default().to_owned();
        for part in parts {
            let inside = Table::from_iter([(part.to_owned(), node)]);
            node = Node::new(Value::Table(inside), Origin::Variable(name.clone()));
        }
        put(table, first, node);
    }
    of_account
}

/// `queue.url` of `RELAY__QUEUE__URL`, in whatever case.
pub(crate) fn path(name: &str) -> Option<String> {
    let begins = name.get(..PREFIX.len())?.eq_ignore_ascii_case(PREFIX);
    let path = name.get(PREFIX.len()..)?.replace(BETWEEN, ".").to_ascii_lowercase();
    (begins && path.split('.').all(|part| !part.is_empty())).then_some(path)
}

/// Tables are put into one another, and nothing else is.
fn put(table: &mut Table, key: String, node: Node) {
    match (table.get_mut(&key), node) {
        (Some(Node { value: Value::Table(below), .. }), Node { value: Value::Table(above), .. }) => {
            for (key, node) in above {
                put(below, key, node);
            }
        }
        (_, node) => {
            table.insert(key, node);
        }
    }
}

/// Variables that are not read, and are meant for this program by their names, each with a word about it. `keys`: all
/// there are, as `queue.url`.
///
/// A container's platform sets `RELAY_…` variables of its own for a service of that name, so only what looks like a key
/// counts.
pub(crate) fn strays(environment: &[(String, String)], keys: &[String]) -> Vec<(String, String)> {
    let ours = |name: &&(String, String)| {
        let begins = name.0.get(..6).is_some_and(|begin| begin.eq_ignore_ascii_case("RELAY_"));
        begins && path(&name.0).is_none() && !OTHERS.contains(&name.0.as_str())
    };
    let stray = |(name, _): &(String, String)| {
        let meant = normal(&name[6..]);
        let exact = keys.iter().find(|key| normal(key) == meant);
        let near = || suggest::nearest(&meant, keys.iter().map(String::as_str));
        // Two underscores are nobody's else.
        let is_near = name.contains(BETWEEN);
        let key = exact.map(String::as_str).or_else(|| is_near.then(near)?);
        let why = match key {
            Some(key) => format!("is not read: did you mean {}, with two underscores?", variable_for(key)),
            None if is_near => {
                "is not read: variables are called as RELAY__QUEUE__URL, with two underscores".to_owned()
            }
            None => return None,
        };
        Some((name.clone(), why))
    };
    environment.iter().filter(ours).filter_map(stray).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stray(name: &str) -> Option<String> {
        let keys = ["queue.url", "queue.prefix", "ingest.listen"].map(str::to_owned);
        strays(&[(name.to_owned(), "secret".to_owned())], &keys).pop().map(|(_, why)| why)
    }

    #[test]
    fn a_variable_that_lacks_an_underscore_is_named_with_what_is_meant() {
        for (name, meant) in [
            ("RELAY_INGEST__LISTEN", "RELAY__INGEST__LISTEN,"),
            ("RELAY_INGEST_LISTEN", "RELAY__INGEST__LISTEN,"),
            ("relay_queue_url", "RELAY__QUEUE__URL,"),
            ("RELAY_QUEUE__PREFX", "RELAY__QUEUE__PREFIX,"),
            ("RELAY_NOTHING__LIKE_THIS", "RELAY__QUEUE__URL,"),
            ("RELAY__QUEUE____URL", "RELAY__QUEUE__URL,"),
        ] {
            let why = stray(name).unwrap_or_else(|| panic!("{name} is named"));
            assert!(why.contains(meant) && !why.contains("secret"), "{name}: {why}");
        }
        for name in ["RELAY_CONFIG", "RELAY__QUEUE__URL", "RELAY_SERVICE_HOST", "RELAY_PORT_8080_TCP", "RELAYS", "PATH"]
        {
            assert_eq!(stray(name), None, "{name}");
        }
    }
}
