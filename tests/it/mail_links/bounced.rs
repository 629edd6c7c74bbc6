use super::*;
use hmac::{Hmac, KeyInit, Mac};
use nudged::engine::port::Register;
use nudged::model::Channel;
use sha2::Sha256;
use std::os::unix::fs::PermissionsExt;

/// A Maildir of the site's own.
fn maildir(site: &Site) -> String {
    let folder = site.path("bounces");
    for part in ["new", "cur", "tmp"] {
        fs::create_dir_all(format!("{folder}/{part}")).unwrap();
    }
    folder
}

/// As a mail server delivers: whole or not at all.
fn deliver(folder: &str, name: &str, mail: &str) {
    fs::write(format!("{folder}/tmp/{name}"), mail).unwrap();
    fs::rename(format!("{folder}/tmp/{name}"), format!("{folder}/new/{name}")).unwrap();
}

/// Each letter another one.
fn other_letters(tag: &str) -> String {
    tag.chars().map(|letter| if letter == 'a' { 'b' } else { 'a' }).collect()
}

fn was_read(folder: &str, name: &str) {
    let seen = format!("{folder}/cur/{name}:2,S");
    poll_until(PATIENCE, || Path::new(&seen).exists());
}

#[test]
fn a_bounce_of_the_mail_server_puts_the_address_on_the_list() {
    let (gone, full, fine) = ("anna@bounced.example", "anna@full.example", "anna@arrives.example");
    let office = Office::new(OFFERS, &[gone, full, fine]);
    let folder = maildir(&office.site);
    office.site.configure("return_path =", &format!("bounce_maildir = \"{folder}\"\nreturn_path ="));
    let mut office = office.open();

    // What Postfix itself sends back, to the return path that it was given.
    let tag = |address: &str| {
        office.state(async |store| store.secret().return_tag(store.secret().address_hash(Channel::Email, address)))
    };
    let returned = |address: &str| smtp().wait_for(&format!("bounces+{}@linden.example", tag(address)), 1).remove(0);
    let report = returned(gone);
    assert!(report.contains("multipart/report") && report.contains("Status: 5.1.1"), "{report}");
    deliver(&folder, "1.gone", &report);
    was_read(&folder, "1.gone");
    assert_eq!(office.holds_for(gone), ["bounced"]);
    assert_eq!(office.list()[0]["address"], gone);

    // A full mailbox is no reason, and neither is a report that somebody made up about somebody else.
    deliver(&folder, "2.full", &returned(full));
    was_read(&folder, "2.full");
    assert!(office.holds_for(full).is_empty());
    let forged = report.replace(&tag(gone), &other_letters(&tag(gone)));
    let forged = forged.replace(gone, fine);
    deliver(&folder, "3.forged", &forged);
    was_read(&folder, "3.forged");
    let about_another = report.replace(gone, fine);
    deliver(&folder, "4.another", &about_another);
    was_read(&folder, "4.another");
    assert!(office.holds_for(fine).is_empty(), "a tag is about nobody but its own address");
    deliver(&folder, "5.nonsense", "hello\n");
    was_read(&folder, "5.nonsense");
    assert_eq!(office.list().len(), 1);

    office.an_hour_passes();
    poll_until(PATIENCE, || office.skipped().len() == 1);
    assert!(office.skipped()[0].contains("bounced"), "{:?}", office.skipped());
    assert_eq!(smtp().wait_for(fine, 2).len(), 2);
}

#[test]
fn a_refusal_by_the_mail_server_puts_an_address_on_the_list_if_it_is_about_the_address() {
    let addresses = ["nobody@gone.example", "anna@blocked.example"];
    let office = Office::new(OFFERS, &addresses).open();
    let dead = || office.site.json(&["deliveries", "list", "--state", "dead"]).as_array().unwrap().len();
    poll_until(PATIENCE, || dead() == 2);
    assert_eq!(office.holds_for(addresses[0]), ["bounced"]);
    assert!(office.holds_for(addresses[1]).is_empty(), "550 5.7.1 is about us");
    assert_eq!(office.list().len(), 1);
}

