//! What a panic does, in nudged or in a library it uses: the files are refused as wrong ones are, or the process ends. What
//! was good goes on, and nothing stands still in silence.

use super::{ALL, Home, findings, outside, spare_rule};
use crate::support::PATIENCE;
use crate::world::{Recorder, Wire};
use async_trait::async_trait;
use nudged::diagnostic::Finding;
use nudged::engine::Settings;
use nudged::model::{RuleId, SystemClock};
use nudged::rule::generation::Generation;
use nudged::rulebook::{Examiner, RulebookOptions, Trouble};
use nudged::service::{Beside, Daemon, Outfit, ProcessVitals};
use nudged::web::Vitals;
use std::collections::BTreeSet;
use std::sync::Arc;

#[tokio::test]
async fn a_rule_over_which_the_check_panics_is_refused_by_name_and_the_others_go_on() {
    let home = Home::new().await;
    let wire = Wire::to(Arc::clone(&home.source));
    let book = home.try_open(home.options(), wire.clone()).await.unwrap();
    let before = book.handle.standing();
    wire.panic_at("prepare");
    home.save("spare.yaml", &spare_rule(1));
    let after = book.rejected().await;
    assert_eq!((&after.hash, after.rules), (&before.hash, 4));
    assert!(findings(&after).contains("spare.yaml:"), "{}", findings(&after));
    assert!(findings(&after).contains("error[rules.panic]"), "{}", findings(&after));
    let mended = book.handle.reload(false).await.unwrap();
    assert!(mended.is_good() && mended.rules == 5, "the rulebook lives: {mended:?}");
}

#[tokio::test]
async fn only_the_file_that_a_check_panics_over_stays_as_it_was() {
    let home = Home::new().await;
    let wire = Wire::to(Arc::clone(&home.source));
    let options = RulebookOptions { isolate: true, ..home.options() };
    let book = home.try_open(options, wire.clone()).await.unwrap();
    wire.panic_at("prepare");
    home.save("spare.yaml", &spare_rule(1));
    let after = book.until(|standing| matches!(standing.trouble.as_deref(), Some(Trouble::Isolated(_)))).await;
    assert_eq!(after.rules, 4);
}

#[tokio::test]
async fn a_panic_over_the_whole_tree_is_a_rejected_reload() {
    let home = Home::new().await;
    let wire = Wire::to(Arc::clone(&home.source));
    let book = home.try_open(home.options(), wire.clone()).await.unwrap();
    wire.panic_at("schema");
    home.save("spare.yaml", &spare_rule(1));
    let after = book.rejected().await;
    assert!(findings(&after).contains("error[rules.panic]"), "{}", findings(&after));
    assert!(book.handle.reload(false).await.unwrap().is_good());
}

#[tokio::test]
async fn a_start_over_files_that_a_check_panics_over_runs_the_last_good_ones() {
    let home = Home::new().await;
    drop(home.open().await);
    home.save("spare.yaml", &spare_rule(1));
    let wire = Wire::to(Arc::clone(&home.source));
    wire.panic_at("prepare");
    let book = home.try_open(home.options(), wire).await.unwrap();
    let standing = book.handle.standing();
    assert!(standing.restored && findings(&standing).contains("error[rules.panic]"), "{standing:?}");
    assert_eq!(book.rule_names(), ALL);
}

/// Panics over the tests of every rule.
struct Faulty;

#[async_trait]
impl Examiner for Faulty {
    async fn examine(&self, _: &Generation, _: &BTreeSet<RuleId>) -> Vec<Finding> {
        panic!("a bug in an examiner, as the test asked for")
    }
}

#[tokio::test]
async fn tests_that_panic_refuse_what_they_test() {
    let home = Home::new().await;
    let book = home.try_open_as(home.options(), Arc::clone(&home.source), Arc::new(Faulty)).await.unwrap();
    home.save("spare.yaml", &spare_rule(1));
    let after = book.rejected().await;
    assert!(findings(&after).contains("error[rules.panic]"), "{}", findings(&after));
    drop(book);
    let book = home.try_open_as(home.options(), Arc::clone(&home.source), Arc::new(Faulty)).await.unwrap();
    assert!(book.handle.standing().restored, "at a start too");
}

/// Whoever runs a daemon ends with it, and says so meanwhile.
#[tokio::test]
async fn a_rulebook_that_ends_ends_the_daemon() {
    let home = Home::new().await;
    let mut daemon = Daemon::start(Outfit {
        clock: Arc::new(SystemClock),
        source: Arc::clone(&home.source),
        store: home.store.clone(),
        email: Arc::new(Recorder::default()),
        webhook: Arc::new(Recorder::default()),
        rules: home.options(),
        outside: outside(),
        settings: Settings::default(),
        renew: Some(Arc::new(|| panic!("a bug in the rulebook, as the test asked for"))),
        beside: Beside::default(),
    })
    .await
    .unwrap();
    let vitals = ProcessVitals::new(PATIENCE, Arc::clone(daemon.engine()));
    assert_eq!(vitals.illness(), None);
    assert_eq!(daemon.rulebook().clone().reload(false).await, None);
    let part = tokio::time::timeout(PATIENCE, daemon.ended()).await.unwrap();
    assert_eq!(part, "rulebook");
    vitals.note_end(part);
    assert_eq!(vitals.illness().as_deref(), Some("the rulebook has ended by itself"));
}
