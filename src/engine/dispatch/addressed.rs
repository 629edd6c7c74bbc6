//! Whom a step may write to, by each of the channels that it may take.

use super::decide::{address, addressee, number};
use crate::engine::port::Reader;
use crate::engine::settings::Sending;
use crate::model::{AddressHash, Channel, ContactId, InstanceSecret, RoleName, Tenant};
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Purpose};
use crate::rule::compiled::{Facts, PersonFacts};

/// Whether a message is to our own people: they are not asked for consent, nor counted.
pub fn is_staff(rule: &CheckedRule, person: Option<&PersonFacts>) -> bool {
    rule.purpose == Purpose::Staff || person.is_some_and(|person| person.staff)
}

/// The addresses that a step may come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addressed {
    pub email: Option<AddressHash>,
    pub sms: Option<AddressHash>,
    /// Whose caps count its mail; `None`: nobody's.
    pub mail_contact: Option<ContactId>,
    /// Whose caps count its text message.
    pub text_contact: Option<ContactId>,
}

impl Addressed {
    pub fn of(
        rule: &CheckedRule,
        action: &Action,
        (facts, tenant): (&Facts, &Tenant),
        sending: &Sending,
        secret: &InstanceSecret,
    ) -> Self {
        let person = |to: Option<&RoleName>| addressee(rule, to, facts);
        let mail = action.email().and_then(|email| person(email.to.as_ref()));
        let text = action.sms().and_then(|sms| person(sms.to.as_ref()));
        let email = mail.and_then(address).map(|address| secret.address_hash(Channel::Email, address));
        let sms = text.and_then(|person| number(person, sending.texts.country));
        let sms = sms.map(|number| secret.address_hash(Channel::Sms, &number));
        let counted = |hash: Option<AddressHash>, person: Option<&PersonFacts>, capped: bool| {
            let counts = capped && matches!(rule.purpose, Purpose::Topic(_)) && person.is_some_and(|who| !who.staff);
            hash.filter(|_| counts).map(|hash| secret.contact(tenant, hash))
        };
        Self {
            email,
            sms,
            mail_contact: counted(email, mail, !sending.limits.caps.is_empty()),
            text_contact: counted(sms, text, !sending.texts.limits.caps.is_empty()),
        }
    }

    /// Whom an action writes to, as their own no is known by.
    pub fn reader(&self, action: &Action, rule: &CheckedRule, person: Option<&PersonFacts>) -> Option<Reader> {
        let hash = match action {
            Action::Email(_) => self.email?,
            Action::Sms(_) => self.sms?,
            _ => return None,
        };
        let staff = is_staff(rule, person);
        let topic = match &rule.purpose {
            Purpose::Topic(topic) if !staff => Some(topic.clone()),
            _ => None,
        };
        Some(Reader { hash, topic, staff })
    }

    pub fn hashes(&self) -> impl Iterator<Item = AddressHash> {
        self.email.into_iter().chain(self.sms)
    }

    /// Whose caps count, by the channel that they are of.
    pub fn by_channel(&self) -> impl Iterator<Item = (Channel, ContactId)> {
        let mail = self.mail_contact.map(|contact| (Channel::Email, contact));
        mail.into_iter().chain(self.text_contact.map(|contact| (Channel::Sms, contact)))
    }

    pub fn contacts(&self) -> impl Iterator<Item = ContactId> {
        self.mail_contact.into_iter().chain(self.text_contact)
    }
}
