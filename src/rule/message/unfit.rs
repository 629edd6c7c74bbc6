//! What the engine has no stack or no bound for, refused before it reads a word of it.

use super::measured::products;
use super::scan::{Part, Piece, Token, pieces};

/// Words and signs that one `{{ … }}` or `{% … %}` may have. The engine calls itself for each link of a chain such as
/// `a.b.c` or `a | b | c`; some thousands end the process.
const WORDS: usize = 600;
/// `~` and `+` of one tag. Each may add a text of the largest size before anything is measured.
const JOINS: usize = 32;
/// Brackets within brackets of one tag.
const BRACKETS: usize = 24;
/// Tags within tags. To the engine an `elif` is an `if` within the `else` of the one before it.
const NESTING: usize = 64;
/// Characters of a line: the engine counts columns to 65,535, and fails to count on.
const LINE: usize = 65_000;
/// `<![CDATA[` of one source, which no mail needs: the reader of Markdown looks for the end of each in all that follows.
const SECTIONS: usize = 8;

/// Why a source is refused, and in which of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rule) struct Unfit {
    pub line: usize,
    pub problem: String,
}

/// A source as the engine may read it, unless it has what no author writes and the engine has no stack for.
pub(in crate::rule) fn bounded(source: &str) -> Result<String, Unfit> {
    long_line(source)?;
    sections(source)?;
    let mut nesting = Nesting::default();
    for piece in &pieces(source) {
        let problem = too_many(piece, source).or_else(|| match piece.part {
            Part::Statement => nesting.enter(piece, source),
            Part::Text | Part::Output | Part::Comment => None,
        });
        if let Some(problem) = problem {
            let line = source[..piece.range.start].matches('\n').count() + 1;
            return Err(Unfit { line, problem });
        }
    }
    Ok(products(source))
}

fn long_line(source: &str) -> Result<(), Unfit> {
    let long = |line: &str| line.len() > LINE && line.chars().count() > LINE;
    let found = source.lines().position(long).map(|index| index + 1);
    found.map_or(Ok(()), |line| Err(Unfit { line, problem: format!("line {line} has more than {LINE} characters") }))
}

fn sections(source: &str) -> Result<(), Unfit> {
    let Some((at, _)) = source.match_indices("<![CDATA[").nth(SECTIONS) else { return Ok(()) };
    let line = source[..at].matches('\n').count() + 1;
    Err(Unfit { line, problem: format!("more than {SECTIONS} times `<![CDATA[`, which is not for messages") })
}

fn too_many(piece: &Piece, source: &str) -> Option<String> {
    let tokens = piece.tokens(source);
    if tokens.len() > WORDS {
        return Some(format!("an expression has more than {WORDS} words and signs"));
    }
    let joins = tokens.iter().filter(|token| token.is(b'~') || token.is(b'+')).count();
    if joins > JOINS {
        return Some(format!("an expression has more than {JOINS} `~` and `+`"));
    }
    let mut depth = 0_usize;
    let mut deepest = 0;
    for token in &tokens {
        match token {
            Token::Sign(b'(' | b'[' | b'{', _) => depth += 1,
            Token::Sign(b')' | b']' | b'}', _) => depth = depth.saturating_sub(1),
            Token::Sign(..) | Token::Word(_) | Token::Text(_) => {}
        }
        deepest = deepest.max(depth);
    }
    (deepest > BRACKETS).then(|| format!("an expression has brackets more than {BRACKETS} deep"))
}

/// The tags that are open, each with how deep it is by itself.
#[derive(Default)]
struct Nesting {
    open: Vec<usize>,
    depth: usize,
}

impl Nesting {
    fn enter(&mut self, piece: &Piece, source: &str) -> Option<String> {
        match piece.leading(source) {
            "autoescape" => return Some("`autoescape` is not for messages: values stay text everywhere".to_owned()),
            "if" | "for" | "with" | "block" | "macro" | "call" | "filter" => self.open(),
            "set" if is_block(&piece.tokens(source)) => self.open(),
            "elif" => {
                self.depth += 1;
                self.open.last_mut().into_iter().for_each(|own| *own += 1);
            }
            word if word.starts_with("end") && word != "endraw" => self.depth -= self.open.pop().unwrap_or(0),
            _ => {}
        }
        (self.depth > NESTING).then(|| format!("tags are nested more than {NESTING} deep; an `elif` nests as well"))
    }

    fn open(&mut self) {
        self.open.push(1);
        self.depth += 1;
    }
}

/// Whether a `set` takes what stands up to its `endset`.
pub(super) fn is_block(set: &[Token]) -> bool {
    let signs = set.iter().skip_while(|token| !matches!(token, Token::Word(_)));
    signs.take_while(|token| !token.is(b'|')).all(|token| !token.is(b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(source: &str) -> Option<(usize, String)> {
        bounded(source).err().map(|unfit| (unfit.line, unfit.problem))
    }

    #[test]
    fn what_is_refused_is_told_with_its_line() {
        for (source, told) in [
            (format!("\n{{{{ a{} }}}}", "|b".repeat(300)), "more than 600 words"),
            (format!("\n{{{{ a{} }}}}", "~a".repeat(33)), "more than 32 `~`"),
            (format!("\n{{% if a{} %}}", "+a".repeat(33)), "more than 32 `~`"),
            (format!("\n{{{{ {}1{} }}}}", "f([".repeat(13), "])".repeat(13)), "24 deep"),
            ("\n{%- autoescape false %}".to_owned(), "`autoescape`"),
            (format!("\n{}", "<![CDATA[".repeat(9)), "`<![CDATA[`"),
            (format!("\n{}", "x".repeat(65_001)), "65000 characters"),
            (format!("\n{}", "{% if a %}".repeat(65)), "nested more than 64 deep"),
            (format!("\n{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(64)), "nested more than 64 deep"),
        ] {
            let (line, problem) = problem(&source).unwrap_or_else(|| panic!("{told}"));
            assert!(line == 2 && problem.contains(told), "{line}: {problem}");
        }
    }

    #[test]
    fn what_stands_side_by_side_is_not_nested() {
        for source in [
            "{% if a %}{% elif b %}{% else %}{% endif %}".repeat(200),
            "{% set a = 1 %}".repeat(200),
            "{% set a %}{% endset %}{% set a | upper %}{% endset %}".repeat(200),
            "{% for a in b %}{% else %}{% endfor %}{% raw %}{% if %}{% endraw %}".repeat(200),
            "{{ a }}\n".repeat(9_000),
        ] {
            assert_eq!(problem(&source), None);
        }
    }

    /// Each of these took minutes when the rest was read again for every brace.
    #[test]
    fn a_source_is_read_once() {
        for inner in ["{{", "{#", "{{\"", "{%", "{% endraws %}", "{% \"", "{{ ("] {
            for (before, after) in [("{% raw %}", "{% endraw %}"), ("", ""), ("{{ \"", "\" }}")] {
                let inner = format!("{inner}\n").repeat(200_000);
                let started = std::time::Instant::now();
                let _ = bounded(&format!("{before}{inner}{after}"));
                assert!(started.elapsed().as_secs() < 5, "{before}{}", &inner[..20]);
            }
        }
    }
}
