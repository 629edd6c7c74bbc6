//! DKIM, verified by dkimpy, which shares no code with us.

use crate::support::guarded::run;
use crate::support::{smtp, test_clock};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nudged::action::email::smtp::SmtpSender;
use nudged::action::email::{DkimOptions, EmailOptions, Tls};
use nudged::engine::port::{Email, Message, Sender};
use nudged::model::{DeliveryId, Outcome};
use serde_json::{Value as Json, json};
use std::fs;
use std::path::Path;
use std::process::Command;

const VERIFY: &str = r#"
import dkim, json, re, sys
mail = open(sys.argv[1], "rb").read()
keys = json.load(open(sys.argv[2]))
lookup = lambda name, timeout=5: keys[name.decode().rstrip(".")].encode()
count = len(re.findall(rb"(?im)^dkim-signature:", mail))
def verify(index):
    try:
        return dkim.DKIM(mail, minkey=1024).verify(idx=index, dnsfunc=lookup)
    except (dkim.DKIMException, ValueError):
        return False
print(json.dumps([verify(index) for index in range(count)]))
"#;

fn openssl(arguments: &[&str], folder: &Path) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Keys as docs/email.md makes them, and what the DNS says of them.
fn keys(folder: &Path) -> (Vec<(String, DkimOptions)>, Json) {
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "rsa.pem"], folder);
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", "ed.pem"], folder);
    let public = |file: &str| openssl(&["pkey", "-in", file, "-pubout", "-outform", "DER"], folder);
    let (rsa, ed) = (public("rsa.pem"), public("ed.pem"));
    let zone = json!({
        "r1._domainkey.acme.example": format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(rsa)),
        "e1._domainkey.acme.example": format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(&ed[ed.len() - 32..])),
    });
    let options = |file: &str| {
        let key = fs::read_to_string(folder.join(file)).unwrap().into();
        DkimOptions { domain: "acme.example".into(), key }
    };
    (vec![("r1".to_owned(), options("rsa.pem")), ("e1".to_owned(), options("ed.pem"))], zone)
}

/// For each signature, whether dkimpy finds it right.
fn verified(folder: &Path, mail: &str, zone: &Json) -> Vec<bool> {
    fs::write(folder.join("mail.eml"), mail).unwrap();
    fs::write(folder.join("zone.json"), zone.to_string()).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", VERIFY, "mail.eml", "zone.json"]).current_dir(folder);
    serde_json::from_str(&run(&mut python)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_arrived_bears_signatures_that_others_find_right() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (keys, zone) = keys(folder);
    let options = EmailOptions {
        from: "Acme <hi@acme.example>".into(),
        host: "127.0.0.1".into(),
        port: Some(smtp().plain),
        tls: Tls::None,
        hello: Some("test.example".into()),
        dkim: keys.into_iter().collect(),
        ..EmailOptions::default()
    };
    let sender = SmtpSender::new(&options, test_clock("2026-11-21T10:00:00Z")).unwrap();
    let to = "anna@signed.example";
    let email = Email {
        tracked_html: None,
        delivery: DeliveryId([5; 16]),
        to_address: to.into(),
        to_name: Some("Zoë Müller".into()),
        subject: "Grüße & mehr, ein ziemlich langer Betreff, der über eine Zeile hinausgeht".into(),
        html: "<p>Schöne   Grüße \n\n.\n</p>\n\n\n".into(),
        text: ".\nSchöne Grüße  \n.\nEnde\n\n\n".into(),
        sender: None,
        from: None,
        reply_to: Some("Help <help@acme.example>".into()),
        images: Vec::new(),
        return_tag: None,
        signed: Vec::new(),
        headers: vec![
            ("List-Unsubscribe".into(), format!("<https://mail.acme.example/u/{}>", "x".repeat(90))),
            ("List-Unsubscribe-Post".into(), "List-Unsubscribe=One-Click".into()),
        ],
    };
    let outcome = sender.send(Message::Email(email)).await.outcome;
    assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
    let mail = smtp().wait_for(to, 1).remove(0);
    assert_eq!(verified(folder, &mail, &zone), [true, true], "{mail}");

    let changed = |from: &str, to: &str| {
        assert!(mail.contains(from), "{from} is not in {mail}");
        verified(folder, &mail.replacen(from, to, 1), &zone)
    };
    assert_eq!(changed("From: Acme", "From: Acne"), [false, false]);
    assert_eq!(changed("Post: List-Unsubscribe=One-Click", "Post: List-Unsubscribe=Two-Clicks"), [false, false]);
    assert_eq!(changed("/u/xxx", "/u/yyy"), [false, false]);
    assert_eq!(changed("Subject: ", "List-Unsubscribe: <https://evil.example>\nSubject: "), [false, false], "added");
    assert_eq!(changed("Subject: ", "From: Evil <evil@evil.example>\nSubject: "), [false, false], "added");
    assert_eq!(changed("Lg0KU2Now7Zu", "Lg0KU2Now7Zv"), [false, false]);
    let mut other = zone.clone();
    other["r1._domainkey.acme.example"] = zone["e1._domainkey.acme.example"].clone();
    assert_eq!(verified(folder, &mail, &other).iter().filter(|right| **right).count(), 1, "another key");
}
