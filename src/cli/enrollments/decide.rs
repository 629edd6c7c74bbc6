//! `nudged enrollments cancel` and `migrate`: an operator's decision over what is under way.

use super::last_rules;
use crate::cli::{Context, Exit, Failure, Output, record};
use crate::engine::port::{EnrollmentFilter, EnrollmentView, Store};
use crate::engine::{Relocated, relocate};
use crate::model::{EnrollmentState, RuleId};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// More are not decided at once.
const MANY: usize = 10_000;

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Choice {
    /// Ids of enrollments, as `list` shows them, or records: `customer:4711`.
    #[arg(value_name = "ID|RECORD")]
    which: Vec<String>,
    /// All of this rule; with records, theirs in it.
    #[arg(long)]
    rule: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Cancel {
    #[command(flatten)]
    choice: Choice,
    /// Kept in the timeline.
    #[arg(long, default_value = "by an operator")]
    why: String,
}

#[derive(Debug, clap::Args)]
pub struct Migrate {
    #[command(flatten)]
    choice: Choice,
}

pub fn cancel(args: &Cancel, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (asked, done) = context.block_on(async {
        let store = context.state().await?;
        let ids: Vec<i64> = chosen(&args.choice, &*store).await?.iter().map(|view| view.id).collect();
        Ok((ids.len() as u64, store.cancel_enrollments(&ids, &args.why, Timestamp::now()).await?))
    })?;
    output.talk(&format!("{done} of {asked} enrollments cancelled"));
    Ok(if asked > 0 && done == asked { Exit::Success } else { Exit::NotFound })
}

pub fn migrate(args: &Migrate, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (asked, done) = context.block_on(async {
        let store = context.state().await?;
        let Some(generation) = last_rules(context, &*store).await? else {
            return Err(Failure::other(Exit::NotFound, "the state holds no rules that load with this configuration"));
        };
        let views = chosen(&args.choice, &*store).await?;
        Ok((views.len() as u64, relocate(&*store, &generation, &views, Timestamp::now()).await?))
    })?;
    let Relocated { moved, current, left } = done;
    for (id, why) in &left {
        output.talk(&format!("{id} stays as it is: {why}"));
    }
    output.talk(&format!("{moved} of {asked} enrollments migrated, {current} ran the newest version already"));
    Ok(if asked > 0 && moved + current == asked { Exit::Success } else { Exit::NotFound })
}

/// What is meant and under way.
async fn chosen(choice: &Choice, store: &dyn Store) -> Result<Vec<EnrollmentView>, Failure> {
    let rule = choice.rule.as_deref().map(RuleId::from);
    let usual = || EnrollmentFilter { rule: rule.clone(), limit: MANY, ..EnrollmentFilter::default() };
    let mut filters = Vec::new();
    for which in &choice.which {
        filters.push(match which.parse() {
            Ok(id) => EnrollmentFilter { id: Some(id), ..usual() },
            Err(_) => EnrollmentFilter { record: Some(record::parse(which)?), ..usual() },
        });
    }
    if filters.is_empty() {
        filters.push(usual());
    }
    let mut found = BTreeMap::new();
    for filter in filters {
        for state in [EnrollmentState::Active, EnrollmentState::Held] {
            let views = store.enrollments(&EnrollmentFilter { state: Some(state), ..filter.clone() }).await?;
            found.extend(views.into_iter().map(|view| (view.id, view)));
        }
    }
    Ok(found.into_values().collect())
}
