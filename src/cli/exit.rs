//! How a command can end. `docs/exit-codes.md` lists the same, and a test holds them together.

use crate::config::ConfigError;
use crate::diagnostic::Finding;
use crate::diagnostic::render::counted;
use crate::engine::EngineError;
use crate::engine::port::{SourceError, StoreError};
use crate::rulebook::ReadTreeError;
use crate::service::OpenError;
use std::process::ExitCode;

/// The documented exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Success = 0,
    /// It failed for a reason that has no code of its own.
    Failure = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// The configuration is missing or wrong.
    Config = 3,
    /// The rules are wrong: `check` found errors, a test failed, a reload was rejected, or there is nothing to run.
    Rules = 4,
    /// The state database can't be opened or does not answer.
    State = 5,
    /// The source can't be reached or refuses.
    Source = 6,
    /// The daemon does not answer on its admin address.
    NotRunning = 7,
    /// There is nothing by that id or name.
    NotFound = 8,
    /// The state was written by a newer version of nudged.
    StateNewer = 9,
    /// Stopped before everything in flight was done: the drain deadline passed or a second signal came.
    Forced = 10,
}

impl Exit {
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::Config,
        Self::Rules,
        Self::State,
        Self::Source,
        Self::NotRunning,
        Self::NotFound,
        Self::StateNewer,
        Self::Forced,
    ];

    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The one line of the documentation's table.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "It did what was asked.",
            Self::Failure => "It failed for a reason that has no code of its own.",
            Self::Usage => "The arguments make no sense.",
            Self::Config => "The configuration is missing or wrong.",
            Self::Rules => {
                "The rules are wrong: `check` found errors, a test failed, a reload was rejected, or there is nothing to run."
            }
            Self::State => "The state database can't be opened or does not answer.",
            Self::Source => "The source can't be reached or refuses.",
            Self::NotRunning => "The daemon does not answer on its admin address.",
            Self::NotFound => "There is nothing by that id or name.",
            Self::StateNewer => "The state was written by a newer version of nudged.",
            Self::Forced => {
                "Stopped before everything in flight was done: the drain deadline passed or a second signal came."
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do what was asked: what to tell, and the code to end with.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{} of the rules directory", count(.0))]
    Rules(Vec<Finding>),
    #[error(transparent)]
    State(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Output(#[from] std::io::Error),
    /// Anything else, with its own code.
    #[error("{message}")]
    Other { exit: Exit, message: String },
}

impl Failure {
    pub fn other(exit: Exit, message: impl Into<String>) -> Self {
        Self::Other { exit, message: message.into() }
    }

    pub const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config,
            Self::Rules(_) => Exit::Rules,
            Self::State(StoreError::NewerSchema { .. }) => Exit::StateNewer,
            Self::State(_) => Exit::State,
            Self::Source(_) => Exit::Source,
            Self::Output(_) => Exit::Failure,
            Self::Other { exit, .. } => *exit,
        }
    }

    /// Findings to show with their places, where it has any.
    pub fn findings(&self) -> Vec<Finding> {
        match self {
            Self::Config(error) => error.findings(),
            Self::Rules(findings) => findings.clone(),
            _ => Vec::new(),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::other(Exit::Config, error.to_string())
    }
}

impl From<ReadTreeError> for Failure {
    fn from(error: ReadTreeError) -> Self {
        Self::Rules(vec![Finding::error(error.code(), error.to_string())])
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Source(error) => Self::Source(error),
            EngineError::Store(error) => Self::State(error),
            EngineError::NoSuchRule(_) | EngineError::NoSuchRecord(_) | EngineError::NothingToShow(_) => {
                Self::other(Exit::NotFound, error.to_string())
            }
            EngineError::OtherEntity { .. } | EngineError::OtherTenant { .. } => {
                Self::other(Exit::Usage, error.to_string())
            }
            EngineError::NoGeneration => Self::other(Exit::Failure, error.to_string()),
        }
    }
}

fn count(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == crate::diagnostic::Severity::Error).count();
    format!("{} in the files", counted(errors, "error"))
}
