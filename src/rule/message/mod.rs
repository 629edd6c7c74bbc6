//! Templates of messages: Markdown, MJML and HTML with front matter, strict variables, values that stay values.
//!
//! A template is rendered in this order: values are printed with their meaningful characters hidden (`guard`),
//! Markdown or MJML becomes HTML, a layout is put around Markdown, styles go into the tags (`page`), and only then
//! do the hidden characters come back, escaped. So no record's text can become markup in any of the formats. The
//! text part is made from the same HTML unless a file of its own is there.

mod calls;
mod compile;
mod context;
mod currency;
mod environment;
mod files;
mod filters;
mod front;
mod guard;
mod images;
mod inner;
mod long_words;
mod markdown;
mod markup;
mod measure;
mod measured;
mod mjml;
mod page;
mod printed;
mod reader;
mod scan;
mod source;
mod subject;
mod unfit;

pub use files::message_name;
pub use images::InlineImage;
pub use reader::Regional;
pub(in crate::rule) use unfit::bounded;

use super::compiled::{Facts, PersonFacts};
use crate::diagnostic::{Finding, Place, Severity, SourceFile};
use crate::model::TemplateName;
use files::Format;
use minijinja::{Environment, Template, Value};
use reader::Reader;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// All templates of a generation, compiled.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    entries: BTreeMap<TemplateName, compile::Entry>,
    warnings: Vec<Finding>,
}

impl Default for Templates {
    /// No templates; [`Templates::line`] works.
    fn default() -> Self {
        Self { environment: environment::new(), entries: BTreeMap::new(), warnings: Vec::new() }
    }
}

/// A mail ready for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedEmail {
    pub subject: String,
    pub html: String,
    pub text: String,
    pub from: Option<String>,
    pub reply_to: Option<String>,
    /// The pictures that the HTML shows.
    pub images: Vec<InlineImage>,
}

/// The fixed roots that templates see: `record`, `to`, `occasion`, `saved`, `sender`, the mail's own links, and the
/// `rows` of a message that tells of several matches.
#[derive(Debug, Clone)]
pub struct MessageContext<'a> {
    pub facts: &'a Facts,
    pub to: Option<&'a PersonFacts>,
    pub occasion: &'a Json,
    pub saved: &'a Json,
    pub sender: &'a Json,
    /// Added to `record` by the rule's `enrich`.
    pub enriched: Option<&'a Json>,
    pub regional: &'a Regional,
    pub links: Option<&'a MessageLinks>,
    /// The matches that the message tells of, where it tells of several; empty: only of this one.
    pub rows: &'a [MessageRow<'a>],
    /// How many more there are than it tells of.
    pub more: usize,
}

/// One match of several in one message.
#[derive(Debug, Clone)]
pub struct MessageRow<'a> {
    pub facts: &'a Facts,
    pub occasion: &'a Json,
    pub saved: &'a Json,
    pub enriched: Option<&'a Json>,
}

/// Links that are this mail's own; `None` where it has none. Templates see `unsubscribe_url`, `preferences_url`,
/// `confirm_url` and `answer_url`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageLinks {
    pub unsubscribe: Option<String>,
    pub preferences: Option<String>,
    pub confirm: Option<String>,
    /// A score behind it is the answer to the survey that the mail asks.
    pub answer: Option<String>,
}

/// A path that a template reads, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateUse {
    pub path: String,
    pub place: Place,
}

/// File, line and the missing name, but never a value: values are personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{template}:{line}: {problem}")]
pub struct TemplateError {
    pub template: String,
    pub line: usize,
    pub problem: String,
}

impl Templates {
    /// Compiles `templates/*` of a tree.
    pub fn compile(files: &[Arc<SourceFile>]) -> Result<Self, Vec<Finding>> {
        let read = Self::read(files);
        if read.is_whole() { Ok(read) } else { Err(read.warnings) }
    }

    /// The same of files that may be broken, so that what is wrong with the others is told with them: all findings are
    /// among [`Templates::warnings`].
    pub(in crate::rule) fn read(files: &[Arc<SourceFile>]) -> Self {
        compile::compile(files)
    }

