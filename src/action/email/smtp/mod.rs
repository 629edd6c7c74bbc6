//! Email over SMTP, with our own sessions.
//!
//! lettre makes the message; the conversation is ours, for three reasons: commands are pipelined over a
//! socket without Nagle's delay (two round trips a message), a failure says whether the message had been
//! handed over already, and everything happens within one deadline.

mod pool;
mod reply;
mod session;
mod wire;

pub use pool::SmtpSender;
