//! A million customers (or as many as are asked for) with five orders each, made so that the number of newly silent
//! customers is known: last orders are spread evenly over 100 days a million, so 10,000 customers a day pass any age,
//! 104 each 15 minutes.

use super::machine::directory;
use super::report;
use super::support::guarded::Account;
use super::support::postgres::PostgresServer;
use super::support::{Database, instant};
use jiff::Timestamp;
use std::time::Instant;

pub struct BenchSource {
    pub server: PostgresServer,
    pub crm: Database,
    /// When the source was made: ages count from here.
    pub made_at: Timestamp,
}

/// `NUDGED_BENCH_CUSTOMERS`, or a million.
pub fn customers() -> u32 {
    std::env::var("NUDGED_BENCH_CUSTOMERS").map_or(1_000_000, |text| text.parse().expect("a number of customers"))
}

/// Last orders are this far apart, however many customers there are: as many fall silent a day, for longer.
const SPACING: &str = "8.64 seconds";

/// Durable, like a server in production; small enough for two cores.
const SETTINGS: [&str; 6] = [
    "shared_buffers=1GB",
    "max_wal_size=4GB",
    "work_mem=64MB",
    "maintenance_work_mem=512MB",
    "shared_preload_libraries=pg_stat_statements",
    "checkpoint_timeout=30min",
];

impl BenchSource {
    pub fn open() -> Self {
        let kept = if customers() == 1_000_000 { "postgres".to_owned() } else { format!("postgres-{}", customers()) };
        let data = Account::for_server("postgres").kept_directory(&directory().join(kept));
        let server = PostgresServer::start(Some(&data), &SETTINGS);
        let crm = server.open("crm");
        if crm.rows("SELECT 1 FROM pg_tables WHERE tablename = 'made'").is_empty() {
            generate(&crm);
        }
        // Figures must not wait for the disk's first look.
        crm.execute(
            "CREATE EXTENSION IF NOT EXISTS pg_prewarm; SELECT pg_prewarm(c.oid::regclass) FROM pg_class c
            JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'crm' AND relkind IN ('r', 'i')",
        );
        let made = crm.rows("SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM made");
        let made_at = instant(&made[0]);
        report::figure("PostgreSQL", &crm.rows("SHOW server_version")[0]);
        report::figure(
            "customers, orders",
            crm.rows("SELECT (SELECT count(*) FROM crm.accounts), (SELECT count(*) FROM crm.orders)")[0]
                .replace('\t', ", "),
        );
        Self { server, crm, made_at }
    }
}

fn generate(crm: &Database) {
    let customers = customers();
    println!("generating the source: {customers} customers, {} orders", 5 * customers);
    let began = Instant::now();
    crm.execute(&format!(
        "DROP SCHEMA IF EXISTS crm CASCADE;
        CREATE SCHEMA crm;
        CREATE TABLE crm.accounts (id int NOT NULL, name text NOT NULL, country text NOT NULL, class text NOT NULL,
            is_active boolean NOT NULL, created_at timestamptz NOT NULL);
        CREATE TABLE crm.contacts (id int NOT NULL, account_id int NOT NULL, email text NOT NULL, first_name text NOT NULL,
            news_ok boolean NOT NULL);
        CREATE TABLE crm.orders (id bigint NOT NULL, account_id int NOT NULL, placed_at timestamptz NOT NULL,
            amount numeric(10, 2) NOT NULL, status text NOT NULL);
        INSERT INTO crm.accounts SELECT n, 'Customer ' || n, (ARRAY['AT', 'DE', 'CH', 'NO', 'FR'])[1 + n % 5],
            (ARRAY['A', 'B', 'C'])[1 + n % 3], true, now() - interval '3 years' FROM generate_series(1, {customers}) n;
        INSERT INTO crm.contacts SELECT n, n, 'c' || n || '@bench.example', 'Ada', true FROM generate_series(1, {customers}) n;
        INSERT INTO crm.orders SELECT row_number() OVER (ORDER BY placed_at), account_id, placed_at, 20 + account_id % 500, 'paid'
            FROM (SELECT n AS account_id, now() - (n::bigint * 7919 % {customers}) * interval '{SPACING}'
                - k * interval '37 days' AS placed_at
                FROM generate_series(1, {customers}) n, generate_series(0, 4) k) AS history ORDER BY placed_at;
        ALTER TABLE crm.accounts ADD PRIMARY KEY (id);
        ALTER TABLE crm.contacts ADD PRIMARY KEY (id);
        ALTER TABLE crm.orders ADD PRIMARY KEY (id);
        CREATE INDEX ON crm.contacts (account_id);
        CREATE INDEX ON crm.orders (account_id, placed_at);
        CREATE INDEX ON crm.orders (placed_at);
        CREATE TABLE made AS SELECT now() AS at;"
    ));
    crm.execute("VACUUM ANALYZE");
    report::time("generated in", began.elapsed(), None);
}

/// The source as rules see it.
pub const CATALOG: &str = "
version: 1
time_zone: UTC
entities:
  customer:
    table: crm.accounts
    key: id
    only: {is_active: true}
    fields: {customer: id, country: country, tier: {column: class, means: {vip: [A], standard: [B, C]}}}
    relations:
      orders: {entity: order, by: customer}
      contacts: {entity: contact, by: customer}
    recipients:
      main_contact: {first_of: contacts, order: [id]}
  contact:
    table: crm.contacts
    key: id
    fields: {customer: account_id}
    person: {email: email, first_name: first_name}
    consent: {email: {offers: news_ok}}
  order:
    table: crm.orders
    key: id
    at: placed_at
    only: {status: [paid]}
    fields: {customer: account_id, total: amount}
";
