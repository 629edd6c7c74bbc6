//! What people ask before they trust a rule, and when they wonder about one: why, what if, what would have
//! been. Every answer comes from the crossings, the evaluator and the decisions that run live, asked over
//! another window, source, clock or sender; nothing here decides anything a second time, and nothing is
//! written to the state or the CRM.
//!
//! - [`explain`]: one record under one rule, term by term;
//! - [`why`]: one record under every rule, with what the state remembers;
//! - [`Backtester`]: the occasions of the past, interval by interval;
//! - [`released`]: what a release would make of a held sweep;
//! - [`Comparer`]: whom another version of a rule would match;
//! - [`Simulator`]: the days ahead, over a frozen source;
//! - [`render_test`]: one mail of a rule, to be sent to somebody who asked;
//! - [`render_anew`]: the message of a delivery, where none was kept.

mod account;
mod anew;
mod backtest;
mod compare;
mod crowd;
mod edge;
mod entered;
mod explain;
mod foretold;
pub(super) mod guessed;
pub(super) mod horizon;
mod later;
mod released;
mod ruling;
mod seat;
mod simulate;
mod standstill;
mod still_to_come;
mod stuck;
mod term;
mod test_send;
mod under_way;
mod verdict;
mod why;

pub use anew::render_anew;
pub use backtest::{Backtest, BacktestDay, BacktestHit, Backtester, Tally, TermCount, Told};
pub use compare::{Change, Comparer, Comparison, Elsewhere, Part, People, RuleComparison, UnderWay};
pub use explain::{Crossed, Delivered, Explanation, Reached, RecordState, StepsOf, explain, explain_within};
pub use later::Later;
pub use released::{released, released_by_time};
pub use simulate::{Happened, RuleDays, Simulator};
pub use standstill::Standstill;
pub use stuck::{Stuck, freed_by};
pub use term::TermAnswer;
pub use test_send::{TestMail, render_test};
pub use verdict::{Truth, Verdict};
pub use why::{RuleStory, StoryOutcome, delivered, why};
