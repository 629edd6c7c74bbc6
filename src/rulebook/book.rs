//! The running rulebook: waits for changes, judges them, swaps generations.

use super::inspect::{examined, inspect, isolate, to_stored};
use super::read::{Limits, ReadTreeError, digest, read_tree};
use super::start::{Beginning, begin};
use super::watch::DirectoryWatch;
use super::{Examiner, Outside, RulebookError, RulebookOptions, Standing, Trouble, brake};
use crate::diagnostic::Finding;
use crate::engine::port::{Register, Source, StoredGeneration};
use crate::engine::still_held;
use crate::model::{Clock, RuleId};
use crate::rule::generation::{Generation, Rest, Tree};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// After this many unequal readings it is said that the tree doesn't come to rest.
const RESTLESS: u32 = 20;

/// Between two questions whether a database answers that was away when rules were loaded.
const KNOCK: Duration = Duration::from_secs(2);

/// Reads what is outside the rules directory anew: the secrets. An error says why the old ones stay.
pub type Renew = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A wish to load the files now.
#[derive(Debug)]
pub struct Request {
    /// An operator has confirmed that rules are gone.
    pub confirm: bool,
    /// Told once the files have been judged.
    pub reply: oneshot::Sender<Standing>,
}

/// How others ask for a reload and see how things stand.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    standing: watch::Receiver<Standing>,
    generations: watch::Receiver<Option<Arc<Generation>>>,
}

