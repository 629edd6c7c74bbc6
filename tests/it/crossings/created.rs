//! Over random histories, new records are found as a naive oracle finds them, whatever form the source keeps
//! time in, and by the count of what a baseline leaves out.

use super::form::{FORMS, Form, instants, vienna};
use super::world::World;
use crate::support::runner;
use jiff::{SignedDuration, Timestamp};
use nudged::model::Period;
use nudged::rule::compiled::{Reach, Window};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::fmt::Write;

const SETTLES: [&str; 4] = ["none", "30 minutes", "60 hours", "3 days"];

const TABLES: &str = "
CREATE TABLE leads (id integer PRIMARY KEY, real_one boolean NOT NULL,
  at_native {instant}, at_naive {naive}, at_local varchar(40), at_utc varchar(40), at_seconds bigint, at_millis bigint, at_day {date});
";

#[derive(Debug, Clone)]
struct Lead {
    at: Option<Timestamp>,
    real: bool,
}

fn leads() -> impl Strategy<Value = Vec<Lead>> {
    let lead = (proptest::option::weighted(0.9, instants()), proptest::bool::weighted(0.8))
        .prop_map(|(at, real)| Lead { at, real });
    proptest::collection::vec(lead, 40)
}

fn catalog() -> String {
    let mut fields = String::new();
    for form in FORMS {
        writeln!(fields, "      {}: {}", form.column(), form.ty()).unwrap();
    }
    format!(
        "version: 1\ntime_zone: Europe/Vienna\nentities:\n  lead:\n    table: leads\n    key: id\n    at: at_native\n    \
         only: {{real_one: true}}\n    fields:\n{fields}"
    )
}

fn period(settle: &str) -> Period {
    settle.parse().unwrap_or(Period::days(0))
}

fn rules() -> Vec<(Form, &'static str, String)> {
    let mut rules = Vec::new();
    for form in FORMS {
        for settle in SETTLES {
            let id = format!("{}-{}", form.column().replace('_', "-"), settle.replace(' ', "-"));
            // The entity's own `at` needs no name.
            let at = if form == Form::Native { String::new() } else { format!("at: {}, ", form.column()) };
            rules.push((
                form,
                settle,
                format!(
                    "version: 1\nid: {id}\nmode: live\npurpose: service\nfor_each: lead\ntrigger:\n  \
                     created: {{{at}settle: {settle}}}\nsteps:\n  - wait: {{for: 1 day}}\n"
                ),
            ));
        }
    }
    rules
}

/// Keys of all that cross in the window, in either reading of their time.
fn oracle(leads: &[Lead], form: Form, settle: &str, window: Window) -> Vec<usize> {
    let crosses = |at: Timestamp| {
        form.readings(at).into_iter().any(|at| {
            let crossed = period(settle).after(at, &vienna());
            window.after < crossed && crossed <= window.until
        })
    };
    let counts = |lead: &Lead| lead.real && lead.at.is_some_and(crosses);
    (0..leads.len()).filter(|number| counts(&leads[*number])).collect()
}

async fn store(world: &World, leads: &[Lead]) {
    let mut sql = String::from("DELETE FROM leads;\n");
    for (number, lead) in leads.iter().enumerate() {
        let cells = FORMS.map(|form| form.cell(lead.at, world.dialect())).join(", ");
        let real = if lead.real { "TRUE" } else { "FALSE" };
        writeln!(sql, "INSERT INTO leads (id, real_one, {}) VALUES ({number}, {real}, {cells});", columns()).unwrap();
    }
    world.execute(&sql).await;
}

fn columns() -> String {
    FORMS.map(Form::column).join(", ")
}

