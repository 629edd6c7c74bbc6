//! What a template's source names besides variables: other templates, filters and tests; and where it names what.
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

/// Which tag names another template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Include,
    Extends,
    Import,
}

/// A template that another names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub tag: Tag,
    /// Empty when the name is computed, which can't be checked.
    pub name: String,
    pub range: Range<usize>,
}

/// A filter with what can be told of its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub name: String,
    pub range: Range<usize>,
    /// The first argument, where it is a text.
    pub first: Option<Named>,
    /// The names of its named arguments.
    pub keywords: Vec<Named>,
    /// What stands between its brackets, where no value is needed to know it: texts, numbers, `true`, `none`.
    pub constants: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    pub links: Vec<Link>,
    pub filters: Vec<Call>,
    pub tests: Vec<Named>,
    /// Everything that looks like a variable: `record.name`.
    pub paths: Vec<Named>,
    /// The same in brackets: `record["name"]` is `record.name` here.
    pub subscripts: Vec<Named>,
    /// Names that the template gives values to: by `set`, `for`, `with`, `macro` and `import`.
    pub assigned: Vec<String>,
}

/// What a piece of a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Text,
    Output,
    Statement,
    Comment,
}

/// A piece of a source; pieces follow each other without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub part: Part,
    pub range: Range<usize>,
    /// Without the braces.
    pub inner: Range<usize>,
}

impl Piece {
    /// The words of a statement: `block`, `content`.
    pub fn words<'a>(&self, source: &'a str) -> Vec<&'a str> {
        let words = tokens(source, &self.inner).into_iter();
        words.filter_map(|token| if let Token::Word(range) = token { Some(&source[range]) } else { None }).collect()
    }

    /// What the engine reads of it as more than text.
    pub fn tokens(&self, source: &str) -> Vec<Token> {
        match self.part {
            Part::Output | Part::Statement => tokens(source, &self.inner),
            Part::Text | Part::Comment => Vec::new(),
        }
    }

    /// The word that says which statement it is.
    pub fn leading<'a>(&self, source: &'a str) -> &'a str {
        if self.part == Part::Statement { self.words(source).first().copied().unwrap_or("") } else { "" }
    }
}

/// Takes a source apart that has already been parsed without error.
pub(super) fn pieces(source: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut text_from = 0;
    while let Some((start, part)) = tag_after(source, at) {
        let inner_end = match part {
            Part::Comment => source[start + 2..].find("#}").map_or(source.len(), |offset| start + 2 + offset),
            _ => block_end(source, start + 2, part),
        };
        let piece = Piece { part, range: start..(inner_end + 2).min(source.len()), inner: start + 2..inner_end };
        pieces.extend(text(text_from..start));
        text_from = piece.range.end;
        at = if piece.leading(source) == "raw" { raw_end(source, text_from) } else { text_from };
        pieces.push(piece);
    }
    pieces.extend(text(text_from..source.len()));
    pieces
}

fn text(range: Range<usize>) -> Option<Piece> {
    (!range.is_empty()).then(|| Piece { part: Part::Text, range: range.clone(), inner: range })
}

/// Where the next tag begins, and which it is.
fn tag_after(source: &str, mut at: usize) -> Option<(usize, Part)> {
    loop {
        let start = at + source[at..].find('{')?;
        match source.as_bytes().get(start + 1) {
            Some(b'#') => return Some((start, Part::Comment)),
            Some(b'{') => return Some((start, Part::Output)),
            Some(b'%') => return Some((start, Part::Statement)),
            _ => at = start + 1,
        }
    }
}

/// Where the `{% endraw %}` begins that closes a `raw` whose text begins at `from`.
fn raw_end(source: &str, from: usize) -> usize {
    let closes = |tag: &str| {
        let name = tag.strip_prefix(['-', '+']).unwrap_or(tag).trim_ascii_start().strip_prefix("endraw");
        let end = name.map(str::trim_ascii_start);
        end.is_some_and(|end| end.strip_prefix(['-', '+']).unwrap_or(end).starts_with("%}"))
    };
    let mut tags = source[from..].match_indices("{%").map(|(at, open)| (from + at, from + at + open.len()));
    tags.find(|(_, inner)| closes(&source[*inner..])).map_or(source.len(), |(start, _)| start)
}

