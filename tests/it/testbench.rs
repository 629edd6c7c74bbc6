//! Tests of rules, as their authors write and run them.

mod jumps;
mod kept;
mod long;
mod typed;

use crate::support::reference::documented;
use nudged::diagnostic::SourceFile;
use nudged::diagnostic::render::{Look, render};
use nudged::engine::Settings;
use nudged::rule::generation::{Gateways, Surroundings, Tree};
use nudged::rule::statement::Dialect;
use nudged::testbench::{Bench, Failure, RuleReport, coverage};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

const CATALOG: &str = r"
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: crm.accounts
    key: id
    only: {is_active: true, kind: {not_in: [test]}}
    fields:
      country: country_code
      tier: {column: class, means: {vip: [A, A+], standard: [B]}}
      born: {column: born, type: date, missing: [1900-01-01]}
      joined: {column: joined, type: epoch_seconds}
      subscribed: {column: sub, type: bool_text}
      spent: {sum: orders.total}
    relations:
      orders: {entity: order, by: customer}
      contacts: {entity: contact, by: customer}
      staff: {entity: user, through: crm.account_people, from: account_id, to: user_id, through_only: {role: owner}}
    recipients:
      main_contact: {first_of: contacts}
      owner: {first_of: staff, staff: true, else: team@x.example}
  contact:
    sql: SELECT * FROM legacy_contacts WHERE deleted = 0
    key: {column: uid, type: uuid_binary}
    fields: {customer: account_id}
    person: {email: email, first_name: fname, zone: tz}
    consent: {email: {offers: news_ok}}
  user: {table: crm.users, key: id, person: {email: mail}}
  order: {table: crm.orders, key: id, at: placed_at, fields: {customer: account_id, total: amount}}
tenants: {names: [north, south], per_transaction: SET app.tenant = $tenant}
tasks:
  open: {state: open}
  insert:
    - {table: crm.tasks, set: {id: $uuid, title: $title, account_id: $record.key, state: open, due: $due, ref: $ref}}
    - {table: crm.task_people, set: {task_id: $1.id, user_id: $assignee.key}}
";

const RULE: &str = r#"
version: 1
id: silence
mode: shadow
purpose: offers
for_each: customer
to: main_contact
trigger: {inactivity: {of: orders, for: 30 days}}
where:
  - country: {in: [AT, DE]}
  - any: [{spent: {at_least: 100}}, {tier: vip}]
goal: {name: came back, when: {orders: {some: {}, since: entry}}}
spread: 4 hours
steps:
  - branch:
      cases:
        - name: vip
          when: {tier: vip}
          steps: [task: {title: "Call {{ record.name }}", assign_to: owner, due: 2 days, unless_open: any}]
        - {name: abroad, when: {country: DE}, steps: [email: {template: abroad}]}
      otherwise:
        - webhook: {to: desk, body: {of: "{{ record.country }}"}, save: ticket}
        - email: {template: hello}
  - wait: {for: 3 days}
  - email: {template: bye}
"#;

/// A silent customer who may be written to, with a contact and an order.
const GIVEN: &str = "
    given:
      customer: [{key: 1, name: Ada, country: AT, tier: standard, staff: [3]}]
      contact: [{key: 7, customer: 1, first_name: Ada, email: ada@x.example, news_ok: true}]
      user: [{key: 3, email: jana@x.example}]
      order: [{key: 5, customer: 1, placed_at: 30 days ago, total: 120}]
    answers: {desk: {number: 4711}}
";

fn bench(tests: &str) -> Bench {
    bench_of(RULE, tests)
}

