use crate::numbers::Numbers;

/// Bytes that mean something to what reads texts, numbers or JSON.
const TELLING: &[u8] = b"\0\t\n \"\\{}[]:,-+.0159eE@_aAu\x7f\x80\xc3\xed\xff";

/// One of the inputs with up to eight small changes, never longer than twice the longest.
pub(crate) fn mutated(corpus: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let longest = corpus.iter().map(Vec::len).max().unwrap_or_default();
    let mut input = corpus[numbers.below(corpus.len())].clone();
    for _ in 0..=numbers.below(8) {
        let other = &corpus[numbers.below(corpus.len())];
        change(&mut input, other, numbers);
    }
    input.truncate(2 * longest);
    input
}

fn change(input: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    let range = numbers.range(input.len());
    let position = range.start;
    match numbers.below(6) {
        0 => drop(input.drain(range)),
        1 => {
            let again = input[range].to_vec();
            input.splice(position..position, again);
        }
        2 => {
            let part = other[numbers.range(other.len())].to_vec();
            input.splice(range, part);
        }
        3 => input.insert(position, TELLING[numbers.below(TELLING.len())]),
        4 => {
            if let Some(byte) = input.get_mut(position) {
                *byte ^= 1 << numbers.below(8);
            }
        }
        _ => {
            if let Some(byte) = input.get_mut(position) {
                *byte = TELLING[numbers.below(TELLING.len())];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn mutations_differ_and_do_not_grow_without_end() {
        let corpus = [b"{\"a\":1}".to_vec(), b"[]".to_vec(), Vec::new()];
        let mut numbers = Numbers::new();
        let made: Vec<_> = (0..10_000).map(|_| mutated(&corpus, &mut numbers)).collect();
        assert!(made.iter().all(|input| input.len() <= 14));
        assert!(5_000 < made.iter().collect::<HashSet<_>>().len());
    }
}
