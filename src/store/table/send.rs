//! `send_sequence` and `send_place`: how many sends were reserved, where from, and what speaks against more.

use super::unread;
use crate::engine::port::{Bearing, LedgerSize, Objection, Owner, StoreError, Whereabouts};
use crate::store::sql::{Batch, Dialect, Row, Session, params};
use jiff::Timestamp;

pub async fn bearing(session: &mut Session<'_>, here: &Whereabouts) -> Result<Bearing, StoreError> {
    let sql = "SELECT reserved, halted FROM send_sequence WHERE one = 1";
    let row = session.row(sql, &[]).await?;
    let row = row.ok_or_else(|| StoreError::Broken("the table `send_sequence` is empty".to_owned()))?;
    let mut bearing = Bearing { reserved: row.count(0)?, halted: row.int(1)? != 0, ..Bearing::default() };
    let shared = session.dialect() == Dialect::Postgres;
    for mut row in session.rows("SELECT place, admitted, confirmed, seen_at FROM send_place", &[]).await? {
        let (place, admitted) = (row.text(0)?, row.int(1)? != 0);
        if place == here.0 {
            (bearing.admitted, bearing.confirmed) = (admitted, row.int(2)? != 0);
        } else if admitted {
            bearing.elsewhere = true;
            bearing.others_seen = bearing.others_seen.max(shared.then(|| row.instant(3)).transpose()?);
        }
    }
    Ok(bearing)
}

pub async fn admit(session: &mut Session<'_>, here: &Whereabouts) -> Result<(), StoreError> {
    session.run("DELETE FROM send_place WHERE place <> $1 AND NOT {shared}", params![here.0.as_str()]).await?;
    let sql = "INSERT INTO send_place (place, admitted, confirmed, seen_at) VALUES ($1, 1, 0, {clock})
               ON CONFLICT (place) DO UPDATE SET admitted = 1, confirmed = 0, seen_at = excluded.seen_at,
                   objection = NULL, known = NULL, lost = NULL, until = NULL, found_at = NULL";
    session.run(sql, params![here.0.as_str()]).await?;
    Ok(())
}

/// Microseconds after which a place that has not told of itself is taken for one that has stopped: three beats.
const SILENT: i64 = 60_000_000;

pub async fn beat(session: &mut Session<'_>, here: &Whereabouts) -> Result<u64, StoreError> {
    let sql = "UPDATE send_place SET seen_at = {clock} WHERE place = $1 AND {shared}";
    session.run(sql, params![here.0.as_str()]).await?;
    let sql =
        "SELECT count(*) FROM send_place WHERE place = $1 OR (admitted = 1 AND {shared} AND seen_at > {clock} - $2)";
    session.row(sql, params![here.0.as_str(), SILENT]).await?.map_or(Ok(1), |row| row.count(0))
}

pub async fn object(
    session: &mut Session<'_>,
    here: &Whereabouts,
    objection: &Objection,
    now: Timestamp,
) -> Result<(), StoreError> {
    let numbers = match objection {
        Objection::Restored { known, lost, until } => {
            session.run("UPDATE send_sequence SET halted = 1 WHERE one = 1", &[]).await?;
            [Some(*known as i64), Some(*lost as i64), Some(until.as_microsecond())]
        }
        Objection::Replaced | Objection::Moved => [None; 3],
    };
    // A place that is known again keeps when it objected first.
    let batch = Batch::new()
        .texts("place", [here.0.as_str()])
        .texts("objection", [objection.as_str()])
        .ints("known", [numbers[0]])
        .ints("lost", [numbers[1]])
        .ints("until", [numbers[2]])
        .ints("found_at", [now.as_microsecond()]);
    let sql = "INSERT INTO send_place (place, admitted, confirmed, seen_at, objection, known, lost, until, found_at)
               SELECT b.place, 0, 0, 0, b.objection, b.known, b.lost, b.until, b.found_at FROM {batch} WHERE TRUE
               ON CONFLICT (place) DO UPDATE SET admitted = 0, confirmed = 0, objection = excluded.objection,
                   known = excluded.known, lost = excluded.lost, until = excluded.until,
                   found_at = COALESCE(send_place.found_at, excluded.found_at)";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn objections(session: &mut Session<'_>) -> Result<Vec<(Whereabouts, Objection)>, StoreError> {
    let sql = "SELECT place, objection, known, lost, until FROM send_place WHERE objection IS NOT NULL ORDER BY place";
    session.rows(sql, &[]).await?.into_iter().map(read).collect()
}

