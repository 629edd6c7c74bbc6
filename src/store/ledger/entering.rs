//! Enters the matches of one batch: ledger, enrollments, outbox. Three statements, whatever the size.

use super::novelty::{Probe, new_ones};
use crate::engine::placing::{Arrival, Place, Placement, place};
use crate::engine::port::{Lease, Miss, MissKind, NewMatch, Rematch, StoreError, SweepCommit, SweepCount};
use crate::model::{EndReason, SkipReason};
use crate::store::sql::Session;
use crate::store::table::sweep::Tally;
use crate::store::table::{enrollment, enrollment_state, ledger, miss, outbox, outbox_state, rule_version, timeline};
use std::collections::{BTreeMap, BTreeSet};

/// The new ones of a batch.
pub struct Fresh<'a> {
    pub matches: Vec<&'a NewMatch>,
    pub known: u64,
}

impl Fresh<'_> {
    pub fn count(&self) -> SweepCount {
        SweepCount { entered: self.matches.len() as u64, known: self.known }
    }

    pub fn tally(&self, crossed: u64) -> Tally {
        let acting = self.matches.iter().filter(|m| m.skip.is_none()).count() as u64;
        Tally { crossed, entered: self.matches.len() as u64, acting }
    }
}

pub async fn fresh<'a>(
    session: &mut Session<'_>,
    rule_state: i64,
    matches: &'a [NewMatch],
) -> Result<Fresh<'a>, StoreError> {
    carry_over(session, rule_state, matches).await?;
    let probes: Vec<Probe<'_>> = matches.iter().map(Probe::from).collect();
    let new = new_ones(session, &probes).await?;
    let fresh: Vec<_> = matches.iter().zip(new).filter_map(|(m, new)| new.then_some(m)).collect();
    Ok(Fresh { known: (matches.len() - fresh.len()) as u64, matches: fresh })
}

/// What these records still have under way under a former name of the rule goes on under its present one, so
/// that a new match finds it.
async fn carry_over(session: &mut Session<'_>, rule_state: i64, matches: &[NewMatch]) -> Result<(), StoreError> {
    let formers = matches.iter().flat_map(|m| m.former_tracks.iter().map(|former| (former, &m.track)));
    let present: BTreeMap<&[u8; 16], &[u8; 16]> = formers.collect();
    let running = enrollment::running(session, present.keys().copied()).await?;
    let moved: Vec<_> = running.iter().map(|former| (former.id, present[&former.track])).collect();
    enrollment::set_tracks(session, rule_state, &moved).await
}

/// Enters them so that their first steps are due.
pub async fn enter(
    session: &mut Session<'_>,
    lease: &Lease,
    rule_state: i64,
    fresh: &Fresh<'_>,
) -> Result<(), StoreError> {
    let matches = &fresh.matches;
    let versions = versions(session, lease, matches).await?;
    let arrivals: Vec<_> = matches.iter().map(|m| arrival(m)).collect();
    let placement = settle_places(session, &arrivals).await?;
    let at = |index: usize| matches[index].matched_at.as_microsecond();
    cancel(session, placement.replaced.iter().map(|(id, by)| (*id, matches[*by].track, at(*by)))).await?;

    ledger::insert(session, rule_state, matches).await?;
    let ids = enrollment::allocate(session, matches.len()).await?;
    let mut enrollments = Vec::with_capacity(matches.len());
    let mut steps = Vec::with_capacity(matches.len());
    for (index, id) in ids.into_iter().enumerate() {
        let (of, version) = (matches[index], versions[index]);
        let ended = placement.places[index].ended();
        let state = if ended.is_some() { enrollment_state::ENDED } else { enrollment_state::ACTIVE };
        enrollments.push(enrollment::Draft { id, of, version, state, ended });
        let queued = placement.places[index] == Place::Queued;
        if let (None, Some((node, due_at))) = (ended, of.first) {
            steps.push(outbox::Draft {
                id,
                version,
                node: node as i64,
                state: if queued { outbox_state::QUEUED } else { outbox_state::DUE },
                due_at: due_at.as_microsecond(),
                planned_at: of.planned_at.as_microsecond(),
            });
        }
    }
    enrollment::insert(session, rule_state, None, &enrollments).await?;
    outbox::insert(session, rule_state, &steps).await?;
    let begun = enrollments.iter().map(|draft| (draft.id, draft.of.matched_at.as_microsecond()));
    note_unstarted(session, begun.zip(&placement.places)).await?;
    miss::store(session, rule_state, &ignored(matches, &placement), lease.progress.swept_at).await
}

/// Those that started nothing, since their record is in the rule's steps already; for `why`.
fn ignored(matches: &[&NewMatch], placement: &Placement) -> Vec<Miss> {
    let nothing = matches.iter().zip(&placement.places).filter(|(_, place)| **place == Place::Nothing);
    let miss = |m: &NewMatch| Miss {
        entity: m.record.entity.clone(),
        key: m.record.key.clone(),
        occasion: m.occasion.clone(),
        crossed_at: m.crossed_at,
        kind: MissKind::Refused,
        reason: "already in the steps of this rule (on_rematch: ignore)".to_owned(),
    };
    nothing.map(|(m, _)| miss(m)).collect()
}

