//! Makes sure that SQL from a rule file is one SELECT and nothing else, in the grammar of the database that
//! will read it: what is a comment, a text or a parameter there decides what the database takes for SQL.
//!
//! The read-only transaction it runs in is the other lock on the same door.

use crate::rule::checked::{SqlParam, SqlPart};
use crate::rule::lexer::{Kind, Piece, pieces};
use crate::rule::statement::Dialect;
use std::iter::Peekable;

/// Words that no reading query holds.
const WRITING: [&str; 5] = ["insert", "update", "delete", "merge", "into"];

/// Why a text is not one SELECT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotASelect {
    #[error("it has to begin with SELECT or WITH")]
    Start,
    #[error("`{0}` has no place in a query that only reads")]
    Writes(String),
    #[error("it is more than one statement")]
    Several,
    #[error("a text, a quoted name or a comment has no end")]
    Open,
    #[error("its parentheses don't match")]
    Parentheses,
    #[error("it holds a control character")]
    Control,
    #[error("`{0}` is not understood here: texts stand in single quotes, comments in `--` or `/* */`")]
    Odd(&'static str),
    #[error(
        "there is no parameter `{0}`; known are `:after`, `:until`, `:now`, and `:after_utc`, `:until_utc`, `:now_utc`"
    )]
    Parameter(String),
}

/// The query without its comments, split at its parameters.
pub(super) fn read(sql: &str, dialect: Dialect) -> Result<Vec<SqlPart>, NotASelect> {
    let mut reader = Reader { dialect, parts: Vec::new(), text: String::new(), depth: 0, begun: false, ended: false };
    reader.run(&mut pieces(sql, dialect).peekable())?;
    if reader.depth != 0 {
        return Err(NotASelect::Parentheses);
    }
    if !reader.begun {
        return Err(NotASelect::Start);
    }
    reader.flush();
    Ok(reader.parts)
}

struct Reader {
    dialect: Dialect,
    parts: Vec<SqlPart>,
    text: String,
    depth: u32,
    /// The first word was seen.
    begun: bool,
    /// The semicolon was seen.
    ended: bool,
}

impl Reader {
    fn run<'s>(&mut self, rest: &mut Peekable<impl Iterator<Item = Piece<'s>>>) -> Result<(), NotASelect> {
        while let Some(piece) = rest.next() {
            self.odd(piece.text)?;
            if piece.open {
                return Err(NotASelect::Open);
            }
            match piece.kind {
                Kind::Blank => self.text.extend(piece.text.chars().map(|_| ' ')),
                Kind::LineComment | Kind::BlockComment => self.text.push(' '),
                Kind::Sign if piece.text == ";" && !self.ended => self.ended = true,
                _ if piece.text.chars().any(is_control) => return Err(NotASelect::Control),
                _ if self.ended => return Err(NotASelect::Several),
                Kind::Text | Kind::Name => self.text.push_str(piece.text),
                Kind::Word => self.word(piece.text)?,
                Kind::Sign if piece.text == ":" => self.colon(rest)?,
                Kind::Sign => self.sign(piece.text)?,
            }
        }
        Ok(())
    }

    /// What means something else to each database, or isn't looked into.
    fn odd(&self, piece: &str) -> Result<(), NotASelect> {
        let postgres = self.dialect == Dialect::Postgres;
        match piece {
            piece if piece.starts_with('$') => Err(NotASelect::Odd("$")),
            piece if piece.starts_with('[') && self.dialect == Dialect::Sqlite => Err(NotASelect::Odd("[")),
            "?" if !postgres => Err(NotASelect::Odd("?")),
            "@" if !postgres => Err(NotASelect::Odd("@")),
            // MySQL runs what stands in these; a hint is none of ours.
            piece if self.dialect == Dialect::MySql && ["/*!", "/*+", "/*M"].iter().any(|it| piece.starts_with(it)) => {
                Err(NotASelect::Odd("/*!"))
            }
            _ => Ok(()),
        }
    }

    fn sign(&mut self, sign: &str) -> Result<(), NotASelect> {
        match sign {
            "(" => self.depth += 1,
            ")" => self.depth = self.depth.checked_sub(1).ok_or(NotASelect::Parentheses)?,
            _ => {}
        }
        self.text.push_str(sign);
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), NotASelect> {
        let lower = word.to_ascii_lowercase();
        if !self.begun {
            if !matches!(lower.as_str(), "select" | "with") {
                return Err(NotASelect::Start);
            }
            self.begun = true;
        }
        // The column `t.into` is none of these, but nobody has one.
        if WRITING.contains(&lower.as_str()) {
            return Err(NotASelect::Writes(word.to_owned()));
        }
        self.text.push_str(word);
        Ok(())
    }

    fn colon<'s>(&mut self, rest: &mut Peekable<impl Iterator<Item = Piece<'s>>>) -> Result<(), NotASelect> {
        if rest.next_if(|next| next.text == ":").is_some() {
            self.text.push_str("::");
            return Ok(());
        }
        let name = rest.next_if(|next| next.kind == Kind::Word).map_or("", |word| word.text);
        // A slice of an array: `a[1:2]`.
        if self.dialect == Dialect::Postgres && name.chars().all(|c| c.is_ascii_digit()) {
            self.text.push(':');
            self.text.push_str(name);
            return Ok(());
        }
        let param = match name {
            "after" => SqlParam::After { utc: false },
            "after_utc" => SqlParam::After { utc: true },
            "until" => SqlParam::Until { utc: false },
            "until_utc" => SqlParam::Until { utc: true },
            "now" => SqlParam::Now { utc: false },
            "now_utc" => SqlParam::Now { utc: true },
            _ => return Err(NotASelect::Parameter(format!(":{name}"))),
        };
        self.flush();
        self.parts.push(SqlPart::Param(param));
        Ok(())
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.parts.push(SqlPart::Text(text));
        }
    }
}