fn bench_of(rule: &str, tests: &str) -> Bench {
    let template = |name: &str, text: &str| {
        (format!("templates/{name}.md"), format!("---\nsubject: {name} {text}\n---\n{text}\n"))
    };
    let mut files = vec![
        ("catalog.yaml".to_owned(), CATALOG.to_owned()),
        ("silence.yaml".to_owned(), format!("{}tests:\n{tests}", rule.trim_start())),
        template("hello", "{{ to.first_name }} has ticket {{ saved.ticket.number }}"),
        template("abroad", "{{ record.name }}"),
        template("bye", "{{ record.city | default('somewhere') }}"),
    ];
    files.sort();
    let files = files.into_iter().map(|(path, text)| Arc::new(SourceFile { path, text })).collect();
    let surroundings = Surroundings {
        dialect: Dialect::Postgres,
        schema: None,
        destinations: ["desk".to_owned()].into(),
        chats: ["sales".to_owned()].into(),
        gateways: Gateways::default(),
        topics: ["offers".into()].into(),
    };
    Bench { tree: Arc::new(Tree { files }), surroundings, settings: Settings::default() }
}

/// One test: `then` is its lines.
fn test(at: &str, given: &str, then: &str) -> String {
    format!("  - name: it\n    at: {at} Europe/Vienna{given}    then:\n{then}")
}

async fn play(tests: &str) -> RuleReport {
    let bench = bench(tests);
    match bench.play(&bench.rule_files(), 2, |_| {}).await {
        Ok(mut reports) => reports.remove(0),
        Err(findings) => panic!("{}", render(&findings, Look::Plain)),
    }
}

async fn failures(given: &str, then: &str) -> Vec<Failure> {
    play(&test("2026-11-21 10:00", given, then)).await.failures().cloned().collect()
}

fn said(failures: &[Failure]) -> String {
    failures.iter().map(|failure| format!("{}\n", failure.finding)).collect()
}

async fn passes(given: &str, then: &str) {
    let failed = failures(given, then).await;
    assert!(failed.is_empty(), "{}", said(&failed));
}

#[tokio::test]
async fn a_test_fills_the_catalogs_tables_by_the_catalogs_names() {
    // A query in place of a table, a binary key, words, a join table, a computed field, tenants: all of it.
    passes(
        GIVEN,
        r#"
      - after: 0 days
        expect:
          webhook: [{destination: desk, contains: '"of":"AT"'}]
          email: [{template: hello, to: ada@x.example, subject: hello Ada has ticket 4711, record: 1}]
      - {after: 3 days, expect: {email: [bye]}, ended: completed}
"#,
    )
    .await;
}

#[tokio::test]
async fn tasks_go_into_the_catalogs_tables_and_are_found_there() {
    let vip = GIVEN.replace("tier: standard", "tier: vip");
    passes(
        &vip,
        "
      - {after: 1 hour, expect: {task: [{title: Call Ada, assigned_to: jana@x.example, due: 2026-11-23}]}}
      - {after: 2 days, insert: {order: [{customer: 1, placed_at: now, total: 1}]}, update: {customer: [{key: 1, country: DE}]}}
      - {after: 33 days, expect: nothing, because: task_open}
",
    )
    .await;
}

