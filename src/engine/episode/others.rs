//! What somebody else did to a watched value, between the one kept and the one there now, around our own writes.
//!
//! Our writes are noted as steps `before → after`, intended before the source is written to and settled after. Where the
//! steps don't join, somebody else stepped in between. A write that was settled before the value was read is in it. One
//! that was under way meanwhile may be in it or not, so the reading is taken that needs the fewest steps of others.

use crate::engine::port::OwnWrite;
use jiff::Timestamp;

type Hash = [u8; 16];

/// The value's way, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Others {
    /// From and to of each change by somebody else.
    pub changes: Vec<(Hash, Hash)>,
    /// When our last write that is in the value was intended.
    pub own: Option<Timestamp>,
}

/// `own`: oldest first, none that the kept value holds. `read_at`: the value was read after this.
pub(super) fn others(kept: Hash, now: Hash, own: &[OwnWrite], read_at: Timestamp) -> Others {
    let is_in = |write: &OwnWrite| write.settled_at.is_some_and(|at| at <= read_at);
    let under_way: Vec<i64> = own.iter().filter(|write| !is_in(write)).map(|write| write.id).collect();
    let readings = (0..=under_way.len()).map(|first| {
        let written: Vec<&OwnWrite> =
            own.iter().filter(|write| is_in(write) || under_way[..first].contains(&write.id)).collect();
        let changes = between(kept, now, &written);
        Others { changes, own: written.iter().map(|write| write.at).max() }
    });
    // Of equal ones the first: what isn't needed to explain the value isn't in it yet.
    readings.min_by_key(|reading| reading.changes.len()).unwrap_or(Others { changes: Vec::new(), own: None })
}

/// The steps of others on the way from one value to the other over these writes of ours.
fn between(kept: Hash, now: Hash, writes: &[&OwnWrite]) -> Vec<(Hash, Hash)> {
    let mut changes = Vec::new();
    // `None`: whatever our write made of it.
    let mut value = Some(kept);
    for write in writes {
        changes.extend(value.filter(|value| *value != write.before).map(|value| (value, write.before)));
        value = write.after;
    }
    changes.extend(value.filter(|value| *value != now).map(|value| (value, now)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeliveryId;

    const A: Hash = [1; 16];
    const B: Hash = [2; 16];
    const C: Hash = [3; 16];

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Settled a second after it was intended.
    fn write(at: i64, before: Hash, after: Hash) -> OwnWrite {
        let settled_at = Some(second(at + 1));
        OwnWrite { settled_at, after: Some(after), ..doubtful(at, before) }
    }

    fn doubtful(at: i64, before: Hash) -> OwnWrite {
        let (delivery, rule, record) = (DeliveryId([0; 16]), "r".into(), [0; 16]);
        OwnWrite { id: at, delivery, rule, record, before, after: None, at: second(at), settled_at: None }
    }

    fn changes(kept: Hash, now: Hash, own: &[OwnWrite]) -> Vec<(Hash, Hash)> {
        others(kept, now, own, second(100)).changes
    }

    #[test]
    fn our_own_step_is_nobodys_and_what_follows_is() {
        let own = [write(7, A, B)];
        assert_eq!(others(A, B, &own, second(100)), Others { changes: Vec::new(), own: Some(second(7)) });
        assert_eq!(changes(A, C, &own), [(B, C)]);
        assert_eq!(changes(A, A, &own), [(B, A)], "somebody set it back");
        assert_eq!(changes(A, B, &[]), [(A, B)]);
    }

    #[test]
    fn a_change_that_we_wrote_over_is_still_one() {
        assert_eq!(changes(A, B, &[write(1, C, B)]), [(A, C)]);
        assert_eq!(changes(A, B, &[write(1, A, B), write(3, C, B)]), [(B, C)]);
        assert_eq!(changes(A, C, &[write(1, A, B), write(3, B, A)]), [(A, C)]);
    }

    #[test]
    fn a_write_under_way_may_be_in_the_value_or_not() {
        let racing = [write(99, A, B)];
        let read = |now| others(A, now, &racing, second(99));
        assert_eq!(read(B), Others { changes: Vec::new(), own: Some(second(99)) });
        assert_eq!(read(A), Others { changes: Vec::new(), own: None });
        assert_eq!(read(C).changes.len(), 1);
    }

    #[test]
    fn a_write_in_doubt_explains_a_change_and_makes_none() {
        let doubt = [doubtful(1, A)];
        assert_eq!(others(A, B, &doubt, second(100)), Others { changes: Vec::new(), own: Some(second(1)) });
        assert_eq!(others(A, A, &doubt, second(100)), Others { changes: Vec::new(), own: None });
        assert_eq!(changes(C, B, &doubt), [(C, B)]);
    }
}
