//! The catalog's own lists of who must not be written to, asked for a batch of people at once.
//!
//! SQL only narrows, by an expression that an index can serve: mailboxes by their text in lower case, numbers by their
//! last digits. What it finds is compared here, letter for letter and number for number, so that neither a collation,
//! nor a blank, nor how a number is written lets anybody through.

use super::fragment::Fragment;
use super::hole::{Fill, Hole};
use super::read::plain;
use super::{Renderer, dialect};
use crate::catalog::{Catalog, Column, SuppressionTable};
use crate::model::{Value, digits_of, e164, mailbox_of};
use crate::rule::compiled::{Facts, Listed, PersonFacts};
use crate::rule::statement::{Dialect, Row, Statement};
use jiff::{Timestamp, tz::TimeZone};
use std::collections::{BTreeSet, HashMap};

/// So many last digits of a number are the same however it is written.
const TAIL: usize = 6;

/// How a list is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The mailbox in lower case.
    Mailbox,
    /// A pattern: databases differ in what they take for the small letter of others than ASCII.
    Pattern,
    /// The last digits.
    Tail,
}

/// One column of one list, in one way.
#[derive(Debug, Clone)]
struct List {
    by: By,
    reason: String,
    text: Fragment,
}

#[derive(Debug, Clone)]
pub(in crate::rule) struct Lists {
    dialect: Dialect,
    lists: Vec<List>,
}

/// What the lists said, by how it is compared.
#[derive(Debug, Default)]
pub struct Unwanted {
    mailboxes: HashMap<String, String>,
    numbers: HashMap<String, Vec<Listed>>,
}

impl Lists {
    pub fn render(dialect: Dialect, catalog: &Catalog) -> Self {
        let renderer = Renderer::new(dialect, catalog);
        let mut lists = Vec::new();
        for table in &catalog.suppressions {
            let mut list = |column: &Option<Column>, ways: &[By]| {
                for (column, by) in column.iter().flat_map(|column| ways.iter().map(move |by| (column, *by))) {
                    let reason = table.reason.clone().unwrap_or_else(|| "suppressed".to_owned());
                    lists.push(List { by, reason, text: text(&renderer, table, column, by) });
                }
            };
            list(&table.email, &[By::Mailbox, By::Pattern]);
            list(&table.phone, &[By::Tail]);
        }
        Self { dialect, lists }
    }

    /// Asks about all these people at once. Of a list that has nothing to say of them, nothing.
    pub fn statements(&self, facts: &[Facts]) -> Vec<(usize, Statement)> {
        let people = || facts.iter().flat_map(|facts| facts.recipients.values());
        let mailboxes: BTreeSet<String> = people().filter_map(mailbox).collect();
        let (plain, others): (BTreeSet<_>, BTreeSet<_>) = mailboxes.into_iter().partition(|text| text.is_ascii());
        let patterns: BTreeSet<String> = others.iter().map(|mailbox| pattern(mailbox)).collect();
        let tails: BTreeSet<String> = people().filter_map(|person| person.phone.as_deref()).flat_map(tails).collect();
        let asked = |by| match by {
            By::Mailbox => &plain,
            By::Pattern => &patterns,
            By::Tail => &tails,
        };
        let lists = self.lists.iter().enumerate().filter(|(_, list)| !asked(list.by).is_empty());
        lists.map(|(number, list)| (number, self.statement(list, asked(list.by)))).collect()
    }

    /// Every statement that these lists can come to run, about nobody.
    pub fn probes(&self) -> Vec<Statement> {
        self.lists.iter().map(|list| self.statement(list, &BTreeSet::new())).collect()
    }

    fn statement(&self, list: &List, asked: &BTreeSet<String>) -> Statement {
        let keys = Some(serde_json::json!(asked).to_string());
        list.text.fill(self.dialect, &Fill { keys, ..Fill::at(Timestamp::UNIX_EPOCH, &TimeZone::UTC) })
    }

    /// Notes a row of the statement with this number. The reason of an earlier list stays.
    pub fn read(&self, number: usize, Row(cells): &Row, unwanted: &mut Unwanted) {
        let (Some(list), Some(cell)) = (self.lists.get(number), cells.first()) else { return };
        let text = match plain(cell) {
            Value::Text(text) => text,
            other => other.to_json().to_string(),
        };
        if list.by == By::Tail {
            let listed = Listed { address: text, reason: list.reason.clone() };
            unwanted.numbers.entry(tail(&digits_of(&listed.address))).or_default().push(listed);
        } else {
            unwanted.mailboxes.entry(mailbox_of(&text)).or_insert_with(|| list.reason.clone());
        }
    }
}

impl Unwanted {
    /// Tells everybody's facts what the lists say of them.
    pub fn tell(&self, facts: &mut [Facts]) {
        for person in facts.iter_mut().flat_map(|facts| facts.recipients.values_mut()) {
            person.suppressed = mailbox(person).and_then(|mailbox| self.mailboxes.get(&mailbox).cloned());
            let tails: BTreeSet<String> = person.phone.as_deref().map(tails).unwrap_or_default();
            let listed = tails.iter().filter_map(|tail| self.numbers.get(tail)).flatten().cloned();
            person.listed_numbers = listed.collect();
        }
    }
}

fn mailbox(person: &PersonFacts) -> Option<String> {
    person.email.as_deref().map(mailbox_of).filter(|mailbox| !mailbox.is_empty())
}

/// With `%` in place of letters whose small ones databases don't agree on.
fn pattern(mailbox: &str) -> String {
    mailbox.chars().fold(String::new(), |mut pattern, c| {
        match c {
            '%' | '_' | '!' => pattern.extend(['!', c]),
            c if c.is_ascii() => pattern.push(c),
            _ if pattern.ends_with('%') && !pattern.ends_with("!%") => {}
            _ => pattern.push('%'),
        }
        pattern
    })
}

