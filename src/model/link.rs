//! What the links of a mail carry: who may decide what, signed, with no address in it.
//!
//! ```text
//!   version · purpose · address hash · delivery · issued · expires · topic · MAC     all of it base64url
//! ```
//! The MAC is of this state alone and covers everything before it, the purpose too: a link to confirm can't be used
//! to unsubscribe, and one of another instance can't be used at all. Links to unsubscribe never expire; whoever finds
//! an old mail must still be able to.

use super::{AddressHash, DeliveryId, InstanceSecret, Topic};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

const VERSION: u8 = 1;
/// Before the topic.
const HEAD: usize = 2 + 16 + 16 + 8 + 8;
const MAC: usize = 16;
/// Stands in the links of a mail's copy in place of what is signed: they lead to a page that says so.
pub const COPIED_LINK: &str = "copy";

/// Longer texts are none of ours and are not even decoded.
const LONGEST: usize = 512;

/// No token is shorter: that of a picture, which bears least.
const SHORTEST: usize = 80;
/// Stands where a token was.
const WITHHELD: &str = "withheld";

/// What a link lets somebody do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkPurpose {
    /// Say no to the topic of a mail, or to all.
    Unsubscribe,
    /// See and change what one gets.
    Preferences,
    /// Say yes to a topic: the second half of double opt-in.
    Confirm,
    /// Answer a survey; in place of the topic stands which one, see [`AskedAbout`].
    Answer,
}

/// What a link to answer is about: the survey, whose mail asked, which scores there are, how long an answer may be
/// changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedAbout {
    pub survey: String,
    pub enrollment: i64,
    pub lowest: i64,
    pub highest: i64,
    /// In seconds.
    pub change_within: i64,
}

impl AskedAbout {
    /// As it stands in a link.
    #[must_use]
    pub fn to_topic(&self) -> Topic {
        let Self { survey, enrollment, lowest, highest, change_within } = self;
        Topic::new(format!("{survey}/{enrollment}/{lowest}/{highest}/{change_within}"))
    }

    #[must_use]
    pub fn of_topic(topic: &Topic) -> Option<Self> {
        let mut parts = topic.as_str().split('/');
        let survey = parts.next()?.to_owned();
        let mut number = || parts.next()?.parse().ok();
        let (enrollment, lowest, highest, change_within) = (number()?, number()?, number()?, number()?);
        Some(Self { survey, enrollment, lowest, highest, change_within })
    }
}

impl LinkPurpose {
    const fn code(self) -> u8 {
        match self {
            Self::Unsubscribe => 1,
            Self::Preferences => 2,
            Self::Confirm => 3,
            Self::Answer => 4,
        }
    }
}

/// A link that was read and found genuine, or is about to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub purpose: LinkPurpose,
    pub address: AddressHash,
    /// The mail that carries it.
    pub delivery: Option<DeliveryId>,
    /// `None`: about all of them.
    pub topic: Option<Topic>,
    /// Only of links that hold once.
    pub issued: Option<Timestamp>,
    pub expires: Option<Timestamp>,
}

/// Why a link is not followed. It says no more: whoever forges one learns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    #[error("the link is not one of ours, or was cut short")]
    Forged,
    #[error("the link has expired")]
    Expired,
}

