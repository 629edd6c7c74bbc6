//! Templates of every format: as the reference shows them, with hostile values, over SMTP and in a preview.

use crate::fixtures::{catalog_of_the_reference, surroundings, tree};
use crate::rehearsal::shown::silent;
use crate::support::{smtp, test_clock};
use jiff::tz::TimeZone;
use mail_parser::{MessageParser, MimeHeaders};
use nudged::action::email::smtp::SmtpSender;
use nudged::action::email::{Composer, EmailOptions, Tls};
use nudged::diagnostic::SourceFile;
use nudged::diagnostic::render::{Look, render as shown};
use nudged::engine::port::{Email, Message, Sender};
use nudged::model::{DeliveryId, Value};
use nudged::rule::Score;
use nudged::rule::compiled::{Facts, PersonFacts};
use nudged::rule::generation::Generation;
use nudged::rule::message::{MessageContext, Regional, RenderedEmail, Templates, message_name};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// A picture of one pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: format!("templates/{path}"), text: text.to_owned() }
}

fn compiled(files: Vec<SourceFile>) -> Templates {
    let files: Vec<_> = files.into_iter().map(Arc::new).collect();
    Templates::compile(&files).unwrap_or_else(|findings| panic!("{}", shown(&findings, Look::Plain)))
}

fn facts(record: &[(&str, Value)]) -> Facts {
    Facts {
        key: "4711".into(),
        conditions: vec![],
        only_at_entry: vec![],
        goal: None,
        goal_ever: None,
        exit_when: vec![],
        cases: BTreeMap::new(),
        score: Score::NotAsked,
        record: record.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        days: BTreeMap::new(),
        recipients: BTreeMap::new(),
        zone: TimeZone::get("Europe/Vienna").unwrap(),
        unsaid: nudged::rule::compiled::Unsaid::default(),
    }
}

fn render(templates: &Templates, name: &str, facts: &Facts, locale: &str) -> RenderedEmail {
    let to = PersonFacts {
        first_name: Some("Ada".into()),
        email: Some("ada@x.example".into()),
        locale: Some(locale.to_owned()),
        ..PersonFacts::default()
    };
    let (null, sender) = (json!({}), json!({"name": "Acme", "email": "hi@acme.example"}));
    let currencies = BTreeMap::from([("lifetime_value".to_owned(), "EUR".to_owned())]);
    let regional = Regional { currencies, ..Regional::default() };
    let context = MessageContext {
        facts,
        to: Some(&to),
        occasion: &null,
        saved: &null,
        sender: &sender,
        enriched: None,
        regional: &regional,
        links: None,
        rows: &[],
        more: 0,
    };
    templates.email(&name.into(), &context).unwrap_or_else(|error| panic!("{error}"))
}

/// The values of the reference.
fn reference() -> Facts {
    facts(&[
        ("renews_on", Value::Date("2026-12-01".parse().unwrap())),
        ("seen_at", Value::Instant("2026-12-01T15:05:00Z".parse().unwrap())),
        ("lifetime_value", Value::Decimal("1234.50".parse().unwrap())),
        ("employees", Value::Int(1234)),
        ("discount", Value::Decimal("0.25".parse().unwrap())),
        ("tier", Value::Text("vip".into())),
    ])
}

/// The fenced files of a page: their paths and texts.
fn files_of(page: &str) -> Vec<SourceFile> {
    let text = fs::read_to_string(page).unwrap();
    let blocks = text.split("```text templates/").skip(1).filter_map(|block| block.split("```").next());
    blocks.filter_map(|block| block.split_once('\n')).map(|(path, text)| file(path, text)).collect()
}

#[test]
fn the_files_of_the_reference_are_right() {
    let mut files = files_of("docs/templates.md");
    files.push(file("images/logo.png", PNG));
    let names: Vec<String> = files.iter().filter_map(|file| message_name(&file.path)).map(str::to_owned).collect();
    assert_eq!(names, ["welcome", "renewal"]);
    let steps: String = names.iter().map(|name| format!("  - email: {{template: {name}}}\n")).collect();
    let rule = format!(
        "version: 1\nid: example\nmode: live\npurpose: offers\nfor_each: customer\nto: main_contact\n\
         trigger: {{inactivity: {{of: orders, for: 90 days}}}}\nsteps:\n{steps}"
    );
    let mut all = files.clone();
    all.push(SourceFile { path: "catalog.yaml".into(), text: catalog_of_the_reference() });
    all.push(SourceFile { path: "rule.yaml".into(), text: rule });
    if let Err(findings) = Generation::build(tree(all), &surroundings(None)) {
        panic!("{}", shown(&findings, Look::Plain));
    }
    let templates = compiled(files);
    let welcome = render(&templates, "welcome", &reference(), "de-AT");
    assert_eq!(welcome.subject, "Ada, your plan runs until 01.12.2026");
    assert_eq!(welcome.from.as_deref(), Some("Acme <hello@acme.example>"));
    assert!(welcome.html.contains(">Two things worth knowing before then&#847;"), "{}", welcome.html);
    assert!(welcome.text.contains("keep your price") && welcome.text.contains("Yours,\nAcme"), "{}", welcome.text);
    assert_eq!(welcome.images.len(), 1);
    let renewal = render(&templates, "renewal", &reference(), "en-GB");
    assert!(renewal.html.contains("it is 1 December 2026 soon."), "{}", renewal.html);
    assert_eq!(renewal.text, "Hello Ada,\n\nrenew before 1 December 2026: https://acme.example/renew?c=4711");
}

