use std::collections::HashMap;
use std::hash::Hash;

/// Groups the items of a batch into chains: items of one key follow one another, chains run side by side.
///
/// Returns, for each key in order of its first item, the positions of its items in order.
pub(crate) fn chains<K: Hash + Eq>(keys: impl Iterator<Item = K>) -> Vec<Vec<usize>> {
    let mut chains: Vec<Vec<usize>> = Vec::new();
    let mut chain_of: HashMap<K, usize> = HashMap::new();
    for (position, key) in keys.enumerate() {
        let chain = *chain_of.entry(key).or_insert_with(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[chain].push(position);
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_one_key_follow_one_another() {
        assert_eq!(chains("abacab".chars()), [vec![0, 2, 4], vec![1, 5], vec![3]]);
        assert!(chains("".chars()).is_empty());
    }
}
