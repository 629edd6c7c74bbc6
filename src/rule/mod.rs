//! Rules: parse, check, compile. No I/O and no clock.
//!
//! One type per stage, and later code takes only the later type:
//! written YAML → [`CheckedRule`] → [`CompiledRule`] (bound SQL for one dialect, compiled templates and
//! scripts).

pub mod answer;
mod basis;
pub mod check;
pub mod checked;
pub mod compiled;
pub mod condition;
mod contradiction;
mod definition;
pub mod example;
mod fit;
mod flow;
pub mod generation;
pub mod inbound;
pub mod index;
pub(crate) mod lexer;
pub mod message;
pub mod operands;
mod saved;
pub mod schema;
mod score;
pub mod script;
mod sql;
pub mod statement;
pub mod task;
pub mod tide;
pub mod write;
pub mod written;

pub use checked::CheckedRule;
pub use compiled::CompiledRule;
pub use score::Score;
