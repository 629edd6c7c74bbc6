//! A first catalog from a database nobody described: what it guesses, and that it fits the tables it came from.

use crate::crossings::world::World;
use crate::site::Site;
use nudged::catalog::draft::{Findings, draft, render};
use nudged::diagnostic::SourceFile;
use nudged::rule::generation::Tree;
use nudged::rule::statement::Dialect;
use nudged::rulebook::{Outside, inspect};
use nudged::source::inventory;
use std::sync::Arc;

/// A CRM as they are: keys and names of many kinds, tables that can't be entities, and one whose key is a guess.
const TABLES: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, work_email VARCHAR(60), first_name VARCHAR(40));
CREATE TABLE accounts (id INTEGER PRIMARY KEY, name VARCHAR(60), owner_id INTEGER REFERENCES users (id),
    is_active BOOLEAN, merged_into INTEGER, created_at {naive}, updated_at {naive}, renews_on {date});
CREATE TABLE contacts (uid VARCHAR(36) PRIMARY KEY, account_id INTEGER REFERENCES accounts (id), email VARCHAR(60),
    mobile VARCHAR(30), first_name VARCHAR(40), last_name VARCHAR(40), time_zone VARCHAR(40), newsletter_opt_in BOOLEAN,
    do_not_call BOOLEAN, is_primary BOOLEAN, deleted_at {naive});
CREATE TABLE orders (id INTEGER PRIMARY KEY, account_id INTEGER, placed_at {instant}, total DECIMAL(10,2), status VARCHAR(20));
CREATE TABLE survey_responses (id INTEGER PRIMARY KEY, account_id INTEGER, score INTEGER, kind VARCHAR(20), answered_at {naive});
CREATE TABLE account_tags (account_id INTEGER REFERENCES accounts (id), tag_id INTEGER REFERENCES tags (id), PRIMARY KEY (account_id, tag_id));
CREATE TABLE email_blocklist (email VARCHAR(60) PRIMARY KEY);
CREATE TABLE log_lines (words VARCHAR(200));
CREATE TABLE order_lines (order_id INTEGER, line_no INTEGER, quantity INTEGER, PRIMARY KEY (order_id, line_no));
CREATE TABLE versions (tenant INTEGER, id INTEGER, words VARCHAR(40), PRIMARY KEY (tenant, id));
CREATE TABLE imports (id INTEGER, words VARCHAR(40));
CREATE TABLE tasks (id INTEGER PRIMARY KEY, title VARCHAR(60), account_id INTEGER);
";

/// MySQL reads the short form of a foreign key and forgets it.
fn tables(dialect: Dialect) -> String {
    let tags = "CREATE TABLE tags (id INTEGER PRIMARY KEY, label VARCHAR(40));\n";
    let sql = format!("{tags}{}", TABLES.trim_start());
    if dialect != Dialect::MySql {
        return sql;
    }
    let keys = "ALTER TABLE accounts ADD FOREIGN KEY (owner_id) REFERENCES users (id);\n\
                ALTER TABLE contacts ADD FOREIGN KEY (account_id) REFERENCES accounts (id);\n\
                ALTER TABLE account_tags ADD FOREIGN KEY (account_id) REFERENCES accounts (id);\n\
                ALTER TABLE account_tags ADD FOREIGN KEY (tag_id) REFERENCES tags (id);\n";
    let mut plain = sql;
    for table in ["users", "accounts", "tags"] {
        plain = plain.replace(&format!(" REFERENCES {table} (id)"), "");
    }
    format!("{plain}{keys}")
}

#[tokio::test]
async fn a_draft_says_what_the_tables_say_and_fits_them() {
    for world in World::all() {
        world.execute(&tables(world.dialect())).await;
        let inventory = inventory(&*world.source).await.unwrap();
        let names: Vec<_> = inventory.tables.iter().map(|listed| listed.table.clone()).collect();
        let schema = world.source.schema(&names).await.unwrap();
        let draft = draft(Findings { inventory: &inventory, schema: &schema }, "Europe/Vienna");
        let text = render(&draft);
        // Types differ by database, what is made of them doesn't.
        insta::assert_snapshot!("draft", text);

        let tree = Tree { files: vec![Arc::new(SourceFile { path: "catalog.yaml".into(), text: text.clone() })] };
        let inspected = inspect(Arc::new(tree), &*world.source, &Outside::default(), None).await;
        let inspected = inspected.unwrap_or_else(|found| panic!("{found:?}\n{text}"));
        let told: Vec<_> = inspected.generation.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told, Vec::<String>::new(), "{:?}\n{text}", world.dialect());
    }
}

