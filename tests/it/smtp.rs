//! The SMTP sender against a real Postfix with STARTTLS, TLS and login, and against servers that misbehave.

use crate::support::{PATIENCE, SmtpServer, smtp, test_clock};
use mail_parser::MessageParser;
use nudged::action::email::smtp::SmtpSender;
use nudged::action::email::{EmailOptions, Tls};
use nudged::engine::port::{Email, Message, Sender};
use nudged::model::{DeliveryId, Outcome, Period, Unit};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

fn options(port: u16, tls: Tls) -> EmailOptions {
    EmailOptions {
        from: "Acme <hi@acme.example>".into(),
        host: "localhost".into(),
        port: Some(port),
        tls,
        hello: Some("test.example".into()),
        ..EmailOptions::default()
    }
}

fn with_login(port: u16, tls: Tls) -> EmailOptions {
    EmailOptions {
        ca_file: Some(smtp().ca.clone()),
        username: Some(SmtpServer::USER.into()),
        password: Some(SmtpServer::PASSWORD.to_owned().into()),
        ..options(port, tls)
    }
}

fn sender(options: &EmailOptions) -> SmtpSender {
    SmtpSender::new(options, test_clock("2026-11-21T10:00:00Z")).unwrap()
}

fn email(to: &str) -> Message {
    Message::Email(Email {
        tracked_html: None,
        delivery: DeliveryId([3; 16]),
        to_address: to.into(),
        to_name: Some("Zoë \"Z\" Müller".into()),
        subject: "Grüße & mehr, ein ziemlich langer Betreff, der über eine Zeile hinausgeht".into(),
        html: "<p>Schöne Grüße</p>\n.\n<p>Ende</p>".into(),
        text: ".\nSchöne Grüße\n.\nEnde".into(),
        sender: None,
        from: None,
        reply_to: Some("Help <help@acme.example>".into()),
        images: Vec::new(),
        return_tag: None,
        signed: Vec::new(),
        headers: vec![("List-Unsubscribe".into(), "<https://acme.example/u>".into())],
    })
}

async fn send(options: &EmailOptions, to: &str) -> Outcome {
    sender(options).send(email(to)).await.outcome
}

