use super::*;
use crate::model::Value;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

fn facts() -> Facts {
    let record = [
        ("tier", Value::Text("vip".into())),
        ("total", Value::Decimal("1234.10".parse().unwrap())),
        ("orders", Value::Int(3)),
        ("closed", Value::Null),
        ("seen_at", Value::Instant("2026-08-01T22:30:00Z".parse().unwrap())),
        ("renews_on", Value::Date("2026-12-01".parse().unwrap())),
        ("tags", Value::Json(serde_json::json!(["a", "b"]))),
    ];
    Facts {
        key: "4711".into(),
        conditions: vec![],
        only_at_entry: vec![],
        goal: None,
        goal_ever: None,
        exit_when: vec![],
        cases: BTreeMap::new(),
        score: crate::rule::Score::NotAsked,
        record: record.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        days: BTreeMap::new(),
        recipients: BTreeMap::new(),
        zone: TimeZone::get("Europe/Vienna").unwrap(),
        unsaid: crate::rule::compiled::Unsaid::default(),
    }
}

fn compile(text: &str) -> Result<Script, Vec<String>> {
    let file = Arc::new(SourceFile { path: "scripts/a.rhai".into(), text: text.into() });
    Script::compile(&file, &facts()).map_err(|findings| findings.iter().map(ToString::to_string).collect())
}

fn now() -> Timestamp {
    "2026-11-01T12:00:00Z".parse().unwrap()
}

fn holds(condition: &str) -> Result<bool, String> {
    let script = compile(&format!("fn eligible(record, now) {{ {condition} }}")).map_err(|f| f.join("\n"))?;
    script.eligible(&facts(), now()).map_err(|error| error.to_string())
}

#[test]
fn records_have_exact_amounts_and_real_dates() {
    for condition in [
        "record.total == 1234.1",
        "record.total > 1234.09 && 1234.2 > record.total",
        "record.total * 3 == 3702.3",
        "record.total / record.orders > 411",
        "record.closed == ()",
        "record.tags.contains(\"a\")",
        "now.days_since(record.seen_at) == 91",
        "record.seen_at.days_since(now) == -91",
        "record.seen_at.date == date(\"2026-08-02\")",
        "record.seen_at < \"2026-08-03\" && record.seen_at < now",
        "now.days_until(record.renews_on) == 30",
        "record.renews_on > now && record.renews_on.month == 12 && record.renews_on.weekday == 2",
        "record.renews_on.minus_days(30) == \"2026-11-01\"",
        "record.key == \"4711\"",
    ] {
        assert_eq!(holds(condition), Ok(true), "{condition}");
    }
    assert!(holds("record.renews_on > \"soon\"").unwrap_err().contains("not a date"));
}

#[test]
fn enrich_returns_json() {
    let text = "fn enrich(record, now) { #{ discount: if record.tier == \"vip\" { 20 } else { 10 }, half: record.total / 2, ends: now.plus_days(7), day: record.renews_on } }";
    let script = compile(text).unwrap();
    let extra = script.enrich(&facts(), now()).unwrap().unwrap();
    let expected =
        serde_json::json!({"discount": 20, "half": "617.05", "ends": "2026-11-08T12:00:00Z", "day": "2026-12-01"});
    assert_eq!(extra.as_object().unwrap().len(), 4);
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&extra[name], value, "{name}");
    }
    assert_eq!(script.eligible(&facts(), now()), Ok(true));
}

#[test]
fn typos_are_findings_with_place_and_suggestion_in_every_branch() {
    let text = "fn eligible(record, now) {\n  if record.tier == \"gold\" { record.totl > 5 } else { true }\n}";
    let findings = compile(text).unwrap_err();
    assert_eq!(
        findings,
        ["scripts/a.rhai:2:37: error[script.unknown-field]: `record` has no `totl` (did you mean `total`?)"]
    );
    assert!(
        compile("fn eligibel(record, now) { true }").unwrap_err()[0].contains("did you mean `eligible(record, now)`?")
    );
    assert!(compile("fn eligible(record) { true }").unwrap_err()[0].contains("with 1 parameters"));
    assert!(compile("fn other(x) { true }").unwrap_err()[0].contains("script.no-function"));
    assert!(compile("fn eligible(record, now) { 5 }").unwrap_err()[0].contains("must return true or false"));
    assert!(compile("fn eligible(record, now) { nope }").unwrap_err()[0].contains("nope"));
    assert!(
        compile("fn eligible(record, now) { record.tier.nope() }").unwrap_err()[0]
            .contains("there is no function `nope")
    );
    let syntax = &compile("fn eligible(record, now) {\n  record.tier ==\n}").unwrap_err()[0];
    assert!(syntax.starts_with("scripts/a.rhai:3:1: error[script.syntax]"), "{syntax}");
}