fn read(mut row: Row) -> Result<(Whereabouts, Objection), StoreError> {
    let (place, named) = (Whereabouts(row.text(0)?), row.text(1)?);
    let objection = match named.as_str() {
        "restored" => Objection::Restored { known: row.count(2)?, lost: row.count(3)?, until: row.instant(4)? },
        "replaced" => Objection::Replaced,
        "moved" => Objection::Moved,
        other => return Err(unread("an objection", other)),
    };
    Ok((place, objection))
}

/// The sequence goes on after the last send that anybody knows of.
pub async fn confirm(session: &mut Session<'_>, doubtful: Option<Timestamp>) -> Result<(), StoreError> {
    let known = session.row("SELECT COALESCE(max(known), 0) FROM send_place", &[]).await?;
    let known = known.map_or(Ok(0), |row| row.int(0))?;
    let doubt = doubtful.map_or(i64::MIN, Timestamp::as_microsecond);
    let sql = "UPDATE send_sequence SET halted = 0, reserved = CASE WHEN reserved < $1 THEN $1 ELSE reserved END,
                      doubt_until = CASE WHEN $2 > COALESCE(doubt_until, $3) THEN $2 ELSE doubt_until END
               WHERE one = 1";
    session.run(sql, params![known, doubt, i64::MIN]).await?;
    session
        .run(
            "UPDATE send_place SET admitted = 1, confirmed = 1, objection = NULL, known = NULL, lost = NULL,
                    until = NULL, found_at = NULL
             WHERE objection IS NOT NULL",
            &[],
        )
        .await?;
    Ok(())
}

/// Returns the number of the last send reserved; `None` while nobody may send.
pub async fn reserve(session: &mut Session<'_>, count: u64) -> Result<Option<u64>, StoreError> {
    let sql = "UPDATE send_sequence SET reserved = reserved + $1 WHERE one = 1 AND halted = 0 RETURNING reserved";
    session.row(sql, params![count]).await?.map(|row| row.count(0)).transpose()
}

/// Leases of the dead have run out.
pub async fn bury(session: &mut Session<'_>, dead: &[Owner]) -> Result<(), StoreError> {
    let batch = Batch::new().texts("owner", dead.iter().map(|owner| owner.0.as_str()));
    let sql = "UPDATE outbox SET lease_until = 0
               WHERE state IN (1, 2) AND owner IN (SELECT b.owner FROM {batch})";
    session.run_batch(sql, &[], &batch).await?;
    let sql = "UPDATE rule_state SET owner = NULL, lease_until = 0, epoch = epoch + 1
               WHERE owner IN (SELECT b.owner FROM {batch})";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// On SQLite its pages are counted, one after the other.
pub async fn ledger_size(session: &mut Session<'_>) -> Result<LedgerSize, StoreError> {
    let sql = match session.dialect() {
        Dialect::Sqlite => {
            "SELECT COALESCE(sum(ncell), 0), COALESCE(sum(pgsize), 0) FROM dbstat WHERE name = 'ledger' AND aggregate = TRUE"
        }
        Dialect::Postgres => "SELECT (SELECT count(*) FROM ledger), pg_total_relation_size('ledger')",
    };
    let row = session.row(sql, &[]).await?;
    row.map_or_else(|| Ok(LedgerSize::default()), |row| Ok(LedgerSize { rows: row.count(0)?, bytes: row.count(1)? }))
}
