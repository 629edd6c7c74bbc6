//! SQL of the admin's own in pieces, as the database that will read it takes them apart: what is a text, a comment or a
//! name there is none elsewhere.

use crate::rule::statement::Dialect;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Blank,
    /// To the end of its line, which isn't part of it.
    LineComment,
    BlockComment,
    Text,
    /// In quotes, with them.
    Name,
    /// A name without quotes, a key word, a number, `$row` or another parameter.
    Word,
    /// Any other character, alone. Also what begins a comment that MySQL runs.
    Sign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'s> {
    pub kind: Kind,
    pub text: &'s str,
    /// A text, a quoted name or a comment that nothing ends.
    pub open: bool,
}

impl Piece<'_> {
    /// Whether it says nothing.
    pub const fn is_blank(self) -> bool {
        matches!(self.kind, Kind::Blank | Kind::LineComment | Kind::BlockComment)
    }
}

/// Together they are the whole text.
pub(crate) fn pieces(sql: &str, dialect: Dialect) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        let (kind, end) = first(rest, rest.chars().next()?, dialect);
        let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(Piece { kind, text, open: end.is_none() })
    })
}

/// A query without the semicolons that end it.
pub(crate) fn one_statement(sql: &str, dialect: Dialect) -> String {
    let mut parts: Vec<Piece<'_>> = pieces(sql.trim(), dialect).collect();
    while let Some(last) = parts.iter().rposition(|piece| !piece.is_blank()).filter(|last| parts[*last].text == ";") {
        parts.remove(last);
    }
    parts.iter().map(|piece| piece.text).collect()
}

/// What the SQL begins with, and where that ends.
fn first(sql: &str, c: char, dialect: Dialect) -> (Kind, Option<usize>) {
    let (postgres, mysql) = (dialect == Dialect::Postgres, dialect == Dialect::MySql);
    match c {
        ' ' | '\n' | '\r' | '\t' => (Kind::Blank, Some(sql.find(|c| !is_blank(c)).unwrap_or(sql.len()))),
        '-' if is_line_comment(sql, dialect) => (Kind::LineComment, Some(line(sql, dialect))),
        '#' if mysql => (Kind::LineComment, Some(line(sql, dialect))),
        '/' if sql.starts_with("/*") => match run_by_mysql(sql).filter(|_| mysql) {
            Some(opening) => (Kind::Sign, Some(opening)),
            None => (Kind::BlockComment, block(sql, postgres)),
        },
        '\'' => (Kind::Text, quoted(sql, 0, c, mysql)),
        '"' if mysql => (Kind::Text, quoted(sql, 0, c, true)),
        '"' => (Kind::Name, quoted(sql, 0, c, false)),
        '`' if !postgres => (Kind::Name, quoted(sql, 0, c, false)),
        '[' if dialect == Dialect::Sqlite => (Kind::Name, sql.find(']').map(|end| end + 1)),
        // `E'it\'s'`
        'e' | 'E' if postgres && sql[1..].starts_with('\'') => (Kind::Text, quoted(sql, 1, '\'', true)),
        '$' if postgres && let Some(tag) = dollar_tag(sql) => {
            let inner = &sql[tag.len()..];
            (Kind::Text, inner.find(tag).map(|end| end + 2 * tag.len()))
        }
        c if is_word(c) || c == '$' => (Kind::Word, Some(sql.find(|c| !is_word(c) && c != '$').unwrap_or(sql.len()))),
        c => (Kind::Sign, Some(c.len_utf8())),
    }
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\n' | '\r' | '\t')
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// MySQL wants a blank after the dashes: `1--1` is arithmetic there.
fn is_line_comment(sql: &str, dialect: Dialect) -> bool {
    let Some(after) = sql.strip_prefix("--") else { return false };
    dialect != Dialect::MySql || after.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control())
}

fn line(sql: &str, dialect: Dialect) -> usize {
    let ends = |c| c == '\n' || c == '\r' && dialect == Dialect::Postgres;
    sql.find(ends).unwrap_or(sql.len())
}

/// `/*!50700` and MariaDB's `/*M!`: what follows is SQL.
fn run_by_mysql(sql: &str) -> Option<usize> {
    ["/*!", "/*M!"].iter().find(|opening| sql.starts_with(**opening)).map(|opening| opening.len())
}

