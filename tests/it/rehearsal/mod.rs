//! What people ask before they trust a rule, against real databases: the same records everywhere, and nothing
//! left behind.

mod backfilled;
mod capped;
mod cooldown;
mod copied;
mod edges;
mod explained;
mod foretold;
mod history;
mod in_time;
mod left_out;
mod named;
mod printed;
mod rematched;
mod remembered;
mod same;
pub mod shown;
mod unserved;
mod verdicts;

use crate::world::World;
use nudged::engine::Previewer;
use serde_json::{Value as Json, json};

pub fn nothing() -> Json {
    json!({"name": "Acme"})
}

pub fn previewer<'a>(
    world: &'a World,
    generation: &'a nudged::rule::generation::Generation,
    sender: &'a Json,
) -> Previewer<'a> {
    Previewer {
        generation,
        source: &*world.source,
        store: &*world.store,
        sender,
        sending: None,
        now: world.now(),
        limit: 10_000,
    }
}