/// One that no text has.
fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite];

    fn refused(sql: &str, dialect: Dialect) -> NotASelect {
        read(sql, dialect).expect_err(sql)
    }

    #[test]
    fn one_select_passes_and_loses_its_comments() {
        for dialect in ALL {
            let parts = read("-- who\nWITH a AS (SELECT 'it''s; ok' AS x) /* and */ SELECT x FROM a;\n-- end", dialect);
            let expected = "  WITH a AS (SELECT 'it''s; ok' AS x)   SELECT x FROM a  ";
            let Ok([SqlPart::Text(text)]) = parts.as_deref() else { panic!("{parts:?}") };
            assert_eq!(text.trim(), expected.trim(), "{dialect:?}");
        }
        assert!(read(r"SELECT E'it\'s', a[1:2]::text, b ? 'k' FROM t WHERE c ~ '\d+'", Dialect::Postgres).is_ok());
        assert!(read(r"SELECT 'it\'s', 1--1 FROM `t`", Dialect::MySql).is_ok());
    }

    #[test]
    fn parameters_are_found_where_the_database_would_find_them() {
        let parts =
            read("SELECT a::text FROM t WHERE b > :after AND c <> ':until' AND b <= :until_utc", Dialect::Postgres);
        let params: Vec<_> = parts.unwrap().into_iter().filter(|part| matches!(part, SqlPart::Param(_))).collect();
        let expected = [SqlParam::After { utc: false }, SqlParam::Until { utc: true }].map(SqlPart::Param);
        assert_eq!(params, expected);
        assert_eq!(refused("SELECT :since", Dialect::Sqlite), NotASelect::Parameter(":since".to_owned()));
    }

    #[test]
    fn nothing_else_passes_on_any_database() {
        for dialect in ALL {
            for sql in [
                "",
                "  -- nothing",
                "DELETE FROM t",
                "EXPLAIN SELECT 1",
                "SELECT 1; DROP TABLE t",
                "SELECT 1;;",
                "SELECT 1) AS q; --",
                "SELECT (1",
                "SELECT 1 AS a) UNION (SELECT 2",
                "SELECT 'open",
                "SELECT \"open",
                "SELECT 1 /* open",
                "WITH gone AS (DELETE FROM t RETURNING id) SELECT id FROM gone",
                "SELECT * INTO u FROM t",
                "SELECT * FROM t FOR UPDATE",
                "SELECT $1",
                "SELECT $$ ; DROP TABLE t $$",
                "SELECT :x",
                "SELECT 1\u{1}",
                "SELECT '\u{2}'",
            ] {
                refused(sql, dialect);
            }
        }
        for dialect in [Dialect::MySql, Dialect::Sqlite] {
            refused("SELECT ?", dialect);
            refused("SELECT @x", dialect);
        }
        // What is a comment or a text for one database is none for another.
        refused("SELECT 1 /*! ) AS q; DROP TABLE t */", Dialect::MySql);
        refused("SELECT 1--1) AS q; DROP TABLE t", Dialect::MySql);
        refused(r"SELECT 'a\') AS q; DROP TABLE t; -- '", Dialect::Postgres);
        refused(r"SELECT E'a''\'' ) AS q; DROP TABLE t; -- '", Dialect::Postgres);
        refused("SELECT 1 # ) AS q; DROP TABLE t", Dialect::Postgres);
        refused("SELECT 1 /* /* */ ) AS q; DROP TABLE t */", Dialect::Sqlite);
    }
}