/// The entities of the reference, whose values stand everywhere but in the record's row.
fn awkward() -> Bench {
    let page = fs::read_to_string("docs/catalog.md").unwrap();
    let entities = page.split("```yaml\n# entities\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let entities: String = entities.lines().map(|line| format!("  {line}\n")).collect();
    let entities = entities.replace(
        "debtor: {sql: \"$row.paid < $row.owed\", type: bool}",
        "debtor: {sql: {postgres: \"$row.paid::numeric < $row.owed\"}, type: bool}",
    );
    let catalog = format!("version: 1\ntime_zone: Europe/Vienna\nentities:\n{entities}");
    let rule = "
version: 1
id: debts
mode: live
purpose: service
for_each: account
to: main
trigger: {inactivity: {of: activity, for: 30 days}}
where:
  - {closed: false, seats: {at_least: 5}, tier: gold, debtor: true, credit_limit: {below: 500 EUR}}
  - created_at: {older_than: 1 year}
  - orders: {count: {at_least: 1}}
steps: [email: {template: debts}]
tests:
  - name: everything stands elsewhere
    at: 2026-11-21 10:00 Europe/Vienna
    given:
      status: [{key: 3, is_closed: false}, {key: 4, is_closed: true}]
      address: [{key: 9, email: ada@x.example}, {key: 8, email: bob@x.example}]
      account:
        - {key: 1, status_id: 3, seats: 7, tier: gold, debtor: true, credit_limit: 499.5, created_at: 3 years ago, addresses: [9]}
        - {key: 2, status_id: 4, seats: 7, tier: gold, debtor: true, credit_limit: 499.5, created_at: 3 years ago, addresses: [8]}
      order: [{buyer_id: 1, placed_at: 30 days ago, status: paid}, {buyer_id: 2, placed_at: 30 days ago, status: paid}]
    then: [{after: 0 days, expect: {email: [{template: debts, to: ada@x.example}]}}]
  - name: each of them counts
    at: 2026-11-21 10:00 Europe/Vienna
    given:
      status: [{key: 3, is_closed: false}]
      address: [{key: 9, email: ada@x.example}]
      account:
        - {key: 1, status_id: 3, seats: 4, tier: gold, debtor: true, credit_limit: 9, created_at: 3 years ago, addresses: [9]}
        - {key: 2, status_id: 3, seats: 5, tier: silver, debtor: true, credit_limit: 9, created_at: 3 years ago, addresses: [9]}
        - {key: 4, status_id: 3, seats: 5, tier: gold, debtor: false, credit_limit: 9, created_at: 3 years ago, addresses: [9]}
        - {key: 5, status_id: 3, seats: 5, tier: gold, debtor: true, credit_limit: 500, created_at: 3 years ago, addresses: [9]}
        - {key: 6, status_id: 3, seats: 5, tier: gold, debtor: true, credit_limit: 9, created_at: today, addresses: [9]}
        - {key: 7, status_id: 3, seats: 5, tier: gold, debtor: true, credit_limit: 9, created_at: 3 years ago, deleted: 1, addresses: [9]}
        - {key: 8, status_id: 3, seats: 5, tier: gold, debtor: true, credit_limit: 9, created_at: 3 years ago, addresses: [9]}
      order:
        - {buyer_id: 1, placed_at: 30 days ago, status: paid}
        - {payer_id: 2, buyer_id: 2, placed_at: 30 days ago, status: paid}
        - {buyer_id: 4, placed_at: 30 days ago, status: paid}
        - {buyer_id: 5, placed_at: 30 days ago, status: paid}
        - {buyer_id: 6, placed_at: 30 days ago, status: paid}
        - {buyer_id: 7, placed_at: 30 days ago, status: paid}
        - {buyer_id: 8, placed_at: 30 days ago, status: paid}
      invoice: [{key: 77, customer_no: 8, issued_on: 2 days ago}]
    then: [{after: 0 days, expect: nothing}]
";
    let files = [
        ("catalog.yaml", catalog.as_str()),
        ("debts.yaml", rule.trim_start()),
        ("templates/debts.md", "---\nsubject: Debts\n---\nYou owe us something.\n"),
    ];
    let files = files.map(|(path, text)| Arc::new(SourceFile { path: path.to_owned(), text: text.to_owned() }));
    Bench { tree: Arc::new(Tree { files: files.into() }), ..bench("") }
}

#[tokio::test]
async fn values_that_stand_elsewhere_are_given_like_any_other() {
    let bench = awkward();
    let played = bench.play(&bench.rule_files(), 2, |_| {}).await;
    let reports = played.unwrap_or_else(|findings| panic!("{}", render(&findings, Look::Plain)));
    let failures: Vec<Failure> = reports.iter().flat_map(RuleReport::failures).cloned().collect();
    assert!(failures.is_empty(), "{}", said(&failures));
    assert_eq!(reports[0].tests.len(), 2);
}

#[tokio::test]
async fn what_can_not_be_given_says_what_to_give_instead() {
    let mut bench = awkward();
    let mut files = bench.tree.files.clone();
    let rule = files.iter_mut().find(|file| file.path == "debts.yaml").unwrap();
    let text = rule.text.replace("status_id: 4,", "closed: true,").replace("invoice: [", "activity: [");
    *rule = Arc::new(SourceFile { text, ..SourceFile::clone(rule) });
    bench.tree = Arc::new(Tree { files });
    let findings = bench.play(&bench.rule_files(), 2, |_| {}).await.unwrap_err();
    let told = render(&findings, Look::Plain);
    assert!(told.contains("`closed` is looked up in `status`") && told.contains("status_id"), "{told}");
    assert!(told.contains("the rows of `activity` are those of others"), "{told}");
    assert!(told.contains("give rows of `order` or `invoice`"), "{told}");
}

#[tokio::test]
async fn a_key_is_given_once() {
    let given = GIVEN.replace("order: [", "order: [{key: 5, customer: 1, placed_at: 40 days ago, total: 7}, ");
    let failed = failures(&given, "      - {after: 0 days, expect: nothing}\n").await;
    assert!(said(&failed).contains("there is a row of `order` with this key already"), "{}", said(&failed));
}

#[tokio::test]
async fn what_changes_counts_from_then_on() {
    passes(
        GIVEN,
        "
      - {after: 0 days, expect: {email: [hello], webhook: [desk]}}
      - {after: 1 day, update: {contact: [{key: 7, news_ok: false}]}}
      - {after: 4 days, expect: nothing, because: no_consent, ended: completed}
",
    )
    .await;
    passes(
        GIVEN,
        "
      - {after: 0 days, expect: {email: [hello], webhook: [desk]}}
      - {after: 1 day, insert: {order: [{customer: 1, placed_at: now, total: 5}]}}
      - {after: 4 days, expect: nothing, because: came back, ended: goal}
",
    )
    .await;
    let two = GIVEN.replace("staff: [3]}]", "staff: [3]}, {key: 2, country: CH}]");
    passes(
        &two,
        "
      - {after: 0 days, expect: {email: [{record: 1}], webhook: [desk]}, ended: running}
      - {after: 1 day, delete: {customer: [{key: 1}]}}
      - {after: 4 days, expect: nothing, ended: record_gone}
",
    )
    .await;
}

#[tokio::test]
async fn what_lies_ahead_becomes_visible_in_its_time() {
    // The order of the third day is in the table from the start.
    let ahead = GIVEN.replace("total: 120}", "total: 120}, {customer: 1, placed_at: in 2 days, total: 1}");
    passes(
        &ahead,
        "
      - {after: 1 day, expect: {email: [hello], webhook: [desk]}, ended: running}
      - {after: 3 days, expect: nothing, ended: goal}
      - {after: 33 days, expect: {email: [hello], webhook: [desk]}}
",
    )
    .await;
}

#[tokio::test]
async fn a_backdated_row_is_found_by_the_nightly_look() {
    let nobody = GIVEN.replace("      order: [{key: 5, customer: 1, placed_at: 30 days ago, total: 120}]\n", "");
    passes(
        &nobody,
        "
      - {after: 1 day, insert: {order: [{customer: 1, placed_at: 2026-10-22 15:00, total: 120}]}}
      - {at: 2026-11-23 02:59, expect: nothing}
      - {at: 2026-11-23 04:00, expect: {email: [hello], webhook: [desk]}}
",
    )
    .await;
}

#[tokio::test]
async fn a_failure_says_what_was_expected_what_happened_and_why() {
    let cases = [
        // The given rows, the lines, and what the report must say.
        (
            GIVEN.to_owned(),
            "      - {after: 0 days, expect: {email: [bye]}}\n",
            vec![
                "`email bye` was not sent, but something else",
                "- expected email bye",
                "+ got      email hello to ada@x.example",
                "webhook desk",
            ],
        ),
        (
            GIVEN.to_owned(),
            "      - {after: 0 days, expect: nothing}\n",
            vec!["something was sent", "about customer:1 at 2026-11-21 10:00", "took the case `otherwise`"],
        ),
        (
            GIVEN.to_owned(),
            "      - {after: 0 days, expect: {email: [{template: hello, to: eve@x.example}], webhook: [desk]}}\n",
            vec!["`email hello to eve@x.example` was not sent", "email hello to ada@x.example"],
        ),
        (
            GIVEN.to_owned(),
            "      - {after: 0 days, expect: {webhook: [desk]}}\n",
            vec!["more was sent than expected", "+ got      email hello"],
        ),
        (
            GIVEN.replace("news_ok: true", "news_ok: missing"),
            "      - {after: 0 days, expect: {email: [hello], webhook: [desk]}}\n",
            vec!["`email hello` was not sent", "left out (no_consent): no consent to offers by email"],
        ),
        (
            GIVEN.replace("country: AT", "country: CH"),
            "      - {after: 0 days, expect: {email: [hello], webhook: [desk]}}\n",
            vec!["customer:1: crossed, but this did not hold: country: {in: [AT, DE]}"],
        ),
        (
            GIVEN.replace("30 days ago", "29 days ago"),
            "      - {after: 0 days, expect: {email: [hello], webhook: [desk]}}\n",
            vec![
                "none of the 1 given records crossed the trigger's edge by now",
                "customer:1: crosses at 2026-11-22 10:00 if nothing changes but the time",
            ],
        ),
        (
            GIVEN.replace("30 days ago", "40 days ago"),
            "      - {after: 0 days, expect: {email: [hello], webhook: [desk]}}\n",
            vec!["customer:1: crossed at 2026-11-11 10:00, before the rule was loaded, see `backfill`"],
        ),
        (
            GIVEN.to_owned(),
            "      - {after: 1 day, expect: {email: [hello], webhook: [desk]}, ended: goal}\n",
            vec![
                "the sequence has not ended by `goal`",
                "+ got      customer:1: running",
                "waits at `wait` until 2026-11-24 10:00",
            ],
        ),
        (
            GIVEN.replace("country: AT", "country: CH"),
            "      - {after: 1 day, expect: nothing, because: tier, ended: completed}\n",
            vec!["nobody entered the sequence", "this was not the reason", "- expected tier"],
        ),
        (
            GIVEN.to_owned(),
            "      - {after: 0 days, update: {customer: [{key: 9, country: CH}]}, expect: nothing}\n",
            vec!["there is no customer with this key"],
        ),
    ];
    for (given, then, wanted) in cases {
        let failed = said(&failures(&given, then).await);
        for words in wanted {
            assert!(failed.contains(words), "`{words}` is not in:\n{failed}\nfor {then}");
        }
        assert!(failed.starts_with("silence.yaml:"), "{failed}");
    }
}

#[tokio::test]
async fn coverage_names_the_cases_and_templates_that_no_test_reached() {
    let report =
        play(&test("2026-11-21 10:00", GIVEN, "      - {after: 0 days, expect: {email: [hello], webhook: [desk]}}\n"))
            .await;
    let covered = coverage(&[report]);
    assert_eq!(covered.counts(), [(1, 1), (1, 3), (1, 3)]);
    let missed = covered.rules[0].branches.iter().filter(|branch| !branch.taken).map(|branch| branch.case.as_str());
    assert_eq!(missed.collect::<Vec<_>>(), ["abroad", "vip"]);
}

/// The 29th of February, an hour that doesn't exist, an hour that comes twice.
#[tokio::test]
async fn calendars_and_clocks_can_be_tested() {
    let rule = "version: 1\nid: birthday\nmode: live\npurpose: service\nfor_each: customer\nto: main_contact\n\
                trigger: {date: {field: born, at: \"02:30\"}}\n\
                offsets: {1 year after: [email: {template: abroad}], on the day: [email: {template: hi}]}\ntests:\n";
    let one = |at: &str, born: &str, then: &str| {
        format!(
            "  - name: {at} {born}\n    at: {at} Europe/Vienna\n    given:\n      customer: [{{key: 1, name: Ada, born: {born}}}]\n      \
             contact: [{{customer: 1, email: a@x.example}}]\n    then:\n{then}"
        )
    };
    let tests = [
        one("2029-02-28 02:30", "2028-02-29", "      - {after: 0 days, expect: {email: [abroad]}}\n"),
        // Half past two doesn't exist: the next moment that does is three.
        one(
            "2026-03-29 01:59",
            "2026-03-29",
            "      - {at: 2026-03-29 01:59, expect: nothing}\n      - {at: 2026-03-29 03:15, expect: {email: [hi]}}\n",
        ),
        // It comes twice: the first.
        one(
            "2026-10-25 02:30",
            "2026-10-25",
            "      - {after: 0 days, expect: {email: [hi]}}\n      - {after: 5 hours, expect: nothing}\n",
        ),
        one("2026-11-21 10:00", "1900-01-01", "      - {after: 1 year, expect: nothing}\n"),
    ];
    let mut bench =
        bench(&test("2026-11-21 10:00", GIVEN, "      - {after: 0 days, expect: {email: [hello], webhook: [desk]}}\n"));
    let mut files = bench.tree.files.clone();
    let birthday = Arc::new(SourceFile { path: "birthday.yaml".into(), text: format!("{rule}{}", tests.concat()) });
    files.insert(0, Arc::clone(&birthday));
    files.push(Arc::new(SourceFile { path: "templates/hi.md".into(), text: "---\nsubject: Hi\n---\nHi\n".into() }));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    bench.tree = Arc::new(Tree { files });
    let reports = bench.play(&[birthday], 1, |_| {}).await.unwrap();
    let failed: Vec<_> = reports[0].failures().cloned().collect();
    assert!(failed.is_empty(), "{}", said(&failed));
    assert_eq!(reports[0].tests.len(), 4);
    assert_eq!(coverage(&reports[..1]).counts()[1], (2, 2), "both offsets");
    let ways = coverage(&reports[..1]).rules.remove(0).branches.into_iter().map(|way| way.case);
    assert_eq!(ways.collect::<Vec<_>>(), ["1 year after", "on the day"]);
}

fn nudged(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nudged"));
    command.env("COLUMNS", "100").env("NO_COLOR", "1").env_remove("NUDGED_CONFIG");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().unwrap()
}

#[test]
fn the_shipped_rules_and_the_examples_pass_their_tests() {
    for rules in ["rules", "examples/postgres/rules", "examples/mariadb/rules"] {
        let output = nudged(&["test", "--rules", rules, "--coverage", "--format", "json"]);
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{rules}: {talk}\n{}", String::from_utf8_lossy(&output.stdout));
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        documented("test", &shown);
        for what in ["rules", "cases", "templates"] {
            assert!(shown["coverage"][what]["reached"].as_u64() >= Some(2), "{rules} {what}: {}", shown["coverage"]);
        }
    }
}

/// The rules of the reference, and the example of its section on tests.
#[tokio::test]
async fn the_tests_of_the_reference_pass() {
    let page = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let blocks = |text: &str, what: &str| -> Vec<String> {
        let marker = format!("```yaml\n# {what}\n");
        text.split(&marker).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    };
    let (text, catalog) = (page("docs/rules.md"), blocks(&page("docs/catalog.md"), "catalog").remove(0));
    let mut rules = blocks(&text, "rule");
    let section = blocks(&text, "tests").remove(0);
    let other = rules[0].replace("id: win-back-90", "id: other").split("\ntests:").next().unwrap().to_owned();
    rules.push(format!("{other}\ntests:\n{section}"));
    let mut files = vec![
        ("catalog.yaml".to_owned(), catalog),
        ("scripts/score.rhai".to_owned(), "fn score(record, now) { 0.7 }\n".to_owned()),
    ];
    let played = rules.len();
    files.extend(rules.into_iter().enumerate().map(|(number, rule)| (format!("rule-{number}.yaml"), rule)));
    for name in ["win-back-1", "win-back-2", "renewal"] {
        files.push((format!("templates/{name}.md"), "---\nsubject: Hello\n---\nHello\n".to_owned()));
    }
    let files = files.into_iter().map(|(path, text)| Arc::new(SourceFile { path, text })).collect();
    let mut bench = Bench { tree: Arc::new(Tree { files }), ..bench("") };
    bench.surroundings.destinations.insert("team-chat".to_owned());
    let reports = bench.play(&bench.rule_files(), 2, |_| {}).await;
    let reports = reports.unwrap_or_else(|findings| panic!("{}", render(&findings, Look::Plain)));
    let failed: Vec<_> = reports.iter().flat_map(RuleReport::failures).cloned().collect();
    assert!(failed.is_empty(), "{}", said(&failed));
    let tests: usize = reports.iter().map(|report| report.tests.len()).sum();
    assert!(reports.len() <= played && tests >= 4, "{tests} tests");
}

/// The rule of the page on writing, over the catalog that stands there.
#[tokio::test]
async fn the_tests_of_the_page_on_writing_pass() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/writing.md")).unwrap();
    let block = |what: &str| {
        let marker = format!("```yaml\n# {what}\n");
        page.split(&marker).nth(1).unwrap().split("```").next().unwrap().to_owned()
    };
    let template = "---\nsubject: Hello\n---\nYour code: {{ saved.voucher.code }}, from {{ saved.assigned.email }}\n";
    let files = [
        ("rule.yaml".to_owned(), block("rule")),
        ("catalog.yaml".to_owned(), block("catalog")),
        ("templates/voucher.md".to_owned(), template.to_owned()),
    ];
    let files = files.into_iter().map(|(path, text)| Arc::new(SourceFile { path, text })).collect();
    let bench = Bench { tree: Arc::new(Tree { files }), ..bench("") };
    let reports = bench.play(&bench.rule_files(), 1, |_| {}).await;
    let reports = reports.unwrap_or_else(|findings| panic!("{}", render(&findings, Look::Plain)));
    let failed: Vec<_> = reports.iter().flat_map(RuleReport::failures).cloned().collect();
    assert!(failed.is_empty(), "{}", said(&failed));
    assert_eq!(reports[0].tests.len(), 1);
}

