use super::*;
use crate::model::Value as Cell;
use jiff::tz::TimeZone;
use serde_json::json;

pub(super) fn file(path: &str, text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile { path: path.into(), text: text.into() })
}

pub(super) fn facts(fields: &[(&str, Cell)]) -> Facts {
    Facts {
        key: "4711".into(),
        conditions: vec![],
        only_at_entry: vec![],
        goal: None,
        goal_ever: None,
        exit_when: vec![],
        cases: BTreeMap::new(),
        score: crate::rule::Score::NotAsked,
        record: fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        days: BTreeMap::new(),
        recipients: BTreeMap::new(),
        zone: TimeZone::get("Europe/Vienna").unwrap(),
        unsaid: crate::rule::compiled::Unsaid::default(),
    }
}

fn render(templates: &Templates, facts: &Facts) -> Result<RenderedEmail, TemplateError> {
    let to = PersonFacts { first_name: Some("Ada".into()), email: Some("ada@x.example".into()), ..Default::default() };
    let currencies = BTreeMap::from([("total".to_owned(), "EUR".to_owned())]);
    let of_row = BTreeMap::from([("amount".to_owned(), "CHF".to_owned())]);
    let regional = Regional { currencies, of_row, ..Regional::default() };
    let occasion = json!({"value": "2026-12-01", "row": {"amount": 1200.5, "state": "open", "lines": [{"of": 3}]}});
    let (saved, sender) = (json!({}), json!({"name": "Acme", "email": "hi@acme.example"}));
    let context = MessageContext {
        facts,
        to: Some(&to),
        occasion: &occasion,
        saved: &saved,
        sender: &sender,
        enriched: None,
        regional: &regional,
        links: None,
        rows: &[],
        more: 0,
    };
    templates.email(&"mail".into(), &context)
}

