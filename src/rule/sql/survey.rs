//! Answered responses whose answer plus the settle time falls into the window.

use super::dialect;
use super::fragment::Fragment;
use super::hole::{Point, PointBase};
use super::operand::{Bound, Operand};
use super::plan::{Parts, Query, Reader};
use super::read::{Cells, Meaning, key};
use super::relation::{Doubles, Rows};
use super::settled::{self, Happened, Settled, WholeDay};
use super::{RECORD, RenderError, Renderer};
use crate::catalog::{Entity, KeyType};
use crate::model::{FieldName, Occasion};
use crate::rule::checked::Survey;
use crate::rule::compiled::{Crossing, ReadError, Window};
use crate::rule::condition::Test;
use std::collections::BTreeMap;

/// A row: the record's key, the response's key, when, score, and the response's own fields.
#[derive(Debug, Clone)]
pub(super) struct SurveyReader {
    response_key: KeyType,
    settled: Settled,
    score: Meaning,
    fields: Vec<(String, Meaning)>,
}

pub(super) fn render(
    renderer: &Renderer<'_>,
    entity: &Entity,
    survey: &Survey,
    in_time: bool,
) -> Result<(Query, Fragment), RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let rows = renderer.related(entity, RECORD, &survey.of, Doubles::Harmless)?;
    let at = renderer.column_operand(&rows.alias, &Renderer::time_of(rows.entity)?);
    let score_field = rows.entity.score.as_ref().ok_or_else(|| RenderError::NoScore(rows.entity.name.to_string()))?;
    let score = renderer.operand(rows.entity, &rows.alias, score_field)?;
    let mut answered = rows.conditions.clone();
    answered.extend(renderer.base(entity, RECORD));
    answered.extend(in_range(renderer, &score, survey)?);
    answered.extend(of_kind(renderer, &rows, survey)?);

    let mut tests = settled::within(renderer, &at, survey.settle);
    tests.extend(answered.iter().cloned());
    let (at_cell, at_meaning) = renderer.selected(&at);
    let (score_cell, score_meaning) = renderer.selected(&score);
    let response = renderer.key_of(rows.entity, &rows.alias);
    let mut selected = vec![renderer.key_of(entity, RECORD), response.clone(), at_cell, score_cell];
    let mut fields = Vec::new();
    for name in rows.entity.fields.keys() {
        let (cell, meaning) = renderer.selected(&renderer.operand(rows.entity, &rows.alias, name)?);
        selected.push(cell);
        fields.push((name.to_string(), meaning));
    }
    let mut text = Fragment::of(
        "SELECT {} FROM {}{} WHERE {}",
        &[&Fragment::join(&selected, ", "), &rows.from, &Fragment::splice_point(), &Fragment::all(&tests)],
    );
    if in_time {
        // The first answer goes before those after it, so that batches must come in the order of time: of texts about
        // in it.
        text = Fragment::of("{} ORDER BY {}, {}", &[&text, &renderer.dated(&at), &response]);
    }
    let reader = SurveyReader {
        response_key: rows.entity.key_type.clone(),
        settled: Settled { after: survey.settle, at: at_meaning, whole_day: WholeDay::FromItsStart },
        score: score_meaning,
        fields,
    };
    let until = Bound::Point(Point::new(PointBase::ReachingUntil(survey.settle, 0)));
    answered.push(renderer.at_most(&renderer.shown(&at), &at.ty, until));
    let count = Fragment::of(
        "SELECT COUNT(*) FROM {} JOIN {} ON TRUE WHERE {}",
        &[&rows.from, &renderer.rows_of(entity, RECORD), &Fragment::all(&answered)],
    );
    Ok((Query { text, driven: true, reader: Reader::Survey(reader) }, count))
}

/// Answered means that there is a score.
pub(super) fn in_range(
    renderer: &Renderer<'_>,
    score: &Operand,
    survey: &Survey,
) -> Result<Vec<Fragment>, RenderError> {
    let mut tests = vec![renderer.missing(score).negated()];
    let ends = survey.score.iter().flat_map(|range| {
        [range.low.clone().map(Test::AtLeast), range.high.clone().map(Test::AtMost)].into_iter().flatten()
    });
    for end in ends {
        tests.push(renderer.test(score, &end)?);
    }
    Ok(tests)
}

/// The catalog's `kind` names a field that holds the kind, or is the one kind that the table holds.
pub(super) fn of_kind(
    renderer: &Renderer<'_>,
    rows: &Rows<'_>,
    survey: &Survey,
) -> Result<Option<Fragment>, RenderError> {
    let (Some(wanted), Some(written)) = (&survey.kind, &rows.entity.survey_kind) else { return Ok(None) };
    let field = FieldName::new(written.as_str());
    if rows.entity.fields.contains_key(&field) && wanted != written {
        let operand = renderer.operand(rows.entity, &rows.alias, &field)?;
        let words = renderer.words(&operand);
        return Ok(Some(Fragment::of("{} = {}", &[&words, &dialect::text_value(renderer.dialect, wanted)])));
    }
    Ok(Some(Fragment::text(if wanted == written { "TRUE" } else { "FALSE" })))
}

impl SurveyReader {
    pub fn read(&self, parts: &Parts, cells: &mut Cells<'_>, window: Window) -> Result<Option<Crossing>, ReadError> {
        let record = cells.key(&parts.key)?;
        let response = cells.next()?;
        let response = key(&self.response_key, response)
            .ok_or_else(|| cells.error("response key", "is null or of a type that can't be a key"))?;
        let happened = self.settled.read(cells.next()?, &parts.zone, window);
        let value = self.score.read(cells.next()?);
        let Some(Happened { at, crossed_at, .. }) = happened else { return Ok(None) };
        let mut row = BTreeMap::new();
        for (name, meaning) in &self.fields {
            row.insert(name.clone(), meaning.read(cells.next()?));
        }
        Ok(Some(Crossing {
            key: record,
            occasion: Occasion::new(response.as_str()),
            crossed_at,
            occasion_at: Some(at),
            value,
            row,
            entry: 0,
        }))
    }
}
