//! What is running, and how it differs from what is on disk.

use super::inspect::UNREACHABLE;
use crate::diagnostic::Finding;
use crate::model::RuleId;
use crate::rule::generation::Rest;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The rulebook's state as people ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Hash of the running generation.
    pub hash: String,
    pub rules: usize,
    pub loaded_at: Timestamp,
    /// The running generation came from the state, because the files were broken at the start.
    pub restored: bool,
    /// Why the files on disk are not what is running; `None` when they are.
    pub trouble: Option<Arc<Trouble>>,
    /// Of the running generation.
    pub warnings: Arc<Vec<Finding>>,
    /// Rules that are here but neither match nor send, and why.
    pub resting: BTreeMap<RuleId, Rest>,
    /// Rises with every verdict, so that waiters notice one that changed nothing.
    pub verdicts: u64,
}

impl Standing {
    /// Whether the files on disk are running, whole.
    pub const fn is_good(&self) -> bool {
        self.trouble.is_none()
    }

    /// Whether another answer of the database could change the verdict.
    pub(super) fn waits_for_source(&self) -> bool {
        let unchecked = self.warnings.iter().any(|warning| warning.code == UNREACHABLE);
        let of_source = |finding: &Finding| {
            matches!(finding.code, "rule.query-refused" | "catalog.task-refused" | "source.refused")
        };
        unchecked || self.trouble.as_ref().is_some_and(|trouble| trouble.findings().iter().any(of_source))
    }
}

/// Why a change was not taken up as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Some of the files can't be read, so none are believed.
    Unreadable { code: &'static str, message: String },
    /// The files have errors.
    Rejected(Vec<Finding>),
    /// The files with errors stayed at their last good version; the others were taken up.
    Isolated(Vec<Finding>),
    /// The database refuses the queries of these rules, which rest; the others run.
    Refused(Vec<Finding>),
    /// The secrets could not be read anew; those read last are used.
    Secrets(String),
    /// Too many rules went missing at once.
    Braked { missing: Vec<RuleId>, of: usize },
}

impl Trouble {
    /// The value of the metric's label and of `status`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Rejected(_) => "rejected",
            Self::Isolated(_) => "isolated",
            Self::Refused(_) => "refused",
            Self::Secrets(_) => "secrets",
            Self::Braked { .. } => "braked",
        }
    }

    pub fn findings(&self) -> Vec<Finding> {
        match self {
            Self::Unreadable { code, message } => vec![Finding::error(code, message.clone())],
            Self::Rejected(findings) | Self::Isolated(findings) | Self::Refused(findings) => findings.clone(),
            Self::Secrets(_) => vec![
                Finding::error("config.secrets", self.to_string()).help("mend the configuration, then reload again"),
            ],
            Self::Braked { .. } => vec![
                Finding::error("rules.braked", self.to_string())
                    .help("put the files back, or confirm with `nudged reload --confirm`"),
            ],
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { message, .. } => f.write_str(message),
            Self::Rejected(findings) => write!(f, "the change was rejected: {}", Summary(findings)),
            Self::Isolated(findings) => write!(f, "files kept at their last good version: {}", Summary(findings)),
            Self::Refused(findings) => write!(f, "rules that rest: {}", Summary(findings)),
            Self::Secrets(reason) => {
                write!(f, "the secrets could not be read anew, so the old ones are used: {reason}")
            }
            Self::Braked { missing, of } => {
                write!(f, "{} of {of} rules went missing at once and rest until that is confirmed", missing.len())
            }
        }
    }
}

struct Summary<'a>(&'a [Finding]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = || self.0.iter().filter(|finding| finding.severity == crate::diagnostic::Severity::Error);
        match errors().next() {
            Some(first) => write!(f, "{first}")?,
            None => f.write_str("no findings")?,
        }
        match errors().count() {
            0 | 1 => Ok(()),
            more => write!(f, " (and {} more)", more - 1),
        }
    }
}
