//! What came of it: counted from the state, not from what the feed happened to show.

use super::home::Home;
use crate::engine::port::{AttemptView, Store, StoreError};
use std::collections::BTreeMap;
use std::path::Path;

/// What one rule did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub matched: u64,
    pub mails: u64,
    pub tasks: u64,
    pub webhooks: u64,
    /// Messages that were not sent since the sequence had come to an end.
    pub prevented: u64,
    /// Messages left out: no consent, suppressed, no address, an open task.
    pub left_out: u64,
    pub failed: u64,
}

/// By rule.
pub type Tallies = BTreeMap<String, Tally>;

/// How many lines of the attempt log are read at once.
const PAGE: usize = 2_000;

/// Reads the whole attempt log of the demo's state.
pub async fn tallies(store: &dyn Store) -> Result<Tallies, StoreError> {
    let mut tallies = Tallies::new();
    for state in store.rule_states().await? {
        tallies.entry(state.rule.to_string()).or_default().matched += state.matches;
    }
    let mut after = 0;
    loop {
        let page = store.attempts(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(tallies) };
        after = last.id;
        for attempt in &page {
            count(tallies.entry(attempt.rule.to_string()).or_default(), attempt);
        }
    }
}

fn count(tally: &mut Tally, attempt: &AttemptView) {
    let counter = match (attempt.outcome.as_str(), attempt.kind.as_str()) {
        ("sent", "email") => &mut tally.mails,
        ("sent", "task") => &mut tally.tasks,
        ("sent", _) => &mut tally.webhooks,
        ("ended", _) => &mut tally.prevented,
        ("skipped", _) => &mut tally.left_out,
        ("permanent" | "unknown", _) => &mut tally.failed,
        _ => return,
    };
    *counter += 1;
}

/// Header and rows of the table.
pub fn rows(tallies: &Tallies) -> ([&'static str; 7], Vec<Vec<String>>) {
    let row = |(rule, tally): (&String, &Tally)| {
        let Tally { matched, mails, tasks, webhooks, prevented, left_out, .. } = tally;
        let mut row = vec![rule.clone()];
        row.extend([matched, mails, tasks, webhooks, prevented, left_out].map(ToString::to_string));
        row
    };
    let header = ["rule", "matched", "mails", "tasks", "webhooks", "prevented", "left out"];
    (header, tallies.iter().map(row).collect())
}

/// What to look at and to try next.
pub fn hints(home: &Home, rules: &Path) -> Vec<String> {
    let (mailbox, crm, rules) = (home.mailbox(), home.crm(), rules.join("win-back.yaml"));
    vec![
        String::new(),
        format!("Look at  {}, with any mail program", mailbox.join("*.eml").display()),
        format!("         sqlite3 {} 'SELECT * FROM tasks'", crm.display()),
        "Try      `for: 85 days` and `backfill: 10 days`, saved at once, in".to_owned(),
        format!("         {}", rules.display()),
        "         a typo there, such as `inactivty:`; the old rules run on".to_owned(),
        format!("         {} --crash", command()),
    ]
}

/// How this program was started, to be typed again.
fn command() -> &'static str {
    if std::env::var_os("CARGO").is_some() { "cargo run -- demo" } else { "nudged demo" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeliveryId, Lane};

    #[test]
    fn attempts_are_counted_by_what_became_of_them() {
        let attempt = |kind: &str, outcome: &str| AttemptView {
            id: 1,
            delivery: DeliveryId([1; 16]),
            rule: "r".into(),
            lane: Lane::Live,
            record: None,
            step: "s".to_owned(),
            kind: kind.to_owned(),
            number: 1,
            finished_at: jiff::Timestamp::UNIX_EPOCH,
            outcome: outcome.to_owned(),
            detail: String::new(),
        };
        let mut tally = Tally::default();
        for (kind, outcome) in
            [("email", "sent"), ("email", "ended"), ("task", "sent"), ("webhook", "sent"), ("email", "transient")]
        {
            count(&mut tally, &attempt(kind, outcome));
        }
        let expected = Tally { mails: 1, tasks: 1, webhooks: 1, prevented: 1, ..Tally::default() };
        assert_eq!(tally, expected);
        let (header, rows) = rows(&Tallies::from([("r".to_owned(), tally)]));
        assert_eq!(rows[0].len(), header.len());
    }
}
