//! The head of a template file: YAML between two lines of `---`.

use super::files::Format;
use crate::diagnostic::{Finding, Place, SourceFile, suggest};
use crate::model::Locale;
use serde::Deserialize;
use serde_yaml::Spanned;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

const KEYS: [&str; 7] = ["subject", "preheader", "from", "reply_to", "locale", "layout", "images"];

/// What the head says, as written: the texts of [`FrontMatter::parts`] are templates themselves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrontMatter {
    pub subject: Spanned<String>,
    pub preheader: Option<Spanned<String>>,
    pub from: Option<Spanned<String>>,
    pub reply_to: Option<Spanned<String>>,
    /// The language it is written in, whatever the recipient's is.
    pub locale: Option<Spanned<String>>,
    /// What is put around a Markdown message.
    pub layout: Option<Spanned<String>>,
    /// Pictures by the name that `cid:` uses.
    #[serde(default)]
    pub images: BTreeMap<String, Spanned<String>>,
}

/// The head of what is no message of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartMatter {
    #[serde(default)]
    pub images: BTreeMap<String, Spanned<String>>,
}

impl FrontMatter {
    /// Each part by its name.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, &Spanned<String>)> {
        let optional = [("preheader", &self.preheader), ("from", &self.from), ("reply_to", &self.reply_to)];
        let optional = optional.into_iter().filter_map(|(name, part)| Some((name, part.as_ref()?)));
        std::iter::once(("subject", &self.subject)).chain(optional)
    }
}

/// A file's head, if it has one, and where its body begins.
pub(super) struct Split {
    pub yaml: Option<Range<usize>>,
    pub body: usize,
}

pub(super) fn split(text: &str) -> Split {
    let none = Split { yaml: None, body: 0 };
    let mut lines = text.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == "---") else { return none };
    let mut at = first.len();
    for line in lines {
        if line.trim_end() == "---" {
            return Split { yaml: Some(first.len()..at), body: at + line.len() };
        }
        at += line.len();
    }
    none
}

/// A head and what is wrong in it besides.
pub(super) type Read<T> = Result<(T, Vec<Finding>), Finding>;

/// Reads the head of a message, or says what is wrong with it and where.
pub(super) fn message(file: &Arc<SourceFile>, format: Format) -> Read<FrontMatter> {
    let Some(yaml) = split(&file.text).yaml else {
        let place = Place { file: Arc::clone(file), range: line_range(&file.text, 1) };
        let finding = Finding::error("template.head", "the file does not begin with a head").at(place);
        return Err(finding.help(
            "begin with `---`, `subject: \"…\"`, `---`; what others include lies in templates/partials/, what is put \
             around them in templates/layouts/",
        ));
    };
    let mut findings = cut_by_comment(file, &yaml);
    let head: FrontMatter =
        serde_yaml::from_str(&file.text[yaml.clone()]).map_err(|error| shape_finding(file, &yaml, &error, &KEYS))?;
    if head.subject.value.trim().is_empty() {
        let place = Place { file: Arc::clone(file), range: yaml.clone() };
        findings.push(Finding::error("template.head", "the `subject` is empty").at(place));
    }
    if let Some(locale) = head.locale.as_ref().filter(|locale| Locale::parse(&locale.value).is_none()) {
        let range = value_range(file, line_of(locale), &locale.value);
        let finding = Finding::error("template.locale", format!("unknown locale `{}`", locale.value));
        let finding = finding.at(Place { file: Arc::clone(file), range });
        findings.push(finding.help("write a language, with a region if you like: `de`, `de-AT`"));
    }
    if let Some(layout) = head.layout.as_ref().filter(|_| format != Format::Markdown) {
        let range = value_range(file, line_of(layout), &layout.value);
        let finding = Finding::error("template.head", "`layout` is for Markdown");
        let finding = finding.at(Place { file: Arc::clone(file), range });
        findings.push(finding.help(format!("begin the body with `{{% extends \"{}\" %}}`", layout.value)));
    }
    Ok((head, findings))
}

/// Reads the head of a partial or layout. It need not have one.
pub(super) fn part(file: &Arc<SourceFile>) -> Read<PartMatter> {
    let Some(yaml) = split(&file.text).yaml else { return Ok((PartMatter::default(), Vec::new())) };
    let head = serde_yaml::from_str(&file.text[yaml.clone()]);
    let head: PartMatter = head.map_err(|error| shape_finding(file, &yaml, &error, &KEYS[6..]))?;
    Ok((head, cut_by_comment(file, &yaml)))
}

/// The line of the file in which something of its head stands.
pub(super) fn line_of<T>(spanned: &Spanned<T>) -> usize {
    usize::try_from(spanned.defined.line()).unwrap_or(1) + 1
}

/// Where a text of the head stands.
pub(super) fn value_range(file: &SourceFile, line: usize, value: &str) -> Range<usize> {
    let range = line_range(&file.text, line);
    let found = file.text[range.clone()].rfind(value).filter(|_| !value.is_empty());
    found.map_or(range.clone(), |at| range.start + at..range.start + at + value.len())
}

fn shape_finding(file: &Arc<SourceFile>, head: &Range<usize>, error: &serde_yaml::Error, keys: &[&str]) -> Finding {
    let yaml = &file.text[head.clone()];
    let line = error.location().map_or(1, |location| location.line()) as usize;
    let range = line_range(yaml, line);
    let written = &yaml[range.clone()];
    let place = Place { file: Arc::clone(file), range: head.start + range.start..head.start + range.end };
    let key = written.split(':').next().unwrap_or_default().trim();
    let message = error.without_snippet().to_string();
    let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
    if message.contains("unknown field") {
        let finding = Finding::error("template.unknown-key", format!("`{key}` is not a key of this head")).at(place);
        return match suggest::help(key, keys.iter().copied()) {
            Some(help) => finding.help(help),
            None => finding,
        };
    }
    if message.contains("missing field") {
        return Finding::error("template.head", "a template's head needs a `subject`")
            .at(Place { file: Arc::clone(file), range: 0..3 })
            .help("write `subject: \"…\"` between the two lines of `---`");
    }
    let finding = Finding::error("template.head", format!("the head can't be read: {message}")).at(place);
    let value = written.split_once(':').map_or("", |(_, value)| value.trim());
    if value.len() > 1 && value.starts_with('"') && value.ends_with('"') {
        return finding
            .help("a double quote within the text ends it: write `\\\"`, or put the text into single quotes");
    }
    if written.contains("{{") || written.contains("{%") || written.matches(": ").count() > 1 {
        return finding.help("put the text into double quotes");
    }
    finding
}

/// A blank and `#` begin a comment in unquoted YAML and would cut the subject short.
fn cut_by_comment(file: &Arc<SourceFile>, head: &Range<usize>) -> Vec<Finding> {
    let mut at = head.start;
    let mut findings = Vec::new();
    for line in file.text[head.clone()].split_inclusive('\n') {
        let value = line.split_once(':').map_or("", |(_, value)| value.trim_start());
        if let Some(hash) = line.find(" #").filter(|_| !value.starts_with(['"', '\'', '#', '{']) && !value.is_empty()) {
            let place = Place { file: Arc::clone(file), range: at + hash + 1..at + line.trim_end().len() };
            let finding = Finding::error("template.comment-in-text", "everything after ` #` is a comment and is lost");
            findings.push(finding.at(place).help("put the text into double quotes"));
        }
        at += line.len();
    }
    findings
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
