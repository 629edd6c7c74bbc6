//! Hostile files, through the program as people run it: a clear error, soon, and in little memory, whichever file it
//! is.
//!
//! Soon is within a second, for the program as it is installed and on a machine that does nothing else:
//! `NUDGED_PROGRAM=target/release/nudged cargo test --test it hostile -- --nocapture --test-threads 1` holds it to that. What
//! the tests build is not optimised and runs beside other tests, so they allow ten.
#![expect(clippy::print_stdout, reason = "how long each took is what a run by hand is for")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Exit codes of rules and of a configuration that are wrong; see `docs/exit-codes.md`.
const RULES: i32 = 4;
const CONFIGURATION: i32 = 3;

/// What the program may allocate, in KiB: a file of 100 MB must never be read whole, let alone copied.
const DATA: u64 = 384 * 1024;

fn bomb() -> String {
    (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
        format!("{text}a{level}: &a{level} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]\n", level - 1)
    })
}

/// Name, text below the key that holds anything, and its error.
fn yaml(key: &str) -> Vec<(&'static str, String, &'static str)> {
    let below = |text: &str| format!("{key}\n          {}\n", text.trim_end().replace('\n', "\n          "));
    let deep = (0..1_000).fold(String::new(), |text, depth| format!("{text}{}a:\n", " ".repeat(depth)));
    vec![
        ("alias bomb", below(&bomb()), "yaml.limits"),
        ("deep lists", format!("{key} {}", "[".repeat(200_000)), "yaml.syntax"),
        ("deep mappings", format!("{key} {}", "{a: ".repeat(100_000)), "yaml.limits"),
        ("deep indentation", below(&deep), "yaml.limits"),
        ("a hundred megabytes", "# comment\n".repeat(10 * 1024 * 1024), "rules.too-large"),
        ("duplicate keys", below("a: 1\na: 2"), "yaml.duplicate-key"),
        ("an anchor in itself", format!("{key} &a [*a]\n"), "yaml.limits"),
        ("no text at all", "\0".repeat(100_000), "yaml.syntax"),
    ]
}

/// The program, and how soon it must have said what is wrong.
fn program() -> (String, Duration) {
    std::env::var("NUDGED_PROGRAM").map_or_else(
        |_| (env!("CARGO_BIN_EXE_nudged").to_owned(), Duration::from_secs(10)),
        |program| {
            let path = fs::canonicalize(&program).unwrap_or_else(|error| panic!("{program}: {error}"));
            (path.to_str().unwrap().to_owned(), Duration::from_secs(1))
        },
    )
}

/// Runs under a limit that ends a program which takes more.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let script = format!("ulimit -d {DATA}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, &program().0]).args(arguments).current_dir(folder);
    command.env("NO_COLOR", "1").env_remove("NUDGED_CONFIG").output().unwrap()
}

/// Of what `exit` stands for, within the time, and by the name of its error.
fn refused(what: &str, output: &Output, started: Instant, exit: i32, error: &str) {
    let took = started.elapsed();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{what} ended by {:?}: {said}", output.status);
    assert!(!said.contains("panicked"), "{what}: {said}");
    assert!(said.len() < 50_000, "{what} prints {} bytes", said.len());
    // It may be wrapped.
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(error), "{what} is no `{error}`: {said}");
    println!("{what}: {took:?}");
    assert!(took < program().1, "{what} took {took:?}");
}

fn rules(folder: &Path, path: &str, text: &str) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    fs::create_dir_all(folder.join("rules/templates")).unwrap();
    fs::copy(shipped.join("catalog.yaml"), folder.join("rules/catalog.yaml")).unwrap();
    let file = folder.join("rules").join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[test]
fn hostile_rules_and_catalogs_end_in_an_error() {
    for (path, key) in [
        ("bad.yaml", "where:"),
        ("bad.yaml", "steps:\n  - webhook:\n      to: sink\n      body:"),
        ("catalog.yaml", "entities:\n  customer:\n    table: a\n    key: id\n    only:"),
    ] {
        for (what, text, error) in yaml(key) {
            let folder = tempfile::tempdir().unwrap();
            rules(folder.path(), path, &text);
            let started = Instant::now();
            let output = run(folder.path(), &["check", "--rules", "rules"]);
            refused(&format!("{path}: {what}"), &output, started, RULES, error);
        }
    }
}

