//! Puts the measuring of values into a template's source: behind each tag that gives a value a name, a test of it, before
//! each that compares, a look at the clock, and between the parts of a long text, nothing. None of it changes what is
//! rendered, nor in which line what stands (decision 0052).
//!
//! The engine puts texts together by itself, where nobody can stop it. But only a name can be used twice, so what grows
//! has to go through names; and only a text that stands in a loop can be printed often, which the engine counts by the
//! number of texts and not by their length.

use super::measure::{MADE, NAMED};
use super::scan::{Part, Piece, Token, pieces};
use super::unfit::is_block;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;

/// Bytes of text that the engine counts as one instruction.
const TEXT: usize = 256;
/// What stands behind each factor of a product: by another factor a text or a list would be repeated without a bound, and
/// powers are for numbers alone.
const POWER: &str = "**(1)";

/// A source whose products are of numbers: the engine works out those of constants as soon as it reads them.
pub(super) fn products(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for piece in pieces(source) {
        factors(&mut out, source, &piece);
    }
    out
}

/// A source that has been parsed without error, with the measuring in it.
pub(super) fn measured(source: &str) -> String {
    let mut out = String::with_capacity(source.len() * 5 / 4);
    let mut sets: Vec<Vec<&str>> = Vec::new();
    let mut is_raw = false;
    for piece in pieces(source) {
        match piece.part {
            Part::Text => cut(&mut out, &source[piece.range.clone()], is_raw),
            Part::Comment | Part::Output => factors(&mut out, source, &piece),
            Part::Statement => {
                if compares(source, &piece) {
                    let trims = ["-", "+"].into_iter().find(|sign| source[piece.inner.clone()].starts_with(sign));
                    let _ = write!(out, "{{%{} if 0 is {NAMED} %}}{{% endif %}}", trims.unwrap_or_default());
                }
                factors(&mut out, source, &piece);
                is_raw = piece.leading(source) == "raw";
                let (test, names) = names(source, &piece, &mut sets);
                if !names.is_empty() {
                    let trims = ["-", "+"].into_iter().find(|sign| source[piece.inner.clone()].ends_with(sign));
                    let (names, trims) = (names.join(","), trims.unwrap_or_default());
                    let _ = write!(out, "{{% if [{names}] is {test} %}}{{% endif {trims}%}}");
                }
            }
        }
    }
    out
}

/// Whether it is an `if` of more than a name: it may take its time, and leaves nothing behind to be measured.
fn compares(source: &str, piece: &Piece) -> bool {
    let is_sign = |token: &Token| b"~+=!<>".iter().any(|sign| token.is(*sign));
    let is_in = |token: &Token| matches!(token, Token::Word(word) if &source[word.clone()] == "in");
    piece.leading(source) == "if" && piece.tokens(source).iter().any(|token| is_sign(token) || is_in(token))
}

/// A part of a measured source as its author wrote it.
pub(super) fn as_written(part: &str) -> String {
    part.replace(POWER, "")
}

/// The factor of a product that is no number, where that is what failed.
pub(super) fn factor<'s>(source: &'s str, failed: &Range<usize>) -> Option<&'s str> {
    source.get(failed.clone())?.strip_suffix(POWER).map(str::trim)
}

/// A text in parts, each an instruction.
fn cut(out: &mut String, text: &str, is_raw: bool) {
    let between = if is_raw { "{% endraw %}{% raw %}" } else { "{##}" };
    let mut rest = text;
    while rest.len() > TEXT {
        let end = end_of_part(rest, is_raw);
        out.push_str(&rest[..end]);
        rest = &rest[end..];
        if !rest.is_empty() {
            out.push_str(between);
        }
    }
    out.push_str(rest);
}

/// Where blanks end, for a tag with a `-` takes those beside it; and not behind a brace, which would make a tag. Blanks
/// without an end are cut all the same.
fn end_of_part(text: &str, is_raw: bool) -> usize {
    let fits = |at: &usize| {
        let (before, after) = text.split_at(*at);
        (is_raw || !before.ends_with('{')) && (*at >= 8 * TEXT || !after.starts_with(char::is_whitespace))
    };
    let mut places = text.char_indices().map(|(at, _)| at).skip_while(|at| *at < TEXT);
    places.find(fits).unwrap_or(text.len())
}

/// A piece whose products are of numbers.
fn factors(out: &mut String, source: &str, piece: &Piece) {
    let tokens = piece.tokens(source);
    let is_star = |index: usize| tokens.get(index).is_some_and(|token| token.is(b'*'));
    let mut ends = BTreeSet::new();
    for (index, token) in tokens.iter().enumerate() {
        let Token::Sign(b'*', at) = *token else { continue };
        // A power, and what spreads a list over the arguments of a call, are signs too.
        let before = index.checked_sub(1).and_then(|before| tokens.get(before));
        let spreads = before.is_none_or(|token| token.is(b'(') || token.is(b','));
        if spreads || is_star(index + 1) || before.is_some_and(|token| token.is(b'*')) {
            continue;
        }
        ends.insert(at);
        ends.insert(end_of_factor(source, &tokens[index + 1..]).map_or(piece.inner.end, Token::start));
    }
    let mut from = piece.range.start;
    for end in ends {
        out.push_str(&source[from..end]);
        out.push_str(POWER);
        from = end;
    }
    out.push_str(&source[from..piece.range.end]);
}

