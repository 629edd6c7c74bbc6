//! Previews look as sweeps do.

use super::{entered, silence, sweep, with_silent};
use crate::world::{World, days, hours, minutes};
use nudged::engine::{PreviewScope, Previewer, Settings, preview};

#[tokio::test]
async fn a_wider_where_with_a_backfill_takes_in_whom_the_old_one_refused() {
    let rule = silence(10, "AT").replace("country: AT", "name: C1");
    let rule = rule.replace("check_every", "backfill: all\nkeep_trying: 1 day\ncheck_every");
    let world = with_silent(2, Settings::default(), &rule).await;
    world.clock.advance(hours(1));
    let report = sweep(&world).await;
    assert_eq!((report.matched, report.missed), (1, 1));
    // Beyond `keep_trying` the refusal stands, and a preview of what runs says so.
    world.clock.advance(days(2));
    world.crm.run("UPDATE accounts SET name = 'C1' WHERE id = 2").await;
    let generation = world.generation();
    let of = [PreviewScope::Records(vec!["2".into()])];
    let found = preview(&previewer(&world, &generation), &"silence".into(), &of[0]).await.unwrap();
    assert!(found.matches.is_empty() && found.misses[0].2.contains("`keep_trying` is over"), "{found:?}");
    assert_eq!(sweep(&world).await.matched, 0);

    world.load(&[("silence.yaml", &rule.replace("name: C1", "name: {in: [C1, C2]}"))]).await;
    let generation = world.generation();
    let found = preview(&previewer(&world, &generation), &"silence".into(), &of[0]).await.unwrap();
    assert_eq!(found.matches.len(), 1);
    world.clock.advance(minutes(1));
    assert_eq!(sweep(&world).await.entered, 1);
    assert_eq!(entered(&world).await.len(), 2);
}

fn previewer<'a>(world: &'a World, generation: &'a nudged::rule::generation::Generation) -> Previewer<'a> {
    static SENDER: std::sync::LazyLock<serde_json::Value> = std::sync::LazyLock::new(|| serde_json::json!({}));
    Previewer {
        generation,
        source: world.source.as_ref(),
        store: world.store.as_ref(),
        sender: &SENDER,
        sending: None,
        now: world.now(),
        limit: 100,
    }
}

#[tokio::test]
async fn a_preview_shows_who_would_get_what_and_writes_nothing() {
    let world = with_silent(2, Settings::default(), &silence(10, "AT").replace("for: 5 years", "for: 2 days")).await;
    world.crm.run("UPDATE accounts SET country_code = 'DE' WHERE id = 2").await;
    world.clock.advance(hours(1));
    let generation = world.generation();
    let previewer = previewer(&world, &generation);
    for scope in [PreviewScope::LastInterval, PreviewScope::Records(vec!["1".into(), "2".into()])] {
        let found = preview(&previewer, &"silence".into(), &scope).await.unwrap();
        assert_eq!(found.matches.len(), 1, "{found:?}");
        let message = &found.matches[0].messages[0];
        assert_eq!((message.kind, message.due_at), ("webhook", world.now() + days(2)));
        assert!(message.content.is_ok(), "{message:?}");
        assert!(!found.matches[0].known);
        assert!(found.misses[0].2.contains("country"), "{:?}", found.misses);
    }
    assert_eq!(entered(&world).await.len(), 0);
    sweep(&world).await;
    let again = preview(&previewer, &"silence".into(), &PreviewScope::LastInterval).await.unwrap();
    assert!(again.matches[0].known);
}

#[tokio::test]
async fn of_many_crossings_it_shows_the_newest_first_whatever_their_keys() {
    let rule = silence(10, "AT").replace("check_every", "backfill: all\ncheck_every");
    let world = with_silent(5, Settings::default(), &rule).await;
    for id in 1..=5 {
        let at = world.crm.time(world.ago(days(20)) + hours(id * 7 % 5));
        world.crm.run(&format!("UPDATE orders SET placed_at = {at} WHERE account_id = {id}")).await;
    }
    let generation = world.generation();
    let shown = async |limit: usize| {
        let look = Previewer { limit, ..previewer(&world, &generation) };
        let found = preview(&look, &"silence".into(), &PreviewScope::Last(days(30))).await.unwrap();
        let keys: Vec<String> = found.matches.iter().map(|found| found.record.key.to_string()).collect();
        (keys.concat(), found.truncated)
    };
    // Crossed 2, 4, 1, 3 and 0 hours into the day.
    assert_eq!(shown(100).await, ("24135".to_owned(), false));
    assert_eq!(shown(2).await, ("24".to_owned(), true));
    assert_eq!(shown(1).await, ("2".to_owned(), true));
}

#[tokio::test]
async fn a_schedule_that_has_not_run_is_shown_with_its_next_instant() {
    let world = with_silent(2, Settings::default(), &silence(10, "AT")).await;
    let text = silence(10, "AT");
    let trigger = text.lines().find(|line| line.trim_start().starts_with("inactivity")).unwrap();
    let planned = text.replace(trigger, "  schedule: {cron: \"0 8 * * MON\"}").replace("check_every: 1 hour\n", "");
    world.load(&[("silence.yaml", &planned)]).await;
    let generation = world.generation();
    let found = preview(&previewer(&world, &generation), &"silence".into(), &PreviewScope::LastInterval).await.unwrap();
    let next = found.planned.unwrap();
    assert!(next > world.now() && next.duration_since(world.now()) <= days(7), "{next}");
    assert!(found.matches.iter().all(|found| found.left_out && !found.would_match()), "{found:?}");
}
