use super::voices::{DigestEntry, MessageEntry, SmsEntry};
use super::{AssignEntry, ClaimEntry, Conditions, UpdateEntry};
use crate::diagnostic::yaml::{At, Node};
use schemars::JsonSchema;
use serde::Deserialize;

/// One step. A step has one kind and, below it, what belongs to it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepEntry {
    /// `email: {template: win-back-1}`
    Email(EmailEntry),
    /// `webhook: {to: crm-events}`
    Webhook(WebhookEntry),
    /// `chat: {to: sales, text: "{{ record.name }} is silent"}`
    Chat(ChatEntry),
    /// `task: {title: "Call {{ record.name }}", assign_to: owner}`
    Task(TaskEntry),
    /// `wait: {for: 7 days, at: "10:00"}`
    Wait(Box<WaitEntry>),
    /// The first case that holds is taken.
    Branch(BranchEntry),
    /// Each record takes one of the arms, and always the same one.
    Split(SplitEntry),
    /// The record starts the steps of another rule as well: `enroll: {rule: onboarding}`.
    Enroll(EnrollEntry),
    /// The sequence ends here: `stop: {}`.
    Stop(StopEntry),
    /// `update: {set: {stage: won}, add_tags: [nurtured]}`
    Update(Box<UpdateEntry>),
    /// `assign: {among: [ada@acme.example, bo@acme.example]}`
    Assign(Box<AssignEntry>),
    /// `claim: {pool: vouchers, save: voucher}`
    Claim(ClaimEntry),
    /// `sms: {text: "{{ record.name }}, your table is free"}`
    Sms(SmsEntry),
    /// One message, by the channel that its reader prefers.
    Message(Box<MessageEntry>),
    /// One mail to a colleague with all that stands here: `digest: {template: at-risk, to: owner}`
    Digest(DigestEntry),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailEntry {
    /// A file of `templates/`, without `.md`.
    pub template: At<String>,
    /// A recipient role, in place of the rule's `to`.
    pub to: Option<At<String>>,
    /// Asks for a yes to this topic: the template's `confirm_url` gives it (double opt-in).
    pub confirms: Option<At<String>>,
    /// Asks a survey of the catalog: the template's `answer_url`, with a score behind it, is the answer.
    pub asks: Option<At<String>>,
    /// The step's name; kind and template if left out. Give one before you move a step to another template.
    pub id: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookEntry {
    /// A destination of the configuration. Rules hold no addresses.
    pub to: At<String>,
    /// Extra JSON for the body. Texts in it are templates: `{name: "{{ record.name }}"}`.
    pub body: Option<Node>,
    /// Keeps the answer for later steps, as `saved.NAME`.
    pub save: Option<At<String>>,
    /// The step's name; kind and destination if left out.
    pub id: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatEntry {
    /// A chat of the configuration. Rules hold no addresses.
    pub to: At<String>,
    /// A template of one or more lines: `"{{ record.name }} is silent"`.
    pub text: At<String>,
    /// The step's name; kind and chat if left out.
    pub id: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskEntry {
    /// A template of one line: `"Call {{ record.name }}"`.
    pub title: At<String>,
    /// A template with more to say.
    pub body: Option<At<String>>,
    /// The recipient role that gets the task, such as `owner`.
    pub assign_to: Option<At<String>>,
    /// How long there is for it: `2 business days`.
    pub due: Option<At<String>>,
    /// Leave it out when there is an open task already.
    pub unless_open: Option<At<UnlessOpenWord>>,
    /// The step's name; its kind if left out.
    pub id: Option<At<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnlessOpenWord {
    /// Any open task of the record.
    Any,
    /// An open task that this rule made.
    Same,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitEntry {
    /// How long: `7 days`, `3 business days`.
    #[serde(rename = "for")]
    pub for_: Option<At<String>>,
    /// Until when, in place of how long.
    pub until: Option<At<UntilEntry>>,
    /// And then until this local time of the recipient: `"10:00"`.
    pub at: Option<At<String>>,
    /// And then until one of these days: `[MON, TUE]`.
    #[serde(default)]
    pub days: Vec<At<DayWord>>,
    /// The step's name; its kind if left out.
    pub id: Option<At<String>>,
}

/// One of `after_entry`, `date` and `when`, with what belongs to it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UntilEntry {
    /// So long after the match, however long the steps before took: `10 days`.
    pub after_entry: Option<At<String>>,
    /// A date of the record. When it moves, the wait follows.
    pub date: Option<At<String>>,
    /// With `date`: `3 days before`, `on the day` (the default) or `1 week after`.
    pub offset: Option<At<String>>,
    /// Until this holds.
    pub when: Option<Conditions>,
    /// With `when`, and required there: the longest that is waited.
    pub at_most: Option<At<String>>,
    /// With `when`: how often it is asked; `1 hour` if left out.
    pub check_every: Option<At<String>>,
    /// With `when`: taken when the time is up; with `date`: taken when there is no date. Then on with what follows.
    pub otherwise: Option<Vec<At<StepEntry>>>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DayWord {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitEntry {
    /// What the draw depends on, beside the record: splits with the same salt draw the same. Rule and step if left out.
    pub salt: Option<At<String>>,
    pub arms: Vec<At<ArmEntry>>,
    /// The step's name; its kind if left out.
    pub id: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmEntry {
    /// For people and reports: `a`.
    pub name: At<String>,
    /// Its share of all weights; 1 if left out.
    pub weight: Option<At<u32>>,
    /// What those who take it get. Then on with the steps after the split.
    pub steps: Option<Vec<At<StepEntry>>>,
    /// `true`, in place of `steps`: their sequence ends here, for comparison.
    #[serde(default)]
    pub holdout: bool,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrollEntry {
    /// The id of another rule for the same entity.
    pub rule: At<String>,
    /// The step's name; kind and rule if left out.
    pub id: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchEntry {
    /// Tested in order; the first that holds is taken.
    pub cases: Vec<At<CaseEntry>>,
    /// Taken when no case holds.
    pub otherwise: Option<Vec<At<StepEntry>>>,
    /// The step's name; its kind if left out.
    pub id: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseEntry {
    /// For people: `vip`.
    pub name: At<String>,
    /// Taken when this holds.
    pub when: Conditions,
    pub steps: Vec<At<StepEntry>>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StopEntry {
    /// The step's name; its kind if left out.
    pub id: Option<At<String>>,
}
