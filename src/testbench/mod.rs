//! Plays the `tests:` of rules: the real engine over a small database built from the catalog, with a clock that
//! jumps and senders that write down.
//!
//! Nothing here decides who matches or what is sent. An example is a source (a throw-away SQLite database with
//! the catalog's tables), a state of its own, a clock, and what the engine made of them; the bench fills the
//! first, moves the clock and compares. The idea of running users' rule tests on the production path is that of
//! `promtool test rules`.

mod budget;
mod coverage;
mod judge;
mod plain;
mod play;
mod shape;
mod stage;
mod witness;
mod world;

pub use coverage::{BranchCover, Coverage, RuleCover, coverage};

use crate::diagnostic::{Finding, Place, SourceFile};
use crate::engine::Settings;
use crate::model::{RuleId, StepId, TemplateName};
use crate::rule::generation::{Surroundings, Tree};
use budget::Budget;
use futures::StreamExt;
use stage::Stage;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinError, JoinHandle};

/// What the rules and their tests are.
#[derive(Debug, Clone)]
pub struct Bench {
    pub tree: Arc<Tree>,
    /// What the rules are checked against. With a live schema its types hold; without one they are guessed from
    /// the catalog and from what the tests put in.
    pub surroundings: Surroundings,
    pub settings: Settings,
}

/// A rule's tests, played.
#[derive(Debug, Clone)]
pub struct RuleReport {
    pub rule: RuleId,
    /// Relative to the rules directory.
    pub file: String,
    pub tests: Vec<TestReport>,
    pub taken: Taken,
    /// Cases and templates that the rule has.
    pub has: Taken,
}

/// Ways through a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Step and case.
    pub branches: BTreeSet<(StepId, String)>,
    pub templates: BTreeSet<TemplateName>,
}

#[derive(Debug, Clone)]
pub struct TestReport {
    pub name: String,
    pub place: Place,
    pub took: Duration,
    /// None: it passed.
    pub failures: Vec<Failure>,
}

/// Where a test and the engine disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Says all of the following, at its place.
    pub finding: Finding,
    pub expected: Vec<String>,
    pub got: Vec<String>,
    /// What the engine gave as its reasons.
    pub reasons: Vec<String>,
}

/// Goes on only as long as somebody waits for it.
struct Playing<T>(JoinHandle<T>);

impl<T> Drop for Playing<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RuleReport {
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.tests.iter().flat_map(|test| &test.failures)
    }
}

impl Bench {
    /// The files that hold rules.
    #[must_use]
    pub fn rule_files(&self) -> Vec<Arc<SourceFile>> {
        self.tree.rule_files()
    }

    /// As many rules as keep every core busy, also while some wait for their files.
    #[must_use]
    pub fn at_once() -> usize {
        std::thread::available_parallelism().map_or(2, usize::from) * 2
    }

    /// Plays the tests of these rule files side by side, and tells of each as it is done. The reports come in the
    /// order of the files.
    pub async fn play(
        &self,
        files: &[Arc<SourceFile>],
        at_once: usize,
        mut done: impl FnMut(&RuleReport),
    ) -> Result<Vec<RuleReport>, Vec<Finding>> {
        let tasks = files.iter().cloned().enumerate().map(|(place, file)| {
            let bench = self.clone();
            async move {
                let mut playing = Playing(tokio::spawn(async move { bench.play_file(&file).await }));
                let played = (&mut playing.0).await;
                let panicked =
                    |error: JoinError| vec![Finding::error("test.broken", format!("the test bench failed: {error}"))];
                played.map_err(panicked).and_then(|played| played).map(|report| (place, report))
            }
        });
        let mut running = futures::stream::iter(tasks).buffer_unordered(at_once.max(1));
        let (mut reports, mut wrong) = (Vec::new(), Vec::new());
        while let Some(played) = running.next().await {
            match played {
                Ok((place, report)) => {
                    done(&report);
                    reports.push((place, report));
                }
                Err(findings) => wrong.extend(findings),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        reports.sort_by_key(|(place, _)| *place);
        Ok(reports.into_iter().map(|(_, report)| report).collect())
    }

    async fn play_file(self, file: &Arc<SourceFile>) -> Result<RuleReport, Vec<Finding>> {
        let (staging, own) = (self.clone(), Arc::clone(file));
        let staged = tokio::task::spawn_blocking(move || Stage::set(&staging, &own)).await;
        let stage = staged.map_err(|error| vec![Finding::error("test.broken", error.to_string())])??;
        let mut tests = Vec::new();
        let mut taken = Taken::default();
        let mut budget = Budget::of_rule();
        for example in &stage.examples {
            let began = Instant::now();
            budget.next_test();
            let played = play::play(&stage, example, &mut budget).await;
            taken.branches.extend(played.taken.branches);
            taken.templates.extend(played.taken.templates);
            tests.push(TestReport {
                name: example.name.value.clone(),
                place: Place { file: Arc::clone(file), range: example.name.range.clone() },
                took: began.elapsed(),
                failures: played.failures,
            });
        }
        let has = coverage::ways(&stage.rule.rule);
        Ok(RuleReport { rule: stage.rule.rule.id.clone(), file: file.path.clone(), tests, taken, has })
    }
}
