//! From files to compiled templates, with every finding of every file.

use super::scan::{Named, references};
use super::{TemplateError, Templates, environment, front};
use crate::diagnostic::{Finding, Place, Severity, SourceFile};
use crate::model::TemplateName;
use minijinja::{Environment, Error, ErrorKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

pub(super) const LAYOUT: &str = "layout.html";
const DEFAULT_LAYOUT: &str = include_str!("layout.html");
/// Variables that only the layout sees.
const LAYOUT_OWN: [&str; 3] = ["body", "subject", "preheader"];
const FILTERS: [&str; 20] = [
    "date",
    "money",
    "default",
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "replace",
    "length",
    "join",
    "first",
    "last",
    "round",
    "int",
    "float",
    "sort",
    "unique",
    "truncate",
    "urlencode",
];

/// One sendable template: which parts its head has, and what it uses.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name of its body in the environment.
    pub body: String,
    pub has: BTreeSet<&'static str>,
    pub uses: Vec<String>,
}

struct Compiler {
    environment: Environment<'static>,
    findings: Vec<Finding>,
    /// Names in the environment with the file and the range they stand for.
    sources: BTreeMap<String, (Arc<SourceFile>, Range<usize>)>,
}

pub(super) fn compile(files: &[Arc<SourceFile>]) -> Result<Templates, Vec<Finding>> {
    let mut compiler = Compiler { environment: environment::new(), findings: Vec::new(), sources: BTreeMap::new() };
    let mut heads = BTreeMap::new();
    for file in files {
        let Some(name) = file.path.strip_prefix("templates/") else { continue };
        match name.rsplit_once('.') {
            Some((_, "md")) => {
                if let Some(has) = compiler.markdown(file, name) {
                    heads.insert(name.to_owned(), has);
                }
            }
            Some((_, "html")) => compiler.add(name.to_owned(), file, 0..file.text.len()),
            _ => {}
        }
    }
    if compiler.environment.get_template(LAYOUT).is_err() && !compiler.sources.contains_key(LAYOUT) {
        compiler.default_layout();
    }
    compiler.check_references();
    if compiler.findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(compiler.findings);
    }
    let entries = heads.into_iter().map(|(body, has)| {
        let uses = uses(&compiler.environment, &body, &has);
        let name = body.strip_suffix(".md").unwrap_or(&body).to_owned();
        (TemplateName::new(name), Entry { body, has, uses })
    });
    let entries = entries.collect();
    Ok(Templates { environment: compiler.environment, entries })
}

