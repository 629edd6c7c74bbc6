//! MJML to HTML, and what is wrong with an MJML template before anything is filled in.
//!
//! The engine's blocks are taken out of the source (values, conditions and loops leave nothing, included templates
//! and layouts are put in), and what is left has to be MJML. So a wrong tag is found at its place when rules are
//! loaded, not in a rendered text whose lines are nobody's. Both branches of a condition count, one after the other:
//! each has to be whole by itself.

use super::LONGEST;
use super::markup::{TOO_DEEP, outside_tags, too_deep};
use super::scan::{Part, Piece, Tag, pieces};
use super::source::Source;
use crate::diagnostic::{Finding, Place, suggest};
use mrml::mjml::Mjml;
use mrml::prelude::parser::{Error, ParseOutput, ParserOptions, WarningKind};
use mrml::prelude::render::RenderOptions;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// The HTML of filled-in MJML. Fonts are not fetched from anywhere unless the author says so by `mj-font`; nothing
/// is included: what `mj-include` would read is not ours to read.
pub(super) fn html(mjml: &str, lang: &str) -> Result<String, String> {
    if let Some((problem, _)) = too_much(mjml) {
        return Err(problem);
    }
    let parsed = parse(&readable(mjml, "&gt;")).map_err(|error| describe(&error).0)?;
    let options = RenderOptions { fonts: HashMap::new(), ..RenderOptions::default() };
    let html = parsed.element.render(&options).map_err(|_| "it can't be made into HTML".to_owned())?;
    Ok(unescaped(&html).replace("lang=\"und\"", &format!("lang=\"{lang}\"")))
}

/// MJML tags of a message: each is made into dozens of HTML, and some thousands take seconds.
const MOST_TAGS: usize = 2_000;
/// Pictures of carousels: the styles of each speak of all others.
const MOST_PICTURES: usize = 20;
/// Bytes of `mj-attributes` that are written into tags, if all of them fit each.
const MOST_ATTRIBUTES: usize = 16 << 20;

/// Why MJML takes too long or too much to be made into HTML, and where.
fn too_much(mjml: &str) -> Option<(String, Range<usize>)> {
    let nth = |tag: &str, most: usize| mjml.match_indices(tag).nth(most).map(|(at, tag)| at + 1..at + tag.len());
    if let Some(range) = nth("<mj-", MOST_TAGS) {
        return Some((format!("it has more than {MOST_TAGS} tags of MJML"), range));
    }
    if let Some(range) = nth("<mj-carousel-image", MOST_PICTURES) {
        return Some((format!("its carousels have more than {MOST_PICTURES} pictures"), range));
    }
    let opened = mjml.match_indices("<mj-attributes").map(|(at, _)| at);
    let length = |at: usize| mjml[at..].find("</mj-attributes").unwrap_or(mjml.len() - at);
    let range = opened.map(|at| at..at + length(at)).max_by_key(Range::len)?;
    let tags = mjml.matches("<mj-").count();
    let is_much = range.len().saturating_mul(tags) > MOST_ATTRIBUTES;
    is_much.then(|| (format!("its `mj-attributes` are too long for {tags} tags"), range.start + 1..range.start + 14))
}

fn parse(mjml: &str) -> Result<ParseOutput<Mjml>, Error> {
    mrml::parse_with_options(mjml, &ParserOptions::default())
}

/// The parser looks at the two bytes before the first `>` of a text, and panics where they begin within a character,
/// as in `Menü > Konto`. Such a `>` is written as `instead`.
fn readable<'m>(mjml: &'m str, instead: &str) -> Cow<'m, str> {
    let mut out = String::new();
    let mut written = 0;
    for text in outside_tags(mjml) {
        let mut from = text.start;
        while let Some(at) = mjml[from..text.end].find('>').map(|length| from + length) {
            let back = at.saturating_sub(2).max(text.start);
            if mjml.is_char_boundary(back) {
                break;
            }
            out.push_str(&mjml[written..at]);
            out.push_str(instead);
            (written, from) = (at + 1, at + 1);
        }
    }
    if written == 0 {
        return Cow::Borrowed(mjml);
    }
    out.push_str(&mjml[written..]);
    Cow::Owned(out)
}