#[test]
fn the_command_writes_a_catalog_that_passes_the_check_and_overwrites_nothing() {
    let site = Site::new();
    let (code, text, talk) = site.run(&["catalog", "draft", "--time-zone", "Europe/Vienna"]);
    assert_eq!(code, 0, "{talk}");
    assert!(text.contains("entities:") && text.contains("guess"), "{text}");

    let out = site.path("drafted.yaml");
    let (code, data, _) = site.run(&["catalog", "draft", "--time-zone", "Europe/Vienna", "--out", &out]);
    assert_eq!((code, data.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), text);
    let (code, _, talk) = site.run(&["catalog", "draft", "--out", &out]);
    assert_eq!(code, 1, "{talk}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), text, "and it is as it was");
    let (code, _, talk) = site.run(&["catalog", "draft", "--time-zone", "Mars/Olympus"]);
    assert_eq!(code, 2, "{talk}");

    let rules = site.folder.path().join("drafted");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("catalog.yaml"), &text).unwrap();
    let (code, _, talk) = site.run(&["check", "--db", "--deny-warnings", "--rules", rules.to_str().unwrap()]);
    assert_eq!(code, 0, "{talk}\n{text}");

    let (code, lines, talk) = site.run(&["catalog", "grants"]);
    assert_eq!(code, 0, "{talk}");
    assert!(lines.contains("SQLite knows no logins"), "{lines}");
}

#[test]
fn columns_of_text_and_numbers_are_times_and_marks_by_their_names() {
    let site = Site::new();
    site.crm(
        "CREATE TABLE companies (id INTEGER PRIMARY KEY, name TEXT, created INTEGER, birthday TEXT, payment_terms TEXT);
         CREATE TABLE shop_orders (id INTEGER PRIMARY KEY, company_id INTEGER REFERENCES companies (id), orderDate TEXT,
                                   cancelled INTEGER, time TEXT);
         CREATE TABLE invoices (id INTEGER PRIMARY KEY, issue_date TEXT, voided_at TEXT, dueDate TEXT);
         CREATE TABLE memberships (id INTEGER PRIMARY KEY, cancelled INTEGER, cancelled_at TEXT, updated_at TEXT);",
    );
    let (code, text, talk) = site.run(&["catalog", "draft", "--time-zone", "Europe/Vienna"]);
    assert_eq!(code, 0, "{talk}");
    let entity = |name: &str| -> Vec<&str> {
        let own = text.lines().skip_while(move |line| *line != format!("  {name}:")).skip(1);
        own.take_while(|line| line.starts_with("    ")).map(|line| line.split("  #").next().unwrap().trim()).collect()
    };
    let has = |name: &str, lines: &[&str]| {
        let found = entity(name);
        for line in lines {
            assert!(found.contains(line), "{name} has no `{line}`: {found:?}");
        }
    };
    has("company", &["at: created", "created: {column: created, type: epoch_seconds}"]);
    has("company", &["birthday: {column: birthday, type: date_text}"]);
    has(
        "shop_order",
        &["at: orderDate", "only: {cancelled: [0, missing]}", "orderDate: {column: orderDate, type: date_text}"],
    );
    has("invoice", &["at: issue_date", "only: {voided_at: missing}", "dueDate: {column: dueDate, type: date_text}"]);
    has("membership", &["updated_at: updated_at", "updated_at: {column: updated_at, type: instant_text}"]);
    assert!(!text.contains("payment_terms") && !entity("shop_order").iter().any(|line| line.starts_with("time:")));
    assert!(!entity("membership").iter().any(|line| line.starts_with("only:")), "those who left are to be won back");

    let rules = site.folder.path().join("drafted");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("catalog.yaml"), &text).unwrap();
    let (code, _, talk) = site.run(&["check", "--db", "--deny-warnings", "--rules", rules.to_str().unwrap()]);
    assert_eq!(code, 0, "{talk}\n{text}");
}

