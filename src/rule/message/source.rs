//! One template of the environment and the place in a file that it stands for.

use super::printed::{self, Printed};
use super::scan::{self, Link, References};
use crate::diagnostic::{Place, SourceFile};
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Source {
    pub file: Arc<SourceFile>,
    /// The part of the file that it is.
    pub at: Range<usize>,
    pub text: String,
    /// What it names. Empty while it has a syntax error.
    pub found: References,
    /// What it prints whatever the record.
    pub printed: Printed,
    /// The templates it names, by their names in the environment.
    pub links: Vec<Link>,
}

impl Source {
    /// A part of a file as it stands there.
    pub fn of(file: &Arc<SourceFile>, at: Range<usize>) -> Self {
        Self::decoded(file, at.clone(), file.text[at].to_owned())
    }

    /// A text of a head: YAML may have written it otherwise.
    pub fn decoded(file: &Arc<SourceFile>, at: Range<usize>, text: String) -> Self {
        Self {
            file: Arc::clone(file),
            at,
            text,
            found: References::default(),
            printed: Printed::default(),
            links: Vec::new(),
        }
    }

    pub fn scan(&mut self) {
        self.found = scan::references(&self.text);
        self.printed = printed::printed(&self.text);
    }

    /// The text with the templates it names under their names in the environment, and under its own line of the
    /// file: what stands before it becomes empty lines.
    pub fn prepared(&self) -> String {
        let mut text = self.text.clone();
        let mut named: Vec<_> = self.links.iter().collect();
        named.sort_by_key(|link| std::cmp::Reverse(link.range.start));
        for link in named {
            text.replace_range(link.range.clone(), &link.name);
        }
        let lines = self.file.text[..self.at.start].matches('\n').count();
        format!("{}{text}", "\n".repeat(lines))
    }

    /// Where a part of the text stands in the file.
    pub fn place(&self, range: &Range<usize>) -> Place {
        let file = Arc::clone(&self.file);
        if self.file.text.get(self.at.clone()) == Some(self.text.as_str()) {
            return Place { file, range: self.at.start + range.start..self.at.start + range.end };
        }
        let written = self.text.get(range.clone()).unwrap_or_default();
        let found = self.file.text.get(self.at.clone()).and_then(|line| line.find(written));
        let range = found.map_or(self.at.clone(), |at| self.at.start + at..self.at.start + at + written.len());
        Place { file, range }
    }

    pub fn whole(&self) -> Place {
        Place { file: Arc::clone(&self.file), range: self.at.start..self.at.start }
    }

    /// Where it first names a path; else its beginning.
    pub fn place_of_path(&self, path: &str) -> Place {
        let found = self.found.paths.iter().find(|named| named.name == path);
        found.map_or_else(|| self.whole(), |named| self.place(&named.range))
    }
}
