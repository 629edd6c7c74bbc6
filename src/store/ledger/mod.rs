//! Sweeps: whose turn it is, what they enter, and how far they have looked.

mod enrolling;
mod entering;
mod expanding;
mod novelty;

use super::database::Database;
use super::places::instant;
use super::sql::Session;
use super::state::State;
use super::table::{enrollment, episode, miss, rule_state, sweep, sweep_state};
use crate::engine::port::{
    Candidate, Counted, Episode, EpisodePage, Found, Lease, Ledger, OpenEpisode, Owner, Progress, Running, Standing,
    StoreError, SweepCommit, SweepCount, SweepId, Verdict,
};
use crate::model::{Lane, RuleId, Tenant};
use async_trait::async_trait;
pub(super) use enrolling::enroll;
use entering::fresh;
use jiff::Timestamp;
use novelty::{Novelty, Probe, novelties};
use std::collections::HashMap;
use std::sync::Arc;

/// Rows in one transaction of work that may be split. SQLite's single writer is then busy for some 25 ms.
const CHUNK: usize = 1_000;

#[async_trait]
impl<D: Database> Ledger for State<D> {
    async fn begin_sweep(
        &self,
        rule: &RuleId,
        lane: Lane,
        tenant: &Tenant,
        owner: &Owner,
    ) -> Result<Option<Lease>, StoreError> {
        let (of, owner, length) = (Arc::new((rule.clone(), tenant.clone())), owner.clone(), self.lease_micros());
        let taken = self.database.write(move |mut session| {
            let (of, owner) = (Arc::clone(&of), owner.clone());
            Box::pin(async move { begin(&mut session, (&of.0, lane, &of.1), &owner, length).await })
        });
        let Some((lease, mut more)) = taken.await? else { return Ok(None) };
        while more {
            let of = lease.clone();
            let settled = self.database.write(move |mut session| {
                let of = of.clone();
                Box::pin(async move { expanding::settle_left(&mut session, &of, CHUNK).await })
            });
            more = settled.await?;
        }
        Ok(Some(lease))
    }