/// Keeps them out of sight until their sweep is decided.
pub async fn stage(
    session: &mut Session<'_>,
    lease: &Lease,
    rule_state: i64,
    sweep: i64,
    fresh: &Fresh<'_>,
) -> Result<(), StoreError> {
    let versions = versions(session, lease, &fresh.matches).await?;
    ledger::insert(session, rule_state, &fresh.matches).await?;
    let ids = enrollment::allocate(session, fresh.matches.len()).await?;
    let drafts = fresh.matches.iter().zip(ids).zip(versions).map(|((of, id), version)| enrollment::Draft {
        id,
        of,
        version,
        state: enrollment_state::STAGED,
        ended: arrival(of).over,
    });
    enrollment::insert(session, rule_state, Some(sweep), &drafts.collect::<Vec<_>>()).await
}

fn arrival(m: &NewMatch) -> Arrival {
    let over = match (m.skip, m.first) {
        (Some(SkipReason::Late), _) => Some(EndReason::Late),
        (Some(SkipReason::LeftOut), _) => Some(EndReason::LeftOut),
        (Some(_), _) => Some(EndReason::Cancelled),
        (None, None) => Some(EndReason::Completed),
        (None, Some(_)) => None,
    };
    Arrival { track: m.track, rematch: m.restart, over }
}

/// Places arrivals among the enrollments under way, which are locked by it.
pub async fn settle_places(session: &mut Session<'_>, arrivals: &[Arrival]) -> Result<Placement, StoreError> {
    let minding = arrivals.iter().filter(|a| a.over.is_none() && a.rematch != Rematch::Parallel);
    let tracks: BTreeSet<&[u8; 16]> = minding.map(|a| &a.track).collect();
    let running = enrollment::running(session, tracks.into_iter()).await?;
    Ok(place(arrivals, &running))
}

/// Cancels enrollments that a new match replaces: (id, track, at).
pub async fn cancel(
    session: &mut Session<'_>,
    replaced: impl Iterator<Item = (i64, [u8; 16], i64)>,
) -> Result<(), StoreError> {
    let replaced: Vec<_> = replaced.collect();
    if replaced.is_empty() {
        return Ok(());
    }
    let ends: Vec<_> = replaced.iter().map(|(id, _, at)| (*id, EndReason::Cancelled, *at)).collect();
    outbox::cancel(session, &ends.iter().map(|end| end.0).collect::<Vec<_>>()).await?;
    let line = |(enrollment, _, at): &(i64, EndReason, i64)| timeline::Line {
        enrollment: *enrollment,
        at: *at,
        step: None,
        what: "cancelled",
        detail: "a newer match took its place",
        until: None,
    };
    timeline::append(session, &ends.iter().map(line).collect::<Vec<_>>()).await?;
    enrollment::end(session, &ends).await?;
    // Others that waited for it go first.
    let freed: Vec<_> = replaced.iter().map(|(_, track, at)| (*track, *at)).collect();
    outbox::start_queued(session, &freed).await?;
    Ok(())
}

/// Says of those that start nothing that it was another's doing: (id, at) and the place of each.
pub async fn note_unstarted(
    session: &mut Session<'_>,
    placed: impl Iterator<Item = ((i64, i64), &Place)>,
) -> Result<(), StoreError> {
    let line = |((enrollment, at), place): ((i64, i64), &Place)| {
        let detail = match place {
            Place::Nothing => "another of the same record was under way (`on_rematch: ignore`)",
            Place::Replaced => "a newer match took its place",
            Place::Running | Place::Queued | Place::Ended(_) => return None,
        };
        Some(timeline::Line { enrollment, at, step: None, what: "cancelled", detail, until: None })
    };
    let lines: Vec<timeline::Line<'_>> = placed.filter_map(line).collect();
    if lines.is_empty() {
        return Ok(());
    }
    timeline::append(session, &lines).await
}

/// The number of each match's version.
async fn versions(session: &mut Session<'_>, lease: &Lease, matches: &[&NewMatch]) -> Result<Vec<i64>, StoreError> {
    if matches.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = rule_version::numbers(session, &lease.rule).await?;
    let number = |m: &&NewMatch| {
        let missing = || {
            let (version, rule) = (m.version.as_str(), &lease.rule);
            StoreError::Broken(format!("version {version} of rule {rule} is not in the state: adopt its generation"))
        };
        numbers.get(m.version.as_str()).copied().ok_or_else(missing)
    };
    matches.iter().map(number).collect()
}

/// When the misses of a commit were seen: at its sweep, by the source's clock.
pub async fn misses(session: &mut Session<'_>, rule_state: i64, commit: &SweepCommit) -> Result<(), StoreError> {
    miss::store(session, rule_state, &commit.found.misses, commit.progress.swept_at).await
}
