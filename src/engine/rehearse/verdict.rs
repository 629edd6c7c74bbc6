//! What it comes to for one record under one rule, in one sentence.

use super::later::Later;
use crate::engine::evaluate::term_and_score;
use jiff::Timestamp;
use std::fmt;

/// The first thing that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It crossed, everything holds, and nothing has entered it yet: the next sweep will.
    Matches { crossed_at: Timestamp },
    /// The same, but it crossed so long ago, as rows that came late say, that only a sweep that looks back reads it.
    MatchesLookingBack { crossed_at: Timestamp },
    /// In the ledger by this occasion; and when its trigger comes again, where that follows from time alone.
    Matched { at: Option<Timestamp>, again: Option<Timestamp> },
    /// The ledger has an earlier occasion, by which it matched then, that this one is too close to.
    WithinTolerance { crossed_at: Timestamp, to: Timestamp, matched: Option<Timestamp>, closeness: &'static str },
    /// Matched by a sweep that the guard holds.
    Held { reason: String },
    /// It crossed and everything holds, but an operator, or the rule's file, has paused the rule.
    Paused { crossed_at: Timestamp, by_file: bool },
    /// It crossed and everything holds, but the rule itself is held.
    RuleHeld { crossed_at: Timestamp, reason: String },
    /// It crossed, and this term is not true; by time alone everything holds `later`, when nobody asks any more.
    Fails { crossed_at: Timestamp, term: String, truth: Truth, later: Later },
    /// It crossed, and this term is not true yet: only time is missing, and it is asked again until then.
    NotTrueYet { crossed_at: Timestamp, term: String, holds_at: Timestamp },
    /// What crossed is over, and the state remembers why it came to nothing.
    Missed { crossed_at: Timestamp, reason: String },
    /// It crossed and failed this term then; it holds now, but the time for more chances is over.
    GaveUp { crossed_at: Timestamp, term: String },
    /// It crossed before the rule began to look.
    BeforeActivation { crossed_at: Timestamp, baseline: Timestamp },
    /// It was inside already when the rule began to look; since when, nothing tells.
    InsideBefore { baseline: Timestamp },
    /// It was there when the rule first looked, and nothing tells since when.
    ThereBefore { at: Timestamp },
    /// It is there as the rule is about to look for the first time.
    ThereAtFirst,
    /// It came inside and was outside again before the rule first looked.
    Over { crossed_at: Timestamp, ended_at: Timestamp },
    /// It crossed longer ago than any sweep still looks.
    Passed { crossed_at: Timestamp },
    /// Only time is missing.
    NotYet { crosses_at: Timestamp },
    /// Time is missing, and as it stands this term would fail then.
    /// `asked`: whether it may still be asked, or cross again, when it holds by time alone.
    NotYetAndFails { crosses_at: Timestamp, term: String, later: Later, asked: bool },
    /// Time alone doesn't take it over the edge up to then; nobody looked further.
    NotUntil { until: Timestamp },
    /// It is inside what the rule waits for it to leave. `None`: since before the rule, or any sweep, looked.
    Inside { since: Option<Timestamp> },
    /// Nothing in the source would ever take it over the edge as it stands: this keeps it from that.
    NeverCrossed { because: Option<Because> },
    /// It crosses by what somebody else says of it, and nobody has: this is awaited.
    Awaited { what: String },
    /// Not there.
    NoRecord,
    /// There, but not in one of these tables that its rows go on in.
    NoParent { tables: String },
    /// There, and this term of the entity's `only` leaves it out.
    LeftOut { because: Because },
    /// There, but not as the catalog says.
    Unreadable { problem: String },
    /// The script failed: no answer, asked again.
    ScriptFailed { problem: String },
}

/// What a term comes to that is not true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    False,
    /// A value that it looks at is missing, so that it is neither, and its opposite is not true either.
    Unknown,
}

impl Truth {
    /// Of an answer that isn't yes.
    pub(super) const fn of(holds: Option<bool>) -> Self {
        if holds.is_none() { Self::Unknown } else { Self::False }
    }
}

/// A term of the trigger, or of the entity's `only`, that is not true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because {
    pub term: String,
    pub truth: Truth,
    /// What it found.
    pub found: String,
    /// The rule waits for it to leave, and it has nothing to leave.
    pub leaves: bool,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = if self.truth == Truth::Unknown { "is unknown" } else { "is not true" };
        write!(f, "`{}` {is}", self.term)?;
        if self.found.is_empty() { Ok(()) } else { write!(f, " ({})", self.found) }
    }
}

