//! What the demo says when somebody edits a rule.

use super::feed::{Feed, Label};
use super::narrate::notice;
use crate::cli::Output;
use crate::diagnostic::Finding;
use crate::model::{RuleId, VersionHash};
use crate::rule::generation::Generation;
use crate::rulebook::{Handle, Standing};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

type Versions = BTreeMap<RuleId, (VersionHash, VersionHash, String)>;

/// Follows the rulebook's verdicts.
#[derive(Debug)]
pub struct Reloads {
    standings: watch::Receiver<Standing>,
    generations: watch::Receiver<Option<Arc<Generation>>>,
    running: Versions,
    hash: String,
}

/// One verdict, in words.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    TakenUp(Vec<String>),
    Rejected { why: String, findings: Vec<Finding> },
    Same,
}

impl Reloads {
    pub fn new(rulebook: &Handle) -> Self {
        let (mut standings, generations) = (rulebook.standings(), rulebook.generations());
        let hash = standings.borrow_and_update().hash.clone();
        let running = versions(generations.borrow().as_deref());
        Self { standings, generations, running, hash }
    }

    /// Waits for the next verdict. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Verdict {
        if self.standings.changed().await.is_err() {
            return std::future::pending().await;
        }
        let standing = self.standings.borrow_and_update().clone();
        if let Some(trouble) = &standing.trouble {
            return Verdict::Rejected { why: trouble.kind().to_owned(), findings: trouble.findings() };
        }
        let now = versions(self.generations.borrow().as_deref());
        let before = std::mem::replace(&mut self.running, now);
        if std::mem::replace(&mut self.hash, standing.hash.clone()) == standing.hash {
            return Verdict::Same;
        }
        Verdict::TakenUp(differences(&before, &self.running))
    }
}

impl Verdict {
    pub fn tell(self, now: Timestamp, feed: &mut Feed, output: &mut Output) {
        match self {
            Self::Same => feed
                .layout()
                .lines(&notice(now, Label::Rules, back_to_good()))
                .iter()
                .for_each(|line| output.painted(line)),
            Self::TakenUp(changes) => {
                for change in changes {
                    feed.layout()
                        .lines(&notice(now, Label::Rules, change))
                        .iter()
                        .for_each(|line| output.painted(line));
                }
            }
            Self::Rejected { why, findings } => {
                let what = format!("the change was {why}; the rules from before run on");
                feed.layout().lines(&notice(now, Label::Failed, what)).iter().for_each(|line| output.painted(line));
                output.findings(&findings);
            }
        }
    }
}

fn back_to_good() -> String {
    "the files are what is running".to_owned()
}

fn versions(generation: Option<&Generation>) -> Versions {
    let version =
        |rule: &crate::rule::CompiledRule| (rule.version.clone(), rule.definition.clone(), rule.text.to_string());
    let rules = generation.into_iter().flat_map(|generation| &generation.rules);
    rules.map(|(id, rule)| (id.clone(), version(rule))).collect()
}

fn differences(before: &Versions, now: &Versions) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for (id, version) in now {
        match before.get(id) {
            None => told.push(format!("{id} is new and runs from now on")),
            Some(old) if old.1 != version.1 => {
                told.push(format!("{id} looks for other people from now on"));
            }
            Some(old) if old != version => told.push(format!("{id} changed and runs from now on")),
            Some(_) => {}
        }
    }
    told.extend(before.keys().filter(|id| !now.contains_key(*id)).map(|id| format!("{id} is gone")));
    if told.is_empty() {
        told.push("templates, scripts or catalog changed and count from the next message on".to_owned());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(of: &[(&str, &str, &str)]) -> Versions {
        let entry = |(id, definition, text): &(&str, &str, &str)| {
            ((*id).into(), ((*text).into(), (*definition).into(), (*text).to_owned()))
        };
        of.iter().map(entry).collect()
    }

    #[test]
    fn a_change_is_told_by_what_it_does() {
        let before = versions(&[("a", "1", "x"), ("b", "1", "x"), ("c", "1", "x")]);
        let now = versions(&[("a", "2", "y"), ("b", "1", "y"), ("d", "1", "x")]);
        let told = differences(&before, &now);
        assert_eq!(
            told,
            [
                "a looks for other people from now on",
                "b changed and runs from now on",
                "d is new and runs from now on",
                "c is gone"
            ]
        );
        assert!(differences(&now, &now)[0].starts_with("templates"));
    }
}
