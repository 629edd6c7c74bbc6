use super::{Finding, Place, SourceFile};
use std::ops::Range;
use std::sync::Arc;

/// Collects the findings of one file.
#[derive(Debug, Clone)]
pub struct Report {
    file: Arc<SourceFile>,
    findings: Vec<Finding>,
}

impl Report {
    #[must_use]
    pub fn new(file: &Arc<SourceFile>) -> Self {
        Self { file: Arc::clone(file), findings: Vec::new() }
    }

    #[must_use]
    pub fn source(&self) -> &str {
        &self.file.text
    }

    #[must_use]
    pub fn file(&self) -> &Arc<SourceFile> {
        &self.file
    }

    /// How much has been found so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.findings.len()
    }

    #[must_use]
    pub fn place(&self, range: &Range<usize>) -> Place {
        Place { file: Arc::clone(&self.file), range: super::widened(&self.file.text, range.clone()) }
    }

    /// Adds a finding at a place of this file.
    pub fn add(&mut self, range: &Range<usize>, finding: Finding) {
        self.findings.push(finding.at(self.place(range)));
    }

    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}
