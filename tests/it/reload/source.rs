//! A source that is away, or whose tables and columns go: only the rules that need what is lost rest.

use super::{ALL, Home};
use crate::world::Wire;
use nudged::model::RuleId;
use nudged::rule::generation::Rest;
use nudged::rulebook::{Standing, Trouble};
use nudged::source::{SourceOptions, connect};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_source_that_is_away_is_a_warning() {
    let home = Home::new().await;
    let closed = connect(&SourceOptions {
        connect_timeout: Duration::from_secs(2),
        ..SourceOptions::new("postgres://nobody@127.0.0.1:1/nowhere")
    })
    .unwrap();
    let book = home.try_open(home.options(), closed).await.unwrap();
    let standing = book.handle.standing();
    assert!(standing.is_good(), "{standing:?}");
    assert!(standing.warnings.iter().any(|warning| warning.code == "source.unreachable"), "{standing:?}");
    assert_eq!(book.rule_names(), ALL);
    assert_eq!(standing.resting.len(), ALL.len(), "{standing:?}");
    assert!(standing.resting.values().all(|rest| *rest == Rest::Unchecked), "{standing:?}");
}

/// Without the live tables the types of columns are guesses: a script would be handed `1` for `true`.
#[tokio::test]
async fn rules_rest_until_a_source_that_was_away_has_checked_them() {
    let home = Home::new().await;
    let wire = Wire::to(Arc::clone(&home.source));
    wire.cut(true);
    let book = home.try_open(home.options(), wire.clone()).await.unwrap();
    assert_eq!(book.handle.standing().resting.len(), ALL.len());
    assert!(book.generation().surroundings.schema.is_none());
    let mut standings = book.handle.standings();
    wire.cut(false);
    // Nobody asks for it.
    standings.wait_for(|standing| standing.resting.is_empty()).await.unwrap();
    let unreachable =
        |standing: &Standing| standing.warnings.iter().any(|warning| warning.code == "source.unreachable");
    assert!(!unreachable(&book.handle.standing()));
    assert!(book.generation().surroundings.schema.is_some());

    // What is written while it is away again rests alone.
    wire.cut(true);
    home.edit("win-back.yaml", "Silent for 90 days:", "Silent for ninety days:");
    standings.wait_for(|standing| !standing.resting.is_empty()).await.unwrap();
    let resting: Vec<String> = book.handle.standing().resting.keys().map(ToString::to_string).collect();
    assert_eq!(resting, ["win-back-90"]);
    home.edit("low-nps.yaml", "A score of 6 or less:", "Six or less:");
    standings.wait_for(|standing| standing.resting.len() == 2).await.unwrap();
    wire.cut(false);
    standings.wait_for(|standing| standing.resting.is_empty()).await.unwrap();
}

#[tokio::test]
async fn tables_that_are_gone_stop_only_the_rules_that_read_them() {
    let home = Home::new().await;
    let crm = format!("sqlite:{}", home.folder.path().join("crm.db").display());
    let pool = sqlx::SqlitePool::connect(&crm).await.unwrap();
    sqlx::raw_sql("DROP TABLE subscriptions").execute(&pool).await.unwrap();
    pool.close().await;
    let book = home.open().await;
    let standing = book.handle.standing();
    let resting: Vec<String> = book.generation().resting.keys().map(ToString::to_string).collect();
    assert_eq!(resting, ["renewal"], "{standing:?}");
    let refused =
        |trouble: &Trouble| matches!(trouble, Trouble::Refused(findings) if findings[0].code == "rule.query-refused");
    assert!(standing.trouble.as_deref().is_some_and(refused), "{standing:?}");
}

#[tokio::test]
async fn columns_that_go_while_running_stop_only_the_rules_that_name_them() {
    let home = Home::new().await;
    let book = home.open().await;
    let crm = format!("sqlite:{}", home.folder.path().join("crm.db").display());
    let pool = sqlx::SqlitePool::connect(&crm).await.unwrap();
    let change = async |sql: &'static str| {
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        book.handle.reload(false).await.unwrap()
    };
    let resting = || book.generation().resting.keys().map(ToString::to_string).collect::<Vec<_>>();
    let definitions = || {
        let generation = book.generation();
        generation.rules.iter().map(|(id, rule)| (id.clone(), rule.definition.clone())).collect::<Vec<_>>()
    };
    let meant = definitions();

    // Nobody names it, though it was read along with every customer.
    let standing = change("ALTER TABLE accounts DROP COLUMN city").await;
    assert!(standing.is_good(), "{standing:?}");
    assert_eq!(resting(), Vec::<String>::new());

    // A field of the catalog that one rule names in a condition.
    let standing = change("ALTER TABLE accounts DROP COLUMN country_code").await;
    assert_eq!(resting(), ["win-back-90"], "{standing:?}");
    let told = standing.trouble.as_deref().unwrap().findings();
    assert!(told.len() == 1 && told[0].to_string().contains("win-back-90"), "{told:?}");
    assert!(standing.warnings.iter().any(|warning| warning.code == "catalog.no-column"), "{standing:?}");
    assert_eq!(definitions(), meant, "nobody's baseline is set anew");

    // A column that no file declares, and a condition that names it all the same.
    home.edit("vip-monday.yaml", "  - tier: vip", "  - tier: vip\n  - class: A+");
    book.until(|_| book.generation().rules[&RuleId::from("vip-monday")].text.contains("class: A+")).await;
    assert_eq!(resting(), ["win-back-90"], "an edit goes through beside it");
    let standing = change("ALTER TABLE accounts RENAME COLUMN class TO grade").await;
    assert_eq!(resting(), ["vip-monday", "win-back-90"], "{standing:?}");

    change("ALTER TABLE accounts RENAME COLUMN grade TO class").await;
    let standing = change("ALTER TABLE accounts ADD COLUMN country_code TEXT").await;
    assert!(standing.is_good(), "{standing:?}");
    assert_eq!(resting(), Vec::<String>::new(), "all run again");
    pool.close().await;
}
