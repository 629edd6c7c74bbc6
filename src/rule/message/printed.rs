//! What a source prints whatever the record, as `{{ answer_url }}` beside no `if` and without a `default`: where such a
//! value is never there, no message can be made.

use super::scan::{Named, Part, Piece, Token, pieces};
use std::collections::BTreeSet;
use std::ops::Range;

/// Filters that hand on what is missing, so that printing it stays an error.
const HANDING_ON: [&str; 2] = ["urlencode", "trim"];

/// What is certain to be read of a source.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Printed {
    /// Names alone, each with the block that it stands in.
    pub names: Vec<(Named, Option<String>)>,
    /// The blocks it has.
    pub blocks: BTreeSet<String>,
    /// Where tags stand that are always read: what these include is read as well.
    tags: Vec<Range<usize>>,
}

impl Printed {
    /// Whether the tag that has this in it is always read.
    pub fn reads(&self, part: &Range<usize>) -> bool {
        self.tags.iter().any(|tag| tag.start <= part.start && part.end <= tag.end)
    }
}

pub(super) fn printed(source: &str) -> Printed {
    let mut found = Printed::default();
    let mut open: Vec<(String, Option<String>)> = Vec::new();
    for piece in pieces(source) {
        let is_certain = open.iter().all(|(tag, _)| !matches!(tag.as_str(), "if" | "macro" | "call"));
        match piece.part {
            Part::Output if is_certain => {
                let block = open.iter().rev().find_map(|(_, block)| block.clone());
                found.names.extend(alone(source, &piece).map(|name| (name, block)));
            }
            Part::Statement => {
                if is_certain {
                    found.tags.push(piece.range.clone());
                }
                let words = piece.words(source);
                match words.first().copied().unwrap_or_default() {
                    tag @ ("if" | "for" | "macro" | "call") => open.push((tag.to_owned(), None)),
                    "block" => {
                        let name = words.get(1).copied().unwrap_or_default().to_owned();
                        found.blocks.insert(name.clone());
                        open.push(("block".to_owned(), Some(name)));
                    }
                    "endif" | "endfor" | "endmacro" | "endcall" | "endblock" => drop(open.pop()),
                    _ => {}
                }
            }
            Part::Output | Part::Text | Part::Comment => {}
        }
    }
    found
}

/// The name that a tag prints, if nothing else is in it but filters that hand on what is missing.
fn alone(source: &str, piece: &Piece) -> Option<Named> {
    let tokens = piece.tokens(source);
    let mut tokens = tokens.iter().filter(|token| !token.is(b'-') && !token.is(b'+'));
    let Some(Token::Word(name)) = tokens.next() else { return None };
    let handed_on = |token: &Token| match token {
        Token::Word(filter) => HANDING_ON.contains(&&source[filter.clone()]),
        Token::Sign(sign, _) => *sign == b'|',
        Token::Text(_) => false,
    };
    tokens.all(handed_on).then(|| Named { name: source[name.clone()].to_owned(), range: name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::message::tests::compiled;

    #[test]
    fn what_is_printed_whatever_the_record_is_told_from_what_is_guarded() {
        let source = "{{ a }}{{- b | urlencode -}}{{ c | default(\"\") }}{{ d or e }}{% if f %}{{ f }}{% include \"x\" %}{% endif %}\
                      {% for g in range(11) %}{{ h }}{% endfor %}{% macro i() %}{{ j }}{% endmacro %}\
                      {% block k %}{{ l }}{% include \"y\" %}{% endblock %}{{ m.n }}{{ o ~ \"\" }}";
        let found = printed(source);
        let names: Vec<_> = found.names.iter().map(|(named, block)| (named.name.as_str(), block.as_deref())).collect();
        assert_eq!(names, [("a", None), ("b", None), ("h", None), ("l", Some("k"))]);
        let reads = |part: &str| source.find(part).map(|at| found.reads(&(at..at + part.len())));
        assert_eq!((reads("\"x\""), reads("\"y\"")), (Some(false), Some(true)));
    }

    #[test]
    fn what_a_template_prints_whatever_the_record_is_known() {
        let prints = |files: &[(&str, &str)]| -> Vec<String> {
            let templates = compiled(files).unwrap();
            let mut found: Vec<_> = templates.prints(&"mail".into()).iter().map(|used| used.path.clone()).collect();
            found.retain(|name| name.ends_with("_url"));
            found.sort();
            found
        };
        let mail = |body: &str| format!("---\nsubject: a\n---\n{body}\n");
        assert_eq!(
            prints(&[("mail.md", &mail("{{ answer_url }}/1 {% if confirm_url %}{{ confirm_url }}{% endif %}"))]),
            ["answer_url"]
        );
        assert!(prints(&[("mail.md", &mail("{{ answer_url | default('') }}"))]).is_empty());
        let foot = ("partials/foot.md", "{{ unsubscribe_url }}");
        assert_eq!(prints(&[("mail.md", &mail("{% include \"foot\" %}")), foot]), ["unsubscribe_url"]);
        assert!(
            prints(&[("mail.md", &mail("{% if unsubscribe_url %}{% include \"foot\" %}{% endif %}")), foot]).is_empty()
        );
        let base = (
            "layouts/base.html",
            "{% block a %}{{ unsubscribe_url }}{% endblock %}{% block b %}{{ preferences_url }}{% endblock %}",
        );
        let body = mail("{% extends \"base\" %}{% block a %}{{ confirm_url }}{% endblock %}");
        assert_eq!(prints(&[("mail.html", &body), base]), ["confirm_url", "preferences_url"]);
    }
}
