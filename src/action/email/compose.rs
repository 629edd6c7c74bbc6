//! A rendered email as a MIME message, and its envelope.
//!
//! Everything that reaches a header is cleaned of control characters first, so no name, subject or address
//! can begin a header of its own; lettre encodes what is left. The delivery id makes the Message-ID, so
//! that a repeated mail is recognised as the same one.

use super::EmailOptions;
use super::dkim::Signer;
use super::mailed_out;
use crate::action::SetupError;
use crate::engine::port::{self, Email};
use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The tag of the return path, for reports that come back another way.
pub(super) const RETURN_TAG: &str = "X-Return-Tag";

/// Where a mail to leave may go as well, if somebody reads it.
const LIST_UNSUBSCRIBE: &str = "List-Unsubscribe";

/// Headers that are ours alone; a message may bring others, such as List-Unsubscribe.
const RESERVED: [&str; 15] = [
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "return-path",
    "received",
    "x-delivery-id",
    "x-return-tag",
    "dkim-signature",
];

/// A message ready for any transport.
#[derive(Debug, Clone)]
pub struct Composed {
    pub from: Address,
    pub to: Address,
    /// The whole message, lines ended by CR LF.
    pub bytes: Vec<u8>,
}

/// Why this message can never be sent as it is. Names no address: it goes to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    #[error("the recipient's address is not one")]
    Recipient,
    #[error("`{part}` of the template is not an address: write `Name <name@domain>`")]
    Template { part: &'static str },
    #[error("the configuration has no `[email.senders.{0}]`")]
    Sender(String),
    #[error("the header `{0}` can't be set by a message")]
    Header(String),
    #[error("no MIME message could be made of it: {0}")]
    Mime(String),
}

/// Makes messages from the configured sender.
#[derive(Debug, Clone)]
pub struct Composer {
    from: Mailbox,
    reply_to: Option<Mailbox>,
    return_path: Option<Address>,
    /// Whose bounce it would be stands in the return path.
    tagged: bool,
    /// Somebody reads what comes back there, mails that unsubscribe among it.
    read: bool,
    signers: Vec<Signer>,
    senders: BTreeMap<String, (Mailbox, Option<Mailbox>)>,
}

impl Composer {
    pub fn new(options: &EmailOptions) -> Result<Self, SetupError> {
        let wrong = |key: &str| {
            SetupError::option(format!("email.{key}"), "not an address: write `name@domain` or `Name <name@domain>`")
        };
        let senders = options.senders.iter().map(|(name, sender)| {
            let read = |key: &str, text: &str| mailbox(text).ok_or_else(|| wrong(&format!("senders.{name}.{key}")));
            let reply_to = sender.reply_to.as_deref().map(|text| read("reply_to", text)).transpose()?;
            Ok((name.clone(), (read("from", &sender.from)?, reply_to)))
        });
        let senders = senders.collect::<Result<_, SetupError>>()?;
        let reply_to = options.reply_to.as_deref().map(|text| mailbox(text).ok_or_else(|| wrong("reply_to")));
        let return_path = options.return_path.as_deref().map(|text| text.trim().parse());
        Ok(Self {
            from: mailbox(&options.from).ok_or_else(|| match options.from.trim() {
                "" => SetupError::option(
                    "email.from",
                    "missing: mails need a sender, such as `Acme <hello@acme.example>`",
                ),
                _ => wrong("from"),
            })?,
            reply_to: reply_to.transpose()?,
            return_path: return_path.transpose().map_err(|_| wrong("return_path"))?,
            tagged: options.return_tags,
            read: options.bounce_maildir.is_some(),
            senders,
            signers: options.dkim.iter().map(|(name, key)| Signer::new(name, key)).collect::<Result<_, _>>()?,
        })
    }

