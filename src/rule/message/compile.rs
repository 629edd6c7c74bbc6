//! From files to compiled templates, with every finding of every file.

use super::files::{Files, Format, IMAGES, LAYOUTS, PARTIALS, Role};
use super::images::{self, InlineImage};
use super::scan::{Link, Named, Tag};
use super::source::Source;
use super::unfit::bounded;
use super::{TemplateUse, Templates, calls, environment, front, markup, measured, mjml};
use crate::diagnostic::{Finding, Place, SourceFile, suggest};
use crate::model::{Locale, TemplateName};
use minijinja::Environment;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

const DEFAULT_LAYOUT: &str = "layouts/default.html";
const BUILT_IN_LAYOUT: &str = include_str!("layout.html");
/// Variables that bodies and layouts see beside those of every template.
const PAGE_OWN: [&str; 3] = ["content", "subject", "lang"];
/// One sendable template: which parts it has, and what it uses.
#[derive(Debug)]
pub(super) struct Entry {
    pub format: Format,
    /// The name of its body in the environment.
    pub body: String,
    /// The name of its text part, where it brings one.
    pub text: Option<String>,
    /// What is put around its HTML.
    pub layout: Option<String>,
    /// The language it is written in, if its head says so.
    pub locale: Option<Locale>,
    /// The parts of its head.
    pub has: BTreeSet<&'static str>,
    pub images: Vec<InlineImage>,
    pub uses: Vec<TemplateUse>,
    /// The names that it prints whatever the record.
    pub prints: Vec<TemplateUse>,
    /// Every file that it is made of.
    pub files: Vec<Arc<SourceFile>>,
}

struct Compiler {
    files: Files,
    environment: Environment<'static>,
    findings: Vec<Finding>,
    /// By their names in the environment.
    sources: BTreeMap<String, Source>,
    /// The pictures that each file's head lists.
    images: BTreeMap<String, Vec<InlineImage>>,
}

/// A message whose head has been read.
struct Draft {
    format: Format,
    body: String,
    has: BTreeSet<&'static str>,
    layout: Option<String>,
    locale: Option<Locale>,
}

/// The templates as far as they can be read, with all findings as their warnings.
pub(super) fn compile(files: &[Arc<SourceFile>]) -> Templates {
    let files = Files::of(files);
    let mut compiler = Compiler {
        environment: environment::new(),
        findings: files.findings(),
        files,
        sources: BTreeMap::new(),
        images: BTreeMap::new(),
    };
    let drafts = compiler.read();
    compiler.add_all();
    compiler.circles();
    for name in compiler.sources.keys() {
        compiler.findings.extend(compiler.names(name));
    }
    let entries = drafts.into_iter().map(|draft| compiler.entry(draft)).collect();
    Templates { environment: compiler.environment, entries, warnings: compiler.findings }
}

impl Compiler {
    fn read(&mut self) -> Vec<Draft> {
        let mut drafts = Vec::new();
        let files: Vec<_> =
            self.files.iter().map(|(path, role, file)| (path.to_owned(), role, Arc::clone(file))).collect();
        for (path, role, file) in files {
            let body = front::split(&file.text).body;
            match role {
                Role::Image => continue,
                Role::Message(format) => drafts.extend(self.message(&path, format, &file)),
                Role::TextPart => {
                    self.sources.insert(path, Source::of(&file, 0..file.text.len()));
                    continue;
                }
                Role::Partial | Role::Layout => match front::part(&file) {
                    Err(finding) => self.findings.push(finding),
                    Ok((head, findings)) => {
                        self.findings.extend(findings);
                        self.pictures(&path, &file, &head.images);
                    }
                },
            }
            self.sources.insert(path, Source::of(&file, body..file.text.len()));
        }
        if !self.files.contains(DEFAULT_LAYOUT) {
            let path = format!("templates/{DEFAULT_LAYOUT} (built in)");
            let file = Arc::new(SourceFile { path, text: BUILT_IN_LAYOUT.into() });
            self.sources.insert(DEFAULT_LAYOUT.to_owned(), Source::of(&file, 0..file.text.len()));
        }
        drafts
    }

