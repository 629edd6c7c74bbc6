//! Copies for our own eyes: who follows their links does nothing to the reader that the mail is for.

use super::*;
use rstest::rstest;

const ASKS_ALL: &str = "version: 1
id: silence
description: Asks for all that one can say by a link.
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 90 days}
backfill: 30 days
check_every: 1 hour
steps:
  - email: {template: all, confirms: news, asks: nps}
";

const SURVEYS: &str = "
surveys:
  nps:
    insert:
      table: surveys
      set: {account_id: $record.key, kind: nps, rating: $score, comment: $comment, answered_at: $now, ref: $ref}
";

const ALL: &str = "---
subject: Tell us
---
[a](<{{ unsubscribe_url }}>) [b](<{{ preferences_url }}>) [c](<{{ confirm_url }}>) [d](<{{ answer_url }}/9>)
";

/// All links of a mail to our pages, of both of its parts, each once.
fn links(mail: &str, base: &str) -> Vec<String> {
    let mail = parsed(mail);
    let both = format!("{} {}", mail.body_html(0).unwrap(), mail.body_text(0).unwrap());
    let ends = |c: char| c.is_whitespace() || "\"<>()[]".contains(c);
    let found: std::collections::BTreeSet<String> =
        both.split(ends).filter(|word| word.starts_with(base)).map(str::to_owned).collect();
    found.into_iter().collect()
}

#[rstest]
#[case::a_seed(
    "seeds = [\"colleague@seeded.example\"]",
    "colleague@seeded.example",
    "anna@seeded.example",
    "[seed] Tell us"
)]
#[case::redirected(
    "redirect_all_to = \"colleague@redirected.example\"",
    "colleague@redirected.example",
    "anna@redirected.example",
    "[to anna@redirected.example] Tell us"
)]
fn the_links_of_a_copy_say_so_and_do_nothing(
    #[case] setting: &str,
    #[case] colleague: &str,
    #[case] reader: &str,
    #[case] subject: &str,
) {
    let office = Office::new(ASKS_ALL, &[reader]);
    office.site.configure("[webhooks.team-chat]", &format!("{setting}\n[webhooks.team-chat]"));
    office.site.crm("ALTER TABLE surveys ADD COLUMN ref TEXT");
    let rules = office.site.folder.path().join("rules");
    let catalog = fs::read_to_string(rules.join("catalog.yaml")).unwrap();
    fs::write(rules.join("catalog.yaml"), catalog + SURVEYS).unwrap();
    fs::write(rules.join("templates/all.md"), ALL).unwrap();
    let office = office.open();

    let raw = mail_to(colleague);
    let mail = parsed(&raw);
    assert_eq!(mail.subject(), Some(subject));
    assert!(mail.header_raw("List-Unsubscribe").is_none());
    let dead = |path: &str| format!("{}/{path}", office.base);
    let expected = ["a/copy/9", "c/copy", "p/copy", "u/copy"].map(dead);
    assert_eq!(links(&raw, &office.base), expected);
    assert!(!raw.contains("bounces+"), "what bounces is the colleague's address: {raw}");
    for url in &expected {
        for (status, _, page) in [get(url), post(url, FORM, "scope=all&score=9"), one_click(url)] {
            assert!(status == 200 && page.contains("It does nothing"), "{url}: {page}");
            assert!(!page.contains("<form"), "{page}");
        }
    }
    assert!(office.holds_for(reader).is_empty(), "{:?}", office.holds_for(reader));
    let known = office.site.json(&["export", "customer:1"]);
    assert!(known["enrollments"][0]["saved"].to_string().contains("nps"), "it was asked: {known}");
    assert!(!known.to_string().contains("\"score\":9"), "and nothing was answered: {known}");
}