#[test]
fn errors_never_carry_values() {
    let text = "fn eligible(record, now) { if record.orders == 99 { throw record.tier } true }";
    let script = compile(text).unwrap();
    let mut other = facts();
    other.record.insert("orders".into(), Value::Int(99));
    other.record.insert("tier".into(), Value::Text("secret".into()));
    let error = script.eligible(&other, now()).unwrap_err();
    assert_eq!(error.to_string(), "scripts/a.rhai:1: it threw an error");
}

/// Between operations, and in functions that read a whole text at once: there the engine doesn't look at the clock.
#[test]
fn a_call_beyond_its_deadline_is_stopped_and_says_so() {
    for body in ["for i in 0..100 { let x = i; } true", "words(\"a b\").len == 2", "matches(\"a\", \"^a$\")"] {
        let script = compile(&format!("fn eligible(record, now) {{ {body} }}")).unwrap();
        assert_eq!(script.eligible(&facts(), now()), Ok(true), "{body}");
        let late = script.call_within(Duration::ZERO, ELIGIBLE, &facts(), now()).unwrap_err();
        assert!(late.structural, "{body}: whatever the record");
        assert_eq!(script.error(late).to_string(), "scripts/a.rhai:1: it takes too long", "{body}");
        assert_eq!(script.eligible(&facts(), now()), Ok(true), "{body}: the next call has its own time");
    }
}

/// The engine counts the operations of each callback anew.
#[test]
fn callbacks_share_the_operations_and_the_time_of_their_call() {
    let many = "fn many() { let list = []; list.pad(1000, 1); list }";
    for body in [
        "many().all(|x| many().all(|y| many().all(|z| true)))",
        "many().filter(|x| many().filter(|y| many().filter(|z| true).len > 0).len > 0).len > 0",
        "many().map(|x| many().map(|y| many().map(|z| 1).len).len).len > 0",
        "many().reduce(|x, y| many().reduce(|x, y| many().reduce(|x, y| 1)), 1) > 0",
        "let list = many(); list.sort(|x, y| many().find(|z| many().find(|z| z == 2) == 1)); true",
        "let list = many(); list.retain(|x| many().some(|y| many().index_of(|z| z == 2) > 0)); true",
        "let list = many(); list.dedup(|x, y| many().all(|z| many().all(|z| true))); true",
    ] {
        let text = format!("fn eligible(record, now) {{ {body} }} {many}");
        let stopped = &compile(&text).unwrap_err()[0];
        assert!(stopped.contains("it takes too"), "{body}: {stopped}");
        let module = format!("{many} {body};");
        let refusal = &imported("import \"lib/a\" as a; fn eligible(record, now) { true }", &module).unwrap_err()[0];
        assert!(refusal.contains("it takes too"), "as a module's top: {refusal}");
    }
}

fn imported(text: &str, module: &str) -> Result<Script, Vec<String>> {
    let file = |path: &str, text: &str| Arc::new(SourceFile { path: path.into(), text: text.into() });
    let (script, module) = (file("scripts/a.rhai", text), file("scripts/lib/a.rhai", module));
    let library = Library::of(&[Arc::clone(&script), module]);
    let compiled = Script::compile_with(&script, &library, &facts());
    compiled.map_err(|findings| findings.iter().map(ToString::to_string).collect())
}

/// Captured values are shared, and one that shares itself would never be freed.
#[test]
fn a_function_in_place_captures_nothing_and_is_handed_what_it_needs() {
    let knot = compile("fn eligible(record, now) {\n  let x = #{}; let f = || x; x[\"a\"] = f; true\n}").unwrap_err();
    assert!(knot[0].starts_with("scripts/a.rhai:2:27: error[script.syntax]"), "{knot:?}");
    assert!(knot[0].contains("sees its own parameters only"), "{knot:?}");
    for condition in [
        "record.tags.some(|tag| tag == \"b\")",
        "let wanted = \"b\"; let same = |wanted, tag| tag == wanted; record.tags.some(same.curry(wanted))",
        "[3, 1, 2].map(|x| [x].map(|y| y * 2)[0]) == [6, 2, 4]",
    ] {
        assert_eq!(holds(condition), Ok(true), "{condition}");
    }
}

