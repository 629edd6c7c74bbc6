//! The admin API: health, metrics, status, reload, pause. On a unix socket and on loopback.
//!
//! It shows and asks; what happens is decided by the rulebook, the engine and the state. Nothing of that is meant
//! for the internet; what is, has a listener of its own: events of other systems, the pages behind the links of mails, and
//! bounces by webhook, and the links of tracked mails.

mod admin;
mod bounces;
mod consent;
mod gauges;
mod guard;
mod options;
mod public;
mod report;
mod server;
mod signed;
mod sms_answers;
mod tracking;

pub use admin::{Admin, Vitals, router};
pub use bounces::{BounceFormat, BounceOptions, Bounces, Intake, Report};
pub use consent::{Consent, PageOptions, Texts};
pub use gauges::{describe, recorder};
pub use options::{EventOptions, WebOptions};
pub use public::{BadSecret, Public, public_router};
pub use report::{rulebook_report, state_report};
pub use server::{Listeners, PublicListener, ServeError};
pub use sms_answers::SmsAnswers;
pub use tracking::{Recorder, Tracker};