    fn message(&mut self, path: &str, format: Format, file: &Arc<SourceFile>) -> Option<Draft> {
        let (head, findings) = match front::message(file, format) {
            Ok(read) => read,
            Err(finding) => {
                self.findings.push(finding);
                return None;
            }
        };
        self.findings.extend(findings);
        let mut has = BTreeSet::new();
        for (part, text) in head.parts() {
            let range = front::line_range(&file.text, front::line_of(text));
            has.insert(part);
            self.sources.insert(part_name(path, part), Source::decoded(file, range, text.value.clone()));
        }
        self.pictures(path, file, &head.images);
        let layout = match head.layout.as_ref().filter(|_| format == Format::Markdown) {
            None => (format == Format::Markdown).then(|| DEFAULT_LAYOUT.to_owned()),
            Some(named) => {
                let range = front::value_range(file, front::line_of(named), &named.value);
                let found = self.files.layout(&named.value, format);
                if found.is_none() {
                    let place = Place { file: Arc::clone(file), range };
                    self.findings.push(self.unknown(Tag::Extends, &named.value, format).at(place));
                }
                found
            }
        };
        let locale = head.locale.as_ref().and_then(|locale| Locale::parse(&locale.value));
        Some(Draft { format, body: path.to_owned(), has, layout, locale })
    }

    fn pictures(&mut self, path: &str, file: &Arc<SourceFile>, listed: &BTreeMap<String, serde_yaml::Spanned<String>>) {
        let (images, findings) = images::read(file, listed, &self.files);
        self.findings.extend(findings);
        self.images.insert(path.to_owned(), images);
    }

    /// Parses every source, finds what it names, and takes it into the environment.
    fn add_all(&mut self) {
        let names: Vec<String> = self.sources.keys().cloned().collect();
        for name in names {
            let Some(mut source) = self.sources.remove(&name) else { continue };
            let readable = self.readable(&source);
            if readable.is_some_and(|text| self.add(&name, &source, text)) {
                source.scan();
                self.resolve(&name, &mut source);
                let measured = measured::measured(&source.prepared());
                self.add(&name, &source, measured);
            }
            self.sources.insert(name, source);
        }
    }

    /// Its text, if the engine may read it at all.
    fn readable(&mut self, source: &Source) -> Option<String> {
        let unfit = match bounded(&source.prepared()) {
            Ok(text) => return Some(text),
            Err(unfit) => unfit,
        };
        let place = Place { file: Arc::clone(&source.file), range: range_of(source, unfit.line) };
        self.findings.push(Finding::error("template.syntax", unfit.problem).at(place));
        None
    }

    fn add(&mut self, name: &str, source: &Source, text: String) -> bool {
        let added = self.environment.add_template_owned(name.to_owned(), text);
        let Err(error) = added else { return true };
        let explained = environment::explain(&self.environment, &error, name);
        let place = Place { file: Arc::clone(&source.file), range: range_of(source, explained.line) };
        self.findings.push(Finding::error("template.syntax", explained.problem).at(place));
        false
    }

    fn resolve(&mut self, name: &str, source: &mut Source) {
        let within = Format::of_name(name).unwrap_or(Format::Text);
        let mut links = Vec::new();
        for link in &source.found.links {
            let place = source.place(&link.range);
            if link.name.is_empty() {
                let finding =
                    Finding::error("template.unknown-include", "which template this is can't be told").at(place);
                self.findings.push(finding.help("write its name: `{% include \"footer\" %}`"));
                continue;
            }
            let found = match link.tag {
                Tag::Extends if matches!(within, Format::Markdown | Format::Text) => {
                    let finding = Finding::error("template.unknown-layout", "this can't extend a layout").at(place);
                    self.findings.push(finding.help("a Markdown message names its layout in the head: `layout: NAME`"));
                    continue;
                }
                Tag::Extends => self.files.layout(&link.name, within),
                Tag::Include | Tag::Import => self.files.partial(&link.name, within),
            };
            match found {
                Some(name) => links.push(Link { name, ..link.clone() }),
                None => self.findings.push(self.unknown(link.tag, &link.name, within).at(place)),
            }
        }
        source.links = links;
    }

    fn unknown(&self, tag: Tag, name: &str, within: Format) -> Finding {
        let (code, folder) = match tag {
            Tag::Extends => ("template.unknown-layout", LAYOUTS),
            Tag::Include | Tag::Import => ("template.unknown-include", PARTIALS),
        };
        let finding = Finding::error(code, format!("`{name}` is not in templates/{folder}"));
        match self.files.suggest(folder, name, within) {
            Some(help) => finding.help(help),
            None => finding,
        }
    }

    /// Templates that include or extend themselves.
    fn circles(&mut self) {
        let mut found = Vec::new();
        for (name, source) in &self.sources {
            for link in &source.links {
                let way = self.closure([link.name.as_str()]);
                if !way.contains(name.as_str()) {
                    continue;
                }
                let through =
                    if link.name == *name { String::new() } else { format!(" by way of templates/{}", link.name) };
                let finding = Finding::error("template.circle", format!("templates/{name} includes itself{through}"));
                found.push(finding.at(source.place(&link.range)));
            }
        }
        self.findings.append(&mut found);
    }

