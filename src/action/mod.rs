//! Effects on the world outside: email over SMTP or into a folder, webhooks, chats and text messages.
//! (Tasks go through the source or the state.)
//!
//! Each adapter makes one try and says what came of it; when to try again is the engine's business. None
//! of them logs an address, a name or a body above debug.

pub mod chat;
pub mod email;
mod http;
pub mod sms;
mod tls;
pub mod webhook;

pub use http::HttpSender;

use crate::engine::port::Sent;
use crate::model::Outcome;

/// Why an adapter could not be set up from its options.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{key}: {problem}")]
    Option { key: String, problem: String },
    #[error("{what} {path} can't be used: {error}")]
    File { what: &'static str, path: std::path::PathBuf, error: std::io::Error },
    #[error("TLS can't be set up: {0}")]
    Tls(String),
}

impl SetupError {
    fn option(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Option { key: key.into(), problem: problem.into() }
    }
}

fn came_to(outcome: Outcome) -> Sent {
    Sent { outcome, answer: None }
}

fn permanent(reason: impl Into<String>) -> Sent {
    came_to(Outcome::Permanent { reason: reason.into() })
}

fn transient(reason: impl Into<String>) -> Sent {
    came_to(Outcome::Transient { reason: reason.into(), retry_after: None })
}

fn unknown(reason: impl Into<String>) -> Sent {
    came_to(Outcome::Unknown { reason: reason.into() })
}

/// What other machines say, made fit for a log line: one line, printable, not endless.
fn quoted(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
