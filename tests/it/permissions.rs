//! The daemon's own login: it needs what `grants` prints and nothing more, and sees what row security lets it see.

use crate::catalog_shapes::written;
use crate::support::instant;
use crate::world::{Crm, Kind, Setup, World, hours, minutes};
use nudged::catalog::{self, Catalog, Table};
use nudged::diagnostic::SourceFile;
use nudged::engine::port::SourceError;
use nudged::model::Tenant;
use nudged::rule::statement::{Dialect, Statement};
use nudged::rulebook::{Outside, inspect};
use nudged::source::{Grantee, grants, sequences};
use rstest::rstest;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const START: &str = "2026-11-20T12:30:00Z";

const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  account:
    table: accounts
    key: id
    relations:
      status: {entity: status, to: status_id}
      people: {entity: person, through: account_people, from: account_id, to: person_id}
    fields:
      closed: {look_up: status.closed}
      stage: {writable: true}
      owner: {column: owner_id, writable: true}
    recipients:
      main: {first_of: people}
    tags: {table: tags, record: account_id, tag: tag}
  status: {table: statuses, key: id}
  person:
    table: people
    key: id
    person: {email: email}
    consent: {email: {offers: news, given_at: news_at, write_back: {yes: Y, no: N}}}
pools:
  codes: {table: codes, code: code, taken: {taken_by: $ref}}
tasks:
  insert:
    - {table: tasks, set: {title: $title, account_id: $record.key, ref: $ref, status_id: {look_up: {table: statuses, take: id, only: {label: New}}}}}
    - {table: task_people, set: {task_id: $1.id, note: $title}}
";

const TABLES: &str = "
CREATE TABLE statuses (id INTEGER PRIMARY KEY, label VARCHAR(20), closed INTEGER);
CREATE TABLE accounts (id INTEGER PRIMARY KEY, name VARCHAR(40), status_id INTEGER, stage VARCHAR(20), owner_id INTEGER);
CREATE TABLE tags (account_id INTEGER, tag VARCHAR(20));
CREATE TABLE codes (code VARCHAR(20) PRIMARY KEY, taken_by VARCHAR(80), secret VARCHAR(20));
CREATE TABLE people (id INTEGER PRIMARY KEY, email VARCHAR(40), news VARCHAR(1), news_at VARCHAR(30));
CREATE TABLE account_people (account_id INTEGER, person_id INTEGER);
CREATE TABLE secrets (id INTEGER PRIMARY KEY);
INSERT INTO statuses VALUES (1, 'New', 0), (2, 'Done', 1);
INSERT INTO accounts (id, name, status_id) VALUES (1, 'Ada', 1), (2, 'Bob', 2);
INSERT INTO tags VALUES (1, 'cold');
INSERT INTO codes (code) VALUES ('c-1'), ('c-2');
INSERT INTO people (id, email) VALUES (1, 'ada@x.example');
INSERT INTO account_people VALUES (1, 1);
";