/// The token behind the factor that these begin with: its filters, tests and powers are parts of it.
fn end_of_factor<'t>(source: &str, tokens: &'t [Token]) -> Option<&'t Token> {
    let mut depth = 0_usize;
    let mut wanted = true;
    let mut in_test = false;
    let mut last_end = 0;
    for (index, token) in tokens.iter().enumerate() {
        let is_glued = last_end == token.start();
        last_end = token.end();
        match token {
            Token::Sign(b'(' | b'[' | b'{', _) => depth += 1,
            Token::Sign(b')' | b']' | b'}', _) if depth > 0 => {
                depth -= 1;
                wanted = false;
            }
            _ if depth > 0 => {}
            Token::Word(word) => match &source[word.clone()] {
                "is" if !wanted => (wanted, in_test) = (true, true),
                "not" if wanted && in_test => {}
                // An exponent is glued to its number.
                "and" | "or" | "not" | "in" | "if" | "else" if !wanted => return Some(token),
                _ if wanted || is_glued => wanted = false,
                _ if in_test => in_test = false,
                _ => return Some(token),
            },
            Token::Text(_) if wanted => wanted = false,
            Token::Text(_) if in_test => in_test = false,
            Token::Sign(b'.' | b'|', _) => wanted = true,
            Token::Sign(b'-', _) if wanted => {}
            Token::Sign(b'-', _) if in_test && tokens.len() > index + 1 => (wanted, in_test) = (true, false),
            Token::Sign(b'*', at) => {
                let is_power = tokens.get(index + 1).is_some_and(|next| next.is(b'*') && next.start() == at + 1);
                let was_power = index > 0 && tokens[index - 1].is(b'*') && tokens[index - 1].end() == *at;
                if !is_power && !was_power {
                    return Some(token);
                }
                wanted = true;
            }
            Token::Sign(digit, _) if digit.is_ascii_digit() => wanted = false,
            _ => return Some(token),
        }
    }
    None
}

/// The names that have a value once this statement is read, and how it is measured: what a loop goes through has been
/// there before.
fn names<'s>(source: &'s str, piece: &Piece, sets: &mut Vec<Vec<&'s str>>) -> (&'static str, Vec<&'s str>) {
    let statement = Statement { source, tokens: piece.tokens(source) };
    match statement.word(0) {
        Some("for") => (NAMED, statement.targets(1, |statement, at| statement.word(at) == Some("in")).0),
        Some("set") if is_block(&statement.tokens) => {
            sets.push(statement.targets(1, |statement, at| statement.is(at, b'|')).0);
            (MADE, Vec::new())
        }
        Some("endset") => (MADE, sets.pop().unwrap_or_default()),
        Some("set") => (MADE, statement.targets(1, |statement, at| statement.is(at, b'=')).0),
        Some("with") => (MADE, statement.list(1, |_, _| false)),
        Some("macro") => (MADE, statement.list(3, ends_parameter)),
        Some("call") if statement.is(1, b'(') => (MADE, statement.list(2, ends_parameter)),
        _ => (MADE, Vec::new()),
    }
}

fn ends_parameter(statement: &Statement<'_>, at: usize) -> bool {
    statement.is(at, b',') || statement.is(at, b')')
}

struct Statement<'s> {
    source: &'s str,
    tokens: Vec<Token>,
}

