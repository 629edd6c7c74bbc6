use super::*;
use crate::model::Value as Cell;
use jiff::tz::TimeZone;
use serde_json::json;

fn file(path: &str, text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile { path: path.into(), text: text.into() })
}

fn facts(fields: &[(&str, Cell)]) -> Facts {
    Facts {
        key: "4711".into(),
        conditions: vec![],
        only_at_entry: vec![],
        goal: None,
        exit_when: vec![],
        cases: BTreeMap::new(),
        record: fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        date: None,
        recipients: BTreeMap::new(),
        zone: TimeZone::get("Europe/Vienna").unwrap(),
    }
}

fn render(templates: &Templates, facts: &Facts) -> Result<RenderedEmail, TemplateError> {
    let to = PersonFacts { first_name: Some("Ada".into()), email: Some("ada@x.example".into()), ..Default::default() };
    let (occasion, saved, sender) =
        (json!({"value": "2026-12-01"}), json!({}), json!({"name": "Acme", "email": "hi@acme.example"}));
    let context = MessageContext {
        facts,
        to: Some(&to),
        occasion: &occasion,
        saved: &saved,
        sender: &sender,
        enriched: None,
        links: None,
    };
    templates.email(&"mail".into(), &context)
}

fn findings(text: &str) -> Vec<String> {
    Templates::compile(&[file("templates/mail.md", text)]).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_template_becomes_subject_html_and_text() {
    let templates = Templates::compile(&[
        file("templates/mail.md", "---\nsubject: \"{{ record.name }}, we miss you\"\nfrom: \"{{ sender.name }} <{{ sender.email }}>\"\n---\n# Hi {{ to.first_name }}\n\nUntil **{{ occasion.value | date }}**: {{ record.total | money('EUR') }}.\n\n{% include \"_foot.md\" %}\n"),
        file("templates/_foot.md", "[Our shop](https://acme.example/?c={{ record.key }})\n"),
    ]).unwrap();
    let facts = facts(&[("name", Cell::Text("Babbage\r\nBcc: x & Co".into())), ("total", Cell::Text("1234.5".into()))]);
    let mail = render(&templates, &facts).unwrap();
    assert_eq!(mail.subject, "Babbage Bcc: x & Co, we miss you");
    assert_eq!(mail.from.as_deref(), Some("Acme <hi@acme.example>"));
    assert!(mail.html.contains("<h1>Hi Ada</h1>"), "{}", mail.html);
    assert!(mail.html.contains("<title>Babbage&#32;Bcc:&#32;x&#32;&#38;&#32;Co,&#32;we"), "{}", mail.html);
    assert!(mail.html.contains("<strong>1 December 2026</strong>: €1,234.50."), "{}", mail.html);
    assert!(mail.html.contains("href=\"https://acme.example/?c=4711\""), "{}", mail.html);
    assert!(mail.text.starts_with("# Hi Ada\n\nUntil **1 December 2026**: €1,234.50."), "{}", mail.text);
    let mut uses = templates.uses(&"mail".into());
    uses.sort();
    assert_eq!(
        uses,
        [
            "occasion.value",
            "preferences_url",
            "record.key",
            "record.name",
            "record.total",
            "sender.email",
            "sender.name",
            "sender.postal_address",
            "to.first_name",
            "to.locale",
            "unsubscribe_url"
        ]
    );
}

#[test]
fn errors_name_the_file_the_line_and_the_variable_but_never_a_value() {
    let text = "---\nsubject: hi\n---\n\n{{ record.name }} {{ record.nmae }}\n";
    let templates = Templates::compile(&[file("templates/mail.md", text)]).unwrap();
    let error = render(&templates, &facts(&[("name", Cell::Text("Secret Person".into()))])).unwrap_err();
    assert_eq!(error.to_string(), "templates/mail.md:5: `record.nmae` is not known");
    let error = render(&templates, &facts(&[("name", Cell::Null)])).unwrap_err();
    assert_eq!((error.line, error.problem.starts_with("`record.name` is empty")), (5, true), "{error}");
    let text = "---\nsubject: \"{{ record.total | money }}\"\n---\n\n";
    let templates = Templates::compile(&[file("templates/mail.md", text)]).unwrap();
    let error = render(&templates, &facts(&[("total", Cell::Text("Secret".into()))])).unwrap_err();
    assert!(error.to_string().starts_with("templates/mail.md:2: ") && !error.to_string().contains("Secret"), "{error}");
}

#[test]
fn a_bad_file_is_a_finding_with_its_place() {
    assert!(findings("hello")[0].starts_with("templates/mail.md:1:1: error[template.head]"));
    let unknown = &findings("---\nsubjct: a\n---\n")[0];
    assert!(unknown.starts_with("templates/mail.md:2:1: error[template.unknown-key]"), "{unknown}");
    assert!(unknown.contains("did you mean `subject`?"), "{unknown}");
    let missing = &findings("---\nfrom: a\n---\n")[0];
    assert!(missing.contains("needs a `subject`"), "{missing}");
    let unquoted = &findings("---\nsubject: {{ record.name }} and more\n---\n")[0];
    assert!(unquoted.contains("double quotes"), "{unquoted}");
    let cut = &findings("---\nsubject: Order #5\n---\n")[0];
    assert!(cut.starts_with("templates/mail.md:2:16: error[template.comment-in-text]"), "{cut}");
    let syntax = &findings("---\nsubject: a\n---\n\n{% if x %}\n")[0];
    assert!(syntax.starts_with("templates/mail.md:") && syntax.contains("template.syntax"), "{syntax}");
    let filter = &findings("---\nsubject: a\n---\n{{ record.a | uper }}\n")[0];
    assert!(
        filter.starts_with("templates/mail.md:4:15: error[template.unknown-filter]") && filter.contains("`upper`"),
        "{filter}"
    );
    let include = &findings("---\nsubject: a\n---\n{% include \"foot.md\" %}\n")[0];
    assert!(include.contains("template.unknown-include"), "{include}");
}

#[test]
fn hostile_templates_end_in_an_error() {
    let compile = |body: &str| {
        Templates::compile(&[file("templates/mail.md", &format!("---\nsubject: a\n---\n{body}\n"))]).unwrap()
    };
    let endless = compile("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}");
    assert!(render(&endless, &facts(&[])).unwrap_err().problem.contains("runs too long"));
    let circle = compile("{% include \"mail.md\" %}");
    assert!(render(&circle, &facts(&[])).is_err());
    assert!(findings("---\nsubject: a\n---\n{{ record.name | safe }}\n")[0].contains("unknown-filter"));
}

#[test]
fn lines_in_rules_print_values_as_they_are() {
    let templates = Templates::default();
    let facts = facts(&[("name", Cell::Text("<A> & *B*".into()))]);
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
    assert_eq!(templates.line("Call {{ record.name }}", &context).unwrap(), "Call <A> & *B*");
    let error = templates.line("Call {{ record.nmae }}", &context).unwrap_err();
    assert_eq!(error.to_string(), "inline template:1: `record.nmae` is not known");
    assert_eq!(templates.line_uses("{{ record.a }} {{ to.b }}").map(|uses| uses.len()), Ok(2));
    assert!(templates.line_uses("{{ record.a ").is_err());
}