impl Verdict {
    /// The name in JSON.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Matches { .. } | Self::MatchesLookingBack { .. } => "matches",
            Self::Matched { .. } => "matched",
            Self::WithinTolerance { .. } => "within_tolerance",
            Self::Held { .. } => "held",
            Self::Paused { .. } => "paused",
            Self::RuleHeld { .. } => "rule_held",
            Self::Fails { .. } => "fails",
            Self::NotTrueYet { .. } => "not_true_yet",
            Self::Missed { .. } => "missed",
            Self::GaveUp { .. } => "gave_up",
            Self::BeforeActivation { .. }
            | Self::InsideBefore { .. }
            | Self::ThereBefore { .. }
            | Self::ThereAtFirst => "before_activation",
            Self::Over { .. } => "over",
            Self::Passed { .. } => "passed",
            Self::NotYet { .. } => "not_yet",
            Self::NotYetAndFails { .. } => "not_yet_and_fails",
            Self::NotUntil { .. } => "not_until",
            Self::Inside { .. } => "inside",
            Self::NeverCrossed { .. } | Self::Awaited { .. } => "never_crossed",
            Self::NoRecord => "no_record",
            Self::NoParent { .. } => "no_parent",
            Self::LeftOut { .. } => "left_out",
            Self::Unreadable { .. } => "unreadable",
            Self::ScriptFailed { .. } => "script_failed",
        }
    }

    /// The term that failed, as written.
    #[must_use]
    pub fn failed_term(&self) -> Option<&str> {
        match self {
            Self::Fails { term, .. }
            | Self::NotTrueYet { term, .. }
            | Self::GaveUp { term, .. }
            | Self::NotYetAndFails { term, .. }
            | Self::NeverCrossed { because: Some(Because { term, .. }) }
            | Self::LeftOut { because: Because { term, .. } } => Some(term),
            _ => None,
        }
    }

    /// When everything holds by time alone.
    #[must_use]
    pub const fn holds_at(&self) -> Option<Timestamp> {
        match self {
            Self::NotTrueYet { holds_at, .. } => Some(*holds_at),
            Self::Fails { later, .. } | Self::NotYetAndFails { later, .. } => later.at(),
            _ => None,
        }
    }
}

struct Day(Timestamp);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%F %H:%MZ"))
    }
}

fn unseen(f: &mut fmt::Formatter<'_>, until: Timestamp) -> fmt::Result {
    write!(f, " up to {}; the look ahead was cut off there, as it took too long", Day(until))
}

fn crossed_since(f: &mut fmt::Formatter<'_>, crossed_at: Timestamp, matched: Option<Timestamp>) -> fmt::Result {
    match matched {
        Some(at) => write!(f, "matched {}; what crossed {}", Day(at), Day(crossed_at)),
        None => write!(f, "no match: what crossed {}", Day(crossed_at)),
    }
}

fn inside_before(f: &mut fmt::Formatter<'_>, baseline: Timestamp) -> fmt::Result {
    write!(f, "no match: it was inside already when the rule began, {}, and such are left out ", Day(baseline))?;
    write!(f, "(`backfill: all` would take it in)")
}

const THERE_AT_FIRST: &str = "no match: it is there already, and what a rule finds at its first look is left out \
     (`backfill: all` would take it in)";

fn there_before(f: &mut fmt::Formatter<'_>, at: Timestamp) -> fmt::Result {
    write!(f, "no match: it was there when the rule first looked, {}, and such are left out ", Day(at))?;
    write!(f, "(`backfill: all` would take it in)")
}

fn fails(
    f: &mut fmt::Formatter<'_>,
    crossed_at: Timestamp,
    (term, truth): (&str, Truth),
    later: &Later,
) -> fmt::Result {
    let (term, score) = term_and_score(term);
    write!(f, "no match: crossed {}, but `{term}` ", Day(crossed_at))?;
    match truth {
        Truth::False => write!(f, "is not true{score}")?,
        Truth::Unknown => write!(f, "is unknown, as a value that it looks at is missing{score}")?,
    }
    match later {
        Later::Never => Ok(()),
        Later::At(later) => by_time_unasked(f, *later),
        Later::NotUntil(until) => unseen(f, *until),
    }
}

fn fails_then(
    f: &mut fmt::Formatter<'_>,
    crosses_at: Timestamp,
    term: &str,
    (later, asked): (&Later, bool),
) -> fmt::Result {
    let (term, score) = term_and_score(term);
    let crosses = Day(crosses_at);
    write!(f, "not yet: it crosses {crosses} if nothing changes, and as it stands `{term}` fails then{score}")?;
    match later {
        Later::Never => Ok(()),
        Later::At(later) if asked => write!(f, "; by time alone it holds from {}", Day(*later)),
        Later::At(later) => by_time_unasked(f, *later),
        Later::NotUntil(until) => unseen(f, *until),
    }
}

fn by_time_unasked(f: &mut fmt::Formatter<'_>, later: Timestamp) -> fmt::Result {
    write!(f, "; by time alone it holds from {}, when nobody asks any more", Day(later))
}

fn matches_looking_back(f: &mut fmt::Formatter<'_>, crossed_at: Timestamp) -> fmt::Result {
    write!(f, "matches: crossed {}, which is further back than each sweep looks; ", Day(crossed_at))?;
    write!(f, "one that looks back enters it, tonight at the latest")
}

fn over(f: &mut fmt::Formatter<'_>, crossed_at: Timestamp, ended_at: Timestamp) -> fmt::Result {
    write!(f, "no match: crossed {}, and was over {}, ", Day(crossed_at), Day(ended_at))?;
    write!(f, "before the rule first looks, which takes in who is still inside then")
}