#[track_caller]
fn reason(outcome: &Outcome, kind: &str) -> String {
    assert_eq!(outcome.as_str(), kind, "{outcome:?}");
    match outcome {
        Outcome::Transient { reason, .. } | Outcome::Permanent { reason } | Outcome::Unknown { reason } => {
            reason.clone()
        }
        Outcome::Sent { reply } => reply.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_arrives_whole_over_starttls_and_over_tls_with_a_login() {
    let server = smtp();
    for (port, tls, to) in [
        (server.submission, Tls::Required, "starttls@arrive.example"),
        (server.tls, Tls::Implicit, "tls@arrive.example"),
    ] {
        let reply = reason(&send(&with_login(port, tls), to).await, "sent");
        assert!(reply.starts_with("250 "), "{reply}");
        let raw = server.wait_for(to, 1).remove(0);
        let mail = MessageParser::default().parse(raw.as_bytes()).unwrap();
        assert_eq!(mail.subject(), Some("Grüße & mehr, ein ziemlich langer Betreff, der über eine Zeile hinausgeht"));
        let person = mail.to().unwrap().first().unwrap().clone();
        assert_eq!((person.name(), person.address()), (Some("Zoë \"Z\" Müller"), Some(to)));
        assert_eq!(mail.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), ".\nSchöne Grüße\n.\nEnde");
        assert!(mail.body_html(0).unwrap().contains("<p>Schöne Grüße</p>"));
        assert_eq!(mail.message_id(), Some(format!("{}@acme.example", "03".repeat(16)).as_str()));
        assert_eq!(mail.reply_to().unwrap().first().unwrap().address(), Some("help@acme.example"));
        assert_eq!(mail.header_raw("List-Unsubscribe").map(str::trim), Some("<https://acme.example/u>"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_carries_many_mails_and_survives_refusals_between_them() {
    let server = smtp();
    let sender =
        sender(&EmailOptions { sessions: 1, messages_per_session: 3, ..with_login(server.submission, Tls::Required) });
    for to in [
        "many@arrive.example",
        "nobody@gone.example",
        "many@arrive.example",
        "full@later.example",
        "many@arrive.example",
    ] {
        let outcome = sender.send(email(to)).await.outcome;
        let expected = match to {
            "nobody@gone.example" => "permanent",
            "full@later.example" => "transient",
            _ => "sent",
        };
        let reason = reason(&outcome, expected);
        assert!(!reason.contains('@'), "no address in {reason}");
    }
    assert_eq!(server.wait_for("many@arrive.example", 3).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_and_a_wrong_password_are_not_the_messages_fault() {
    let server = smtp();
    let untrusted = EmailOptions { ca_file: None, ..with_login(server.submission, Tls::Required) };
    assert!(reason(&send(&untrusted, "a@arrive.example").await, "transient").contains("TLS"));
    let wrong =
        EmailOptions { password: Some("wrong".to_owned().into()), ..with_login(server.submission, Tls::Required) };
    assert!(reason(&send(&wrong, "a@arrive.example").await, "transient").contains("refused the login"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_starttls_nothing_is_sent_where_it_is_required_and_no_password_where_it_is_not() {
    let server = smtp();
    let required = options(server.plain, Tls::Required);
    assert!(reason(&send(&required, "a@arrive.example").await, "transient").contains("STARTTLS"));
    let password = with_login(server.plain, Tls::Opportunistic);
    assert!(reason(&send(&password, "a@arrive.example").await, "transient").contains("password is not sent"));
    let plain = options(server.plain, Tls::Opportunistic);
    reason(&send(&plain, "plain@arrive.example").await, "sent");
    server.wait_for("plain@arrive.example", 1);
    assert!(SmtpSender::new(&with_login(server.plain, Tls::None), test_clock("2026-11-21T10:00:00Z")).is_err());
}

/// What a scripted server does when it has read a command (`.` is the end of a message).
#[derive(Debug, Clone, Copy)]
pub enum Act {
    Say(&'static str),
    Drop,
    /// Reads on and never answers again.
    Hang,
    /// Says this again and again, as long as somebody reads: an answer that never ends.
    GoOn(&'static str),
}

/// A server that answers as `act(command, connection)` says, and otherwise politely. Returns its port and
/// the commands it has read.
pub fn scripted(
    pipelining: bool,
    act: impl Fn(&str, usize) -> Option<Act> + Send + Sync + 'static,
) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (commands, act) = (Arc::clone(&log), Arc::new(act));
    std::thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let (commands, act) = (Arc::clone(&commands), Arc::clone(&act));
            std::thread::spawn(move || converse(&socket.unwrap(), pipelining, &commands, |verb| act(verb, number)));
        }
    });
    (port, log)
}

fn converse(socket: &TcpStream, pipelining: bool, log: &Mutex<Vec<String>>, act: impl Fn(&str) -> Option<Act>) {
    let mut out = socket.try_clone().unwrap();
    let mut lines = BufReader::new(socket).lines();
    let mut verb = "greeting".to_owned();
    loop {
        let polite = match verb.as_str() {
            "greeting" => "220 scripted",
            "EHLO" if pipelining => "250-scripted\r\n250-PIPELINING\r\n250 SIZE 100000",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        let in_data = match act(&verb).unwrap_or(Act::Say(polite)) {
            Act::Drop => return,
            Act::Hang => {
                lines.by_ref().for_each(drop);
                return;
            }
            Act::GoOn(text) => {
                while out.write_all(text.as_bytes()).is_ok() {}
                return;
            }
            Act::Say(text) => {
                if out.write_all(format!("{text}\r\n").as_bytes()).is_err() {
                    return;
                }
                text.starts_with("354")
            }
        };
        loop {
            let Some(Ok(line)) = lines.next() else { return };
            if in_data && line != "." {
                continue;
            }
            line.split([' ', ':']).next().unwrap_or_default().clone_into(&mut verb);
            log.lock().unwrap().push(verb.clone());
            break;
        }
    }
}

async fn against(pipelining: bool, at: &'static str, act: Act) -> Outcome {
    let (port, _) = scripted(pipelining, move |verb, _| (verb == at).then_some(act));
    let options = EmailOptions { timeout: Period::new(1, Unit::Second), ..options(port, Tls::None) };
    send(&options, "a@x.example").await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_fail_has_its_outcome() {
    let cases: [(&'static str, Act, &str); 22] = [
        ("greeting", Act::Say("554 go away"), "transient"),
        ("greeting", Act::Drop, "transient"),
        ("greeting", Act::Say("nonsense"), "transient"),
        ("EHLO", Act::Say("421 too busy"), "transient"),
        ("MAIL", Act::Say("421 too many mails"), "transient"),
        ("MAIL", Act::Say("550 sender not allowed"), "transient"),
        ("MAIL", Act::Drop, "transient"),
        ("RCPT", Act::Say("451 try later"), "transient"),
        ("RCPT", Act::Say("550 no such user"), "permanent"),
        ("RCPT", Act::Say("530 authenticate first"), "transient"),
        ("RCPT", Act::Drop, "transient"),
        ("RCPT", Act::Hang, "transient"),
        ("RCPT", Act::GoOn("250-more\r\n"), "transient"),
        ("RCPT", Act::GoOn("2"), "transient"),
        ("DATA", Act::Say("451 try later"), "transient"),
        ("DATA", Act::Say("554 not this one"), "permanent"),
        ("DATA", Act::Drop, "transient"),
        (".", Act::Say("452 disk full"), "transient"),
        (".", Act::Say("554 looks like spam"), "permanent"),
        (".", Act::Drop, "unknown"),
        (".", Act::Hang, "unknown"),
        (".", Act::GoOn("250-more\r\n"), "unknown"),
    ];
    for pipelining in [true, false] {
        for (at, act, expected) in cases {
            let outcome = against(pipelining, at, act).await;
            assert_eq!(outcome.as_str(), expected, "{at} {act:?} pipelining {pipelining}: {outcome:?}");
        }
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    reason(&send(&options(free, Tls::None), "a@x.example").await, "transient");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_session_that_died_meanwhile_is_replaced_without_losing_or_repeating_a_mail() {
    for goodbye in [Act::Drop, Act::Say("421 idle too long")] {
        let (port, log) = scripted(true, move |verb, connection| {
            // The first connection takes one mail and is gone at the second.
            static MAILS: Mutex<usize> = Mutex::new(0);
            let mut mails = MAILS.lock().unwrap();
            *mails += usize::from(verb == "MAIL" && connection == 0);
            let second = verb == "MAIL" && connection == 0 && mails.is_multiple_of(2);
            second.then_some(goodbye)
        });
        let sender = sender(&EmailOptions { sessions: 1, ..options(port, Tls::None) });
        reason(&sender.send(email("a@x.example")).await.outcome, "sent");
        reason(&sender.send(email("a@x.example")).await.outcome, "sent");
        let log = log.lock().unwrap().clone();
        assert_eq!(log.iter().filter(|verb| *verb == ".").count(), 2, "{log:?}");
        assert_eq!(log.iter().filter(|verb| *verb == "EHLO").count(), 2, "{log:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_reused_reset_after_a_refusal_and_ended_after_their_share() {
    let (port, log) = scripted(true, |verb, _| {
        static FIRST: Mutex<bool> = Mutex::new(true);
        (verb == "RCPT" && std::mem::take(&mut *FIRST.lock().unwrap())).then_some(Act::Say("550 no such user"))
    });
    // This server wants DATA even for a refused recipient: the session is left, not used for a wrong mail.
    let sender = sender(&EmailOptions { sessions: 1, messages_per_session: 2, ..options(port, Tls::None) });
    reason(&sender.send(email("a@x.example")).await.outcome, "permanent");
    for _ in 0..4 {
        reason(&sender.send(email("a@x.example")).await.outcome, "sent");
    }
    let log = log.lock().unwrap().clone();
    let count = |wanted: &str| log.iter().filter(|verb| *verb == wanted).count();
    assert_eq!((count("EHLO"), count(".")), (3, 4), "{log:?}");
    assert_eq!(count("MAIL"), 5, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_can_not_carry_is_permanent() {
    let (port, _) = scripted(true, |_, _| None);
    let sender = sender(&options(port, Tls::None));
    let mut large = email("a@x.example");
    if let Message::Email(email) = &mut large {
        email.text = "x".repeat(200_000);
    }
    assert!(reason(&sender.send(large).await.outcome, "permanent").contains("larger"));
    assert!(reason(&sender.send(email("zoë@x.example")).await.outcome, "permanent").contains("ASCII"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_costs_the_deadline_and_no_more() {
    let started = std::time::Instant::now();
    reason(&against(true, "greeting", Act::Hang).await, "transient");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}