#[test]
fn hostile_templates_and_scripts_end_in_an_error() {
    let rule = "version: 1\nid: bad\nmode: live\npurpose: service\nfor_each: customer\nto: main_contact\n\
                trigger: {inactivity: {of: orders, for: 90 days}}\nscript: bad.rhai\n\
                steps:\n  - email: {template: bad}\n";
    let mail = "---\nsubject: Hello\n---\n";
    let eligible = "fn eligible(record, now) { true }\n";
    let never = |body: &str| format!("fn eligible(record, now) {{ {body} }}");
    for (what, path, text, error) in [
        ("a template of a hundred megabytes", "templates/bad.md", "x".repeat(100 << 20), "rules.too-large"),
        ("a deep template", "templates/bad.md", format!("{mail}{}", "{% if true %}".repeat(50_000)), "template.syntax"),
        (
            "a deep expression",
            "templates/bad.md",
            format!("{mail}{{{{ {}1 }}}}", "(".repeat(50_000)),
            "template.syntax",
        ),
        (
            "elifs without an end",
            "templates/bad.md",
            format!("{mail}{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}\n".repeat(20_000)),
            "template.syntax",
        ),
        ("comments within comments", "templates/bad.md", format!("{mail}{}", "{# ".repeat(100_000)), "template.syntax"),
        ("raw within raw", "templates/bad.md", format!("{mail}{}", "{% raw %}".repeat(100_000)), "template.syntax"),
        (
            "braces within raw",
            "templates/bad.md",
            format!("{mail}{{% raw %}}{}{{% endraw %}}{{% autoescape 0 %}}", "{{\"{#\n".repeat(100_000)),
            "template.syntax",
        ),
        (
            "constants that multiply",
            "templates/bad.md",
            format!("{mail}{}{{% autoescape 0 %}}", "{{ \"x\" * 99999999 }}\n".repeat(100)),
            "template.syntax",
        ),
        (
            "front matter with a bomb",
            "templates/bad.md",
            format!("---\n{}---\nHello\n", bomb()),
            "template.unknown-key",
        ),
        ("a script of a hundred megabytes", "scripts/bad.rhai", "// x\n".repeat(20 << 20), "rules.too-large"),
        ("a deep script", "scripts/bad.rhai", format!("{eligible}let x = {}1;", "(".repeat(50_000)), "script.syntax"),
        ("deep blocks", "scripts/bad.rhai", format!("{eligible}{}", "{".repeat(50_000)), "script.syntax"),
        ("an endless script", "scripts/bad.rhai", never("loop {}"), "script.dry-call"),
        (
            "a map without an end",
            "scripts/bad.rhai",
            never("let m = #{}; let i = 0; loop { m[i.to_string()] = `${i}-------------------------------`; i += 1; }"),
            "script.dry-call",
        ),
        (
            "a list without an end",
            "scripts/bad.rhai",
            never("let a = []; loop { a.push(a.len()); }"),
            "script.dry-call",
        ),
        ("lists of lists", "scripts/bad.rhai", never("let a = [1]; loop { a = [a, a]; }"), "script.dry-call"),
        ("a text without an end", "scripts/bad.rhai", never("let s = \"xx\"; loop { s += s; }"), "script.dry-call"),
        (
            "a text of 512 MiB by padding",
            "scripts/bad.rhai",
            never("let s = \"x\"; s.pad(536870912, \"y\"); s.len > 0"),
            "script.dry-call",
        ),
        ("an import by a made-up name", "scripts/bad.rhai", never("import record.name as x; true"), "script.import"),
        ("eval", "scripts/bad.rhai", never("eval(\"true\")"), "script.syntax"),
        ("sleep", "scripts/bad.rhai", never("sleep(3600); true"), "script.dry-call"),
        (
            "calls without an end",
            "scripts/bad.rhai",
            format!("fn f(x) {{ f(x + 1) + f(x + 2) }}\n{}", never("f(0) > 1")),
            "script.dry-call",
        ),
    ]
    .into_iter()
    .chain(scripts_within_the_limits_of_each_value())
    {
        let folder = tempfile::tempdir().unwrap();
        rules(folder.path(), "templates/bad.md", &format!("{mail}Hello\n"));
        rules(folder.path(), "scripts/bad.rhai", eligible);
        rules(folder.path(), "bad.yaml", rule);
        rules(folder.path(), path, &text);
        let started = Instant::now();
        let output = run(folder.path(), &["check", "--rules", "rules"]);
        refused(what, &output, started, RULES, error);
    }
}

