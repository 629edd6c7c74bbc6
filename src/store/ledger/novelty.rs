//! Which matches are new: under none of their ids in the ledger, and beyond the tolerance of the record's
//! greatest occasion.

use crate::engine::port::{Candidate, NewMatch, StoreError};
use crate::model::MatchId;
use crate::store::sql::Session;
use crate::store::table::{enrollment, ledger};
use std::collections::{BTreeSet, HashMap, HashSet};

/// The part of a match that says whether it is new.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    id: MatchId,
    former: &'a [MatchId],
    track: &'a [u8; 16],
    former_tracks: &'a [[u8; 16]],
    /// Occasion and tolerance, in microseconds.
    measure: Option<(i64, i64)>,
}

impl<'a> Probe<'a> {
    fn tracks(&self) -> impl Iterator<Item = &'a [u8; 16]> {
        std::iter::once(self.track).chain(self.former_tracks)
    }
}

impl<'a> From<&'a NewMatch> for Probe<'a> {
    fn from(m: &'a NewMatch) -> Self {
        let measure = measure(m.occasion_at, m.tolerance);
        Self { id: m.id, former: &m.former, track: &m.track, former_tracks: &m.former_tracks, measure }
    }
}

impl<'a> From<&'a Candidate> for Probe<'a> {
    fn from(c: &'a Candidate) -> Self {
        let measure = measure(c.occasion_at, c.tolerance);
        Self { id: c.id, former: &c.former, track: &c.track, former_tracks: &c.former_tracks, measure }
    }
}

fn measure(at: Option<jiff::Timestamp>, tolerance: Option<jiff::SignedDuration>) -> Option<(i64, i64)> {
    let (at, tolerance) = (at?, tolerance?);
    Some((at.as_microsecond(), i64::try_from(tolerance.as_micros()).unwrap_or(i64::MAX)))
}

/// What the ledger says of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    New,
    Known,
    /// The record's greatest occasion, in microseconds, that it has to exceed by its tolerance and doesn't.
    TooClose(i64),
}

/// Which of these matches are new, each counting as entered for those after it. Of equal ones the first is.
pub async fn new_ones(session: &mut Session<'_>, probes: &[Probe<'_>]) -> Result<Vec<bool>, StoreError> {
    let (known, greatest) = entered(session, probes).await?;
    Ok(sift(probes, &known, greatest).into_iter().map(|novelty| novelty == Novelty::New).collect())
}

/// The same of crossers that nobody has judged yet: none of them stands in the way of another.
pub async fn novelties(session: &mut Session<'_>, probes: &[Probe<'_>]) -> Result<Vec<Novelty>, StoreError> {
    let (known, greatest) = entered(session, probes).await?;
    let novelty = |(n, probe)| if known.contains(&n) { Novelty::Known } else { measured(probe, &greatest) };
    Ok(probes.iter().enumerate().map(novelty).collect())
}

type Greatest = HashMap<[u8; 16], i64>;

/// The places of those in the ledger, and the greatest occasions of the others' tracks.
async fn entered(session: &mut Session<'_>, probes: &[Probe<'_>]) -> Result<(HashSet<usize>, Greatest), StoreError> {
    let mut ids = Vec::with_capacity(probes.len());
    for (n, probe) in probes.iter().enumerate() {
        ids.push((n, probe.id.0));
        ids.extend(probe.former.iter().map(|id| (n, id.0)));
    }
    let known: HashSet<usize> = ledger::present(session, &ids).await?.into_iter().collect();
    let measured = probes.iter().enumerate().filter(|(n, probe)| probe.measure.is_some() && !known.contains(n));
    let tracks: BTreeSet<&[u8; 16]> = measured.flat_map(|(_, probe)| probe.tracks()).collect();
    let greatest = enrollment::greatest(session, tracks.into_iter()).await?;
    Ok((known, greatest))
}

fn sift(probes: &[Probe<'_>], known: &HashSet<usize>, mut greatest: Greatest) -> Vec<Novelty> {
    let mut seen: HashSet<MatchId> = HashSet::with_capacity(probes.len());
    let mut judge = |n: usize, probe: &Probe<'_>| {
        if known.contains(&n) || probe.former.iter().any(|id| seen.contains(id)) || !seen.insert(probe.id) {
            return Novelty::Known;
        }
        let novelty = measured(probe, &greatest);
        if let (Novelty::New, Some((at, _))) = (novelty, probe.measure) {
            greatest.insert(*probe.track, at);
        }
        novelty
    };
    probes.iter().enumerate().map(|(n, probe)| judge(n, probe)).collect()
}

fn measured(probe: &Probe<'_>, greatest: &Greatest) -> Novelty {
    let Some((at, tolerance)) = probe.measure else { return Novelty::New };
    let theirs = probe.tracks().filter_map(|track| greatest.get(track)).max();
    theirs
        .filter(|greatest| at <= greatest.saturating_add(tolerance))
        .map_or(Novelty::New, |greatest| Novelty::TooClose(*greatest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(id: u8, measure: Option<(i64, i64)>) -> Probe<'static> {
        Probe { id: MatchId([id; 16]), former: &[], track: &[9; 16], former_tracks: &[[8; 16]], measure }
    }

    fn new(probes: &[Probe<'_>], greatest: Greatest) -> Vec<bool> {
        sift(probes, &HashSet::new(), greatest).into_iter().map(|novelty| novelty == Novelty::New).collect()
    }

    #[test]
    fn of_equal_ones_the_first_is_new() {
        let probes = [probe(1, None), probe(1, None), probe(2, None)];
        assert_eq!(new(&probes, Greatest::new()), [true, false, true]);
    }

    #[test]
    fn an_occasion_must_exceed_the_greatest_entered_by_more_than_the_tolerance() {
        let greatest = HashMap::from([([9; 16], 100)]);
        // 105 is within 5 of 100 and not entered, so 106 is measured against 100 and not against 105.
        let probes = [105, 106, 111, 112, 90].map(|at| probe(at as u8, Some((at, 5))));
        assert_eq!(new(&probes, greatest), [false, true, false, true, false]);
        let under_the_former_name = HashMap::from([([8; 16], 107)]);
        assert_eq!(new(&probes, under_the_former_name), [false, false, false, false, false]);
        let probes = [112, 113].map(|at| probe(at as u8, Some((at, 5))));
        assert_eq!(new(&probes, HashMap::from([([8; 16], 107)])), [false, true]);
    }
}
