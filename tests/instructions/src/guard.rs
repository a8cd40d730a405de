use std::env::{self, VarError};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::panic::Location;
use std::path::Path;

use crate::count::{count, obey};
use crate::figures::{Basis, Figures};

/// What has built the code in Rust, and how. Figures depend on it.
pub const RUST: &str = env!("RUST_COMPILER");
/// What has built the code in C.
pub const C: &str = env!("C_COMPILER");
/// The toolchain whose figures are kept: the one that `.ci/run` uses.
const LEAST: &str = concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"), ".0 ");
/// `write`: figures are written, not compared.
const ASKED: &str = "RELAY_TEST_INSTRUCTIONS";
/// The file that hears what could not be compared: nobody reads what a test says that passes.
const UNJUDGED: &str = "RELAY_TEST_UNJUDGED";
const HOW_TO_WRITE: &str = concat!(
    "This writes new figures, which belong into the commit that explains them:\n    RUSTUP_TOOLCHAIN=",
    env!("CARGO_PKG_RUST_VERSION"),
    ".0 RELAY_TEST_INSTRUCTIONS=write tests/run instruction_counts"
);

/// Something whose cost is guarded.
pub struct Operation {
    /// What it is called in the file of the figures.
    pub name: &'static str,
    /// How often it is done, at least twice. Each test should end within seconds, and valgrind is some 50 times slower.
    pub repetitions: u32,
    /// Does it as often as it is told. What it prepares must not depend on how often.
    pub run: fn(u32),
}

/// Compares what the operations cost with the figures in the file that is named as the caller's, with the extension `txt`.
/// `test` is the name of the test that calls this, which runs again under valgrind; `compilers` have built what it runs.
///
/// # Panics
/// When a cost differs too much, or cannot be counted.
#[track_caller]
pub fn guard(test: &str, compilers: &[&str], operations: &[Operation]) {
    if obey(operations) {
        return;
    }
    let file = Path::new(Location::caller().file()).with_extension("txt");
    // The compiler names files as they are seen from the workspace.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&file);
    let built_by = compilers.join(", ");
    let counted = || {
        let counts = operations.iter().map(|operation| (operation.name.to_owned(), count(test, operation)));
        Figures { built_by: built_by.clone(), counts: counts.collect() }
    };
    let figures = Figures::parse(&fs::read_to_string(&path).unwrap_or_default());
    match env::var(ASKED).as_deref() {
        Ok("write") => {
            assert!(
                built_by.starts_with(LEAST),
                "this is {built_by}, and figures are those of {LEAST}\n{HOW_TO_WRITE}"
            );
            return fs::write(&path, figures.renewed(counted()).to_string()).expect("the figures can be written");
        }
        Ok(other) => panic!("{ASKED} is `write` or nothing, and not `{other}`"),
        Err(VarError::NotPresent) => {}
        Err(error) => panic!("{ASKED}: {error}"),
    }
    match figures.basis(&built_by, LEAST) {
        Basis::Same => {
            let objections = figures.objections(&counted());
            assert!(objections.is_empty(), "{}:\n{}\n{HOW_TO_WRITE}", file.display(), objections.join("\n"));
        }
        Basis::Other => say_unjudged(&format!("{}: of {}, and this is {built_by}", file.display(), figures.built_by)),
        Basis::Outdated => panic!("{} has no figures of {}\n{HOW_TO_WRITE}", file.display(), LEAST.trim_end()),
    }
}

fn say_unjudged(what: &str) {
    eprintln!("not compared: {what}");
    if let Some(path) = env::var_os(UNJUDGED) {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let said = file.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes()));
        said.expect("what is not compared can be said");
    }
}