#[test]
fn the_filters_of_the_reference_write_what_it_says() {
    let text = fs::read_to_string("docs/templates.md").unwrap();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| `{{ record.")).collect();
    assert!(rows.len() >= 12, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<_> = row.replace("\\|", "\u{1}").split('|').map(|cell| cell.trim().to_owned()).collect();
        let template = cells[1].trim_matches('`').replace('\u{1}', "|");
        let templates = compiled(vec![file("a.md", "---\nsubject: a\n---\n"), file("a.txt", &template)]);
        for (locale, expected) in [("en", &cells[2]), ("de", &cells[3])] {
            let plain = |text: &str| text.replace(['\u{a0}', '\u{202f}'], " ");
            assert_eq!(plain(&render(&templates, "a", &reference(), locale).text), plain(expected), "{template}");
        }
    }
}

const EVIL: [&str; 5] = [
    "</p></td></mj-text><script>alert(1)</script><img src=x onerror=alert(1)>",
    "\" onload=\"alert(1)\" x='y' style='background:url(//evil.example)",
    "x\r\nBcc: all@evil.example\r\n\r\n# Title\n[a](http://evil.example) **b** {{ record.key }} {% include 'x' %}",
    "--><![endif]--><mj-raw><b>x</b></mj-raw><mj-include path=\"/etc/passwd\" />",
    "javascript:alert(1)",
];

/// Everywhere that a template can print a value.
fn hostile_files() -> Vec<SourceFile> {
    let head = "---\nsubject: \"Hi {{ record.name }}\"\npreheader: \"{{ record.name }}\"\nreply_to: \"{{ record.name }} <a@b.example>\"\n---\n";
    let html = "<h1 title=\"{{ record.name }}\">{{ record.name }}</h1><a href=\"{{ record.name }}\">x</a><p class='{{ record.name }}'>{% include \"foot\" %}</p><!-- {{ record.name }} -->";
    let mjml = "<mjml><mj-head><mj-title>{{ record.name }}</mj-title><mj-preview>{{ record.name }}</mj-preview></mj-head><mj-body><mj-section><mj-column><mj-text css-class=\"{{ record.name }}\">{{ record.name }}{% include \"foot\" %}</mj-text><mj-button href=\"{{ record.name }}\" title=\"{{ record.name }}\">{{ record.name }}</mj-button><mj-raw><p>{{ record.name }}</p></mj-raw><mj-table><tr><td>{{ record.name }}</td></tr></mj-table></mj-column></mj-section></mj-body></mjml>";
    let layout = "<html><head><title>{{ subject }}</title><style>p { color: red }</style></head><body class=\"{{ record.name }}\">{{ content }}</body></html>";
    vec![
        file("html.html", &format!("{head}<html><body>{html}</body></html>")),
        file(
            "md.md",
            &format!("{head}# {{{{ record.name }}}}\n\n[{{{{ record.name }}}}]({{{{ record.name }}}})\n\n{html}\n"),
        ),
        file("mjml.mjml", &format!("{head}{mjml}")),
        file("partials/foot.html", "<i>{{ record.name }}</i>"),
        file("layouts/default.html", layout),
    ]
}

#[test]
fn no_value_becomes_markup_or_a_header_in_any_format() {
    let templates = compiled(hostile_files());
    let composer = Composer::new(&EmailOptions { from: "hi@acme.example".into(), ..EmailOptions::default() }).unwrap();
    for name in ["html", "md", "mjml"] {
        let harmless = render(&templates, name, &facts(&[("name", Value::Text("Tom".into()))]), "en");
        let tags = |html: &str| html.matches('<').count();
        for evil in EVIL {
            let mail = render(&templates, name, &facts(&[("name", Value::Text(evil.into()))]), "en");
            assert_eq!(tags(&mail.html), tags(&harmless.html), "{name} {evil}: {}", mail.html);
            for sign in
                ["<script", "<img", "onload=\"", "<mj-", "<b>x", "href=\"javascript", "href=\"http://evil", "root:"]
            {
                assert!(!mail.html.contains(sign), "{name} {evil} {sign}: {}", mail.html);
            }
            assert!(!mail.subject.contains(['\r', '\n']), "{}", mail.subject);
            let composed = composer.compose(&email(&mail, "ada@x.example"), "2026-11-21T10:00:00Z".parse().unwrap());
            let Ok(composed) = composed else { continue };
            let parsed = MessageParser::default().parse(&composed.bytes).unwrap();
            assert!(parsed.bcc().is_none() && parsed.parts.len() == 3, "{name} {evil}");
        }
    }
}

