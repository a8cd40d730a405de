use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// How likely something is. The same seed makes the same draws, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// From 0 (never) to 1 (always).
    #[serde(deserialize_with = "probability")]
    pub probability: f64,
    /// Where the draws begin.
    #[serde(default)]
    pub seed: u64,
}

/// Draws by a chance. `SplitMix64`, written out here so that a seed means the same with every release of a library.
#[derive(Debug)]
pub(crate) struct Dice {
    probability: f64,
    state: u64,
}

impl Dice {
    pub(crate) fn new(chance: Chance) -> Self {
        Self { probability: chance.probability, state: chance.seed }
    }

    /// Draws once: whether it comes true.
    pub(crate) fn throw(&mut self) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let upper_half = u32::try_from(mixed >> 32).expect("32 bits are left");
        f64::from(upper_half) / (f64::from(u32::MAX) + 1.0) < self.probability
    }
}

fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let probability = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&probability) {
        Ok(probability)
    } else {
        Err(D::Error::custom(format!("probability {probability} is not from 0 to 1")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throws(probability: f64, seed: u64) -> Vec<bool> {
        let mut dice = Dice::new(Chance { probability, seed });
        (0..10_000).map(|_| dice.throw()).collect()
    }

    #[test]
    fn a_seed_repeats_its_draws_and_another_one_does_not() {
        assert_eq!(throws(0.3, 7), throws(0.3, 7));
        assert_ne!(throws(0.3, 7), throws(0.3, 8));
    }

    #[test]
    fn it_comes_true_as_often_as_it_should() {
        for (probability, expected) in [(0.0, 0..=0), (0.3, 2_800..=3_200), (1.0, 10_000..=10_000)] {
            for seed in 0..5 {
                let count = throws(probability, seed).into_iter().filter(|came_true| *came_true).count();
                assert!(expected.contains(&count), "{probability} {seed}: {count}");
            }
        }
    }
}