/// The rules of the page on sequences, together: one enrolls into the other.
#[tokio::test]
async fn the_tests_of_the_sequences_pass() {
    let page = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let blocks = |text: &str, what: &str| -> Vec<String> {
        let marker = format!("```yaml\n# {what}\n");
        text.split(&marker).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    };
    let mut files: Vec<(String, String)> = blocks(&page("docs/sequences.md"), "rule")
        .into_iter()
        .enumerate()
        .map(|(number, rule)| (format!("rule-{number}.yaml"), rule))
        .collect();
    assert_eq!(files.len(), 2);
    files.push(("catalog.yaml".to_owned(), blocks(&page("docs/catalog.md"), "catalog").remove(0)));
    for name in ["renewal-1", "renewal-2", "renewal-discount", "renewal-last", "advice"] {
        files.push((format!("templates/{name}.md"), "---\nsubject: Hello\n---\nHello\n".to_owned()));
    }
    let files = files.into_iter().map(|(path, text)| Arc::new(SourceFile { path, text })).collect();
    let bench = Bench { tree: Arc::new(Tree { files }), ..bench("") };
    let reports = bench.play(&bench.rule_files(), 2, |_| {}).await;
    let reports = reports.unwrap_or_else(|findings| panic!("{}", render(&findings, Look::Plain)));
    let failed: Vec<_> = reports.iter().flat_map(RuleReport::failures).cloned().collect();
    assert!(failed.is_empty(), "{}", said(&failed));
    assert_eq!(reports[0].tests.len(), 2);
    let [_, (reached, all), _] = coverage(&reports).counts();
    assert_eq!((reached, all), (2, 4), "one of three arms, as keys 1 draw the first, and the offset");
}

