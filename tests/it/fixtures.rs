//! What people see when a file is wrong: one bad file per diagnostic code, each with its snapshot.
//!
//! `base/` is a directory without a mistake. Each file of `bad/` is put into it by its name
//! (`catalog.CODE.yaml` in place of the catalog, `template.CODE.md` (or `.mjml`, `.html`) and `script.CODE.rhai` with a
//! rule that uses them, everything else as a rule), and its snapshot is what `nudged check` prints. Files of `outside/` need
//! more than a directory of rules.

mod held;
mod outside;

use nudged::catalog::{ColumnSchema, ColumnType, DateStorage, InstantStorage, Schema, Table, TableKind, TableSchema};
use nudged::diagnostic::render::{Look, render};
use nudged::diagnostic::{Finding, Severity, SourceFile};
use nudged::rule::generation::{Checked, Gateways, Generation, Surroundings, Tree};
use nudged::rule::statement::Dialect;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Codes that no file can reach: they are there to end a defect of this program in words.
const ELSEWHERE: [(&str, &str); 2] =
    [("rule.sql", "means that a check is missing"), ("rules.panic", "means that a check has a defect")];

fn fixtures() -> &'static Path {
    Path::new("tests/fixtures/rules")
}

fn read_tree(root: &Path) -> Vec<SourceFile> {
    fn walk(root: &Path, directory: &Path, files: &mut Vec<SourceFile>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push(SourceFile { path: relative, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    let mut files = Vec::new();
    walk(root, root, &mut files);
    files
}

pub fn tree(mut files: Vec<SourceFile>) -> Arc<Tree> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Arc::new(Tree { files: files.into_iter().map(Arc::new).collect() })
}

fn base_with(path: &str, text: &str) -> Vec<SourceFile> {
    let mut files = read_tree(&fixtures().join("base"));
    files.retain(|file| file.path != path);
    files.push(SourceFile { path: path.to_owned(), text: text.to_owned() });
    files
}

pub fn surroundings(schema: Option<Schema>) -> Surroundings {
    Surroundings {
        dialect: Dialect::Postgres,
        schema,
        destinations: ["team-chat".to_owned()].into(),
        chats: ["sales".to_owned()].into(),
        gateways: Gateways { names: ["phones".to_owned()].into(), ..Gateways::default() },
        topics: ["offers".into(), "news".into()].into(),
    }
}

fn table(name: &str, columns: &[(&str, ColumnType)]) -> TableSchema {
    let columns = columns.iter().map(|(name, ty)| ColumnSchema {
        name: (*name).to_owned(),
        declared: declared(ty).to_owned(),
        ty: ty.clone(),
        nullable: true,
        has_default: false,
        generated: false,
        padded: false,
    });
    TableSchema {
        table: crm(name),
        exists: true,
        kind: TableKind::Table,
        columns: columns.collect(),
        indexes: Vec::new(),
    }
}

fn crm(name: &str) -> Table {
    Table { schema: Some("crm".to_owned()), name: name.to_owned() }
}

fn declared(ty: &ColumnType) -> &'static str {
    match ty {
        ColumnType::Int => "bigint",
        ColumnType::Bool => "boolean",
        ColumnType::Decimal => "numeric",
        ColumnType::Date(_) => "date",
        ColumnType::Instant(_) => "timestamp with time zone",
        _ => "text",
    }
}

/// The live tables of the base directory's catalog, and one that isn't there.
fn schema() -> Schema {
    use ColumnType::{Bool, Date, Decimal, Instant as Time, Int, Text};
    let time = Time(InstantStorage::Native);
    let accounts = [
        ("id", Int),
        ("name", Text),
        ("country_code", Text),
        ("postcode", Text),
        ("class", Text),
        ("employees", Int),
        ("is_active", Bool),
        ("renews_on", Date(DateStorage::Native)),
        ("created_at", time.clone()),
        ("stage", Text),
    ];
    let contacts = [
        ("id", Int),
        ("account_id", Int),
        ("email", Text),
        ("phone", Text),
        ("first_name", Text),
        ("is_primary", Bool),
        ("rank", Int),
        ("news_ok", Bool),
    ];
    let orders = [("id", Int), ("account_id", Int), ("placed_at", time.clone()), ("amount", Decimal), ("status", Text)];
    let surveys = [("id", Int), ("account_id", Int), ("answered_at", time), ("rating", Int), ("kind", Text)];
    let notes = [("id", Int), ("account_id", Int), ("text", Text), ("ref", Text)];
    let mut notes = table("notes", &notes);
    notes.columns.iter_mut().filter(|column| column.name == "text").for_each(|column| column.nullable = false);
    let mut accounts = table("accounts", &accounts);
    let stage = accounts.columns.last_mut().unwrap();
    "enum crm.stage('new','won','lost')".clone_into(&mut stage.declared);
    let absent = TableSchema {
        table: crm("invoices"),
        exists: false,
        kind: TableKind::Table,
        columns: Vec::new(),
        indexes: Vec::new(),
    };
    Schema {
        tables: vec![
            accounts,
            table("contacts", &contacts),
            table("orders", &orders),
            table("surveys", &surveys),
            notes,
            absent,
        ],
        ..Schema::default()
    }
}

fn findings(files: Vec<SourceFile>, surroundings: &Surroundings) -> Vec<Finding> {
    match Generation::build(tree(files), surroundings) {
        Ok(generation) => generation.warnings,
        Err(findings) => findings,
    }
}

/// The directory that one bad file makes.
fn directory(name: &str, text: &str) -> Vec<SourceFile> {
    let user = "version: 1\nid: bad\nmode: live\npurpose: service\nfor_each: customer\nto: main_contact\n\
                trigger: {inactivity: {of: orders, for: 90 days}}\n";
    let with_user = |path: &str, more: &str| {
        let mut files = base_with(path, text);
        files.push(SourceFile { path: "bad.yaml".to_owned(), text: format!("{user}{more}") });
        files
    };
    if name.starts_with("catalog.") {
        let mut files = base_with("catalog.yaml", text);
        files.retain(|file| file.path != "good.yaml");
        files
    } else if name == "template.layout.html" {
        with_user("templates/layouts/default.html", "steps: [email: {template: hello}]\n")
    } else if name.starts_with("template.") {
        let ending = name.rsplit('.').next().unwrap();
        match code_of(name).as_str() {
            "template.duplicate" => {
                with_user(&format!("templates/hello.{ending}"), "steps: [email: {template: hello}]\n")
            }
            "template.text" => with_user("templates/bad.txt", "steps: [email: {template: hello}]\n"),
            "template.circle" => {
                with_user(&format!("templates/partials/bad.{ending}"), "steps: [email: {template: hello}]\n")
            }
            _ => with_user(&format!("templates/bad.{ending}"), "steps: [email: {template: bad}]\n"),
        }
    } else if name.starts_with("script.") {
        with_user("scripts/bad.rhai", "script: bad.rhai\nsteps: [email: {template: hello}]\n")
    } else {
        base_with("bad.yaml", text)
    }
}

/// `rule.unknown-field.two.yaml` has the code `rule.unknown-field`.
fn code_of(name: &str) -> String {
    name.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[test]
fn the_base_directory_has_no_findings() {
    let files = read_tree(&fixtures().join("base"));
    assert_eq!(findings(files, &surroundings(Some(schema()))), Vec::new());
}

#[test]
fn every_bad_file_is_reported_as_its_snapshot_shows() {
    let online = surroundings(Some(schema()));
    let offline = surroundings(None);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../fixtures/rules/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let bound = settings.bind_to_scope();
    let mut strays = Vec::new();
    for file in read_tree(&fixtures().join("bad")) {
        let code = code_of(&file.path);
        let around = if code.ends_with(".undeclared-field") { &offline } else { &online };
        let found = findings(directory(&file.path, &file.text), around);
        if !found.iter().any(|finding| finding.code == code) {
            strays.push((file.path.clone(), found.iter().map(ToString::to_string).collect::<Vec<_>>()));
        }
        insta::assert_snapshot!(file.path.as_str(), render(&found, Look::Graphical { colour: false, width: 100 }));
    }
    drop(bound);
    assert_eq!(strays, Vec::new(), "files whose own code is not among what they cause");
}

#[test]
fn every_code_has_a_bad_file() {
    let bad = read_tree(&fixtures().join("bad")).into_iter().chain(outside::files());
    let mut covered: BTreeSet<String> = bad.map(|file| code_of(&file.path)).collect();
    covered.extend(outside::MADE.map(str::to_owned));
    let codes: BTreeSet<String> = read_tree(Path::new("src")).iter().flat_map(|file| codes_in(&file.text)).collect();
    let elsewhere: BTreeSet<String> = ELSEWHERE.iter().map(|(code, _)| (*code).to_owned()).collect();
    let missing: Vec<_> = codes.iter().filter(|code| !covered.contains(*code) && !elsewhere.contains(*code)).collect();
    assert_eq!(missing, Vec::<&String>::new(), "codes without a bad file in tests/fixtures/rules");
    let stale: Vec<_> = covered.iter().filter(|code| !codes.contains(*code)).collect();
    assert_eq!(stale, Vec::<&String>::new(), "bad files of codes that nothing raises");
    let explained: Vec<_> = elsewhere.iter().filter(|code| !codes.contains(*code) || covered.contains(*code)).collect();
    assert_eq!(explained, Vec::<&String>::new(), "codes that need no explanation any more");
}

const FAMILIES: [&str; 9] = ["yaml", "catalog", "rule", "rules", "template", "script", "config", "source", "test"];

/// The codes given to findings all belong to a family that is looked for.
#[test]
fn every_code_belongs_to_a_family() {
    let strays: Vec<String> = read_tree(Path::new("src"))
        .iter()
        .flat_map(|file| {
            file.text.match_indices("Finding::").map(|(at, _)| file.text[at..].to_owned()).collect::<Vec<_>>()
        })
        .filter(|rest| rest.starts_with("Finding::error(\"") || rest.starts_with("Finding::warning(\""))
        .filter_map(|rest| Some(rest.split('"').nth(1)?.to_owned()))
        .filter(|code| code.split_once('.').is_none_or(|(family, _)| !FAMILIES.contains(&family)))
        .collect();
    assert_eq!(strays, Vec::<String>::new());
}

/// String literals that look like a code: `"rule.unknown-field"`.
fn codes_in(source: &str) -> Vec<String> {
    let is_code = |text: &&str| {
        let Some((area, rest)) = text.split_once('.') else { return false };
        FAMILIES.contains(&area)
            && !["yaml", "yml", "v1", "md", "rhai", "html", "toml", "db"].contains(&rest)
            && !rest.is_empty()
            && rest.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    source.lines().flat_map(|line| line.split('"').skip(1).step_by(2)).filter(is_code).map(str::to_owned).collect()
}

#[test]
fn one_broken_file_hides_nothing_of_the_others() {
    let mut files = base_with("a.yaml", "version: 1\n\tid: x\n");
    for name in ["b", "c"] {
        let text = format!("version: 1\nid: {name}\nmode: live\npurpose: offer\nfor_each: costumer\n");
        files.push(SourceFile { path: format!("{name}.yaml"), text });
    }
    let found = findings(files, &surroundings(Some(schema())));
    let of = |path: &str| {
        let here = found.iter().filter(|finding| finding.place.as_ref().is_some_and(|place| place.file.path == path));
        here.map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(of("a.yaml"), ["yaml.syntax"]);
    assert!(of("b.yaml").contains(&"rule.unknown-entity"), "{:?}", of("b.yaml"));
    assert_eq!(of("b.yaml"), of("c.yaml"));
}

/// The warnings of a rule over the base catalog, whose customers and orders are filtered and have a placeholder.
fn never_matches(trigger: &str, where_: &str, more: &str) -> Vec<String> {
    let catalog = std::fs::read_to_string(fixtures().join("base/catalog.yaml")).unwrap();
    let catalog =
        catalog.replace("only: {is_active: true}", "only: {is_active: 1, merged_into: missing, level: [1, 2]}");
    let born = "{column: born, type: date, missing: [1900-01-01]}";
    let catalog = catalog.replace("country: country_code", &format!("country: country_code\n      birth_date: {born}"));
    let rule = format!(
        "version: 1\nid: bad\nmode: live\npurpose: service\nfor_each: customer\nto: main_contact\n\
         trigger: {trigger}\nwhere: [{where_}]\n{more}\nsteps: [email: {{template: hello}}]\n"
    );
    let mut files = base_with("catalog.yaml", &catalog);
    files.push(SourceFile { path: "bad.yaml".to_owned(), text: rule });
    let found = findings(files, &surroundings(None));
    let errors: Vec<&Finding> = found.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{where_}: {errors:?}");
    found.into_iter().filter(|finding| finding.code == "rule.never-matches").map(|finding| finding.message).collect()
}

#[test]
fn what_the_triggers_own_rows_rule_out_is_told_and_nothing_else() {
    let often = "{count: {of: orders, at_least: 3, within: 14 days}}";
    let open = "{abandoned: {of: orders, open: {status: paid}, changed_at: placed_at, idle: 3 hours}}";
    for (trigger, where_) in [
        (often, "orders: {count: {below: 3}, within_last: 30 days}"),
        (often, "orders: {none: {}, within_last: 30 days}"),
        (open, "orders: {none: {status: paid}}"),
    ] {
        let told = never_matches(trigger, where_, "");
        assert!(told.iter().any(|message| message.contains("`orders`")), "{where_}: {told:?}");
    }
    for (trigger, where_) in [
        (often, "orders: {count: {below: 4}, within_last: 30 days}"),
        (often, "orders: {count: {below: 3}, within_last: 7 days}"),
        (often, "orders: {none: {status: paid}, within_last: 30 days}"),
        (open, "orders: {none: {status: shipped}}"),
        (open, "orders: {none: {status: paid}, within_last: 30 days}"),
    ] {
        assert_eq!(never_matches(trigger, where_, ""), Vec::<String>::new(), "{where_}");
    }
}

#[test]
fn what_the_catalog_keeps_out_is_told_and_nothing_else() {
    let silent = "{inactivity: {of: orders, for: 90 days}}";
    for (where_, named) in [
        ("is_active: 0", "is_active"),
        ("is_active: {not: 1}", "is_active"),
        ("is_active: missing", "is_active"),
        ("merged_into: present", "merged_into"),
        ("level: {above: 2}", "level"),
        ("birth_date: 1900-01-01", "birth_date"),
        ("orders: {some: {status: cancelled}}", "orders"),
        ("{not: {orders: {none: {status: cancelled}}}}", "orders"),
        ("{any: [{is_active: 0}, {merged_into: 7}]}", "merged_into"),
    ] {
        let told = never_matches(silent, where_, "");
        let [message] = told.as_slice() else { panic!("{where_}: {told:?}") };
        assert!(message.contains(&format!("`{named}`")) && message.contains("the catalog"), "{message}");
    }
    for where_ in [
        "is_active: 1",
        "is_active: \"0\"",
        "level: {above: 1}",
        "merged_into: missing",
        "birth_date: missing",
        "birth_date: {before: 1900-01-02}",
        "orders: {some: {status: PAID}}",
        "orders: {some: {status: {not: paid}}}",
        "orders: {none: {status: cancelled}}",
        // A stored value without a word stays what it is.
        "tier: {not_in: [vip, standard]}",
        "{any: [{is_active: 0}, {country: AT}]}",
    ] {
        assert_eq!(never_matches(silent, where_, ""), Vec::<String>::new(), "{where_}");
    }
}

#[test]
fn who_is_older_than_a_new_record_can_be_is_told() {
    let (created, old) = ("{created: {at: created_at, settle: 2 days}}", "created_at: {older_than: 60 days}");
    let told = never_matches(created, old, "");
    assert!(matches!(told.as_slice(), [message] if message.contains("`created_at`")), "{told:?}");
    for (where_, more) in [
        ("created_at: {older_than: 10 days}", ""),
        (old, "backfill: all"),
        (old, "backfill: 90 days"),
        (old, "keep_trying: 80 days"),
        (old, "late: within 60 days"),
        (old, "cron: \"0 9 1 1 *\""),
        ("renews_on: {older_than: 60 days}", ""),
    ] {
        assert_eq!(never_matches(created, where_, more), Vec::<String>::new(), "{where_} {more}");
    }
}

#[test]
fn a_change_can_lead_to_one_of_several_values_or_to_none() {
    for (to, where_) in
        [("[vip, missing]", "tier: missing"), ("[vip, missing]", "tier: vip"), ("missing", "tier: missing")]
    {
        let trigger = format!("{{changed: {{field: tier, to: {to}}}}}");
        assert_eq!(never_matches(&trigger, where_, ""), Vec::<String>::new(), "{to} {where_}");
    }
    assert_eq!(never_matches("{changed: {field: tier, to: [vip, missing]}}", "tier: standard", "").len(), 1);
}

#[test]
fn hostile_files_end_in_a_clear_error_and_soon() {
    let bomb = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
        format!("{text}a{level}: &a{level} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]\n", level - 1)
    });
    let hostile = [
        ("alias bomb", format!("where:\n  {}", bomb.replace('\n', "\n  "))),
        ("deep lists", format!("where: {}", "[".repeat(100_000))),
        ("deep mappings", format!("where: {}", "{a: ".repeat(100_000))),
        (
            "deep indentation",
            (0..2_000).fold("where:\n".to_owned(), |text, depth| format!("{text}{} a:\n", " ".repeat(depth))),
        ),
        ("many nodes", format!("where: [{}]", "a, ".repeat(200_000))),
        ("a hundred megabytes", "# comment\n".repeat(10 * 1024 * 1024)),
        ("a file of nothing but zeros", "\0".repeat(10_000)),
        ("an anchor in itself", "where: &a [*a]\n".to_owned()),
        ("a merge bomb", "where: {<<: [{a: 1}, {b: 2}]}\n".to_owned()),
    ];
    let around = surroundings(Some(schema()));
    for (what, text) in hostile {
        let started = Instant::now();
        let found = findings(base_with("bad.yaml", &text), &around);
        let shown = render(&found, Look::Graphical { colour: false, width: 100 });
        assert!(started.elapsed() < Duration::from_mins(1), "{what} took {:?}", started.elapsed());
        assert!(found.iter().any(|finding| finding.severity == Severity::Error), "{what}: {shown}");
        assert!(shown.len() < 20_000, "{what} prints {} bytes", shown.len());
    }
}

#[test]
fn the_rules_of_this_repository_have_no_errors() {
    let checked = Checked::of(&tree(read_tree(Path::new("rules"))), &surroundings(None));
    let errors: Vec<_> = checked
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    assert!(checked.rules.len() >= 3);
}

#[test]
fn the_calendars_of_the_reference_are_right() {
    let calendars = examples("docs/sequences.md", "calendars");
    let [calendars] = calendars.as_slice() else { panic!("one example is expected") };
    let text = format!("version: 1\ntime_zone: UTC\nentities: {{customer: {{table: accounts, key: id}}}}\n{calendars}");
    let page = std::fs::read_to_string("docs/sequences.md").unwrap();
    let days = page.split("```text\n").nth(1).and_then(|block| block.split("```").next()).unwrap();
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let files = vec![file("catalog.yaml", &text), file("calendars/company.txt", days)];
    let checked = Checked::of(&tree(files), &surroundings(None));
    assert!(checked.findings.is_empty(), "{}", render(&checked.findings, Look::Plain));
    let catalog = checked.catalog.unwrap();
    let is_worked = |name: &str, day: &str| catalog.calendar(name).unwrap().is_worked(day.parse().unwrap());
    assert!(!is_worked("office", "2026-12-24") && is_worked("AT", "2026-12-24"));
    assert!(is_worked("shop", "2026-11-28") && !is_worked("shop", "2026-01-06"));
    assert!(!catalog.usual_calendar.is_worked("2026-12-31".parse().unwrap()));
}

#[test]
fn a_line_that_is_no_date_is_reported_in_its_own_file() {
    let catalog = "version: 1\ntime_zone: UTC\nentities: {customer: {table: accounts, key: id}}\n\
                   calendars: {office: {file: company.txt}}\n";
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let days = "# closed\n2026-12-24\n24.12.2027 Christmas Eve\n";
    let files = vec![file("catalog.yaml", catalog), file("calendars/company.txt", days)];
    let found = Checked::of(&tree(files), &surroundings(None)).findings;
    let shown = render(&found, Look::Plain);
    assert!(shown.contains("calendars/company.txt:3:1"), "{shown}");
    assert!(shown.contains("does not begin with a date"), "{shown}");
}

/// The fenced examples of a page that begin with `# what`.
fn examples(page: &str, what: &str) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let marker = format!("# {what}\n");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.filter_map(|block| block.strip_prefix(&marker)).map(str::to_owned).collect()
}

/// The one whole catalog of docs/catalog.md.
pub fn catalog_of_the_reference() -> String {
    let catalogs = examples("docs/catalog.md", "catalog");
    let [catalog] = catalogs.as_slice() else { panic!("one catalog is expected") };
    catalog.clone()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[test]
fn the_entities_of_the_reference_are_right() {
    let entities = examples("docs/catalog.md", "entities");
    assert!(!entities.is_empty());
    for entities in entities {
        let text = format!("version: 1\ntime_zone: UTC\nentities:\n{}", indented(&entities));
        let file = SourceFile { path: "catalog.yaml".to_owned(), text };
        let found = Checked::of(&tree(vec![file]), &surroundings(None)).findings;
        assert!(found.is_empty(), "{entities}\n{}", render(&found, Look::Plain));
    }
}

#[test]
fn the_pools_of_the_reference_are_right() {
    for pools in examples("docs/catalog.md", "pools") {
        let entities = "entities:\n  customer: {table: crm.accounts, key: id}\n";
        let text = format!("version: 1\ntime_zone: UTC\n{entities}pools:\n{}", indented(&pools));
        let file = SourceFile { path: "catalog.yaml".to_owned(), text };
        let found = Checked::of(&tree(vec![file]), &surroundings(None)).findings;
        assert!(found.is_empty(), "{pools}\n{}", render(&found, Look::Plain));
    }
}

#[test]
fn the_catalogs_with_tenants_of_the_reference_are_right() {
    let catalogs = examples("docs/catalog.md", "catalog with tenants");
    assert_eq!(catalogs.len(), 1);
    for text in catalogs {
        let file = SourceFile { path: "catalog.yaml".to_owned(), text };
        let checked = Checked::of(&tree(vec![file]), &surroundings(None));
        assert!(checked.findings.is_empty(), "{}", render(&checked.findings, Look::Plain));
        assert_eq!(checked.catalog.unwrap().tenants.as_ref().unwrap().names.len(), 2);
    }
}

/// The pages with whole rules or steps.
const PAGES: [&str; 5] = ["docs/rules.md", "docs/sequences.md", "docs/sms.md", "docs/surveys.md", "docs/writing.md"];
const HEAD: &str = "version: 1\nid: example\nmode: live\npurpose: offers\nfor_each: customer\nto: main_contact\n";
const INACTIVITY: &str = "trigger: {inactivity: {of: orders, for: 90 days}}\n";
const STEPS: &str = "steps: [email: {template: renewal}]\n";

/// The examples that are checked with the catalog of the reference, each as a whole rule.
fn checked_examples() -> Vec<String> {
    let date = "trigger: {date: {field: renews_on}}\n";
    let mut rules = examples("docs/rules.md", "rule");
    rules.extend(examples("docs/rules.md", "trigger").iter().map(|trigger| {
        let then =
            if trigger.starts_with("date") { "offsets: {on the day: [email: {template: renewal}]}\n" } else { STEPS };
        format!("{HEAD}trigger:\n{}{then}", indented(trigger))
    }));
    let offsets = examples("docs/rules.md", "offsets");
    rules.extend(offsets.iter().map(|offsets| format!("{HEAD}{date}offsets:\n{}", indented(offsets))));
    let conditions = examples("docs/rules.md", "conditions");
    rules.extend(conditions.iter().map(|where_| format!("{HEAD}{INACTIVITY}where:\n{where_}{STEPS}")));
    rules.extend(examples("docs/sms.md", "combine").iter().map(|key| format!("{HEAD}{key}{INACTIVITY}{STEPS}")));
    for page in PAGES {
        rules.extend(examples(page, "steps").iter().map(|own| format!("{HEAD}{INACTIVITY}steps:\n{own}")));
    }
    rules
}

/// All of them, with those that other tests check and play: the rules of other pages, and the tests of rules.
pub fn rules_of_the_reference() -> Vec<String> {
    let mut rules = checked_examples();
    rules.extend(PAGES[1..].iter().flat_map(|page| examples(page, "rule")));
    let tests = examples("docs/rules.md", "tests");
    rules.extend(tests.iter().map(|tests| format!("{HEAD}{INACTIVITY}{STEPS}tests:\n{tests}")));
    rules
}

/// The examples of catalogs, each as a whole one.
pub fn catalogs_of_the_reference() -> Vec<String> {
    let head = "version: 1\ntime_zone: UTC\n";
    let mut catalogs = examples("docs/catalog.md", "catalog");
    catalogs.extend(examples("docs/catalog.md", "catalog with tenants"));
    catalogs.extend(examples("docs/writing.md", "catalog"));
    let below = |key: &str| -> Vec<String> {
        let parts = examples("docs/catalog.md", key);
        parts.iter().map(|part| format!("{head}{key}:\n{}", indented(part))).collect()
    };
    catalogs.extend(below("entities").into_iter().chain(below("pools")));
    for (page, what) in [("docs/sequences.md", "calendars"), ("docs/surveys.md", "surveys")] {
        catalogs.extend(examples(page, what).iter().map(|part| format!("{head}{part}")));
    }
    catalogs
}

#[test]
fn the_examples_of_the_reference_are_right() {
    let catalog = catalog_of_the_reference();
    let rules = checked_examples();
    assert!(rules.len() >= 8, "{} examples", rules.len());
    for rule in rules {
        let mut files = vec![SourceFile { path: "catalog.yaml".to_owned(), text: catalog.clone() }];
        for name in ["win-back-1", "win-back-2", "renewal", "renewal-over", "at-risk", "nps-ask", "confirm"] {
            let text = "---\nsubject: Hello\n---\nHello {{ confirm_url }} {{ answer_url }}\n".to_owned();
            files.push(SourceFile { path: format!("templates/{name}.md"), text });
        }
        let script = "fn score(record, now) { 0.7 }\n".to_owned();
        files.push(SourceFile { path: "scripts/score.rhai".to_owned(), text: script });
        files.push(SourceFile { path: "rule.yaml".to_owned(), text: rule.clone() });
        let other = format!("{HEAD}trigger: {{enrolled: {{}}}}\n{STEPS}").replace("id: example", "id: onboarding");
        files.push(SourceFile { path: "other.yaml".to_owned(), text: other });
        let checked = Checked::of(&tree(files), &surroundings(None));
        let wrong: Vec<_> =
            checked.findings.iter().filter(|finding| finding.severity == Severity::Error).cloned().collect();
        assert!(wrong.is_empty(), "{rule}\n{}", render(&wrong, Look::Plain));
        assert_eq!(checked.rules.len(), 2, "{rule}");
    }
}
