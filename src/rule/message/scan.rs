//! What a template's source names besides variables: included files, filters and tests.
//!
//! The template engine resolves these only while rendering, which is too late: a mail must not fail at
//! night over a filter misspelt in the afternoon.

use std::ops::Range;

/// A name and its place in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub name: String,
    pub range: Range<usize>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    pub includes: Vec<Named>,
    pub filters: Vec<Named>,
    pub tests: Vec<Named>,
}

/// Reads the `{{ … }}` and `{% … %}` of a source that has already been parsed without error.
pub(super) fn references(source: &str) -> References {
    let mut found = References::default();
    let mut at = 0;
    while let Some(start) = source[at..].find('{').map(|offset| at + offset) {
        let end = match source.as_bytes().get(start + 1) {
            Some(b'#') => source[start..].find("#}").map(|offset| start + offset + 2),
            Some(b'{' | b'%') => Some(block(source, start + 2, &mut found)),
            _ => Some(start + 1),
        };
        let Some(end) = end else { break };
        at = end;
    }
    found
}

#[derive(PartialEq)]
enum Token {
    Word(Range<usize>),
    Text(Range<usize>),
    Sign(u8),
}

/// Reads one block from `start`; returns where it ends.
fn block(source: &str, start: usize, found: &mut References) -> usize {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut at = start;
    while at < bytes.len() && !source[at..].starts_with("}}") && !source[at..].starts_with("%}") {
        let from = at;
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                tokens.push(Token::Text(from + 1..at.min(bytes.len())));
                at += 1;
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                tokens.push(Token::Word(from..at));
            }
            byte => {
                at += source[at..].chars().next().map_or(1, char::len_utf8);
                if !byte.is_ascii_whitespace() {
                    tokens.push(Token::Sign(byte));
                }
            }
        }
        at = at.min(bytes.len());
        while !source.is_char_boundary(at) {
            at += 1;
        }
    }
    sort_out(source, &tokens, found);
    (at + 2).min(bytes.len())
}

fn sort_out(source: &str, tokens: &[Token], found: &mut References) {
    let named = |range: &Range<usize>| Named { name: source[range.clone()].to_owned(), range: range.clone() };
    let word =
        |token: Option<&Token>, wanted: &str| matches!(token, Some(Token::Word(r)) if source[r.clone()] == *wanted);
    let leading = tokens.iter().position(|token| matches!(token, Token::Word(_))).unwrap_or(0);
    if ["include", "import", "from", "extends"].iter().any(|tag| word(tokens.get(leading), tag)) {
        found.includes.extend(tokens.iter().filter_map(|t| if let Token::Text(r) = t { Some(named(r)) } else { None }));
    }
    for (index, token) in tokens.iter().enumerate() {
        let mut next = index + 1;
        if *token == Token::Sign(b'|')
            && let Some(Token::Word(range)) = tokens.get(next)
        {
            found.filters.push(named(range));
        }
        if word(Some(token), "is") {
            next += usize::from(word(tokens.get(next), "not"));
            if let Some(Token::Word(range)) = tokens.get(next) {
                found.tests.push(named(range));
            }
        }
    }
    if word(tokens.get(leading), "filter")
        && let Some(Token::Word(range)) = tokens.get(leading + 1)
    {
        found.filters.push(named(range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[Named]) -> Vec<&str> {
        list.iter().map(|named| named.name.as_str()).collect()
    }

    #[test]
    fn finds_what_blocks_name_and_nothing_in_texts_or_comments() {
        let source = "{# x|no #}{{ a | upper | default('b | c') }}{% include \"foot.md\" %}{% if a is not defined %}ö{% endif %}{{ \"}} | no\" }}";
        let found = references(source);
        assert_eq!(names(&found.includes), ["foot.md"]);
        assert_eq!(names(&found.filters), ["upper", "default"]);
        assert_eq!(names(&found.tests), ["defined"]);
    }
}