/// A function that is handed itself doubles, and the engine counts nothing of what a function was handed.
#[test]
fn what_curry_hands_to_a_function_is_counted() {
    for body in [
        "let f = |a, b| a; for i in 0..22 { f = f.curry(f); } true",
        "let f = |a, b| a; let l = [f]; for i in 0..22 { l = [l[0].curry(l[0])]; } true",
        "let f = |a, b| a; let m = #{}; for i in 0..22 { m.f = f; f = f.curry(m); } true",
        "let f = |a, b| a; let l = []; l.pad(500, 1); for i in 0..22 { f = f.curry(l); } true",
        "let f = |a, b| a; let t = \"\"; t.pad(200000, 'x'); for i in 0..22 { f = f.curry(t); } true",
    ] {
        let error = holds(body).unwrap_err();
        assert!(error.contains("a value grew too large"), "{body}: {error}");
    }
    let once = "let l = []; l.pad(900, 5); let f = |l, n| l.contains(n); [1, 5].filter(f.curry(l)) == [5]";
    assert_eq!(holds(once), Ok(true));
}

/// `()` in what the engine says of a call may be a missing value, or no value at all.
#[test]
fn the_dry_call_finds_unknown_functions_without_arguments() {
    for body in ["nope()", "timestamp()", "record.tier == nope()"] {
        let unknown = &compile(&format!("fn eligible(record, now) {{ {body} }}")).unwrap_err()[0];
        assert!(unknown.contains("there is no function `") && !unknown.contains("missing"), "{body}: {unknown}");
    }
    assert!(compile("fn eligible(record, now) { nope(record.closed, 1) }").is_ok(), "the record's problem");
}

#[test]
fn the_calls_at_load_of_one_tree_are_bound_together() {
    let file = Arc::new(SourceFile { path: "scripts/a.rhai".into(), text: "fn eligible(record, now) { true }".into() });
    let library = Library::default();
    assert!(Script::compile_with(&file, &library, &facts()).is_ok());
    assert!(library.left.get() < Library::default().left.get(), "a call takes of it");
    library.left.set(Duration::ZERO);
    let refused = Script::compile_with(&file, &library, &facts()).unwrap_err();
    assert!(
        refused[0].to_string().contains("error[script.dry-call]: the scripts before it took too long"),
        "{refused:?}"
    );
}

/// The engine's optimiser held each case against each other, and moved all statements behind a block for each of them.
#[test]
fn the_largest_script_is_read_soon_and_larger_ones_not_at_all() {
    let numbers = |count: usize, behind: &str| (0..count).fold(String::new(), |text, n| format!("{text}{n}{behind}"));
    let (cases, alternatives) = (numbers(4_000, "=>true,"), numbers(10_000, "|"));
    let started = std::time::Instant::now();
    for body in [
        format!("switch record.orders {{{cases} _ => true}}"),
        format!("switch 1 {{{cases} _ => true}}"),
        format!("switch record.orders {{{alternatives}10000=>true, _ => true}}"),
        format!("{} true", "{}".repeat(30_000)),
        format!("{} true", "{1}".repeat(20_000)),
    ] {
        assert_eq!(holds(&body), Ok(true), "{}", &body[..40]);
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let larger =
        &compile(&format!("// {}\nfn eligible(record, now) {{ true }}", "x".repeat(64 * 1024))).unwrap_err()[0];
    assert!(larger.starts_with("scripts/a.rhai:1:1: error[script.too-large]: a script has at most 64 KiB"), "{larger}");
}

#[test]
fn a_field_that_vanishes_later_is_an_error_with_its_line() {
    let script = compile("fn eligible(record, now) {\n  record.tier == \"vip\"\n}").unwrap();
    let mut other = facts();
    other.record.remove("tier");
    other.record.insert("tiers".into(), Value::Int(1));
    let error = script.eligible(&other, now()).unwrap_err();
    assert_eq!(error.to_string(), "scripts/a.rhai:2: `record` has no `tier`; did you mean `tiers`?");
}

#[test]
fn a_missing_value_is_the_records_problem_and_no_finding_at_load() {
    let script = compile("fn eligible(record, now) { now.days_since(record.closed) > 5 }").unwrap();
    let error = script.eligible(&facts(), now()).unwrap_err();
    assert!(error.problem.starts_with("a value is missing"), "{error}");
    assert_eq!(holds("record.closed == () || now.days_since(record.closed) > 5"), Ok(true));
}

#[test]
fn fields_named_tells_what_to_fetch() {
    let named = fields_named("fn eligible(r, now) { is_vip(r) && r.total > 1 } fn is_vip(x) { x.tier == \"a.b\" }");
    assert_eq!(named.into_iter().collect::<Vec<_>>(), ["tier", "total"]);
}
