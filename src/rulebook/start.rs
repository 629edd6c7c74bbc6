//! The first generation of a process: from the files, or from the state when the files are broken.

use super::inspect::{Inspected, examined, from_stored, inspect};
use super::read::{Limits, ReadTreeError, digest, read_tree};
use super::{Examiner, Outside, RulebookError, RulebookOptions, Trouble, brake};
use crate::diagnostic::Finding;
use crate::engine::port::{Register, RuleStatus, Source};
use crate::model::RuleId;
use crate::rule::generation::{Generation, Rest, Tree};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What the process begins with.
pub(super) struct Beginning {
    pub generation: Generation,
    /// From the state instead of the files.
    pub restored: bool,
    pub trouble: Option<Trouble>,
    /// Digest of the files as they were judged, or the error of reading them.
    pub judged: Result<String, String>,
}

/// Loads the files. Where they are broken, or too many rules are gone since the last run, the last good
/// generation of the state runs instead.
pub(super) async fn begin(
    options: &RulebookOptions,
    outside: &Outside,
    source: &dyn Source,
    register: &dyn Register,
    examiner: &dyn Examiner,
) -> Result<Beginning, RulebookError> {
    let read = settled(options, register).await?;
    let judged = read.as_ref().map(digest).map_err(ToString::to_string);
    let loaded = match load(read, outside, source).await {
        Ok(loaded) => tested(loaded, register, examiner).await?,
        Err(trouble) => Err(trouble),
    };
    let trouble = match loaded {
        Ok(Loaded { generation, trouble }) => {
            match brake::missing(&known_rules(register).await?, &generation, options.brake_percent) {
                None => return Ok(Beginning { generation, restored: false, trouble, judged }),
                Some(missing) => {
                    let of = missing.len() + generation.rules.len();
                    return match restore(outside, source, register).await? {
                        Ok(Loaded { generation: mut last, .. }) => {
                            let there = missing.iter().filter(|id| last.rules.contains_key(*id));
                            last.resting.extend(there.map(|id| (id.clone(), Rest::Missing)));
                            let trouble = Trouble::Braked { missing: missing.into_iter().collect(), of };
                            Ok(Beginning { generation: last, restored: true, trouble: Some(trouble), judged })
                        }
                        // Without the old rules there is nothing to keep from being removed.
                        Err(_) => Ok(Beginning { generation, restored: false, trouble: None, judged }),
                    };
                }
            }
        }
        Err(trouble) => trouble,
    };
    match restore(outside, source, register).await? {
        Ok(Loaded { generation, .. }) => Ok(Beginning { generation, restored: true, trouble: Some(trouble), judged }),
        Err(mut why) => {
            let mut findings = trouble.findings();
            findings.append(&mut why);
            Err(RulebookError::NothingToRun(findings))
        }
    }
}

/// Reads the files. Where they are not those of the last run they may be in the middle of being written, so they are
/// read until two readings in a row are the same.
async fn settled(
    options: &RulebookOptions,
    register: &dyn Register,
) -> Result<Result<Tree, ReadTreeError>, RulebookError> {
    let last = register.last_generation().await?.map(|stored| digest(&from_stored(stored.files)));
    Ok(read_settled(|| read_tree(&options.directory, &Limits::default(), None), last.as_deref(), options.settle).await)
}

/// Reads until two readings are the same, or one is the `last` that ran.
async fn read_settled(
    mut read: impl FnMut() -> Result<Tree, ReadTreeError>,
    last: Option<&str>,
    pause: Duration,
) -> Result<Tree, ReadTreeError> {
    let digest_of = |read: &Result<Tree, ReadTreeError>| read.as_ref().map(digest).map_err(ToString::to_string);
    let mut before = read();
    while last.is_none_or(|last| digest_of(&before).as_deref() != Ok(last)) {
        tokio::time::sleep(pause).await;
        let after = read();
        if digest_of(&after) == digest_of(&before) {
            return after;
        }
        before = after;
    }
    before
}

/// A generation that can run, if need be without the rules that the database refuses.
struct Loaded {
    generation: Generation,
    trouble: Option<Trouble>,
}

/// At the start there is nothing better to go on with, so a database that has changed under some rules
/// stops those rules and no others.
fn without_refused(inspected: Inspected) -> Loaded {
    let Inspected { mut generation, refused } = inspected;
    if refused.is_empty() {
        return Loaded { generation, trouble: None };
    }
    let (rules, findings): (Vec<_>, Vec<_>) = refused.into_iter().unzip();
    generation.resting.extend(rules.into_iter().map(|rule| (rule, Rest::Refused)));
    Loaded { generation, trouble: Some(Trouble::Refused(findings)) }
}

async fn load(read: Result<Tree, ReadTreeError>, outside: &Outside, source: &dyn Source) -> Result<Loaded, Trouble> {
    let tree = read.map_err(|error| Trouble::Unreadable { code: error.code(), message: error.to_string() })?;
    inspect(Arc::new(tree), source, outside, None).await.map(without_refused).map_err(Trouble::Rejected)
}

/// Plays the tests of what changed since the last run. The first run of all has nothing to compare with and
/// nothing to go back to.
async fn tested(
    loaded: Loaded,
    register: &dyn Register,
    examiner: &dyn Examiner,
) -> Result<Result<Loaded, Trouble>, RulebookError> {
    let Some(stored) = register.last_generation().await? else { return Ok(Ok(loaded)) };
    let generation = &loaded.generation;
    let failed = examined(examiner, generation, &from_stored(stored.files)).await;
    Ok(if failed.is_empty() { Ok(loaded) } else { Err(Trouble::Rejected(failed)) })
}

/// The last good generation of the state, checked again: the program or the schema may be newer than it.
async fn restore(
    outside: &Outside,
    source: &dyn Source,
    register: &dyn Register,
) -> Result<Result<Loaded, Vec<Finding>>, RulebookError> {
    let Some(stored) = register.last_generation().await? else { return Ok(Err(Vec::new())) };
    Ok(inspect(Arc::new(from_stored(stored.files)), source, outside, None).await.map(without_refused))
}

/// The rules that the last run had.
async fn known_rules(register: &dyn Register) -> Result<BTreeSet<RuleId>, RulebookError> {
    let states = register.rule_states().await?;
    Ok(states.into_iter().filter(|state| state.status != RuleStatus::Removed).map(|state| state.rule).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceFile;

    fn tree(files: usize) -> Tree {
        let file = |number| SourceFile { path: format!("{number}.yaml"), text: String::new() };
        Tree { files: (0..files).map(|number| Arc::new(file(number))).collect() }
    }

    #[tokio::test]
    async fn a_start_in_the_midst_of_a_checkout_waits_for_its_end() {
        let readings = std::cell::RefCell::new(vec![tree(4), tree(4), tree(4), tree(3), tree(1)]);
        let read = || Ok(readings.borrow_mut().pop().unwrap());
        let found = read_settled(read, Some(&digest(&tree(9))), Duration::ZERO).await.unwrap();
        assert_eq!((found.files.len(), readings.borrow().len()), (4, 1), "two readings the same, and no third");
        let found = read_settled(read, Some(&digest(&tree(4))), Duration::ZERO).await.unwrap();
        assert_eq!((found.files.len(), readings.borrow().len()), (4, 0), "those of the last run need no second look");
    }
}
