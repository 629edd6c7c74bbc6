//! What ends a sequence under way, and what its branches and waits ask, goes by its own entry: `since: entry` is since
//! then, and not since now.

use super::explain::Explainer;
use super::term;
use crate::engine::EngineError;
use crate::engine::dispatch::subject;
use crate::engine::evaluate::{self, Answer};
use crate::engine::port::EnrollmentView;
use crate::model::EnrollmentState;
use crate::rule::compiled::{Facts, Subject};
use crate::rule::operands::{Operand, Section};
use std::sync::Arc;

/// A record's facts and what its comparisons found.
pub(super) type Told = (Option<Arc<Facts>>, Vec<Operand>);

impl Explainer<'_> {
    /// The same with the terms that are asked after entry as they stand for the newest enrollment under way.
    pub(super) async fn since_entry(
        &self,
        (facts, operands): Told,
        enrollments: &[EnrollmentView],
    ) -> Result<Told, EngineError> {
        let Some(entered) = self.entered(enrollments).await? else { return Ok((facts, operands)) };
        let Some(known) = facts.as_deref() else { return Ok((facts, operands)) };
        let (previewer, rule, tenant) = (self.previewer, self.rule, &self.record.tenant);
        let (source, now, asked) = (previewer.source, previewer.now, std::slice::from_ref(&entered));
        let answer = evaluate::ask_all(source, rule, tenant, asked, now).await?.pop();
        let Some(Answer::Facts(theirs)) = answer else { return Ok((facts, operands)) };
        let found = term::operands(source, previewer.generation, rule, tenant, &entered, now).await?;
        let mut told: Vec<Operand> = operands.into_iter().filter(|operand| !after_entry(operand.section)).collect();
        told.extend(found.into_iter().filter(|operand| after_entry(operand.section)));
        let (conditions, only_at_entry) = (known.conditions.clone(), known.only_at_entry.clone());
        Ok((Some(Arc::new(Facts { conditions, only_at_entry, ..(*theirs).clone() })), told))
    }

    /// As the dispatcher asks it. `None`: nothing is under way.
    async fn entered(&self, enrollments: &[EnrollmentView]) -> Result<Option<Subject>, EngineError> {
        let under_way = |view: &&EnrollmentView| view.state != EnrollmentState::Ended && !view.is_queued();
        let Some(newest) = enrollments.iter().find(under_way) else { return Ok(None) };
        let place = self.previewer.store.place(newest.id).await?;
        Ok(place.map(|place| subject(self.rule, &place)))
    }
}

const fn after_entry(section: Section) -> bool {
    matches!(section, Section::Goal | Section::ExitWhen | Section::Case(..))
}
