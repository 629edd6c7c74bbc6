//! What is fuzzed, as plain functions: `cargo fuzz` drives them by coverage, `examples/run.rs` by mutation on any
//! toolchain. Each panics when something is wrong.

mod base;
mod lex;
pub mod mutate;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nudged::diagnostic::render::{Look, render};
use nudged::diagnostic::{Finding, SourceFile};
use nudged::model::{Key, Value};
use nudged::rule::Score;
use nudged::rule::checked::{CheckedRule, Trigger};
use nudged::rule::compiled::{Facts, PersonFacts, Reach, Subject, Unsaid, Window};
use nudged::rule::generation::Generation;
use nudged::rule::message::{MessageContext, MessageLinks, Regional, Templates};
use nudged::rule::statement::{Dialect, Statement};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Must never be said by an error: it stands for personal data.
const SECRET: &str = "Zacharias";

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// Findings can be shown as text and as a picture: their places lie within their files.
fn shown(findings: &[Finding]) {
    for look in [Look::Plain, Look::Graphical { colour: false, width: 100 }] {
        let text = render(findings, look);
        assert!(findings.is_empty() || !text.is_empty());
    }
}

/// Any text as a rule file beside a good catalog: findings that can be shown, or SQL that SQLite accepts.
pub fn rule_parser(input: &[u8]) {
    let rule = text(input);
    match Generation::build(base::tree(&[("fuzzed.yaml", &rule)]), &base::surroundings(Dialect::Sqlite)) {
        Ok(generation) => {
            shown(&generation.warnings);
            accepted(&generation);
        }
        Err(findings) => {
            assert!(!findings.is_empty());
            shown(&findings);
        }
    }
}

/// Any text as the conditions of a rule that is right: in each dialect SQL whose values are bound, and that SQLite
/// accepts.
pub fn conditions_sql(input: &[u8]) {
    let conditions: String = text(input).lines().map(|line| format!("  {line}\n")).collect();
    let rule = format!("{}where:\n{conditions}", base::RULE);
    for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
        match Generation::build(base::tree(&[("fuzzed.yaml", &rule)]), &base::surroundings(dialect)) {
            Ok(generation) => accepted(&generation),
            Err(findings) => shown(&findings),
        }
    }
}

fn accepted(generation: &Generation) {
    let now: Timestamp = "2026-11-21T10:00:00Z".parse().expect("an instant");
    let window = Window { after: Timestamp::UNIX_EPOCH, until: now, now };
    let subjects = [Subject { key: Key::from("1"), since: Some(now), entered: Some(now) }];
    // A rule that brings SQL of its own answers for it.
    let own = |rule: &CheckedRule| matches!(rule.trigger, Trigger::Query(_));
    for rule in generation.rules.values().filter(|rule| !own(&rule.rule)) {
        let dialect = generation.surroundings.dialect;
        let crossings = rule.crossings(Reach::Crossed(window));
        for statement in crossings.iter().chain([&rule.facts(&subjects, now), &rule.count_records()]) {
            lex::check(dialect, statement);
            if dialect == Dialect::Sqlite {
                prepared(statement);
            }
        }
    }
}

fn prepared(statement: &Statement) {
    base::SQLITE.with(|sqlite| {
        if let Err(error) = sqlite.prepare(&statement.sql) {
            // What is too deep or too much for SQLite is refused at load by its daemon as well.
            let known = ["too many", "too large", "parser stack overflow", "Expression tree"];
            let said = error.to_string();
            assert!(known.iter().any(|known| said.contains(known)), "{said}\n{}", statement.sql);
        }
    });
}

/// Any text as a template, a layout or a partial, in Markdown, HTML and MJML: a finding, an error without a value in it, or
/// a mail without a line break in its head.
pub fn templates(input: &[u8]) {
    let text = text(input);
    const HEAD: &str = "---\nsubject: Hi\n---\n";
    let around = [
        vec![("mail.md", text.clone())],
        vec![("mail.html", text.clone())],
        vec![("mail.mjml", text.clone())],
        vec![("mail.md", format!("{HEAD}# Hi\n{{{{ record.name }}}}\n")), ("layouts/default.html", text.clone())],
        vec![("mail.md", format!("{HEAD}{{% include \"foot\" %}}\n")), ("partials/foot.md", text.clone())],
        vec![
            ("mail.mjml", format!("{HEAD}{{% extends \"base\" %}}{{% block body %}}<mj-text>x</mj-text>{{% endblock %}}")),
            ("layouts/base.mjml", text.clone()),
        ],
        vec![("mail.mjml", format!("{HEAD}{MJML}")), ("partials/foot.mjml", text.clone())],
    ];
    for files in around {
        mailed(&files, &text);
    }
}

const MJML: &str = "<mjml><mj-body><mj-section><mj-column>{% include \"foot\" %}</mj-column></mj-section></mj-body></mjml>";

fn mailed(files: &[(&str, String)], template: &str) {
    let file = |path: &str, text: &str| Arc::new(SourceFile { path: format!("templates/{path}"), text: text.into() });
    let other = file("other.md", "---\nsubject: x\n---\nother\n");
    let files: Vec<_> = files.iter().map(|(path, text)| file(path, text)).chain([other]).collect();
    let templates = match Templates::compile(&files) {
        Ok(templates) => templates,
        Err(findings) => return shown(&findings),
    };
    shown(templates.warnings());
    let facts = facts();
    let person = PersonFacts { first_name: Some(SECRET.into()), ..PersonFacts::default() };
    let (occasion, saved, sender) = (json!({"value": 5, "row": {"a": SECRET}}), json!({}), json!({"name": "Acme"}));
    let regional = Regional::default();
    let link = |what: &str| Some(format!("https://acme.example/{what}"));
    let links = MessageLinks { unsubscribe: link("u"), preferences: link("p"), confirm: link("c"), answer: link("a") };
    let context = MessageContext {
        facts: &facts,
        to: Some(&person),
        occasion: &occasion,
        saved: &saved,
        sender: &sender,
        enriched: None,
        regional: &regional,
        links: Some(&links),
        rows: &[],
        more: 0,
    };
    match templates.email(&"mail".into(), &context) {
        Ok(mail) => {
            for head in [Some(&mail.subject), mail.from.as_ref(), mail.reply_to.as_ref()].into_iter().flatten() {
                assert!(!head.contains(['\r', '\n']), "{head:?}");
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.contains(SECRET) || template.contains(SECRET), "{said}");
        }
    }
    if let Err(error) = templates.line(template, &context) {
        let said = error.to_string();
        assert!(!said.contains(SECRET) || template.contains(SECRET), "{said}");
    }
}

fn facts() -> Facts {
    let record = [
        ("name", Value::Text(SECRET.into())),
        ("total", Value::Decimal("1234.10".parse().expect("a number"))),
        ("renews_on", Value::Date("2026-12-01".parse().expect("a date"))),
        ("seen_at", Value::Instant(Timestamp::UNIX_EPOCH)),
        ("closed", Value::Null),
        ("tags", Value::Json(json!(["a", {"b": SECRET}]))),
    ];
    Facts {
        key: "1".into(),
        conditions: Vec::new(),
        only_at_entry: Vec::new(),
        goal: None,
        goal_ever: None,
        exit_when: Vec::new(),
        cases: BTreeMap::new(),
        score: Score::NotAsked,
        record: record.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        days: std::collections::BTreeMap::new(),
        recipients: BTreeMap::new(),
        zone: TimeZone::UTC,
        unsaid: Unsaid::default(),
    }
}
