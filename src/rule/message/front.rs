//! The head of a template file: YAML between two lines of `---`.

use crate::diagnostic::{Finding, Place, SourceFile};
use serde::Deserialize;
use serde_yaml::Spanned;
use std::ops::Range;
use std::sync::Arc;

const KEYS: [&str; 4] = ["subject", "preheader", "from", "reply_to"];

/// What the head says, as written: each is itself a template.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrontMatter {
    pub subject: Spanned<String>,
    pub preheader: Option<Spanned<String>>,
    pub from: Option<Spanned<String>>,
    pub reply_to: Option<Spanned<String>>,
}

impl FrontMatter {
    /// Each part by its name.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, &Spanned<String>)> {
        let optional = [("preheader", &self.preheader), ("from", &self.from), ("reply_to", &self.reply_to)];
        let optional = optional.into_iter().filter_map(|(name, part)| Some((name, part.as_ref()?)));
        std::iter::once(("subject", &self.subject)).chain(optional)
    }
}

/// Where the YAML stands in the file, and where the body begins.
pub(super) struct Split {
    pub yaml: Range<usize>,
    pub body: usize,
}

/// `None`: the file has no head.
pub(super) fn split(text: &str) -> Option<Split> {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().filter(|line| line.trim_end() == "---")?;
    let mut at = first.len();
    for line in lines {
        if line.trim_end() == "---" {
            return Some(Split { yaml: first.len()..at, body: at + line.len() });
        }
        at += line.len();
    }
    None
}

/// Reads the head, or says what is wrong with it and where.
pub(super) fn read(file: &Arc<SourceFile>, head: &Range<usize>) -> Result<FrontMatter, Finding> {
    let yaml = &file.text[head.clone()];
    serde_yaml::from_str::<FrontMatter>(yaml).map_err(|error| shape_finding(file, head, &error))
}

fn shape_finding(file: &Arc<SourceFile>, head: &Range<usize>, error: &serde_yaml::Error) -> Finding {
    let yaml = &file.text[head.clone()];
    let line = error.location().map_or(1, |location| location.line()) as usize;
    let range = line_range(yaml, line);
    let written = &yaml[range.clone()];
    let place = Place { file: Arc::clone(file), range: head.start + range.start..head.start + range.end };
    let key = written.split(':').next().unwrap_or_default().trim();
    let message = error.without_snippet().to_string();
    let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
    if message.contains("unknown field") {
        let finding = Finding::error("template.unknown-key", format!("`{key}` is not a key of a template's head"));
        let near = KEYS.into_iter().max_by(|a, b| closeness(key, a).total_cmp(&closeness(key, b)));
        let near = near.filter(|near| closeness(key, near) > 0.7);
        let help =
            near.map_or_else(|| format!("known keys: {}", KEYS.join(", ")), |near| format!("did you mean `{near}`?"));
        return finding.at(place).help(help);
    }
    if message.contains("missing field") {
        return Finding::error("template.head", "a template's head needs a `subject`")
            .at(Place { file: Arc::clone(file), range: 0..3 })
            .help("write `subject: \"…\"` between the two lines of `---`");
    }
    let finding = Finding::error("template.head", format!("the head can't be read: {message}")).at(place);
    if written.contains("{{") || written.contains("{%") || written.matches(": ").count() > 1 {
        return finding.help("put the text into double quotes");
    }
    finding
}

/// A blank and `#` begin a comment in unquoted YAML and would cut the subject short.
pub(super) fn cut_by_comment(file: &Arc<SourceFile>, head: &Range<usize>) -> Vec<Finding> {
    let mut at = head.start;
    let mut findings = Vec::new();
    for line in file.text[head.clone()].split_inclusive('\n') {
        let value = line.split_once(':').map_or("", |(_, value)| value.trim_start());
        if let Some(hash) = line.find(" #").filter(|_| !value.starts_with(['"', '\'', '#']) && !value.is_empty()) {
            let place = Place { file: Arc::clone(file), range: at + hash + 1..at + line.trim_end().len() };
            let finding = Finding::error("template.comment-in-text", "everything after ` #` is a comment and is lost");
            findings.push(finding.at(place).help("put the text into double quotes"));
        }
        at += line.len();
    }
    findings
}

fn closeness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b)
}

/// The byte range of a line (from 1) without its line break.
pub(super) fn line_range(text: &str, line: usize) -> Range<usize> {
    let mut at = 0;
    for (index, content) in text.split_inclusive('\n').enumerate() {
        if index + 1 == line {
            return at..at + content.trim_end().len();
        }
        at += content.len();
    }
    at..at
}