impl<'s> Statement<'s> {
    /// Where the statement's own word stands: a `-` may stand before it.
    fn lead(&self) -> usize {
        self.tokens.iter().position(|token| matches!(token, Token::Word(_))).unwrap_or(0)
    }

    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(self.lead() + at)
    }

    fn word(&self, at: usize) -> Option<&'s str> {
        match self.token(at)? {
            Token::Word(Range { start, end }) => Some(&self.source[*start..*end]),
            _ => None,
        }
    }

    fn is(&self, at: usize, sign: u8) -> bool {
        self.token(at).is_some_and(|token| token.is(sign))
    }

    /// The names from there to where they end, and where that is. What follows a point is a part of a name before it.
    fn targets(&self, from: usize, ends: impl Fn(&Self, usize) -> bool) -> (Vec<&'s str>, usize) {
        let mut at = from;
        let mut names = Vec::new();
        while self.token(at).is_some() && !ends(self, at) {
            names.extend(self.word(at).filter(|_| !self.is(at - 1, b'.') && !self.is(at + 1, b'.')));
            at += 1;
        }
        (names, at)
    }

    /// The names of a list of `name = value`, or of names alone that end where they say.
    fn list(&self, from: usize, ends: impl Fn(&Self, usize) -> bool) -> Vec<&'s str> {
        let mut all = Vec::new();
        let mut next = Some(from);
        while let Some(at) = next {
            let (names, end) = self.targets(at, |statement, at| statement.is(at, b'=') || ends(statement, at));
            all.extend(names);
            next = self.after_value(end);
        }
        all
    }

    /// Where the next of a list begins.
    fn after_value(&self, from: usize) -> Option<usize> {
        let mut depth = 0_usize;
        let mut at = from;
        loop {
            match self.token(at)? {
                Token::Sign(b',', _) if depth == 0 => return Some(at + 1),
                Token::Sign(b'(' | b'[' | b'{', _) => depth += 1,
                Token::Sign(b')' | b']' | b'}', _) => depth = depth.checked_sub(1)?,
                _ => {}
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_that_names_a_value_is_followed_by_its_test() {
        for (source, wanted) in [
            ("{% set a = 1 -%} x", "{% set a = 1 -%}{% if [a] is counted %}{% endif -%} x"),
            ("{% set (a, b), c = d %}", "[a,b,c] is counted"),
            ("{% set a %}{% set b | upper %}{% endset %}", "{% endset %}{% if [b] is counted %}"),
            ("{% set a %}{% set b | upper %}{% endset %}{% endset %}", "{% endset %}{% if [a] is counted %}"),
            ("{% for a, b in c if d = e recursive +%}", "{% if [a,b] is measured %}{% endif +%}"),
            ("{%- with a = f(k=[1, 2], l=3), (b, c) = d %}", "%}{% if [a,b,c] is counted %}{% endif %}"),
            ("{% macro f(a, b=g(x=(1, 2)), c={}) %}", "{% if [a,b,c] is counted %}"),
            ("{% call(a, b) f(c, d=1) %}", "{% if [a,b] is counted %}"),
            ("x {%- if a == b %}", "x {%- if 0 is measured %}{% endif %}{%- if a == b %}"),
            ("{{ a * b ** c }}{{ f(*a, **b) }}", "{{ a **(1)* b ** c **(1)}}{{ f(*a, **b) }}"),
            ("{{ a*b|f(1, x=2)|g ~ c }}", "{{ a**(1)*b|f(1, x=2)|g **(1)~ c }}"),
            ("{{ 2 * -a.b[c + 1](d) * 1.5e3 + 1 }}", "{{ 2 **(1)* -a.b[c + 1](d) **(1)* 1.5e3 **(1)+ 1 }}"),
            ("{{ [a * b, 'x' * (c)] -}}", "{{ [a **(1)* b**(1), 'x' **(1)* (c)**(1)] -}}"),
            ("{%- if a * b is divisibleby 3 and c -%}", "{%- if a **(1)* b is divisibleby 3 **(1)and c -%}"),
            ("{{ a * b is not defined if c * d else e }}", "b is not defined **(1)if c **(1)* d **(1)else e }}"),
            ("{{ a * b-}}", "{{ a **(1)* b**(1)-}}"),
            ("{{ a * 'it\\'s' }}", "{{ a **(1)* 'it\\'s' **(1)}}"),
        ] {
            let shown = measured(source);
            assert!(shown.contains(wanted), "{source}: {shown}");
        }
        for source in
            ["{% macro f() %}", "{% call f(a) %}", "{% set a.b = 1 %}", "{% if a %}{% elif b %}", "{# a * b #}"]
        {
            assert_eq!(measured(source), source);
        }
        let product = measured("{{ a*b }}");
        assert_eq!(as_written(&product), "{{ a*b }}");
        let failed = |part: &str| product.find(part).map(|at| at..at + part.len());
        assert_eq!(failed("a**(1)").and_then(|part| factor(&product, &part)), Some("a"));
        assert_eq!(failed("b **(1)").and_then(|part| factor(&product, &part)), Some("b"));
    }

    #[test]
    fn a_long_text_is_cut_and_renders_as_it_is_written() {
        let environment = minijinja::Environment::new();
        for text in ["word ", "ä", " ", "}{ ", "{", "-%}\n"] {
            for (before, after) in [("", ""), ("{% if 1 -%}", "{%- endif %}"), ("{% raw %}", "{% endraw %}")] {
                let source = format!("{before}x{}y{after}", text.repeat(3_000));
                let Ok(whole) = environment.render_str(&source, ()) else { continue };
                let cut = measured(&source);
                assert_eq!(environment.render_str(&cut, ()).ok().as_ref(), Some(&whole), "{text:?} {before}");
                let longest = pieces(&cut).iter().map(|piece| piece.range.len()).max();
                assert!(longest < Some(9 * TEXT), "{text:?} {before}: {longest:?}");
            }
        }
    }
}
