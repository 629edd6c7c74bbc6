//! A reader of SQL that knows texts, names, comments and placeholders, and nothing else: enough to tell whether a value
//! has got out of its place.

use nudged::rule::statement::{Dialect, Statement};

/// One statement, closed quotes, no comment, and a placeholder for every value.
pub fn check(dialect: Dialect, statement: &Statement) {
    let (sql, binds) = (statement.sql.as_str(), statement.binds.len());
    let wrong = |what: &str| panic!("{what} ({dialect:?}, {binds} values)\n{sql}");
    let mut places = 0;
    let mut highest = 0;
    let mut rest = sql.char_indices().peekable();
    let mut depth = 0_usize;
    while let Some((at, c)) = rest.next() {
        match c {
            '\'' | '"' | '`' => {
                let escapes = dialect == Dialect::MySql && c != '`';
                let mut closed = false;
                while let Some((_, inner)) = rest.next() {
                    if inner == '\\' && escapes {
                        rest.next();
                    } else if inner == c {
                        if rest.peek().is_some_and(|(_, next)| *next == c) {
                            rest.next();
                        } else {
                            closed = true;
                            break;
                        }
                    }
                }
                if !closed {
                    wrong("a quote is open");
                }
            }
            ';' => wrong("a second statement"),
            '-' if sql[at..].starts_with("--") => wrong("a comment"),
            '/' if sql[at..].starts_with("/*") => wrong("a comment"),
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).unwrap_or_else(|| panic!("a parenthesis too many\n{sql}")),
            '?' if dialect != Dialect::Postgres => places += 1,
            '$' if dialect == Dialect::Postgres => {
                let digits: String = sql[at + 1..].chars().take_while(char::is_ascii_digit).collect();
                highest = highest.max(digits.parse().unwrap_or(0));
            }
            _ => {}
        }
    }
    if depth != 0 {
        wrong("a parenthesis is open");
    }
    let wanted = if dialect == Dialect::Postgres { highest } else { places };
    if dialect != Dialect::Sqlite && wanted != binds {
        wrong(&format!("{wanted} placeholders"));
    }
}