/// mrml writes attributes as Rust quotes texts: `\u{200d}` for what it can't show, which the hidden characters of
/// values are.
fn unescaped(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, after)) = rest.split_once("\\u{") {
        out.push_str(before);
        let code = after.split_once('}').filter(|(code, _)| code.len() <= 6);
        let shown = code.and_then(|(code, tail)| {
            let c = u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?;
            (!c.is_ascii() && !c.is_control()).then_some((c, tail))
        });
        if let Some((c, tail)) = shown {
            out.push(c);
            rest = tail;
        } else {
            out.push_str("\\u{");
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// What is wrong with a message, its layout and partials put in.
pub(super) fn check(name: &str, sources: &BTreeMap<String, Source>) -> Vec<Finding> {
    let mut skeleton = Skeleton { sources, text: String::new(), segments: Vec::new(), templates: 0 };
    skeleton.template(name, &Blocks::new(), DEPTH);
    let place = |range: Range<usize>| skeleton.place(name, &range);
    let too_long = skeleton.is_full().then(|| (TOO_LONG.to_owned(), 0..0));
    if let Some((problem, range)) = too_long.or_else(|| too_much(&skeleton.text)) {
        let finding = Finding::error("template.mjml", problem);
        return vec![if let Some(place) = place(range) { finding.at(place) } else { finding }];
    }
    let mut findings: Vec<Finding> = strangers(&skeleton.text)
        .map(|(tag, range)| {
            let finding = Finding::error("template.mjml", format!("MJML has no tag `{tag}`"));
            let near = suggest::nearest(tag, TAGS);
            let finding = finding.help(near.map_or_else(
                || "tags of HTML belong into `mj-text`, `mj-table` or `mj-raw`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ));
            if let Some(place) = place(range) { finding.at(place) } else { finding }
        })
        .collect();
    if !findings.is_empty() {
        return findings;
    }
    findings.extend(parsed(&skeleton.text, place));
    findings
}

/// What the parser says.
fn parsed(text: &str, place: impl Fn(Range<usize>) -> Option<Place>) -> Vec<Finding> {
    // What is included adds to it.
    if let Some(range) = too_deep(text) {
        let finding = Finding::error("template.nesting", TOO_DEEP);
        return vec![if let Some(place) = place(range) { finding.at(place) } else { finding }];
    }
    // Of the same length, so that places stay what they are.
    match parse(&readable(text, " ")) {
        Err(error) => {
            let (problem, range) = describe(&error);
            let range = range.unwrap_or_else(|| syntax_range(&error, text));
            let finding = Finding::error("template.mjml", problem);
            let finding = if let Some(place) = place(range) { finding.at(place) } else { finding };
            vec![match error {
                Error::IncludeLoaderError { .. } => {
                    finding.help("write `{% include \"NAME\" %}`, the file in templates/partials/")
                }
                Error::NoRootNode => finding.help("a message begins with `<mjml>`, or extends a layout that does"),
                _ => finding.help("each branch of a condition has to be whole by itself"),
            }]
        }
        Ok(parsed) => {
            let told = parsed.warnings.iter().map(|warning| {
                let problem = match warning.kind {
                    WarningKind::UnexpectedAttribute => "this tag has no such attribute in MJML",
                    WarningKind::InlineStyleUnsupported => "styles are not inlined here",
                };
                let finding = Finding::warning("template.mjml-attribute", problem);
                match place(warning.span.start..warning.span.end) {
                    Some(place) => finding.at(place),
                    None => finding,
                }
            });
            told.collect()
        }
    }
}

/// Every tag of MJML that is made into something.
const TAGS: [&str; 33] = [
    "mj-accordion",
    "mj-accordion-element",
    "mj-accordion-text",
    "mj-accordion-title",
    "mj-all",
    "mj-attributes",
    "mj-body",
    "mj-breakpoint",
    "mj-button",
    "mj-carousel",
    "mj-carousel-image",
    "mj-class",
    "mj-column",
    "mj-divider",
    "mj-font",
    "mj-group",
    "mj-head",
    "mj-hero",
    "mj-image",
    "mj-include",
    "mj-navbar",
    "mj-navbar-link",
    "mj-preview",
    "mj-raw",
    "mj-section",
    "mj-social",
    "mj-social-element",
    "mj-spacer",
    "mj-style",
    "mj-table",
    "mj-text",
    "mj-title",
    "mj-wrapper",
];

/// Tags that look like MJML's and are none: the parser would pass them on as they are.
fn strangers(text: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let (mut seen, mut commented) = (0, false);
    text.match_indices("<mj-").filter_map(move |(at, _)| {
        let before = &text[seen..at];
        let (opened, closed) = (before.rfind("<!--"), before.rfind("-->"));
        if opened.is_some() || closed.is_some() {
            commented = opened > closed;
        }
        seen = at;
        let start = at + 1;
        let end = text[start..].find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len() - start);
        let tag = &text[start..start + end];
        (!commented && !TAGS.contains(&tag)).then_some((tag, start..start + end))
    })
}

/// How deep layouts and partials are followed. Circles are reported elsewhere.
const DEPTH: usize = 16;
/// How many of them: each may include others more than once.
const MOST_TEMPLATES: usize = 1_000;
const TOO_LONG: &str = "with what it includes, it is longer than 1 MiB or of more than 1,000 files";

/// What is wrong, and where in the text that was parsed.
fn describe(error: &Error) -> (String, Option<Range<usize>>) {
    let (problem, span) = match error {
        Error::UnexpectedElement { position, .. } => ("this tag can't stand here", Some(position)),
        Error::UnexpectedToken { position, .. } => ("this can't stand here", Some(position)),
        Error::MissingAttribute { name, position, .. } => {
            return (format!("the attribute `{name}` is missing"), Some(position.start..position.end));
        }
        Error::InvalidAttribute { position, .. } => ("this is not an attribute", Some(position)),
        Error::InvalidFormat { position, .. } => ("this can't be read", Some(position)),
        Error::EndOfStream { .. } => ("it ends before every tag is closed", None),
        Error::SizeLimit { .. } => ("it is too long", None),
        Error::ParserError { .. } => ("this is not XML: is a tag not closed, or an attribute without quotes?", None),
        Error::NoRootNode => ("there is no `<mjml>`", None),
        Error::IncludeLoaderError { position, .. } => ("`mj-include` reads no files here", Some(position)),
    };
    (problem.to_owned(), span.map(|span| span.start..span.end))
}

/// Where the XML breaks; else the end.
fn syntax_range(error: &Error, text: &str) -> Range<usize> {
    if let Error::ParserError { source, .. } = error {
        let at = source.pos();
        let line = text.split_inclusive('\n').take(at.row as usize - 1).map(str::len).sum::<usize>();
        let column = text[line..].chars().take(at.col as usize - 1).map(char::len_utf8).sum::<usize>();
        return line + column..line + column;
    }
    if matches!(error, Error::NoRootNode) { 0..0 } else { text.trim_end().len()..text.trim_end().len() }
}

/// The content of blocks, by name, that a child has for its layout.
type Blocks<'a> = BTreeMap<&'a str, (&'a str, &'a [Piece])>;

struct Skeleton<'a> {
    sources: &'a BTreeMap<String, Source>,
    text: String,
    /// Where each part of the text comes from: its start here, the template, its start there.
    segments: Vec<(usize, &'a str, usize)>,
    templates: usize,
}

impl<'a> Skeleton<'a> {
    fn template(&mut self, name: &str, blocks: &Blocks<'_>, depth: usize) {
        let Some((name, source)) = self.sources.get_key_value(name) else { return };
        if depth == 0 || self.is_full() {
            return;
        }
        self.templates += 1;
        let pieces = pieces(&source.text);
        let parent = source.links.iter().find(|link| link.tag == Tag::Extends);
        let Some(parent) = parent else { return self.pieces(name, &pieces, blocks, depth) };
        let mut all = own_blocks(name, &source.text, &pieces);
        all.extend(blocks.iter().map(|(block, content)| (*block, *content)));
        self.template(&parent.name, &all, depth - 1);
    }

    fn is_full(&self) -> bool {
        self.text.len() > LONGEST || self.templates > MOST_TEMPLATES
    }

    fn pieces(&mut self, name: &'a str, pieces: &[Piece], blocks: &Blocks<'_>, depth: usize) {
        let Some(source) = self.sources.get(name) else { return };
        let mut index = 0;
        while let Some(piece) = pieces.get(index) {
            index += 1;
            match piece.part {
                Part::Text => {
                    self.segments.push((self.text.len(), name, piece.range.start));
                    self.text.push_str(&source.text[piece.range.clone()]);
                }
                Part::Output | Part::Comment => {}
                Part::Statement => match *piece.words(&source.text).as_slice() {
                    ["block", block, ..] => {
                        let end = block_end(&source.text, pieces, index);
                        match blocks.get(block) {
                            Some((child, content)) => {
                                let child = self.sources.get_key_value(*child).filter(|_| depth > 0);
                                if let Some((child, _)) = child {
                                    self.pieces(child, content, blocks, depth - 1);
                                }
                            }
                            None => self.pieces(name, &pieces[index..end], blocks, depth),
                        }
                        index = end;
                    }
                    ["macro", ..] => {
                        let ends = |piece: &Piece| piece.words(&source.text).first() == Some(&"endmacro");
                        let rest = pieces[index..].iter();
                        index += rest.take_while(|piece| piece.part != Part::Statement || !ends(piece)).count();
                    }
                    ["include", ..] => {
                        let target = source.links.iter().find(|link| piece.range.contains(&link.range.start));
                        if let Some(target) = target {
                            self.template(&target.name, &Blocks::new(), depth.saturating_sub(1));
                        }
                    }
                    _ => {}
                },
            }
        }
    }

    /// The place in a file of a range of the text.
    fn place(&self, name: &str, range: &Range<usize>) -> Option<Place> {
        let segment = self.segments.iter().rev().find(|(start, ..)| *start <= range.start);
        let Some((start, name, there)) = segment else { return self.sources.get(name).map(Source::whole) };
        let source = self.sources.get(*name)?;
        let from = (there + range.start - start).min(source.text.len());
        let end = (from + range.len()).min(source.text.len());
        // A span may reach beyond the segment, over what was taken out: its first line tells enough.
        let text = source.text.get(from..end).unwrap_or_default();
        let end = from + text.lines().next().unwrap_or_default().len();
        Some(source.place(&(from..end)))
    }
}

/// The index of the `endblock` that closes the block whose content begins at `start`.
fn block_end(source: &str, pieces: &[Piece], start: usize) -> usize {
    let mut depth = 1_usize;
    for (index, piece) in pieces.iter().enumerate().skip(start).filter(|(_, piece)| piece.part == Part::Statement) {
        match piece.words(source).first() {
            Some(&"block") => depth += 1,
            Some(&"endblock") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    pieces.len()
}

/// Every block of a template, nested ones too.
fn own_blocks<'a>(name: &'a str, source: &'a str, pieces: &'a [Piece]) -> Blocks<'a> {
    let statements = pieces.iter().enumerate().filter(|(_, piece)| piece.part == Part::Statement);
    let block = |(index, piece): (usize, &Piece)| match *piece.words(source).as_slice() {
        ["block", block, ..] => Some((block, (name, &pieces[index + 1..block_end(source, pieces, index + 1)]))),
        _ => None,
    };
    statements.filter_map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_quotes_comes_back() {
        assert_eq!(
            unescaped("a=\"\\u{f003c}\\u{200d}\" \\u{41} \\u{x} \\u{\"}"),
            "a=\"\u{f003c}\u{200d}\" \\u{41} \\u{x} \\u{\"}"
        );
        let mjml = "<mjml><mj-body><mj-section><mj-column><mj-button href=\"https\u{f003a}x\" title=\"ö\">a</mj-button></mj-column></mj-section></mj-body></mjml>";
        let html = html(mjml, "de").unwrap();
        assert!(html.contains("href=\"https\u{f003a}x\"") && html.contains("<html lang=\"de\""), "{html}");
    }

    #[test]
    fn a_greater_than_sign_may_follow_any_character() {
        for text in ["Menü > Konto", "ü>", "→>>", "a > b", "é > ü > →>"] {
            let mjml = format!(
                "<mjml><mj-body><mj-section><mj-column><mj-text>{text}</mj-text></mj-column></mj-section></mj-body></mjml>"
            );
            let html = html(&mjml, "de").unwrap();
            let shown = html.replace("&gt;", ">");
            assert!(shown.contains(&format!(">{text}<")), "{text}: {html}");
            assert!(parsed(&mjml, |_| None).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_would_take_long_is_refused() {
        let mail =
            |head: &str, inner: &str| format!("<mjml><mj-head>{head}</mj-head><mj-body>{inner}</mj-body></mjml>");
        let section = "<mj-section><mj-column><mj-text>x</mj-text></mj-column></mj-section>";
        let carousel = |pictures: usize| {
            let pictures = "<mj-carousel-image src=\"x\" />".repeat(pictures);
            format!("<mj-section><mj-column><mj-carousel>{pictures}</mj-carousel></mj-column></mj-section>")
        };
        let attributes = format!("<mj-attributes><mj-all css-class=\"{}\" /></mj-attributes>", "x".repeat(20_000));
        for (text, told) in [
            (mail("", &section.repeat(700)), "2000 tags"),
            (mail("", &carousel(21)), "20 pictures"),
            (mail(&attributes, &section.repeat(400)), "`mj-attributes`"),
        ] {
            assert!(html(&text, "en").is_err_and(|problem| problem.contains(told)), "{told}");
        }
        for text in [mail("", &section.repeat(500)), mail("", &carousel(20)), mail(&attributes, &section.repeat(100))] {
            assert_eq!(html(&text, "en").map(|_| ()), Ok(()));
        }
    }

    #[test]
    fn strange_tags_are_seen_outside_of_comments() {
        let found: Vec<_> = strangers("<mj-text></mj-text><!-- <mj-no> --><mj-txt/>").map(|(tag, _)| tag).collect();
        assert_eq!(found, ["mj-txt"]);
    }
}
