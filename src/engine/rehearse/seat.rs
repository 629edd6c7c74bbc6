//! Where a sequence goes on: in the steps that it has, or in those that a reload put in their place.

use crate::engine::EngineError;
use crate::engine::port::{Claimed, Store};
use crate::engine::versions::{Standing, Versions};
use crate::rule::CompiledRule;
use crate::rule::generation::Generation;
use std::sync::Arc;

pub(super) enum Seat {
    Runs(Arc<CompiledRule>, Box<Claimed>),
    /// The newer rule that took over has no step of that id.
    StepGone,
    /// A reload ends it.
    Cancelled(&'static str),
    Held(String),
}

pub(super) async fn seat(
    versions: &Versions,
    (store, generation): (&dyn Store, &Generation),
    mut place: Claimed,
) -> Result<Seat, EngineError> {
    Ok(match versions.standing(store, generation, &place.rule, &place.version).await? {
        Standing::Run(rule) => Seat::Runs(rule, Box::new(place)),
        Standing::Migrate { from, to } => {
            let step = from.rule.nodes.get(place.node).map(|node| &node.id);
            match to.rule.nodes.iter().position(|node| Some(&node.id) == step) {
                Some(node) => {
                    place.node = node;
                    Seat::Runs(to, Box::new(place))
                }
                None => Seat::StepGone,
            }
        }
        Standing::Cancel(why) => Seat::Cancelled(why),
        Standing::Hold(why) => Seat::Held(why),
    })
}
