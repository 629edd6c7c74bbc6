//! Records that the rule's own SQL returns, each with an occasion.
//!
//! The rule's text stands in FROM, joined to the records by their key, so that the base filter holds and keys
//! are read as everywhere. What bounds it are its own parameters; without them it is read whole at each sweep.

use super::fragment::Fragment;
use super::hole::{Hole, Point, PointBase};
use super::plan::{Parts, Query, Reader};
use super::read::{Cells, occasion, plain};
use super::wire::Form;
use super::{RECORD, RenderError, Renderer};
use crate::catalog::Entity;
use crate::model::{Period, Value, at_local};
use crate::rule::checked::{self, SqlParam, SqlPart};
use crate::rule::compiled::{Crossing, ReadError, Window};
use crate::rule::statement::Dialect;
use jiff::{Timestamp, tz::TimeZone};
use std::collections::BTreeMap;

/// How far back the lower end reaches where rows say when they happened: what is a day counts once it is over, and by then
/// the day that the statement compares is more than one older. Whatever else comes of it is not of the window.
const DAYS_BACK: u8 = 2;

/// A row: the record's key, the occasion, when it happened if the query says so, and columns for templates.
#[derive(Debug, Clone)]
pub(super) struct QueryReader {
    dated: bool,
    row: Vec<String>,
}

pub(super) fn render(
    renderer: &Renderer<'_>,
    entity: &Entity,
    query: &checked::Query,
) -> Result<(Query, Option<Fragment>), RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let cell = |name: &str| Fragment::of("q.{}", &[&Fragment::name(renderer.dialect, name)]);
    let mut selected = vec![renderer.key_of(entity, RECORD), cell(&query.occasion)];
    selected.extend(query.at.iter().chain(&query.row).map(|name| cell(name)));
    let named = cell(&query.key);
    // What their SQL returns may be text, which an index over blank-padded keys doesn't serve.
    let named = if entity.key.padded { Fragment::of("CAST({} AS bpchar)", &[&named]) } else { named };
    let mut tests = vec![Fragment::of("{} = {}", &[&renderer.key_of(entity, RECORD), &named])];
    tests.extend(renderer.base(entity, RECORD));
    let own = own_sql(renderer, query);
    let text = Fragment::of(
        "SELECT {} FROM ({}) AS q{} WHERE {}",
        &[&Fragment::join(&selected, ", "), &own, &Fragment::splice_point(), &Fragment::all(&tests)],
    );
    // Of rows that say when they happened, in whatever type, only their reader tells which have by then.
    let count = query.at.is_none().then(|| {
        let records = renderer.rows_of(entity, RECORD);
        let sql = "SELECT COUNT(*) FROM ({}) AS q JOIN {} ON TRUE WHERE {}";
        Fragment::of(sql, &[&own, &records, &Fragment::all(&tests)])
    });
    let reader = QueryReader { dated: query.at.is_some(), row: query.row.clone() };
    Ok((Query { text, driven: true, reader: Reader::Query(reader) }, count))
}

fn own_sql(renderer: &Renderer<'_>, query: &checked::Query) -> Fragment {
    let back = if query.at.is_some() { DAYS_BACK } else { 0 };
    let part = |part: &SqlPart| match part {
        SqlPart::Text(text) => Fragment::text(text.as_str()),
        SqlPart::Param(of) => Fragment::hole(param(renderer, *of, back)),
    };
    Fragment::join(&query.sql.iter().map(part).collect::<Vec<_>>(), "")
}

/// As `timestamptz` on PostgreSQL; elsewhere, and for `_utc` everywhere, as wall time. The lower end so many days back.
fn param(renderer: &Renderer<'_>, param: SqlParam, back: u8) -> Hole {
    let (base, utc, lower) = match param {
        SqlParam::After { utc } => (PointBase::ReachingAfter(Period::days(0), back), utc, true),
        SqlParam::Until { utc } => (PointBase::ReachingUntil(Period::days(0), 0), utc, false),
        SqlParam::Now { utc } => (PointBase::Now, utc, false),
    };
    let zone = || if utc { TimeZone::UTC } else { renderer.catalog.time_zone.clone() };
    let form = match (renderer.dialect, utc, lower) {
        (Dialect::Postgres, false, _) => Form::Instant,
        (Dialect::Sqlite, _, true) => Form::LateWallText(zone()),
        (Dialect::Sqlite, _, false) => Form::WallText(zone()),
        // Of an hour that comes twice, all may be new.
        (_, _, true) => Form::LateWall(zone()),
        (_, _, false) => Form::Wall(zone()),
    };
    Hole::Time(Point::new(base), form)
}

impl QueryReader {
    pub fn read(&self, parts: &Parts, cells: &mut Cells<'_>, window: Window) -> Result<Option<Crossing>, ReadError> {
        let key = cells.key(&parts.key)?;
        let found = cells.next()?;
        let occasion = occasion(found)
            .ok_or_else(|| cells.error("occasion", "is null or of a type that can't tell one occasion from another"))?;
        let found = found.clone();
        let at = if self.dated { instant(cells.next()?, &parts.zone) } else { Some(window.until) };
        let Some(at) = at.filter(|at| window.holds(*at)) else { return Ok(None) };
        let mut row = BTreeMap::new();
        for name in &self.row {
            row.insert(name.clone(), plain(cells.next()?));
        }
        let value = plain(&found);
        Ok(Some(Crossing { key, occasion, crossed_at: at, occasion_at: Some(at), value, row, entry: 0 }))
    }
}

/// Wall times are those of the catalog's zone; a day counts once it is over, as there may be more of it.
fn instant(value: &Value, zone: &TimeZone) -> Option<Timestamp> {
    let text = match plain(value) {
        Value::Instant(at) => return Some(at),
        Value::Naive(wall) => return Some(at_local(wall, zone)),
        Value::Date(day) => day.to_string(),
        Value::Text(text) => text,
        _ => return None,
    };
    match text.trim().parse::<jiff::civil::Date>() {
        Ok(day) if text.trim().len() == 10 => Some(at_local(day.tomorrow().ok()?.at(0, 0, 0, 0), zone)),
        _ => super::read::iso_instant(&text, zone),
    }
}
