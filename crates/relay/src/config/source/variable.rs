use super::node::{Node, Origin, Table, Value};

/// Reads what a variable says: a number, `true`, `"text"`, `[list, of, values]`, `{key = value}`. Anything else is text, as
/// it stands.
pub(crate) fn parse(text: &str, name: &str) -> Node {
    let mut reader = Reader { rest: text, name, depth: 0 };
    match reader.value() {
        Some(node) if reader.rest.is_empty() => Node { raw: raw(&node, text), ..node },
        _ => Node::new(Value::Text(text.to_owned()), Origin::Variable(name.to_owned())),
    }
}

/// Where text is wanted, a number or a list is its own text.
fn raw(node: &Node, text: &str) -> Option<String> {
    (!matches!(node.value, Value::Text(_))).then(|| text.trim().to_owned())
}

/// How deep lists may be in one another.
const DEPTH: usize = 16;

struct Reader<'a> {
    rest: &'a str,
    name: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Option<Node> {
        self.blanks();
        let text = self.rest;
        self.depth += 1;
        let value = match text.chars().next() {
            _ if DEPTH < self.depth => return None,
            Some('[') => Value::List(self.many('[', ']', Self::value)?),
            Some('{') => Value::Table(Table::from_iter(self.many('{', '}', Self::entry)?)),
            Some('"') => Value::Text(self.string()?),
            Some('\'') => Value::Text(self.character()?),
            _ => self.word(),
        };
        self.depth -= 1;
        self.blanks();
        let node = Node::new(value, Origin::Variable(self.name.to_owned()));
        Some(Node { raw: raw(&node, &text[..text.len() - self.rest.len()]), ..node })
    }

    fn entry(&mut self) -> Option<(String, Node)> {
        self.blanks();
        let key = if self.rest.starts_with('"') {
            self.string()?
        } else {
            let key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            self.take(self.rest.find(|c| !key(c)).unwrap_or(self.rest.len())).to_owned()
        };
        self.blanks();
        (!key.is_empty() && self.eat('=')).then_some(())?;
        Some((key, self.value()?))
    }

    /// What stands between brackets, with commas between and perhaps behind.
    fn many<T>(&mut self, open: char, close: char, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::new();
        self.eat(open);
        loop {
            self.blanks();
            if self.eat(close) {
                return Some(all);
            }
            all.push(one(self)?);
            self.blanks();
            if !self.eat(',') && !self.rest.starts_with(close) {
                return None;
            }
        }
    }

    /// As JSON has it, which says the same by every escape that there is here.
    fn string(&mut self) -> Option<String> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        })?;
        let quoted = self.take(end.0 + 1);
        serde_json::from_str(quoted).ok().or_else(|| {
            // Control characters may stand for themselves.
            let inner = &quoted[1..quoted.len() - 1];
            (!inner.contains('\\')).then(|| inner.to_owned())
        })
    }

    fn character(&mut self) -> Option<String> {
        let mut inside = self.rest.chars().skip(1);
        let character = inside.next()?;
        (inside.next()? == '\'').then_some(())?;
        self.take(2 + character.len_utf8());
        Some(character.to_string())
    }

    fn word(&mut self) -> Value {
        let word = self.take(self.rest.find([',', '{', '}', '[', ']']).unwrap_or(self.rest.len())).trim();
        match word {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            _ => match (word.parse::<i128>(), word.parse::<f64>()) {
                (Ok(number), _) => Value::Integer(Some(number)),
                (_, Ok(number)) if word.contains('.') => Value::Float(number),
                _ => Value::Text(word.to_owned()),
            },
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    }

    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(number) => number.expect("small").to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Boolean(yes) => yes.to_string(),
            Value::Date => "a date".to_owned(),
            Value::List(nodes) => format!("[{}]", nodes.iter().map(shown).collect::<Vec<_>>().join(",")),
            Value::Table(table) => {
                let entries = table.iter().map(|(key, node)| format!("{key}={}", shown(node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn every_kind_of_value_is_read() {
        for (text, expected) in [
            ("true", "true"),
            ("  false  ", "false"),
            ("truely", r#""truely""#),
            (" 123 ", "123"),
            ("-2", "-2"),
            ("1.5", "1.5"),
            ("a ", r#""a""#),
            ("30s", r#""30s""#),
            ("127.0.0.1:8080", r#""127.0.0.1:8080""#),
            (r#"" a""#, r#"" a""#),
            (r#""a\tb""#, r#""a\tb""#),
            (r#""un"#, r#""\"un""#),
            ("'x'", r#""x""#),
            ("[1,2, 3]", "[1,2,3]"),
            ("[]", "[]"),
            ("[10.0.0.0/8, ::1]", r#"["10.0.0.0/8","::1"]"#),
            (r#"["3s"]"#, r#"["3s"]"#),
            ("[hi", r#""[hi""#),
            ("a,b", r#""a,b""#),
            ("[1,[2],3]", "[1,[2],3]"),
            ("[{name=acme, public_key = \"p\"}]", r#"[{name="acme",public_key="p"}]"#),
            ("{a=1,b=hi}", r#"{a=1,b="hi"}"#),
            ("", r#""""#),
        ] {
            assert_eq!(shown(&parse(text, "X")), expected, "{text}");
        }
        assert_eq!(parse(" 123 ", "X").raw.as_deref(), Some("123"), "where text is wanted it is text");
        assert_eq!(shown(&parse(&"[".repeat(10_000), "X")).len(), 10_002);
    }
}
