//! One whole, checked, immutable set of rules, catalog, templates and scripts.

mod build;
mod earlier;
mod enroll;
mod fits;
mod hash;
mod layout;
mod lost;
mod overlap;
mod sample;

pub use build::Checked;

use super::check::Outcome;
use super::checked::CheckedRule;
use super::compiled::CompiledRule;
use super::message::Templates;
use super::statement::Dialect;
use crate::catalog::{Catalog, Schema};
use crate::diagnostic::{Finding, SourceFile};
use crate::model::{RuleId, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The files of a rules directory as read at one moment: `catalog.yaml`, rule files, `templates/`,
/// `scripts/`. Sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    pub files: Vec<Arc<SourceFile>>,
}

impl Tree {
    /// The files that hold rules, in the order of their paths.
    #[must_use]
    pub fn rule_files(&self) -> Vec<Arc<SourceFile>> {
        layout::Layout::of(self).rules
    }

    /// The tree as one rule file sees it: itself, the rules it enrolls into, the catalog, templates and scripts.
    #[must_use]
    pub fn around(&self, rule: &SourceFile) -> Self {
        let others = layout::Layout::of(self).rules;
        let near = enroll::reached(&others, rule);
        let is_other =
            |file: &SourceFile| !near.contains(&file.path) && others.iter().any(|other| other.path == file.path);
        Self { files: self.files.iter().filter(|file| !is_other(file)).cloned().collect() }
    }

    /// Names and texts of what `check::examples` may refer to.
    #[must_use]
    pub fn names(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let layout = layout::Layout::of(self);
        (layout.template_names(), layout.script_names())
    }
}

/// What a tree is checked against, beside itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    pub dialect: Dialect,
    /// The live tables; `None` offline: undeclared columns then have no known type.
    pub schema: Option<Schema>,
    /// Webhook destinations of the configuration.
    pub destinations: BTreeSet<String>,
    /// Chats of the configuration.
    pub chats: BTreeSet<String>,
    /// Gateways for text messages of the configuration.
    pub gateways: Gateways,
    /// Topics of the configuration.
    pub topics: BTreeSet<Topic>,
}

/// The ways to the phone network, as far as rules are checked against them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateways {
    pub names: BTreeSet<String>,
    /// Longer texts are warned of.
    pub segments: u32,
}

impl Default for Gateways {
    fn default() -> Self {
        Self { names: BTreeSet::new(), segments: 3 }
    }
}

/// Why a rule that is here neither matches nor sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Its file went missing with many others, and nobody has confirmed that yet.
    Missing,
    /// The database doesn't accept its queries.
    Refused,
    /// Its file has errors. The daemon runs the version before; a rehearsal only has the file.
    Broken,
    /// The database was away when it was loaded, so nobody knows yet what its columns are.
    Unchecked,
}

impl Rest {
    /// For people who ask why a step is held.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "its file went missing with many others; confirm or restore them",
            Self::Refused => "the database refuses its queries; `nudged status` says which",
            Self::Broken => "its file has errors; `nudged check` says which",
            Self::Unchecked => "the database was away when it was loaded; it is checked once that answers",
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Generation {
    /// SHA-256 (hexadecimal) over paths and contents.
    pub hash: String,
    pub tree: Arc<Tree>,
    pub catalog: Arc<Catalog>,
    /// What it was checked against; pinned versions are compiled against the same.
    pub surroundings: Arc<Surroundings>,
    pub rules: BTreeMap<RuleId, Arc<CompiledRule>>,
    pub templates: Arc<Templates>,
    pub warnings: Vec<Finding>,
    /// Rules that are here but neither match nor send. Empty as built; the rulebook fills it.
    pub resting: BTreeMap<RuleId, Rest>,
    /// What the check of each rule file came to, by path, for the next generation to take over.
    outcomes: Arc<BTreeMap<String, Outcome>>,
}

impl Generation {
    /// Checks a whole tree. Every finding of every file comes back at once; warnings alone don't fail.
    pub fn build(tree: Arc<Tree>, surroundings: &Surroundings) -> Result<Self, Vec<Finding>> {
        build::build(tree, surroundings, None)
    }

    /// As [`Generation::build`], to the same result, without doing again what `earlier` did for files and
    /// surroundings that are still the same.
    pub fn build_after(tree: Arc<Tree>, surroundings: &Surroundings, earlier: &Self) -> Result<Self, Vec<Finding>> {
        build::build(tree, surroundings, Some(earlier))
    }

    /// This generation with these rules at rest.
    #[must_use]
    pub fn with_resting(&self, resting: BTreeMap<RuleId, Rest>) -> Self {
        Self { resting, ..self.clone() }
    }

    /// The same rules over another mapping of the same names: for rehearsals, which bring tables of their own.
    pub fn over(self, catalog: Catalog) -> Result<Self, Vec<Finding>> {
        build::over(self, catalog)
    }

    /// Compiles a rule version that an enrollment pinned earlier against this generation's catalog. Steps and
    /// waits are the version's; who may go on (`where`, `goal`, `exit_when`) is for the `current` rule to say,
    /// where it still exists.
    pub fn compile_pinned(&self, text: &str, current: Option<&CheckedRule>) -> Result<CompiledRule, Vec<Finding>> {
        build::compile_pinned(self, text, current)
    }
}
