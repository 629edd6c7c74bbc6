//! What a release would make of held matches, as far as the database and the rules at hand tell.

use super::enrollments::last_rules;
use super::rehearsal::Rehearsal;
use super::{Context, Failure};
use crate::engine::Prospect;
use crate::engine::port::{HeldMatch, Store, SweepId};
use crate::engine::rehearse::{released, released_by_time};
use crate::model::EndReason;
use jiff::Timestamp;

/// Matches whose facts are asked for at once, and the most that is asked of the state.
pub(super) const CHUNK: usize = 1_000;

/// Of matches, in their order.
pub(super) struct Outlook {
    pub told: Vec<Prospect>,
    /// Why it goes by time alone.
    pub unasked: Option<String>,
}

/// By the facts of now, or where nobody tells those, by time alone.
pub(super) async fn outlook(context: &Context, store: &dyn Store, held: &[HeldMatch]) -> Result<Outlook, Failure> {
    match by_facts(context, held).await {
        Ok(told) => Ok(Outlook { told, unasked: None }),
        Err(why) => {
            let told = by_time(context, store, held).await?;
            Ok(Outlook { told, unasked: Some(why.to_string()) })
        }
    }
}

async fn by_facts(context: &Context, held: &[HeldMatch]) -> Result<Vec<Prospect>, Failure> {
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let rehearsal = Rehearsal::open(context).await?;
    let previewer = rehearsal.previewer(CHUNK);
    let mut told = Vec::with_capacity(held.len());
    for chunk in held.chunks(CHUNK) {
        told.extend(released(&previewer, chunk).await?);
    }
    Ok(told)
}

async fn by_time(context: &Context, store: &dyn Store, held: &[HeldMatch]) -> Result<Vec<Prospect>, Failure> {
    match last_rules(context, store).await? {
        Some(rules) => Ok(released_by_time(store, &rules, held, Timestamp::now()).await?),
        None => Ok(held.iter().map(|_| Prospect::Unknown("its rules can't be read".to_owned())).collect()),
    }
}

/// How many of a held sweep a release would end for being late. Without facts, so that a release needs no database.
pub(super) async fn too_late(context: &Context, store: &dyn Store, sweep: &SweepId) -> Result<usize, Failure> {
    let Some(rules) = last_rules(context, store).await? else { return Ok(0) };
    let is_late = |prospect: &Prospect| matches!(prospect, Prospect::Nothing { reason, .. } if *reason == LATE);
    let (mut late, mut after) = (0, 0);
    loop {
        let page = store.held_matches(sweep, after, CHUNK).await?;
        let Some(last) = page.last() else { return Ok(late) };
        after = last.place;
        late += released_by_time(store, &rules, &page, Timestamp::now()).await?.iter().filter(|p| is_late(p)).count();
    }
}

const LATE: &str = EndReason::Late.as_str();
