//! Over random histories, abandoned carts are found as a naive oracle finds them, whatever forms the source
//! keeps the two times in.

use super::created::{Dated, windows};
use super::form::{Form, instants, vienna};
use super::world::World;
use crate::support::runner;
use jiff::Timestamp;
use nudged::model::Period;
use nudged::rule::compiled::{Reach, Window};
use nudged::rule::statement::Dialect;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::fmt::Write;

const TABLES: &str = "
CREATE TABLE accounts (id integer PRIMARY KEY, active boolean NOT NULL);
CREATE TABLE carts (id {serial}, account_id integer, status varchar(9), note varchar(20),
  at_native {instant}, at_naive {naive}, at_local varchar(40), at_utc varchar(40), at_seconds bigint, at_millis bigint, at_day {date});
CREATE TABLE orders (id {serial}, account_id integer, paid boolean NOT NULL,
  at_native {instant}, at_naive {naive}, at_local varchar(40), at_utc varchar(40), at_seconds bigint, at_millis bigint, at_day {date});
";

/// How the cart's last change is kept, and how the order's time.
const PAIRS: [(Form, Option<Form>); 10] = [
    (Form::Native, None),
    (Form::Native, Some(Form::Native)),
    (Form::Naive, Some(Form::Naive)),
    (Form::LocalText, Some(Form::LocalText)),
    (Form::UtcText, Some(Form::Seconds)),
    (Form::Seconds, Some(Form::Naive)),
    (Form::Millis, Some(Form::UtcText)),
    (Form::Day, Some(Form::Day)),
    (Form::Native, Some(Form::Day)),
    (Form::Day, Some(Form::Millis)),
];
const IDLE: [&str; 2] = ["3 hours", "2 days"];

#[derive(Debug, Clone)]
struct Cart {
    account: usize,
    changed: Option<Timestamp>,
    open: bool,
}

#[derive(Debug, Clone)]
struct Order {
    account: usize,
    at: Option<Timestamp>,
    paid: bool,
}

#[derive(Debug, Clone)]
struct History {
    active: Vec<bool>,
    carts: Vec<Cart>,
    orders: Vec<Order>,
}

impl Dated for Cart {
    fn dated(&self) -> Option<Timestamp> {
        self.changed
    }
}

fn history() -> impl Strategy<Value = History> {
    let at = || proptest::option::weighted(0.9, instants());
    let cart = (0..12_usize, at(), proptest::bool::weighted(0.75)).prop_map(|(account, changed, open)| Cart {
        account,
        changed,
        open,
    });
    let order =
        (0..12_usize, at(), proptest::bool::weighted(0.8)).prop_map(|(account, at, paid)| Order { account, at, paid });
    (
        proptest::collection::vec(proptest::bool::weighted(0.9), 12),
        proptest::collection::vec(cart, 30),
        proptest::collection::vec(order, 20),
    )
        .prop_map(|(active, carts, orders)| History { active, carts, orders })
}

fn catalog() -> String {
    let mut relations = String::new();
    let mut entities = String::new();
    for (cart, order) in PAIRS {
        let name = name(cart, order);
        writeln!(relations, "      carts_{name}: {{entity: cart_{name}, by: customer}}").unwrap();
        let column = cart.column();
        writeln!(
            entities,
            "  cart_{name}:\n    table: carts\n    key: id\n    updated_at: {column}\n    fields:\n      \
             customer: account_id\n      state: {{column: status, means: {{open: [open], done: [bought]}}}}\n      \
             note: note\n      {column}: {}",
            cart.ty()
        )
        .unwrap();
        let Some(order) = order else { continue };
        let column = order.column();
        writeln!(relations, "      orders_{name}: {{entity: order_{name}, by: customer}}").unwrap();
        writeln!(
            entities,
            "  order_{name}:\n    table: orders\n    key: id\n    at: {column}\n    only: {{paid: true}}\n    \
             fields:\n      customer: account_id\n      {column}: {}",
            order.ty()
        )
        .unwrap();
    }
    format!(
        "version: 1\ntime_zone: Europe/Vienna\nentities:\n  customer:\n    table: accounts\n    key: id\n    \
         only: {{active: true}}\n    relations:\n{relations}{entities}"
    )
}