    /// Whether every one of them can be rendered.
    pub(in crate::rule) fn is_whole(&self) -> bool {
        self.warnings.iter().all(|finding| finding.severity != Severity::Error)
    }

    #[must_use]
    pub fn contains(&self, name: &TemplateName) -> bool {
        self.entries.contains_key(name)
    }

    /// Template names, for suggestions.
    pub fn names(&self) -> Vec<TemplateName> {
        self.entries.keys().cloned().collect()
    }

    /// What is doubtful in the files, though they work.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// The `root.field` paths a template uses, for checking them against the catalog. What its head, its partials
    /// and its layout use is counted in.
    pub fn uses(&self, name: &TemplateName) -> &[TemplateUse] {
        self.entries.get(name).map_or(&[], |entry| &entry.uses)
    }

    /// The names that a template prints whatever the record, each alone in its tag.
    pub fn prints(&self, name: &TemplateName) -> &[TemplateUse] {
        self.entries.get(name).map_or(&[], |entry| &entry.prints)
    }

    /// Every file that a template is made of.
    pub fn files(&self, name: &TemplateName) -> &[Arc<SourceFile>] {
        self.entries.get(name).map_or(&[], |entry| &entry.files)
    }

    /// The paths of a short template written in a rule, or what is wrong with it.
    pub fn line_uses(&self, source: &str) -> Result<Vec<String>, TemplateError> {
        self.line_template(source, |template| Ok(compile::variables(&self.environment, template)))
    }

