//! The daemon: wires the adapters to the engine, starts them in order, and stops them in order.
//!
//! It decides nothing about rules or messages. What systemd is told is in [`systemd`], what is logged in
//! `logging` and `observe`, and how an operator's signals arrive in `signals`.

mod logging;
mod signals;
pub mod systemd;
mod vitals;

pub use logging::{LoggingError, init as init_logging};
pub use signals::{Signal, Signals};
pub use vitals::ProcessVitals;
