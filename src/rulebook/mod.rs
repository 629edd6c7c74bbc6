//! The rules directory: reading it, watching it, and swapping whole generations of it.
//!
//! ```text
//!   files ─▶ settle ─▶ read ─▶ check and test aside ─▶ brake ─▶ swap one generation ─▶ engine
//!                                  │                      │
//!                                  └─ error ──────────────┴─▶ the running generation stays; the standing says why
//! ```
//!
//! It never writes to the directory, and it runs nothing: the engine takes generations from a watch
//! channel. Watching directories instead of files, and believing only content seen twice, is what
//! survived editors, `ConfigMap`s and git in vector and Prometheus.

mod book;
mod brake;
mod consents;
mod examine;
mod inspect;
mod options;
mod own_fields;
mod read;
mod standing;
mod start;
mod tenants;
mod watch;
mod wayout;

pub use book::{Handle, Renew, Request, Rulebook};
pub use examine::{Examiner, touched};
pub use inspect::{Inspected, Outside, from_stored, inspect, inspect_past, isolate, probes};
pub use options::RulebookOptions;
pub use read::{Limits, ReadTreeError, digest, read_tree};
pub use standing::{Standing, Trouble};

use crate::diagnostic::Finding;
use crate::engine::port::StoreError;

/// Why there is no rulebook to run.
#[derive(Debug, thiserror::Error)]
pub enum RulebookError {
    /// The files are wrong and the state holds no generation that was good.
    #[error("the rules can't be loaded, and the state keeps no earlier version of them to run instead")]
    NothingToRun(Vec<Finding>),
    #[error(transparent)]
    Store(#[from] StoreError),
}
