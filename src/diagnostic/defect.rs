//! Panics of a check: a defect of nudged, or of a library that it uses. They are told as a finding like any other, so that
//! one file that meets a defect is refused as a wrong one is.

use super::{Finding, Place, SourceFile};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a check of this file comes to, or the finding that it panicked. The panic's own words go to stderr.
pub fn caught<T>(file: &Arc<SourceFile>, check: impl FnOnce() -> T) -> Result<T, Finding> {
    catch_unwind(AssertUnwindSafe(check)).map_err(|_| met_by(file))
}

/// A check of this file has panicked.
#[must_use]
pub fn met_by(file: &Arc<SourceFile>) -> Finding {
    met().at(Place { file: Arc::clone(file), range: 0..0 })
}

/// A check has panicked, and nobody knows over which file.
#[must_use]
pub fn met() -> Finding {
    Finding::error("rules.panic", "the check met a defect of nudged")
        .help("please report it; the program's own words about it are on stderr, or in the journal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_panics_is_a_finding_at_its_file() {
        let file = Arc::new(SourceFile { path: "a.yaml".to_owned(), text: "id: a\n".to_owned() });
        assert_eq!(caught(&file, || 1), Ok(1));
        let finding = caught(&file, || panic!("as told")).unwrap_err();
        assert!(finding.to_string().starts_with("a.yaml:1:1: error[rules.panic]"), "{finding}");
    }
}
