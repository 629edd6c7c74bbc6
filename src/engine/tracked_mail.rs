//! The HTML of a mail whose opens and clicks are noted: its links go by our pages, and a picture of one dot is last.
//!
//! What leads to our own pages (unsubscribe, preferences, surveys), by mail, by phone or within the mail stays as it is,
//! and so does all that is no plain link: comments for old mail programs, styles, forms.

use super::links::Links;
use crate::model::{AddressHash, DeliveryId, InstanceSecret, LONGEST_PAGE, TrackedLink, Tracking};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Paths of our own pages.
const PAGES: [&str; 6] = ["u", "p", "c", "a", "t", "o"];

/// Tags whose content is no HTML.
const OPAQUE: [&str; 4] = ["style", "script", "title", "textarea"];

/// A mail that is tracked, by what.
#[derive(Debug, Clone, Copy)]
pub struct TrackedMail<'a> {
    pub delivery: DeliveryId,
    pub enrollment: i64,
    pub reader: AddressHash,
    pub tracks: &'a BTreeSet<Tracking>,
}

/// `None`: nothing of it is tracked.
pub fn tracked(html: &str, links: &Links, secret: &InstanceSecret, mail: TrackedMail<'_>) -> Option<String> {
    let base = links.base().filter(|_| !mail.tracks.is_empty())?;
    let TrackedMail { delivery, enrollment, reader, tracks } = mail;
    let sign = |number, page| secret.sign_tracked(&TrackedLink { delivery, enrollment, reader, number, page });
    let mut html = Cow::Borrowed(html);
    if tracks.contains(&Tracking::Clicks) {
        let mut number = 0;
        html = Cow::Owned(with_links(&html, |written| {
            let page = page(written, base)?;
            number += 1;
            Some(format!("{base}/t/{}", sign(number, Some(page))))
        }));
    }
    if tracks.contains(&Tracking::Opens) {
        let dot = format!(
            "<img src=\"{base}/o/{}\" width=\"1\" height=\"1\" alt=\"\" style=\"display:block;border:0\">",
            sign(0, None)
        );
        let end = html.to_ascii_lowercase().rfind("</body>").unwrap_or(html.len());
        html.to_mut().insert_str(end, &dot);
    }
    Some(html.into_owned())
}

/// The page a link leads to, as it goes into an HTTP header; `None`: it stays as it is.
fn page(written: &str, base: &str) -> Option<String> {
    let url = written.trim();
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))?;
    let ours = url.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
    if ours
        .is_some_and(|rest| PAGES.iter().any(|page| rest.strip_prefix(page).is_some_and(|rest| rest.starts_with('/'))))
    {
        return None;
    }
    let host = url[scheme.len()..].split(['/', '?', '#']).next().unwrap_or_default();
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !plain(host) || url.contains(|c: char| c.is_control()) {
        return None;
    }
    let encoded = url.chars().fold(String::with_capacity(url.len()), |mut text, c| {
        if c.is_ascii_graphic() {
            text.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    });
    (encoded.len() <= LONGEST_PAGE).then_some(encoded)
}

/// Every link of a page exchanged, where `with` gives another.
fn with_links(html: &str, mut with: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(html.len() * 2);
    let mut at = 0;
    while let Some(found) = html[at..].find('<') {
        let tag = at + found;
        out.push_str(&html[at..tag]);
        let end = end_of(html, tag);
        match link_of(&html[tag..end]) {
            Some((value, text)) => match with(&text) {
                Some(other) => {
                    out.push_str(&html[tag..tag + value.start]);
                    out.push('"');
                    out.push_str(&other);
                    out.push('"');
                    out.push_str(&html[tag + value.end..end]);
                }
                None => out.push_str(&html[tag..end]),
            },
            None => out.push_str(&html[tag..end]),
        }
        at = end;
    }
    out.push_str(&html[at..]);
    out
}

/// Where what begins with this `<` ends: a comment, a tag, one whose content is no HTML, or the sign alone.
fn end_of(html: &str, tag: usize) -> usize {
    let rest = &html[tag..];
    let up_to = |end: &str| rest.find(end).map_or(html.len(), |found| tag + found + end.len());
    if rest.starts_with("<!--") {
        return up_to("-->");
    }
    if !rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!') {
        return tag + 1;
    }
    let end = tag_end(rest).map_or(html.len(), |end| tag + end);
    let name = name_of(rest);
    match OPAQUE.into_iter().find(|opaque| name.eq_ignore_ascii_case(opaque)) {
        Some(name) => {
            let closing = html[end..].to_ascii_lowercase().find(&format!("</{name}"));
            closing.map_or(html.len(), |found| end + found)
        }
        None => end,
    }
}

fn name_of(tag: &str) -> &str {
    let name = &tag[1..];
    &name[..name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len())]
}

/// Behind the `>` that is in no quotes.
fn tag_end(tag: &str) -> Option<usize> {
    let (mut quote, mut value) = (None, false);
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') if value => quote = Some(byte),
            _ => {}
        }
        value = quote.is_none() && (byte == b'=' || (value && byte.is_ascii_whitespace()));
    }
    None
}

/// The `href` of an `a` or `area`: where its value stands, quotes and all, and what it says.
fn link_of(tag: &str) -> Option<(std::ops::Range<usize>, String)> {
    let name = name_of(tag);
    if !["a", "area"].iter().any(|link| name.eq_ignore_ascii_case(link)) {
        return None;
    }
    let mut at = 1 + name.len();
    loop {
        at += tag[at..].find(|c: char| !c.is_ascii_whitespace() && c != '/')?;
        let length = tag[at..].find(|c: char| c.is_ascii_whitespace() || "=/>".contains(c))?;
        let attribute = &tag[at..at + length];
        at += length;
        let next = at + tag[at..].find(|c: char| !c.is_ascii_whitespace())?;
        if tag[next..].starts_with('>') {
            return None;
        }
        if !tag[next..].starts_with('=') {
            // An attribute without a value; a stray sign is passed over.
            at = if length == 0 { next + 1 } else { next };
            continue;
        }
        let start = next + 1 + tag[next + 1..].find(|c: char| !c.is_ascii_whitespace())?;
        let quote = tag[start..].chars().next().filter(|c| matches!(c, '"' | '\''));
        let (end, text) = if let Some(quote) = quote {
            let length = tag[start + 1..].find(quote)?;
            (start + length + 2, &tag[start + 1..start + 1 + length])
        } else {
            let length = tag[start..].find(|c: char| c.is_ascii_whitespace() || c == '>')?;
            (start + length, &tag[start..start + length])
        };
        if attribute.eq_ignore_ascii_case("href") {
            return Some((start..end, unescaped(text)));
        }
        at = end;
    }
}

/// The references that stand in addresses; others stay as they are.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|end| *end <= 10);
        let (c, length) = end.and_then(|end| Some((referred(&rest[1..end])?, end + 1))).unwrap_or(('&', 1));
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn referred(name: &str) -> Option<char> {
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match name {
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "lt" => Some('<'),
        "gt" => Some('>'),
        _ => match name.strip_prefix('#')? {
            hex if hex.starts_with(['x', 'X']) => number(&hex[1..], 16),
            digits => number(digits, 10),
        },
    }
}

#[cfg(test)]
#[path = "tracked_mail_tests.rs"]
mod tests;
