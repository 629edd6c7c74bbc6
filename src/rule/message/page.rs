//! What is done to a whole page, whatever it was written in: styles go into the tags, links that lead where no mail
//! should lead lead nowhere, hidden characters come back as references, and the preview text is put first.

use super::{guard, long_words, markdown};
use css_inline::{CSSInliner, InlineOptions};
use std::borrow::Cow;

/// `None`: the styles can't be read.
pub(super) fn inlined(page: &str) -> Option<String> {
    let options = InlineOptions {
        inline_style_tags: true,
        keep_style_tags: false,
        keep_link_tags: true,
        // Media queries can't be written into a tag.
        keep_at_rules: true,
        load_remote_stylesheets: false,
        ..InlineOptions::default()
    };
    CSSInliner::new(options).inline(page).ok()
}

/// A page whose values are still hidden, with values in their place.
pub(super) fn finished(page: &str) -> String {
    let page = without_strange_styles(page);
    let page = without_strange_links(&page);
    match guard::references(&page) {
        Cow::Borrowed(_) => page.into_owned(),
        Cow::Owned(safe) => safe,
    }
}

/// What stands between `<style>` and its end: rules that can't be written into tags.
fn without_strange_styles(page: &str) -> Cow<'_, str> {
    let opens = |at: &usize| page.get(*at..at + 6).is_some_and(|tag| tag.eq_ignore_ascii_case("<style"));
    let mut out = String::new();
    let mut written = 0;
    for start in page.match_indices('<').map(|(at, _)| at).filter(opens) {
        let end = page[start + 1..].find("</").map_or(page.len(), |length| start + 1 + length);
        if start >= written && guard::has_guards(&page[start..end]) {
            out.push_str(&page[written..start]);
            out.push_str(&guard::in_style(&page[start..end]));
            written = end;
        }
    }
    if written == 0 {
        return Cow::Borrowed(page);
    }
    out.push_str(&page[written..]);
    Cow::Owned(out)
}

/// Attributes that are followed or fetched.
const LINKS: [&str; 6] = ["href", "src", "action", "formaction", "background", "poster"];