    async fn keep_sweep(&self, lease: &Lease) -> Result<(), StoreError> {
        let (of, length) = (Arc::new(lease.clone()), self.lease_micros());
        let kept = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move {
                let rule = rule_state::check(&mut session, &of).await?;
                rule_state::extend(&mut session, rule, length).await
            })
        });
        kept.await
    }

    async fn give_up_sweeps(&self, owner: &Owner) -> Result<(), StoreError> {
        let owner = owner.clone();
        let given_up = self.database.write(move |mut session| {
            let owner = owner.clone();
            Box::pin(async move { rule_state::give_up(&mut session, &owner).await })
        });
        given_up.await
    }

    async fn note_populated(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        let noted = self.database.write(move |mut session| {
            let lease = lease.clone();
            Box::pin(async move { rule_state::note_populated(&mut session, &lease).await })
        });
        noted.await
    }

    async fn trip(&self, lease: &Lease, reason: &str) -> Result<(), StoreError> {
        let of = Arc::new((lease.clone(), reason.to_owned()));
        let tripped = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { rule_state::trip(&mut session, &of.0, &of.1).await })
        });
        tripped.await
    }

    async fn standings(&self, lease: &Lease, candidates: &[Candidate]) -> Result<Vec<Standing>, StoreError> {
        let of = Arc::new((lease.clone(), candidates.to_vec()));
        let standings = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { standings(&mut session, &of.0, &of.1).await })
        });
        standings.await
    }

    async fn under_way(&self, tracks: &[[u8; 16]]) -> Result<Vec<Running>, StoreError> {
        let tracks: Arc<[[u8; 16]]> = tracks.into();
        let found = self.database.read(move |mut session| {
            let tracks = Arc::clone(&tracks);
            Box::pin(async move { enrollment::seen_running(&mut session, tracks.iter()).await })
        });
        found.await
    }

    async fn commit_sweep(&self, lease: &Lease, commit: &SweepCommit) -> Result<SweepCount, StoreError> {
        let of = Arc::new((lease.clone(), commit.clone()));
        let committed = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { commit_small(&mut session, &of.0, &of.1).await })
        });
        let count = committed.await?;
        self.floor.reset();
        Ok(count)
    }

    async fn stage(&self, lease: &Lease, sweep: &SweepId, found: &Found) -> Result<SweepCount, StoreError> {
        let (of, length) = (Arc::new((lease.clone(), sweep.clone())), self.lease_micros());
        let mut total = SweepCount::default();
        // Nobody sees staged rows, so they needn't be written at once.
        let longest = found.matches.len().max(found.misses.len()).max(found.episodes.len());
        for part in 0..longest.div_ceil(CHUNK).max(1) {
            let part = Found {
                matches: found.matches.chunks(CHUNK).nth(part).unwrap_or_default().to_vec(),
                misses: found.misses.chunks(CHUNK).nth(part).unwrap_or_default().to_vec(),
                episodes: found.episodes.chunks(CHUNK).nth(part).unwrap_or_default().to_vec(),
            };
            let (of, part) = (Arc::clone(&of), Arc::new(part));
            let staged = self.database.write(move |mut session| {
                let (of, part) = (Arc::clone(&of), Arc::clone(&part));
                Box::pin(async move { stage(&mut session, (&of.0, &of.1), &part, length).await })
            });
            let count = staged.await?;
            total.entered += count.entered;
            total.known += count.known;
        }
        Ok(total)
    }

    async fn episodes(&self, lease: &Lease, records: &[[u8; 16]]) -> Result<Vec<Option<Episode>>, StoreError> {
        let of = Arc::new((lease.clone(), records.to_vec()));
        let found = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move {
                match rule_state::find(&mut session, &of.0).await? {
                    Some(rule) => episode::of_records(&mut session, rule, &of.1).await,
                    None => Ok(vec![None; of.1.len()]),
                }
            })
        });
        found.await
    }

    async fn open_episodes(&self, lease: &Lease, page: &EpisodePage) -> Result<Vec<OpenEpisode>, StoreError> {
        let (of, page) = (Arc::new(lease.clone()), *page);
        let open = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move {
                match rule_state::find(&mut session, &of).await? {
                    Some(rule) => episode::open(&mut session, rule, &page).await,
                    None => Ok(Vec::new()),
                }
            })
        });
        open.await
    }

    async fn close_sweep(
        &self,
        lease: &Lease,
        sweep: &SweepId,
        verdict: &Verdict,
        progress: &Progress,
        counted: Option<Counted>,
    ) -> Result<(), StoreError> {
        let of = Arc::new((lease.clone(), sweep.clone(), verdict.clone(), progress.clone()));
        let closed = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move {
                still(&mut session, &of.0, counted).await?;
                let rule = rule_state::check(&mut session, &of.0).await?;
                close(&mut session, rule, &of.1, &of.2, &of.3).await
            })
        });
        closed.await
    }

    async fn expand(&self, limit: usize) -> Result<usize, StoreError> {
        let limit = limit.clamp(1, CHUNK);
        loop {
            let expanded = self
                .database
                .write(move |mut session| Box::pin(async move { expanding::expand(&mut session, limit).await }));
            match expanded.await? {
                None => return Ok(0),
                Some(0) => {}
                Some(count) => {
                    self.floor.reset();
                    return Ok(count);
                }
            }
        }
    }

    async fn decide_held(&self, sweep: &SweepId, release: bool, now: Timestamp) -> Result<u64, StoreError> {
        let sweep = sweep.clone();
        let decided = self.database.write(move |mut session| {
            let sweep = sweep.clone();
            Box::pin(async move { decide(&mut session, &sweep, release, now).await })
        });
        decided.await
    }

    async fn matched_since(
        &self,
        rule: &RuleId,
        lane: Lane,
        tenant: &Tenant,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let of = Arc::new((rule.clone(), tenant.clone()));
        let counted = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { sweep::acting_since(&mut session, (&of.0, lane, &of.1), since).await })
        });
        counted.await
    }

    async fn matched_everywhere(&self, rule: &RuleId, lane: Lane, since: Timestamp) -> Result<u64, StoreError> {
        let of = Arc::new(rule.clone());
        let counted = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { sweep::acting_everywhere(&mut session, (&of, lane), since).await })
        });
        counted.await
    }
}

/// Whether nobody has entered matches of the rule for other tenants since they were counted. Nobody does from here
/// to the end of the transaction.
async fn still(session: &mut Session<'_>, lease: &Lease, counted: Option<Counted>) -> Result<(), StoreError> {
    let Some(Counted { since, matches }) = counted else { return Ok(()) };
    rule_state::lock_tenants(session, lease).await?;
    if sweep::acting_everywhere(session, (&lease.rule, lease.lane), since).await? == matches {
        return Ok(());
    }
    Err(StoreError::Overtaken { rule: lease.rule.to_string() })
}

/// The lease, and whether earlier sweeps left something that must be settled first.
async fn begin(
    session: &mut Session<'_>,
    rule: (&RuleId, Lane, &Tenant),
    owner: &Owner,
    length: i64,
) -> Result<Option<(Lease, bool)>, StoreError> {
    let Some((id, lease)) = rule_state::take(session, rule, owner, length).await? else { return Ok(None) };
    let open = sweep::left_open(session, id).await?;
    let staged = episode::staged_of(session, id).await?;
    Ok(Some((lease, !open.is_empty() || staged.is_some())))
}

