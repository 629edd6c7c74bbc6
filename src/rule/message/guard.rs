//! Keeps record text from becoming HTML or Markdown.
//!
//! A value is printed into a Markdown template with every character that could mean something (all but
//! letters and digits) moved to a private plane of Unicode. Markdown and HTML parsers see only letters, so
//! the value stays one piece of text wherever the author put it: in a heading, a link, an attribute. After
//! parsing the characters are moved back, escaped for the place they ended up in.

use std::borrow::Cow;
use std::fmt::Write;

/// The start of Supplementary Private Use Area A; `*` (U+002A) becomes U+F002A.
const PLANE: u32 = 0xF_0000;

fn guarded(c: char) -> Option<char> {
    let meaningful = c.is_ascii() && !c.is_ascii_alphanumeric() || matches!(c, '\u{a0}' | '\u{2028}' | '\u{2029}');
    if !meaningful {
        return None;
    }
    char::from_u32(PLANE + u32::from(c))
}

fn original(c: char) -> Option<char> {
    let code = u32::from(c).checked_sub(PLANE)?;
    char::from_u32(code).filter(|back| guarded(*back).is_some())
}

/// Writes `text` so that no parser sees anything but letters in it. Control characters are dropped, line
/// breaks and tabs become blanks: a value never starts a line of its own.
pub(super) fn write_guarded(out: &mut dyn Write, text: &str) -> std::fmt::Result {
    for c in text.chars() {
        let c = match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => continue,
            c => c,
        };
        out.write_char(guarded(c).unwrap_or(c))?;
    }
    Ok(())
}

/// Whether values are hidden in it.
pub(super) fn has_guards(text: &str) -> bool {
    // All of them begin with this byte in UTF-8; nothing else in use does.
    text.as_bytes().contains(&0xF3)
}

/// Moves the characters back as they were. The result must be escaped by whoever prints it.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !has_guards(text) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| original(c).unwrap_or(c)).collect())
}

/// Moves the characters back, as character references where they mean something in text or in an attribute. Every
/// attribute has to be in quotes by now: parsers that write HTML again see to that.
pub(super) fn references(text: &str) -> Cow<'_, str> {
    if !has_guards(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match original(c) {
            Some(c @ ('<' | '>' | '&' | '"' | '\'' | '`')) => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            Some(plain) => out.push(plain),
            None => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A style in which values are words, numbers and colours, and within an address that the author wrote a part of it.
pub(super) fn in_style(style: &str) -> String {
    let mut out = String::with_capacity(style.len());
    let (mut in_address, mut in_colour) = (false, false);
    for (at, c) in style.char_indices() {
        match original(c) {
            Some('(') if !in_address && begins_colour(&out, &style[at + c.len_utf8()..]) => {
                in_colour = true;
                out.push(c);
            }
            Some(plain @ (')' | '/')) if in_colour => {
                in_colour = plain != ')';
                out.push(c);
            }
            Some(' ' | '#' | '%' | '.' | ',' | '-' | '+' | '_') if !in_address => out.push(c),
            Some(plain) if in_address && plain.is_ascii_graphic() && !"\"'()\\<>;{}".contains(plain) => out.push(c),
            Some(_) => {}
            None => {
                out.push(c);
                in_address = match c {
                    ')' => false,
                    '(' => out.as_bytes().last_chunk().is_some_and(|end: &[u8; 4]| end.eq_ignore_ascii_case(b"url(")),
                    _ => in_address,
                };
            }
        }
    }
    out
}

/// Whether a bracket of a value, between these, opens the numbers of a colour: `rgb(10 20 30 / 50%)`.
fn begins_colour(before: &str, behind: &str) -> bool {
    let name = before.rsplit(|c: char| !c.is_alphanumeric() && c != '-' && c != '_').next().unwrap_or_default();
    let is_colour = ["rgb", "rgba", "hsl", "hsla"].iter().any(|colour| name.eq_ignore_ascii_case(colour));
    let is_number = |c: &char| c.is_ascii_digit() || matches!(original(*c), Some(' ' | ',' | '.' | '%' | '/'));
    is_colour && behind.chars().find(|c| !is_number(c)).and_then(original) == Some(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(text: &str) -> String {
        let mut out = String::new();
        write_guarded(&mut out, text).unwrap();
        out
    }

    #[test]
    fn what_is_guarded_has_no_character_a_parser_minds_and_comes_back_whole() {
        let hostile = "<b>*x*</b> [a](javascript:b) `c` & \"d\" 'e' Żółć 1. #";
        let guarded = guard(hostile);
        assert!(guarded.chars().all(|c| !c.is_ascii() || c.is_ascii_alphanumeric()), "{guarded}");
        assert_eq!(plain(&guarded), hostile);
        assert_eq!(references(&guard("<a b=\"c\">")), "&#60;a b=&#34;c&#34;&#62;");
    }

    #[test]
    fn line_breaks_become_blanks_and_control_characters_go() {
        assert_eq!(plain(&guard("a\n# b\u{0}\u{7}")), "a # b");
    }

    #[test]
    fn a_colour_keeps_its_brackets_and_nothing_else_does() {
        let style = |value: &str| plain(&in_style(&format!("color: {}", guard(value)))).into_owned();
        for colour in ["rgb(10, 20, 30)", "RGBA(10 20 30 / 50%)", "hsl(120.5,50%,50%)", "#fff", "dark-red"] {
            assert_eq!(style(colour), format!("color: {colour}"));
        }
        for (hostile, left) in [
            ("url(1)", "url1"),
            ("xrgb(1)", "xrgb1"),
            ("rgb(1", "rgb1"),
            ("rgb(url(1))", "rgburl1"),
            ("rgb(1;a:b)", "rgb1ab"),
            ("rgb(1)/*x*/)", "rgb(1)x"),
            ("expression(1)", "expression1"),
        ] {
            assert_eq!(style(hostile), format!("color: {left}"), "{hostile}");
        }
        // Brackets of the author's stay, and a value in them adds none.
        let of_author = in_style(&format!("color: rgb({}); width: calc({})", guard("1, 2, 3"), guard("1px)")));
        assert_eq!(plain(&of_author), "color: rgb(1, 2, 3); width: calc(1px)");
    }
}