fn name(cart: Form, order: Option<Form>) -> String {
    format!("{}_{}", cart.column(), order.map_or("none", Form::column))
}

fn rules() -> Vec<(Form, Option<Form>, &'static str, String)> {
    let mut rules = Vec::new();
    for (cart, order) in PAIRS {
        for idle in IDLE {
            let name = name(cart, order);
            let unless = order.map_or_else(String::new, |_| format!(", unless: orders_{name}"));
            let id = format!("{}-{}", name.replace('_', "-"), idle.replace(' ', "-"));
            let rule = format!(
                "version: 1\nid: {id}\nmode: live\npurpose: service\nfor_each: customer\ntrigger:\n  \
                 abandoned: {{of: carts_{name}, open: {{state: open}}, idle: {idle}{unless}}}\nsteps:\n  - wait: {{for: 1 day}}\n"
            );
            rules.push((cart, order, idle, rule));
        }
    }
    rules
}

/// `account cart/last change` of all that cross in the window.
fn oracle(history: &History, cart_form: Form, order_form: Option<Form>, idle: &str, window: Window) -> Vec<String> {
    let idle: Period = idle.parse().unwrap();
    let mut found = Vec::new();
    for (number, cart) in history.carts.iter().enumerate().filter(|(_, cart)| cart.open && history.active[cart.account])
    {
        let Some(changed) = cart.changed else { continue };
        let readings = cart_form.readings(changed);
        let crosses = |at: &Timestamp| {
            let crossed = idle.after(*at, &vienna());
            window.after < crossed && crossed <= window.until
        };
        let Some(at) = readings.into_iter().find(crosses) else { continue };
        let ordered = |order: &Order| {
            let form = order_form.filter(|_| order.account == cart.account && order.paid)?;
            // A day of today, and an hour that comes twice, are looked at from now.
            let visible = |at: Timestamp| match form {
                Form::Day => vienna().to_datetime(at).date() <= vienna().to_datetime(window.now).date(),
                _ => form.readings(at)[0] <= window.now,
            };
            order.at.filter(|at| visible(*at)).map(|at| form.readings(at)[1])
        };
        if history.orders.iter().filter_map(ordered).all(|order| order < at) {
            found.push(format!("{} {}/{:.6}", cart.account, number + 1, readings[0]));
        }
    }
    found.sort();
    found
}

async fn store(world: &World, history: &History) {
    let forms = super::form::FORMS;
    let columns = forms.map(Form::column).join(", ");
    let cells = |at| forms.map(|form| form.cell(at, world.dialect())).join(", ");
    let mut sql = String::from("DELETE FROM carts;\nDELETE FROM orders;\nDELETE FROM accounts;\n");
    let truth = |flag| if flag { "TRUE" } else { "FALSE" };
    for (number, active) in history.active.iter().enumerate() {
        writeln!(sql, "INSERT INTO accounts VALUES ({number}, {});", truth(*active)).unwrap();
    }
    for (number, cart) in history.carts.iter().enumerate() {
        let status = if cart.open { "open" } else { "bought" };
        writeln!(
            sql,
            "INSERT INTO carts (id, account_id, status, note, {columns}) VALUES ({}, {}, '{status}', 'n{number}', {});",
            number + 1,
            cart.account,
            cells(cart.changed)
        )
        .unwrap();
    }
    for order in &history.orders {
        writeln!(
            sql,
            "INSERT INTO orders (account_id, paid, {columns}) VALUES ({}, {}, {});",
            order.account,
            truth(order.paid),
            cells(order.at)
        )
        .unwrap();
    }
    world.execute(&sql).await;
}

