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
            Token::Text(_) | Token::Other => {
                owner = None;
                dotted = false;
            }
        }
    }
    found
}

/// `import "lib/name" as n;`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    /// `None`: not a plain text, so that only running it would tell.
    pub name: Option<String>,
    /// Of the name; where there is none, of the word `import`.
    pub range: Range<usize>,
}

/// What a script imports, in order.
pub(super) fn imports(source: &str) -> Vec<Import> {
    let mut found = Vec::new();
    let mut tokens = Tokens { source, at: 0 };
    let mut dotted = false;
    while let Some(token) = tokens.next() {
        let Token::Word(word) = token else {
            dotted = matches!(token, Token::Dot);
            continue;
        };
        if dotted || &source[word.clone()] != "import" {
            dotted = false;
            continue;
        }
        let Some(Token::Text(text)) = tokens.next() else {
            found.push(Import { name: None, range: word });
            continue;
        };
        let name = source[text.clone()].strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let name = name.filter(|name| !name.contains('\\'));
        let ends = match tokens.next() {
            Some(Token::Word(next)) => &source[next] == "as",
            Some(Token::Other) => source[..tokens.at].ends_with(';'),
            Some(Token::Dot | Token::Text(_)) => false,
            None => true,
        };
        found.push(Import { name: name.filter(|_| ends).map(str::to_owned), range: text });
    }
    found
}

enum Token {
    Word(Range<usize>),
    /// With its quotes.
    Text(Range<usize>),
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
                let start = self.at;
                self.skip_text(c);
                return Some(Token::Text(start..self.at));
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

    #[test]
    fn finds_imports_and_tells_plain_names_from_calculated_ones() {
        let source = "import \"lib/a\" as a; // import \"no\" as no;\nlet t = \"import\"; import \"lib/\" + t as b;\nimport t as c; import `x` as d; import \"lib/e\";";
        let found: Vec<_> = imports(source).into_iter().map(|import| import.name).collect();
        assert_eq!(found, [Some("lib/a".to_owned()), None, None, None, Some("lib/e".to_owned())]);
    }
}
