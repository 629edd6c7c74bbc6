//! Plays the tests of changed rules for the rulebook.

use crate::diagnostic::render::counted;
use crate::diagnostic::{Finding, Place, SourceFile};
use crate::engine::Settings;
use crate::model::RuleId;
use crate::rule::generation::{Generation, Surroundings};
use crate::rulebook::{Examiner, RulebookOptions};
use crate::testbench::{Bench, RuleReport};
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// For each rule so much of the time is granted beside: a thousand rules with tests of their own are no reason to give up.
const SHARE: u32 = 60;

/// The test bench, with the settings of the running engine.
#[derive(Debug)]
pub struct RuleExaminer {
    settings: Settings,
    at_once: usize,
    within: Duration,
}

impl RuleExaminer {
    /// Beside an engine that goes on meanwhile: one rule at a time.
    pub fn new(settings: Settings) -> Self {
        Self { settings, at_once: 1, within: RulebookOptions::default().tests_within }
    }

    /// Gives up after this long.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Where nothing else is to be done.
    #[must_use]
    pub fn at_once(self, at_once: usize) -> Self {
        Self { at_once, ..self }
    }
}

#[async_trait]
impl Examiner for RuleExaminer {
    async fn examine(&self, generation: &Generation, rules: &BTreeSet<RuleId>) -> Vec<Finding> {
        let bench = Bench {
            tree: Arc::clone(&generation.tree),
            surroundings: Surroundings::clone(&generation.surroundings),
            settings: self.settings.clone(),
        };
        let concerned =
            |path: &str| rules.iter().filter_map(|id| generation.rules.get(id)).any(|rule| rule.rule.file == path);
        let files: Vec<_> = bench.rule_files().into_iter().filter(|file| file.text.contains("tests:")).collect();
        let files: Vec<_> = files.into_iter().filter(|file| concerned(&file.path)).collect();
        let mut played = BTreeSet::new();
        let playing = bench.play(&files, self.at_once, |report| played.extend([report.file.clone()]));
        let rules = u32::try_from(files.len()).unwrap_or(u32::MAX);
        let within = self.within.saturating_add(self.within.saturating_mul(rules) / SHARE);
        match tokio::time::timeout(within, playing).await {
            Ok(Ok(reports)) => reports.iter().flat_map(folded).collect(),
            Ok(Err(findings)) => findings,
            Err(_) => vec![given_up(&files, &played, within)],
        }
    }
}

/// At the first rule whose tests were not played to their end.
fn given_up(files: &[Arc<SourceFile>], played: &BTreeSet<String>, within: Duration) -> Finding {
    let left: Vec<_> = files.iter().filter(|file| !played.contains(&file.path)).collect();
    let message = format!(
        "the tests of {} of {} were not done after {} seconds, and loading does not wait longer",
        left.len(),
        counted(files.len(), "rule"),
        within.as_secs(),
    );
    let help = "shorten those that take long (`nudged test` plays them all, and `--format json` has `took_ms`), or \
                raise `rules.tests_within` of the configuration";
    let finding = Finding::error("test.too-long", message).help(help);
    let first = left.first().map(|file| Place { file: Arc::clone(file), range: tests_of(file) });
    first.into_iter().fold(finding, Finding::at)
}

/// Where they stand.
fn tests_of(file: &SourceFile) -> std::ops::Range<usize> {
    let start = file.text.find("\ntests:").map_or(0, |newline| newline + 1);
    start..start
}

/// The first failure of a rule whole, and of the others how many there are and what to do: one edit may break every test of a
/// rule, for one reason.
fn folded(report: &RuleReport) -> Vec<Finding> {
    let failed: Vec<_> = report.tests.iter().filter(|test| !test.failures.is_empty()).collect();
    let Some(first) = failed.first().and_then(|test| test.failures.first()) else { return Vec::new() };
    let RuleReport { rule, file, tests, .. } = report;
    let which = match (failed.len(), tests.len()) {
        (_, 1) => "its test fails".to_owned(),
        (1, all) => format!("one of its {all} tests fails"),
        (many, all) => format!("{many} of its {all} tests fail, of which the first stands above"),
    };
    let message = format!("`{rule}` runs on as it was: {which}");
    let help = format!(
        "if the rule is meant so, make its `tests:` in {file} say so too and save again; \
         `nudged test {rule}` shows every failure"
    );
    vec![first.finding.clone(), Finding::error("test.failed", message).help(help)]
}