/// Where a value begins an address, it may not say `javascript:` and the like, and in a style it is a word. What the
/// author wrote stays.
fn without_strange_links(page: &str) -> Cow<'_, str> {
    if !guard::has_guards(page) {
        return Cow::Borrowed(page);
    }
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        let name = before[..at].trim_end();
        let name = name.rsplit(|c: char| c.is_whitespace() || c == '/' || c == '<' || c == '"').next().unwrap_or("");
        rest = after;
        let trimmed = after.trim_start();
        let value = match trimmed.chars().next() {
            Some(quote @ ('"' | '\'')) => trimmed[1..].split(quote).next().unwrap_or_default(),
            _ => trimmed.split(|c: char| c.is_whitespace() || c == '>').next().unwrap_or_default(),
        };
        if let Some(instead) = guard::has_guards(value).then(|| instead(name, value)).flatten() {
            let start = after.len() - trimmed.len() + usize::from(trimmed.starts_with(['"', '\'']));
            out.push_str(&after[..start]);
            out.push_str(&instead);
            rest = &after[start + value.len()..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What an attribute with a value in it says, where that is not what it would say.
fn instead(name: &str, value: &str) -> Option<String> {
    if name.eq_ignore_ascii_case("style") {
        return Some(guard::in_style(value));
    }
    let followed = LINKS.iter().any(|link| name.eq_ignore_ascii_case(link));
    (followed && !markdown::leads_somewhere(&guard::plain(value))).then(|| "#".to_owned())
}

/// Puts the preview text first in the body, where mail programs look for it and nobody sees it.
pub(super) fn with_preheader(page: String, preheader: &str) -> String {
    let opening = page
        .match_indices("<body")
        .find(|(at, tag)| page[at + tag.len()..].starts_with(|c: char| c == '>' || c.is_whitespace()));
    let Some(end) = opening.and_then(|(at, _)| page[at..].find('>').map(|offset| at + offset + 1)) else { return page };
    // Invisible filling keeps what follows out of the preview.
    let filling = "&#847;&zwnj;&nbsp;".repeat(60);
    let text = escaped(preheader);
    let style =
        "display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;font-size:1px;line-height:1px;mso-hide:all";
    let (before, after) = page.split_at(end);
    format!("{before}\n<div style=\"{style}\">{text}{filling}</div>{after}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The text of a page, tables read cell by cell.
pub(super) fn text(page: &str) -> Result<String, html2text::Error> {
    let text = long_words::wrapped(page, html2text::config::plain().raw_mode(true))?;
    // Empty cells and spacers leave heaps of empty lines.
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines().map(|line| line.trim_end_matches(|c: char| c.is_whitespace() && c != '\u{a0}')) {
        empty = if line.trim().is_empty() { empty + 1 } else { 0 };
        if empty <= 1 {
            out.push_str(if empty == 1 { "" } else { line });
            out.push('\n');
        }
    }
    Ok(out.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(text: &str) -> String {
        let mut out = String::new();
        guard::write_guarded(&mut out, text).unwrap();
        out
    }

    #[test]
    fn styles_go_into_the_tags_and_media_queries_stay() {
        let page = "<html><head><style>p { color: red } @media (max-width: 9px) { p { color: blue !important } }</style>\
                    </head><body><p>a</p></body></html>";
        let page = inlined(page).unwrap();
        assert!(page.contains("<p style=\"color: red;\">") || page.contains("<p style=\"color: red\">"), "{page}");
        assert!(page.contains("<style>@media (max-width: 9px)") && !page.contains("p { color: red }"), "{page}");
    }

    #[test]
    fn nothing_is_fetched_for_styles() {
        let page = "<html><head><link rel=\"stylesheet\" href=\"file:///etc/passwd\"><link rel=stylesheet \
                    href=\"http://127.0.0.1:1/x.css\"></head><body><p>a</p></body></html>";
        assert!(inlined(page).is_some_and(|page| !page.contains("root:")));
    }

    #[test]
    fn values_in_addresses_lead_to_pages_or_nowhere() {
        let (bad, good) = (guarded(" JavaScript:alert(1)"), guarded("https://a.example/?x=1&y=\"2\""));
        let page =
            format!("<a title='x=1' href=\"{bad}\">{bad}</a><a href='{good}'>b</a><img src={bad}><a href=\"x:y\">");
        let page = finished(&page);
        assert!(page.contains("<a title='x=1' href=\"#\">") && page.contains("<img src=#>"), "{page}");
        assert!(page.contains("href='https://a.example/?x=1&#38;y=&#34;2&#34;'"), "{page}");
        assert!(page.contains("<a href=\"x:y\">"), "{page}");
    }

    #[test]
    fn a_value_in_a_style_is_a_word_of_it_and_no_declaration() {
        let evil = guarded("red; background:url('http://evil.example/x') } * { display: none }/*");
        let page = format!(
            "<style>@media x {{ p {{ color: {evil} }} }}</style><p style=\"color: {evil}; margin: 0\">{evil}</p>\
             <p STYLE='color:{}'><p style=color:{evil}>",
            guarded("#ff0000, 1.5%")
        );
        let page = finished(&page);
        let harmless = "red backgroundurlhttpevil.examplex    display none ";
        assert!(page.starts_with(&format!("<style>@media x {{ p {{ color: {harmless} }} }}</style>")), "{page}");
        assert!(page.contains(&format!("<p style=\"color: {harmless}; margin: 0\">red; background:url(")), "{page}");
        assert!(page.contains("<p STYLE='color:#ff0000, 1.5%'>") && !page.contains("color:red;"), "{page}");
    }

    #[test]
    fn an_address_in_a_style_stays_within_what_the_author_wrote() {
        let good = guarded("https://a.example/b.png?c=1&d=%20");
        let page = finished(&format!("<p style=\"background: URL('{good}') {good}\">"));
        assert_eq!(
            page,
            "<p style=\"background: URL('https://a.example/b.png?c=1&#38;d=%20') httpsa.exampleb.pngc1d%20\">"
        );
        let evil = guarded("x') ; color: red; a: url('http://evil.example");
        let page = finished(&format!("<p style=\"background: url('{evil}')\">"));
        assert_eq!(page, "<p style=\"background: url('xcolor:reda:urlhttp://evil.example')\">");
    }

    #[test]
    fn the_preview_text_comes_first_and_is_text() {
        let page = with_preheader("<html><body class=\"a\"><p>x</p></body></html>".into(), "1 < 2");
        let body = page.split("<body class=\"a\">").nth(1).unwrap();
        assert!(
            body.trim_start().starts_with("<div style=\"display:none;") && body.contains(">1 &lt; 2&#847;"),
            "{page}"
        );
        assert_eq!(with_preheader("<p>x</p>".into(), "a"), "<p>x</p>");
    }

    #[test]
    fn the_text_of_tables_reads_from_top_to_bottom() {
        let page = "<html><head><title>no</title></head><body><table><tr><td>One</td><td>Two</td></tr><tr><td>\
                    <a href=\"https://a.example\">Go</a></td></tr></table></body></html>";
        let text = text(page).unwrap();
        assert!(text.starts_with("One\n") && text.contains("Two") && text.contains("[1]: https://a.example"), "{text}");
        assert!(!text.contains("no") && !text.contains('│'), "{text}");
    }
}
