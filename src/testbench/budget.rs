//! What the tests of a rule may cost. A rule whose matches depend on what earlier sweeps saw is swept at every planned
//! instant, and a hundred years of that would never end.
//!
//! Counted in sweeps and not in seconds: what passes here passes on every machine.

use crate::diagnostic::Finding;

/// Of one test: half a year of a rule that looks every 15 minutes.
const OF_A_TEST: u32 = 20_000;
/// Of all tests of a rule together.
const OF_A_RULE: u32 = 50_000;

/// How many sweeps are left.
#[derive(Debug)]
pub(super) struct Budget {
    of_test: u32,
    of_rule: u32,
}

/// Whose are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    Test,
    Rule,
}

impl Budget {
    pub const fn of_rule() -> Self {
        Self { of_test: OF_A_TEST, of_rule: OF_A_RULE }
    }

    pub const fn next_test(&mut self) {
        self.of_test = OF_A_TEST;
    }

    pub fn take_one(&mut self) -> Result<(), Spent> {
        self.allows(1)?;
        self.of_test -= 1;
        self.of_rule -= 1;
        Ok(())
    }

    pub fn left(&self) -> u32 {
        self.of_test.min(self.of_rule)
    }

    /// Whether so many are left.
    pub const fn allows(&self, sweeps: u32) -> Result<(), Spent> {
        if sweeps > self.of_test {
            return Err(Spent::Test);
        }
        if sweeps > self.of_rule { Err(Spent::Rule) } else { Ok(()) }
    }
}

impl Spent {
    pub fn finding(self) -> Finding {
        let less = "shorten `after`, or let the rule look less often, by a longer `check_every`";
        let (message, help) = match self {
            Self::Test => (
                format!("until here the rule is swept more than {OF_A_TEST} times, and no test may take more"),
                less.to_owned(),
            ),
            Self::Rule => (
                format!("the tests of this rule up to here take more than {OF_A_RULE} sweeps together"),
                format!("make them fewer, or shorter: {less}"),
            ),
        };
        Finding::error("test.too-long", message).help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_its_own_share_of_what_a_rule_has() {
        let mut budget = Budget { of_test: 2, of_rule: OF_A_TEST + 2 };
        assert_eq!((budget.allows(2), budget.allows(3)), (Ok(()), Err(Spent::Test)));
        assert_eq!((budget.take_one(), budget.take_one(), budget.take_one()), (Ok(()), Ok(()), Err(Spent::Test)));
        budget.next_test();
        assert_eq!((budget.allows(OF_A_TEST), budget.take_one()), (Ok(()), Ok(())));
        budget.next_test();
        assert_eq!((budget.allows(OF_A_TEST), budget.allows(OF_A_TEST + 1)), (Err(Spent::Rule), Err(Spent::Test)));
    }
}
