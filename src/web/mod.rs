//! The admin API: health, metrics, status, reload, pause. On a unix socket and on loopback.
//!
//! It shows and asks; what happens is decided by the rulebook, the engine and the state. Nothing of that is meant
//! for the internet; what is, the events of other systems, has a listener of its own.

mod admin;
mod gauges;
mod guard;
mod options;
mod public;
mod report;
mod server;
mod signed;

pub use admin::{Admin, Vitals, router};
pub use gauges::{describe, recorder};
pub use options::{EventOptions, WebOptions};
pub use public::{BadSecret, Public};
pub use report::{rulebook_report, state_report};
pub use server::{Listeners, PublicListener, ServeError};
