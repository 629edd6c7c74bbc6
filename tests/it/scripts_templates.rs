//! Hostile and broken scripts and templates: every one ends in an error, quickly, without a value in it.

use crate::support::PATIENCE;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nudged::diagnostic::SourceFile;
use nudged::model::Value;
use nudged::rule::compiled::Facts;
use nudged::rule::message::{MessageContext, Regional, Templates};
use nudged::rule::script::{Library, Script};
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
        goal_ever: None,
        exit_when: vec![],
        cases: BTreeMap::new(),
        score: nudged::rule::Score::NotAsked,
        record: BTreeMap::from([("name".to_owned(), Value::Text("Secret Person".into()))]),
        days: BTreeMap::new(),
        recipients: BTreeMap::new(),
        zone: TimeZone::UTC,
        unsaid: nudged::rule::compiled::Unsaid::default(),
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
        (
            "a map captured by a function",
            "let m = #{}; let f = |i| { m[\"k\" + i] = m; }; let i = 0; loop { f.call(i); i += 1; }",
        ),
        ("text that replaces itself", "let s = \"aaaaaaaa\"; loop { let t = s; s.replace(\"a\", t); }"),
        (
            "sorting under a slow comparison",
            "let a = []; for i in 0..999 { a.push(i); } loop { a.sort(|x, y| y - x); }",
        ),
        ("a huge range", "for i in 0..9223372036854775807 { let y = i; }"),
        ("a huge power", "let x = 2; loop { x = x ** 3; }"),
        ("text of 512 MiB by doubling", "let s = \"x\"; for i in 0..29 { s += s; } s.len"),
        ("text of 512 MiB by padding", "let s = \"x\"; s.pad(536870912, \"y\"); s.len"),
        ("text of 512 MiB in capitals", "let s = \"ß\"; s.pad(260000, \"ß\"); upper(s) + upper(s)"),
        ("a list joined into itself", "let a = [\"xxxxxxxx\"]; loop { a.push(joined(a, \"yyyyyyyy\")); }"),
        ("words without end", "let s = \"a \"; s.pad(200000, \"a \"); words(s)"),
        (
            "a pattern that explodes when it backtracks",
            "let s = \"a\"; s.pad(100000, \"a\"); loop { matches(s, \"^(a+)+$\" + \"b\"); }",
        ),
        ("a pattern that grows", "matches(\"a\", \"(a{1000}){1000}\")"),
        ("a pattern that is none", "matches(\"a\", record.name + \"(\")"),
        ("months without end", "now.plus_months(9223372036854775807)"),
        ("an unknown zone", "now.in_zone(record.name)"),
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

/// Few operations, each of which reads a hundred thousand letters: all that are allowed would take half a minute.
#[test]
fn what_is_slow_within_its_operations_is_stopped_by_the_clock() {
    let body = "let s = \"a\"; s.pad(100000, \"a\"); loop { matches(s, \"^(a+)+$\" + \"b\"); }";
    assert_eq!(run_late(body), Err("scripts/hostile.rhai:1: it takes too long".to_owned()));
}

#[test]
fn decent_scripts_run() {
    assert_eq!(
        run_late("let m = #{}; for i in 0..500 { m[\"k\" + i] = i; } if m.len() != 500 { return false; }"),
        Ok(true)
    );
    assert_eq!(run_late("if fixed(1.5, 9223372036854775807).len > 40 { return false; }"), Ok(true));
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
        regional: &Regional::default(),
        links: None,
        rows: &[],
        more: 0,
    };
    templates.email(&"mail".into(), &context).map_err(|error| error.to_string())
}

