//! Which rules a change touches, so that their tests are played before it is taken up.

use crate::diagnostic::{Finding, SourceFile};
use crate::model::RuleId;
use crate::rule::CompiledRule;
use crate::rule::checked::Action;
use crate::rule::generation::{Generation, Tree};
use async_trait::async_trait;
use std::collections::BTreeSet;

/// Plays the tests of rules. The rulebook says of which and when; how is not its affair.
#[async_trait]
pub trait Examiner: Send + Sync {
    /// What fails among the tests of these rules, each at its place.
    async fn examine(&self, generation: &Generation, rules: &BTreeSet<RuleId>) -> Vec<Finding>;
}

/// The rules of `new` that may act differently than under `old`: their own text, their script, their templates or
/// the catalog has changed.
pub fn touched(new: &Generation, old: &Tree) -> BTreeSet<RuleId> {
    let before = |path: &str| old.files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let now = |path: &str| new.tree.files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let differs = |path: &str| before(path) != now(path);
    let catalog = differs("catalog.yaml") || differs("catalog.yml");
    let templates = changed_templates(&new.tree, old);
    let own = |name: &str| format!("templates/{name}.md");
    // Layouts and partials belong to every mail that may include them.
    let mails: BTreeSet<String> = new.rules.values().flat_map(|rule| templates_of(rule).map(own)).collect();
    let shared = templates.iter().any(|path| !mails.contains(*path));
    let is_touched = |rule: &CompiledRule| {
        catalog
            || differs(&rule.rule.file)
            || rule.rule.script.as_ref().is_some_and(|script| differs(&format!("scripts/{script}")))
            || templates_of(rule).any(|name| shared || templates.contains(own(name).as_str()))
    };
    new.rules.iter().filter(|(_, rule)| is_touched(rule)).map(|(id, _)| id.clone()).collect()
}

fn templates_of(rule: &CompiledRule) -> impl Iterator<Item = &str> {
    rule.rule.nodes.iter().filter_map(|node| Some(node.step.action().and_then(Action::email)?.template.as_str()))
}

/// Paths below `templates/` that only one of the trees has, or that differ.
fn changed_templates<'a>(new: &'a Tree, old: &'a Tree) -> BTreeSet<&'a str> {
    let templates = |tree: &'a Tree| tree.files.iter().filter(|file| file.path.starts_with("templates/"));
    let is_in = |file: &SourceFile, tree: &Tree| tree.files.iter().any(|other| other.as_ref() == file);
    let gone = templates(old).filter(|file| !is_in(file, new));
    templates(new).filter(|file| !is_in(file, old)).chain(gone).map(|file| file.path.as_str()).collect()
}