impl Compiler {
    /// Adds body and head of a Markdown file; a partial (its name begins with `_`, or it lies in a folder)
    /// has no head and is only included by others.
    fn markdown(&mut self, file: &Arc<SourceFile>, name: &str) -> Option<BTreeSet<&'static str>> {
        let split = front::split(&file.text);
        let body = split.as_ref().map_or(0, |split| split.body);
        self.add(name.to_owned(), file, body..file.text.len());
        let Some(split) = split else {
            if !name.starts_with('_') && !name.contains('/') {
                let place = Place { file: Arc::clone(file), range: 0..front::line_range(&file.text, 1).end };
                let finding = Finding::error("template.head", "the file does not begin with a head").at(place);
                let help =
                    "begin with `---`, `subject: \"…\"`, `---`; a file that is only included by others is named `_…md`";
                self.findings.push(finding.help(help));
            }
            return None;
        };
        self.findings.extend(front::cut_by_comment(file, &split.yaml));
        let head = match front::read(file, &split.yaml) {
            Ok(head) => head,
            Err(finding) => {
                self.findings.push(finding);
                return None;
            }
        };
        let mut has = BTreeSet::new();
        for (part, text) in head.parts() {
            let line = usize::try_from(text.defined.line()).unwrap_or(1) + 1;
            let padded = format!("{}{}", "\n".repeat(line.saturating_sub(1)), text.value);
            let range = front::line_range(&file.text, line);
            has.insert(part);
            self.add_source(part_name(name, part), padded, file, &range);
        }
        if head.subject.value.trim().is_empty() {
            let place = Place { file: Arc::clone(file), range: split.yaml.clone() };
            self.findings.push(Finding::error("template.head", "the `subject` is empty").at(place));
        }
        Some(has)
    }

    /// Adds a part of a file under its own lines: what stands before it becomes empty lines.
    fn add(&mut self, name: String, file: &Arc<SourceFile>, range: Range<usize>) {
        let lines = file.text[..range.start].matches('\n').count();
        let padded = format!("{}{}", "\n".repeat(lines), &file.text[range.clone()]);
        self.add_source(name, padded, file, &range);
    }

    fn add_source(&mut self, name: String, source: String, file: &Arc<SourceFile>, range: &Range<usize>) {
        let added = self.environment.add_template_owned(name.clone(), source);
        if let Err(error) = added {
            let explained = environment::explain(&self.environment, &error, &name);
            let place = Place { file: Arc::clone(file), range: range_of(file, range, &explained) };
            self.findings.push(Finding::error("template.syntax", explained.problem).at(place));
        }
        self.sources.insert(name, (Arc::clone(file), range.clone()));
    }

    fn default_layout(&mut self) {
        let file = Arc::new(SourceFile { path: "templates/layout.html".into(), text: DEFAULT_LAYOUT.into() });
        self.add(LAYOUT.to_owned(), &file, 0..file.text.len());
    }

    fn check_references(&mut self) {
        let mut findings = Vec::new();
        for (name, (file, range)) in &self.sources {
            let found = references(&file.text[range.clone()]);
            let at = |named: &Named| Place {
                file: Arc::clone(file),
                range: range.start + named.range.start..range.start + named.range.end,
            };
            for include in &found.includes {
                if !self.sources.contains_key(&include.name) {
                    let message = format!("`{}` is not in templates/", include.name);
                    let known = self.sources.keys().filter(|known| !known.contains(environment::UNESCAPED));
                    findings.push(
                        suggest(Finding::error("template.unknown-include", message), &include.name, known)
                            .at(at(include)),
                    );
                }
            }
            for filter in found.filters.iter().filter(|filter| self.is_unknown("filter", &filter.name)) {
                let finding =
                    Finding::error("template.unknown-filter", format!("there is no filter `{}`", filter.name));
                findings.push(suggest(finding, &filter.name, FILTERS).at(at(filter)));
            }
            for test in found.tests.iter().filter(|test| self.is_unknown("test", &test.name)) {
                let finding = Finding::error("template.unknown-test", format!("there is no test `is {}`", test.name));
                findings.push(finding.at(at(test)));
            }
            if name == LAYOUT && !file.text.contains("body") {
                let finding = Finding::error("template.layout", "the layout never prints `{{ body }}`");
                findings.push(finding.at(Place { file: Arc::clone(file), range: 0..0 }));
            }
        }
        self.findings.append(&mut findings);
    }

    /// Asks the engine itself, so that this list can't differ from what rendering knows.
    fn is_unknown(&self, kind: &str, name: &str) -> bool {
        let (source, unknown) = match kind {
            "filter" => (format!("1|{name}"), ErrorKind::UnknownFilter),
            _ => (format!("1 is {name}"), ErrorKind::UnknownTest),
        };
        let evaluated = self.environment.compile_expression(&source).and_then(|expression| expression.eval(()));
        evaluated.is_err_and(|error: Error| error.kind() == unknown)
    }
}

fn range_of(file: &SourceFile, within: &Range<usize>, error: &TemplateError) -> Range<usize> {
    let line = front::line_range(&file.text, error.line);
    if line.is_empty() { within.clone() } else { line }
}

fn suggest<S: AsRef<str>>(finding: Finding, wrong: &str, known: impl IntoIterator<Item = S>) -> Finding {
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(wrong, name.as_ref()), name));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, name)) if score > 0.75 => finding.help(format!("did you mean `{}`?", name.as_ref())),
        _ => finding,
    }
}

pub(super) fn part_name(body: &str, part: &str) -> String {
    format!("{body}{}{part}", environment::UNESCAPED)
}

/// Every path that a template reads, its head, its includes and the layout counted in.
fn uses(environment: &Environment<'_>, body: &str, has: &BTreeSet<&'static str>) -> Vec<String> {
    let mut waiting: Vec<String> = has.iter().map(|part| part_name(body, part)).collect();
    waiting.extend([body.to_owned(), LAYOUT.to_owned()]);
    let mut seen = BTreeSet::new();
    let mut paths = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let Ok(template) = environment.get_template(&name) else { continue };
        paths.extend(variables(environment, &template));
        waiting.extend(references(template.source()).includes.into_iter().map(|include| include.name));
    }
    paths.into_iter().filter(|path| !LAYOUT_OWN.contains(&path.as_str())).collect()
}

/// The variables of one template, without the engine's own functions.
pub(super) fn variables(environment: &Environment<'_>, template: &minijinja::Template<'_, '_>) -> Vec<String> {
    let functions: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    let paths = template.undeclared_variables(true).into_iter();
    paths.filter(|path| !functions.contains(path.split('.').next().unwrap_or(path))).collect()
}
