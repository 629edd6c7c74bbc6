//! What every rehearsal needs: the rules as the files have them, the source, and the state to look at.

use super::{Context, Failure, Output};
use crate::config::Config;
use crate::diagnostic::{Finding, Severity, SourceFile};
use crate::engine::port::{Source, Store};
use crate::engine::{Previewer, Settings};
use crate::model::RuleId;
use crate::rule::generation::{Generation, Rest, Tree};
use crate::rulebook::{Inspected, Limits, inspect, inspect_past, isolate, read_tree};
use crate::service::{open_source, outside, state_is_new};
use crate::store::sqlite::SqliteStore;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct Rehearsal {
    pub config: Config,
    pub source: Arc<dyn Source>,
    pub generation: Arc<Generation>,
    /// What it goes without.
    pub unfit: Unfit,
    pub store: Arc<dyn Store>,
    pub settings: Settings,
    /// The source's clock.
    pub now: Timestamp,
    /// Before the first start there is no state; what stands in for it goes with the rehearsal.
    _scratch: Option<Scratch>,
}

impl Rehearsal {
    /// The configured rules that load, checked against the source, and the configured state.
    pub async fn open(context: &Context) -> Result<Self, Failure> {
        let config = context.config()?;
        let source = open_source(&config)?;
        let (generation, unfit) = load(&config, &*source, &config.rules.directory).await?;
        let generation = Arc::new(generation);
        let now = source.now().await?;
        let scratch = state_is_new(&config.state).then(Scratch::new).transpose()?;
        let store: Arc<dyn Store> = match &scratch {
            Some(scratch) => Arc::new(SqliteStore::open(scratch.state(), now).await?),
            None => context.state().await?,
        };
        let settings = config.settings();
        Ok(Self { config, source, generation, unfit, store, settings, now, _scratch: scratch })
    }

    /// Looks at `limit` crossers at most.
    pub fn previewer(&self, limit: usize) -> Previewer<'_> {
        Previewer {
            generation: &self.generation,
            source: &*self.source,
            store: &*self.store,
            sender: &self.settings.sender,
            sending: Some(&self.settings.sending),
            now: self.now,
            limit,
        }
    }
}

/// What is said of whoever names a file that was left out.
const FOLLOWING: [&str; 3] = ["rule.unknown-template", "rule.unknown-script", "rule.unknown-rule"];

/// The rules of a directory that load, and those that don't: as in the daemon, one broken file or one table that has
/// changed keeps nobody from the others.
pub async fn load(config: &Config, source: &dyn Source, directory: &Path) -> Result<(Generation, Unfit), Failure> {
    let whole = Arc::new(read_tree(directory, &Limits::default(), None)?);
    let outside = &outside(config);
    settled(whole, async |tree| inspect(tree, source, outside, None).await).await
}

/// Those that ran when the state was last at work, as far as they still load.
pub async fn load_past(config: &Config, source: &dyn Source, whole: Tree) -> Result<(Generation, Unfit), Failure> {
    let outside = &outside(config);
    settled(Arc::new(whole), async |tree| inspect_past(tree, source, outside).await).await
}

async fn settled(
    whole: Arc<Tree>,
    inspect: impl AsyncFn(Arc<Tree>) -> Result<Inspected, Vec<Finding>>,
) -> Result<(Generation, Unfit), Failure> {
    let (mut tree, mut findings) = (Arc::clone(&whole), Vec::new());
    let inspected = loop {
        let found = match inspect(Arc::clone(&tree)).await {
            Ok(inspected) => break inspected,
            Err(found) => found,
        };
        let nothing = Tree { files: Vec::new() };
        let rest = isolate(&tree, &nothing, &found);
        // Whoever names what is left out is no worse than that.
        let is_new = |finding: &Finding| findings.is_empty() || !FOLLOWING.contains(&finding.code);
        let found: Vec<Finding> = found.into_iter().filter(is_error).filter(is_new).collect();
        findings.extend(found);
        match rest {
            Some(rest) => tree = Arc::new(rest),
            None => return Err(Failure::Rules(findings)),
        }
    };
    let mut unfit = Unfit { findings, rules: BTreeMap::new() };
    let mut generation = inspected.generation;
    for (rule, finding) in inspected.refused {
        let path = generation.rules.get(&rule).map(|rule| rule.rule.file.clone());
        generation.resting.insert(rule.clone(), Rest::Refused);
        unfit.findings.push(finding);
        unfit.rules.insert(rule, path.unwrap_or_default());
    }
    for file in whole.rule_files().into_iter().filter(|file| !tree.files.contains(file)) {
        let rule = id_of(&file);
        generation.resting.insert(rule.clone(), Rest::Broken);
        unfit.rules.insert(rule, file.path.clone());
    }
    Ok((generation, unfit))
}

/// Rules that an answer goes without.
#[derive(Debug, Default)]
pub struct Unfit {
    findings: Vec<Finding>,
    /// Each with its file.
    rules: BTreeMap<RuleId, String>,
}

impl Unfit {
    /// Names them to whoever gets the answer.
    pub fn warn(&self, output: &mut Output) {
        if self.rules.is_empty() {
            return;
        }
        output.findings(&self.findings);
        let named: Vec<String> = self.rules.iter().map(|(rule, path)| format!("{path} ({rule})")).collect();
        output.talk(&format!("warning: this answer goes without {}", named.join(", ")));
    }

    /// The same of what ran, to whoever compares it with what may run. Rules that neither has were named already.
    pub fn warn_of_past(&self, new: &Self, output: &mut Output) {
        let lost = self.rules.iter().filter(|(rule, _)| !new.rules.contains_key(*rule));
        let named: Vec<String> = lost.map(|(rule, path)| format!("{path} ({rule})")).collect();
        if named.is_empty() {
            return;
        }
        output.findings(&self.findings);
        output.talk(&format!("warning: what ran of {} can't be asked any more", named.join(", ")));
    }

    /// What is wrong with this rule, if it is one of them.
    pub fn of(&self, rule: &RuleId) -> Result<(), Failure> {
        let Some(path) = self.rules.get(rule) else { return Ok(()) };
        let is_its = |finding: &&Finding| finding.place.as_ref().is_some_and(|place| place.file.path == *path);
        let own: Vec<Finding> = self.findings.iter().filter(is_its).cloned().collect();
        // What is wrong with it may stand in a template or a script.
        Err(Failure::Rules(if own.is_empty() { self.findings.clone() } else { own }))
    }
}

const fn is_error(finding: &Finding) -> bool {
    matches!(finding.severity, Severity::Error)
}

/// The id of a file that may be no rule otherwise; its name where it says none.
fn id_of(file: &SourceFile) -> RuleId {
    let said = file.text.lines().find_map(|line| line.strip_prefix("id:"));
    let said = said.map(|id| id.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']));
    said.filter(|id| !id.is_empty()).map_or_else(|| RuleId::from(file.path.as_str()), RuleId::from)
}

/// A whole tree of files that were read already, accepted by the source.
pub async fn load_tree(config: &Config, source: &dyn Source, tree: Arc<Tree>) -> Result<Generation, Failure> {
    let inspected = inspect(tree, source, &outside(config), None).await;
    inspected.and_then(Inspected::accepted).map_err(Failure::Rules)
}

/// A directory for a state that nobody keeps.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("nudged-rehearsal-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }

    pub fn state(&self) -> PathBuf {
        self.0.join("state.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind in a temporary directory is the system's to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