/// What, path, text and error of scripts whose values are all small.
fn scripts_within_the_limits_of_each_value() -> Vec<(&'static str, &'static str, String, &'static str)> {
    let eligible = "fn eligible(record, now) { true }\n";
    let never = |body: &str| format!("fn eligible(record, now) {{ {body} }}");
    vec![
        (
            "lists within lists of calls",
            "scripts/bad.rhai",
            format!("{MANY}{}", never("many().all(|x| many().all(|y| many().all(|z| true)))")),
            "script.dry-call",
        ),
        (
            "filters within filters",
            "scripts/bad.rhai",
            format!(
                "{MANY}{}",
                never("many().filter(|x| many().filter(|y| many().filter(|z| true).len > 0).len > 0).len > 0")
            ),
            "script.dry-call",
        ),
        (
            "sums of sums",
            "scripts/bad.rhai",
            format!("{MANY}{}", never("many().reduce(|x, y| many().reduce(|x, y| many().reduce(|x, y| 1)), 1) > 0")),
            "script.dry-call",
        ),
        (
            "a map that a function in it holds",
            "scripts/bad.rhai",
            never("let x = #{}; let f = || x; x[\"a\"] = f; true"),
            "script.syntax",
        ),
        (
            "thousands of cases",
            "scripts/bad.rhai",
            never(&format!(
                "switch 1 {{ {} _ => true }}",
                (0..20_000).fold(String::new(), |text, n| format!("{text}{n} => true,"))
            )),
            "script.too-large",
        ),
        (
            "a large script",
            "scripts/bad.rhai",
            format!("{eligible}fn f() {{ {} }}", "let x = 1; ".repeat(20_000)),
            "script.too-large",
        ),
        ("an unknown function", "scripts/bad.rhai", never("timestamp()"), "script.dry-call"),
    ]
}

/// A list of as many as a list may have.
const MANY: &str = "fn many() { let list = []; list.pad(1000, 1); list }\n";

