//! What an earlier generation found out and still holds, so that a reload costs what changed.
//!
//! A rule's check depends on its own text, the catalog, the live schema, the configuration's names and which
//! templates and scripts there are, and on nothing else; its SQL on the checked rule, the catalog and its
//! script. Whatever of these is the same is taken over as it is.

use super::layout::Layout;
use super::{Generation, Surroundings};
use crate::catalog::Catalog;
use crate::diagnostic::SourceFile;
use crate::rule::check::Outcome;
use crate::rule::compiled::CompiledRule;
use crate::rule::message::Templates;
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
        script: Option<&Arc<SourceFile>>,
    ) -> Option<Arc<CompiledRule>> {
        let rule = self.outcome(file)?.rule.as_ref()?;
        let generation = self.generation.filter(|earlier| Arc::ptr_eq(&earlier.catalog, catalog))?;
        let its_script = rule.script.as_deref().and_then(|name| self.layout.script(name));
        (its_script == script).then(|| generation.rules.get(&rule.id).map(Arc::clone))?
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