/// The last digits of a number, also without an extension behind it.
fn tails(number: &str) -> BTreeSet<String> {
    let alone = number.split(|c: char| c.is_alphabetic() || matches!(c, ';' | ',' | '#')).next().unwrap_or_default();
    let international = e164(number, None).unwrap_or_default();
    let tails = [number, alone, &international].map(|text| tail(&digits_of(text)));
    tails.into_iter().filter(|tail| !tail.is_empty()).collect()
}

fn tail(digits: &str) -> String {
    digits[digits.len().saturating_sub(TAIL)..].to_owned()
}

/// Rows of the list that may be one of those in the bound JSON list.
fn text(renderer: &Renderer<'_>, table: &SuppressionTable, column: &Column, by: By) -> Fragment {
    let alias = renderer.alias("x");
    let cell = renderer.cell(&alias, column);
    let rows = Fragment::of("{} AS {}", &[&renderer.table(&table.table), &Fragment::text(&alias)]);
    let shown = dialect::plain_text(renderer.dialect, &cell);
    let keys = Fragment::hole(Hole::Keys);
    let asked = match by {
        By::Mailbox => is_among(renderer.dialect, &lower(renderer.dialect, &cell), &keys),
        By::Pattern => is_like(renderer.dialect, &lower(renderer.dialect, &cell), &keys),
        By::Tail => is_among(renderer.dialect, &last_digits(renderer.dialect, &cell), &keys),
    };
    Fragment::of("SELECT {} FROM {} WHERE {}", &[&shown, &rows, &asked])
}

/// The expression that an index over mailboxes is made of.
pub(in crate::rule) fn lower(dialect: Dialect, cell: &Fragment) -> Fragment {
    let text = dialect::plain_text(dialect, cell);
    match dialect {
        Dialect::Postgres => Fragment::of(r"lower(btrim({}, E' \t\r\n'))", &[&text]),
        Dialect::MySql => Fragment::of("LOWER(REGEXP_REPLACE({}, '^[[:space:]]+|[[:space:]]+$', ''))", &[&text]),
        Dialect::Sqlite => Fragment::of("lower(trim({}, char(32, 9, 13, 10)))", &[&text]),
    }
}

/// The expression that an index over phone numbers is made of.
pub(in crate::rule) fn last_digits(dialect: Dialect, cell: &Fragment) -> Fragment {
    let text = dialect::plain_text(dialect, cell);
    match dialect {
        Dialect::Postgres => Fragment::of(&format!("right(regexp_replace({{}}, '[^0-9]', '', 'g'), {TAIL})"), &[&text]),
        Dialect::MySql => Fragment::of(&format!("RIGHT(REGEXP_REPLACE({{}}, '[^0-9]', ''), {TAIL})"), &[&text]),
        Dialect::Sqlite => {
            // What people write between digits: blanks of all kinds, and signs.
            let between = "32 9 13 10 160 8239 45 8208 8209 8211 8212 47 40 41 46 43 44 95 39";
            let digits = between
                .split(' ')
                .fold(text, |text, code| Fragment::of(&format!("replace({{}}, char({code}), '')"), &[&text]));
            Fragment::of(&format!("substr({{}}, -{TAIL})"), &[&digits])
        }
    }
}

fn is_among(dialect: Dialect, text: &Fragment, keys: &Fragment) -> Fragment {
    let pattern = match dialect {
        Dialect::Postgres => "{} = ANY (ARRAY(SELECT json_array_elements_text(CAST({} AS json))))",
        Dialect::MySql => {
            "{} IN (SELECT k FROM JSON_TABLE({}, '$[*]' COLUMNS (k VARCHAR(512) CHARACTER SET ascii PATH '$')) AS b)"
        }
        Dialect::Sqlite => "{} IN (SELECT value FROM json_each({}))",
    };
    Fragment::of(pattern, &[text, keys])
}

fn is_like(dialect: Dialect, text: &Fragment, keys: &Fragment) -> Fragment {
    let pattern = match dialect {
        Dialect::Postgres => {
            "EXISTS (SELECT 1 FROM json_array_elements_text(CAST({} AS json)) AS b(k) WHERE {} LIKE b.k ESCAPE '!')"
        }
        Dialect::MySql => {
            "EXISTS (SELECT 1 FROM JSON_TABLE({}, '$[*]' COLUMNS (k VARCHAR(512) CHARACTER SET ascii PATH '$')) AS b \
             WHERE {} LIKE b.k ESCAPE '!')"
        }
        Dialect::Sqlite => "EXISTS (SELECT 1 FROM json_each({}) AS b WHERE {} LIKE b.value ESCAPE '!')",
    };
    Fragment::of(pattern, &[keys, text])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_leave_open_what_databases_do_not_agree_on_and_nothing_else() {
        assert_eq!(pattern("müller_a%b!@x.example"), "m%ller!_a!%b!!@x.example");
        assert_eq!(pattern("äö%@ü.example"), "%!%@%.example");
    }

    #[test]
    fn a_number_is_looked_for_by_its_last_digits_however_it_is_written() {
        let tails = |text: &str| tails(text).into_iter().collect::<Vec<_>>();
        assert_eq!(tails("0660 / 123 45 67"), ["234567"]);
        assert_eq!(tails("+43 (0)660 1234567"), ["234567"]);
        assert_eq!(tails("0660 1234567 ext. 12"), ["234567", "456712"]);
        assert_eq!(tails("1234"), ["1234"]);
        assert!(tails("ask me").is_empty());
    }
}