impl Handle {
    /// Loads the files now and tells the verdict; `None` when the rulebook has stopped.
    pub async fn reload(&self, confirm: bool) -> Option<Standing> {
        let (reply, verdict) = oneshot::channel();
        self.requests.send(Request { confirm, reply }).await.ok()?;
        verdict.await.ok()
    }

    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// A channel of standings: one for every verdict.
    pub fn standings(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// A channel of generations: the running one, and every one after it.
    pub fn generations(&self) -> watch::Receiver<Option<Arc<Generation>>> {
        self.generations.clone()
    }
}

/// See the module's documentation. [`Rulebook::run`] drives it until its future is dropped.
pub struct Rulebook {
    options: RulebookOptions,
    outside: Outside,
    source: Arc<dyn Source>,
    register: Arc<dyn Register>,
    examiner: Arc<dyn Examiner>,
    clock: Arc<dyn Clock>,
    renew: Option<Renew>,
    generations: watch::Sender<Option<Arc<Generation>>>,
    /// What was sent last on `generations`.
    running: Arc<Generation>,
    standing: watch::Sender<Standing>,
    requests: mpsc::Receiver<Request>,
    /// Who waits for the next verdict.
    asking: Vec<Request>,
    handle: Handle,
    /// Digest of the tree that was judged last, or the error of reading it.
    judged: Result<String, String>,
    /// The rules of the last generation taken up from files, before any brake.
    rules: BTreeSet<RuleId>,
}

impl std::fmt::Debug for Rulebook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rulebook").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Rulebook {
    /// Loads the first generation: from the files, or from the state when the files are broken.
    pub async fn open(
        options: RulebookOptions,
        outside: Outside,
        source: Arc<dyn Source>,
        register: Arc<dyn Register>,
        examiner: Arc<dyn Examiner>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RulebookError> {
        let Beginning { generation, restored, trouble, judged } =
            begin(&options, &outside, &*source, &*register, &*examiner).await?;
        let generation = Arc::new(generation);
        let standing = Standing {
            hash: generation.hash.clone(),
            rules: generation.rules.len(),
            loaded_at: clock.now(),
            restored,
            trouble: trouble.map(Arc::new),
            warnings: Arc::new(generation.warnings.clone()),
            resting: generation.resting.clone(),
            verdicts: 1,
        };
        let rules = generation.rules.keys().cloned().collect();
        let (sender, requests) = mpsc::channel(8);
        let (standing, standings) = watch::channel(standing);
        let (generations, receiver) = watch::channel(Some(Arc::clone(&generation)));
        let handle = Handle { requests: sender, standing: standings, generations: receiver };
        let book = Self {
            options,
            outside,
            source,
            register,
            examiner,
            clock,
            renew: None,
            generations,
            running: generation,
            standing,
            requests,
            asking: Vec::new(),
            handle,
            judged,
            rules,
        };
        book.count();
        book.report();
        if !restored {
            book.save().await;
        }
        Ok(book)
    }

    /// Runs `renew` at every explicit reload.
    #[must_use]
    pub fn renewing(self, renew: Option<Renew>) -> Self {
        Self { renew, ..self }
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Watches and judges until the future is dropped.
    pub async fn run(mut self) {
        let mut watch = DirectoryWatch::new(&self.options.directory);
        let mut rescan = tokio::time::interval(self.options.rescan.max(Duration::from_secs(1)));
        let mut knock = tokio::time::interval(KNOCK);
        for interval in [&mut rescan, &mut knock] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        // The handle inside keeps the request channel open, so `recv` never ends.
        loop {
            tokio::select! {
                () = watch.changed() => self.notice().await,
                _ = rescan.tick() => self.rescan().await,
                _ = knock.tick(), if self.rests_unchecked() => self.knock().await,
                Some(request) = self.requests.recv() => self.asked(request).await,
            }
            watch.follow();
        }
    }

    /// Something moved: once it has come to rest and is not what was judged before, judge it.
    async fn notice(&mut self) {
        let settled = self.settle().await;
        self.conclude(settled, false).await;
    }

    /// The same, without waiting when nothing is new. What the source could not check, or refused, is asked
    /// again: it may be the database that changes.
    async fn rescan(&mut self) {
        let again = self.standing.borrow().waits_for_source();
        if again || digest_of(&self.read().await) != self.judged {
            let settled = self.settle().await;
            self.conclude(settled, again).await;
        }
    }

    fn rests_unchecked(&self) -> bool {
        self.running.resting.values().any(|rest| *rest == Rest::Unchecked)
    }

    /// Rules that rest because the database was away are checked as soon as it is back.
    async fn knock(&mut self) {
        if let Ok(Ok(_)) = tokio::time::timeout(KNOCK, self.source.now()).await {
            self.rescan().await;
        }
    }

    async fn asked(&mut self, request: Request) {
        self.asking.push(request);
        self.notice().await;
    }

    /// Judges what is new, or all the same when it must be; an explicit reload always comes to a verdict.
    async fn conclude(&mut self, settled: Result<Tree, ReadTreeError>, must: bool) {
        let asking = std::mem::take(&mut self.asking);
        if must || !asking.is_empty() || digest_of(&settled) != self.judged {
            self.judge(settled, asking.iter().any(|request| request.confirm)).await;
        }
        if asking.is_empty() {
            return;
        }
        self.renew_secrets();
        if self.standing.borrow().is_good() {
            self.free_held().await;
        }
        for request in asking {
            // Whoever asked may have gone away.
            let _ = request.reply.send(self.standing.borrow().clone());
        }
    }

    /// Before held steps are tried again, for a new password may be what frees them.
    fn renew_secrets(&self) {
        let Some(Err(reason)) = self.renew.as_ref().map(|renew| renew()) else { return };
        let trouble = Trouble::Secrets(reason);
        tracing::error!(result = trouble.kind(), "{trouble}");
        self.standing.send_modify(|standing| {
            standing.trouble.get_or_insert_with(|| Arc::new(trouble));
        });
    }

    /// What held a step may have been repaired outside the files, so an operator's reload tries it again.
    async fn free_held(&self) {
        match self.register.free_held(&still_held(&self.running)).await {
            Ok(0) => {}
            Ok(freed) => tracing::info!(freed, "held steps are tried again"),
            Err(error) => tracing::error!(%error, "held steps could not be freed; reload again"),
        }
    }

    /// Reads until two readings, apart by the settle time, have the same content (or the same error).
    async fn settle(&mut self) -> Result<Tree, ReadTreeError> {
        let mut before = self.read().await;
        for reading in 1_u32.. {
            self.pause().await;
            let after = self.read().await;
            if digest_of(&after) == digest_of(&before) {
                return after;
            }
            if reading.is_multiple_of(RESTLESS) {
                tracing::warn!(readings = reading, "the rules directory doesn't come to rest; still waiting");
            }
            before = after;
        }
        before
    }

    /// The settle time. Who asks meanwhile is answered by the verdict on what is read after it.
    async fn pause(&mut self) {
        let over = tokio::time::sleep(self.options.settle);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                Some(request) = self.requests.recv() => self.asking.push(request),
            }
        }
    }

    async fn read(&self) -> Result<Tree, ReadTreeError> {
        let directory = self.options.directory.clone();
        let running = Arc::clone(&self.running.tree);
        let reading = tokio::task::spawn_blocking(move || read_tree(&directory, &Limits::default(), Some(&running)));
        match reading.await {
            Ok(read) => read,
            Err(error) => Err(ReadTreeError::Unreadable {
                path: self.options.directory.clone(),
                error: std::io::Error::other(error),
            }),
        }
    }

    /// Takes a tree up, or says why not.
    async fn judge(&mut self, settled: Result<Tree, ReadTreeError>, confirm: bool) {
        self.judged = digest_of(&settled);
        let running = Arc::clone(&self.running);
        let trouble = match settled {
            Err(error) => Some(Trouble::Unreadable { code: error.code(), message: error.to_string() }),
            Ok(tree) => self.inspect(tree, &running, confirm).await,
        };
        let now = self.clock.now();
        let generation = Arc::clone(&self.running);
        let swapped = !Arc::ptr_eq(&running, &generation);
        let lasting = self.standing.borrow().trouble.as_deref() == trouble.as_ref() && !swapped;
        self.standing.send_modify(|standing| {
            standing.hash.clone_from(&generation.hash);
            standing.rules = generation.rules.len();
            if swapped {
                standing.loaded_at = now;
            }
            standing.restored &= trouble.is_some();
            standing.warnings = Arc::new(generation.warnings.clone());
            standing.resting.clone_from(&generation.resting);
            standing.trouble = trouble.map(Arc::new);
            standing.verdicts += 1;
        });
        self.count();
        if !lasting {
            self.report();
        }
    }

