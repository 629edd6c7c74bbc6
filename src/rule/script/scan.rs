//! Which properties a script's text names, without running it: a dry call only walks one way through its
//! branches.

use std::ops::Range;

/// `variable.property`, not followed by `(`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Property {
    pub variable: String,
    pub name: String,
    pub range: Range<usize>,
}

/// All properties in order. Texts and comments are skipped.
pub(super) fn properties(source: &str) -> Vec<Property> {
    let mut found = Vec::new();
    let mut owner: Option<String> = None;
    let mut dotted = false;
    for token in (Tokens { source, at: 0 }) {
        match token {
            Token::Word(range) => {
                let name = &source[range.clone()];
                let called = source[range.end..].trim_start().starts_with('(');
                match owner.take() {
                    Some(variable) if dotted && !called => {
                        found.push(Property { variable, name: name.to_owned(), range });
                    }
                    _ if !dotted => owner = Some(name.to_owned()),
                    _ => {}
                }
                dotted = false;
            }
            Token::Dot => dotted = true,
            Token::Other => {
                owner = None;
                dotted = false;
            }
        }
    }
    found
}

enum Token {
    Word(Range<usize>),
    /// `.` or `?.`
    Dot,
    Other,
}

struct Tokens<'a> {
    source: &'a str,
    at: usize,
}

impl Tokens<'_> {
    fn skip_to(&mut self, end: &str, from: usize) {
        let rest = &self.source[from..];
        self.at = rest.find(end).map_or(self.source.len(), |found| from + found + end.len());
    }

    /// Skips a text with backslash escapes.
    fn skip_text(&mut self, quote: char) {
        let mut escaped = false;
        let rest = self.source[self.at + 1..].char_indices();
        for (offset, c) in rest {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    self.at += 1 + offset + c.len_utf8();
                    return;
                }
                _ => {}
            }
        }
        self.at = self.source.len();
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let rest = &self.source[self.at..];
            let c = rest.chars().next()?;
            if c.is_whitespace() {
                self.at += c.len_utf8();
            } else if rest.starts_with("//") {
                self.skip_to("\n", self.at);
            } else if rest.starts_with("/*") {
                self.skip_to("*/", self.at + 2);
            } else if c == '"' || c == '\'' || c == '`' {
                self.skip_text(c);
                return Some(Token::Other);
            } else if c.is_alphabetic() || c == '_' {
                let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let start = self.at;
                self.at += length;
                return Some(Token::Word(start..self.at));
            } else if c == '?' && rest[1..].starts_with('.') {
                self.at += 1;
            } else {
                self.at += c.len_utf8();
                return Some(if c == '.' && !rest[1..].starts_with('.') { Token::Dot } else { Token::Other });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_properties_and_leaves_calls_texts_and_comments_alone() {
        let source = "// record.no\nfn eligible(record, now) { /* record.no */ let x = \"record.no\"; record.tier == 'a' && record?.total.floor() > 1.5 && record.keys().len > 2 && other.ok }";
        let found: Vec<_> = properties(source).into_iter().map(|p| format!("{}.{}", p.variable, p.name)).collect();
        assert_eq!(found, ["record.tier", "record.total", "other.ok"]);
    }
}
