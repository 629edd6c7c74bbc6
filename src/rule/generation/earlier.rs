//! What an earlier generation found out and still holds, so that a reload costs what changed.
//!
//! A rule's check depends on its own text, the catalog with its calendars, the live schema, the configuration's names and which
//! templates and scripts there are, and on nothing else; its SQL on the checked rule, the catalog and its
//! script. Whatever of these is the same is taken over as it is.

use super::layout::Layout;
use super::{Generation, Surroundings};
use crate::catalog::Catalog;
use crate::diagnostic::SourceFile;
use crate::rule::check::Outcome;
use crate::rule::compiled::CompiledRule;
use crate::rule::message::Templates;
use crate::rule::script;
use std::collections::HashMap;
use std::sync::Arc;

/// An earlier generation, as far as it can be taken over.
#[derive(Debug, Default)]
pub(super) struct Earlier<'a> {
    generation: Option<&'a Generation>,
    layout: Layout,
    /// Its rule files by path, when the names a rule may use mean what they meant.
    rules: HashMap<&'a str, &'a Arc<SourceFile>>,
}

impl<'a> Earlier<'a> {
    pub fn of(generation: Option<&'a Generation>, layout: &Layout, surroundings: &Surroundings) -> Self {
        let Some(earlier) = generation else { return Self::default() };
        let its = Layout::of(&earlier.tree);
        let same_names = *earlier.surroundings == *surroundings
            && its.catalog == layout.catalog
            && its.calendars == layout.calendars
            && its.template_names() == layout.template_names()
            && its.script_names() == layout.script_names();
        let files = earlier.tree.files.iter().filter(|_| same_names);
        let rules = files.map(|file| (file.path.as_str(), file)).collect();
        Self { generation, layout: its, rules }
    }

    /// What the check of this file came to.
    pub fn outcome(&self, file: &SourceFile) -> Option<&'a Outcome> {
        let same = self.rules.get(file.path.as_str()).is_some_and(|earlier| earlier.text == file.text);
        self.generation.filter(|_| same)?.outcomes.get(&file.path)
    }

    /// The rule of this file with its SQL.
    pub fn compiled(
        &self,
        file: &SourceFile,
        catalog: &Arc<Catalog>,
        layout: &Layout,
        script: Option<&Arc<SourceFile>>,
    ) -> Option<Arc<CompiledRule>> {
        let rule = self.outcome(file)?.rule.as_ref()?;
        let generation = self.generation.filter(|earlier| Arc::ptr_eq(&earlier.catalog, catalog))?;
        let its_script = rule.script.as_deref().and_then(|name| self.layout.script(name));
        let with_imports = |layout: &'_ Layout, script: Option<&Arc<SourceFile>>| -> Vec<Arc<SourceFile>> {
            let scripts = script.map(|script| script::with_imports(&layout.scripts, script));
            scripts.into_iter().flatten().cloned().collect()
        };
        (with_imports(&self.layout, its_script) == with_imports(layout, script))
            .then(|| generation.rules.get(&rule.id).map(Arc::clone))?
    }

    /// The same catalog under the same address, so that comparing them costs nothing.
    pub fn catalog(&self, catalog: Catalog) -> Arc<Catalog> {
        match self.generation {
            Some(earlier) if *earlier.catalog == catalog => Arc::clone(&earlier.catalog),
            _ => Arc::new(catalog),
        }
    }

    pub fn templates(&self, layout: &Layout) -> Option<Arc<Templates>> {
        let generation = self.generation.filter(|_| self.layout.templates == layout.templates)?;
        Some(Arc::clone(&generation.templates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::generation::Gateways;
    use crate::rule::generation::Tree;
    use crate::rule::statement::Dialect;

    const CATALOG: &str = "version: 1\ntime_zone: UTC\nentities:\n  customer:\n    table: accounts\n    key: id\n    \
        fields:\n      country: country_code\n      renews_on: {column: renews_on, type: date}\n";
    const SCRIPT: &str = "fn eligible(record, now) { true }\n";

    fn rule(id: &str, rest: &str) -> String {
        format!(
            "version: 1\nid: {id}\nmode: live\npurpose: staff\nfor_each: customer\ntrigger:\n  \
             date: {{field: renews_on, at: \"09:00\"}}\noffsets:\n  7 days before:\n    - webhook: {{to: sink}}\n{rest}"
        )
    }

    fn tree(files: &[(&str, &str)]) -> Arc<Tree> {
        let file = |(path, text): &(&str, &str)| Arc::new(SourceFile { path: (*path).into(), text: (*text).into() });
        Arc::new(Tree { files: files.iter().map(file).collect() })
    }

    fn surroundings() -> Surroundings {
        let (destinations, topics) = (["sink".to_owned()].into(), ["offers".into()].into());
        Surroundings {
            dialect: Dialect::Sqlite,
            schema: None,
            destinations,
            chats: [].into(),
            gateways: Gateways::default(),
            topics,
        }
    }

    /// Builds after `earlier` what `files` say, makes sure that building them from nothing comes to the same, and
    /// tells which rules were taken over.
    fn taken_over(earlier: &Generation, files: &[(&str, &str)]) -> Vec<String> {
        let anew = Generation::build(tree(files), &surroundings()).unwrap();
        let after = Generation::build_after(tree(files), &surroundings(), earlier).unwrap();
        assert_eq!((&after.hash, &after.catalog, &after.warnings), (&anew.hash, &anew.catalog, &anew.warnings));
        let told = |generation: &Generation| -> Vec<_> {
            let rules = generation.rules.values();
            rules.map(|rule| (rule.version.clone(), rule.definition.clone(), rule.text.clone())).collect()
        };
        assert_eq!(told(&after), told(&anew));
        let same = |id| earlier.rules.get(id).is_some_and(|rule| Arc::ptr_eq(rule, &after.rules[id]));
        after.rules.keys().filter(|id| same(*id)).map(ToString::to_string).collect()
    }

    #[test]
    fn what_did_not_change_is_taken_over_and_nothing_else() {
        let (a, b) = (rule("a", ""), rule("b", "script: fits.rhai\n"));
        let files = [("a.yaml", a.as_str()), ("b.yaml", &b), ("catalog.yaml", CATALOG), ("scripts/fits.rhai", SCRIPT)];
        let earlier = Generation::build(tree(&files), &surroundings()).unwrap();
        assert_eq!(taken_over(&earlier, &files), ["a", "b"]);

        let mut edited = files;
        let other = rule("a", "late: within 1 day\n");
        edited[0].1 = &other;
        assert_eq!(taken_over(&earlier, &edited), ["b"]);

        let mut scripted = files;
        scripted[3].1 = "fn eligible(record, now) { false }\n";
        assert_eq!(taken_over(&earlier, &scripted), ["a"], "a rule goes with its script");

        let catalog = CATALOG.replace("country_code", "nation");
        let mut mapped = files;
        mapped[2].1 = &catalog;
        assert!(taken_over(&earlier, &mapped).is_empty(), "every rule is read by the catalog");

        let template = [files[0], files[1], files[2], files[3], ("templates/new.md", "---\nsubject: x\n---\nHello")];
        assert!(taken_over(&earlier, &template).is_empty(), "there are more names than before");
    }
}
