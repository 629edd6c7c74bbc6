//! A rendered email as a MIME message, and its envelope.
//!
//! Everything that reaches a header is cleaned of control characters first, so no name, subject or address
//! can begin a header of its own; lettre encodes what is left. The delivery id makes the Message-ID, so
//! that a repeated mail is recognised as the same one.

use super::EmailOptions;
use crate::action::SetupError;
use crate::engine::port::Email;
use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use std::time::SystemTime;

/// Headers that are ours alone; a message may bring others, such as List-Unsubscribe.
const RESERVED: [&str; 13] = [
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
}

impl Composer {
    pub fn new(options: &EmailOptions) -> Result<Self, SetupError> {
        let wrong = |key: &str| {
            SetupError::option(format!("email.{key}"), "not an address: write `name@domain` or `Name <name@domain>`")
        };
        let reply_to = options.reply_to.as_deref().map(|text| mailbox(text).ok_or_else(|| wrong("reply_to")));
        let return_path = options.return_path.as_deref().map(|text| text.trim().parse());
        Ok(Self {
            from: mailbox(&options.from).ok_or_else(|| wrong("from"))?,
            reply_to: reply_to.transpose()?,
            return_path: return_path.transpose().map_err(|_| wrong("return_path"))?,
        })
    }

    pub fn compose(&self, email: &Email, now: Timestamp) -> Result<Composed, ComposeError> {
        let template = |part: &'static str, text: &Option<String>| match text {
            Some(text) => mailbox(text).map(Some).ok_or(ComposeError::Template { part }),
            None => Ok(None),
        };
        let from = template("from", &email.from)?.unwrap_or_else(|| self.from.clone());
        let reply_to = template("reply_to", &email.reply_to)?.or_else(|| self.reply_to.clone());
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
        for (name, value) in &email.headers {
            builder = builder.raw_header(foreign_header(name, value)?);
        }
        let message = builder.multipart(parts(email)?);
        let message = message.map_err(|error| ComposeError::Mime(error.to_string()))?;
        let from = self.return_path.clone().unwrap_or(from.email);
        Ok(Composed { from, to, bytes: message.formatted() })
    }
}

/// Text and HTML, the HTML with the pictures it shows. Boundaries are of the delivery and not of chance: the same mail
/// has the same bytes wherever it is composed.
fn parts(email: &Email) -> Result<MultiPart, ComposeError> {
    let alternative = MultiPart::alternative()
        .boundary(format!("nudged-{}", email.delivery))
        .singlepart(SinglePart::plain(email.text.clone()));
    let html = SinglePart::html(email.html.clone());
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
    use crate::model::DeliveryId;
    use crate::rule::message::InlineImage;
    use mail_parser::MimeHeaders;

    fn composer() -> Composer {
        let options = EmailOptions { from: "Acme <hi@acme.example>".into(), ..EmailOptions::default() };
        Composer::new(&options).unwrap()
    }

    fn email() -> Email {
        Email {
            delivery: DeliveryId([7; 16]),
            to_address: "ada@x.example".into(),
            to_name: Some("Ada Lovelace".into()),
            subject: "Grüße".into(),
            html: "<p>Hallo Ada, schön</p>".into(),
            text: "Hallo Ada, schön".into(),
            from: None,
            reply_to: None,
            images: Vec::new(),
            headers: vec![("List-Unsubscribe".into(), "<https://a.example/u?x=1>".into())],
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
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
