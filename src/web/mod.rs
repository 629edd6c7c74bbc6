//! The admin API: health, metrics, status, reload, pause. On a unix socket and on loopback.
//!
//! It shows and asks; what happens is decided by the rulebook, the engine and the state. There are no
//! pages here for customers, and nothing on it is meant for the internet.

mod admin;
mod gauges;
mod guard;
mod options;
mod report;
mod server;

pub use admin::{Admin, Vitals, router};
pub use gauges::{describe, recorder};
pub use options::WebOptions;
pub use report::{rulebook_report, state_report};
pub use server::{Listeners, ServeError};