#[test]
fn results_are_a_table_json_and_junit_and_a_failure_ends_with_code_4() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = "      - {after: 0 days, expect: {email: [bye], webhook: [desk]}}\n      - {after: 1 day, expect: nothing, ended: goal}\n";
    let right = test("2026-11-21 10:00", GIVEN, "      - {after: 0 days, expect: {email: [hello], webhook: [desk]}}\n");
    let wrong = test("2026-11-21 10:00", GIVEN, wrong).replace("name: it", "name: <it> fails & says \"so\"");
    for file in &bench(&format!("{right}{wrong}")).tree.files {
        let path = folder.path().join(&file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &file.text).unwrap();
    }
    let rules = folder.path().to_str().unwrap().to_owned();
    let report = folder.path().join("junit.xml");
    let output = nudged(&["test", "--rules", &rules, "--coverage", "--junit", report.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4));
    insta::assert_snapshot!("test-table", String::from_utf8(output.stdout).unwrap());
    insta::assert_snapshot!("test-talk", String::from_utf8(output.stderr).unwrap());
    insta::assert_snapshot!("test-junit", without_times(&fs::read_to_string(report).unwrap()));
    let output = nudged(&["test", "silence", "--rules", &rules, "--format", "json"]);
    assert_eq!(output.status.code(), Some(4));
    let mut shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    documented("test", &shown);
    for result in shown["results"].as_array_mut().unwrap() {
        assert!(result["took_ms"].is_u64());
        result["took_ms"] = 0.into();
    }
    insta::assert_snapshot!("test-json", serde_json::to_string_pretty(&shown).unwrap());
    assert_eq!(nudged(&["test", "nothing", "--rules", &rules]).status.code(), Some(8));
}

