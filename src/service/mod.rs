//! The daemon: wires the adapters to the engine, starts them in order, and stops them in order.
//!
//! It decides nothing about rules or messages. What systemd is told is in [`systemd`], what is logged in
//! `logging` and `observe`, and how an operator's signals arrive in `signals`.

mod beside;
mod connect;
mod daemon;
mod examine;
mod logging;
mod maildir;
mod observe;
mod run;
mod secrets;
mod signals;
pub mod systemd;
mod vitals;

pub use beside::Beside;
pub use connect::{OpenError, open_source, open_state, senders, snapshot_state, state_is_new};
pub use daemon::{Daemon, Outfit};
pub use examine::RuleExaminer;
pub use logging::{LoggingError, init as init_logging};
pub use observe::observe;
pub use run::{Ended, StartError, outside, run};
pub use signals::{Signal, Signals};
pub use vitals::ProcessVitals;
