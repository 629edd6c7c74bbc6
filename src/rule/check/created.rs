use super::Checker;
use super::trigger::AT_ONCE;
use crate::catalog::Entity;
use crate::rule::checked::Created;
use crate::rule::written::CreatedEntry;
use std::ops::Range;

impl<'a> Checker<'a> {
    pub(super) fn created(
        &mut self,
        entity: &'a Entity,
        written: &CreatedEntry,
        range: &Range<usize>,
    ) -> Option<Created> {
        let settle = self.settle(written.settle.as_ref(), AT_ONCE);
        let at = match (&written.at, &entity.at) {
            (Some(name), _) => self.stored_time(entity, name)?,
            (None, Some(at)) => at.clone(),
            (None, None) => {
                let message = format!("the catalog doesn't say when a row of `{}` appeared", entity.name);
                let help = "name its time field: `created: {at: created_at}`, or add `at:` to the entity";
                self.wrong(range, "rule.no-time", message, help);
                return None;
            }
        };
        Some(Created { at, settle: settle? })
    }
}
