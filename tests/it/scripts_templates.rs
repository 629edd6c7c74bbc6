//! Hostile and broken scripts and templates: every one ends in an error, quickly, without a value in it.

use crate::support::PATIENCE;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nudged::diagnostic::SourceFile;
use nudged::model::Value;
use nudged::rule::compiled::Facts;
use nudged::rule::message::{MessageContext, Templates};
use nudged::rule::script::Script;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

fn facts() -> Facts {
    Facts {
        key: "1".into(),
        conditions: vec![],
        only_at_entry: vec![],
        goal: None,
        exit_when: vec![],
        cases: BTreeMap::new(),
        record: BTreeMap::from([("name".to_owned(), Value::Text("Secret Person".into()))]),
        date: None,
        recipients: BTreeMap::new(),
        zone: TimeZone::UTC,
    }
}

fn file(path: &str, text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile { path: path.into(), text: text.into() })
}

/// The body only turns hostile when `now` is past the instant of the dry call, so that it gets through
/// loading and is stopped while running.
fn run_late(body: &str) -> Result<bool, String> {
    let text = format!("fn eligible(record, now) {{ if now.year > 2000 {{ {body} }} true }} {HELPERS}");
    let script = Script::compile(&file("scripts/hostile.rhai", &text), &facts())
        .map_err(|findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    script.eligible(&facts(), now).map_err(|error| error.to_string())
}

const HELPERS: &str = "fn forever(n) { forever(n + 1) }";

#[test]
fn hostile_scripts_end_in_an_error() {
    let hostile = [
        ("endless loop", "loop {}"),
        ("endless recursion", "forever(0)"),
        ("text that doubles", "let s = \"ab\"; loop { s += s; }"),
        ("list that doubles", "let a = [1]; loop { a.push(a); }"),
        ("list that pads itself", "let a = []; loop { a.pad(999, \"x\"); let b = [a, a]; }"),
        ("map that grows by index", "let m = #{}; let i = 0; loop { m[\"k\" + i] = i; i += 1; }"),
        ("map that holds itself", "let m = #{}; let i = 0; loop { m[\"k\" + i] = m; i += 1; }"),
        ("map of maps", "let m = #{a: #{}}; let i = 0; loop { m.a[\"k\" + i] = m; i += 1; }"),
        ("map in a closure", "let m = #{}; let f = |i| { m[\"k\" + i] = m; }; let i = 0; loop { f.call(i); i += 1; }"),
        ("text that replaces itself", "let s = \"aaaaaaaa\"; loop { let t = s; s.replace(\"a\", t); }"),
        (
            "sorting under a slow comparison",
            "let a = []; for i in 0..999 { a.push(i); } loop { a.sort(|x, y| y - x); }",
        ),
        ("a huge range", "for i in 0..9223372036854775807 { let y = i; }"),
        ("a huge power", "let x = 2; loop { x = x ** 3; }"),
        ("sleep", "sleep(60)"),
        ("sleep for a fraction", "sleep(60.0)"),
        ("eval", "eval(\"1\")"),
        ("import", "import \"x\" as y;"),
        ("timestamp", "timestamp()"),
        ("print", "print(record.name)"),
        ("debug", "debug(record.name)"),
        ("this", "this.x = 1"),
        ("reading a file", "open_file(\"/etc/passwd\")"),
        ("throwing a record", "throw record.name"),
        ("a wrong property by index", "record[\"nmae\"] != ()"),
        ("a date beyond the calendar", "now.plus_days(9223372036854775807)"),
    ];
    for (what, body) in hostile {
        let started = Instant::now();
        let error = run_late(body).expect_err(what);
        let took = started.elapsed();
        assert!(took < PATIENCE, "{what} took {took:?}");
        assert!(!error.contains("Secret"), "{what}: {error}");
        assert!(error.contains("hostile.rhai:1"), "{what} has no place: {error}");
    }
}

/// What doubles at every step would fill the memory long before the clock stops it.
#[test]
fn growth_is_stopped_by_size_not_by_the_clock() {
    for body in [
        "let m = #{}; let i = 0; loop { m[\"k\" + i] = m; i += 1; }",
        "let s = \"ab\"; loop { s += s; }",
        "let a = [[1]]; loop { a.push(a); }",
    ] {
        let error = run_late(body).unwrap_err();
        assert!(error.contains("too large"), "{body}: {error}");
    }
}

#[test]
fn decent_scripts_run() {
    assert_eq!(
        run_late("let m = #{}; for i in 0..500 { m[\"k\" + i] = i; } if m.len() != 500 { return false; }"),
        Ok(true)
    );
    assert_eq!(run_late("let a = [3, 1, 2]; a.sort(); if a != [1, 2, 3] { return false; }"), Ok(true));
    assert_eq!(run_late("let f = |x| x + 1; if f.call(1) != 2 { return false; }"), Ok(true));
    assert_eq!(
        run_late("let n = record.name; n.replace(\"Secret\", \"Dear\"); if n != \"Dear Person\" { return false; }"),
        Ok(true)
    );
}

fn render(body: &str, record: BTreeMap<String, Value>) -> Result<nudged::rule::message::RenderedEmail, String> {
    let text = format!("---\nsubject: \"Hello {{{{ record.name }}}}\"\n---\n{body}\n");
    let templates = Templates::compile(&[file("templates/mail.md", &text)])
        .map_err(|findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let facts = Facts { record, ..facts() };
    let null = json!({});
    let context = MessageContext {
        facts: &facts,
        to: None,
        occasion: &null,
        saved: &null,
        sender: &null,
        enriched: None,
        links: None,
    };
    templates.email(&"mail".into(), &context).map_err(|error| error.to_string())
}

#[test]
fn hostile_templates_end_in_an_error() {
    for (what, body) in [
        ("loops in loops", "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"),
        ("including itself", "{% include \"mail.md\" %}"),
        ("a macro that calls itself", "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}"),
        ("an unknown name", "{{ recrod.name }}"),
        ("an unknown field", "{{ record.nmae }}"),
        ("an unknown method", "{{ record.name.explode() }}"),
        ("an unknown function", "{{ open(\"/etc/passwd\") }}"),
        ("a file outside templates/", "{% include \"../catalog.yaml\" %}"),
        ("raw output", "{{ record.name | safe }}"),
        ("a value where a number is needed", "{{ record.name | round }}"),
        (
            "text that multiplies",
            "{% set ns = namespace(s=\"xxxxxxxx\") %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        ),
    ] {
        let started = Instant::now();
        let error = render(body, facts().record).expect_err(what);
        let took = started.elapsed();
        assert!(took < PATIENCE, "{what} took {took:?}");
        assert!(!error.contains("Secret"), "{what}: {error}");
        assert!(error.contains("templates/mail.md"), "{what} has no place: {error}");
    }
}

#[test]
fn record_text_can_inject_neither_html_nor_markdown_nor_headers() {
    let evil = "</p><img src=x onerror=alert(1)>\r\nBcc: all@x.example\n\n# Title\n[a](http://evil.example) {{ record.key }} **b**";
    let record = BTreeMap::from([("name".to_owned(), Value::Text(evil.into()))]);
    let body = "# {{ record.name }}\n\n{{ record.name }}\n\n[{{ record.name }}](https://a.example/{{ record.name }})\n\n<p title={{ record.name }}>x</p>\n\n`{{ record.name }}`";
    let mail = render(body, record).unwrap();
    assert!(
        !mail.subject.contains(['\r', '\n']) && mail.subject.contains("Bcc: all@x.example # Title"),
        "{}",
        mail.subject
    );
    assert!(!mail.html.contains("<img"), "{}", mail.html);
    assert!(!mail.html.contains("href=\"http://evil"), "{}", mail.html);
    assert_eq!(mail.html.matches("<h1>").count(), 1);
    assert!(!mail.html.contains("<strong>"));
    assert!(mail.html.contains("{{ record.key }}") || mail.html.contains("&#123;"), "values are not templates");
}