fn block(sql: &str, nested: bool) -> Option<usize> {
    let (mut depth, mut at) = (1, 2);
    loop {
        let next = at + sql[at..].find(['*', '/'])?;
        match &sql[next..] {
            rest if rest.starts_with("*/") => {
                depth -= 1;
                at = next + 2;
            }
            rest if nested && rest.starts_with("/*") => {
                depth += 1;
                at = next + 2;
            }
            _ => at = next + 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Where what is quoted from `start` on ends. A doubled quote stands for itself.
fn quoted(sql: &str, start: usize, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = sql[start..].char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next()?;
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(start + at + quote.len_utf8());
        }
    }
    None
}

/// `$$` or `$tag$`, which ends what it begins.
fn dollar_tag(sql: &str) -> Option<&str> {
    let end = sql[1..].find('$')? + 1;
    let tag = &sql[1..end];
    let named = tag.chars().all(is_word) && !tag.starts_with(|c: char| c.is_ascii_digit());
    named.then(|| &sql[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite];

    fn of(sql: &str, dialect: Dialect, kind: Kind) -> Vec<&str> {
        pieces(sql, dialect).filter(|piece| piece.kind == kind).map(|piece| piece.text).collect()
    }

    #[test]
    fn pieces_are_the_whole_text() {
        for dialect in ALL {
            for sql in ["", "a.b -- c", "'it''s' /* x", "ä$row+\u{1}\"b\"\r\n$$`[", r"E'\", "/*/ x */ y", "/*! 1 */ -"]
            {
                let whole: String = pieces(sql, dialect).map(|piece| piece.text).collect();
                assert_eq!(whole, sql, "{dialect:?}");
            }
        }
    }

    #[test]
    fn each_database_has_its_own_texts() {
        let texts = |sql, dialect| of(sql, dialect, Kind::Text);
        assert_eq!(
            texts(r"E'a''\'b' || 'c\' || $x$it's$$$x$", Dialect::Postgres),
            [r"E'a''\'b'", r"'c\'", "$x$it's$$$x$"]
        );
        assert_eq!(texts(r#"'it\'s' || "a\"b""#, Dialect::MySql), [r"'it\'s'", r#""a\"b""#]);
        assert_eq!(texts(r"'a\' || 'it''s'", Dialect::Sqlite), [r"'a\'", "'it''s'"]);
        assert_eq!(of(r#""a""b" || [c'd] || `e`"#, Dialect::Sqlite, Kind::Name), [r#""a""b""#, "[c'd]", "`e`"]);
        assert_eq!(of("a[1] ? 'x'", Dialect::Postgres, Kind::Word), ["a", "1"]);
    }

    #[test]
    fn each_database_has_its_own_comments() {
        let words = |sql, dialect| of(sql, dialect, Kind::Word);
        assert_eq!(words("a /* b /* c */ d */ e -- f\n g --h\r i", Dialect::Postgres), ["a", "e", "g", "i"]);
        assert_eq!(words("a /* b /* c */ d -- e\n f --g", Dialect::Sqlite), ["a", "d", "f"]);
        assert_eq!(words("a # b\n c --d -- e\n /*!5 f */ /*/ g */ h", Dialect::MySql), ["a", "c", "d", "5", "f", "h"]);
    }

    #[test]
    fn what_nothing_ends_is_open() {
        for sql in ["'a", "'a''", "\"a", "/* a", "/*/", "1 /* a *"] {
            for dialect in ALL {
                assert!(pieces(sql, dialect).last().is_some_and(|piece| piece.open), "{sql} {dialect:?}");
            }
        }
        for (sql, dialect) in [
            ("$a$ b $c$", Dialect::Postgres),
            (r"E'a\'", Dialect::Postgres),
            (r"'a\'", Dialect::MySql),
            ("[a", Dialect::Sqlite),
        ] {
            assert!(pieces(sql, dialect).last().is_some_and(|piece| piece.open), "{sql} {dialect:?}");
        }
        assert!(ALL.iter().all(|dialect| pieces("a -- b", *dialect).all(|piece| !piece.open)));
    }
}
