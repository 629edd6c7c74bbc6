//! Chance that falls the same way every time.

/// A small generator (splitmix64). It is written out here so that the demo's customers stay the same
/// people whatever version of a random number library is in use.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice for one purpose: the same parts give the same throws, in any order of asking.
    #[must_use]
    pub fn of(parts: &[i64]) -> Self {
        let mut dice = Self(0x6e75_6467_6564_2121);
        for part in parts {
            dice.0 ^= part.cast_unsigned();
            dice.throw();
            dice.0 = dice.throw();
        }
        dice
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high - low + 1).unwrap_or(1).max(1);
        low + (self.throw() % width).cast_signed()
    }

    /// True in `percent` of a hundred throws.
    pub fn chance(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of several; `choices` must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let last = i64::try_from(choices.len()).unwrap_or(1) - 1;
        &choices[usize::try_from(self.between(0, last)).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_parts_give_the_same_throws_and_others_differ() {
        let throws = |parts: &[i64]| {
            let mut dice = Dice::of(parts);
            (0..8).map(|_| dice.between(0, 999)).collect::<Vec<_>>()
        };
        assert_eq!(throws(&[1, 2]), throws(&[1, 2]));
        assert_ne!(throws(&[1, 2]), throws(&[2, 1]));
        assert_ne!(throws(&[1, -2]), throws(&[1, 2]));
    }

    #[test]
    fn throws_stay_within_their_bounds_and_reach_both_ends() {
        let mut dice = Dice::of(&[7]);
        let throws: Vec<i64> = (0..500).map(|_| dice.between(-2, 2)).collect();
        assert!(throws.iter().all(|throw| (-2..=2).contains(throw)));
        assert!(throws.contains(&-2) && throws.contains(&2));
    }
}