async fn compare(world: World, cases: usize) {
    world.execute(TABLES).await;
    let rules = rules();
    let texts: Vec<&str> = rules.iter().map(|(_, _, _, text)| text.as_str()).collect();
    let generation = world.generation(&catalog(), &texts).await;
    let mut runner = runner();
    for _ in 0..cases {
        let history = history().new_tree(&mut runner).unwrap().current();
        let picks = proptest::collection::vec(0..1_000_usize, 4).new_tree(&mut runner).unwrap().current();
        store(&world, &history).await;
        for (cart, order, idle, text) in &rules {
            let rule = generation.rules.values().find(|rule| &*rule.text == text.as_str()).unwrap();
            for window in windows(&history.carts, *cart, idle, &picks) {
                let found = world.crossings(rule, Reach::Crossed(window)).await;
                let mut told = super::world::told_crossings(&found);
                told.sort();
                let expected = oracle(&history, *cart, *order, idle, window);
                let what = format!("{:?} {cart:?} {order:?} {idle} {window:?}", world.dialect());
                assert_eq!(told, expected, "{what}\n{history:#?}");
                assert!(found.iter().all(|crossing| crossing.row.contains_key("note")), "{what}");
            }
            let last = windows(&history.carts, *cart, idle, &picks)[0].until;
            let ever = Window { after: Timestamp::MIN, until: last, now: last };
            // SQLite keeps all of them as text, which it can't compare exactly.
            let comparable = |order: Form| order == Form::Native && world.dialect() != Dialect::Sqlite;
            let exact = *cart == Form::Native && order.is_none_or(comparable);
            if exact {
                let count = world.count(rule.count_until(last).unwrap()).await;
                let expected = oracle(&history, *cart, *order, idle, ever).len();
                assert_eq!(usize::try_from(count).unwrap(), expected, "{:?} {idle}", world.dialect());
            }
        }
    }
}

#[tokio::test]
async fn carts_on_sqlite() {
    compare(World::sqlite(), 8).await;
}

#[tokio::test]
async fn carts_on_postgres() {
    compare(World::postgres(), 4).await;
}

#[tokio::test]
async fn carts_on_mariadb() {
    compare(World::mariadb(), 4).await;
}

/// Where the record is the cart itself.
#[tokio::test]
async fn a_cart_of_its_own_is_found_by_its_last_change() {
    const CATALOG: &str = "version: 1\ntime_zone: UTC\nentities:\n  cart: {table: carts, key: id, updated_at: at_native, \
                           fields: {at_native: {type: instant, zone: UTC}, status: status}}\n";
    const RULE: &str = "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: cart\ntrigger:\n  \
                        abandoned: {open: {status: open}, idle: 3 hours}\nsteps: [wait: {for: 1 day}]\n";
    for world in World::all() {
        world.execute(TABLES).await;
        let (rule, _) = world.rule(CATALOG, RULE).await;
        let at =
            |hour: u8| Form::Native.literal(format!("2026-11-20T{hour:02}:00:00Z").parse().unwrap(), world.dialect());
        let sql = format!(
            "INSERT INTO carts (id, status, at_native) VALUES (1, 'open', {});\n\
             INSERT INTO carts (id, status, at_native) VALUES (2, 'bought', {});\n\
             INSERT INTO carts (id, status, at_native) VALUES (3, NULL, {});\n",
            at(9),
            at(9),
            at(9)
        );
        world.execute(&sql).await;
        let window = super::world::window("2026-11-20T11:00:00Z", "2026-11-20T12:00:00Z");
        let found = world.crossings(&rule, Reach::Crossed(window)).await;
        let expected = ["1 1/2026-11-20T09:00:00.000000Z"];
        assert_eq!(super::world::told_crossings(&found), expected, "{:?}", world.dialect());
        assert_eq!(world.count(rule.count_until(window.until).unwrap()).await, 1);
    }
}