    /// These templates and all that they name.
    fn closure<'a>(&'a self, from: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut waiting: Vec<&str> = from.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            let Some((name, source)) = self.sources.get_key_value(name) else { continue };
            if seen.insert(name.as_str()) {
                waiting.extend(source.links.iter().map(|link| link.name.as_str()));
            }
        }
        seen
    }

    fn nesting(&self, name: &str) -> Option<Finding> {
        let source = self.sources.get(name)?;
        let place = source.place(&markup::too_deep(&source.text)?);
        let finding = Finding::error("template.nesting", markup::TOO_DEEP).at(place);
        Some(finding.help("mail programs show a dozen of them; is a tag left open?"))
    }

    /// Filters and tests that don't exist, and arguments that can't be meant.
    fn names(&self, name: &str) -> Vec<Finding> {
        let Some(source) = self.sources.get(name) else { return Vec::new() };
        let found = calls::mistakes(&self.environment, &source.found).into_iter();
        found.map(|(finding, range)| finding.at(source.place(&range))).collect()
    }

    fn entry(&mut self, draft: Draft) -> (TemplateName, Entry) {
        let Draft { format, body, has, layout, locale } = draft;
        let name = body.rsplit_once('.').map_or(body.as_str(), |(name, _)| name).to_owned();
        let text = Some(format!("{name}.txt")).filter(|path| self.files.contains(path));
        let mut roots: Vec<String> = has.iter().map(|part| part_name(&body, part)).collect();
        roots.push(body.clone());
        roots.extend(text.iter().chain(&layout).cloned());
        let closure: Vec<String> =
            self.closure(roots.iter().map(String::as_str)).into_iter().map(str::to_owned).collect();
        let mut findings: Vec<Finding> = closure.iter().filter_map(|name| self.nesting(name)).collect();
        let is_shallow = findings.is_empty();
        if let Some(layout) = &layout {
            findings.extend(self.prints_content(layout));
        }
        if format == Format::Mjml && is_shallow && self.is_whole(&closure) {
            findings.extend(mjml::check(&body, &self.sources));
        }
        let images = self.images_of(&body, &closure, &mut findings);
        for finding in findings {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        let mut files: Vec<Arc<SourceFile>> = Vec::new();
        for file in closure.iter().filter_map(|name| self.sources.get(name)).map(|source| &source.file) {
            if !files.contains(file) {
                files.push(Arc::clone(file));
            }
        }
        let uses = self.uses(&closure);
        let prints = self.prints(&roots);
        let entry = Entry { format, body, text, layout, locale, has, images, uses, prints, files };
        (TemplateName::new(name), entry)
    }

    /// Whether everything in it could be read: what is missing is reported, and what follows from it need not be.
    fn is_whole(&self, closure: &[String]) -> bool {
        let sources = closure.iter().filter_map(|name| self.sources.get(name));
        let lost = |source: &Source| source.found.links.len() != source.links.len();
        closure.iter().all(|name| self.environment.get_template(name).is_ok()) && !sources.into_iter().any(lost)
    }

    fn prints_content(&self, layout: &str) -> Option<Finding> {
        let closure = self.closure([layout]);
        let mut paths =
            closure.iter().filter_map(|name| self.sources.get(*name)).flat_map(|source| &source.found.paths);
        let source = self.sources.get(layout)?;
        if paths.any(|path| path.name == "content") || self.environment.get_template(layout).is_err() {
            return None;
        }
        Some(Finding::error("template.layout", "the layout never prints `{{ content }}`").at(source.whole()))
    }

    /// The pictures that a message shows. What its own head lists outranks what layouts and partials list.
    fn images_of(&self, body: &str, closure: &[String], findings: &mut Vec<Finding>) -> Vec<InlineImage> {
        let others = closure.iter().filter(|name| *name != body);
        let mut listed: BTreeMap<&str, &InlineImage> = BTreeMap::new();
        for name in others.map(String::as_str).chain([body]) {
            listed.extend(self.images.get(name).into_iter().flatten().map(|image| (image.name.as_str(), image)));
        }
        let mut used = BTreeSet::new();
        for source in closure.iter().filter_map(|name| self.sources.get(name)) {
            for (name, range) in images::shown(&source.text) {
                if listed.contains_key(name) {
                    used.insert(name);
                    continue;
                }
                // A picture that is listed and broken is reported there.
                if self.names_picture(closure, name) {
                    continue;
                }
                let finding = Finding::error("template.unknown-image", format!("no head lists a picture `{name}`"));
                let help = suggest::nearest(name, listed.keys().copied()).map_or_else(
                    || format!("add to the head: `images: {{{name}: {IMAGES}FILE}}`"),
                    |near| format!("did you mean `{near}`?"),
                );
                findings.push(finding.at(source.place(&range)).help(help));
            }
        }
        used.into_iter().filter_map(|name| listed.get(name)).map(|image| (*image).clone()).collect()
    }

    fn names_picture(&self, closure: &[String], name: &str) -> bool {
        let heads = closure.iter().filter_map(|name| self.sources.get(name)).filter_map(|source| {
            let yaml = front::split(&source.file.text).yaml?;
            source.file.text.get(yaml)
        });
        heads.into_iter().any(|head| head.contains(&format!("{name}:")))
    }

    /// Every path that a message reads, by all that it is made of.
    fn uses(&self, closure: &[String]) -> Vec<TemplateUse> {
        let sources = || closure.iter().filter_map(|name| self.sources.get(name).map(|source| (name, source)));
        let assigned: BTreeSet<&str> =
            sources().flat_map(|(_, source)| &source.found.assigned).map(String::as_str).collect();
        let mut uses: Vec<TemplateUse> = Vec::new();
        for (name, source) in sources() {
            let Ok(template) = self.environment.get_template(name) else { continue };
            let page = !name.contains(environment::UNESCAPED);
            let mut paths = variables(&self.environment, &template);
            let is_known = |named: &&Named| paths.iter().any(|path| named.name.starts_with(&format!("{path}.")));
            let subscripts: Vec<&Named> = source.found.subscripts.iter().filter(is_known).collect();
            let named: Vec<String> = subscripts.iter().map(|named| named.name.clone()).collect();
            paths.extend(named);
            paths.sort();
            paths.dedup();
            for path in paths {
                let root = path.split('.').next().unwrap_or(&path);
                if assigned.contains(root) || page && PAGE_OWN.contains(&root) {
                    continue;
                }
                let subscript = subscripts.iter().find(|named| named.name == path);
                let place = subscript.map_or_else(|| source.place_of_path(&path), |named| source.place(&named.range));
                uses.push(TemplateUse { path, place });
            }
        }
        uses
    }

    /// What a message of these roots prints whatever the record. Blocks that another source has too may be replaced by
    /// it, and beside what extends a layout its blocks alone are read.
    fn prints(&self, roots: &[String]) -> Vec<TemplateUse> {
        let sources = self.surely_read(roots);
        let owners = |block: &str| sources.iter().filter(|source| source.printed.blocks.contains(block)).count();
        let assigned: BTreeSet<&str> =
            sources.iter().flat_map(|source| &source.found.assigned).map(String::as_str).collect();
        let mut prints = Vec::new();
        for source in &sources {
            let extends = source.links.iter().any(|link| link.tag == Tag::Extends);
            for (named, block) in &source.printed.names {
                let is_read = block.as_deref().map_or(!extends, |block| owners(block) == if extends { 2 } else { 1 });
                if is_read && !assigned.contains(named.name.as_str()) {
                    prints.push(TemplateUse { path: named.name.clone(), place: source.place(&named.range) });
                }
            }
        }
        prints
    }

    /// These and what they include and extend, beside no `if`.
    fn surely_read(&self, roots: &[String]) -> Vec<&Source> {
        let mut waiting: Vec<&str> = roots.iter().map(String::as_str).collect();
        let mut seen: BTreeMap<&str, &Source> = BTreeMap::new();
        while let Some(name) = waiting.pop() {
            let Some((name, source)) = self.sources.get_key_value(name) else { continue };
            if seen.insert(name, source).is_none() {
                let read =
                    source.links.iter().filter(|link| link.tag != Tag::Import && source.printed.reads(&link.range));
                waiting.extend(read.map(|link| link.name.as_str()));
            }
        }
        seen.into_values().collect()
    }
}

fn range_of(source: &Source, line: usize) -> Range<usize> {
    let line = front::line_range(&source.file.text, line);
    if line.is_empty() { source.at.clone() } else { line }
}

pub(super) fn part_name(body: &str, part: &str) -> String {
    format!("{body}{}{part}", environment::UNESCAPED)
}

/// The variables of one template, without the engine's own functions.
pub(super) fn variables(environment: &Environment<'_>, template: &minijinja::Template<'_, '_>) -> Vec<String> {
    let functions: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    let paths = template.undeclared_variables(true).into_iter();
    paths.filter(|path| !functions.contains(path.split('.').next().unwrap_or(path))).collect()
}
