//! Where the text of HTML and MJML stands.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_left_out() {
        let texts = |markup: &str| outside_tags(markup).map(|text| markup[text].to_owned()).collect::<Vec<_>>();
        assert_eq!(texts("a<b>c</b> d > e<br/>"), ["a", "c", " d > e"]);
        assert_eq!(texts("<p>é<"), ["é"]);
        assert_eq!(texts(""), [""; 0]);
    }
}