fn email(mail: &RenderedEmail, to: &str) -> Email {
    Email {
        tracked_html: None,
        delivery: DeliveryId([9; 16]),
        to_address: to.into(),
        to_name: None,
        subject: mail.subject.clone(),
        html: mail.html.clone(),
        text: mail.text.clone(),
        from: mail.from.clone(),
        reply_to: mail.reply_to.clone(),
        images: mail.images.clone(),
        sender: None,
        return_tag: None,
        signed: Vec::new(),
        headers: vec![],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_with_text_html_and_a_picture_arrives_whole() {
    let templates = compiled({
        let mut files = files_of("docs/templates.md");
        files.push(file("images/logo.png", PNG));
        files
    });
    let mail = render(&templates, "welcome", &reference(), "de");
    let server = smtp();
    let options = EmailOptions {
        from: "Acme <hi@acme.example>".into(),
        host: "localhost".into(),
        port: Some(server.plain),
        tls: Tls::Opportunistic,
        hello: Some("test.example".into()),
        ..EmailOptions::default()
    };
    let sender = SmtpSender::new(&options, test_clock("2026-11-21T10:00:00Z")).unwrap();
    let sent = sender.send(Message::Email(email(&mail, "picture@arrive.example"))).await;
    assert_eq!(sent.outcome.as_str(), "sent", "{:?}", sent.outcome);
    let raw = server.wait_for("picture@arrive.example", 1).remove(0);
    let parsed = MessageParser::default().parse(raw.as_bytes()).unwrap();
    let plain = |text: Option<std::borrow::Cow<'_, str>>| text.unwrap().replace("\r\n", "\n").trim_end().to_owned();
    assert_eq!(plain(parsed.body_text(0)), mail.text.trim_end());
    assert_eq!(plain(parsed.body_html(0)), mail.html.trim_end());
    assert!(mail.html.contains("src=\"cid:logo\""), "{}", mail.html);
    let picture = parsed.parts.iter().find(|part| part.content_id() == Some("logo")).unwrap();
    assert_eq!(picture.contents(), &*mail.images[0].bytes);
    assert_eq!(parsed.reply_to().unwrap().first().unwrap().address(), Some("success@acme.example"));
    let kinds: Vec<_> = parsed.parts.iter().filter_map(|part| part.content_type()?.subtype()).collect();
    assert_eq!(kinds, ["alternative", "plain", "related", "html", "png"]);
}

#[test]
fn a_preview_writes_mjml_as_it_would_be_sent() {
    let site = silent(1);
    let templates = Path::new(&site.path("rules")).join("templates");
    fs::remove_file(templates.join("hello.md")).unwrap();
    fs::create_dir_all(templates.join("images")).unwrap();
    let png = "\u{89}PNG\r\n\u{1a}\n".chars().map(|c| c as u8).collect::<Vec<_>>();
    fs::write(templates.join("images/logo.png"), &png).unwrap();
    fs::write(
        templates.join("hello.mjml"),
        "---\nsubject: \"{{ record.name }}\"\nimages: {logo: images/logo.png}\n---\n<mjml><mj-body><mj-section><mj-column>\
         <mj-image src=\"cid:logo\" alt=\"Us\" /><mj-text>{{ to.first_name }}: {{ record.lifetime_value | money }} \
         <a href=\"{{ unsubscribe_url }}\">no more</a> {{ sender.postal_address }}</mj-text></mj-column></mj-section></mj-body></mjml>\n",
    )
    .unwrap();
    site.crm("UPDATE contacts SET lang = 'de_AT'");
    let ran = site.command(&["preview", "silence", "--last", "120 days", "--out", "out"]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let folder = fs::read_dir(site.path("out")).unwrap().next().unwrap().unwrap().path();
    let written = |ending: &str| {
        let file = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        fs::read(file.into_iter().find(|path| path.extension().is_some_and(|found| found == ending)).unwrap()).unwrap()
    };
    let html = String::from_utf8(written("html")).unwrap();
    assert!(html.contains("<table") && html.contains("src=\"cid:logo\"") && !html.contains("<mj-"), "{html}");
    let mail = written("eml");
    let parsed = MessageParser::default().parse(&mail).unwrap();
    assert_eq!(parsed.subject(), Some("Cafe 1"));
    let text = parsed.body_text(0).unwrap();
    assert!(text.contains("Anna1: €\u{a0}12,50"), "{text}");
    let picture = parsed.parts.iter().find(|part| part.content_id() == Some("logo")).unwrap();
    assert_eq!(picture.contents(), png);
    // Editing a picture is an edit of the tree.
    fs::write(templates.join("images/logo.png"), b"no picture").unwrap();
    let ran = site.command(&["check"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&ran.stderr).contains("template.image"),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}
