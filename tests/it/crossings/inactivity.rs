//! Silence.

use super::world::{World, told_crossings, window};
use nudged::model::Key;
use nudged::rule::compiled::Reach;

pub const CATALOG: &str = r"
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    only: {is_active: true}
    fields:
      created_at: {type: instant, zone: UTC}
    relations:
      orders: {entity: order, by: customer}
  order:
    table: orders
    key: id
    at: placed_at
    only: {status: [paid, shipped]}
    fields:
      customer: account_id
      placed_at: {type: instant, zone: UTC}
";

const TABLES: &str = r"
CREATE TABLE accounts (id integer PRIMARY KEY, is_active boolean NOT NULL, created_at {instant});
CREATE TABLE orders (id integer PRIMARY KEY, account_id integer, placed_at {instant}, status varchar(20));
";

pub const RULE: &str = "
version: 1
id: silent
mode: live
purpose: service
for_each: customer
trigger:
  inactivity: {of: orders, for: 90 days}
steps:
  - wait: {for: 1 day}
";

#[tokio::test]
async fn those_whose_last_counting_order_is_ninety_days_old_cross_once() {
    for world in World::all() {
        world.execute(TABLES).await;
        world
            .execute(
                "INSERT INTO accounts VALUES (1, TRUE, NULL), (2, TRUE, NULL), (3, TRUE, NULL), (4, FALSE, NULL), (5, TRUE, NULL);
                 INSERT INTO orders VALUES
                   (1, 1, '2026-01-01 10:00:00', 'paid'), (2, 1, '2026-01-01 09:00:00', 'paid'),
                   (3, 2, '2026-01-01 10:00:00', 'paid'), (4, 2, '2026-01-05 10:00:00', 'shipped'),
                   (5, 3, '2026-01-01 10:00:00', 'paid'), (6, 3, '2026-01-05 10:00:00', 'cancelled'),
                   (7, 4, '2026-01-01 10:00:00', 'paid'),
                   (8, 5, '2026-01-01 10:00:00', 'paid'), (9, 5, '2026-09-09 10:00:00', 'paid'), (10, 5, NULL, 'paid');",
            )
            .await;
        let (rule, _) = world.rule(CATALOG, RULE).await;
        let crossed = window("2026-04-01T09:45:00Z", "2026-04-01T10:00:00Z");
        let found = world.crossings(&rule, Reach::Crossed(crossed)).await;
        // 2 ordered later, 4 is no record; 3's later order was cancelled; 5's is dated after now.
        let expected =
            ["1 2026-01-01T10:00:00.000000Z", "3 2026-01-01T10:00:00.000000Z", "5 2026-01-01T10:00:00.000000Z"];
        assert_eq!(told_crossings(&found), expected, "{:?}", world.dialect());
        assert_eq!(found[0].crossed_at, crossed.until);
        let next = window("2026-04-01T10:00:00Z", "2026-04-01T10:15:00Z");
        assert_eq!(world.crossings(&rule, Reach::Crossed(next)).await, []);

        let three = Key::new("3");
        let only = Reach::Of(crossed, std::slice::from_ref(&three));
        assert_eq!(told_crossings(&world.crossings(&rule, only).await), expected[1..2]);
        let chunk = Reach::Chunk { window: crossed, after: Some(&three), upto: None };
        assert_eq!(told_crossings(&world.crossings(&rule, chunk).await), expected[2..]);
        let chunk = Reach::Chunk { window: crossed, after: None, upto: Some(&three) };
        assert_eq!(told_crossings(&world.crossings(&rule, chunk).await), expected[..2]);
        assert_eq!(rule.crossings(Reach::Changed(crossed, crossed.after)), []);
        assert_eq!(world.count(rule.count_until(crossed.until).unwrap()).await, 3);
        assert_eq!(world.count(rule.count_records()).await, 4);
        let end = world.rows(rule.chunk_end(Some(&Key::new("1")), 2)).await;
        assert_eq!(rule.read_key(&end[0]).unwrap(), three);
        assert!(world.rows(rule.chunk_end(Some(&three), 2)).await.is_empty());
    }
}