    async fn inspect(&mut self, tree: Tree, running: &Arc<Generation>, confirm: bool) -> Option<Trouble> {
        let tree = Arc::new(tree);
        match self.checked(Arc::clone(&tree), running).await {
            Ok((generation, drift)) => {
                let braked = self.take_up(generation, running, confirm).await;
                braked.or_else(|| (!drift.is_empty()).then_some(Trouble::Refused(drift)))
            }
            Err(findings) => {
                let partly = self.options.isolate.then(|| isolate(&tree, &running.tree, &findings)).flatten();
                let Some(partly) = partly else { return Some(Trouble::Rejected(findings)) };
                match self.checked(Arc::new(partly), running).await {
                    Ok((generation, _)) => {
                        let braked = self.take_up(generation, running, confirm).await;
                        Some(braked.unwrap_or(Trouble::Isolated(findings)))
                    }
                    Err(_) => Some(Trouble::Rejected(findings)),
                }
            }
        }
    }

    async fn checked(
        &self,
        tree: Arc<Tree>,
        running: &Arc<Generation>,
    ) -> Result<(Generation, Vec<Finding>), Vec<Finding>> {
        let inspected = inspect(tree, &*self.source, &self.outside, Some(running)).await;
        let (generation, drifted) = inspected.and_then(|inspected| inspected.drifted(running))?;
        let failed = examined(&*self.examiner, &generation, &running.tree).await;
        if failed.is_empty() { Ok((generation, drifted)) } else { Err(failed) }
    }

    /// Swaps the generation in, unless the brake holds it: then the running one goes on without the rules
    /// that went missing.
    async fn take_up(&mut self, generation: Generation, running: &Arc<Generation>, confirm: bool) -> Option<Trouble> {
        let missing = brake::missing(&self.rules, &generation, self.options.brake_percent);
        if let Some(missing) = missing.filter(|_| !confirm) {
            let of = self.rules.len();
            // Those that rest for another reason go on resting.
            let mut resting = running.resting.clone();
            resting.retain(|_, rest| *rest != Rest::Missing);
            resting.extend(missing.iter().map(|id| (id.clone(), Rest::Missing)));
            self.swap(running.with_resting(resting));
            return Some(Trouble::Braked { missing: missing.into_iter().collect(), of });
        }
        let same = generation.hash == running.hash
            && generation.resting == running.resting
            && generation.surroundings == running.surroundings
            && generation.warnings == running.warnings;
        if !same {
            self.rules = generation.rules.keys().cloned().collect();
            self.swap(generation);
            self.save().await;
        }
        None
    }

    fn swap(&mut self, generation: Generation) {
        self.running = Arc::new(generation);
        self.generations.send_replace(Some(Arc::clone(&self.running)));
    }

    /// Keeps the running generation for a start with broken files.
    async fn save(&self) {
        let generation = Arc::clone(&self.running);
        let stored = StoredGeneration {
            hash: generation.hash.clone(),
            files: to_stored(&generation.tree),
            loaded_at: self.clock.now(),
        };
        if let Err(error) = self.register.save_generation(&stored).await {
            tracing::error!(%error, "the rules run, but could not be kept in the state for a start with broken files");
        }
    }

    /// Metrics of the verdict that has just been reached.
    fn count(&self) {
        let standing = self.standing.borrow();
        let result = standing.trouble.as_ref().map_or("loaded", |trouble| trouble.kind());
        metrics::counter!("nudged_reloads_total", "result" => result).increment(1);
        metrics::gauge!("nudged_reload_successful").set(if standing.is_good() { 1.0 } else { 0.0 });
        metrics::gauge!("nudged_rules").set(standing.rules as f64);
        metrics::gauge!("nudged_rules_loaded_timestamp_seconds").set(standing.loaded_at.as_second() as f64);
    }

    /// The log of a verdict that is news.
    fn report(&self) {
        let standing = self.standing.borrow();
        for warning in standing.warnings.iter() {
            tracing::warn!(code = warning.code, "{warning}");
        }
        let generation = standing.hash.get(..12).unwrap_or(&standing.hash);
        let Some(trouble) = &standing.trouble else {
            tracing::info!(generation, rules = standing.rules, "rules loaded");
            return;
        };
        for finding in trouble.findings() {
            tracing::error!(code = finding.code, "{finding}");
        }
        let (restored, result) = (standing.restored, trouble.kind());
        tracing::error!(generation, restored, result, "the rules on disk are not the ones running: {trouble}");
    }
}

fn digest_of(read: &Result<Tree, ReadTreeError>) -> Result<String, String> {
    read.as_ref().map(digest).map_err(ToString::to_string)
}