pub(super) fn findings(text: &str) -> Vec<String> {
    Templates::compile(&[file("templates/mail.md", text)]).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_row_of_an_occasion_has_the_currencies_of_its_entity() {
    let text = "---\nsubject: Hi\n---\n{{ occasion.row.amount | money }} {{ occasion.row.amount }} {{ occasion.row.state }} \
                {{ occasion.row.lines[0].of }} {{ occasion.value }} {{ rows[0].occasion.row.amount | money }}\n";
    let templates = Templates::compile(&[file("templates/mail.md", text)]).unwrap();
    let mail = render(&templates, &facts(&[])).unwrap();
    let text = mail.text.replace('\u{a0}', " ");
    assert!(text.contains("CHF 1,200.50 1200.5 open 3 2026-12-01 CHF 1,200.50"), "{text}");
}

#[test]
fn a_template_becomes_subject_html_and_text() {
    let templates = Templates::compile(&[
        file("templates/mail.md", "---\nsubject: \"{{ record.name }}, we miss you\"\nfrom: \"{{ sender.name }} <{{ sender.email }}>\"\n---\n# Hi {{ to.first_name }}\n\nUntil **{{ occasion.value | date }}**: {{ record.total | money }}.\n\n{% include \"foot\" %}\n"),
        file("templates/partials/foot.md", "[Our shop](https://acme.example/?c={{ record.key }})\n"),
    ]).unwrap();
    let facts = facts(&[
        ("name", Cell::Text("Babbage\r\nBcc: x & Co".into())),
        ("total", Cell::Decimal("1234.5".parse().unwrap())),
    ]);
    let mail = render(&templates, &facts).unwrap();
    assert_eq!(mail.subject, "Babbage Bcc: x & Co, we miss you");
    assert_eq!(mail.from.as_deref(), Some("Acme <hi@acme.example>"));
    assert!(mail.html.contains("margin: 0 0 16px;\">Hi Ada</h1>"), "{}", mail.html);
    assert!(mail.html.contains("<title>Babbage Bcc: x &#38; Co, we"), "{}", mail.html);
    assert!(mail.html.contains("<strong>December 1, 2026</strong>: €1,234.50."), "{}", mail.html);
    assert!(mail.html.contains("href=\"https://acme.example/?c=4711\""), "{}", mail.html);
    assert!(mail.text.starts_with("# Hi Ada\n\nUntil **December 1, 2026**: €1,234.50."), "{}", mail.text);
    let mut uses: Vec<_> = templates.uses(&"mail".into()).iter().map(|used| used.path.as_str()).collect();
    uses.sort_unstable();
    uses.dedup();
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
    let text = "---\nsubject: hi\n---\nYour {{ occasion.row.data.plan }}\n";
    let error = render(&compiled(&[("mail.md", text)]).unwrap(), &facts(&[])).unwrap_err();
    assert_eq!(error.to_string(), "templates/mail.md:4: `occasion.row.data.plan` is not known");
    let text = "---\nsubject: \"{{ record.total | money }}\"\n---\n\n";
    let templates = Templates::compile(&[file("templates/mail.md", text)]).unwrap();
    let error = render(&templates, &facts(&[("total", Cell::Text("Secret".into()))])).unwrap_err();
    assert!(error.to_string().starts_with("templates/mail.md:2: ") && !error.to_string().contains("Secret"), "{error}");
}

#[test]
fn a_bad_file_is_a_finding_with_its_place() {
    assert!(findings("hello")[0].starts_with("templates/mail.md:1:1: error[template.head]"));
    let quoted = &findings("---\nsubject: \"He said \"hello\"\"\n---\n")[0];
    assert!(quoted.contains("a double quote within the text ends it: write `\\\"`"), "{quoted}");
    let open = &findings("---\nsubject: Hello: {{ record.name }}: {{ a }}\n---\n")[0];
    assert!(open.contains("put the text into double quotes"), "{open}");
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
    for unsafely in ["{{ record.name | safe }}", "{% filter safe %}a{% endfilter %}", "{% set a | safe %}a{% endset %}"]
    {
        assert!(findings(&format!("---\nsubject: a\n---\n{unsafely}\n"))[0].contains("unknown-filter"), "{unsafely}");
    }
    for off in ["false", "\"none\"", "\"html\"", "true"] {
        let told = &findings(&format!("---\nsubject: a\n---\n\n{{%- autoescape {off} %}}a{{% endautoescape %}}\n"))[0];
        assert!(told.starts_with("templates/mail.md:5:1: error[template.syntax]: `autoescape`"), "{told}");
    }
    let told = &findings("---\nsubject: a\n---\n{{ debug() }}\n{{ record.name | pprint }}\n")[0];
    assert!(told.contains("unknown-filter"), "{told}");
    let error = render(&compile("{{ debug() }}"), &facts(&[])).unwrap_err();
    assert!(error.to_string().contains("debug is unknown"), "{error}");
}

/// Whatever way a value goes through a template, it is text where it comes out.
#[test]
fn a_value_stays_text_through_captures_macros_and_filters() {
    let name = Cell::Text("<b>A</b> *x* & \"c\"".into());
    for body in [
        "{% set a %}<i>{{ record.name }}</i>{% endset %}{{ a }}",
        "{% set a %}<i>{{ record.name }}</i>{% endset %}{{ [a, record.name] | join(\" \") }}",
        "{% set a %}<i>x</i>{% endset %}{{ [record.name, record.name] | join(a) }}",
        "{% set a %}<i>x</i>{% endset %}{{ [a, 1] | join(record.name) }}",
        "{% macro a(b) %}<i>{{ b }}{{ caller() }}</i>{% endmacro %}{% call a(record.name) %}{{ record.name }}{% endcall %}",
        "{% macro a(b) %}<i>{{ b }}</i>{% endmacro %}{{ a(record.name) | upper | trim }}",
        "<i></i>{% filter upper %}{{ record.name }}{% endfilter %}",
        "<i></i>{% for a in [record.name] recursive %}{{ a }}{% if loop.depth < 2 %}{{ loop([a]) }}{% endif %}{% endfor %}",
        "<i></i>{{ [record.name] }}{{ {\"a\": record.name} }}{{ record.name ~ record.name }}{{ record.name + \"\" }}",
        "<i></i>{% set a %}{{ record.name }}{% endset %}{{ a | split | join }}{{ a | list | join }}{{ a | reverse }}{{ a[:9] }}",
        "<i></i>{{ [record.name] | map(\"upper\") | first }}{{ record.name | string }}{{ record.name | replace(\"A\", \"<b>\") }}",
    ] {
        for path in ["mail.md", "mail.html"] {
            let templates = compiled(&[(path, &format!("---\nsubject: a\n---\n{body}\n"))]).unwrap();
            let mail =
                render(&templates, &facts(&[("name", name.clone())])).unwrap_or_else(|error| panic!("{body}: {error}"));
            let html = mail.html.to_ascii_lowercase();
            assert!(!html.contains("<b>") && !html.contains("<em>") && html.contains("<i>"), "{body}: {html}");
        }
    }
}

/// What a template makes is bounded, by whatever way it is made, and the error says which file it is.
#[test]
fn what_a_template_makes_is_bounded() {
    let long = "x".repeat(10_000);
    let names = |name: &str, value: &str, times: usize| -> String {
        (0..times).fold(String::new(), |text, index| format!("{text}{{% set {name}{index} = {value} %}}\n"))
    };
    for (body, told) in [
        ("{% for i in range(9999) %}".to_owned() + long.as_str() + "{% endfor %}", "renders to more than 1 MiB"),
        (
            "{% set a %}{% for i in range(9999) %}".to_owned() + long.as_str() + "{% endfor %}{% endset %}",
            "runs too long",
        ),
        (
            "{% set a = \"xxxxxxxxxx\" %}".to_owned() + "{% set a = a ~ a ~ a ~ a ~ a ~ a %}".repeat(12).as_str(),
            "1 MiB",
        ),
        (
            "{% set a = \"xxxxxxxxxx\" %}".to_owned() + "{% set a = a + a + a + a + a + a %}".repeat(12).as_str(),
            "1 MiB",
        ),
        (
            "{% set a = \"xxxxxxxxxx\" %}".to_owned() + "{% set a = [a, a, a, a, a, a, a] %}".repeat(12).as_str(),
            "1 MiB",
        ),
        ("{% set a = [1] %}".to_owned() + "{% set a = [a] %}\n".repeat(5_000).as_str(), "32 deep"),
        ("{% set a = {} %}".to_owned() + "{% set a = {\"a\": a, \"b\": a, \"c\": a} %}".repeat(30).as_str(), "1 MiB"),
        (
            "{% set a %}x{% endset %}".to_owned() + "{% set a %}{{ a }}{{ a }}{{ a }}{% endset %}".repeat(30).as_str(),
            "MiB",
        ),
        (
            "{% macro f(a) %}{{ a }}{{ a }}{{ a }}{{ a }}{% endmacro %}{{ ".to_owned()
                + "f(".repeat(20).as_str()
                + "9"
                + ")".repeat(20).as_str()
                + " }}",
            "MiB",
        ),
        (
            format!("{{% set a = \"{long}\" %}}{}", names("b", "a ~ a ~ a ~ a ~ a ~ a ~ a ~ a", 2_000)),
            "multiplies itself",
        ),
        (format!("{{% set a = \"{long}\" %}}{}", names("b", "a | upper", 4_000)), "multiplies itself"),
        (names("a", "range(9999) | list", 4_000), "multiplies itself"),
        (
            format!("{{% set a = [\"{long}\", range(9999) | list] %}}{{% for i in range(9999) %}}")
                + "{% if [a, a, a, a, a, a, a, a] ~ 1 == [a, a, a, a, a, a, a, a] %}{% endif %}{% endfor %}",
            "runs too long",
        ),
        ("{{ \"x\" * 99999999 }}".to_owned(), "`\"x\"` is no number, and `*`"),
        ("{{ (99999999 * [1]) ~ \"\" }}".to_owned(), "`[1]` is no number"),
        (names("a", "[1] * 99999999", 200), "`[1]` is no number"),
        ("{{ (50000000 * 7|string)|length }}".to_owned(), "`7|string` is no number"),
        (format!("{{% if [{}] %}}V{{% endif %}}", ["50000000*7|string"; 30].join(", ")), "`7|string` is no number"),
        ("{{ range(9999) | join(range(9999) | join(\"xxxxxxxxxx\")) }}".to_owned(), "`join` would make"),
        (format!("{{{{ \"{long}\" | replace(\"x\", \"{long}\") }}}}"), "`replace` would make"),
        (
            format!("{{% set a = \"{long}\" %}}{{{{ range(9999) | map(\"replace\", \"1\", a) | list | length }}}}"),
            "multiplies itself",
        ),
        (
            format!("{{% with a = \"{long}\" %}}{}", "{% with a = a ~ a ~ a ~ a ~ a ~ a %}".repeat(10))
                + "{% endwith %}".repeat(11).as_str(),
            "MiB",
        ),
        (
            "{% for a in [range(9999) | list ~ range(9999)] %}".to_owned()
                + "{% for a in [a ~ a ~ a ~ a ~ a] %}".repeat(8).as_str()
                + "{% endfor %}".repeat(9).as_str(),
            "MiB",
        ),
        (
            "{{ range(9999) | batch(2) }}{{ 1 | indent(99) }}{{ \"%999999999d\" | format(1) }}".to_owned(),
            "unknown-filter",
        ),
    ] {
        let started = std::time::Instant::now();
        let text = format!("---\nsubject: a\n---\n{body}\n");
        let said = match compiled(&[("mail.md", &text)]) {
            Ok(templates) => render(&templates, &facts(&[])).map_or_else(|error| error.to_string(), |_| String::new()),
            Err(findings) => findings.join("\n"),
        };
        let (what, took) = (&body[..body.len().min(60)], started.elapsed());
        assert!(said.contains(told) && (told.is_empty() || said.starts_with("templates/mail.md:")), "{what}: {said}");
        assert!(took.as_secs() < 20, "{what} took {took:?}");
    }
    let grown = "{% set a = \"xxxxxxxxxx\" %}".to_owned() + "{% set a = a ~ a ~ a ~ a ~ a ~ a %}".repeat(12).as_str();
    let error = line(&(grown + "{{ a }}"), &facts(&[])).unwrap_err();
    assert!(error.to_string().starts_with("inline template:1: a value that it makes has more than 1 MiB"), "{error}");
}

#[test]
fn numbers_are_multiplied_and_texts_are_put_together() {
    let facts = facts(&[("name", Cell::Text("Ada".into())), ("n", Cell::Int(21))]);
    for (body, shown) in [
        ("{{ record.n*2 }} {{ 2 * record.n * 1.5 }} {{ 2 ** 3 * 2 }} {{ -2 * -(1 + 2) }}", "42 63.0 16 6"),
        ("{% for i in range(2 * 2) %}{{ i * i }}{% endfor %}", "0149"),
        ("{{ 2 * record.name|length }} {{ record.none|default(3) * 2 * record.name|length - 1 }}", "6 17"),
        ("{{ 2 * \"7\"|int }} {{ 2 * [3, 4]|first if 2 * 1 == 2 else 0 }} {{ -2 ** 2 * 3 }}", "14 6 12"),
        (
            "{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[record.name, 3 * 3]) }}{{ f(**{\"a\": 1, \"b\": 2}) }}",
            "Ada912",
        ),
        (
            "{% set a = record.name ~ \"!\" -%} {{ a }}{% if a is defined and a == \"Ada!\" %}{{ a | length }}{% endif %}",
            "Ada!4",
        ),
        (
            "{{ [1, record.name] | join(\", \") }}{{ [{\"a\": 1}, {\"a\": 2}] | join(\"-\", attribute=\"a\") }}",
            "1, Ada1-2",
        ),
        (
            "{{ [3, 1, 2] | sort | join }}{{ [3, 1, 1] | unique | list | length }}{{ [1, 2] | map(\"string\") | join }}",
            "123212",
        ),
        ("{{ [{\"a\": 2}, {\"a\": 1}] | sort(attribute=\"a\") | map(attribute=\"a\") | join(d=\"+\") }}", "1+2"),
    ] {
        assert_eq!(line(body, &facts).as_deref(), Ok(shown), "{body}");
    }
}

pub(super) fn line(source: &str, facts: &Facts) -> Result<String, TemplateError> {
    let null = json!({});
    let context = MessageContext {
        facts,
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
    Templates::default().line(source, &context)
}

#[test]
fn lines_in_rules_print_values_as_they_are() {
    let facts = facts(&[("name", Cell::Text("<A> & *B*".into()))]);
    assert_eq!(line("Call {{ record.name }}", &facts).unwrap(), "Call <A> & *B*");
    let error = line("Call {{ record.nmae }}", &facts).unwrap_err();
    assert_eq!(error.to_string(), "inline template:1: `record.nmae` is not known");
    let templates = Templates::default();
    assert_eq!(templates.line_uses("{{ record.a }} {{ to.b }}").map(|uses| uses.len()), Ok(2));
    assert!(templates.line_uses("{{ record.a ").is_err());
    let error = templates.line_uses("\n{% autoescape false %}{% endautoescape %}").unwrap_err();
    assert!(error.to_string().starts_with("inline template:2: `autoescape`"), "{error}");
}

pub(super) fn compiled(files: &[(&str, &str)]) -> Result<Templates, Vec<String>> {
    let files: Vec<_> = files.iter().map(|(path, text)| file(&format!("templates/{path}"), text)).collect();
    Templates::compile(&files).map_err(|findings| findings.iter().map(ToString::to_string).collect())
}

const MJML: &str = "---\nsubject: \"Hi {{ to.first_name }}\"\npreheader: \"For {{ record.name }}\"\n---\n<mjml>\n  <mj-body>\n    \
    <mj-section>\n      <mj-column>\n        <mj-text>Hello {{ record.name }}</mj-text>\n        \
    {% if record.link %}<mj-button href=\"{{ record.link }}\">Go</mj-button>{% endif %}\n      </mj-column>\n    \
    </mj-section>\n  </mj-body>\n</mjml>\n";

#[test]
fn mjml_becomes_html_and_text() {
    let templates = compiled(&[("mail.mjml", MJML)]).unwrap();
    assert!(templates.warnings().is_empty(), "{:?}", templates.warnings());
    let facts =
        facts(&[("name", Cell::Text("A & <b>B</b>".into())), ("link", Cell::Text("https://a.example/?x".into()))]);
    let mail = render(&templates, &facts).unwrap();
    assert!(mail.html.starts_with("<!doctype html>") && mail.html.contains("<table"), "{}", mail.html);
    assert!(mail.html.contains("A &#38; &#60;b&#62;B"), "{}", mail.html);
    assert!(mail.html.contains("href=\"https://a.example/?x\""), "{}", mail.html);
    assert!(mail.html.contains(">For A &amp; &lt;b&gt;B&lt;/b&gt;&#847;"), "{}", mail.html);
    assert!(!mail.html.contains("fonts.googleapis.com"), "{}", mail.html);
    assert!(mail.text.starts_with("Hello A & <b>B</b>") && mail.text.contains("https://a.example/?x"), "{}", mail.text);
    assert!(!mail.text.contains("For A"), "{}", mail.text);
}

#[test]
fn a_value_in_a_style_may_be_any_colour() {
    let text = "---\nsubject: Hi\n---\n<style>.b { background: {{ record.name }} }</style>\n\
                <p class=\"b\" style=\"color: {{ record.name }}\">x</p>\n";
    let templates = compiled(&[("mail.html", text)]).unwrap();
    for colour in ["rgb(10, 20, 30)", "rgba(10, 20, 30, 50%)", "hsl(120.5,50%,50%)", "#fff"] {
        let mail = render(&templates, &facts(&[("name", Cell::Text(colour.into()))])).unwrap();
        assert!(mail.html.contains(&format!("color: {colour}")), "{}", mail.html);
        assert!(mail.html.contains(&format!("background: {colour}")), "{}", mail.html);
    }
}

#[test]
fn html_extends_layouts_and_takes_partials_and_a_text_part() {
    let templates = compiled(&[
        ("mail.html", "---\nsubject: Hi\n---\n{% extends \"base\" %}\n{% block content %}<p class=\"a\">{{ record.name }}</p>{% include \"foot\" %}{% endblock %}\n"),
        ("mail.txt", "Dear {{ record.name }},\n\n- {{ record.total | money }}\n{% include \"foot\" %}\n"),
        ("layouts/base.html", "<html lang=\"{{ lang }}\"><head><title>{{ subject }}</title><style>.a { color: red }</style></head><body>{% block content %}{% endblock %}</body></html>"),
        ("partials/foot.html", "<hr>{{ sender.name }}"),
        ("partials/foot.txt", "-- {{ sender.name }}"),
    ])
    .unwrap();
    let facts = facts(&[("name", Cell::Text("x\n- <i>y</i>".into())), ("total", Cell::Decimal("5".parse().unwrap()))]);
    let mail = render(&templates, &facts).unwrap();
    assert!(mail.html.contains("style=\"color: red;\">x - &#60;i&#62;y"), "{}", mail.html);
    assert!(mail.html.contains("<html lang=\"en\">") && mail.html.contains("<hr>Acme"), "{}", mail.html);
    assert_eq!(mail.text, "Dear x - <i>y</i>,\n\n- €5.00\n-- Acme");
    let paths: Vec<_> = templates.files(&"mail".into()).iter().map(|file| file.path.clone()).collect();
    assert!(paths.contains(&"templates/partials/foot.txt".to_owned()) && paths.len() == 5, "{paths:?}");
}

#[test]
fn markdown_takes_the_layout_it_names() {
    let templates = compiled(&[
        ("mail.md", "---\nsubject: Hi\nlayout: plain\nimages: {logo: images/logo.png}\n---\n**Hi** ![us](cid:logo)\n"),
        ("layouts/plain.html", "<html><body><main>{{ content }}</main></body></html>"),
        ("images/logo.png", "iVBORw0KGgo="),
    ])
    .unwrap();
    let mail = render(&templates, &facts(&[])).unwrap();
    assert!(mail.html.contains("<main><p><strong>Hi</strong> <img src=\"cid:logo\""), "{}", mail.html);
    assert_eq!(mail.images.len(), 1);
    assert_eq!((mail.images[0].media_type, mail.images[0].bytes.len()), ("image/png", 8));
}

#[test]
fn what_templates_name_has_to_be_there() {
    let head = "---\nsubject: Hi\n---\n";
    let wrong = |files: &[(&str, &str)]| compiled(files).unwrap_err().join("\n");
    let html = |body: &str| format!("{head}{body}");
    let partial = ("partials/footer.html", "x");
    let shown = wrong(&[("mail.html", &html("{% include \"foter\" %}")), partial]);
    assert!(shown.starts_with("templates/mail.html:4:13: error[template.unknown-include]"), "{shown}");
    assert!(shown.contains("did you mean `footer`?"), "{shown}");
    let shown = wrong(&[("mail.html", &html("{% extends \"base\" %}")), ("layouts/bsae.html", "")]);
    assert!(shown.contains("4:13: error[template.unknown-layout]") && shown.contains("`bsae`"), "{shown}");
    let shown = wrong(&[("mail.md", "---\nsubject: Hi\nlayout: base\n---\n")]);
    assert!(shown.contains("mail.md:3:9: error[template.unknown-layout]"), "{shown}");
    let shown = wrong(&[("mail.html", &html("{% include record.name %}"))]);
    assert!(shown.contains("can't be told"), "{shown}");
    let shown = wrong(&[
        ("mail.html", &html("{% include \"a\" %}")),
        ("partials/a.html", "{% include \"b\" %}"),
        ("partials/b.html", "\n{% include \"a\" %}"),
    ]);
    assert!(shown.contains("templates/partials/b.html:2:13: error[template.circle]"), "{shown}");
    let shown = wrong(&[("mail.md", head), ("mail.html", head)]);
    assert!(shown.contains("error[template.duplicate]"), "{shown}");
    let shown = wrong(&[("mail.md", head), ("mial.txt", "x")]);
    assert!(shown.contains("error[template.text]") && shown.contains("`mail.txt`"), "{shown}");
    let shown = wrong(&[("mail.html", &html("<img src=\"cid:logo\">"))]);
    assert!(shown.contains("mail.html:4:15: error[template.unknown-image]"), "{shown}");
    let shown = wrong(&[("mail.html", "---\nsubject: Hi\nimages: {logo: images/a.svg}\n---\n"), ("images/a.svg", "")]);
    assert!(shown.contains("3:16: error[template.image]"), "{shown}");
    for (argument, what) in [("date('lnog')", "`long`"), ("money('EURO')", "currency"), ("plural(one='a')", "other")] {
        let shown = wrong(&[("mail.html", &html(&format!("{{{{ record.a | {argument} }}}}")))]);
        assert!(shown.contains("error[template.argument]") && shown.contains(what), "{shown}");
    }
}

#[test]
fn broken_mjml_is_found_at_its_place_in_whatever_file_it_is() {
    let wrong = |files: &[(&str, &str)]| compiled(files).unwrap_err().join("\n");
    let broken = MJML.replace("<mj-text>Hello", "<mj-txt>Hello").replace("</mj-text>", "</mj-txt>");
    let shown = wrong(&[("mail.mjml", &broken)]);
    assert!(shown.starts_with("templates/mail.mjml:9:10: error[template.mjml]"), "{shown}");
    let shown = wrong(&[("mail.mjml", &MJML.replace("</mj-column>", ""))]);
    assert!(shown.contains("error[template.mjml]"), "{shown}");
    let shown =
        wrong(&[("mail.mjml", &MJML.replace("<mj-text>Hello", "<mj-include path=\"/etc/passwd\" /><mj-text>"))]);
    assert!(shown.contains("mail.mjml:9:") && shown.contains("reads no files"), "{shown}");
    let message =
        "---\nsubject: Hi\n---\n{% extends \"base\" %}\n{% block main %}{% include \"part\" %}{% endblock %}\n";
    let base = "<mjml><mj-body><mj-section><mj-column>{% block main %}{% endblock %}</mj-column></mj-section></mj-body></mjml>";
    let shown =
        wrong(&[("mail.mjml", message), ("layouts/base.mjml", base), ("partials/part.mjml", "\n<mj-colunm />")]);
    assert!(shown.starts_with("templates/partials/part.mjml:2:2: error[template.mjml]"), "{shown}");
    let fine =
        [("mail.mjml", message), ("layouts/base.mjml", base), ("partials/part.mjml", "<mj-text>{{ lang }}</mj-text>")];
    assert!(render(&compiled(&fine).unwrap(), &facts(&[])).unwrap().html.contains(">en</div>"));
    let odd = MJML.replace("<mjml>", "<mjml colour=\"red\">");
    let told = compiled(&[("mail.mjml", &odd)]).unwrap();
    let told: Vec<_> = told.warnings().iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("templates/mail.mjml:5:7: warning[template.mjml-attribute]"), "{told:?}");
}

#[test]
fn errors_in_partials_name_the_partial() {
    let files =
        [("mail.html", "---\nsubject: Hi\n---\n{% include \"foot\" %}"), ("partials/foot.html", "\n{{ record.nmae }}")];
    let templates = compiled(&files).unwrap();
    let error = render(&templates, &facts(&[])).unwrap_err();
    assert_eq!(error.to_string(), "templates/partials/foot.html:2: `record.nmae` is not known");
    let used = &templates.uses(&"mail".into())[0];
    assert_eq!((used.path.as_str(), used.place.line_column()), ("record.nmae", (2, 4)));
}

#[test]
fn names_that_a_loop_gives_are_known_to_its_partials() {
    let templates = compiled(&[
        ("mail.html", "---\nsubject: Hi\n---\n{% for line in occasion.row.lines %}{% include \"line\" %}{% endfor %}"),
        ("partials/line.html", "{{ line.name }}"),
    ])
    .unwrap();
    let paths: Vec<_> = templates.uses(&"mail".into()).iter().map(|used| used.path.as_str()).collect();
    assert_eq!(paths, ["occasion.row.lines"]);
}

#[test]
fn a_missing_value_needs_a_default_even_behind_a_filter() {
    let filters = [
        "",
        "| upper",
        "| date",
        "| time",
        "| datetime",
        "| money",
        "| money('EUR')",
        "| number",
        "| percent",
        "| title",
        "| trim | upper",
        "| upper | money('EUR') | trim",
        "| replace('a', 'b') | upper",
        "| float | round(2) | number",
        "| urlencode",
        "| int",
    ];
    for filter in filters {
        let text = format!("---\nsubject: Hi\n---\n{{{{ record.name {filter} }}}}");
        let templates = compiled(&[("mail.md", &text)]).unwrap();
        let error = render(&templates, &facts(&[("name", Cell::Null)])).unwrap_err();
        let told = "templates/mail.md:4: `record.name` is empty for this record; say what to print instead: ";
        assert!(error.to_string().starts_with(told), "{filter}: {error}");
        let text = format!("---\nsubject: Hi\n---\n{{{{ record.nmae {filter} }}}}");
        let error = render(&compiled(&[("mail.md", &text)]).unwrap(), &facts(&[])).unwrap_err();
        assert_eq!(error.to_string(), "templates/mail.md:4: `record.nmae` is not known", "{filter}");
        let text = format!("---\nsubject: Hi\n---\n{{{{ record.name {filter} | default('there') }}}}");
        let templates = compiled(&[("mail.md", &text)]).unwrap();
        assert_eq!(render(&templates, &facts(&[("name", Cell::Null)])).unwrap().text, "there", "{filter}");
    }
}

/// On a stack as small as that of the threads that send: what is refused never gets to those that call themselves.
#[test]
fn whatever_a_template_nests_ends_in_an_error_or_a_mail() {
    const HEAD: &str = "---\nsubject: Hello\n---\n";
    let within = |before: &str, inner: String, after: &str| format!("{HEAD}{before}{inner}{after}");
    let column = "<mjml><mj-body><mj-section><mj-column><mj-text>";
    let ends = "</mj-text></mj-column></mj-section></mj-body></mjml>";
    let nested = |open: &str, close: &str, times: usize| format!("{}x{}", open.repeat(times), close.repeat(times));
    for times in [63, 64, 5_000] {
        let files = [
            ("templates/mail.html", within("", nested("<div>", "</div>", times), "")),
            ("templates/mail.html", within("", "<table><tr><td>".repeat(times), "")),
            ("templates/mail.html", within("{% for i in range(5000) %}<div>{% endfor %}", String::new(), "")),
            ("templates/mail.md", within("", ">".repeat(times), " a")),
            ("templates/mail.md", within("", "{{ record.name }} <b>".repeat(times), "")),
            ("templates/mail.md", within("{{ record", ".name".repeat(times), " }}")),
            ("templates/mail.md", within("{{ record.name", "|upper".repeat(times), " }}")),
            ("templates/mail.mjml", within("<mjml><mj-body>", "<mj-section><mj-column>".repeat(times), "")),
            ("templates/mail.mjml", within(column, nested("<b>", "</b>", times), ends)),
        ];
        for (path, text) in files {
            let told = format!("{times} {path}: {}", &text[..text.len().min(80)]);
            let mailed = move || {
                let Ok(templates) = Templates::compile(&[file(path, &text)]) else { return "finding" };
                let facts = facts(&[("name", Cell::Text("Ada".into()))]);
                match render(&templates, &facts) {
                    Ok(_) => "mail",
                    Err(_) => "error",
                }
            };
            let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(mailed).unwrap();
            let came = thread.join().unwrap();
            assert!(times <= 64 || came != "mail" || told.contains("> a"), "{told}: {came}");
        }
    }
}

/// On the same stack: what the grammar lets follow itself without an end.
#[test]
fn whatever_a_template_repeats_ends_in_an_error_or_a_mail() {
    let within = |before: &str, inner: String, after: &str| format!("{before}{inner}{after}");
    for times in [20, 60, 99, 149, 295, 590, 1_500, 20_000] {
        let both = |open: &str, close: &str| within(&open.repeat(times), "1".to_owned(), &close.repeat(times));
        let sources = [
            within("{% if 0 %}", "{% elif 0 %}".repeat(times), "{% endif %}"),
            within("{% if 0 %}", "{% elif 0 %}{% if 0 %}{% elif 0 %}".repeat(times), &"{% endif %}".repeat(times + 1)),
            both("{% if 0 %}{% else %}", "{% endif %}"),
            both("{% for a in [1] %}", "{% endfor %}"),
            both("{% for a in [] %}{% else %}", "{% endfor %}"),
            both("{% with a = 1 %}", "{% endwith %}"),
            both("{% set a %}", "{% endset %}"),
            both("{% filter upper %}", "{% endfilter %}"),
            both("{% macro f() %}", "{% endmacro %}"),
            both("{% macro f() %}{{ caller() }}{% endmacro %}{% call f() %}", "{% endcall %}"),
            both("{{ 1 }}{% raw %}", "{% endraw %}"),
            within("{{ ", both("(", ")"), " }}"),
            within("{{ ", both("[", "]"), " }}"),
            within("{{ ", both("{1:", "}"), " }}"),
            within("{{ ", both("range(", ")"), " }}"),
            within("{{ ", both("1 if (", ")"), " }}"),
            within("{{ ", both("not (", ")"), " }}"),
            within("{{ ", "not ".repeat(times), "1 }}"),
            within("{{ ", "- ".repeat(times), "1 }}"),
            within("{{ ", "1 if 0 else ".repeat(times), "1 }}"),
            within("{{ 1", " if 1".repeat(times), " }}"),
            within("{{ 1", " < 1".repeat(times), " }}"),
            within("{{ 1", " not in 1".repeat(times), " }}"),
            within("{{ 1", " is odd".repeat(times), " }}"),
            within("{{ 1", " is not odd".repeat(times), " }}"),
            within("{{ 1", " or 0".repeat(times), " }}"),
            within("{{ 1", " ** 1".repeat(times), " }}"),
            within("{{ 1", " * 1".repeat(times), " }}"),
            within("{{ 1", " + 1".repeat(times), " }}"),
            within("{{ 1", " - 1".repeat(times), " }}"),
            within("{{ 1", " ~ 1".repeat(times), " }}"),
            within("{{ range", "()".repeat(times), " }}"),
            within("{{ record", "[0]".repeat(times), " }}"),
            within("{{ record", "[:]".repeat(times), " }}"),
            within("{{ 'a'", " 'a'".repeat(times), " }}"),
            within("{{ 1", " | int".repeat(times), " }}"),
            within("{% filter int", " | int".repeat(times), " %}1{% endfilter %}"),
            within("{% set ", "(".repeat(times), &format!("a{} = 1 %}}", ")".repeat(times))),
            within("{% for ", "(".repeat(times), &format!("a{} in [1] %}}{{% endfor %}}", ")".repeat(times))),
            within("{% set a = 1 %}", "{% set a = [a] %}".repeat(times), "{{ a == a }}"),
            within("", "{# ".repeat(times), ""),
            within("", "{% raw %}".repeat(times), ""),
            within("", "{{ \"".repeat(times), ""),
        ];
        for source in sources {
            let told = format!("{times} {}", &source[..source.len().min(60)]);
            let mailed = move || {
                let text = format!("---\nsubject: a\n---\n{source}");
                let _ = Templates::default().line_uses(&source);
                let _ = line(&source, &facts(&[]));
                Templates::compile(&[file("templates/mail.md", &text)]).map(|templates| render(&templates, &facts(&[])))
            };
            let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(mailed).unwrap();
            assert!(thread.join().is_ok(), "{told}");
        }
    }
}

#[test]
fn a_partial_includes_partials() {
    let files = [
        ("mail.html", "---\nsubject: Hi\n---\n{% include \"a\" %}"),
        ("partials/a.html", "{% include \"b\" %}"),
        ("partials/b.html", "{% macro c(d) %}{{ d }}{% endmacro %}{{ c(c(\"e\")) }}"),
    ];
    let mail = render(&compiled(&files).unwrap(), &facts(&[])).unwrap();
    assert!(mail.html.contains('e'), "{}", mail.html);
}

#[test]
fn partials_that_multiply_are_refused_at_once() {
    let includes = |name: &str| format!("{{% include \"{name}\" %}}").repeat(20);
    let mut files = vec![("mail.mjml".to_owned(), format!("---\nsubject: Hi\n---\n<mjml>{}</mjml>", includes("a0")))];
    files.extend((0..10).map(|level| (format!("partials/a{level}.mjml"), includes(&format!("a{}", level + 1)))));
    files.push(("partials/a10.mjml".to_owned(), "x".to_owned()));
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let told = compiled(&files).unwrap_err().join("\n");
    assert!(told.contains("templates/mail.mjml") && told.contains("1,000 files"), "{told}");
}