#[test]
fn a_join_table_with_a_key_of_its_own_is_a_way_and_no_entity() {
    let site = Site::new();
    site.crm(
        "CREATE TABLE firms (id CHAR(36) PRIMARY KEY, name TEXT);
         CREATE TABLE members (id CHAR(36) PRIMARY KEY, email TEXT, is_primary BOOLEAN NOT NULL);
         CREATE TABLE firms_members (id CHAR(36) PRIMARY KEY, member_id CHAR(36), firm_id CHAR(36), date_modified DATETIME, deleted BOOLEAN);
         CREATE TABLE opportunities (id CHAR(36) PRIMARY KEY, firm_id CHAR(36), member_id CHAR(36), date_modified DATETIME);",
    );
    let (code, text, talk) = site.run(&["catalog", "draft", "--time-zone", "Europe/Vienna"]);
    assert_eq!(code, 0, "{talk}");
    for line in [
        "      members: {entity: member, through: firms_members, from: firm_id, to: member_id, through_only: {deleted: [false, missing]}}  # guess, by the column's name",
        "      firms: {entity: firm, through: firms_members, from: member_id, to: firm_id, through_only: {deleted: [false, missing]}}  # guess, by the column's name",
        "      main_member: {first_of: members, order: [is_primary desc]}",
        "  opportunity:",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("table: firms_members"), "{text}");
    let rules = site.folder.path().join("drafted");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("catalog.yaml"), &text).unwrap();
    let (code, _, talk) = site.run(&["check", "--db", "--deny-warnings", "--rules", rules.to_str().unwrap()]);
    assert_eq!(code, 0, "{talk}\n{text}");
}

#[test]
fn a_mark_that_nobody_has_set_keeps_its_row() {
    let site = Site::new();
    site.crm(
        "CREATE TABLE companies (id INTEGER PRIMARY KEY, name TEXT, archived BOOLEAN, is_test BOOLEAN NOT NULL,
                                 deleted INTEGER NOT NULL);
         INSERT INTO companies VALUES (1, 'Ada', NULL, FALSE, 0), (2, 'Bob', TRUE, FALSE, 0), (3, 'Cid', FALSE, TRUE, 0);",
    );
    let (code, text, talk) = site.run(&["catalog", "draft", "--time-zone", "Europe/Vienna"]);
    assert_eq!(code, 0, "{talk}");
    let only = "    only: {archived: [false, missing], is_test: false, deleted: 0}  # guess: rows outside are no records; \
                `missing` keeps those whose mark was never set (NULL)";
    assert!(text.lines().any(|line| line == only), "{text}");
    std::fs::write(site.folder.path().join("rules/catalog.yaml"), &text).unwrap();
    let rule = "version: 1\nid: hello\nmode: live\npurpose: staff\nfor_each: company\nbackfill: all\n\
                trigger: {segment: {when: {name: present}}}\nsteps: [task: {title: \"{{ record.name }}\"}]\n";
    site.rules(&[("hello.yaml", rule)]);
    let found = site.json(&["preview", "hello"]);
    let records: Vec<&str> =
        found["matches"].as_array().unwrap().iter().map(|matched| matched["record"].as_str().unwrap()).collect();
    assert_eq!(records, ["company:1"], "{found}");
}

/// The draft of these tables, which passes the check.
fn drafted(tables: &str) -> (String, Site) {
    let site = Site::new();
    site.crm(tables);
    let (code, text, talk) = site.run(&["catalog", "draft", "--time-zone", "Europe/Vienna"]);
    assert_eq!(code, 0, "{talk}");
    passes(&site, "drafted", &text);
    (text, site)
}

fn passes(site: &Site, folder: &str, catalog: &str) {
    let rules = site.folder.path().join(folder);
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("catalog.yaml"), catalog).unwrap();
    let (code, _, talk) = site.run(&["check", "--db", "--deny-warnings", "--rules", rules.to_str().unwrap()]);
    assert_eq!(code, 0, "{talk}\n{catalog}");
}