fn no_parent(f: &mut fmt::Formatter<'_>, tables: &str) -> fmt::Result {
    write!(f, "no match: its row of {tables} is missing (`parents` in the catalog), so it is no record")
}

fn inside(f: &mut fmt::Formatter<'_>, since: Option<Timestamp>) -> fmt::Result {
    match since {
        Some(since) => write!(f, "no match: it has been inside since {}", Day(since))?,
        None => write!(f, "no match: it is still inside")?,
    }
    write!(f, ", and the rule waits for it to leave")
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matches { crossed_at } => {
                write!(f, "matches: crossed {}, and the next sweep enters it", Day(*crossed_at))
            }
            Self::MatchesLookingBack { crossed_at } => matches_looking_back(f, *crossed_at),
            Self::Matched { at, again } => {
                if let Some(at) = at {
                    write!(f, "matched {}", Day(*at))?;
                } else {
                    write!(f, "in the ledger already: it was left out at first, or what came of it was erased")?;
                }
                again.map_or(Ok(()), |again| write!(f, "; it crosses again {} if nothing changes", Day(again)))
            }
            Self::WithinTolerance { crossed_at, to, matched, closeness } => {
                crossed_since(f, *crossed_at, *matched)?;
                write!(f, " is {closeness} that match's occasion, {}, so it isn't a new one", Day(*to))
            }
            Self::Held { reason } => write!(f, "matched, and held for review: {reason}"),
            Self::Paused { crossed_at, by_file } => {
                let who = if *by_file { "the rule's file says `mode: paused`" } else { "an operator paused the rule" };
                write!(f, "no match yet: crossed {}, and everything holds, but {who}", Day(*crossed_at))
            }
            Self::RuleHeld { crossed_at, reason } => {
                let crossed = Day(*crossed_at);
                write!(f, "no match yet: crossed {crossed}, and everything holds, but the rule is held: {reason}")
            }
            Self::Fails { crossed_at, term, truth, later } => fails(f, *crossed_at, (term, *truth), later),
            Self::NotTrueYet { crossed_at, term, holds_at } => {
                let (crossed, holds, (term, score)) = (Day(*crossed_at), Day(*holds_at), term_and_score(term));
                write!(f, "not yet: crossed {crossed}, and only time is missing: `{term}` is not true{score} ")?;
                write!(f, "before {holds}; it matches then if nothing changes")
            }
            Self::Missed { crossed_at, reason } if reason.starts_with("already ") => {
                write!(f, "no match: crossed {} while {reason}", Day(*crossed_at))
            }
            Self::Missed { crossed_at, reason } => {
                let (term, score) = term_and_score(reason);
                write!(f, "no match: when it crossed, {}, `{term}` was not true{score}", Day(*crossed_at))
            }
            Self::GaveUp { crossed_at, term } => {
                let (term, score) = term_and_score(term);
                let crossed = Day(*crossed_at);
                write!(f, "no match: when it crossed, {crossed}, `{term}` was not true{score}; ")?;
                write!(f, "it holds now, but `keep_trying` is over")
            }
            Self::BeforeActivation { crossed_at, baseline } => write!(
                f,
                "no match: crossed {}; the rule looks at what crosses after {} (`backfill` would take it in)",
                Day(*crossed_at),
                Day(*baseline)
            ),
            Self::InsideBefore { baseline } => inside_before(f, *baseline),
            Self::ThereBefore { at } => there_before(f, *at),
            Self::ThereAtFirst => f.write_str(THERE_AT_FIRST),
            Self::Over { crossed_at, ended_at } => over(f, *crossed_at, *ended_at),
            Self::Passed { crossed_at } => {
                write!(f, "no match: it crosses at {}, further back than any sweep still looks", Day(*crossed_at))
            }
            Self::NotYet { crosses_at } => {
                write!(f, "not yet: only time is missing; it crosses {} if nothing changes", Day(*crosses_at))
            }
            Self::NotYetAndFails { crosses_at, term, later, asked } => {
                fails_then(f, *crosses_at, term, (later, *asked))
            }
            Self::NotUntil { until } => {
                write!(f, "not yet: time alone doesn't take it over the edge")?;
                unseen(f, *until)
            }
            Self::Inside { since } => inside(f, *since),
            Self::NeverCrossed { because: None } => {
                write!(f, "never crossed: nothing in the source sets the trigger off")
            }
            Self::NeverCrossed { because: Some(because) } if because.leaves => {
                write!(f, "never crossed: it was never inside, so it has nothing to leave: {because}")
            }
            Self::NeverCrossed { because: Some(because) } => write!(f, "never crossed: of the trigger, {because}"),
            Self::Awaited { what } => write!(f, "never crossed: {what}"),
            Self::NoRecord => write!(f, "no such record"),
            Self::NoParent { tables } => no_parent(f, tables),
            Self::LeftOut { because } => write!(f, "no match: its entity's `only` leaves it out: {because}"),
            Self::Unreadable { problem } => write!(f, "can't be judged: {problem}"),
            Self::ScriptFailed { problem } => write!(f, "can't be judged: {problem}; it is asked again"),
        }
    }
}