async fn compare(world: World, cases: usize) {
    world.execute(TABLES).await;
    let rules = rules();
    let texts: Vec<&str> = rules.iter().map(|(_, _, text)| text.as_str()).collect();
    let generation = world.generation(&catalog(), &texts).await;
    let mut runner = runner();
    for _ in 0..cases {
        let leads = leads().new_tree(&mut runner).unwrap().current();
        store(&world, &leads).await;
        let picks = proptest::collection::vec(0..1_000_usize, 4).new_tree(&mut runner).unwrap().current();
        for (form, settle, text) in &rules {
            let rule = generation.rules.values().find(|rule| &*rule.text == text.as_str()).unwrap();
            for window in windows(&leads, *form, settle, &picks) {
                let found = world.crossings(rule, Reach::Crossed(window)).await;
                let mut found: Vec<usize> =
                    found.iter().map(|crossing| crossing.key.as_str().parse().unwrap()).collect();
                found.sort_unstable();
                let expected = oracle(&leads, *form, settle, window);
                assert_eq!(found, expected, "{:?} {form:?} {settle} {window:?}\n{leads:#?}", world.dialect());
            }
            if *form == Form::Day {
                continue;
            }
            let last = windows(&leads, *form, settle, &picks)[0].until;
            let ever = Window { after: Timestamp::MIN, until: last, now: last };
            let count = world.count(rule.count_until(last).unwrap()).await;
            let expected = oracle(&leads, *form, settle, ever).len();
            assert_eq!(usize::try_from(count).unwrap(), expected, "{:?} {form:?} {settle}", world.dialect());
        }
    }
}

/// Windows that end and begin where something crosses, or a little beside.
pub fn windows(leads: &[impl Dated], form: Form, settle: &str, picks: &[usize]) -> Vec<Window> {
    let crossings = leads.iter().filter_map(Dated::dated).flat_map(|at| form.readings(at));
    let mut edges: Vec<Timestamp> = crossings.map(|at| period(settle).after(at, &vienna())).collect();
    edges.sort();
    let beside =
        |pick: &usize| edges[pick % edges.len()] + SignedDuration::from_micros(i64::try_from(pick % 3).unwrap() - 1);
    let mut chosen: Vec<Timestamp> = picks.iter().map(beside).collect();
    chosen.sort();
    let last = chosen[chosen.len() - 1];
    let mut windows = vec![Window { after: Timestamp::MIN, until: last, now: last }];
    windows.extend(chosen.windows(2).map(|pair| Window { after: pair[0], until: pair[1], now: pair[1] }));
    windows
}

/// Something that happened at a time.
pub trait Dated {
    fn dated(&self) -> Option<Timestamp>;
}

impl Dated for Lead {
    fn dated(&self) -> Option<Timestamp> {
        self.at
    }
}

#[tokio::test]
async fn new_records_on_sqlite() {
    compare(World::sqlite(), 8).await;
}

#[tokio::test]
async fn new_records_on_postgres() {
    compare(World::postgres(), 4).await;
}

#[tokio::test]
async fn new_records_on_mariadb() {
    compare(World::mariadb(), 4).await;
}

/// On a table that is worth an index, the quiet window is read by it.
#[tokio::test]
async fn a_quiet_window_of_new_records_is_read_by_the_index() {
    let world = World::postgres();
    world
        .execute(
            "CREATE TABLE leads (id integer PRIMARY KEY, real_one boolean NOT NULL, at_native timestamptz);
             INSERT INTO leads SELECT n, TRUE, timestamptz '2026-01-01' + n * interval '5 minutes' FROM generate_series(1, 40000) n;
             CREATE INDEX ON leads (at_native);
             ANALYZE;",
        )
        .await;
    let catalog = "version: 1\ntime_zone: UTC\nentities:\n  lead: {table: leads, key: id, at: at_native, only: {real_one: true}}\n";
    let rule = "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: lead\ntrigger: {created: {}}\nsteps: [wait: {for: 1 day}]\n";
    let (rule, _) = world.rule(catalog, rule).await;
    let quiet = super::world::window("2026-04-01T00:00:00Z", "2026-04-01T00:15:00Z");
    let plan = world.plan(rule.crossings(Reach::Crossed(quiet)).remove(0)).await;
    assert!(plan.contains("leads_at_native_idx") && !plan.contains("Seq Scan"), "{plan}");
}
