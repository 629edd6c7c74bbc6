//! What else is wrong with the shape of a file whose keys are misspelt: each slip is mended for the look at the rest.

use super::refusal::{self, Slip};
use super::{MAX_BYTES, parsed};
use crate::diagnostic::{Finding, Place, SourceFile};
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::sync::Arc;

/// A file with more slips than this is of another kind.
const MOST: usize = 20;

/// Everything that keeps a file from having the shape `T`: up to the first that is no slip of the keys.
pub(super) fn findings<T: DeserializeOwned>(file: &Arc<SourceFile>) -> Vec<Finding> {
    if file.text.len() > MAX_BYTES {
        return super::read::<T>(file).err().map(|finding| *finding).into_iter().collect();
    }
    let mut found = Vec::new();
    let mut mended = Mended { file: Arc::clone(file), edits: Vec::new() };
    let mut meant = None;
    while found.len() < MOST
        && let Err(error) = parsed::<T>(&mended.file.text)
    {
        // The key stands there as it should be, too: which of the two is meant, nobody can say.
        if meant.is_some() && refusal::doubled(&error) == meant.as_deref() {
            break;
        }
        let finding = refusal::finding(&error, &mended.file);
        let range = finding.place.as_ref().map_or(0..0, |place| place.range.clone());
        found.push(mended.told(finding, file));
        let Some(slip) = refusal::slip(&error).filter(|slip| mended.file.text[range.start..].starts_with(slip.written))
        else {
            break;
        };
        mended.mend(range.start, &slip);
        meant = Some(slip.meant.to_owned());
    }
    found
}

struct Mended {
    file: Arc<SourceFile>,
    edits: Vec<Edit>,
}

/// So many bytes at a place of the text stand for so many of the text before.
struct Edit {
    at: usize,
    new: usize,
    old: usize,
}

impl Mended {
    fn mend(&mut self, at: usize, slip: &Slip<'_>) {
        let mut text = self.file.text.clone();
        text.replace_range(at..at + slip.written.len(), slip.meant);
        self.edits.push(Edit { at, new: slip.meant.len(), old: slip.written.len() });
        self.file = Arc::new(SourceFile { path: self.file.path.clone(), text });
    }

    /// The finding at its place in the file as it is.
    fn told(&self, finding: Finding, file: &Arc<SourceFile>) -> Finding {
        let Some(Range { start, end }) = finding.place.as_ref().map(|place| place.range.clone()) else {
            return finding;
        };
        let text = &file.text;
        let range = text.floor_char_boundary(self.before(start))..text.ceil_char_boundary(self.before(end));
        finding.at(Place { file: Arc::clone(file), range })
    }

    fn before(&self, place: usize) -> usize {
        self.edits.iter().rev().fold(place, |place, edit| {
            if place >= edit.at + edit.new { place - edit.new + edit.old } else { place.min(edit.at + edit.old) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::yaml::At;
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the shape counts")]
    struct Shape {
        trigger: Option<Inner>,
        steps: Option<Vec<At<String>>>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the shape counts")]
    struct Inner {
        settle: Option<At<String>>,
    }

    fn told(text: &str) -> Vec<(&'static str, String)> {
        let file = Arc::new(SourceFile { path: "a.yaml".to_owned(), text: text.to_owned() });
        let found = findings::<Shape>(&file);
        found.iter().map(|it| (it.code, text[it.place.as_ref().unwrap().range.clone()].to_owned())).collect()
    }

    #[test]
    fn what_stands_behind_a_slip_is_told_at_its_own_place() {
        let slip = |word: &str| ("yaml.unknown-key", word.to_owned());
        assert_eq!(told("trigger: {settle: x}\n"), []);
        assert_eq!(told("triger: {setle: x}\nstepps: [a]\n"), [slip("triger"), slip("setle"), slip("stepps")]);
        let found = told("triger: {settle: x}\nsteps: {a: b}\n");
        assert_eq!((found.len(), &found[0]), (2, &slip("triger")));
        assert_eq!(found[1].0, "yaml.wrong-type");
        assert!(found[1].1.starts_with('{'), "{found:?}");
    }

    #[test]
    fn a_slip_beside_the_right_key_is_no_second_one() {
        assert_eq!(told("trigger: {}\ntriger: {}\n").len(), 1);
        assert_eq!(told("banana: {}\ntriger: {}\n").len(), 1, "nobody knows what was meant");
    }
}
