//! Which records a crossing query looks at: all, those that changed, a chunk by key, or named ones.

use super::batch::Batch;
use super::fragment::Fragment;
use super::hole::{Fill, Hole, Point, PointBase};
use super::operand::Bound;
use super::relation::Doubles;
use super::{RECORD, RenderError, Renderer};
use crate::catalog::Entity;
use crate::model::{Key, RelationName, Value};
use crate::rule::statement::Dialect;

/// The ways to narrow one rule's crossing queries, rendered once.
#[derive(Debug, Clone)]
pub(crate) struct Scopes {
    dialect: Dialect,
    records: Fragment,
    key: Fragment,
    batch: Batch,
    /// Keys of changed records; `None` where the catalog maps no `updated_at`.
    changed: Option<Fragment>,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'k> {
    All,
    Changed,
    Chunk { after: Option<&'k Key>, upto: Option<&'k Key> },
    Of(&'k [Key]),
}

impl Scopes {
    pub fn plan(
        renderer: &Renderer<'_>,
        entity: &Entity,
        relation: Option<&RelationName>,
    ) -> Result<Self, RenderError> {
        Ok(Self {
            dialect: renderer.dialect,
            records: renderer.rows_of(entity, RECORD),
            key: renderer.key_of(entity, RECORD),
            batch: Batch::new(renderer.dialect, entity.key_type.clone(), Vec::new(), None),
            changed: changed(renderer, entity, relation)?,
        })
    }

    pub fn knows_changes(&self) -> bool {
        self.changed.is_some()
    }

    /// The records' part of FROM. `driven`: related rows stand before it, and a query over all records is
    /// to start from those (SQLite takes a cross join as an order).
    pub fn from(&self, scope: Scope<'_>, driven: bool, key_value: impl Fn(&Key) -> Value) -> Fragment {
        let narrowed = self.narrowed(scope, key_value);
        let records = match (driven, self.dialect, narrowed.is_some()) {
            (false, _, _) => self.records.clone(),
            (true, Dialect::Sqlite, false) => Fragment::of(" CROSS JOIN {}", &[&self.records]),
            (true, _, _) => Fragment::of(" JOIN {} ON TRUE", &[&self.records]),
        };
        match narrowed {
            Some(join) => Fragment::of("{}{}", &[&records, &join]),
            None => records,
        }
    }

    fn narrowed(&self, scope: Scope<'_>, key_value: impl Fn(&Key) -> Value) -> Option<Fragment> {
        match scope {
            Scope::All => None,
            Scope::Changed => {
                let keys = self.changed.clone().unwrap_or_default();
                Some(Fragment::of(" JOIN ({}) AS s ON s.k = {}", &[&keys, &self.key]))
            }
            Scope::Of(keys) => {
                let plain = self.batch.plain(keys.iter());
                let is_key = self.batch.is_key(&self.key, plain);
                Some(Fragment::of(" JOIN {} ON {}", &[&self.batch.from(plain), &is_key]))
            }
            Scope::Chunk { after, upto } => {
                let bound = |sign: &str, key: &Key| {
                    let value = Fragment::hole(Hole::Constant(key_value(key)));
                    Fragment::of(&format!("{{}} {sign} {{}}"), &[&self.key, &value])
                };
                let tests: Vec<Fragment> =
                    after.map(|key| bound(">", key)).into_iter().chain(upto.map(|key| bound("<=", key))).collect();
                Some(Fragment::of(" JOIN (SELECT 1 AS k) AS s ON {}", &[&Fragment::all(&tests)]))
            }
        }
    }

    /// The batch's JSON, for [`Scope::Of`].
    pub fn fill<'f>(&self, scope: Scope<'_>, fill: Fill<'f>) -> Fill<'f> {
        match scope {
            Scope::Of(keys) => Fill { keys: Some(self.batch.keys_json(keys)), ..fill },
            _ => fill,
        }
    }
}

/// Keys of records that changed themselves, or one of whose related rows did. Filters are left out: a row
/// that was cancelled just now no longer passes them.
fn changed(
    renderer: &Renderer<'_>,
    entity: &Entity,
    relation: Option<&RelationName>,
) -> Result<Option<Fragment>, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let since = Point::new(PointBase::Changed);
    let mut selects = Vec::new();
    if let Some(field) = &entity.updated_at {
        let column = Renderer::column(entity, field)?;
        let alias = renderer.alias("u");
        let operand = renderer.column_operand(&alias, &column);
        let newer = renderer.at_most(&operand.raw, &operand.ty, Bound::Point(since)).negated();
        selects.push(Fragment::of(
            "SELECT {} AS k FROM {} WHERE {}",
            &[&renderer.key_of(entity, &alias), &renderer.rows_of(entity, &alias), &newer],
        ));
    }
    if let Some(relation) = relation {
        let alias = renderer.alias("v");
        let rows = renderer.linked(entity, &alias, relation, Doubles::Harmless)?;
        if let Some(field) = &rows.entity.updated_at {
            let column = Renderer::column(rows.entity, field)?;
            let operand = renderer.column_operand(&rows.alias, &column);
            let newer = renderer.at_most(&operand.raw, &operand.ty, Bound::Point(since)).negated();
            selects.push(Fragment::of(
                "SELECT {} AS k FROM {} JOIN {} ON TRUE WHERE {} AND {}",
                &[
                    &renderer.key_of(entity, &alias),
                    &rows.from,
                    &renderer.rows_of(entity, &alias),
                    &Fragment::all(&rows.conditions),
                    &newer,
                ],
            ));
        }
    }
    Ok(if selects.is_empty() { None } else { Some(Fragment::join(&selects, " UNION ")) })
}