async fn standings(
    session: &mut Session<'_>,
    lease: &Lease,
    candidates: &[Candidate],
) -> Result<Vec<Standing>, StoreError> {
    // Asking needs no lease: a preview asks as well, perhaps of a rule that was never adopted.
    let rule = rule_state::find(session, lease).await?;
    let probes: Vec<Probe<'_>> = candidates.iter().map(Probe::from).collect();
    let novelties = novelties(session, &probes).await?;
    let asked = candidates.iter().enumerate().filter(|(n, _)| novelties[*n] == Novelty::New);
    let asked = asked.map(|(n, c)| (n, &c.entity, &c.key, &c.occasion));
    let mut misses = match rule {
        Some(rule) => miss::of_crossers(session, rule, asked).await?,
        None => HashMap::new(),
    };
    let mut standings = Vec::with_capacity(novelties.len());
    for (n, novelty) in novelties.into_iter().enumerate() {
        standings.push(match (novelty, misses.remove(&n)) {
            (Novelty::Known, _) => Standing::Known,
            (Novelty::TooClose(at), _) => Standing::TooClose { to: instant(at) },
            (Novelty::New, Some((kind, reason))) => Standing::Missed { kind, reason },
            (Novelty::New, None) => Standing::New,
        });
    }
    Ok(standings)
}

async fn commit_small(
    session: &mut Session<'_>,
    lease: &Lease,
    commit: &SweepCommit,
) -> Result<SweepCount, StoreError> {
    still(session, lease, commit.counted).await?;
    let rule = rule_state::check(session, lease).await?;
    let fresh = fresh(session, rule, &commit.found.matches).await?;
    let tally = fresh.tally(commit.crossed);
    entering::misses(session, rule, commit).await?;
    episode::store(session, rule, &commit.found.episodes).await?;
    if let Some((name, reason)) = &commit.held {
        let id = sweep::open(session, name, rule, commit.progress.swept_at).await?;
        entering::stage(session, lease, rule, id, &fresh).await?;
        sweep::add(session, id, tally).await?;
        close(session, rule, name, &Verdict::Held(reason.clone()), &commit.progress).await?;
        return Ok(fresh.count());
    }
    if tally.entered > 0 {
        entering::enter(session, lease, rule, &fresh).await?;
        sweep::done(session, rule, tally, commit.progress.swept_at).await?;
    }
    rule_state::advance(session, rule, &commit.progress, tally.entered, None).await?;
    Ok(fresh.count())
}

async fn stage(
    session: &mut Session<'_>,
    (lease, name): (&Lease, &SweepId),
    Found { matches, misses, episodes }: &Found,
    length: i64,
) -> Result<SweepCount, StoreError> {
    let rule = rule_state::check(session, lease).await?;
    rule_state::extend(session, rule, length).await?;
    let newest = matches.iter().map(|m| m.matched_at).chain(misses.iter().map(|m| m.crossed_at)).max();
    let at = newest.unwrap_or(lease.progress.swept_at);
    let id = sweep::open(session, name, rule, at).await?;
    let fresh = fresh(session, rule, matches).await?;
    entering::stage(session, lease, rule, id, &fresh).await?;
    sweep::add(session, id, fresh.tally((matches.len() + misses.len()) as u64)).await?;
    miss::store(session, rule, misses, at).await?;
    episode::stage(session, rule, id, episodes).await?;
    Ok(fresh.count())
}

async fn close(
    session: &mut Session<'_>,
    rule: i64,
    name: &SweepId,
    verdict: &Verdict,
    progress: &Progress,
) -> Result<(), StoreError> {
    let (state, held) = match verdict {
        Verdict::Released => (sweep_state::RELEASED, None),
        Verdict::Held(reason) => (sweep_state::HELD, Some(reason.as_str())),
    };
    // A sweep that staged nothing has no row, and only moves the watermark.
    let staged = sweep::find(session, name, sweep_state::OPEN).await?;
    if let Some((id, _, _)) = staged {
        sweep::set_state(session, id, state, held, Some(progress.swept_at)).await?;
    }
    let entered = staged.map_or(0, |(_, _, entered)| entered);
    let released = if held.is_none() { entered } else { 0 };
    rule_state::advance(session, rule, progress, released, held).await
}

async fn decide(session: &mut Session<'_>, name: &SweepId, release: bool, now: Timestamp) -> Result<u64, StoreError> {
    let Some((id, rule, entered)) = sweep::find(session, name, sweep_state::HELD).await? else { return Ok(0) };
    let state = if release { sweep_state::RELEASED } else { sweep_state::DROPPED };
    sweep::set_state(session, id, state, None, Some(now)).await?;
    if !release {
        sweep::clear(session, id).await?;
    }
    rule_state::unhold(session, rule, if release { entered } else { 0 }).await?;
    Ok(entered)
}
