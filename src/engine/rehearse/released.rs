//! What a release would make of the matches of a held sweep: by the steps that they have, on facts of now, by the
//! decisions that they would meet.

use super::seat::{Seat, seat};
use crate::engine::EngineError;
use crate::engine::dispatch::{begins_late, subject};
use crate::engine::evaluate::{self, Answer};
use crate::engine::held::by_mode;
use crate::engine::placing::{Arrival, Place, place};
use crate::engine::port::{Claimed, HeldMatch, RuleStatus, Store};
use crate::engine::preview::{Previewer, Prospect, tracks, under_way};
use crate::engine::sweep::rematch;
use crate::engine::versions::{Versions, successor};
use crate::model::{EndReason, RuleId, Tenant, VersionHash};
use crate::rule::CompiledRule;
use crate::rule::compiled::Subject;
use crate::rule::generation::Generation;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Said of what needs facts, where nobody could be asked for them.
const UNASKED: &str = "the database was not asked";

/// One that would begin.
struct Beginning {
    /// Which of the matches.
    index: usize,
    rule: Arc<CompiledRule>,
    place: Claimed,
}

/// Every match in its order, on the facts of now.
pub async fn released(previewer: &Previewer<'_>, held: &[HeldMatch]) -> Result<Vec<Prospect>, EngineError> {
    let around = (previewer.store, previewer.generation);
    let (mut told, begin) = begin(around, held, previewer.now).await?;
    let mut groups: BTreeMap<(RuleId, VersionHash, Tenant), Vec<Beginning>> = BTreeMap::new();
    for beginning in begin {
        let Claimed { rule, version, record, .. } = &beginning.place;
        let group = (rule.clone(), version.clone(), record.tenant.clone());
        groups.entry(group).or_default().push(beginning);
    }
    for ((_, _, tenant), rows) in groups {
        of_group(previewer, &tenant, rows, &mut told).await?;
    }
    Ok(told)
}

/// The same without the source: only what time alone decides is known.
pub async fn released_by_time(
    store: &dyn Store,
    generation: &Generation,
    held: &[HeldMatch],
    now: Timestamp,
) -> Result<Vec<Prospect>, EngineError> {
    let (mut told, begin) = begin((store, generation), held, now).await?;
    for Beginning { index, rule, place } in begin {
        if let Some(detail) = begins_late(&rule.rule, &place, now) {
            told[index] = Prospect::ends(EndReason::Late, &detail);
        }
    }
    Ok(told)
}

/// What is known of each without facts, and those that they are needed for.
async fn begin(
    around: (&dyn Store, &Generation),
    held: &[HeldMatch],
    now: Timestamp,
) -> Result<(Vec<Prospect>, Vec<Beginning>), EngineError> {
    let (versions, paused) = (Versions::default(), paused(around.0).await?);
    let (mut told, mut begin) = (Vec::with_capacity(held.len()), Vec::new());
    for (index, held) in held.iter().enumerate() {
        let place = match (held.left_out, &held.begins) {
            (Some(reason), _) => Err(Prospect::ends(reason, "")),
            (None, None) => Err(Prospect::ends(EndReason::Completed, "it has no steps, or the person was erased")),
            (None, Some(place)) if paused.contains(&place.rule) => {
                Err(Prospect::Waits("an operator paused the rule".to_owned()))
            }
            (None, Some(place)) => seated(&versions, around, place, now).await?,
        };
        match place {
            Ok((rule, place)) => {
                told.push(Prospect::Unknown(UNASKED.to_owned()));
                begin.push(Beginning { index, rule, place });
            }
            Err(prospect) => told.push(prospect),
        }
    }
    let begin = placed(around.0, begin, &mut told).await?;
    Ok((told, begin))
}

/// Those that begin beside each other, and beside what their records have under way.
async fn placed(
    store: &dyn Store,
    begin: Vec<Beginning>,
    told: &mut [Prospect],
) -> Result<Vec<Beginning>, EngineError> {
    let (mut arrivals, mut present) = (Vec::with_capacity(begin.len()), HashMap::new());
    for Beginning { rule, place, .. } in &begin {
        let tracks = tracks(store.secret(), &rule.rule, place.lane, &place.record);
        arrivals.push(Arrival { track: tracks[0], rematch: rematch(&rule.rule), over: None });
        present.extend(tracks.iter().map(|track| (*track, tracks[0])));
    }
    let running = under_way(store, present).await?;
    let mut free = Vec::with_capacity(begin.len());
    for (row, place) in begin.into_iter().zip(place(&arrivals, &running).places) {
        told[row.index] = match place {
            Place::Running | Place::Ended(_) => {
                free.push(row);
                continue;
            }
            Place::Queued => Prospect::Waits("for another of its record to end (`on_rematch: queue`)".to_owned()),
            Place::Nothing => {
                Prospect::ends(EndReason::Cancelled, "another of its record is under way, or comes first")
            }
            Place::Replaced => Prospect::ends(EndReason::Cancelled, "a newer one takes its place"),
        };
    }
    Ok(free)
}

async fn paused(store: &dyn Store) -> Result<BTreeSet<RuleId>, EngineError> {
    let states = store.rule_states().await?.into_iter();
    Ok(states.filter(|state| state.status == RuleStatus::Paused).map(|state| state.rule).collect())
}

/// Where it begins, or why it doesn't.
async fn seated(
    versions: &Versions,
    around: (&dyn Store, &Generation),
    place: &Claimed,
    now: Timestamp,
) -> Result<Result<(Arc<CompiledRule>, Claimed), Prospect>, EngineError> {
    // A release makes due at once what was due by now.
    let place = Claimed { due_at: place.due_at.max(now), ..place.clone() };
    Ok(match seat(versions, around, place).await? {
        Seat::StepGone => Err(Prospect::ends(EndReason::Completed, "the newer rule has no step of this id")),
        Seat::Cancelled(why) => Err(Prospect::ends(EndReason::Cancelled, why)),
        Seat::Held(why) => Err(Prospect::Waits(why)),
        Seat::Runs(rule, place) => {
            let mode = successor(around.1, &place.rule).unwrap_or(&rule).rule.mode;
            match by_mode(mode, place.lane) {
                Some(why) => Err(Prospect::Waits(why.to_owned())),
                None => Ok((rule, *place)),
            }
        }
    })
}

/// Those who share a statement of facts.
async fn of_group(
    previewer: &Previewer<'_>,
    tenant: &Tenant,
    rows: Vec<Beginning>,
    told: &mut [Prospect],
) -> Result<(), EngineError> {
    let Some(rule) = rows.first().map(|row| Arc::clone(&row.rule)) else { return Ok(()) };
    let subjects: Vec<Subject> = rows.iter().map(|row| subject(&rule, &row.place)).collect();
    let answers = evaluate::ask(previewer.source, &rule, tenant, &subjects, previewer.now).await?;
    let gone = answers.iter().any(|answer| matches!(answer, Answer::Gone));
    let emptied = gone && evaluate::is_emptied(previewer.source, &rule, tenant).await?;
    for (row, answer) in rows.into_iter().zip(answers) {
        told[row.index] = match answer {
            _ if emptied => Prospect::Waits(format!("there are no {} records any more", rule.rule.for_each)),
            Answer::Facts(facts) => previewer.prospect(&rule, row.place, &facts).await?,
            Answer::Gone => Prospect::ends(EndReason::RecordGone, "the record is no longer there"),
            Answer::Unreadable(error) => Prospect::Waits(format!("unreadable: {error}")),
        };
    }
    Ok(())
}
