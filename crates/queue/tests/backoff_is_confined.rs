//! The `backoff` crate is no longer maintained (RUSTSEC-2025-0012): one module uses it, so that swapping it changes one
//! file. Here that is enforced for the whole workspace.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn one_module_names_the_backoff_crate() {
    let sources = files(Path::new(WORKSPACE), &|path| path.extension().is_some_and(|extension| extension == "rs"));
    assert_eq!(with(&sources, names_the_crate), BTreeSet::from(["crates/queue/src/backoff.rs".to_owned()]));
}

#[test]
fn one_package_depends_on_the_backoff_crate() {
    let manifests = files(Path::new(WORKSPACE), &|path| path.ends_with("Cargo.toml"));
    let depends = |manifest: &str| {
        let keys = manifest.lines().filter_map(|line| line.split(['.', '=', ' ']).next());
        manifest.contains("package = \"backoff\"") || keys.into_iter().any(|key| key == "backoff")
    };
    let expected = ["Cargo.toml", "crates/queue/Cargo.toml"].map(str::to_owned);
    assert_eq!(with(&manifests, depends), BTreeSet::from(expected), "the workspace's list, and the queue");
}

#[test]
fn the_crate_is_told_from_a_module_and_a_variable() {
    let named = [
        "use backoff::ExponentialBackoff;",
        "use ::backoff::ExponentialBackoff;",
        "mod backoff; use ::backoff::backoff::Backoff;",
        "let inner = backoff::ExponentialBackoff::default();",
        "fn next(inner: &mut impl backoff :: backoff :: Backoff) {}",
        "use backoff as waits;",
        "use {std::fmt, backoff::Clock};",
        "extern crate backoff;",
        "let quote = '\"'; backoff::retry();",
        "let raw = r#\"a \" b\"#; backoff::retry();",
    ];
    let not_named = [
        "mod backoff; pub use backoff::Backoff;",
        "use crate::backoff::Backoff;",
        "use super::backoff::Backoff;",
        "let backoff = Backoff::new(); backoff.reset();",
        "// use backoff::ExponentialBackoff;",
        "/* backoff::retry() /* nested */ backoff::retry() */ let a = 1;",
        "let text = \"\\\"backoff::retry\";",
        "let raw = r#\"backoff::retry\"#;",
        "use tokio_backoff::Backoff;",
    ];
    for source in named {
        assert!(names_the_crate(source), "{source}");
    }
    for source in not_named {
        assert!(!names_the_crate(source), "{source}");
    }
}

/// Whether a path in `source` begins at the crate. In a file that declares a module of that name, `backoff::…` is the
/// module, and only `::backoff` is the crate.
fn names_the_crate(source: &str) -> bool {
    let tokens = tokens(source);
    let token = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", String::as_str);
    let is_declared = tokens.windows(2).any(|pair| pair == ["mod", "backoff"]);
    let named_at = |at: usize| {
        let (before, after) = (token(at.checked_sub(1)), token(Some(at + 1)));
        match before {
            "::" => !is_name(token(at.checked_sub(2))),
            "crate" => true,
            _ => !is_declared && (after == "::" || after == "as" || before == "use"),
        }
    };
    (0..tokens.len()).any(|at| tokens[at] == "backoff" && named_at(at))
}

fn is_name(token: &str) -> bool {
    // What can stand before a path is no part of it.
    let keywords =
        ["use", "as", "in", "dyn", "impl", "return", "mut", "pub", "where", "for", "match", "if", "else", "let"];
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>') && !keywords.contains(&token)
}

/// The names and signs of `source`, without comments and literals of text.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if let Some(length) = raw_text(rest) {
            length
        } else if first == '"' {
            text(rest)
        } else if first == '\'' {
            character(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else {
            let sign = if rest.starts_with("::") { "::" } else { &rest[..first.len_utf8()] };
            if !first.is_whitespace() {
                tokens.push(sign.to_owned());
            }
            sign.len()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a block comment, nested ones included.
fn comment(source: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < source.len() {
        let bytes = &source.as_bytes()[at..];
        if bytes.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    source.len()
}

/// The length of `r"…"`, `r#"…"#` and so on.
fn raw_text(source: &str) -> Option<usize> {
    let after = source.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let content = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(content.find(&end).map_or(source.len(), |at| 1 + hashes + 1 + at + end.len()))
}

fn text(source: &str) -> usize {
    let mut escaped = false;
    for (at, c) in source.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    source.len()
}

/// The length of a character, or of the quote alone if this is a lifetime.
fn character(source: &str) -> usize {
    let mut chars = source.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            source[escaped + 1..].find('\'').map_or(source.len(), |at| escaped + 1 + at + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

fn with(files: &[PathBuf], has: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let named = files.iter().filter(|path| has(&fs::read_to_string(path).expect("a readable file")));
    let short = |path: &PathBuf| path.strip_prefix(WORKSPACE).expect("in the workspace").display().to_string();
    named.map(short).collect()
}

fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                found.extend(files(&path, wanted));
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found
}
