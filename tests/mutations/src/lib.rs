//! The short form of fuzzing, for every run of the tests: what the fuzzer found worth keeping, and mutations of it.
//!
//! It knows nothing of what it drives, and is no fuzzer: it does not see which code an input reaches. That is what `fuzz/`
//! is for, which drives the same targets, and whose corpus this reads.

mod mutate;
mod numbers;

use std::path::{Path, PathBuf};

use numbers::Numbers;

/// How many mutations are tried, where [`ROUNDS`] says nothing else.
const FEW: u64 = 20_000;
/// The variable for the long form. The same number of mutations is always the same mutations.
const ROUNDS: &str = "RELAY_TEST_MUTATIONS";

/// Gives `target` each input of `fuzz/corpus/NAME`, and then mutations of them. An input that makes it panic is said on
/// stderr.
///
/// # Panics
/// When the target does, or there is no corpus.
pub fn drive(name: &str, target: fn(&[u8])) {
    let corpus = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name));
    let rounds = std::env::var(ROUNDS).map_or(FEW, |rounds| rounds.parse().expect("a number of mutations"));
    for input in &corpus {
        give(target, input);
    }
    let mut numbers = Numbers::new();
    for _ in 0..rounds {
        give(target, &mutate::mutated(&corpus, &mut numbers));
    }
}

/// In the order of their names, so that every machine makes the same mutations.
fn read(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("it can be read")).collect()
}

fn give(target: fn(&[u8]), input: &[u8]) {
    let told = TellOfPanic(input);
    target(input);
    drop(told);
}

/// Says which input it was when the target panics.
struct TellOfPanic<'a>(&'a [u8]);

impl Drop for TellOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was b\"{}\"", self.0.escape_ascii());
        }
    }
}
