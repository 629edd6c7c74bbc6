//! Mails that came back: delivery reports (DSN, RFC 3464) and complaints (ARF, RFC 5965).
//!
//! Anybody can write to the address that bounces go to, so a report is believed only about an address whose signed tag
//! it carries: in the return path that we gave the mail (VERP), or among the headers of the mail that it quotes. Whoever
//! has such a tag got a mail of ours, and the tag is about nobody but them.

use super::compose::RETURN_TAG;
use crate::model::{AddressHash, InstanceSecret, is_gone};
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders};

/// What a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is nobody at this address any more.
    Gone,
    /// The reader calls it spam.
    Complaint,
    /// It may work another time: a full mailbox, a policy, a delay.
    Soft,
}

impl Verdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Complaint => "complaint",
            Self::Soft => "soft",
        }
    }
}

/// A report about a mail of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    pub address: AddressHash,
    pub verdict: Verdict,
    /// The recipient as the report names them, which is not always whom we wrote to.
    pub recipient: Option<String>,
}

/// Why a mail says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoReport {
    #[error("it is no delivery report and no complaint")]
    Other,
    #[error("it carries no tag of a mail of ours")]
    NotOurs,
}

/// Reads a mail that came to the address for bounces.
pub fn read(mail: &[u8], secret: &InstanceSecret) -> Result<Returned, NoReport> {
    let mail = MessageParser::default().parse(mail).ok_or(NoReport::Other)?;
    let report = mail.parts.iter().find_map(report_of).ok_or(NoReport::Other)?;
    let address = tag_in_recipients(&mail, secret).or_else(|| tag_in_quoted(&mail, secret));
    Ok(Returned { address: address.ok_or(NoReport::NotOurs)?, verdict: report.0, recipient: report.1 })
}

fn report_of(part: &MessagePart<'_>) -> Option<(Verdict, Option<String>)> {
    let kind = part.content_type().filter(|kind| kind.ctype() == "message")?.subtype()?.to_ascii_lowercase();
    let text = String::from_utf8_lossy(part.contents()).into_owned();
    match kind.as_str() {
        "delivery-status" | "global-delivery-status" => delivery_status(&text),
        "feedback-report" => feedback(&text),
        _ => None,
    }
}

/// We send to one recipient at a time, so one group of fields speaks of a recipient.
fn delivery_status(text: &str) -> Option<(Verdict, Option<String>)> {
    let action = field(text, "Action")?.to_ascii_lowercase();
    let status = field(text, "Status").unwrap_or_default();
    let status = status.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default().to_owned();
    let recipient = field(text, "Original-Recipient").or_else(|| field(text, "Final-Recipient"));
    let recipient = recipient.and_then(|value| Some(value.split_once(';')?.1.trim().to_owned()));
    match action.as_str() {
        "failed" if is_gone(&status) => Some((Verdict::Gone, recipient)),
        "failed" | "delayed" => Some((Verdict::Soft, recipient)),
        // Delivered, relayed, expanded: good news.
        _ => None,
    }
}

fn feedback(text: &str) -> Option<(Verdict, Option<String>)> {
    let recipient = field(text, "Original-Rcpt-To").map(|address| address.trim_matches(['<', '>']).to_owned());
    match field(text, "Feedback-Type")?.to_ascii_lowercase().as_str() {
        "abuse" | "fraud" | "opt-out" | "opt-out-list" | "complaint" => Some((Verdict::Complaint, recipient)),
        // `not-spam` is the opposite, others are about something else.
        _ => None,
    }
}

/// The first field of this name, its folded lines joined.
fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines();
    let first = lines.find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })?;
    let folded = lines.take_while(|line| line.starts_with([' ', '\t'])).map(str::trim);
    Some(std::iter::once(first.as_str()).chain(folded).collect::<Vec<_>>().join(" "))
}

/// Where the report was sent to: the return path of the mail it is about.
pub(super) fn tag_in_recipients(mail: &Message<'_>, secret: &InstanceSecret) -> Option<AddressHash> {
    let places = ["To", "Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To"];
    let values = mail.headers_raw().filter(|(name, _)| places.iter().any(|place| name.eq_ignore_ascii_case(place)));
    values.flat_map(|(_, value)| value.split([' ', '\t', '\r', '\n', ',', '<', '>', '"'])).find_map(|word| {
        let (local, _) = word.rsplit_once('@')?;
        secret.read_return_tag(local.rsplit_once('+')?.1)
    })
}

