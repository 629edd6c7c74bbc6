//! Which file of a rules directory is what, by its path alone.

use super::Tree;
use crate::diagnostic::SourceFile;
use crate::rule::message::message_name;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A tree, sorted by what its files are.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub catalog: Option<Arc<SourceFile>>,
    pub rules: Vec<Arc<SourceFile>>,
    pub templates: Vec<Arc<SourceFile>>,
    pub scripts: Vec<Arc<SourceFile>>,
    pub calendars: Vec<Arc<SourceFile>>,
}

impl Layout {
    pub fn of(tree: &Tree) -> Self {
        let mut layout = Self::default();
        for file in &tree.files {
            let path = file.path.as_str();
            if path.starts_with("templates/") {
                layout.templates.push(Arc::clone(file));
            } else if path.starts_with("scripts/") {
                layout.scripts.push(Arc::clone(file));
            } else if path.starts_with("calendars/") {
                layout.calendars.push(Arc::clone(file));
            } else if matches!(path, "catalog.yaml" | "catalog.yml") {
                layout.catalog = Some(Arc::clone(file));
            } else if path.rsplit_once('.').is_some_and(|(_, extension)| matches!(extension, "yaml" | "yml")) {
                layout.rules.push(Arc::clone(file));
            }
        }
        layout
    }

    /// Names that `template:` can have.
    pub fn template_names(&self) -> BTreeSet<String> {
        self.templates.iter().filter_map(|file| message_name(&file.path)).map(str::to_owned).collect()
    }

    /// Names that `script:` can have.
    pub fn script_names(&self) -> BTreeSet<String> {
        self.scripts.iter().filter_map(|file| file.path.strip_prefix("scripts/")).map(str::to_owned).collect()
    }

    pub fn script(&self, name: &str) -> Option<&Arc<SourceFile>> {
        self.scripts.iter().find(|file| file.path.strip_prefix("scripts/") == Some(name))
    }
}
