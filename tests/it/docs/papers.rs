//! What the papers point at is there: pages, headings, tests and files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page that is written for a reader.
fn pages() -> Vec<PathBuf> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let folders = ["", "docs", "docs/design", "deploy"].map(|folder| root().join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    entries.map(|entry| entry.expect("an entry").path()).filter(is_page).collect()
}

/// A page without its blocks of code, in which brackets and hashes mean something else.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// What a heading is called in an address, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// The addresses that a page links to, without those of other sites.
fn links(page: &str) -> Vec<String> {
    let ends = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let addresses = ends.map(|(address, _)| address.to_owned());
    addresses.filter(|address| !address.starts_with("http")).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages();
    assert!(pages.contains(&root().join("README.md")) && pages.contains(&root().join("docs/senders.md")), "{pages:?}");
    let mut broken = Vec::new();
    for page in &pages {
        let text = prose(&read(page));
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let folder = page.parent().expect("a folder");
            let target = if file.is_empty() { page.clone() } else { folder.join(file) };
            let is_there = target.exists();
            let has_it = is_there && (heading.is_empty() || anchors(&prose(&read(&target))).contains(heading));
            if !has_it {
                broken.push(format!("{}: {link}", page.strip_prefix(root()).expect("inside").display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn every_test_that_a_guarantee_names_exists_and_every_guarantee_names_one() {
    let page = read(&root().join("docs/guarantees.md"));
    for guarantee in page.split("\n## ").skip(1) {
        let (_, named) = guarantee.split_once("**Tests:**").unwrap_or_else(|| panic!("no test: {guarantee}"));
        let named: Vec<_> = named.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{guarantee}");
        for test in named {
            let (file, name) = test.split_once(": ").unwrap_or_else(|| panic!("a file and a function: {test}"));
            let source = read(&root().join(file));
            assert!(["(", "<"].iter().any(|end| source.contains(&format!("fn {name}{end}"))), "{test}");
        }
    }
}

/// Every file of the repository that git would keep.
fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_made = path.file_name().is_some_and(|name| name == "target" || name == ".git");
        if path.is_dir() && !is_made {
            files(&path, found);
        } else {
            found.push(path.to_string_lossy().into_owned());
        }
    }
}

fn is_file(span: &str) -> bool {
    let is_below = ["crates/", "tests/"].iter().any(|folder| span.starts_with(folder));
    let is_code = Path::new(span).extension().is_some_and(|extension| extension == "rs");
    (is_below || is_code) && !span.contains([' ', '*', '<'])
}

/// The beginning of the name of a test, of one that is named with its module or is cut off.
fn test(span: &str) -> Option<&str> {
    let name = span.rsplit("::").next()?;
    let whole = name.trim_end_matches('…');
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_test = whole.chars().all(is_name) && 3 <= whole.matches('_').count();
    (is_test && (name != whole || name != span)).then_some(whole)
}

/// `a/{b,c}.rs` is two files.
fn each(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (names, after) = rest.split_once('}').unwrap_or_else(|| panic!("no end: {path}"));
    names.split(',').map(|name| format!("{before}{name}{after}")).collect()
}

#[test]
fn every_file_and_every_test_that_a_page_names_exists() {
    let mut there = Vec::new();
    files(&root(), &mut there);
    let code: Vec<_> = there.iter().filter(|path| is_file(path)).map(|path| read(Path::new(path))).collect();
    let (mut looked_at, mut missing) = (0, Vec::new());
    for page in pages() {
        let text = prose(&read(&page));
        let mut miss = |what: &str| missing.push(format!("{}: {what}", page.strip_prefix(root()).expect("").display()));
        for span in text.split('`').skip(1).step_by(2).map(|span| span.split(": ").next().unwrap_or(span)) {
            if is_file(span) {
                for file in each(span) {
                    looked_at += 1;
                    let file = file.trim_end_matches('/');
                    if !there.iter().any(|path| path.contains(&format!("/{file}"))) {
                        miss(file);
                    }
                }
            } else if let Some(test) = test(span) {
                looked_at += 1;
                if !code.iter().any(|code| code.contains(&format!("fn {test}"))) {
                    miss(test);
                }
            }
        }
    }
    assert!(200 <= looked_at, "{looked_at}");
    assert_eq!(missing, Vec::<String>::new());
}
