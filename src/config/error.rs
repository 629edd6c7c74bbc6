//! Why a configuration can't be used.

use crate::diagnostic::Finding;
use std::path::PathBuf;

/// Nothing is started with a configuration that has one of these.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or may not be read.
    #[error("can't read the configuration {path}: {error}")]
    Unreadable { path: PathBuf, error: std::io::Error },
    /// The file was read, and this is wrong with it.
    #[error("the configuration has {} error{}", .0.len(), if .0.len() == 1 { "" } else { "s" })]
    Wrong(Vec<Finding>),
}

impl ConfigError {
    /// What to show, with carets into the file where there is one.
    pub fn findings(&self) -> Vec<Finding> {
        match self {
            Self::Unreadable { .. } => vec![
                Finding::error("config.unreadable", self.to_string())
                    .help("give a file by `--config`, or start from the reference: `nudged schema config --reference`"),
            ],
            Self::Wrong(findings) => findings.clone(),
        }
    }
}
