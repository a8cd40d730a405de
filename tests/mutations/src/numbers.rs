/// Numbers without a pattern that matters here, the same ones every time (xorshift64*).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    /// A number below `end`, or zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).expect("31 bits") % end.max(1)
    }

    /// A part of something with `length` elements: where it begins, and where it ends.
    pub(crate) fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        // Mostly short ones: what is between two quotes, not half of everything.
        let longest = if self.below(4) == 0 { length } else { 16 };
        start..start + self.below((length - start).min(longest) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_within_and_is_sometimes_all_there_is() {
        let mut numbers = Numbers::new();
        let ranges: Vec<_> = (0..1_000).map(|_| numbers.range(3)).collect();
        assert!(ranges.iter().all(|range| range.start <= range.end && range.end <= 3), "{ranges:?}");
        assert!(ranges.contains(&(0..3)) && ranges.contains(&(3..3)));
        assert_eq!(numbers.range(0), 0..0);
    }
}
