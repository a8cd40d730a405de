use std::collections::BTreeSet;
use std::fmt;

use refersion_relay_model::Shard;

/// Which shards a worker takes: all, or those that are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShardList {
    All,
    /// Never empty.
    Only(BTreeSet<u16>),
}

impl ShardList {
    /// Reads a list such as `0-3,6`. Every shard in it has to be one of `count`.
    pub(super) fn parse(text: &str, count: u16) -> Result<Self, String> {
        let mut shards = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u16>().ok();
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err("has to be a list of shards, as \"0-3\" or \"0-3,6\"".to_owned());
            };
            if last < first {
                return Err(format!("has a range that ends before it begins: {first}-{last}"));
            }
            if count <= last {
                return Err(format!("names shard {last}, and queue.shards = {count} makes 0 to {}", count - 1));
            }
            shards.extend(first..=last);
        }
        Ok(Self::Only(shards))
    }

    /// The shards themselves, of a set of `count`. The list is one of `shards`; those of an older set are shared out by
    /// the remainder, so that each is somebody's.
    pub(crate) fn of(&self, count: u16, shards: u16) -> impl Iterator<Item = Shard> + '_ {
        let takes = move |shard: &Shard| match self {
            Self::All => true,
            Self::Only(listed) => listed.contains(&(shard.index % shards)),
        };
        Shard::all(count).filter(takes)
    }
}

/// As it can be read again, with ranges wherever two are side by side.
impl fmt::Display for ShardList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Only(shards) = self else { return f.write_str("all") };
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for shard in shards {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *shard => *last = *shard,
                _ => ranges.push((*shard, *shard)),
            }
        }
        let range =
            |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        f.write_str(&ranges.iter().map(range).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read_and_shown_in_order() {
        for (text, shown) in [("0-3", "0-3"), (" 6, 0 - 2 ,1", "0-2,6"), ("7", "7"), ("4,5,6,7", "4-7"), ("0-7", "0-7")]
        {
            assert_eq!(ShardList::parse(text, 8).unwrap().to_string(), shown, "{text}");
        }
        let list = ShardList::parse("0-1,6", 8).unwrap();
        let shards: Vec<_> = list.of(8, 8).map(|shard| shard.to_string()).collect();
        assert_eq!(shards, ["n8.0", "n8.1", "n8.6"]);
        assert_eq!(ShardList::All.of(8, 8).count(), 8);
        assert_eq!(ShardList::All.of(3, 8).count(), 3);
    }

    #[test]
    fn every_older_shard_is_taken_by_somebody() {
        let of = |text: &str, count| {
            let list = ShardList::parse(text, 3).unwrap();
            list.of(count, 3).map(|shard| shard.to_string()).collect::<Vec<_>>()
        };
        assert_eq!([of("0-1", 2), of("2", 2)], [vec!["n2.0", "n2.1"], vec![]]);
        assert_eq!([of("0", 8), of("1-2", 8)].map(|shards| shards.len()), [3, 5]);
    }

    #[test]
    fn what_is_no_list_of_these_shards_is_refused() {
        for (text, why) in [
            ("", "list"),
            ("0-", "list"),
            ("a", "list"),
            ("1,,2", "list"),
            ("-1", "list"),
            ("3-1", "ends before"),
            ("8", "0 to 7"),
            ("6-9", "shard 9"),
        ] {
            let refused = ShardList::parse(text, 8).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
