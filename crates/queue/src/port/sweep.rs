use std::num::NonZeroU16;
use std::str::FromStr;

use async_trait::async_trait;

use crate::{Headers, Letter, Place};

/// Decides about the letters of a sweep. Whatever a decision needs (limits, progress, writing them down) is its business.
#[async_trait]
pub trait LetterVisitor: Send {
    /// Hears how many letters there are, before the first.
    fn begin(&mut self, letters: u64);

    /// Decides about one letter. Letters come in the order in which they lie.
    async fn judge(&mut self, letter: &Letter) -> Action;

    /// Hears what became of one more letter, in the order of judging, once that is durable.
    fn settled(&mut self, fate: Fate);
}

/// What a sweep does with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays, at the tail.
    Keep,
    /// It is gone.
    Drop,
    /// A copy goes to another place, and then the letter is gone.
    Move {
        /// Where to.
        place: Place,
        /// Of the copy.
        headers: Box<Headers>,
        /// Stands for whom the letter is about: of those with one number, one copy is on its way at a time.
        subject: u64,
    },
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is at the tail.
    Kept,
    /// It is elsewhere.
    Moved,
    /// It is nowhere any more.
    Dropped,
}

/// How many letters a sweep has in hand at most, 1 to 1000: so many may be there twice after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight(NonZeroU16);

/// The number is not between 1 and 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("from 1 to {} letters can be in flight", InFlight::MOST)]
pub struct InvalidInFlight;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Letters that were there when it began.
    pub total: u64,
    /// Letters it decided about.
    pub seen: u64,
    /// Letters that went elsewhere or are gone.
    pub acted: u64,
}

impl InFlight {
    /// One letter at a time.
    pub const ONE: Self = Self(NonZeroU16::MIN);
    /// Beyond this only memory and latency grow.
    pub const MOST: u16 = 1_000;

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u16> for InFlight {
    type Error = InvalidInFlight;

    fn try_from(letters: u16) -> Result<Self, InvalidInFlight> {
        let letters = NonZeroU16::new(letters).ok_or(InvalidInFlight)?;
        if letters.get() <= Self::MOST { Ok(Self(letters)) } else { Err(InvalidInFlight) }
    }
}

impl FromStr for InFlight {
    type Err = InvalidInFlight;

    fn from_str(text: &str) -> Result<Self, InvalidInFlight> {
        text.parse::<u16>().map_err(|_| InvalidInFlight)?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_flight_is_bounded() {
        assert_eq!("1".parse(), Ok(InFlight::ONE));
        assert_eq!("1000".parse::<InFlight>().unwrap().get(), 1_000);
        for bad in ["0", "1001", "-1", "70000", "many"] {
            assert_eq!(bad.parse::<InFlight>(), Err(InvalidInFlight), "{bad}");
        }
    }
}