/// Where the block that begins before `at` closes; texts in it may hold braces, and so may mappings.
fn block_end(source: &str, mut at: usize, part: Part) -> usize {
    let close = if part == Part::Output { "}}" } else { "%}" };
    let bytes = source.as_bytes();
    let mut depth = 0_usize;
    while at < bytes.len() && !(depth == 0 && bytes[at..].starts_with(close.as_bytes())) {
        at = match bytes[at] {
            quote @ (b'"' | b'\'') => text_end(bytes, at + 1, quote) + 1,
            byte => {
                match byte {
                    b'(' | b'[' | b'{' => depth += 1,
                    b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                at + 1
            }
        };
    }
    at.min(bytes.len())
}

fn text_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

#[derive(Debug, PartialEq)]
pub(super) enum Token {
    Word(Range<usize>),
    Text(Range<usize>),
    /// And where it stands.
    Sign(u8, usize),
}

impl Token {
    pub fn is(&self, wanted: u8) -> bool {
        matches!(self, Self::Sign(sign, _) if *sign == wanted)
    }

    /// Of a text, with its quotes.
    pub fn start(&self) -> usize {
        match self {
            Self::Word(range) => range.start,
            Self::Text(range) => range.start - 1,
            Self::Sign(_, at) => *at,
        }
    }

    pub fn end(&self) -> usize {
        match self {
            Self::Word(range) => range.end,
            Self::Text(range) => range.end + 1,
            Self::Sign(_, at) => at + 1,
        }
    }
}

fn tokens(source: &str, inner: &Range<usize>) -> Vec<Token> {
    let bytes = &source.as_bytes()[..inner.end];
    let mut tokens = Vec::new();
    let mut at = inner.start;
    while at < bytes.len() {
        let from = at;
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                let end = text_end(bytes, at + 1, quote);
                tokens.push(Token::Text(from + 1..end));
                at = end + 1;
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                tokens.push(Token::Word(from..at));
            }
            byte => {
                if !byte.is_ascii_whitespace() {
                    tokens.push(Token::Sign(byte, at));
                }
                at += 1;
            }
        }
    }
    tokens
}

/// Reads the `{{ … }}` and `{% … %}` of a source that has already been parsed without error.
pub(super) fn references(source: &str) -> References {
    let mut found = References::default();
    for piece in pieces(source).iter().filter(|piece| matches!(piece.part, Part::Output | Part::Statement)) {
        let block = Block { source, tokens: tokens(source, &piece.inner) };
        if piece.part == Part::Statement {
            block.links(piece, &mut found);
            block.assigned(&mut found);
        }
        block.names(&mut found);
    }
    found
}

struct Block<'a> {
    source: &'a str,
    tokens: Vec<Token>,
}

