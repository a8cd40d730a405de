use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Node, Origin, Table, Value};

/// What a file says, as far as it is TOML.
pub(super) struct File {
    pub(super) table: Table,
    /// Where it is not: the line, and why. One for each line, in their order.
    pub(super) broken: Vec<(usize, String)>,
    /// Whether what stands below a broken line may belong somewhere else.
    pub(super) is_torn: bool,
}

impl File {
    /// Reads all of it, also beyond what is wrong.
    pub(super) fn parse(text: &str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::of(text);
        let mut broken: Vec<_> = errors
            .iter()
            .map(|error| (lines.at(error.span().map_or(0, |span| span.start)), error.message().replace('\n', " ")))
            .collect();
        // The first that is said of a line is the cause of the others.
        broken.sort_by_key(|(line, _)| *line);
        broken.dedup_by_key(|(line, _)| *line);
        let is_torn = broken.iter().any(|(line, why)| {
            let text = text.lines().nth(line - 1).unwrap_or_default().trim_start();
            text.starts_with('[') && !why.starts_with("duplicate key")
        });
        Self { table: self::table(table.get_ref(), &lines), broken, is_torn }
    }
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
            "\n[queue]\nshards = 8\n\n[retry]\ntiers = [\n  \"1m\",\n  \"2m\",\n]\n\n[[account]]\nname = \"a\"\n",
        );
        let line = |node: &Node| node.origin.clone();
        let inside = |name: &str| match &file.table[name].value {
            Value::Table(table) => table.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(line(&file.table["queue"]), Origin::Line(2));
        assert_eq!(line(&inside("queue")["shards"]), Origin::Line(3));
        let Value::List(tiers) = &inside("retry")["tiers"].value else { panic!("a list") };
        assert_eq!(line(&tiers[1]), Origin::Line(8));
        let Value::List(accounts) = &file.table["account"].value else { panic!("a list") };
        assert_eq!(line(&accounts[0]), Origin::Line(11));
    }

    #[test]
    fn each_broken_line_is_named_once_and_the_others_are_read() {
        let file =
            File::parse("[queue]\nprefix = abc\nshards = 8\nshards = 9\nurl = \"sqlite:a\n[log]\nformat = \"json\"\n");
        let lines: Vec<_> = file.broken.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 4, 5], "{:?}", file.broken);
        assert!(!file.is_torn && file.table.contains_key("log"));
        assert!(File::parse("[queue\nshards = 8\n").is_torn);
    }
}
