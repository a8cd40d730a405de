use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Node, Origin, Table, Value};

/// What a file says, as far as it is TOML.
pub(crate) struct File {
    pub(crate) table: Table,
    /// Where it is not: the line, and why. One for each line, in their order.
    pub(crate) broken: Vec<(usize, String)>,
    /// Whether what stands below a broken line may belong somewhere else.
    pub(crate) is_torn: bool,
}

/// How often a file is read again, each time without what was broken in it.
const ROUNDS: usize = 20;

impl File {
    /// Reads all of it, also beyond what is wrong: what is behind a broken line shows when that line is out of the way.
    pub(crate) fn parse(text: &str) -> Self {
        let mut mended: Vec<_> = text.split('\n').map(str::to_owned).collect();
        let mut broken = BTreeMap::new();
        let mut is_torn = false;
        let mut table = Table::new();
        for _ in 0..ROUNDS {
            let text = mended.join("\n");
            let (read, errors) = DeTable::parse_recoverable(&text);
            let lines = Lines::of(&text);
            table = self::table(read.get_ref(), &lines);
            let mut is_new = false;
            for error in errors {
                let line = lines.at(error.span().map_or(0, |span| span.start));
                // The first that is said of a line is the cause of the others.
                let Entry::Vacant(place) = broken.entry(line) else { continue };
                let why = place.insert(said(&error));
                is_new = true;
                is_torn |= !mend(&mut mended[line - 1], why);
            }
            if !is_new || is_torn {
                break;
            }
        }
        Self { table, broken: broken.into_iter().collect(), is_torn }
    }
}

/// In words that say something to whoever wrote the file.
fn said(error: &toml::de::Error) -> String {
    let said = error.message().replace('\n', " ");
    let said = said.trim_end_matches(", expected literal string").trim_end_matches(", expected nothing");
    said.to_owned()
}

/// Takes what is broken out of a line, and leaves its key. `false`: what stands below it may belong somewhere else.
fn mend(line: &mut String, why: &str) -> bool {
    let text = line.trim_start();
    let is_double = why.starts_with("duplicate key");
    if text.starts_with('[') {
        return is_double;
    }
    if why.starts_with("unclosed") {
        return false;
    }
    let key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let key: String = text.chars().take_while(|c| key(*c)).collect();
    *line = if is_double || key.is_empty() { String::new() } else { format!("{key} = 0") };
    true
}

/// Where the lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line of a byte, counted from 1.
    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|start| *start <= byte)
    }
}

/// What a table has stands where its key does.
fn table(table: &DeTable<'_>, lines: &Lines) -> Table {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        let origin = Origin::Line(lines.at(key.span().start));
        (name.as_ref().to_owned(), Node::new(self::value(value.get_ref(), lines), origin))
    };
    table.iter().map(entry).collect()
}

fn value(value: &DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.as_ref().to_owned()),
        DeValue::Integer(number) => Value::Integer(i128::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(yes) => Value::Boolean(*yes),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(nodes) => {
            let node = |node: &Spanned<DeValue<'_>>| {
                Node::new(self::value(node.get_ref(), lines), Origin::Line(lines.at(node.span().start)))
            };
            Value::List(nodes.iter().map(node).collect())
        }
        DeValue::Table(table) => Value::Table(self::table(table, lines)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_knows_its_line() {
        let file = File::parse(
            "\n[queue]\nprefix = \"a\"\n\n[retry]\ntiers = [\n  \"1m\",\n  \"2m\",\n]\n\n[[account]]\nname = \"a\"\n",
        );
        let line = |node: &Node| node.origin.clone();
        let inside = |name: &str| match &file.table[name].value {
            Value::Table(table) => table.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(line(&file.table["queue"]), Origin::Line(2));
        assert_eq!(line(&inside("queue")["prefix"]), Origin::Line(3));
        let Value::List(tiers) = &inside("retry")["tiers"].value else { panic!("a list") };
        assert_eq!(line(&tiers[1]), Origin::Line(8));
        let Value::List(accounts) = &file.table["account"].value else { panic!("a list") };
        assert_eq!(line(&accounts[0]), Origin::Line(11));
    }

    #[test]
    fn each_broken_line_is_named_once_and_the_others_are_read() {
        let file =
            File::parse("[queue]\nprefix = abc\nnumber = 8\nnumber = 9\nurl = \"sqlite:a\n[log]\nformat = \"json\"\n");
        let lines: Vec<_> = file.broken.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 4, 5], "{:?}", file.broken);
        assert!(!file.is_torn && file.table.contains_key("log"));
        // A line that ends what can be read by itself ends nothing here.
        let file = File::parse("[log]\nformat: json\n[ops]\nlisten = here\n[ops]\n\"x = 1\n[retry]\nmax_age 1d\n");
        let lines: Vec<_> = file.broken.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 4, 5, 6, 8], "{:?}", file.broken);
        for torn in ["[queue\nprefix = \"a\"\n", "[retry]\ntiers = [\"1m\",\n[log]\nformat = \"json\"\n"] {
            assert!(File::parse(torn).is_torn, "{torn}");
        }
    }
}