    pub fn email(&self, name: &TemplateName, context: &MessageContext<'_>) -> Result<RenderedEmail, TemplateError> {
        let entry = self.entries.get(name).ok_or_else(|| TemplateError {
            template: format!("templates/{name}"),
            line: 1,
            problem: "there is no such template".to_owned(),
        })?;
        let reader = Reader::of(context, entry.locale.as_ref());
        let lang = reader.locale.as_str().to_owned();
        let mut roots = context::roots(context, reader);
        let head = |part: &'static str| -> Result<Option<String>, TemplateError> {
            if !entry.has.contains(part) {
                return Ok(None);
            }
            let text = self.render(&compile::part_name(&entry.body, part), &roots)?;
            Ok(Some(single_line(&guard::plain(&text))).filter(|line| !line.is_empty()))
        };
        let subject = head("subject")?.unwrap_or_default();
        let (preheader, from, reply_to) = (head("preheader")?, head("from")?, head("reply_to")?);
        roots.push(("subject", Value::from(subject.as_str())));
        roots.push(("lang", Value::from(lang.as_str())));
        let own_text = entry.text.as_ref().map(|name| self.render(name, &roots)).transpose()?;
        let own_text = own_text.map(|text| guard::plain(&text).trim().to_owned());
        let (html, text) = self.page(entry, roots, lang.as_str(), own_text)?;
        let html = match preheader {
            Some(preheader) => page::with_preheader(html, &preheader),
            None => html,
        };
        let shown = |image: &&InlineImage| images::shown(&html).iter().any(|(name, _)| *name == image.name);
        let images = entry.images.iter().filter(shown).cloned().collect();
        Ok(RenderedEmail { subject, html, text, from, reply_to, images })
    }

    /// The finished HTML and the text part.
    fn page(
        &self,
        entry: &compile::Entry,
        mut roots: Vec<(&'static str, Value)>,
        lang: &str,
        text: Option<String>,
    ) -> Result<(String, String), TemplateError> {
        let broken =
            |problem: String| TemplateError { template: format!("templates/{}", entry.body), line: 1, problem };
        let textless = |error| broken(format!("no text part could be made of it: {error}"));
        let unstyled = || broken("the styles can't be read".to_owned());
        let shallow = |markup: &str| match markup::too_deep(markup) {
            _ if markup.len() > LONGEST => Err(broken(environment::TOO_LONG.to_owned())),
            Some(_) => Err(broken(format!("filled in, {}", markup::TOO_DEEP))),
            None => Ok(()),
        };
        let body = self.render(&entry.body, &roots)?;
        let page = match (entry.format, &entry.layout) {
            (Format::Markdown, Some(layout)) => {
                let content = markdown::html(&body);
                shallow(&content)?;
                let text = text.map_or_else(|| markdown::text(&content), Ok).map_err(textless)?;
                roots.push(("content", Value::from_safe_string(content)));
                let page = self.render(layout, &roots)?;
                shallow(&page)?;
                let page = page::inlined(&page).ok_or_else(unstyled)?;
                return Ok((page::finished(&page), text));
            }
            (Format::Mjml, _) => {
                shallow(&body)?;
                mjml::html(&body, lang).map_err(|problem| broken(format!("filled in, {problem}")))?
            }
            _ => {
                shallow(&body)?;
                page::inlined(&body).ok_or_else(unstyled)?
            }
        };
        shallow(&page)?;
        let page = page::finished(&page);
        let text = text.map_or_else(|| page::text(&page), Ok).map_err(textless)?;
        Ok((page, text))
    }

    /// A short template written in a rule: a task's title, a string of a webhook body. Not escaped.
    pub fn line(&self, source: &str, context: &MessageContext<'_>) -> Result<String, TemplateError> {
        if !source.contains('{') {
            return Ok(source.to_owned());
        }
        let roots = context::roots(context, Reader::of(context, None));
        // What it includes is made for a page.
        self.line_template(source, |template| written(template, &roots)).map(|text| guard::plain(&text).into_owned())
    }

    fn line_template<T>(
        &self,
        source: &str,
        then: impl FnOnce(&Template<'_, '_>) -> Result<T, minijinja::Error>,
    ) -> Result<T, TemplateError> {
        let unfit = |unfit: unfit::Unfit| {
            let template = LINE.trim_start_matches(environment::UNESCAPED).to_owned();
            TemplateError { template, line: unfit.line, problem: unfit.problem }
        };
        bounded(source).map_err(unfit)?;
        let source = measured::measured(source);
        let done = self.environment.template_from_named_str(LINE, &source).and_then(|template| then(&template));
        done.map_err(|error| environment::explain(&self.environment, &error, LINE))
    }

    fn render(&self, name: &str, roots: &[(&'static str, Value)]) -> Result<String, TemplateError> {
        let rendered = self.environment.get_template(name).and_then(|template| written(&template, roots));
        rendered.map_err(|error| environment::explain(&self.environment, &error, name))
    }
}

/// What a template renders to, up to [`LONGEST`].
fn written(template: &Template<'_, '_>, roots: &[(&'static str, Value)]) -> Result<String, minijinja::Error> {
    let mut page = Page(Vec::new());
    template.render_captured_to(roots_value(roots), &mut page)?;
    // It was written text by text.
    Ok(String::from_utf8_lossy(&page.0).into_owned())
}

struct Page(Vec<u8>);

impl std::io::Write for Page {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + text.len() > LONGEST {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is wrong with a short template of a rule whatever the record, as far as its filters and tests tell.
pub(in crate::rule) fn line_mistakes(source: &str) -> Vec<Finding> {
    static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment::new);
    let mistakes = calls::mistakes(&ENVIRONMENT, &scan::references(source)).into_iter();
    mistakes.map(|(finding, _)| finding).collect()
}

/// The paths that it names in brackets, as `record["name"]`, where they end in a name.
pub(in crate::rule) fn line_subscripts(source: &str) -> Vec<String> {
    scan::references(source).subscripts.into_iter().map(|named| named.name).collect()
}

/// The names that it prints whatever the record, each alone in its tag.
pub(in crate::rule) fn line_prints(source: &str) -> Vec<String> {
    printed::printed(source).names.into_iter().map(|(named, _)| named.name).collect()
}

/// The name errors give a template that is written in a rule.
const LINE: &str = "#inline template";

/// Whether an error is one of a text that stands in the rule itself, and not in a file of `templates/`.
#[must_use]
pub fn is_of_rule(problem: &str) -> bool {
    problem.strip_prefix(LINE.trim_start_matches(environment::UNESCAPED)).is_some_and(|rest| rest.starts_with(':'))
}

/// Mail programs and servers cut or refuse longer bodies.
const LONGEST: usize = 1 << 20;

fn roots_value(roots: &[(&'static str, Value)]) -> Value {
    Value::from_pairs(roots.iter().map(|(name, value)| (*name, value.clone())))
}

/// Heads of mails are single lines: line breaks become blanks, other control characters go.
fn single_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