#[test]
fn hostile_modules_end_in_an_error() {
    let main = "import \"m0\" as m;\nfn eligible(record, now) { m::yes() }\n";
    let diamond = |level: usize| {
        let next = level + 1;
        format!("import \"m{next}\" as a; import \"m{next}\" as b;\nfn yes() {{ a::yes() }}\n")
    };
    let top = format!("{MANY}many().all(|x| many().all(|y| many().all(|z| true)));\nfn yes() {{ true }}\n");
    let circle = |level: usize| format!("import \"m{}\" as a;\nfn yes() {{ true }}\n", (level + 1) % 12);
    for (what, modules, error) in [
        ("imports that double at every level", (0..400).map(diamond).collect::<Vec<_>>(), "script.import"),
        ("calls within calls when it is imported", vec![top], "script.dry-call"),
        ("imports in a circle", (0..12).map(circle).collect(), "script.import-cycle"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        rules(folder.path(), "scripts/bad.rhai", main);
        rules(folder.path(), "bad.yaml", &format!("{RULE}script: bad.rhai\nsteps: [webhook: {{to: sink}}]\n"));
        for (number, text) in modules.iter().enumerate() {
            rules(folder.path(), &format!("scripts/m{number}.rhai"), text);
        }
        let started = Instant::now();
        let output = run(folder.path(), &["check", "--rules", "rules"]);
        refused(what, &output, started, RULES, error);
    }
}

/// A rule whose message is `bad`, and a test that sends it.
const SENDING: &str = "version: 1
id: bad
mode: live
purpose: service
for_each: customer
to: main_contact
trigger: {inactivity: {of: orders, for: 90 days}}
steps:
  - email: {template: bad}
tests:
  - name: sent
    at: 2026-11-21 10:00 Europe/Vienna
    given:
      customer: [{key: 1, name: Ada, country: AT, tier: standard, created_at: 3 years ago}]
      contact: [{key: 7, customer: 1, first_name: Ada, email: a@b.example, news_ok: true}]
      order: [{customer: 1, placed_at: 90 days ago, total: 900, status: paid}]
    then:
      - {after: 0 days, expect: {email: [bad]}}
";

#[test]
fn hostile_messages_end_in_an_error_where_they_are_filled_in() {
    let grow =
        |by: &str| format!("{{% set a = \"xxxxxxxxxx\" %}}{}{{{{ a }}}}", format!("{{% set a = {by} %}}\n").repeat(12));
    let many = |by: &str| (0..4_000).fold(String::new(), |text, index| format!("{text}{{% set a{index} = {by} %}}\n"));
    let mjml = |inner: &str| format!("<mjml><mj-body>{inner}</mj-body></mjml>");
    let section = "<mj-section><mj-column><mj-text>x</mj-text></mj-column></mj-section>\n";
    let pictures = "<mj-carousel-image src=\"x\" />\n".repeat(4_000);
    for (what, path, body, error) in [
        ("a text that multiplies", "md", grow("a ~ a ~ a ~ a ~ a ~ a ~ a ~ a"), "more than 1 MiB"),
        ("a sum of texts", "md", grow("a + a + a + a + a + a + a + a"), "more than 1 MiB"),
        ("a list that multiplies", "md", grow("[a, a, a, a, a, a, a, a]"), "more than 1 MiB"),
        ("a list deep in lists", "md", format!("{{% set a = 1 %}}{}", "{% set a = [a] %}\n".repeat(10_000)), "32 deep"),
        ("a list by a number", "md", many("[1] * 99999999"), "templates/bad.md"),
        ("many lists", "md", many("range(9999) | list"), "multiplies itself"),
        ("many texts", "md", many("range(9999) | join"), "multiplies itself"),
        ("a width", "md", "{{ \"%1000000000d\" | format(1) | length }}".to_owned(), "template.unknown-filter"),
        (
            "joins of joins",
            "md",
            "{% set a = range(9999) | join(\"xxxxxxxxxx\") %}{{ range(9999) | join(a) | length }}".to_owned(),
            "`join` would make",
        ),
        (
            "a text in a loop",
            "md",
            format!("{{% set a %}}{{% for i in range(9999) %}}{}{{% endfor %}}{{% endset %}}", "word\n".repeat(40_000)),
            "runs too long",
        ),
        (
            "a page of a loop",
            "html",
            "{% for i in range(9999) %}{{ range(99) }}{% endfor %}".to_owned(),
            "more than 1 MiB",
        ),
        ("sections", "mjml", mjml(&section.repeat(3_000)), "template.mjml"),
        (
            "sections of a loop",
            "mjml",
            mjml(&format!("{{% for i in range(3000) %}}{section}{{% endfor %}}")),
            "2000 tags",
        ),
        (
            "pictures",
            "mjml",
            mjml(&format!("<mj-section><mj-column><mj-carousel>{pictures}</mj-carousel></mj-column></mj-section>")),
            "template.mjml",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        rules(folder.path(), "bad.yaml", SENDING);
        rules(folder.path(), &format!("templates/bad.{path}"), &format!("---\nsubject: Hello\n---\n{body}\n"));
        let started = Instant::now();
        let output = run(folder.path(), &["test", "--rules", "rules"]);
        refused(what, &output, started, RULES, error);
    }
}

#[test]
fn hostile_tests_end_in_an_error() {
    for (what, trigger, line, error) in [
        (
            "a century of a segment",
            "segment: {when: {created_at: {older_than: 9 days}}}",
            "after: 100 years",
            "test.too-long",
        ),
        ("a century of changes", "changed: {field: lifetime_value}", "after: 100 years", "test.too-long"),
        (
            "a century of counts",
            "count: {of: orders, at_least: 9, within: 30 days}",
            "after: 100 years",
            "test.too-long",
        ),
        (
            "a century of declines",
            "decline: {of: orders, by: 50, from_at_least: 4, window: 30 days}",
            "after: 100 years",
            "test.too-long",
        ),
        (
            "a century of questions",
            "query: {sql: \"SELECT account_id, number FROM invoices\", key: account_id, occasion: number}",
            "after: 100 years",
            "test.too-long",
        ),
        ("a century of minutes", "schedule: {cron: \"* * * * *\"}", "after: 100 years", "test.too-long"),
        ("a thousand years", "inactivity: {of: orders, for: 90 days}", "after: 999 years", "rule.test"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let rule = SENDING.replace("inactivity: {of: orders, for: 90 days}", trigger);
        let rule = rule.replace("{after: 0 days, expect: {email: [bad]}}", &format!("{{{line}, expect: nothing}}"));
        rules(folder.path(), "bad.yaml", &rule);
        rules(folder.path(), "templates/bad.md", "---\nsubject: Hello\n---\nHello\n");
        let started = Instant::now();
        let output = run(folder.path(), &["check", "--rules", "rules"]);
        refused(what, &output, started, RULES, error);
    }
}

#[test]
fn a_rule_that_is_wrong_from_top_to_bottom_ends_in_a_page_of_findings() {
    let fields = (0..3_000).fold(String::new(), |text, n| format!("{text}  - contry{n}: {{between: 1}}\n"));
    let folder = tempfile::tempdir().unwrap();
    rules(folder.path(), "bad.yaml", &format!("{RULE}steps: [webhook: {{to: sink}}]\nwhere:\n{fields}"));
    for format in ["text", "json", "sarif"] {
        let started = Instant::now();
        let output = run(folder.path(), &["check", "--rules", "rules", "--format", format]);
        refused(format, &output, started, RULES, "rules.more-findings");
    }
}

const RULE: &str = "version: 1\nid: bad\nmode: live\npurpose: staff\nfor_each: customer\n\
                    trigger: {inactivity: {of: orders, for: 90 days}}\n";

/// What the tests above count on: a program that takes more than it may is ended.
#[test]
fn the_limit_ends_a_program_that_takes_more() {
    let greedy = |bytes: u64| {
        let script = format!("ulimit -d {DATA}; exec awk 'BEGIN {{ s = \"x\"; while (length(s) < {bytes}) s = s s }}'");
        Command::new("sh").args(["-c", &script]).output().unwrap().status.success()
    };
    assert!(greedy(1 << 20));
    assert!(!greedy(1 << 30));
}

#[test]
fn hostile_configurations_end_in_an_error() {
    for (what, text, error) in [
        ("deep lists", format!("a = {}", "[".repeat(200_000)), "config.syntax"),
        ("deep tables", format!("a = {}", "{a = ".repeat(100_000)), "config.syntax"),
        ("a deep key", format!("{}a = 1", "a.".repeat(200_000)), "config.syntax"),
        ("a hundred megabytes", "# comment\n".repeat(10 * 1024 * 1024), "config.unreadable"),
        ("duplicate keys", "[source]\nurl = \"sqlite:a\"\nurl = \"sqlite:b\"\n".to_owned(), "config.syntax"),
        ("duplicate tables", "[source]\n[source]\n".to_owned(), "config.syntax"),
        ("no text at all", "\0".repeat(100_000), "config.syntax"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        rules(folder.path(), "good.yaml", "");
        fs::remove_file(folder.path().join("rules/good.yaml")).unwrap();
        fs::write(folder.path().join("config.toml"), text).unwrap();
        let started = Instant::now();
        let output = run(folder.path(), &["check", "--config", "config.toml"]);
        refused(what, &output, started, CONFIGURATION, error);
    }
}
