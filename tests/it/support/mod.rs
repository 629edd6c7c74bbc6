//! Real servers and shared helpers for the tests: private databases, a mail server, an HTTP receiver, and
//! waiting without sleeping. Nothing here is a fake, and nothing here touches a server of the machine.

mod browser;
mod clock;
mod database;
pub mod guarded;
mod http;
mod mariadb;
pub mod postgres;
pub mod reference;
mod seed;
mod smtp;
mod wait;

pub use browser::Browser;
pub use clock::{instant, test_clock};
pub use database::Database;
pub use http::{HttpReceiver, Reply, http_receiver};
pub use mariadb::mariadb;
pub use postgres::postgres;
pub use seed::{Seen, property, random, runner};
pub use smtp::{SmtpServer, SmtpSink, smtp, smtp_sink};
pub use wait::{PATIENCE, poll_until, poll_until_ok, wait_until};
