use super::*;
use nudged::engine::port::{Consents, Register};
use nudged::model::{Channel, Link, LinkPurpose};

const ASK: &str = "version: 1
id: ask
description: Asks for a yes to news.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 90 days}
backfill: 30 days
check_every: 1 hour
steps:
  - email: {template: ask, confirms: news}
";

fn asking(addresses: &[&str]) -> Office {
    let office = Office::new(ASK, addresses);
    let template = "---\nsubject: \"One more click\"\n---\n[Yes, I want news]({{ confirm_url }})\n";
    fs::write(office.site.folder.path().join("rules/templates/ask.md"), template).unwrap();
    office.open()
}

fn confirm_link(office: &Office, address: &str) -> String {
    let raw = mail_to(address);
    let mail = parsed(&raw);
    assert!(mail.header_raw("List-Unsubscribe").is_none(), "what one asked for is no list");
    let html = mail.body_html(0).unwrap().into_owned();
    html.split('"').find(|part| part.starts_with(&format!("{}/c/", office.base))).unwrap().to_owned()
}

#[test]
fn a_yes_is_given_by_the_link_once() {
    let address = "anna@confirm.example";
    let office = asking(&[address]);
    let url = confirm_link(&office, address);
    let (status, _, page) = get(&url);
    assert!(status == 200 && page.contains("Yes, please"), "{page}");
    assert!(office.holds_for(address).is_empty(), "looking is not saying yes");
    let (status, _, page) = post(&url, FORM, "scope=topic");
    assert!(status == 200 && page.contains("Thank you"), "{page}");
    assert_eq!(office.holds_for(address), ["wants news"]);
    let (status, _, page) = post(&url, FORM, "scope=topic");
    assert!(status == 410 && page.contains("has been used"), "{page}");

    // Nor does a replay undo what was decided since.
    let page = page.replace("&#x2f;", "/");
    let preferences = page.split('"').find(|part| part.starts_with("../p/")).unwrap();
    let preferences = format!("{}/{}", office.base, preferences.trim_start_matches("../"));
    post(&preferences, FORM, "shown=news&scope=chosen");
    assert_eq!(office.holds_for(address), ["unsubscribed from news"]);
    assert_eq!(post(&url, FORM, "scope=topic").0, 410);
    assert_eq!(office.holds_for(address), ["unsubscribed from news"]);
}

#[test]
fn a_link_to_confirm_expires_and_opens_no_other_page() {
    let address = "bert@confirm.example";
    let office = asking(&[address]);
    let url = confirm_link(&office, address);
    let token = url.rsplit('/').next().unwrap();
    for other in ["u", "p"] {
        assert_eq!(post(&format!("{}/{other}/{token}", office.base), FORM, "scope=all").0, 404);
    }
    let old = office.state(async |store| {
        let (issued, expires) = (Timestamp::now() - jiff::SignedDuration::from_hours(200), Timestamp::now());
        let address = store.secret().address_hash(Channel::Email, address);
        let expires = Some(expires - jiff::SignedDuration::from_secs(1));
        let (purpose, topic) = (LinkPurpose::Confirm, Some("news".into()));
        store.secret().sign_link(&Link { purpose, address, delivery: None, topic, issued: Some(issued), expires })
    });
    let (status, _, page) = post(&format!("{}/c/{old}", office.base), FORM, "scope=topic");
    assert!(status == 410 && page.contains("expired"), "{page}");
    let kept = office
        .state(async |store| store.preferences(&[store.secret().address_hash(Channel::Email, address)]).await.unwrap());
    assert_eq!(kept, []);
}

#[test]
fn a_mail_that_asks_must_have_the_link() {
    let office = Office::new(ASK, &[]);
    let template = "---\nsubject: \"One more click\"\n---\nReply yes.\n";
    fs::write(office.site.folder.path().join("rules/templates/ask.md"), template).unwrap();
    let (status, _, talk) = office.site.run(&["check"]);
    assert!(status == 4 && talk.contains("rule.no-confirm-link"), "{talk}");
}