const RULE: &str = "version: 1
id: call
mode: live
purpose: service
for_each: account
to: main
trigger: {schedule: {cron: \"0 * * * *\"}}
where: [closed: 0]
steps:
  - task: {title: \"call {{ record.name }}\"}
  - assign: {from: person, set: owner}
  - claim: {pool: codes, save: code}
  - update: {set: {stage: called}, add_tags: [called], remove_tags: [cold]}
";
/// Watches what the other writes, so that the row is locked and read around the write.
const WATCH: &str = "version: 1
id: watch
mode: live
purpose: service
for_each: account
trigger: {changed: {field: stage}}
steps: [task: {title: watched}]
";

fn role() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("reader_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn read(text: &str) -> Catalog {
    let file = SourceFile { path: "catalog.yaml".into(), text: text.to_owned() };
    catalog::read(&Arc::new(file)).catalog.unwrap()
}

/// What the command prints, run by the owner.
async fn grant(world: &World, catalog: &Catalog, role: &str) {
    let mut given = Vec::new();
    for insert in catalog.tasks.iter().flat_map(|tasks| &tasks.inserts) {
        given.extend(sequences(&*world.owner, &insert.table).await.unwrap());
    }
    let to = Grantee { role: role.to_owned(), host: "%".to_owned() };
    for line in grants(catalog, world.source.dialect(), &to, &given) {
        world.crm.run(&line).await;
    }
}

async fn create_role(crm: &Crm, role: &str) {
    match crm {
        Crm::Postgres(..) => crm.run(&format!("CREATE ROLE {role} LOGIN")).await,
        Crm::MariaDb(..) => crm.run(&format!("CREATE USER '{role}'@'%'")).await,
        Crm::Sqlite(_) => unreachable!("SQLite has no roles"),
    }
}

async fn drop_role(crm: &Crm, role: &str) {
    match crm {
        Crm::Postgres(..) => crm.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await,
        Crm::MariaDb(..) => crm.run(&format!("DROP USER '{role}'@'%'")).await,
        Crm::Sqlite(_) => {}
    }
}

#[tokio::test]
async fn a_sweep_and_a_task_need_just_what_is_printed() {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let role = role();
        let serial = if kind == Kind::Postgres { "SERIAL PRIMARY KEY" } else { "INTEGER AUTO_INCREMENT PRIMARY KEY" };
        let tables = format!(
            "{TABLES}
             CREATE TABLE tasks (id {serial}, title VARCHAR(200) NOT NULL, account_id INTEGER NOT NULL,
                                 status_id INTEGER NOT NULL, ref VARCHAR(80) NOT NULL);
             CREATE TABLE task_people (id {serial}, task_id INTEGER NOT NULL, note VARCHAR(200));"
        );
        let setup = Setup {
            catalog: CATALOG.to_owned(),
            own_tables: Some(tables),
            login: Some(role.clone()),
            ..Setup::of(kind, instant(START))
        };
        let world = World::set_up_as(setup, async |crm| create_role(crm, &role).await).await;
        grant(&world, &read(CATALOG), &role).await;
        world.learn().await;
        world.load(&[("call.yaml", RULE), ("watch.yaml", WATCH)]).await;
        // The check asks the database whether it would let the rule write, and it would.
        let outside = Outside { emails: true, pages: true, postal_address: true, ..Outside::default() };
        let inspected = inspect(world.generation().tree.clone(), &*world.source, &outside, None).await.unwrap();
        assert!(inspected.refused.is_empty(), "{kind:?}: {:?}", inspected.refused);
        world.pass(hours(1)).await;
        for _ in 0..3 {
            world.pass(minutes(5)).await;
        }
        let asked =
            "SELECT t.title, t.account_id, t.status_id, p.note FROM tasks t JOIN task_people p ON p.task_id = t.id";
        assert_eq!(written(&world, asked.to_owned()).await, ["call Ada | 1 | 1 | call Ada"], "{kind:?}");

        let done = "SELECT a.stage, a.owner_id, t.tag, c.code FROM accounts a JOIN tags t ON t.account_id = a.id
                    JOIN codes c ON c.taken_by IS NOT NULL WHERE a.id = 1";
        assert_eq!(written(&world, done.to_owned()).await, ["called | 1 | called | c-1"], "{kind:?}");

        // And no more than that.
        let tenant = Tenant::new("");
        let forbidden = |sql: &str| vec![Statement { sql: sql.to_owned(), binds: Vec::new() }];
        for sql in [
            "DELETE FROM accounts",
            "UPDATE tasks SET title = ''",
            "INSERT INTO people (id) VALUES (9)",
            "UPDATE people SET email = ''",
            "INSERT INTO secrets VALUES (1)",
            "UPDATE accounts SET name = ''",
            "UPDATE codes SET code = 'x'",
            "DELETE FROM codes",
        ] {
            let refused = world.source.write(&tenant, forbidden(sql)).await;
            assert!(matches!(refused, Err(SourceError::Refused(_))), "{kind:?}: {sql}: {refused:?}");
        }
        // Without one of them the check says so, and which rule and columns it is about.
        let revoke = match kind {
            Kind::Postgres => format!("REVOKE UPDATE (stage) ON accounts FROM {role}"),
            _ => format!("REVOKE UPDATE (`stage`) ON accounts FROM '{role}'@'%'"),
        };
        world.crm.run(&revoke).await;
        let inspected = inspect(world.generation().tree.clone(), &*world.source, &outside, None).await.unwrap();
        let [(rule, finding)] = &inspected.refused[..] else { panic!("{kind:?}: {:?}", inspected.refused) };
        assert_eq!((rule.as_str(), finding.code), ("call", "rule.write-refused"), "{kind:?}");
        let told = finding.to_string();
        assert!(told.contains("to write `stage` of `accounts`"), "{kind:?}: {told}");
        grant(&world, &read(CATALOG), &role).await;
        let revoke = match kind {
            Kind::Postgres => format!("REVOKE INSERT ON task_people FROM {role}"),
            _ => format!("REVOKE INSERT ON task_people FROM '{role}'@'%'"),
        };
        world.crm.run(&revoke).await;
        let inspected = inspect(world.generation().tree.clone(), &*world.source, &outside, None).await.unwrap();
        let refused: BTreeSet<_> =
            inspected.refused.iter().map(|(rule, finding)| (rule.as_str(), finding.code)).collect();
        // MariaDB refuses the statement itself.
        let (code, told) = match kind {
            Kind::Postgres => ("rule.write-refused", "to write tasks into `task_people`"),
            _ => ("catalog.task-refused", "tasks in `task_people`"),
        };
        assert_eq!(refused, BTreeSet::from([("call", code), ("watch", code)]), "{kind:?}");
        assert!(inspected.refused[0].1.to_string().contains(told), "{kind:?}: {:?}", inspected.refused);
        drop_role(&world.crm, &role).await;
    }
}

/// No rule is to blame, and none rests: what people decide holds in the state, too.
#[tokio::test]
async fn what_people_decide_needs_a_permission_that_the_check_asks_for() {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let role = role();
        let tables = "CREATE TABLE tasks (id INTEGER, title VARCHAR(200), account_id INTEGER, status_id INTEGER, ref VARCHAR(80));
                      CREATE TABLE task_people (id INTEGER, task_id INTEGER, note VARCHAR(200));";
        let setup = Setup {
            catalog: CATALOG.to_owned(),
            own_tables: Some(format!("{TABLES}{tables}")),
            login: Some(role.clone()),
            ..Setup::of(kind, instant(START))
        };
        let world = World::set_up_as(setup, async |crm| create_role(crm, &role).await).await;
        grant(&world, &read(CATALOG), &role).await;
        world.learn().await;
        world.load(&[("watch.yaml", WATCH)]).await;
        let told = async || {
            let tree = world.generation().tree.clone();
            let topics = ["offers".into()].into();
            let outside = Outside { emails: true, pages: true, postal_address: true, topics, ..Outside::default() };
            let inspected = inspect(tree, &*world.source, &outside, None).await.unwrap();
            assert!(inspected.refused.is_empty(), "{kind:?}: {:?}", inspected.refused);
            inspected.generation.warnings
        };
        let warnings = told().await;
        assert!(warnings.is_empty(), "{kind:?}: {warnings:?}");
        let revoke = match kind {
            Kind::Postgres => format!("REVOKE UPDATE (news_at) ON people FROM {role}"),
            _ => format!("REVOKE UPDATE (`news_at`) ON people FROM '{role}'@'%'"),
        };
        world.crm.run(&revoke).await;
        let warnings = told().await;
        let [warning] = &warnings[..] else { panic!("{kind:?}: {warnings:?}") };
        assert_eq!(warning.code, "catalog.write-refused", "{kind:?}");
        assert!(warning.to_string().contains("`news` and `news_at` of `people`"), "{kind:?}: {warning}");
        drop_role(&world.crm, &role).await;
    }
}

const SECURED: &str = "
CREATE TABLE accounts (tenant TEXT, id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE tasks (tenant TEXT NOT NULL DEFAULT current_setting('app.tenant'), title TEXT, account_id INTEGER, ref TEXT);
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_accounts ON accounts USING (tenant = current_setting('app.tenant', true));
CREATE POLICY own_tasks ON tasks USING (tenant = current_setting('app.tenant', true))
    WITH CHECK (tenant = current_setting('app.tenant', true));
INSERT INTO accounts VALUES ('acme', 1, 'Ada'), ('acme', 2, 'Bob'), ('o''hara', 3, 'Cid'), ('other', 4, 'Dan');
";

/// The same by views, which a login may read in place of the tables: MariaDB has no row security, and a view may ask for a
/// variable by a function only.
const SECURED_BY_VIEWS: &str = "
CREATE FUNCTION current_tenant() RETURNS VARCHAR(60) NO SQL RETURN @tenant;
CREATE TABLE all_accounts (tenant VARCHAR(60), id INTEGER PRIMARY KEY, name VARCHAR(60));
CREATE TABLE all_tasks (tenant VARCHAR(60) NOT NULL DEFAULT '', title VARCHAR(60), account_id INTEGER, ref VARCHAR(60));
CREATE TRIGGER task_of BEFORE INSERT ON all_tasks FOR EACH ROW SET NEW.tenant = current_tenant();
CREATE VIEW accounts AS SELECT id, name FROM all_accounts WHERE tenant = current_tenant();
CREATE VIEW tasks AS SELECT tenant, title, account_id, ref FROM all_tasks WHERE tenant = current_tenant();
INSERT INTO all_accounts VALUES ('acme', 1, 'Ada'), ('acme', 2, 'Bob'), ('o''hara', 3, 'Cid'), ('other', 4, 'Dan');
";

const SECURED_CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
tenants: {names: [acme, o'hara, nobody], per_transaction: \"{per_transaction}\"}
entities:
  account: {table: accounts, key: id}
tasks:
  insert:
    - {table: tasks, set: {title: $title, account_id: $record.key, ref: $ref}}
";

#[rstest]
#[case(Kind::Postgres, SECURED, "SET LOCAL app.tenant = $tenant")]
#[case(Kind::MariaDb, SECURED_BY_VIEWS, "SET @tenant = $tenant")]
#[tokio::test]
async fn every_tenant_is_shown_its_own_and_silence_is_a_warning(
    #[case] kind: Kind,
    #[case] tables: &str,
    #[case] per_transaction: &str,
) {
    let role = role();
    let catalog = SECURED_CATALOG.replace("{per_transaction}", per_transaction);
    let setup = Setup {
        catalog: catalog.clone(),
        own_tables: Some(tables.to_owned()),
        login: Some(role.clone()),
        per_transaction: Some(per_transaction.to_owned()),
        ..Setup::of(kind, instant(START))
    };
    let world = World::set_up_as(setup, async |crm| create_role(crm, &role).await).await;
    grant(&world, &read(&catalog), &role).await;
    if kind == Kind::MariaDb {
        // The columns of a view are told only to those who may execute what it calls.
        world.crm.run(&format!("GRANT EXECUTE ON FUNCTION current_tenant TO '{role}'@'%'")).await;
    }
    world.learn().await;
    let rule = "version: 1\nid: hello\nmode: live\npurpose: service\nfor_each: account\n\
                trigger: {schedule: {cron: \"0 * * * *\"}}\nsteps: [task: {title: \"{{ record.name }}\"}]\n";
    world.load(&[("hello.yaml", rule)]).await;
    world.pass(hours(1)).await;
    // Two that are written at once may be in each other's way: MariaDB gives one up, and it is tried again.
    while world.deliveries().await.iter().any(|(state, _)| state == "due") {
        world.pass(minutes(5)).await;
    }
    let seen = async |tenant: &str| {
        let sql = "SELECT title, tenant FROM tasks ORDER BY title".to_owned();
        let statement = Statement { sql, binds: Vec::new() };
        let tenant = Tenant::new(tenant);
        let rows: Vec<_> = futures::TryStreamExt::try_collect(world.source.rows(&tenant, statement)).await.unwrap();
        rows.iter().map(|row| row.0[0].as_text().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(seen("acme").await, ["Ada", "Bob"]);
    assert_eq!(seen("o'hara").await, ["Cid"]);
    assert_eq!(seen("other").await, Vec::<String>::new());

    let tree = world.generation().tree.clone();
    let outside = Outside { emails: true, pages: true, postal_address: true, ..Outside::default() };
    let inspected = inspect(tree, &*world.source, &outside, None).await.unwrap();
    let warnings: Vec<String> = inspected
        .generation
        .warnings
        .iter()
        .filter(|found| found.code == "catalog.no-rows")
        .map(ToString::to_string)
        .collect();
    assert_eq!(warnings.len(), 1, "{:?}", inspected.generation.warnings);
    assert!(warnings[0].contains("nobody"), "{warnings:?}");
    drop_role(&world.crm, &role).await;
}

/// What is set is not what the policy asks for: planning a query doesn't tell, and reading a row does.
#[tokio::test]
async fn a_setting_that_no_policy_reads_is_told_at_the_catalogs_tenants() {
    let role = role();
    let per_transaction = "SET LOCAL app.tennant = $tenant";
    let catalog = SECURED_CATALOG.replace("{per_transaction}", per_transaction);
    let strict = SECURED.replace("current_setting('app.tenant', true)", "current_setting('app.tenant')");
    let setup = Setup {
        catalog: catalog.clone(),
        own_tables: Some(strict),
        login: Some(role.clone()),
        per_transaction: Some(per_transaction.to_owned()),
        ..Setup::of(Kind::Postgres, instant(START))
    };
    let world = World::set_up_as(setup, async |crm| create_role(crm, &role).await).await;
    grant(&world, &read(&catalog), &role).await;
    world.learn().await;
    let rule = |id: &str| {
        format!(
            "version: 1\nid: {id}\nmode: live\npurpose: service\nfor_each: account\n\
             trigger: {{schedule: {{cron: \"0 * * * *\"}}}}\nsteps: [webhook: {{to: sink}}]\n"
        )
    };
    world.load(&[("one.yaml", &rule("one")), ("two.yaml", &rule("two"))]).await;
    let tree = world.generation().tree.clone();
    let destinations = ["sink".to_owned()].into();
    let outside = Outside { emails: true, pages: true, postal_address: true, destinations, ..Outside::default() };
    let inspected = inspect(tree, &*world.source, &outside, None).await.unwrap();
    assert_eq!(inspected.refused.len(), 2, "{:?}", inspected.refused);
    let findings = inspected.refusals();
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(finding.code, "catalog.tenant-refused");
    let told = finding.to_string();
    assert!(told.contains("does not show `account` to the tenant `acme`"), "{told}");
    assert!(told.contains("unrecognized configuration parameter \"app.tenant\""), "{told}");
    let place = finding.place.as_ref().unwrap();
    assert!(place.file.text[place.range.start..].starts_with("tenants: {names"), "{place:?}");
    drop_role(&world.crm, &role).await;
}

/// A field's own SQL reads what the catalog doesn't name.
#[tokio::test]
async fn what_a_fields_own_sql_reads_is_left_to_whoever_grants() {
    let own = "      closed: {look_up: status.closed}
      known: {sql: \"(SELECT count(*) FROM secrets WHERE id = $row.id)\", type: int}
      double: {sql: \"$row.id * 2\", type: int}";
    let catalog = CATALOG.replace("      closed: {look_up: status.closed}", own);
    assert_ne!(catalog, CATALOG);
    let to = Grantee { role: "reader".to_owned(), host: "%".to_owned() };
    for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
        let lines = grants(&read(&catalog), dialect, &to, &[]);
        let of_fields: Vec<_> = lines.iter().filter(|line| line.contains("SQL of its own")).collect();
        let known = "-- `account.known` has SQL of its own: allow SELECT on what that reads";
        assert_eq!(of_fields, [known], "{dialect:?}: {lines:?}");
    }

    let role = role();
    let tables =
        "CREATE TABLE tasks (id INTEGER, title VARCHAR(200), account_id INTEGER, status_id INTEGER, ref VARCHAR(80));
                  CREATE TABLE task_people (id INTEGER, task_id INTEGER, note VARCHAR(200));";
    let setup = Setup {
        catalog: catalog.clone(),
        own_tables: Some(format!("{TABLES}{tables}")),
        login: Some(role.clone()),
        ..Setup::of(Kind::MariaDb, instant(START))
    };
    let world = World::set_up_as(setup, async |crm| create_role(crm, &role).await).await;
    grant(&world, &read(&catalog), &role).await;
    world.learn().await;
    let reads = |id: &str| {
        format!(
            "version: 1\nid: {id}\nmode: shadow\npurpose: service\nfor_each: account\n\
             trigger: {{schedule: {{cron: \"0 * * * *\"}}}}\nwhere: [known: {{at_least: 1}}]\n\
             steps: [task: {{title: hello}}]\n"
        )
    };
    world.load(&[("one.yaml", &reads("one")), ("two.yaml", &reads("two")), ("watch.yaml", WATCH)]).await;
    let inspected = inspect(world.generation().tree.clone(), &*world.source, &Outside::default(), None).await.unwrap();
    let rules: BTreeSet<_> = inspected.refused.iter().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!(rules, BTreeSet::from(["one", "two", "watch"]), "{:?}", inspected.refused);
    let findings = inspected.refusals();
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(finding.code, "catalog.field-refused");
    assert!(finding.to_string().contains("the field `known` of `account`"), "{finding}");
    let place = finding.place.as_ref().unwrap();
    assert!(place.file.text[place.range.start..].starts_with("known: {sql"), "{place:?}");
    drop_role(&world.crm, &role).await;
}

/// What a login needs is told to the login that doesn't have it yet.
#[tokio::test]
async fn a_login_without_any_rights_is_told_of_sequences() {
    let role = role();
    let tables = "CREATE SCHEMA crm; CREATE TABLE crm.jobs (id SERIAL PRIMARY KEY, title TEXT);
                  CREATE TABLE notes (id SERIAL PRIMARY KEY, title TEXT);
                  REVOKE ALL ON SCHEMA public FROM PUBLIC;";
    let setup = Setup {
        catalog: CATALOG.to_owned(),
        own_tables: Some(format!("{TABLES}{tables}")),
        login: Some(role.clone()),
        ..Setup::of(Kind::Postgres, instant(START))
    };
    let world = World::set_up_as(setup, async |crm| create_role(crm, &role).await).await;
    let table = |schema: Option<&str>, name: &str| Table { schema: schema.map(str::to_owned), name: name.to_owned() };
    for (of, expected) in [
        (table(Some("crm"), "jobs"), vec![table(Some("crm"), "jobs_id_seq")]),
        (table(None, "notes"), vec![table(Some("public"), "notes_id_seq")]),
        (table(None, "jobs"), Vec::new()),
    ] {
        assert_eq!(sequences(&*world.source, &of).await.unwrap(), expected, "{of:?}");
    }
    drop_role(&world.crm, &role).await;
}