#[test]
fn what_a_service_reports_by_webhook_is_believed_with_its_secret_only() {
    let office = Office::new(OFFERS, &[]);
    let services = "[bounces.ses]\nformat = \"ses\"\nsecret = \"ses secret\"\n\
                    [bounces.postmark]\nformat = \"postmark\"\nsecret = \"postmark secret\"\n\
                    [bounces.mailgun]\nformat = \"mailgun\"\nsecret = \"mailgun key\"\n[log]";
    office.site.configure("[log]", services);
    fs::set_permissions(office.site.path("config.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let office = office.open();
    let send = |name: &str, password: &str, body: &Json| {
        let url = format!("{}/bounces/{name}", office.base);
        asked(|client| client.post(&url).basic_auth("nudged", Some(password)).body(body.to_string())).0
    };
    let postmark =
        |kind: &str, address: &str| serde_json::json!({"RecordType": "Bounce", "Type": kind, "Email": address});
    assert_eq!(send("postmark", "wrong", &postmark("HardBounce", "p@x.example")), 401);
    assert_eq!(send("nobody", "postmark secret", &postmark("HardBounce", "p@x.example")), 404);
    assert!(office.list().is_empty());
    for _ in 0..2 {
        assert_eq!(send("postmark", "postmark secret", &postmark("HardBounce", "P@x.example")), 200);
    }
    assert_eq!(send("postmark", "postmark secret", &postmark("SoftBounce", "soft@x.example")), 200);
    assert_eq!(office.holds_for("p@x.example"), ["bounced"]);
    assert!(office.holds_for("soft@x.example").is_empty());

    let complaint = serde_json::json!({"notificationType": "Complaint",
        "complaint": {"complainedRecipients": [{"emailAddress": "s@x.example"}]}});
    let sns = serde_json::json!({"Type": "Notification", "Message": complaint.to_string()});
    assert_eq!(send("ses", "postmark secret", &sns), 401);
    assert_eq!(send("ses", "ses secret", &sns), 200);
    assert_eq!(office.holds_for("s@x.example"), ["complained"]);
    let bounce = |kind: &str, address: &str| {
        let recipient = serde_json::json!({"emailAddress": address, "status": "5.1.1"});
        let said = serde_json::json!({"notificationType": "Bounce",
            "bounce": {"bounceType": kind, "bouncedRecipients": [recipient]}});
        serde_json::json!({"Type": "Notification", "Message": said.to_string()})
    };
    assert_eq!(send("ses", "ses secret", &bounce("Permanent", "hard@x.example")), 200);
    assert_eq!(send("ses", "ses secret", &bounce("Transient", "full@x.example")), 200);
    assert_eq!(office.holds_for("hard@x.example"), ["bounced"]);
    assert!(office.holds_for("full@x.example").is_empty());

    let unsigned = serde_json::json!({"event-data": {"event": "complained", "recipient": "m@x.example"}});
    assert_eq!(send("mailgun", "mailgun key", &unsigned), 401, "its password is a signature");
    assert!(office.holds_for("m@x.example").is_empty());
    for (event, address) in [("complained", "m@x.example"), ("failed", "g@x.example")] {
        let time = Timestamp::now().as_second().to_string();
        let mut hmac = Hmac::<Sha256>::new_from_slice(b"mailgun key").unwrap();
        hmac.update(format!("{time}a token").as_bytes());
        let signature: String = hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let signed = serde_json::json!({
            "signature": {"timestamp": time, "token": "a token", "signature": signature},
            "event-data": {"event": event, "severity": "permanent", "reason": "bounce", "recipient": address},
        });
        assert_eq!(send("mailgun", "", &signed), 200);
    }
    assert_eq!(
        (office.holds_for("m@x.example"), office.holds_for("g@x.example")),
        (vec!["complained".into()], vec!["bounced".into()])
    );
    assert_eq!(office.list().len(), 5);
    let log = office.site.log();
    assert!(!log.contains("secret") && !log.contains("@x.example"), "{log}");
}

#[test]
fn a_mail_to_the_address_in_its_head_unsubscribes() {
    let (writes, stays) = ("anna@writes.example", "anna@stays.example");
    let office = Office::new(OFFERS, &[writes, stays]);
    let folder = maildir(&office.site);
    office.site.configure("return_path =", &format!("bounce_maildir = \"{folder}\"\nreturn_path ="));
    let mut office = office.open();
    let sent = mail_to(writes);
    let header = parsed(&sent).header_raw("List-Unsubscribe").unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let mailto = header.split_once("<mailto:").unwrap().1.trim_end_matches('>');
    let (to, subject) = mailto.split_once("?subject=").unwrap();
    assert!(to.starts_with("bounces+") && to.ends_with("@linden.example"), "{to}");
    mail_to(stays);

    // From whatever address: the link says whose it is. A forged one says nothing.
    let subject = subject.replace("%20", " ");
    deliver(&folder, "1.forged", "To: bounces@linden.example\nSubject: unsubscribe AAAA\n\n");
    was_read(&folder, "1.forged");
    assert!(office.holds_for(writes).is_empty() && office.holds_for(stays).is_empty());
    deliver(&folder, "2.out", &format!("From: other@writes.example\nTo: {to}\nSubject: {subject}\n\n"));
    was_read(&folder, "2.out");
    assert!(!office.holds_for(writes).is_empty(), "{:?}", office.list());
    assert!(office.holds_for(stays).is_empty());

    office.an_hour_passes();
    poll_until(PATIENCE, || office.skipped().len() == 1);
    assert!(office.skipped()[0].contains("unsubscribed"), "{:?}", office.skipped());
    assert_eq!(smtp().wait_for(stays, 2).len(), 2);
}
