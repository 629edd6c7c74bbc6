//! Evaluate, sweep, dispatch, rescue, rehearse.
//!
//! Speaks to the outside only through the traits in [`port`]. Test, preview, explain and live run this
//! code with another clock, source or sender. One verb per service:
//!
//! - [`Sweeper`](sweep::Sweeper) finds who newly matches a rule and enters them in the ledger;
//! - [`Dispatcher`](dispatch::Dispatcher) runs due steps: decides on fresh facts, sends, settles;
//! - `scheduler` says when the next sweep of each rule is due;
//! - `rescuer` takes back what a dead process held, `pruner` forgets what has grown old;
//! - [`preview`] answers who would match now, and [`rehearse`] what else people ask beforehand and afterwards;
//!   neither writes anything.

mod adopt;
mod alert;
mod answer_writer;
mod cadence;
mod consent_writer;
mod context;
mod cooldown;
mod core;
mod episode;
mod error;
mod evaluate;
mod event;
mod expectation;
mod flight;
mod gate;
mod health;
mod held;
mod inbound;
mod late_notice;
mod lateness;
mod links;
mod once;
mod own_writes;
mod pace;
mod personal;
mod preview;
mod pruner;
mod pulse;
mod record_writer;
mod rehearsal;
mod relocate;
mod rescuer;
mod room;
mod scheduler;
mod settings;
mod task_writer;
mod time_order;
mod tracked_mail;
mod versions;

pub mod dispatch;
pub mod placing;
pub mod port;
pub mod rehearse;
pub mod sweep;

pub use self::core::{Drained, Engine, Parts, Senders};
pub use dispatch::Dispatched;
pub use error::EngineError;
pub use event::Event;
pub use expectation::Mood;
pub use held::still_held;
pub use links::Links;
pub use personal::{Reached, addresses_in, events_about, reached};
pub use preview::{Preview, PreviewMatch, PreviewMessage, PreviewScope, Previewer, Prospect, preview};
pub use pruner::Retention;
pub use rehearsal::{Horizon, sweeps_ahead};
pub use relocate::{Relocated, pinned_steps, relocate};
pub use settings::{Sending, Settings, Texts};
pub use sweep::{SweepReport, Swept};
pub use task_writer::TaskWriter;