impl Block<'_> {
    fn word(&self, index: usize) -> Option<&str> {
        match self.tokens.get(index)? {
            Token::Word(range) => Some(&self.source[range.clone()]),
            _ => None,
        }
    }

    fn named(&self, range: &Range<usize>) -> Named {
        Named { name: self.source[range.clone()].to_owned(), range: range.clone() }
    }

    fn sign(&self, index: usize, wanted: u8) -> bool {
        self.tokens.get(index).is_some_and(|token| token.is(wanted))
    }

    /// The place of the statement's first word: `-` may stand before it.
    fn lead(&self) -> usize {
        self.tokens.iter().position(|token| matches!(token, Token::Word(_))).unwrap_or(0)
    }

    fn links(&self, piece: &Piece, found: &mut References) {
        let lead = self.lead();
        let tag = match self.word(lead) {
            Some("include") => Tag::Include,
            Some("extends") => Tag::Extends,
            Some("import" | "from") => Tag::Import,
            _ => return,
        };
        let texts = self.tokens[lead + 1..].iter();
        let before = |token: &&Token| !matches!(token, Token::Word(_));
        let mut any = false;
        for token in texts.take_while(before) {
            if let Token::Text(range) = token {
                let Named { name, range } = self.named(range);
                found.links.push(Link { tag, name, range });
                any = true;
            }
        }
        if !any || self.tokens.iter().any(|token| token.is(b'~')) {
            found.links.push(Link { tag, name: String::new(), range: piece.range.clone() });
        }
    }

    fn assigned(&self, found: &mut References) {
        let lead = self.lead();
        let rest = lead + 1..self.tokens.len();
        let words = |range: Range<usize>| range.filter_map(|index| self.word(index)).map(str::to_owned);
        let place = |wanted: &str| rest.clone().find(|index| self.word(*index) == Some(wanted));
        match self.word(lead) {
            Some("for") => found.assigned.extend(words(lead + 1..place("in").unwrap_or(rest.end))),
            Some("set") => {
                let equals = rest.clone().find(|index| self.sign(*index, b'=')).unwrap_or(rest.end);
                found.assigned.extend(words(lead + 1..equals));
            }
            Some("with") => {
                let given = rest.filter(|index| self.sign(index + 1, b'=') && !self.sign(index + 2, b'='));
                found.assigned.extend(given.filter_map(|index| self.word(index)).map(str::to_owned));
            }
            Some("macro") => found.assigned.extend(words(rest)),
            Some("import" | "from") => {
                let from = place("import").or_else(|| place("as")).unwrap_or(lead);
                found.assigned.extend(words(from + 1..rest.end));
            }
            _ => {}
        }
    }

    fn names(&self, found: &mut References) {
        if self.word(self.lead()) == Some("filter") {
            found.filters.extend(self.call(self.lead() + 1));
        }
        for (index, token) in self.tokens.iter().enumerate() {
            match token {
                Token::Sign(b'|', _) => found.filters.extend(self.call(index + 1)),
                Token::Word(range) if &self.source[range.clone()] == "is" => {
                    let next = index + 1 + usize::from(self.word(index + 1) == Some("not"));
                    if let Some(Token::Word(range)) = self.tokens.get(next) {
                        found.tests.push(self.named(range));
                    }
                }
                Token::Word(range) if index == 0 || !self.sign(index - 1, b'.') => {
                    found.subscripts.extend(self.subscript(index));
                    let mut end = range.end;
                    let mut next = index + 1;
                    while let (true, Some(Token::Word(part))) = (self.sign(next, b'.'), self.tokens.get(next + 1)) {
                        end = part.end;
                        next += 2;
                    }
                    let name: String = self.source[range.start..end].split_whitespace().collect();
                    found.paths.push(Named { name, range: range.start..end });
                }
                _ => {}
            }
        }
    }

    /// The path that begins there and ends in a name in brackets.
    fn subscript(&self, at: usize) -> Option<Named> {
        let mut path = self.word(at)?.to_owned();
        let mut next = at + 1;
        loop {
            match (self.tokens.get(next)?, self.tokens.get(next + 1)?) {
                (Token::Sign(b'.', _), Token::Word(part)) => {
                    path = format!("{path}.{}", &self.source[part.clone()]);
                    next += 2;
                }
                (Token::Sign(b'[', _), Token::Text(part)) if self.sign(next + 2, b']') => {
                    let Named { name, range } = self.named(part);
                    return (!name.contains(['.', '\\'])).then(|| Named { name: format!("{path}.{name}"), range });
                }
                _ => return None,
            }
        }
    }

    /// Whether what stands there is the same for every record; the name of an argument is.
    fn is_constant(&self, index: usize) -> bool {
        match self.word(index) {
            Some("true" | "false" | "none" | "True" | "False" | "None") => true,
            Some(_) => self.sign(index + 1, b'=') && !self.sign(index + 2, b'='),
            // Products of constants are worked out as soon as they are read, however large.
            None => !self.sign(index, b'|') && !self.sign(index, b'*'),
        }
    }

    /// The filter whose name stands there.
    fn call(&self, at: usize) -> Option<Call> {
        let Some(Token::Word(range)) = self.tokens.get(at) else { return None };
        let Named { name, range } = self.named(range);
        let mut call = Call { name, range, first: None, keywords: Vec::new(), constants: None };
        if !self.sign(at + 1, b'(') {
            call.constants = Some(String::new());
            return Some(call);
        }
        if let Some(Token::Text(text)) = self.tokens.get(at + 2) {
            call.first = Some(self.named(text));
        }
        let mut depth = 0_usize;
        let mut is_constant = true;
        for index in at + 1..self.tokens.len() {
            is_constant &= self.is_constant(index);
            match &self.tokens[index] {
                Token::Sign(b'(' | b'[' | b'{', _) => depth += 1,
                Token::Sign(b')' | b']' | b'}', end) if depth == 1 => {
                    let written = &self.source[self.tokens[at + 1].end()..*end];
                    call.constants = is_constant.then(|| written.to_owned());
                    break;
                }
                Token::Sign(b')' | b']' | b'}', _) => depth -= 1,
                Token::Word(word) if depth == 1 && self.sign(index + 1, b'=') && !self.sign(index + 2, b'=') => {
                    call.keywords.push(self.named(word));
                }
                _ => {}
            }
        }
        Some(call)
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
        let source = "{# x|no #}{{ a.b | upper | default('b | c') }}{% include \"foot\" %}{% if a is not defined %}ö{% endif %}{{ \"}} | no\" }}{% raw %}{{ a | no }}{% endraw %}{{ c }}";
        let found = references(source);
        let filters: Vec<_> = found.filters.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(found.links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["foot"]);
        assert_eq!(filters, ["upper", "default"]);
        assert_eq!(found.filters[1].first.as_ref().map(|text| text.name.as_str()), Some("b | c"));
        assert_eq!(names(&found.tests), ["defined"]);
        assert!(names(&found.paths).contains(&"a.b") && names(&found.paths).contains(&"c"), "{:?}", found.paths);
        assert!(!names(&found.paths).contains(&"no"));
    }

    #[test]
    fn finds_arguments_and_what_a_template_assigns() {
        let found = references(
            "{{ n | plural(one=\"a\", other=f(x=1)) }}{% for a, b in record.rows %}{% set c = a == b %}{% endfor %}\
             {%- from 'buttons' import button as knob %}{% extends name %}{% with d = 1, e = 2 %}{% endwith %}",
        );
        assert_eq!(names(&found.filters[0].keywords), ["one", "other"]);
        assert_eq!(found.assigned, ["a", "b", "c", "button", "as", "knob", "d", "e"]);
        assert_eq!((found.links[0].tag, found.links[0].name.as_str()), (Tag::Import, "buttons"));
        assert_eq!((found.links[1].tag, found.links[1].name.as_str()), (Tag::Extends, ""));
    }

    #[test]
    fn a_block_ends_where_the_engine_ends_it() {
        let source =
            "{{ {\"a\": {\"b\": 1}} ~ '{% raw %}' }}{#}#}{% raw %}{{ {% endraws %}{%- endraw -%}{% set c = 1 %}";
        let parts: Vec<_> = pieces(source).iter().map(|piece| source[piece.range.clone()].to_owned()).collect();
        let wanted =
            ["{{ {\"a\": {\"b\": 1}} ~ '{% raw %}' }}", "{#}#}", "{% raw %}", "{{ {% endraws %}", "{%- endraw -%}"];
        assert_eq!(parts[..5], wanted);
        assert_eq!(parts[5], "{% set c = 1 %}");
    }

    #[test]
    fn pieces_cover_the_whole_source() {
        let source = "a{{ b }}{% block c %}d{# e #}{% endblock %}{% raw %}{% f %}{% endraw %}g{";
        let pieces = pieces(source);
        assert_eq!(pieces.iter().map(|piece| &source[piece.range.clone()]).collect::<String>(), source);
        let parts: Vec<_> = pieces.iter().map(|piece| (piece.part, &source[piece.range.clone()])).collect();
        assert_eq!(parts[2], (Part::Statement, "{% block c %}"));
        assert!(parts.contains(&(Part::Text, "{% f %}")), "{parts:?}");
    }
}