    pub fn compose(&self, email: &Email, now: Timestamp) -> Result<Composed, ComposeError> {
        let (from, reply_to) = self.writers(email)?;
        let to: Address = email.to_address.trim().parse().map_err(|_| ComposeError::Recipient)?;
        let name = email.to_name.as_deref().map(clean).filter(|name| !name.is_empty());
        let mut builder = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(name, to.clone()))
            .subject(clean(&email.subject))
            .date(SystemTime::from(now))
            .message_id(Some(format!("<{}@{}>", email.delivery, from.email.domain())))
            .raw_header(header("X-Delivery-ID", &email.delivery.to_string())?);
        if let Some(reply_to) = reply_to {
            builder = builder.reply_to(reply_to);
        }
        if let Some(tag) = &email.return_tag {
            builder = builder.raw_header(header(RETURN_TAG, tag)?);
        }
        let return_path = self.return_path(email)?;
        for (name, value) in &email.headers {
            let way_out = return_path.as_ref().filter(|_| self.read && name.eq_ignore_ascii_case(LIST_UNSUBSCRIBE));
            let by_mail = way_out.and_then(|path| mailed_out::address_of(value, path.as_ref()));
            let value = by_mail.map_or_else(|| value.clone(), |by_mail| format!("{value}, {by_mail}"));
            builder = builder.raw_header(foreign_header(name, &value)?);
        }
        let message = builder.multipart(parts(email)?);
        let message = message.map_err(|error| ComposeError::Mime(error.to_string()))?;
        let from = return_path.unwrap_or(from.email);
        Ok(Composed { from, to, bytes: self.signed(message.formatted(), now)? })
    }

    /// The mail with the sender that it will bear.
    pub fn departing(&self, message: &port::Message) -> Option<port::Message> {
        let port::Message::Email(email) = message else { return Some(message.clone()) };
        // Where that can't be told, the mail can't be composed either.
        let from = self.writers(email).ok()?.0.to_string();
        Some(port::Message::Email(Email { from: Some(from), ..email.clone() }))
    }

    /// Who it is from, and whom an answer goes to where that is somebody else.
    fn writers(&self, email: &Email) -> Result<(Mailbox, Option<Mailbox>), ComposeError> {
        let template = |part: &'static str, text: &Option<String>| match text {
            Some(text) => mailbox(text).map(Some).ok_or(ComposeError::Template { part }),
            None => Ok(None),
        };
        let (usual, usual_reply_to) = match &email.sender {
            None => (&self.from, &self.reply_to),
            Some(name) => {
                let (from, reply_to) = self.senders.get(name).ok_or_else(|| ComposeError::Sender(name.clone()))?;
                (from, reply_to)
            }
        };
        let from = template("from", &email.from)?.unwrap_or_else(|| usual.clone());
        Ok((from, template("reply_to", &email.reply_to)?.or_else(|| usual_reply_to.clone())))
    }
}

impl Composer {
    /// With a signature of each key before it.
    fn signed(&self, message: Vec<u8>, now: Timestamp) -> Result<Vec<u8>, ComposeError> {
        let mut signed = Vec::new();
        for signer in &self.signers {
            let header = signer.sign(&message, now).map_err(|problem| ComposeError::Mime(problem.to_owned()))?;
            signed.extend(header.into_bytes());
        }
        signed.extend(message);
        Ok(signed)
    }

    /// `bounces+TAG@domain` (VERP): most bounces quote too little of a mail to say whose it was.
    fn return_path(&self, email: &Email) -> Result<Option<Address>, ComposeError> {
        let Some(path) = &self.return_path else { return Ok(None) };
        let tag = email.return_tag.as_ref().filter(|_| self.tagged);
        let tagged = tag.map(|tag| Address::new(format!("{}+{tag}", path.user()), path.domain()));
        let tagged = tagged.transpose().map_err(|error| ComposeError::Mime(error.to_string()))?;
        Ok(Some(tagged.unwrap_or_else(|| path.clone())))
    }
}

/// Text and HTML, the HTML with the pictures it shows. Boundaries are of the delivery and not of chance: the same mail
/// has the same bytes wherever it is composed.
fn parts(email: &Email) -> Result<MultiPart, ComposeError> {
    let alternative = MultiPart::alternative()
        .boundary(format!("nudged-{}", email.delivery))
        .singlepart(SinglePart::plain(email.text.clone()));
    let html = SinglePart::html(email.tracked_html.as_ref().unwrap_or(&email.html).clone());
    if email.images.is_empty() {
        return Ok(alternative.singlepart(html));
    }
    let mut related = MultiPart::related().boundary(format!("nudged-{}-related", email.delivery)).singlepart(html);
    for image in &email.images {
        let kind = ContentType::parse(image.media_type).map_err(|error| ComposeError::Mime(error.to_string()))?;
        let attachment = Attachment::new_inline_with_name(clean(&image.name), clean(&image.file_name));
        related = related.singlepart(attachment.body(image.bytes.to_vec(), kind));
    }
    Ok(alternative.multipart(related))
}

fn header(name: &str, value: &str) -> Result<HeaderValue, ComposeError> {
    let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| ComposeError::Header(clean(name)))?;
    Ok(HeaderValue::new(name, clean(value)))
}

fn foreign_header(name: &str, value: &str) -> Result<HeaderValue, ComposeError> {
    let lower = name.to_ascii_lowercase();
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || RESERVED.contains(&lower.as_str()) || lower.starts_with("content-") {
        return Err(ComposeError::Header(clean(name)));
    }
    header(name, value)
}