/// In the header of the mail that the report quotes, in whole or by its head.
fn tag_in_quoted(mail: &Message<'_>, secret: &InstanceSecret) -> Option<AddressHash> {
    mail.parts.iter().find_map(|part| {
        let kind = part.content_type()?;
        let quotes = match (kind.ctype(), kind.subtype().unwrap_or_default().to_ascii_lowercase().as_str()) {
            ("message", "rfc822" | "global" | "global-headers") => true,
            ("text", subtype) => subtype == "rfc822-headers",
            _ => false,
        };
        let head = quotes.then(|| String::from_utf8_lossy(part.contents()))?;
        let head = head.split("\r\n\r\n").next()?.split("\n\n").next()?;
        secret.read_return_tag(&field(head, RETURN_TAG)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: InstanceSecret = InstanceSecret([7; 32]);
    const HASH: AddressHash = AddressHash([4; 16]);

    fn dsn(to: &str, status: &str, action: &str, quoted: &str) -> String {
        format!(
            "From: MAILER-DAEMON@mx.example\r\nTo: <{to}>\r\nSubject: Undelivered Mail Returned to Sender\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=\"x\"\r\n\r\n\
             --x\r\nContent-Type: text/plain\r\n\r\nStatus: 5.1.1 is what it says here\r\n\
             --x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n\
             Final-Recipient: rfc822; ada@x.example\r\nAction: {action}\r\nStatus: {status}\r\n\
             Diagnostic-Code: smtp; 550 {status}\r\n no\r\n\
             --x\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: hi@acme.example\r\n{quoted}Subject: x\r\n\r\n--x--\r\n"
        )
    }

    fn verp() -> String {
        format!("bounces+{}@acme.example", SECRET.return_tag(HASH))
    }

    fn verdict(mail: &str) -> Result<Verdict, NoReport> {
        read(mail.as_bytes(), &SECRET).map(|returned| {
            assert_eq!(returned.address, HASH);
            returned.verdict
        })
    }

    #[test]
    fn a_report_is_about_whose_tag_it_was_sent_to() {
        let returned = read(dsn(&verp(), "5.1.1", "failed", "").as_bytes(), &SECRET).unwrap();
        let recipient = Some("ada@x.example".to_owned());
        assert_eq!(returned, Returned { address: HASH, verdict: Verdict::Gone, recipient });
        assert_eq!(verdict(&dsn(&verp().to_uppercase(), "5.2.1", "failed", "")), Ok(Verdict::Gone));
        assert_eq!(verdict(&dsn(&verp(), "5.2.2", "failed", "")), Ok(Verdict::Soft));
        assert_eq!(verdict(&dsn(&verp(), "5.7.1", "failed", "")), Ok(Verdict::Soft));
        assert_eq!(verdict(&dsn(&verp(), "4.4.1", "delayed", "")), Ok(Verdict::Soft));
        assert_eq!(verdict(&dsn(&verp(), "2.0.0", "delivered", "")), Err(NoReport::Other));
    }

    #[test]
    fn or_whose_mail_it_quotes() {
        let quoted = format!("X-Return-Tag: {}\r\n", SECRET.return_tag(HASH));
        assert_eq!(verdict(&dsn("bounces@acme.example", "5.1.1", "failed", &quoted)), Ok(Verdict::Gone));
        let whole = dsn("bounces@acme.example", "5.1.1", "failed", &quoted);
        let whole = whole.replace("text/rfc822-headers", "message/rfc822");
        assert_eq!(verdict(&whole), Ok(Verdict::Gone));
    }

    #[test]
    fn a_forged_tag_and_none_at_all_are_nobody() {
        let other = InstanceSecret([8; 32]).return_tag(HASH);
        let mut changed = SECRET.return_tag(HASH).into_bytes();
        changed[0] = if changed[0] == b'a' { b'b' } else { b'a' };
        let changed = String::from_utf8(changed).unwrap();
        for tag in [other, changed, String::new(), "x".repeat(42)] {
            let to = format!("bounces+{tag}@acme.example");
            let quoted = format!("X-Return-Tag: {tag}\r\n");
            assert_eq!(verdict(&dsn(&to, "5.1.1", "failed", &quoted)), Err(NoReport::NotOurs), "{tag}");
        }
        assert_eq!(verdict(&dsn("bounces@acme.example", "5.1.1", "failed", "")), Err(NoReport::NotOurs));
        // A tag in the text is no tag: whoever answers a mail may quote what they like.
        let said = dsn("bounces@acme.example", "5.1.1", "failed", "").replace("is what it says here", &verp());
        assert_eq!(verdict(&said), Err(NoReport::NotOurs));
    }

    #[test]
    fn a_complaint_quotes_the_mail_that_it_is_about() {
        let arf = |kind: &str| {
            format!(
                "From: fbl@provider.example\r\nTo: abuse@acme.example\r\nMIME-Version: 1.0\r\n\
                 Content-Type: multipart/report; report-type=feedback-report; boundary=\"x\"\r\n\r\n\
                 --x\r\nContent-Type: text/plain\r\n\r\nAn email abuse report\r\n\
                 --x\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nUser-Agent: x/1\r\n\
                 Version: 1\r\nOriginal-Rcpt-To: <ada@x.example>\r\n\
                 --x\r\nContent-Type: message/rfc822\r\n\r\nFrom: hi@acme.example\r\nX-Return-Tag: {}\r\n\
                 Subject: x\r\n\r\nHello\r\n--x--\r\n",
                SECRET.return_tag(HASH)
            )
        };
        assert_eq!(verdict(&arf("abuse")), Ok(Verdict::Complaint));
        assert_eq!(verdict(&arf("not-spam")), Err(NoReport::Other));
    }

    #[test]
    fn an_answer_that_somebody_is_on_holiday_is_none() {
        let mail = format!(
            "From: ada@x.example\r\nTo: {}\r\nAuto-Submitted: auto-replied\r\nSubject: Away\r\n\r\nI am away\r\n",
            verp()
        );
        assert_eq!(verdict(&mail), Err(NoReport::Other));
        assert_eq!(verdict(""), Err(NoReport::Other));
    }

    proptest! {
        #[test]
        fn no_mail_makes_it_fail(mail in proptest::collection::vec(any::<u8>(), 0..2_000), cut in 0..1_500_usize) {
            let _ = read(&mail, &SECRET);
            let mut report = dsn(&verp(), "5.1.1", "failed", "").into_bytes();
            report.truncate(cut);
            report.extend(mail);
            let _ = read(&report, &SECRET);
        }
    }
}
