//! Records that appeared within the window.

use super::fragment::Fragment;
use super::plan::{Parts, Query, Reader};
use super::read::Cells;
use super::settled::{self, Settled, WholeDay};
use super::{RECORD, RenderError, Renderer};
use crate::catalog::Entity;
use crate::model::{Occasion, Value};
use crate::rule::checked::Created;
use crate::rule::compiled::{Crossing, ReadError, Window};
use std::collections::BTreeMap;

/// A row: the record's key, and when it appeared.
#[derive(Debug, Clone)]
pub(super) struct CreatedReader {
    settled: Settled,
}

pub(super) fn render(
    renderer: &Renderer<'_>,
    entity: &Entity,
    created: &Created,
) -> Result<(Query, Fragment), RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let at = renderer.column_operand(RECORD, &Renderer::column(entity, &created.at)?);
    let mut tests = settled::within(renderer, &at, created.settle);
    tests.extend(renderer.base(entity, RECORD));
    let (cell, meaning) = renderer.selected(&at);
    let text = Fragment::of(
        "SELECT {}, {} FROM {} WHERE {}",
        &[&renderer.key_of(entity, RECORD), &cell, &Fragment::splice_point(), &Fragment::all(&tests)],
    );
    let settled = Settled { after: created.settle, at: meaning, whole_day: WholeDay::FromItsEnd };
    let mut ever = renderer.base(entity, RECORD);
    ever.push(settled::reached(renderer, &at, created.settle));
    let records = renderer.rows_of(entity, RECORD);
    let count = Fragment::of("SELECT COUNT(*) FROM {} WHERE {}", &[&records, &Fragment::all(&ever)]);
    Ok((Query { text, driven: false, reader: Reader::Created(CreatedReader { settled }) }, count))
}

impl CreatedReader {
    pub fn read(&self, parts: &Parts, cells: &mut Cells<'_>, window: Window) -> Result<Option<Crossing>, ReadError> {
        let key = cells.key(&parts.key)?;
        let happened = self.settled.read(cells.next()?, &parts.zone, window);
        Ok(happened.map(|happened| Crossing {
            occasion: Occasion::new(key.as_str()),
            key,
            crossed_at: happened.crossed_at,
            occasion_at: Some(happened.at),
            value: Value::Instant(happened.at),
            row: BTreeMap::new(),
            entry: 0,
        }))
    }
}
