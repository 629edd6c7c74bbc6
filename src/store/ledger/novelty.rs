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

/// For each match, whether it is new. Of equal ones in the same batch the first is.
pub async fn new_ones(session: &mut Session<'_>, probes: &[Probe<'_>]) -> Result<Vec<bool>, StoreError> {
    let mut ids = Vec::with_capacity(probes.len());
    for (n, probe) in probes.iter().enumerate() {
        ids.push((n, probe.id.0));
        ids.extend(probe.former.iter().map(|id| (n, id.0)));
    }
    let known: HashSet<usize> = ledger::present(session, &ids).await?.into_iter().collect();
    let measured = probes.iter().enumerate().filter(|(n, probe)| probe.measure.is_some() && !known.contains(n));
    let tracks: BTreeSet<&[u8; 16]> =
        measured.flat_map(|(_, probe)| std::iter::once(probe.track).chain(probe.former_tracks)).collect();
    let greatest = enrollment::greatest(session, tracks.into_iter()).await?;
    Ok(sift(probes, &known, greatest))
}

fn sift(probes: &[Probe<'_>], known: &HashSet<usize>, mut greatest: HashMap<[u8; 16], i64>) -> Vec<bool> {
    let mut seen: HashSet<MatchId> = HashSet::with_capacity(probes.len());
    let mut is_new = |n: usize, probe: &Probe<'_>| {
        if known.contains(&n) || probe.former.iter().any(|id| seen.contains(id)) || !seen.insert(probe.id) {
            return false;
        }
        let Some((at, tolerance)) = probe.measure else { return true };
        let mut tracks = std::iter::once(probe.track).chain(probe.former_tracks);
        if tracks.any(|track| greatest.get(track).is_some_and(|greatest| at <= greatest.saturating_add(tolerance))) {
            return false;
        }
        greatest.insert(*probe.track, at);
        true
    };
    probes.iter().enumerate().map(|(n, probe)| is_new(n, probe)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(id: u8, measure: Option<(i64, i64)>) -> Probe<'static> {
        Probe { id: MatchId([id; 16]), former: &[], track: &[9; 16], former_tracks: &[[8; 16]], measure }
    }

    #[test]
    fn of_equal_ones_the_first_is_new() {
        let probes = [probe(1, None), probe(1, None), probe(2, None)];
        assert_eq!(sift(&probes, &HashSet::new(), HashMap::new()), [true, false, true]);
    }

    #[test]
    fn an_occasion_must_exceed_the_greatest_entered_by_more_than_the_tolerance() {
        let greatest = HashMap::from([([9; 16], 100)]);
        // 105 is within 5 of 100 and not entered, so 106 is measured against 100 and not against 105.
        let probes = [105, 106, 111, 112, 90].map(|at| probe(at as u8, Some((at, 5))));
        assert_eq!(sift(&probes, &HashSet::new(), greatest), [false, true, false, true, false]);
        let under_the_former_name = HashMap::from([([8; 16], 107)]);
        assert_eq!(sift(&probes, &HashSet::new(), under_the_former_name), [false, false, false, false, false]);
        let probes = [112, 113].map(|at| probe(at as u8, Some((at, 5))));
        assert_eq!(sift(&probes, &HashSet::new(), HashMap::from([([8; 16], 107)])), [false, true]);
    }
}
