//! What is still to come of a sequence under way: from where it stands and when that is due, by the steps it has.

use super::explain::Explainer;
use super::seat::{Seat, seat};
use crate::engine::EngineError;
use crate::engine::dispatch::subject;
use crate::engine::evaluate::{self, Answer};
use crate::engine::preview::PreviewMessage;
use crate::engine::versions::Versions;

impl Explainer<'_> {
    /// Nothing for one that no step is due for, or that a reload has stopped or ended.
    pub(super) async fn still_to_come(&self, enrollment: i64) -> Result<Vec<PreviewMessage>, EngineError> {
        let previewer = self.previewer;
        let Some(place) = previewer.store.place(enrollment).await? else { return Ok(Vec::new()) };
        let around = (previewer.store, previewer.generation);
        let Seat::Runs(rule, place) = seat(&Versions::default(), around, place).await? else { return Ok(Vec::new()) };
        let asked = [subject(&rule, &place)];
        let answer = evaluate::ask(previewer.source, &rule, &self.record.tenant, &asked, previewer.now).await?.pop();
        let Some(Answer::Facts(facts)) = answer else { return Ok(Vec::new()) };
        previewer.rest_of(&rule, *place, &facts).await
    }
}
