use bytes::Bytes;

/// A request, or the answer to it, by the number that the one who asks has given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) bytes: Bytes,
}

/// The most in one message.
pub(super) const TOGETHER: usize = 500;
/// Bytes before each: its number, and how long it is.
const HEAD: usize = 8 + 4;

/// How long a message is with one of so many bytes more.
pub(super) fn packed_len(bytes: usize) -> usize {
    HEAD + bytes
}

/// All of them in one message.
pub(super) fn pack(all: &[Numbered]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(all.iter().map(|one| packed_len(one.bytes.len())).sum());
    for Numbered { number, bytes } in all {
        packed.extend_from_slice(&number.to_be_bytes());
        packed.extend_from_slice(&u32::try_from(bytes.len()).expect("a request is far shorter").to_be_bytes());
        packed.extend_from_slice(bytes);
    }
    packed
}

/// What is in a message. `None`: it was not packed so. A stranger may have written it.
pub(super) fn unpack(mut packed: Bytes) -> Option<Vec<Numbered>> {
    let mut all = Vec::new();
    while !packed.is_empty() {
        if TOGETHER <= all.len() {
            return None;
        }
        let head = packed.split_to_checked(HEAD)?;
        let number = u64::from_be_bytes(head[..8].try_into().ok()?);
        let len = u32::from_be_bytes(head[8..].try_into().ok()?);
        all.push(Numbered { number, bytes: packed.split_to_checked(usize::try_from(len).ok()?)? });
    }
    Some(all)
}

trait SplitToChecked: Sized {
    fn split_to_checked(&mut self, len: usize) -> Option<Self>;
}

impl SplitToChecked for Bytes {
    fn split_to_checked(&mut self, len: usize) -> Option<Self> {
        (len <= self.len()).then(|| self.split_to(len))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(all in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8)) {
            let all: Vec<_> =
                all.into_iter().map(|(number, bytes)| Numbered { number, bytes: Bytes::from(bytes) }).collect();
            let packed = pack(&all);
            prop_assert_eq!(packed.len(), all.iter().map(|one| packed_len(one.bytes.len())).sum::<usize>());
            prop_assert_eq!(unpack(Bytes::from(packed)), Some(all));
        }

        #[test]
        fn anything_else_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpack(Bytes::from(bytes));
        }
    }

    #[test]
    fn no_more_is_unpacked_than_is_ever_packed() {
        let empty = |count| vec![Numbered { number: 0, bytes: Bytes::new() }; count];
        assert_eq!(unpack(Bytes::from(pack(&empty(TOGETHER)))), Some(empty(TOGETHER)));
        assert_eq!(unpack(Bytes::from(pack(&empty(TOGETHER + 1)))), None);
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        let packed = pack(&[Numbered { number: 7, bytes: Bytes::from_static(b"abc") }]);
        for cut in 1..packed.len() {
            assert_eq!(unpack(Bytes::copy_from_slice(&packed[..cut])), None, "{cut}");
        }
        assert_eq!(unpack(Bytes::new()), Some(Vec::new()));
    }
}
