//! What a trigger's own terms come to for one record: what the query says, and what only the course of its rows, the
//! episode that is kept of it, or its crossings can tell.

use super::explain::{Explainer, Seen};
use super::horizon;
use super::term::TermAnswer;
use crate::engine::EngineError;
use crate::engine::episode::value_hash;
use crate::model::{Key, Occasion, Value};
use crate::rule::checked::{Changed, Compared, Trigger};
use crate::rule::compiled::Window;
use crate::rule::operands::{AnswersPlan, Basis, EdgePlan, EdgeTerm, Note, Operand, Section, row_of};
use crate::rule::tide::Level;
use futures::TryStreamExt;

/// Of one record.
#[derive(Debug, Default)]
pub(super) struct EdgeAnswers {
    pub trigger: Vec<TermAnswer>,
    /// The entity's `only`; empty where there is no such row at all.
    pub base: Vec<TermAnswer>,
}

impl Explainer<'_> {
    /// `about`: the occasion that is told of, where one has crossed or will.
    pub(super) async fn edge(&self, seen: &Seen, about: Option<&Occasion>) -> Result<EdgeAnswers, EngineError> {
        let mut found = EdgeAnswers::default();
        for mut term in self.asked(about).await?.unwrap_or_default() {
            if term.by_crossing {
                let value = term.operands.first();
                let known = value.is_some_and(|value| !value.value.is_missing());
                let watched = matches!(self.rule.rule.trigger, Trigger::Changed(_));
                term.holds = (known || watched).then_some(!seen.behind.is_empty());
            }
            if let Trigger::Changed(changed) = &self.rule.rule.trigger
                && term.section == Section::Trigger
            {
                let before = self.before(changed, term.operands.first(), seen);
                term.operands.splice(0..0, before);
            }
            let EdgeTerm { section, text, basis, holds, operands, .. } = term;
            let answers = if section == Section::Base { &mut found.base } else { &mut found.trigger };
            answers.push(TermAnswer { section, text, holds, basis, operands });
        }
        found.trigger.extend(seen.level.and_then(|level| self.counted(level)));
        Ok(found)
    }

    /// `None`: there is no such row, or nothing to ask of it.
    async fn asked(&self, about: Option<&Occasion>) -> Result<Option<Vec<EdgeTerm>>, EngineError> {
        let (source, now) = (self.previewer.source, self.previewer.now);
        let rule = &self.rule.rule;
        let row = match about {
            Some(occasion) => row_of(rule, occasion),
            None => self.newest_answer().await?,
        };
        let plan = EdgePlan::render(rule, &self.previewer.generation.catalog, source.dialect(), row.as_ref());
        let Some(plan) = plan else { return Ok(None) };
        let window = Window { after: jiff::Timestamp::MIN, until: now, now };
        let keys = std::slice::from_ref(&self.record.key);
        let row = source.rows(&self.record.tenant, plan.statement(keys, window)).try_next().await?;
        Ok(row.and_then(|row| plan.read(&row, window).ok()).map(|(_, terms)| terms))
    }

    /// The last answer in time, of any score; `None` for rules about anything else.
    async fn newest_answer(&self) -> Result<Option<Key>, EngineError> {
        let (rule, previewer) = (&self.rule.rule, self.previewer);
        let catalog = &previewer.generation.catalog;
        let Some(plan) = AnswersPlan::render(rule, catalog, previewer.source.dialect()) else { return Ok(None) };
        let window = horizon::ever(rule, &catalog.time_zone, previewer.now);
        let keys = std::slice::from_ref(&self.record.key);
        let mut newest = None;
        for (index, statement) in plan.statements(keys, window).into_iter().enumerate() {
            let mut rows = previewer.source.rows(&self.record.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                let answer = plan.read(index, &row, window).ok().flatten();
                newest = newest.max(answer.map(|answer| (answer.occasion_at, answer.occasion)));
            }
        }
        Ok(newest.and_then(|(_, occasion)| row_of(rule, &occasion)))
    }

    /// The number of rows now, against the one that is needed.
    fn counted(&self, level: Level) -> Option<TermAnswer> {
        let tide = self.rule.rule.trigger.tide()?;
        let section = Section::Trigger;
        let operand = |name: String, count: i64, note| {
            let value = Value::Int(count);
            Operand { section, term: 0, name, value, holds: None, note }
        };
        let (text, operands) = match &self.rule.rule.trigger {
            Trigger::Count(count) => (
                format!("{}: at least {} within {}", count.of, count.at_least, count.within),
                vec![operand(count.of.to_string(), level.now, Some(Note::Needed(count.at_least)))],
            ),
            Trigger::Decline(decline) => {
                let than = match decline.compared_with {
                    Compared::Before => format!("the {} before", decline.window),
                    Compared::LastYear => "the same time last year".to_owned(),
                };
                let (of, by, from) = (&decline.of, decline.by, decline.from_at_least);
                let before = operand(format!("{of} before"), level.before, Some(Note::Needed(from)));
                let text = format!("{of}: fallen by {by} % in {}, from at least {from} in {than}", decline.window);
                (text, vec![before, operand(format!("{of} now"), level.now, None)])
            }
            _ => return None,
        };
        Some(TermAnswer { section, text, holds: Some(tide.holds(level)), basis: Basis::AsOf, operands })
    }

    /// What the field held when the rule last looked. Only its hash is kept, so it has a name where it is the same as
    /// now, or one of those that the rule names.
    fn before(&self, changed: &Changed, now: Option<&Operand>, seen: &Seen) -> Option<Operand> {
        let now = now?;
        let secret = self.previewer.store.secret();
        let record = secret.record_hash(self.record);
        let kept = seen.episode.as_ref().and_then(|episode| episode.value);
        let named = changed.from.iter().chain(&changed.to).flatten();
        let known = std::iter::once(&now.value)
            .chain(named)
            .find(|value| kept.is_some_and(|kept| value_hash(secret, &record, value) == kept));
        // A sweep has seen the change, and keeps what it led to.
        let is_over = !seen.behind.is_empty() && kept == Some(value_hash(secret, &record, &now.value));
        let note = match (kept, known) {
            (Some(_), _) if is_over => Some(Note::Overwritten),
            (None, _) => Some(Note::Unseen),
            (Some(_), None) => Some(Note::Other),
            (Some(_), Some(_)) => None,
        };
        let value = known.filter(|_| !is_over).cloned().unwrap_or(Value::Null);
        Some(Operand { name: format!("{} before", changed.field), value, note, ..now.clone() })
    }
}
