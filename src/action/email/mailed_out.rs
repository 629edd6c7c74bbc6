//! Mails that ask to be taken off a list: what a mail program sends where `List-Unsubscribe` names an address.
//!
//! Its subject carries the same signed link as the way by HTTP, so it says who and which topic; where a program leaves the
//! subject's end out, the tag in the address says who, and it is about all topics. Without either it is anybody's word.

use super::returned::tag_in_recipients;
use crate::model::{AddressHash, DeliveryId, InstanceSecret, LinkPurpose, Topic};
use jiff::Timestamp;
use mail_parser::MessageParser;

const WORD: &str = "unsubscribe";

/// A reader who wants no more of a topic, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailedOut {
    pub address: AddressHash,
    pub topic: Option<Topic>,
    /// The mail whose link it is; a tag alone names none.
    pub mail: Option<DeliveryId>,
}

/// What stands in `List-Unsubscribe` beside the link by HTTP: `mailto:bounces+TAG@domain?subject=unsubscribe%20LINK`.
pub(super) fn address_of(header: &str, mailbox: &str) -> Option<String> {
    let url = header.trim().strip_prefix('<')?.strip_suffix('>')?;
    // The link's text is base64url: nothing in it wants quoting.
    let token = url.rsplit_once('/')?.1;
    Some(format!("<mailto:{mailbox}?subject={WORD}%20{token}>"))
}

/// Reads a mail that is no report. An automatic answer is nobody's wish.
pub fn read(mail: &[u8], secret: &InstanceSecret, now: Timestamp) -> Option<MailedOut> {
    let mail = MessageParser::default().parse(mail)?;
    let automatic = mail.header_raw("Auto-Submitted").is_some_and(|value| !value.trim().eq_ignore_ascii_case("no"));
    let subject = mail.subject()?.trim();
    let (word, token) = subject.split_at_checked(WORD.len())?;
    if automatic || !word.eq_ignore_ascii_case(WORD) {
        return None;
    }
    // Long subjects are folded on their way.
    let token: String = token.split_whitespace().collect();
    if let Ok(link) = secret.read_link(LinkPurpose::Unsubscribe, &token, now) {
        return Some(MailedOut { address: link.address, topic: link.topic, mail: link.delivery });
    }
    Some(MailedOut { address: tag_in_recipients(&mail, secret)?, topic: None, mail: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Link;

    const SECRET: InstanceSecret = InstanceSecret([7; 32]);
    const ADDRESS: AddressHash = AddressHash([4; 16]);
    const MAIL: DeliveryId = DeliveryId([5; 16]);

    fn token() -> String {
        let topic = Some(Topic::from("offers"));
        let purpose = LinkPurpose::Unsubscribe;
        SECRET.sign_link(&Link { purpose, address: ADDRESS, delivery: Some(MAIL), topic, issued: None, expires: None })
    }

    fn mail(to: &str, subject: &str, more: &str) -> Option<MailedOut> {
        let mail = format!("From: ada@x.example\r\nTo: <{to}>\r\nSubject: {subject}\r\n{more}\r\n\r\n");
        read(mail.as_bytes(), &SECRET, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_header_names_an_address_whose_mail_reads_back() {
        let header = format!("<https://mail.acme.example/u/{}>", token());
        let made = address_of(&header, "bounces@acme.example").unwrap();
        let (to, subject) =
            made.strip_prefix("<mailto:").unwrap().trim_end_matches('>').split_once("?subject=").unwrap();
        let offers = Some(MailedOut { address: ADDRESS, topic: Some("offers".into()), mail: Some(MAIL) });
        assert_eq!(mail(to, &subject.replace("%20", " "), ""), offers);
        let folded = subject.replace("%20", " ");
        let (start, end) = folded.split_at(60);
        assert_eq!(mail(to, &format!("{start}\r\n {end}"), ""), offers);
    }

    #[test]
    fn the_tag_alone_is_about_all_topics_and_nothing_else_is_believed() {
        let tagged = format!("bounces+{}@acme.example", SECRET.return_tag(ADDRESS));
        let all = Some(MailedOut { address: ADDRESS, topic: None, mail: None });
        assert_eq!(mail(&tagged, "Unsubscribe", ""), all);
        assert_eq!(mail(&tagged, "unsubscribe me", ""), all);
        assert_eq!(mail(&tagged, "Out of office", ""), None);
        assert_eq!(mail(&tagged, "unsubscribe", "Auto-Submitted: auto-replied\r\n"), None);
        assert_eq!(mail("bounces@acme.example", "unsubscribe", ""), None);
        let forged = InstanceSecret([8; 32]).return_tag(ADDRESS);
        assert_eq!(mail(&format!("bounces+{forged}@acme.example"), "unsubscribe", ""), None);
    }
}
