//! What a backtest says by history alone, and what by columns as they stand today.

use crate::support::instant;
use crate::world::{Kind, World, days, hours};
use nudged::engine::Settings;
use nudged::engine::rehearse::{Backtest, Backtester, Tally, Told};
use nudged::model::RuleId;
use nudged::rule::operands::Basis;

const START: &str = "2026-06-21T08:00:00Z";
const RULE: &str = "version: 1
id: silent
description: Silent for 30 days.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 30 days}
where:
  - responses: {none: {}, within_last: 5 days}
  - country: AT
guard: {floor: 1000}
check_every: 1 hour
steps:
  - webhook: {to: sink}
";

/// Everybody falls silent ten days ago, one each hour. Who answered when is counted in days after that.
const PEOPLE: [(&str, Option<i64>); 6] =
    [("AT", None), ("AT", Some(-2)), ("DE", None), ("DE", Some(-2)), ("AT", Some(-20)), ("AT", Some(2))];

async fn world(kind: Kind) -> World {
    let world = World::new(kind, instant(START), Settings::default()).await;
    for (id, (country, answered)) in (1..).zip(PEOPLE) {
        let crosses_at = world.ago(days(10)) + hours(id);
        let ordered = world.crm.time(crosses_at - days(30));
        world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, 'C{id}', '{country}', NULL)")).await;
        world.crm.run(&format!("INSERT INTO orders VALUES ({id}, {id}, {ordered}, 'paid')")).await;
        if let Some(after) = answered {
            let answered = world.crm.time(crosses_at + days(after));
            world.crm.run(&format!("INSERT INTO surveys VALUES ({id}, {id}, 'nps', 9, {answered})")).await;
        }
    }
    world.load(&[("silent.yaml", RULE)]).await;
    world
}

/// The whole, and the keys of those who hold by history and by everything.
async fn tested(world: &World) -> (Backtest, [Vec<String>; 2]) {
    let generation = world.generation();
    let (from, until) = (world.ago(days(20)), world.now());
    let backtester =
        Backtester { generation: &generation, source: &*world.source, store: None, from, until, every: None, batch: 4 };
    let mut found = [Vec::new(), Vec::new()];
    let told = |told: Told| {
        let Told::Hit(hit) = told else { return };
        for (keys, holds) in found.iter_mut().zip([hit.as_of, hit.matched]) {
            keys.extend(holds.then(|| hit.record.key.to_string()));
        }
    };
    let backtest = backtester.run(&RuleId::from("silent"), told).await.unwrap();
    for keys in &mut found {
        keys.sort();
    }
    (backtest, found)
}

#[tokio::test]
async fn who_failed_at_the_time_is_told_by_history_and_who_fails_today_by_columns() {
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        let world = world(kind).await;
        let (backtest, [as_of, matched]) = tested(&world).await;
        assert_eq!(as_of, ["1", "3", "5", "6"], "{kind:?}: an answer that came later, or long before, doesn't count");
        assert_eq!(matched, ["1", "5", "6"], "{kind:?}: and two live in Germany, today");
        assert_eq!(backtest.total, Tally { crossed: 6, as_of: 4, matched: 3 }, "{kind:?}");
        let days = backtest.days.iter().map(|day| day.tally.as_of).sum::<u64>();
        assert_eq!(days, 4, "{kind:?}");
        let terms: Vec<(&str, Basis, u64, u64)> =
            backtest.terms.iter().map(|term| (term.text.as_str(), term.basis, term.held, term.failed)).collect();
        assert_eq!(
            terms,
            [("responses: {none: {}, within_last: 5 days}", Basis::AsOf, 4, 2), ("country: AT", Basis::Current, 4, 2)],
            "{kind:?}"
        );
        // Today's country is taken for that of then; what was answered is as it was.
        world.crm.run("UPDATE accounts SET country_code = 'AT'").await;
        let (backtest, _) = tested(&world).await;
        assert_eq!(backtest.total, Tally { crossed: 6, as_of: 4, matched: 4 }, "{kind:?}");
    }
}

/// Of a schedule everybody crosses, so that each term is counted over all of them.
#[tokio::test]
async fn of_a_schedule_each_term_is_counted_over_everybody() {
    let trigger = "schedule: {cron: \"30 10 12 6 *\"}";
    let text = RULE.replace("inactivity: {of: orders, for: 30 days}", trigger).replace("check_every: 1 hour\n", "");
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        let world = world(kind).await;
        world.load(&[("silent.yaml", &text)]).await;
        // On the morning of the 12th the sixth has not answered yet.
        let (backtest, [as_of, matched]) = tested(&world).await;
        assert_eq!(as_of, ["1", "3", "5", "6"], "{kind:?}");
        assert_eq!(matched, ["1", "5", "6"], "{kind:?}");
        assert_eq!(backtest.total, Tally { crossed: 6, as_of: 4, matched: 3 }, "{kind:?}");
        let terms: Vec<(Basis, u64, u64)> =
            backtest.terms.iter().map(|term| (term.basis, term.held, term.failed)).collect();
        assert_eq!(terms, [(Basis::AsOf, 4, 2), (Basis::Current, 4, 2)], "{kind:?}");
    }
}
