//! Where the text of HTML and MJML stands, and how deep it is nested.

use std::ops::Range;

/// What stands outside tags, in order. A comment is taken for tags and text; whoever asks leaves both as they are shown.
pub(super) fn outside_tags(markup: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= markup.len() {
            return None;
        }
        let end = markup[at..].find('<').map_or(markup.len(), |length| at + length);
        let text = at..end;
        at = markup[end..].find('>').map_or(markup.len(), |length| end + length + 1);
        Some(text)
    })
    .filter(|text| !text.is_empty())
}

/// Tags within tags that a message may have at most. Those that read pages call themselves for each: a few hundred are
/// more than a thread's stack holds, and it ends the whole process. Messages have a dozen.
const DEEPEST: usize = 64;
/// Tags that hold nothing.
const VOID: [&str; 13] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"];
/// Tags that end where the next of them begins, so that authors leave their ends out; to be nested they need another.
const OPEN_ENDED: [&str; 12] =
    ["p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "optgroup"];

/// Why a page is refused that [`too_deep`] finds something in.
pub(super) const TOO_DEEP: &str = "its tags are nested more than 64 deep";

/// The first tag that is nested too deep.
pub(super) fn too_deep(markup: &str) -> Option<Range<usize>> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(start) = markup[at..].find('<').map(|length| at + length) {
        let end = markup[start..].find('>').map_or(markup.len(), |length| start + length + 1);
        at = end;
        let tag = markup[start + 1..end].trim_end_matches('>');
        let (closes, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let name = tag.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        let holds = name.starts_with(|c: char| c.is_ascii_alphabetic()) && !tag.ends_with('/');
        if !holds || VOID.contains(&name.as_str()) || OPEN_ENDED.contains(&name.as_str()) {
            // A `<` of a text may stand right before a tag.
            at = if holds { end } else { start + 1 };
        } else if closes {
            depth = depth.saturating_sub(1);
        } else {
            depth += 1;
            if depth > DEEPEST {
                return Some(start..end);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_is_found_and_nothing_else() {
        let deep = |open: &str, close: &str, times: usize| format!("{}x{}", open.repeat(times), close.repeat(times));
        assert!(too_deep(&deep("<div>", "</div>", 64)).is_none());
        assert_eq!(too_deep(&deep("<div>", "</div>", 65)), Some(64 * 5..65 * 5));
        assert!(too_deep(&"<table><tr><td>".repeat(65)).is_some());
        assert!(too_deep(&"<mj-section>".repeat(65)).is_some());
        assert!(too_deep(&"a < b <".repeat(65)).is_none());
        for flat in ["<div>a</div>", "<p>a", "<br>", "<img src=x>", "<li>a", "<td>", "<a/>", "<!-- a -->", "<!doctype>"]
        {
            assert!(too_deep(&flat.repeat(500)).is_none(), "{flat}");
        }
    }

    #[test]
    fn tags_are_left_out() {
        let texts = |markup: &str| outside_tags(markup).map(|text| markup[text].to_owned()).collect::<Vec<_>>();
        assert_eq!(texts("a<b>c</b> d > e<br/>"), ["a", "c", " d > e"]);
        assert_eq!(texts("<p>é<"), ["é"]);
        assert_eq!(texts(""), [""; 0]);
    }
}
