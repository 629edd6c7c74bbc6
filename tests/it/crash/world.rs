//! A small CRM in which one customer after another falls silent while the daemon is being killed.

use crate::support::Database;
use std::collections::BTreeMap;

pub struct World {
    pub database: Database,
}

impl World {
    pub const CUSTOMERS: usize = 1_200;

    /// Customer `n` last ordered so that the hour is over `n` × 100 ms from now: for two minutes, each sweep
    /// finds a few. Two of three wait for the next half minute, so that some sweeps are larger than a batch.
    pub fn one_after_another(database: Database) -> Self {
        Self::create(database, "CASE WHEN n % 3 = 0 THEN n ELSE ceil(n / 300.0) * 300 END")
    }

    /// All at the same moment, soon: one sweep of many batches.
    pub fn all_at_once(database: Database) -> Self {
        Self::create(database, "30")
    }

    /// `after`: when customer `n` falls silent, in tenths of a second from now.
    fn create(database: Database, after: &str) -> Self {
        let tables = "CREATE TABLE customers (id int PRIMARY KEY, name varchar(40) NOT NULL);
            CREATE TABLE contacts (id int PRIMARY KEY, customer int NOT NULL, email varchar(80), news_ok boolean);";
        let rows = format!(
            "INSERT INTO customers SELECT n, concat('Customer ', n) FROM numbers;
            INSERT INTO contacts SELECT n, n, concat('c', n, '@crash.example'), true FROM numbers;
            DELETE FROM numbers WHERE n > {}",
            Self::CUSTOMERS
        );
        let customers = Self::CUSTOMERS;
        let own = if database.url.starts_with("postgres:") {
            format!(
                "CREATE TABLE numbers AS SELECT generate_series(1, {customers}) AS n;
                CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, placed_at timestamptz NOT NULL);
                CREATE TABLE tasks (id serial PRIMARY KEY, customer int, title varchar(80), ref varchar(64));
                INSERT INTO orders SELECT n, n, now() - interval '1 hour' + ({after}) * interval '100 ms' FROM numbers;"
            )
        } else {
            format!(
                "CREATE TABLE numbers AS SELECT seq AS n FROM seq_1_to_{customers};
                CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, placed_at datetime(6) NOT NULL);
                CREATE TABLE tasks (id int AUTO_INCREMENT PRIMARY KEY, customer int, title varchar(80), ref varchar(64));
                INSERT INTO orders
                    SELECT n, n, utc_timestamp(6) - interval 1 hour + interval ({after}) * 100000 microsecond FROM numbers;"
            )
        };
        database.execute(&format!("{tables}{own}{rows}"));
        database.execute("CREATE INDEX orders_customer ON orders (customer, placed_at)");
        database.execute("CREATE INDEX contacts_customer ON contacts (customer)");
        database.execute("CREATE INDEX tasks_ref ON tasks (ref)");
        database.execute("CREATE INDEX orders_placed_at ON orders (placed_at)");
        Self { database }
    }

    pub fn customers() -> impl Iterator<Item = usize> {
        1..=Self::CUSTOMERS
    }

    /// How many tasks each customer has.
    pub fn tasks(&self) -> BTreeMap<usize, usize> {
        let rows = self.database.rows("SELECT customer, count(*) FROM tasks GROUP BY customer");
        let pair = |row: &String| row.split_once('\t').map(|(one, other)| (one.parse(), other.parse()));
        rows.iter().map(|row| pair(row).unwrap()).map(|(customer, count)| (customer.unwrap(), count.unwrap())).collect()
    }

    pub const CATALOG: &str = "
version: 1
time_zone: UTC
entities:
  customer:
    table: customers
    key: id
    fields: {customer: id}
    relations:
      orders: {entity: order, by: customer}
      contacts: {entity: contact, by: customer}
    recipients:
      main_contact: {first_of: contacts, order: [id]}
  contact:
    table: contacts
    key: id
    person: {email: email}
    consent: {email: {offers: news_ok}}
  order: {table: orders, key: id, at: placed_at}
tasks:
  insert:
    - {table: tasks, set: {customer: $record.customer, title: $title, ref: $ref}}
";

    /// Webhook, wait, webhook, task; and a mail by a rule of its own, since an unknown mail is held.
    pub const RULES: [(&str, &str); 2] = [
        (
            "hooks",
            "
steps:
  - webhook: {to: sink, id: first}
  - wait: {for: 1 second}
  - webhook: {to: sink, id: second}
  - task: {title: \"Call {{ record.name }}\"}
",
        ),
        ("mails", "steps:\n  - email: {template: hello}\n"),
    ];

    pub const RULE_HEAD: &str = "
version: 1
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 1 hour}
check_every: 2 seconds
backfill: 1 hour
guard: {percent_per_day: 100, floor: 100000}
";

    pub const TEMPLATE: &str = "---\nsubject: Hello\n---\nHello {{ record.name }}\n";
}