#[test]
fn a_table_with_more_columns_of_the_rows_of_another_is_told_of_as_one() {
    let (text, site) = drafted(
        "CREATE TABLE firms (id CHAR(36) PRIMARY KEY, name TEXT, deleted BOOLEAN);
         CREATE TABLE firms_cstm (id_c CHAR(36) PRIMARY KEY, name TEXT, renewal_date_c DATE);
         CREATE TABLE firm_details (firm_id CHAR(36) PRIMARY KEY REFERENCES firms (id), seats INTEGER, renews_on DATE);
         CREATE TABLE clubs (id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE club_details (club_id CHAR(36) PRIMARY KEY, seats INTEGER);",
    );
    let only = "{deleted: [false, missing]}  # guess: rows outside are no records; \
                `missing` keeps those whose mark was never set (NULL)";
    for lines in [
        // A foreign key says so: what is deleted there is no record here.
        format!(
            "    key: firm_id\n    parents:  # by its key these are rows of `firms`\n      \
             - {{table: firms, key: id, columns: [deleted]}}\n    only: {only}\n"
        ),
        // Names say so, which is a guess.
        "    key: id_c\n    # guess, by names: these are rows of `firms`, of which some don't count:\n    # parents:\n    #   \
         - {table: firms, key: id, columns: [deleted]}\n    # only: {deleted: [false, missing]}\n"
            .to_owned(),
        // Not every row needs to have one there.
        format!(
            "    key: id\n    # guess: more columns of the same records; as `parents`, those without a row there are no records\n    \
             # parents:\n    #   - {{table: firm_details, key: firm_id, columns: [seats, renews_on]}}\n    #   \
             - {{table: firms_cstm, key: id_c, columns: [renewal_date_c]}}\n    only: {only}\n"
        ),
        "  club_detail:\n    table: club_details\n    key: club_id\n  club:\n".to_owned(),
    ] {
        assert!(text.contains(&lines), "{lines}\n{text}");
    }
    // As proposed, the guesses fit as well.
    let proposed = text.replace("    # parents:\n", "    parents:\n").replace("    #   - {table", "      - {table");
    passes(&site, "proposed", &proposed.replace("    # only:", "    only:"));
}

#[tokio::test]
async fn a_unique_column_names_a_row_where_no_primary_key_does() {
    for world in World::all() {
        let both = if world.dialect() == Dialect::MySql { "CONCAT(club, num)" } else { "club || num" };
        let tables = format!(
            "CREATE TABLE members (club VARCHAR(9) NOT NULL, num VARCHAR(9) NOT NULL,
                 label VARCHAR(20) GENERATED ALWAYS AS ({both}) STORED UNIQUE, PRIMARY KEY (club, num));
             CREATE TABLE lockers (club VARCHAR(9), num VARCHAR(9), code VARCHAR(9) NOT NULL UNIQUE, PRIMARY KEY (club, num));
             CREATE TABLE passes (book_number VARCHAR(9) NOT NULL UNIQUE, pass_no VARCHAR(9) NOT NULL UNIQUE, fob VARCHAR(9) UNIQUE);
             CREATE TABLE doors (badge VARCHAR(9) UNIQUE, words VARCHAR(9) DEFAULT 'x');"
        );
        world.execute(&tables).await;
        let inventory = inventory(&*world.source).await.unwrap();
        let names: Vec<_> = inventory.tables.iter().map(|listed| listed.table.clone()).collect();
        let schema = world.source.schema(&names).await.unwrap();
        let text = render(&draft(Findings { inventory: &inventory, schema: &schema }, "Europe/Vienna"));
        for line in [
            "    key: label  # guess: unique and computed; rows where it is NULL have no name",
            "    key: code  # unique and never NULL; the primary key has several columns",
            "    key: pass_no  # unique and never NULL; the table has no primary key",
            "# Left out: doors: no column of its own surely names a row. `badge` is unique, but may be NULL: make it the \
             `key` if it never is, or map the table as `sql` with a `key`, or not at all.",
        ] {
            assert!(text.lines().any(|found| found == line), "{:?}: {line}\n{text}", world.dialect());
        }
    }
}

#[test]
fn the_tasks_proposed_name_columns_that_are_there() {
    let (text, site) = drafted(
        "DROP TABLE tasks; CREATE TABLE tasks (id CHAR(36) PRIMARY KEY, name TEXT, date_due DATETIME, parent_id CHAR(36), external_id TEXT);",
    );
    let set = "#     - {table: tasks, set: {id: $uuid, name: $title, date_due: $due, parent_id: $record.key, external_id: $ref}}";
    assert!(text.contains(&format!("# tasks:\n#   insert:\n{set}\n")) && !text.contains("COLUMN"), "{text}");
    let (before, after) = text.split_once("# tasks:\n").unwrap();
    let told = format!("{before}tasks:\n{}", after.replace("#  ", "  "));
    passes(&site, "told", &told);

    let (text, _) = drafted("DROP TABLE tasks; CREATE TABLE todos (id INTEGER PRIMARY KEY, subject TEXT, due DATE);");
    assert!(text.contains("#     - {table: todos, set: {subject: $title, due: $due}}\n"), "{text}");
    let missing = "# No column is called after what goes into it for `$record.key`, `$ref`: name them, as in `COLUMN: $record.key`.\n";
    assert!(text.contains(missing), "{text}");
}
