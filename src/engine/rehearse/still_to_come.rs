//! What is still to come of a sequence under way: from where it stands and when that is due, by the steps it has.

use super::explain::Explainer;
use crate::engine::EngineError;
use crate::engine::dispatch::subject;
use crate::engine::evaluate::{self, Answer};
use crate::engine::preview::PreviewMessage;
use crate::engine::versions::{Standing, Versions};

impl Explainer<'_> {
    /// Nothing for one that no step is due for, or that a reload has stopped or ended.
    pub(super) async fn still_to_come(&self, enrollment: i64) -> Result<Vec<PreviewMessage>, EngineError> {
        let previewer = self.previewer;
        let Some(mut place) = previewer.store.place(enrollment).await? else { return Ok(Vec::new()) };
        let (store, generation) = (previewer.store, previewer.generation);
        let rule = match Versions::default().standing(store, generation, &place.rule, &place.version).await? {
            Standing::Run(rule) => rule,
            Standing::Migrate { from, to } => {
                let step = from.rule.nodes.get(place.node).map(|node| &node.id);
                let node = to.rule.nodes.iter().position(|node| Some(&node.id) == step);
                let Some(node) = node else { return Ok(Vec::new()) };
                place.node = node;
                to
            }
            Standing::Cancel(_) | Standing::Hold(_) => return Ok(Vec::new()),
        };
        let asked = [subject(&rule, &place)];
        let answer = evaluate::ask(previewer.source, &rule, &self.record.tenant, &asked, previewer.now).await?.pop();
        let Some(Answer::Facts(facts)) = answer else { return Ok(Vec::new()) };
        previewer.rest_of(&rule, place, &facts).await
    }
}
