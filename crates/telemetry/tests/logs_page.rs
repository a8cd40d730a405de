//! `docs/logs.md` and the sources name the same fields, and the page has every line at INFO and above.
//!
//! The sources are read as text: what stands in the macros before the message are the fields.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const CRATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/logs.md");
/// What a line says has to be at least so long before its first value to be told from others.
const LEAST: usize = 8;

/// A macro of `tracing` in the sources.
struct Line {
    level: String,
    fields: Vec<String>,
    /// Up to the first value in it.
    message: String,
}

#[test]
fn the_page_names_the_fields_that_there_are_and_no_others() {
    let page = std::fs::read_to_string(PAGE).expect("the page is in the repository");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let documented: BTreeSet<_> = rows.map(|(field, _)| field.to_owned()).collect();
    let there: BTreeSet<_> = lines().into_iter().flat_map(|line| line.fields).collect();
    assert_eq!(documented, there);
}

#[test]
fn the_page_has_every_line_at_info_and_above_at_its_level() {
    let page = std::fs::read_to_string(PAGE).expect("the page is in the repository");
    let levels = ["ERROR", "WARN", "INFO"].map(|level| format!("| {level} | "));
    let is_line = |line: &&str| levels.iter().any(|level| line.starts_with(level));
    let (_, table) = page.split_once("## What are the lines?").expect("the table");
    let documented: BTreeSet<_> = table.lines().filter(is_line).map(str::to_owned).collect();
    let told = lines().into_iter().filter(|line| line.level != "DEBUG" && LEAST <= line.message.len());
    let told: BTreeSet<_> = told.map(|line| format!("| {} | {} |", line.level, line.message)).collect();
    assert_eq!(documented, told);
}

#[test]
fn at_info_and_above_no_line_is_about_a_single_event() {
    for line in lines() {
        assert!(line.level == "DEBUG" || !line.fields.contains(&"message.id".to_owned()), "{}", line.message);
    }
}

fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    for path in sources(Path::new(CRATES)) {
        let source = std::fs::read_to_string(&path).expect("a source is text");
        // What tests log is nobody's business.
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for level in ["error", "warn", "info", "debug"] {
            for rest in source.split(&format!("tracing::{level}!(")).skip(1) {
                lines.push(read(level, rest));
            }
        }
    }
    assert!(100 < lines.len(), "only {} lines were found", lines.len());
    lines
}

/// The sources of what runs: not of tests, the simulator, or the demo.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && !["tests", "benches", "simulator", "demo", "target"].contains(&name.as_str()) {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

/// Reads the arguments of a macro, of which the first that is a text is the message.
fn read(level: &str, source: &str) -> Line {
    let (mut fields, mut rest) = (Vec::new(), source.trim_start());
    while !rest.starts_with('"') {
        let end = argument(rest);
        let name = rest[..end].split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']);
        if !name.is_empty() {
            fields.push(name.to_owned());
        }
        match rest[end..].strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => break,
        }
    }
    let text = rest.strip_prefix('"').and_then(|text| text.split_once('"')).map_or("", |(text, _)| text);
    // A line break in the source is none in the message.
    let joined: String = text.split("\\\n").map(str::trim_start).collect();
    let message = joined.split('{').next().unwrap_or_default().trim_end().trim_end_matches([':', ';', ',']);
    Line { level: level.to_uppercase(), fields, message: message.to_owned() }
}

/// Where an argument ends: at a comma or a bracket that does not belong to it.
fn argument(source: &str) -> usize {
    let (mut depth, mut quoted) = (0_usize, false);
    for (at, c) in source.char_indices() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' | ',' if depth == 0 => return at,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    source.len()
}