/// `Name <name@domain>` or a bare address. Read here and not by lettre, whose names panic on line breaks.
pub(super) fn mailbox(text: &str) -> Option<Mailbox> {
    let text = clean(text);
    let Some((name, rest)) = text.rsplit_once('<') else {
        return text.parse().ok().map(|address| Mailbox::new(None, address));
    };
    let address = rest.strip_suffix('>')?.trim().parse().ok()?;
    let name = name.trim().trim_matches('"').trim().to_owned();
    Some(Mailbox::new(Some(name).filter(|name| !name.is_empty()), address))
}

/// One line without control characters and without the invisible marks that reverse what people read.
fn clean(text: &str) -> String {
    let hidden = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !hidden(*c)).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::email::IdentityOptions;
    use crate::model::DeliveryId;
    use crate::rule::message::InlineImage;
    use mail_parser::MimeHeaders;

    fn composer() -> Composer {
        let options = EmailOptions { from: "Acme <hi@acme.example>".into(), ..EmailOptions::default() };
        Composer::new(&options).unwrap()
    }

    fn email() -> Email {
        Email {
            tracked_html: None,
            delivery: DeliveryId([7; 16]),
            to_address: "ada@x.example".into(),
            to_name: Some("Ada Lovelace".into()),
            subject: "Grüße".into(),
            html: "<p>Hallo Ada, schön</p>".into(),
            text: "Hallo Ada, schön".into(),
            sender: None,
            from: None,
            reply_to: None,
            images: Vec::new(),
            return_tag: None,
            signed: Vec::new(),
            headers: vec![("List-Unsubscribe".into(), "<https://a.example/u?x=1>".into())],
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_one_it_is_meant_for_gets_the_tracked_html() {
        let email = Email { tracked_html: Some("<p>tracked</p>".into()), ..email() };
        let composed = composer().compose(&email, now()).unwrap();
        let mail = mail_parser::MessageParser::default().parse(&composed.bytes).unwrap();
        assert_eq!(mail.body_html(0).as_deref().map(str::trim), Some("<p>tracked</p>"));
        assert_eq!(mail.body_text(0).as_deref().map(str::trim), Some("Hallo Ada, schön"));
    }

    #[test]
    fn a_message_reads_back_as_it_was_meant() {
        let composed = composer().compose(&email(), now()).unwrap();
        let mail = mail_parser::MessageParser::default().parse(&composed.bytes).unwrap();
        assert_eq!(mail.subject(), Some("Grüße"));
        assert_eq!(mail.message_id(), Some(format!("{}@acme.example", "07".repeat(16)).as_str()));
        assert_eq!(mail.date().map(mail_parser::DateTime::to_rfc3339), Some("2026-11-21T10:00:00Z".into()));
        assert_eq!(mail.body_text(0).as_deref(), Some("Hallo Ada, schön"));
        assert_eq!(mail.body_html(0).as_deref(), Some("<p>Hallo Ada, schön</p>"));
        assert_eq!(mail.header_raw("List-Unsubscribe").map(str::trim), Some("<https://a.example/u?x=1>"));
        assert_eq!(mail.header_raw("X-Delivery-ID").map(str::trim), Some("07".repeat(16).as_str()));
    }

    fn sent_by(options: &EmailOptions, email: &Email) -> (Composed, Vec<Option<String>>) {
        let composed = Composer::new(options).unwrap().compose(email, now()).unwrap();
        let mail = mail_parser::MessageParser::default().parse(&composed.bytes).unwrap();
        let address = |of: Option<&mail_parser::Address<'_>>| Some(of?.first()?.address()?.to_owned());
        let addresses = vec![address(mail.from()), address(mail.reply_to())];
        (composed, addresses)
    }

    #[test]
    fn a_rules_sender_outranks_the_usual_one_and_a_template_both() {
        let support = IdentityOptions { from: "Help <help@acme.example>".into(), reply_to: None };
        let options = EmailOptions {
            from: "Acme <hi@acme.example>".into(),
            reply_to: Some("team@acme.example".into()),
            senders: [("support".to_owned(), support)].into(),
            ..EmailOptions::default()
        };
        let from = |email: Email| sent_by(&options, &email).1[0].clone().unwrap();
        let by_rule = || Email { sender: Some("support".into()), ..email() };
        assert_eq!(from(email()), "hi@acme.example");
        assert_eq!(from(by_rule()), "help@acme.example");
        assert_eq!(from(Email { from: Some("ceo@acme.example".into()), ..by_rule() }), "ceo@acme.example");
        let reply_to = |email: Email| sent_by(&options, &email).1[1].clone();
        assert_eq!(reply_to(email()).as_deref(), Some("team@acme.example"));
        assert_eq!(reply_to(by_rule()), None, "who answers support reaches support");
        let unknown = Email { sender: Some("nobody".into()), ..email() };
        let refused = Composer::new(&options).unwrap().compose(&unknown, now()).unwrap_err();
        assert_eq!(refused, ComposeError::Sender("nobody".into()));
    }

    #[test]
    fn a_way_out_by_mail_stands_beside_the_link_where_the_mailbox_is_read() {
        let header = |bounce_maildir: Option<&str>| {
            let options = EmailOptions {
                from: "hi@acme.example".into(),
                return_path: Some("bounces@mail.acme.example".into()),
                bounce_maildir: bounce_maildir.map(Into::into),
                ..EmailOptions::default()
            };
            let email = Email {
                return_tag: Some("abc".into()),
                headers: vec![("List-Unsubscribe".into(), "<https://a.example/u/t0ken>".into())],
                ..email()
            };
            let bytes = sent_by(&options, &email).0.bytes;
            let mail = mail_parser::MessageParser::default().parse(&bytes).unwrap();
            mail.header_raw("List-Unsubscribe").unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(header(None), "<https://a.example/u/t0ken>");
        let both = "<https://a.example/u/t0ken>, <mailto:bounces+abc@mail.acme.example?subject=unsubscribe%20t0ken>";
        assert_eq!(header(Some("/mail")), both);
    }

    #[test]
    fn a_return_path_names_the_address_by_its_tag() {
        let path = |return_tags, tag: Option<&str>| {
            let options = EmailOptions {
                from: "hi@acme.example".into(),
                return_path: Some("bounces@mail.acme.example".into()),
                return_tags,
                ..EmailOptions::default()
            };
            sent_by(&options, &Email { return_tag: tag.map(str::to_owned), ..email() }).0.from.to_string()
        };
        assert_eq!(path(true, Some("abc")), "bounces+abc@mail.acme.example");
        assert_eq!(path(false, Some("abc")), "bounces@mail.acme.example");
        assert_eq!(path(true, None), "bounces@mail.acme.example");
    }

    #[test]
    fn pictures_travel_with_the_html_that_shows_them() {
        let image = InlineImage {
            name: "logo".into(),
            file_name: "logo.png".into(),
            media_type: "image/png",
            bytes: b"\x89PNG\r\n\x1a\n\0\xff".as_slice().into(),
        };
        let email = Email { images: vec![image], html: "<img src=\"cid:logo\">".into(), ..email() };
        let composed = composer().compose(&email, now()).unwrap();
        assert_eq!(composed.bytes, composer().compose(&email, now()).unwrap().bytes);
        let mail = mail_parser::MessageParser::default().parse(&composed.bytes).unwrap();
        assert!(mail.content_type().is_some_and(|kind| kind.subtype() == Some("alternative")));
        let related = mail.part(2).unwrap();
        assert_eq!(related.content_type().unwrap().subtype(), Some("related"));
        let picture = mail.parts.iter().find(|part| part.content_id() == Some("logo")).unwrap();
        assert_eq!(picture.contents(), b"\x89PNG\r\n\x1a\n\0\xff");
        assert_eq!(picture.content_type().unwrap().subtype(), Some("png"));
        assert_eq!(mail.body_html(0).as_deref(), Some("<img src=\"cid:logo\">"));
        assert_eq!(mail.body_text(0).as_deref(), Some("Hallo Ada, schön"));
    }

    #[test]
    fn no_field_can_add_a_header() {
        let evil = "x\r\nBcc: all@x.example\r\n\r\nbody\u{0}";
        let mut email = email();
        email.to_name = Some(evil.into());
        email.subject = evil.into();
        email.from = Some(format!("{evil} <hi@acme.example>"));
        email.headers = vec![("X-Test".into(), evil.into())];
        let composed = composer().compose(&email, now()).unwrap();
        let mail = mail_parser::MessageParser::default().parse(&composed.bytes).unwrap();
        assert!(mail.bcc().is_none());
        assert_eq!(mail.subject(), Some("x Bcc: all@x.example body"));
        assert_eq!(
            mail.from().and_then(|from| from.first()).and_then(|from| from.name()),
            Some("x Bcc: all@x.example body")
        );
    }

    #[test]
    fn what_can_never_be_sent_is_told_apart_and_names_no_address() {
        for address in ["", "nobody", "a@b@c", "a@b.example\r\nRCPT TO:<c@d.example>", "a b@c.example"] {
            let email = Email { to_address: address.into(), ..email() };
            assert_eq!(composer().compose(&email, now()).unwrap_err(), ComposeError::Recipient, "{address}");
        }
        for name in ["Bcc", "content-type", "X\r\nBcc", ""] {
            let email = Email { headers: vec![(name.into(), "x".into())], ..email() };
            assert!(matches!(composer().compose(&email, now()), Err(ComposeError::Header(_))), "{name}");
        }
        let email = Email { from: Some("nobody".into()), ..email() };
        assert_eq!(composer().compose(&email, now()).unwrap_err(), ComposeError::Template { part: "from" });
    }
}
