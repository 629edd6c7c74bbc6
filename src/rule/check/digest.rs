//! Messages that tell of several matches.

use super::Checker;
use crate::catalog::Entity;
use crate::diagnostic::yaml::At;
use crate::model::{FieldName, RoleName};
use crate::rule::checked::{Action, Digest, Email};
use crate::rule::written::{DigestEntry, EmailEntry, RuleFile};

/// Rows of a digest whose file doesn't say.
const USUAL_ROWS: u64 = 50;
const MOST_ROWS: u64 = 1_000;
/// The one way to combine messages.
const PER_RECIPIENT: &str = "per recipient";

impl<'a> Checker<'a> {
    pub(super) fn digest(
        &mut self,
        entity: &'a Entity,
        to: Option<&RoleName>,
        written: &DigestEntry,
    ) -> Option<Action> {
        let mail = EmailEntry {
            template: written.template.clone(),
            to: written.to.clone(),
            confirms: None,
            asks: None,
            id: None,
        };
        let Action::Email(email) = self.email(entity, to, &mail)? else { return None };
        let role = email.to.as_ref().or(to);
        // It names many customers: none of them may read it.
        if role.and_then(|role| entity.recipients.get(role)).is_some_and(|recipient| !recipient.staff) {
            let at = written.to.as_ref().unwrap_or(&written.template);
            let help = "name a role with `staff: true` in the catalog";
            self.wrong(&at.range, "rule.digest", "a digest goes to our own people only", help);
        }
        let rows = written.rows.as_ref().map_or(USUAL_ROWS, |rows| rows.value);
        if let Some(wrong) = written.rows.as_ref().filter(|rows| !(1..=MOST_ROWS).contains(&rows.value)) {
            let message = format!("a mail with {} rows", wrong.value);
            self.wrong(&wrong.range, "rule.digest", message, "write a number from 1 to 1000");
        }
        let mut order = Vec::new();
        for by in &written.order {
            order.push(self.row_order(entity, by)?);
        }
        let digest = Digest { rows: usize::try_from(rows).unwrap_or(usize::MAX), order };
        Some(Action::Email(Email { digest: Some(digest), ..email }))
    }

    /// `health_score` or `name desc`.
    fn row_order(&mut self, entity: &'a Entity, written: &At<String>) -> Option<(FieldName, bool)> {
        let text = written.trim();
        let (name, greatest_first) = match text.strip_suffix(" desc") {
            Some(name) => (name.trim(), true),
            None => (text.strip_suffix(" asc").unwrap_or(text).trim(), false),
        };
        let named = At { value: name.to_owned(), range: written.range.clone(), source: written.source.clone() };
        let (field, _) = self.field(entity, &named)?;
        Some((field, greatest_first))
    }

    pub(super) fn combine(&mut self, written: &RuleFile) -> bool {
        let Some(combine) = &written.combine else { return false };
        if combine.trim() != PER_RECIPIENT {
            let message = format!("`{}` is no way to combine messages", combine.value);
            self.wrong(&combine.range, "rule.combine", message, "write `combine: per recipient`");
        } else if written.spread.is_some() {
            let help = "remove `spread`, which sends them at different times, or this key";
            self.wrong(&combine.range, "rule.combine", "messages that are spread can't be combined", help);
        }
        true
    }
}