#[test]
fn hostile_templates_end_in_an_error() {
    for (what, body) in [
        ("loops in loops", "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"),
        ("including what is no partial", "{% include \"mail.md\" %}"),
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
    assert_eq!(mail.html.matches("<h1").count(), 1);
    assert!(!mail.html.contains("<strong>"));
    assert!(mail.html.contains("{{ record.key }}") || mail.html.contains("&#123;"), "values are not templates");
}

/// The fenced examples of the page that begin with `// what`, without that line.
fn examples(what: &str) -> Vec<String> {
    let text = std::fs::read_to_string("docs/scripts.md").unwrap();
    let blocks = text.split("```rhai\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.filter_map(|block| block.strip_prefix(&format!("// {what}"))).map(str::to_owned).collect()
}

/// The record that the page speaks of.
fn documented() -> Facts {
    let record = [
        ("name", Value::Text("Linden Café".into())),
        ("tier", Value::Text("vip".into())),
        ("comment", Value::Text("I am very disappointed. The support was terrible!".into())),
        ("total", Value::Decimal("1234.10".parse().unwrap())),
        ("last_login", Value::Instant("2026-08-01T22:30:00Z".parse().unwrap())),
        ("renews_on", Value::Date("2026-12-01".parse().unwrap())),
        ("tags", Value::Json(json!(["new", "web"]))),
    ];
    let record = record.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Facts { record, zone: TimeZone::get("Europe/Vienna").unwrap(), ..facts() }
}

#[test]
fn every_example_of_the_reference_is_true() {
    let now: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
    let lines: Vec<String> = examples("true\n").iter().flat_map(|block| block.lines()).map(str::to_owned).collect();
    assert!(lines.len() > 20, "{} lines", lines.len());
    for line in lines {
        let text = format!("fn eligible(record, now) {{ {line} }}");
        let script = Script::compile(&file("scripts/a.rhai", &text), &documented());
        let script = script.unwrap_or_else(|findings| panic!("{line}: {findings:?}"));
        assert_eq!(script.eligible(&documented(), now), Ok(true), "{line}");
    }
}

#[test]
fn the_scripts_of_the_reference_run_with_their_modules() {
    let modules: Vec<_> = examples("module ")
        .iter()
        .map(|block| block.split_once('\n').unwrap())
        .map(|(name, text)| file(&format!("scripts/{name}.rhai"), text))
        .collect();
    assert!(!modules.is_empty());
    let library = Library::of(&[modules, scripts()].concat());
    let now: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
    for script in scripts() {
        let compiled = Script::compile_with(&script, &library, &documented());
        let compiled = compiled.unwrap_or_else(|findings| panic!("{findings:?}"));
        assert_eq!(compiled.eligible(&documented(), now), Ok(true));
        if compiled.has_score() {
            assert_eq!(compiled.score(&documented(), now), Ok("0.6".parse().unwrap()));
            let extra = compiled.enrich(&documented(), now).unwrap().unwrap();
            assert_eq!(extra, json!({"discount": 20, "ends": "2026-11-15"}));
        }
    }
}

fn scripts() -> Vec<Arc<SourceFile>> {
    let texts = examples("script\n").into_iter().enumerate();
    texts.map(|(number, text)| file(&format!("scripts/{number}.rhai"), &text)).collect()
}

/// What a script with these modules comes to at load, or `None`.
fn refused(script: &str, modules: &[(&str, &str)]) -> Option<String> {
    let modules: Vec<_> = modules.iter().map(|(name, text)| file(&format!("scripts/{name}.rhai"), text)).collect();
    let script = file("scripts/main.rhai", script);
    let library = Library::of(&[modules, vec![Arc::clone(&script)]].concat());
    let findings = Script::compile_with(&script, &library, &facts()).err()?;
    Some(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn modules_come_from_the_tree_alone() {
    let main = "import \"lib/a\" as a;\nfn eligible(record, now) { a::yes(record) }";
    assert_eq!(refused(main, &[("lib/a", "fn yes(r) { r.name != \"\" }")]), None);
    let through = [("lib/a", "import \"lib/b\" as b;\nfn yes(r) { b::yes(r) }"), ("lib/b", "fn yes(r) { true }")];
    assert_eq!(refused(main, &through), None);

    let gone = refused(main, &[("lib/ab", "fn yes(r) { true }")]).unwrap();
    assert_eq!(
        gone,
        "scripts/main.rhai:1:8: error[script.unknown-module]: there is no scripts/lib/a.rhai (did you mean `lib/ab`?)"
    );
    let circle = [("lib/a", "import \"lib/b\" as b;\nfn yes(r) { true }"), ("lib/b", "import \"lib/a\" as a;")];
    let circle = refused(main, &circle).unwrap();
    assert!(circle.contains("scripts/lib/a.rhai:1:8: error[script.import-cycle]"), "{circle}");
    assert!(circle.contains("lib/b → lib/a → lib/b"), "{circle}");
    let broken = refused(main, &[("lib/a", "fn yes(r) {\n  r ==== 1\n}")]).unwrap();
    assert!(broken.contains("scripts/lib/a.rhai:2:5: error[script.syntax]"), "{broken}");
    for calculated in [
        "fn eligible(record, now) { import \"lib/\" + record.name as x; true }",
        "fn eligible(record, now) { import record.name as x; true }",
        "fn eligible(record, now) { import `lib/a` as x; true }",
    ] {
        assert!(refused(calculated, &[("lib/a", "")]).unwrap().contains("script.import"), "{calculated}");
    }
    // Neither the disk nor the tree outside of scripts/ can be reached.
    for path in ["/etc/hostname", "../catalog", "Cargo", "lib/a.rhai", ""] {
        let text = format!("import \"{path}\" as x;\nfn eligible(record, now) {{ true }}");
        assert!(refused(&text, &[("lib/a", "")]).unwrap().contains("script.unknown-module"), "{path}");
    }
}

/// Two imports of each module of the level below, `levels` times.
fn diamonds(levels: usize) -> Vec<(String, String)> {
    let module = |level: usize| {
        let next = level + 1;
        let text = format!("import \"m{next}\" as a; import \"m{next}\" as b; fn yes() {{ a::yes() && b::yes() }}");
        (format!("m{level}"), if next == levels { "fn yes() { true }".to_owned() } else { text })
    };
    (0..levels).map(module).collect()
}

#[test]
fn modules_that_many_import_are_read_once_and_counted_once() {
    let main = "import \"m0\" as m;\nfn eligible(record, now) { m::yes() }";
    let refused_with = |levels| {
        let modules = diamonds(levels);
        let modules: Vec<_> = modules.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        refused(main, &modules)
    };
    assert_eq!(refused_with(8), None);
    let started = Instant::now();
    // Calling through sixteen levels of two would take too many operations, reading them doesn't.
    let through = refused_with(16).unwrap();
    assert!(through.contains("it takes too"), "{through}");
    for levels in [17, 40, 2_000] {
        let many = refused_with(levels).unwrap();
        assert!(many.starts_with("scripts/main.rhai:1:8: error[script.import]: more than 16 modules"), "{many}");
    }
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn what_a_module_imports_is_its_own() {
    let modules = [("lib/a", "import \"lib/b\" as b;\nfn yes(r) { b::yes(r) }"), ("lib/b", "fn yes(r) { true }")];
    let through = "import \"lib/a\" as a;\nfn eligible(record, now) { a::b::yes(record) }";
    assert!(refused(through, &modules).unwrap().contains("there is no function"));
}

#[test]
fn a_module_that_fails_is_named_with_its_line() {
    let module = file("scripts/lib/a.rhai", "fn of(name) {\n  if name == \"text\" { 1 } else { throw name }\n}");
    let text = "import \"lib/a\" as a;\nfn score(record, now) { a::of(record.name) }";
    let script = file("scripts/main.rhai", text);
    let library = Library::of(&[module, Arc::clone(&script)]);
    let record = BTreeMap::from([("name".to_owned(), Value::Text("text".into()))]);
    let script = Script::compile_with(&script, &library, &Facts { record, ..facts() }).unwrap();
    let error = script.score(&facts(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(error.to_string(), "scripts/lib/a.rhai:2: it threw an error");
}

#[test]
fn hostile_modules_end_in_an_error_at_load() {
    let main = "import \"lib/a\" as a;\nfn eligible(record, now) { a::yes() }";
    for (what, module) in [
        ("endless top", "loop {}"),
        ("growing top", "let m = #{}; let i = 0; loop { m[\"k\" + i] = m; i += 1; }"),
        ("endless function", "fn yes() { loop {} }"),
        ("eval at the top", "eval(\"1\");"),
        ("an export", "export const X = 1;"),
        ("importing in a loop", "fn yes() { loop { import \"lib/b\" as b; } }"),
        ("deep recursion", "fn yes() { yes() }"),
    ] {
        let started = Instant::now();
        let refusal = refused(main, &[("lib/a", module), ("lib/b", "fn x() { 1 }")]);
        assert!(refusal.is_some(), "{what}");
        assert!(started.elapsed() < PATIENCE, "{what}");
    }
}
