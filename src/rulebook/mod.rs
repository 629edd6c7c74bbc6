//! The rules directory: reading it, watching it, and swapping whole generations of it.
//!
//! ```text
//!   files ─▶ settle ─▶ read ─▶ check aside ─▶ brake ─▶ swap one generation ─▶ engine
//!                                  │             │
//!                                  └─ error ─────┴─▶ the running generation stays; the standing says why
//! ```
//!
//! It never writes to the directory, and it runs nothing: the engine takes generations from a watch
//! channel. Watching directories instead of files, and believing only content seen twice, is what
//! survived editors, ConfigMaps and git in vector and Prometheus.

mod options;
mod read;

pub use options::RulebookOptions;
pub use read::{Limits, ReadTreeError, digest, read_tree};