/// `time="0.123"` is another in every run.
fn without_times(xml: &str) -> String {
    let mut parts = xml.split("time=\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "time=\"0\"" + part.split_once('"').map_or("", |(_, rest)| rest))
}

#[tokio::test]
async fn long_enough_ago_follows_the_trigger() {
    let given = GIVEN.replace("placed_at: 30 days ago", "placed_at: long enough ago");
    let then = "      - {after: 0 days, expect: {webhook: [desk], email: [hello]}}\n";
    for length in ["30 days", "75 days", "6 weeks"] {
        let rule = RULE.replace("for: 30 days", &format!("for: {length}"));
        let bench = bench_of(&rule, &test("2026-11-21 10:00", &given, then));
        let reports = bench.play(&bench.rule_files(), 2, |_| {}).await.unwrap();
        let failed: Vec<Failure> = reports[0].failures().cloned().collect();
        assert!(failed.is_empty(), "{length}: {}", said(&failed));
    }
    let planned = RULE.replace("{inactivity: {of: orders, for: 30 days}}", "{schedule: {cron: \"0 8 * * MON\"}}");
    let bench = bench_of(&planned, &test("2026-11-21 10:00", &given, then));
    let Err(findings) = bench.play(&bench.rule_files(), 2, |_| {}).await else { panic!("taken") };
    let told = render(&findings, Look::Plain);
    assert!(told.contains("the trigger of this rule has no length of time"), "{told}");
}

#[tokio::test]
async fn what_a_query_reads_has_to_be_in_the_catalog_for_its_tests() {
    let query = "trigger: {query: {sql: \"SELECT id, paid_at FROM crm.orders\", key: id, occasion: paid_at}}\n";
    let rule = RULE.replace("trigger: {inactivity: {of: orders, for: 30 days}}\n", query);
    let expects = test("2026-11-21 10:00", GIVEN, "      - {after: 0 days, expect: {webhook: [desk]}}\n");
    let bench = bench_of(&rule, &expects);
    let reports = bench.play(&bench.rule_files(), 1, |_| {}).await;
    let reports = reports.unwrap_or_else(|findings| panic!("{}", render(&findings, Look::Plain)));
    let failures: Vec<Failure> = reports[0].failures().cloned().collect();
    let [Failure { finding, .. }] = failures.as_slice() else { panic!("{}", said(&failures)) };
    let help = finding.help.as_deref().unwrap_or_default();
    assert!(finding.message.contains("no such column: paid_at"), "{finding}");
    assert!(help.contains("declare all that the query reads there, under `fields` of its entity"), "{help}");
}
