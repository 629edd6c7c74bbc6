//! Plays the tests of changed rules for the rulebook.

use crate::diagnostic::Finding;
use crate::engine::Settings;
use crate::model::RuleId;
use crate::rule::generation::{Generation, Surroundings};
use crate::rulebook::Examiner;
use crate::testbench::{Bench, RuleReport};
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The engine goes on meanwhile, so only one test runs at a time.
const AT_ONCE: usize = 1;

/// The test bench, with the settings of the running engine.
#[derive(Debug)]
pub struct RuleExaminer {
    settings: Settings,
}

impl RuleExaminer {
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
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
        match bench.play(&files, AT_ONCE, |_| {}).await {
            Ok(reports) => reports.iter().flat_map(RuleReport::failures).map(|found| found.finding.clone()).collect(),
            Err(findings) => findings,
        }
    }
}
