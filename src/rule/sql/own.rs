//! SQL of the catalog's own, as it stands in ours: expressions of fields, and queries in place of tables.

use crate::rule::lexer::{Kind, Piece, one_statement, pieces};
use crate::rule::statement::Dialect;

/// In an expression, the row that it is about.
const ROW: &str = "$row";

/// The expression about a row of this name, which nothing in there can have: see [`super::Renderer::alias`].
pub(super) fn expression(sql: &str, dialect: Dialect, row: &str) -> String {
    debug_assert!(row.ends_with('_'), "{row} may be a name of theirs");
    enclosed(&pieces(sql, dialect).map(|piece| if is_row(piece) { row } else { piece.text }).collect::<String>())
}

/// The query in place of a table.
pub(super) fn query(sql: &str, dialect: Dialect) -> String {
    enclosed(&one_statement(sql, dialect))
}

/// On a line of its own where it may end in a comment, which would take the bracket with it.
fn enclosed(sql: &str) -> String {
    if sql.contains("--") || sql.contains('#') { format!("({sql}\n)") } else { format!("({sql})") }
}

/// What makes an expression about a row, or a query, unfit to stand in SQL of ours.
pub(in crate::rule) fn flaw(sql: &str, dialect: Dialect, has_row: bool) -> Option<String> {
    let mut depth = 0_i64;
    for piece in pieces(sql, dialect) {
        let is_parameter = match piece.kind {
            Kind::Word => piece.text.starts_with('$') && dialect != Dialect::MySql || piece.text == ROW,
            Kind::Sign => piece.text == "?" && dialect != Dialect::Postgres,
            _ => false,
        };
        depth += match (piece.kind, piece.text) {
            (Kind::Sign, "(") => 1,
            (Kind::Sign, ")") => -1,
            _ => 0,
        };
        if piece.open {
            return Some("a text, a quoted name or a comment in it has no end".to_owned());
        }
        if is_parameter && !(has_row && is_row(piece)) {
            return Some(format!("nothing gives `{}` a value", piece.text));
        }
        if depth < 0 {
            break;
        }
    }
    (depth != 0).then(|| "its parentheses don't match".to_owned())
}

/// A name in there that nudged gives rows of its own.
pub(in crate::rule) fn name_of_ours(sql: &str, dialect: Dialect) -> Option<&str> {
    let mut belongs = false;
    pieces(sql, dialect).filter(|piece| !piece.is_blank()).find_map(|piece| {
        let names = matches!(piece.kind, Kind::Name | Kind::Word) && !belongs;
        belongs = piece.text == ".";
        let name = piece.text.trim_matches(['"', '`', '[', ']']);
        (names && names_our_row(name)).then_some(name)
    })
}

fn is_row(piece: Piece<'_>) -> bool {
    piece.kind == Kind::Word && piece.text == ROW
}

/// Statements call rows of theirs `r_`, `t0_`, `j12_`: whatever else was called so would be taken for one of them.
fn names_our_row(word: &str) -> bool {
    let Some(stem) = word.strip_suffix('_') else { return false };
    let mut letters = stem.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic()) && letters.all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite];

    #[test]
    fn only_code_names_the_row() {
        for (sql, dialect, expected) in [
            ("$row.a || '$row.b' || \"$row.c\"", Dialect::Sqlite, "(t0_.a || '$row.b' || \"$row.c\")"),
            (
                "$row.a || $x$ '$row.b $x$ /* /* */ $row.c */",
                Dialect::Postgres,
                "(t0_.a || $x$ '$row.b $x$ /* /* */ $row.c */)",
            ),
            (r"$row.a || E'\'$row.b' || $row.c", Dialect::Postgres, r"(t0_.a || E'\'$row.b' || t0_.c)"),
            (r"CONCAT($row.a, '\'$row.b', `$row.c`)", Dialect::MySql, r"(CONCAT(t0_.a, '\'$row.b', `$row.c`))"),
            ("$row.a # of $row.a\n + $row.b", Dialect::MySql, "(t0_.a # of $row.a\n + t0_.b\n)"),
        ] {
            assert_eq!(expression(sql, dialect, "t0_"), expected);
        }
    }

    #[test]
    fn what_ends_in_a_comment_leaves_the_bracket_alone() {
        for dialect in ALL {
            assert_eq!(expression("$row.a -- cents", dialect, "r_"), "(r_.a -- cents\n)");
            assert_eq!(query("SELECT ';' AS a; -- all\n ;\n", dialect), "(SELECT ';' AS a -- all\n \n)");
        }
    }

    #[test]
    fn flaws_are_told() {
        let told = |sql, dialect| flaw(sql, dialect, true).unwrap_or_default();
        for dialect in ALL {
            for sql in ["'a", "1 /* a", "\"a", "E'"] {
                assert!(told(sql, dialect).contains("no end"), "{sql} {dialect:?}");
            }
            for sql in ["(1", "1) OR (1", "')'||("] {
                assert!(told(sql, dialect).contains("parentheses"), "{sql} {dialect:?}");
            }
            assert_eq!(told("($row.a || ')?$1' /* ( */) -- it's", dialect), "");
            assert_eq!(flaw("SELECT $row.a", dialect, false).as_deref(), Some("nothing gives `$row` a value"));
        }
        assert_eq!(told("$row.a ? 'b'", Dialect::Postgres), "");
        assert_eq!(told("$row.a = ?", Dialect::Sqlite), "nothing gives `?` a value");
        assert_eq!(told("$rows.a", Dialect::Postgres), "nothing gives `$rows` a value");
    }

    #[test]
    fn names_of_our_rows_are_ours_alone() {
        let ours = |sql| name_of_ours(sql, Dialect::Sqlite);
        assert_eq!(ours("(SELECT r_.a FROM t1 r)"), Some("r_"));
        assert_eq!(ours("(SELECT m.a FROM mails_ m JOIN t t12_ ON m.r = $row.r_id)"), Some("t12_"));
        assert_eq!(ours("(SELECT x.a FROM x AS \"t0_\")"), Some("t0_"));
        assert_eq!(ours("(SELECT x.a FROM x AS `t0_`)"), Some("t0_"));
        for theirs in [
            "$row.tier LIKE 'v_%' OR $row.tier = 'a_'",
            "replace($row.tier, 'it''s x_', '')",
            "(SELECT l.b_, l . `c_`, l.\"d_\" FROM l)",
            "1 -- by x_\n + 2 /* and y_ */",
            "$row.näme || 'ü'",
        ] {
            assert_eq!(ours(theirs), None, "{theirs}");
        }
    }
}