impl InstanceSecret {
    /// The text of a link.
    #[must_use]
    pub fn sign_link(&self, link: &Link) -> String {
        let topic = link.topic.as_ref().map_or("", Topic::as_str);
        let mut bytes = Vec::with_capacity(HEAD + topic.len() + MAC);
        bytes.extend([VERSION, link.purpose.code()]);
        bytes.extend(link.address.0);
        bytes.extend(link.delivery.map_or([0; 16], |delivery| delivery.0));
        let second = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_second).to_be_bytes();
        bytes.extend(second(link.issued));
        bytes.extend(second(link.expires));
        bytes.extend(topic.as_bytes());
        let mac = self.keyed(&[b"link", &bytes]);
        bytes.extend(mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a link that must be for this purpose.
    pub fn read_link(&self, purpose: LinkPurpose, text: &str, now: Timestamp) -> Result<Link, BadLink> {
        if text.len() > LONGEST {
            return Err(BadLink::Forged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadLink::Forged)?;
        let (signed, mac) = bytes.split_at_checked(bytes.len().saturating_sub(MAC)).ok_or(BadLink::Forged)?;
        let genuine = self.is_keyed(&[b"link", signed], mac);
        if !genuine || signed.len() < HEAD || signed[..2] != [VERSION, purpose.code()] {
            return Err(BadLink::Forged);
        }
        let link = parse(purpose, signed).ok_or(BadLink::Forged)?;
        match link.expires {
            Some(expires) if expires < now => Err(BadLink::Expired),
            _ => Ok(link),
        }
    }

    /// The text with the token of each signed link left out, so that whoever reads it later can't decide for the one it
    /// was made for.
    #[must_use]
    pub fn without_tokens(&self, text: &str) -> String {
        let is_digit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let mut kept = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_digit) {
            let end = rest[start..].find(|c| !is_digit(c)).map_or(rest.len(), |length| start + length);
            kept.push_str(&rest[..start]);
            let word = &rest[start..end];
            kept.push_str(if word.len() >= SHORTEST && self.is_token(word) { WITHHELD } else { word });
            rest = &rest[end..];
        }
        kept.push_str(rest);
        kept
    }

    /// Whether we signed it, as a link of any purpose or one that is tracked.
    fn is_token(&self, text: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else { return false };
        let Some((signed, mac)) = bytes.split_at_checked(bytes.len().saturating_sub(MAC)) else { return false };
        [&b"link"[..], b"tracked"].into_iter().any(|kind| self.is_keyed(&[kind, signed], mac))
    }

    /// The address hash as part of a return path (VERP): lower-case letters and digits, since mail servers may
    /// change the case.
    #[must_use]
    pub fn return_tag(&self, address: AddressHash) -> String {
        let mac = self.keyed(&[b"return", &address.0]);
        base32(&[&address.0[..], &mac[..RETURN_MAC]].concat())
    }

    /// Whose return path it is; `None`: nobody's that we wrote to.
    #[must_use]
    pub fn read_return_tag(&self, tag: &str) -> Option<AddressHash> {
        let bytes = from_base32(&tag.to_ascii_lowercase()).filter(|bytes| bytes.len() == 16 + RETURN_MAC)?;
        let address = AddressHash(bytes[..16].try_into().ok()?);
        self.is_keyed(&[b"return", &address.0], &bytes[16..]).then_some(address)
    }
}

/// A mail server guesses online only, and each guess is a mail; 80 bits are plenty, and a local part has 64 places.
const RETURN_MAC: usize = 10;

fn parse(purpose: LinkPurpose, signed: &[u8]) -> Option<Link> {
    let id = |from: usize| signed.get(from..from + 16)?.try_into().ok();
    let second = |from: usize| {
        let second = i64::from_be_bytes(signed.get(from..from + 8)?.try_into().ok()?);
        Some(Some(second).filter(|second| *second != 0).map(Timestamp::from_second))
    };
    let delivery: [u8; 16] = id(18)?;
    let topic = std::str::from_utf8(signed.get(HEAD..)?).ok()?;
    Some(Link {
        purpose,
        address: AddressHash(id(2)?),
        delivery: (delivery != [0; 16]).then_some(DeliveryId(delivery)),
        topic: (!topic.is_empty()).then(|| Topic::from(topic)),
        issued: second(34)?.transpose().ok()?,
        expires: second(42)?.transpose().ok()?,
    })
}

const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn base32(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(DIGITS[(held >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        text.push(char::from(DIGITS[(held << (5 - bits)) as usize & 31]));
    }
    text
}

/// `None`: other characters, or bits left over that the encoder would not have left.
fn from_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for c in text.bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == c)?;
        held = (held << 5 | digit as u32) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    (bits < 5 && held & ((1 << bits) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TrackedLink;
    use proptest::prelude::*;

    const SECRET: InstanceSecret = InstanceSecret([7; 32]);

    fn now() -> Timestamp {
        "2026-11-20T10:00:00Z".parse().unwrap()
    }

    fn link() -> Link {
        Link {
            purpose: LinkPurpose::Unsubscribe,
            address: AddressHash([3; 16]),
            delivery: Some(DeliveryId([9; 16])),
            topic: Some("offers".into()),
            issued: None,
            expires: None,
        }
    }

    #[test]
    fn a_link_reads_back_and_shows_no_address() {
        let text = SECRET.sign_link(&link());
        assert_eq!(SECRET.read_link(LinkPurpose::Unsubscribe, &text, now()), Ok(link()));
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{text}");
        let all = Link { topic: None, delivery: None, purpose: LinkPurpose::Preferences, ..link() };
        assert_eq!(SECRET.read_link(LinkPurpose::Preferences, &SECRET.sign_link(&all), now()), Ok(all));
    }

    #[test]
    fn every_changed_byte_every_cut_and_every_other_instance_is_a_forgery() {
        let text = SECRET.sign_link(&link());
        let read = |secret: &InstanceSecret, text: &str| secret.read_link(LinkPurpose::Unsubscribe, text, now());
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                let changed = URL_SAFE_NO_PAD.encode(changed);
                assert_eq!(read(&SECRET, &changed), Err(BadLink::Forged), "byte {place}, bit {bit}");
            }
        }
        for length in 0..text.len() {
            assert_eq!(read(&SECRET, &text[..length]), Err(BadLink::Forged), "{length} characters");
        }
        assert_eq!(read(&SECRET, &format!("{text}A")), Err(BadLink::Forged));
        assert_eq!(read(&SECRET, &format!("{text}=")), Err(BadLink::Forged));
        assert_eq!(read(&SECRET, &"A".repeat(100_000)), Err(BadLink::Forged));
        assert_eq!(read(&InstanceSecret([8; 32]), &text), Err(BadLink::Forged));
        assert_eq!(read(&SECRET, &text), Ok(link()));
    }

    #[test]
    fn a_link_of_one_purpose_is_refused_for_every_other() {
        let all = [LinkPurpose::Unsubscribe, LinkPurpose::Preferences, LinkPurpose::Confirm];
        for purpose in all {
            let text = SECRET.sign_link(&Link { purpose, ..link() });
            for asked in all {
                assert_eq!(SECRET.read_link(asked, &text, now()).is_ok(), asked == purpose, "{purpose:?} as {asked:?}");
            }
        }
    }

    #[test]
    fn tokens_are_left_out_wherever_they_stand_and_nothing_else_is() {
        let ours = SECRET.sign_link(&link());
        let picture = SECRET.sign_tracked(&TrackedLink {
            delivery: DeliveryId([9; 16]),
            enrollment: 7,
            reader: AddressHash([1; 16]),
            number: 0,
            page: None,
        });
        let foreign = InstanceSecret([8; 32]).sign_link(&link());
        let text = format!("See https:&#x2f;&#x2f;a.example/u/{ours}?x=1 ({picture}), ä-{}, {foreign}", "x".repeat(99));
        let expected = text.replace(&ours, "withheld").replace(&picture, "withheld");
        assert_eq!(SECRET.without_tokens(&text), expected);
        assert!(expected.contains("/u/withheld?x=1 (withheld)") && expected.contains(&foreign));
        assert_eq!(SECRET.without_tokens(""), "");
    }

    #[test]
    fn a_link_that_expires_says_so_and_nobody_can_prolong_it() {
        let expires = now() + jiff::SignedDuration::from_hours(48);
        let link = Link { purpose: LinkPurpose::Confirm, issued: Some(now()), expires: Some(expires), ..link() };
        let text = SECRET.sign_link(&link);
        let at = |at| SECRET.read_link(LinkPurpose::Confirm, &text, at);
        assert_eq!(at(expires), Ok(link));
        assert_eq!(at(expires + jiff::SignedDuration::from_secs(1)), Err(BadLink::Expired));
    }

    #[test]
    fn a_return_tag_fits_a_local_part_survives_a_change_of_case_and_cannot_be_guessed() {
        let hash = AddressHash([0xc5; 16]);
        let tag = SECRET.return_tag(hash);
        assert!("bounces+".len() + tag.len() <= 64, "{tag}");
        assert_eq!(SECRET.read_return_tag(&tag), Some(hash));
        assert_eq!(SECRET.read_return_tag(&tag.to_uppercase()), Some(hash));
        assert_eq!(InstanceSecret([8; 32]).read_return_tag(&tag), None);
        for place in 0..tag.len() {
            let mut forged = tag.clone().into_bytes();
            forged[place] = if forged[place] == b'a' { b'b' } else { b'a' };
            assert_eq!(SECRET.read_return_tag(std::str::from_utf8(&forged).unwrap()), None, "at {place}");
            assert_eq!(SECRET.read_return_tag(&tag[..place]), None);
        }
    }

    proptest! {
        #[test]
        fn base32_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(from_base32(&base32(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_is_a_link_or_a_tag_by_chance(text in "[A-Za-z0-9_-]{0,200}") {
            prop_assert!(SECRET.read_link(LinkPurpose::Unsubscribe, &text, now()).is_err());
            prop_assert!(SECRET.read_return_tag(&text).is_none());
        }
    }
}
