//! What the links of a mail carry whose opens and clicks are noted: which mail, and where a click leads.
//!
//! ```text
//!   version · kind · delivery · enrollment · reader · number · address of a page · MAC     all of it base64url
//! ```
//! The MAC covers where the link leads, so that nobody can make one that leads elsewhere. The reader is a keyed hash of
//! their address: it tells nobody who reads, and us whether they have refused since. Such a link never expires: a
//! mail's links must go on to work.

use super::{AddressHash, BadLink, DeliveryId, InstanceSecret};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Deserialize;

const VERSION: u8 = 1;
const OPEN: u8 = 1;
const CLICK: u8 = 2;
/// Before the address.
const HEAD: usize = 2 + 16 + 8 + 16 + 2;
const MAC: usize = 16;
/// Longer addresses of pages are left as they are: what becomes of them would be too long for some mail programs.
pub const LONGEST_PAGE: usize = 1_500;
const LONGEST: usize = (HEAD + LONGEST_PAGE + MAC) * 4 / 3 + 4;

/// The consent of the catalog that says yes to it, beside that to the topic.
pub const TRACKING: &str = "tracking";

/// What may be noted of how a mail is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tracking {
    /// That it was opened: a picture of one dot is fetched.
    Opens,
    /// That one of its links was followed.
    Clicks,
}

/// A link of a mail, or the picture in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedLink {
    pub delivery: DeliveryId,
    pub enrollment: i64,
    pub reader: AddressHash,
    /// Which link of the mail; 0 is the picture.
    pub number: u16,
    /// Where a click leads; `None`: it is the picture.
    pub page: Option<String>,
}

impl InstanceSecret {
    #[must_use]
    pub fn sign_tracked(&self, link: &TrackedLink) -> String {
        let page = link.page.as_deref().unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEAD + page.len() + MAC);
        bytes.extend([VERSION, if link.page.is_some() { CLICK } else { OPEN }]);
        bytes.extend(link.delivery.0);
        bytes.extend(link.enrollment.to_be_bytes());
        bytes.extend(link.reader.0);
        bytes.extend(link.number.to_be_bytes());
        bytes.extend(page.as_bytes());
        let mac = self.keyed(&[b"tracked", &bytes]);
        bytes.extend(mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn read_tracked(&self, text: &str) -> Result<TrackedLink, BadLink> {
        if text.len() > LONGEST {
            return Err(BadLink::Forged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadLink::Forged)?;
        let (signed, mac) = bytes.split_at_checked(bytes.len().saturating_sub(MAC)).ok_or(BadLink::Forged)?;
        if !self.is_keyed(&[b"tracked", signed], mac) {
            return Err(BadLink::Forged);
        }
        parse(signed).ok_or(BadLink::Forged)
    }

    /// Names a link of a mail where it is noted that it was followed.
    #[must_use]
    pub fn seen(&self, delivery: DeliveryId, number: u16) -> [u8; 16] {
        self.keyed(&[b"seen", &delivery.0, &number.to_be_bytes()])
    }
}

fn parse(signed: &[u8]) -> Option<TrackedLink> {
    let (head, page) = signed.split_at_checked(HEAD)?;
    let page = match head[..2] {
        [VERSION, OPEN] if page.is_empty() => None,
        [VERSION, CLICK] => Some(std::str::from_utf8(page).ok()?.to_owned()),
        _ => return None,
    };
    Some(TrackedLink {
        delivery: DeliveryId(head[2..18].try_into().ok()?),
        enrollment: i64::from_be_bytes(head[18..26].try_into().ok()?),
        reader: AddressHash(head[26..42].try_into().ok()?),
        number: u16::from_be_bytes(head[42..44].try_into().ok()?),
        page,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: InstanceSecret = InstanceSecret([7; 32]);

    fn link(page: Option<&str>) -> TrackedLink {
        let (delivery, number) = (DeliveryId([9; 16]), u16::from(page.is_some()));
        TrackedLink { delivery, enrollment: 4711, reader: AddressHash([3; 16]), number, page: page.map(str::to_owned) }
    }

    #[test]
    fn it_reads_back_whatever_it_leads_to() {
        let longest = format!("https://a.example/{}", "x".repeat(LONGEST_PAGE - 18));
        assert_eq!(longest.len(), LONGEST_PAGE);
        for page in [None, Some("https://a.example/?a=1&b=2#c"), Some(longest.as_str())] {
            assert_eq!(SECRET.read_tracked(&SECRET.sign_tracked(&link(page))), Ok(link(page)));
        }
    }

    #[test]
    fn every_changed_byte_every_cut_and_every_other_instance_is_a_forgery() {
        let text = SECRET.sign_tracked(&link(Some("https://a.example/")));
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(SECRET.read_tracked(&URL_SAFE_NO_PAD.encode(changed)), Err(BadLink::Forged), "byte {place}");
        }
        for length in 0..text.len() {
            assert_eq!(SECRET.read_tracked(&text[..length]), Err(BadLink::Forged), "{length} characters");
        }
        assert_eq!(SECRET.read_tracked(&"A".repeat(100_000)), Err(BadLink::Forged));
        assert_eq!(InstanceSecret([8; 32]).read_tracked(&text), Err(BadLink::Forged));
    }

    #[test]
    fn the_links_of_pages_are_others() {
        let other = super::super::Link {
            purpose: super::super::LinkPurpose::Unsubscribe,
            address: AddressHash([3; 16]),
            delivery: None,
            topic: Some("offers".into()),
            issued: None,
            expires: None,
        };
        assert_eq!(SECRET.read_tracked(&SECRET.sign_link(&other)), Err(BadLink::Forged));
    }
}
