//! Rendered Markdown to HTML and to readable plain text.

use super::{guard, long_words};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag};
use std::borrow::Cow;

/// A link that a mail program may follow: a relative one or one of the schemes that people write to
/// people. A value such as `javascript:…` leads nowhere.
pub(super) fn leads_somewhere(url: &str) -> bool {
    let head: String = url.chars().filter(|c| !c.is_whitespace() && !c.is_control()).take(64).collect();
    let scheme = head.split(['/', '?', '#']).next().and_then(|start| start.split_once(':')).map(|(scheme, _)| scheme);
    let scheme = scheme.map(str::to_ascii_lowercase);
    scheme.is_none_or(|scheme| matches!(scheme.as_str(), "http" | "https" | "mailto" | "tel" | "sms" | "cid"))
}

fn destination(url: CowStr<'_>) -> CowStr<'_> {
    // Its characters are escaped for an address when it is written, which hidden ones would not survive.
    let url = match guard::plain(&url) {
        Cow::Borrowed(_) => url,
        Cow::Owned(plain) => plain.into(),
    };
    if leads_somewhere(&url) { url } else { CowStr::Borrowed("#") }
}

fn with_destination(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Link { link_type, dest_url: destination(dest_url), title, id })
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Image { link_type, dest_url: destination(dest_url), title, id })
        }
        other => other,
    }
}

/// The HTML of a guarded Markdown text, still guarded but for the addresses of links. Raw HTML that the author wrote
/// passes through.
pub(super) fn html(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    pulldown_cmark::html::push_html(&mut out, Parser::new_ext(markdown, options).map(with_destination));
    out
}

/// The same as plain text, links as numbered notes at the end. Words are never broken: a long one is an address.
pub(super) fn text(html: &str) -> Result<String, html2text::Error> {
    let text = long_words::wrapped(&guard::references(html), html2text::config::plain())?;
    Ok(text.trim_end().to_owned())
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
    fn a_value_stays_text_in_every_place_of_a_markdown_file() {
        let evil = guarded("</p><script>alert(1)</script> [x](http://evil) **b** `c` \" onload=\"x");
        for place in ["V", "# V", "- V", "> V", "[V](https://a.example)", "`V`", "| a |\n|---|\n| V |", "<div>V</div>"]
        {
            let html = html(&place.replace('V', &evil));
            assert!(!html.contains("<script"), "{place}: {html}");
            assert!(!html.contains("evil\""), "{place}: {html}");
            assert!(!html.contains("<strong>"), "{place}: {html}");
        }
        let attribute = html(&format!("<img alt={evil} src=\"x\">"));
        assert!(!attribute.contains("onload="), "{attribute}");
        assert!(text(&html("*V*".replace('V', &evil).as_str())).unwrap().contains("<script>alert(1)</script> [x]"));
    }

    #[test]
    fn a_value_in_a_link_may_be_an_address_but_not_a_script() {
        let good = guarded("https://shop.example/a b?x=1&y=(2)");
        assert!(html(&format!("[go]({good})")).contains("href=\"https://shop.example/a%20b?x=1&amp;y=(2)\""));
        let bad = guarded(" JavaScript:alert(1)");
        assert!(html(&format!("[go]({bad})")).contains("href=\"#\""));
        assert!(html("[go](mailto:a@b.example)").contains("mailto:"));
    }

    #[test]
    fn the_text_part_reads_well() {
        let body = html("# Hello\n\nTwo *words* and a [link](https://a.example/x).\n\n- one\n- two\n");
        let text = text(&body).unwrap();
        assert_eq!(text, "# Hello\n\nTwo *words* and a [link][1].\n* one\n* two\n\n[1]: https://a.example/x");
    }
}
