//! Processes that die over a sequence and are followed by others, on the same state.

use super::mortal::Mortal;
use crate::world::World;
use jiff::Timestamp;
use nudged::engine::Engine;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Which calls a process may die at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Settlements,
    /// Whatever a sequence and its sweeps write into the state.
    EveryWrite,
}

pub const SETTLE: &str = "settle";

/// On which side of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Before,
    After,
}

/// When the processes of a play die: each time that something is written for the first time, before its commit and,
/// by the next process, after it; or at one in so many of these occasions, so that some live longer.
pub struct Fate {
    at: At,
    /// Of so many occasions the deadly one.
    deadly: Option<(usize, usize)>,
    met: Mutex<Met>,
}

#[derive(Default)]
struct Met {
    calls: Vec<&'static str>,
    written: HashSet<(Side, String)>,
    occasions: usize,
    deaths: usize,
}

impl Fate {
    /// Nobody dies.
    pub fn kind(at: At) -> Arc<Self> {
        Arc::new(Self { at, deadly: None, met: Mutex::default() })
    }

    pub fn deadly(at: At, deadly: (usize, usize)) -> Arc<Self> {
        Arc::new(Self { at, deadly: Some(deadly), met: Mutex::default() })
    }

    /// The calls that came to their commit, in their order.
    pub fn calls(&self) -> Vec<&'static str> {
        self.met.lock().unwrap().calls.clone()
    }

    pub fn deaths(&self) -> usize {
        self.met.lock().unwrap().deaths
    }

    pub fn note(&self, call: &'static str) {
        self.met.lock().unwrap().calls.push(call);
    }

    pub fn counts(&self, call: &str) -> bool {
        self.at == At::EveryWrite || call == SETTLE
    }

    pub fn strikes(&self, side: Side, what: &[String]) -> bool {
        let Some((of, deadly)) = self.deadly else { return false };
        let mut met = self.met.lock().unwrap();
        let new = what.iter().filter(|what| met.written.insert((side, (*what).clone()))).count();
        met.occasions += usize::from(new > 0);
        let dies = new > 0 && met.occasions % of == deadly;
        met.deaths += usize::from(dies);
        dies
    }
}

/// The processes of a play, one after the other on the same state.
pub struct Lives<'w> {
    world: &'w World,
    fate: Arc<Fate>,
    mortal: Arc<Mortal>,
    engine: Engine,
}

impl<'w> Lives<'w> {
    pub fn begin(world: &'w World, fate: &Arc<Fate>) -> Self {
        let mortal = Mortal::new(world, fate);
        // On a state that isn't shared, whatever bears another name is somebody dead.
        let engine = world.life(&format!("life {}", fate.deaths()), mortal.clone());
        Self { world, fate: fate.clone(), mortal, engine }
    }

    /// Does what is due. Whoever dies over it is followed by another. When something is due next.
    pub async fn turn(&mut self) -> Timestamp {
        loop {
            let next = tokio::select! {
                next = turn(&self.engine) => Some(next),
                () = self.mortal.died() => None,
            };
            if let Some(next) = next {
                assert!(next > self.world.now(), "what is due is done");
                return next;
            }
            self.world.leases_run_out().await;
            *self = Self::begin(self.world, &self.fate);
        }
    }
}

async fn turn(engine: &Engine) -> Timestamp {
    engine.rescue().await.unwrap();
    engine.sweep_due().await.unwrap();
    engine.dispatch_due().await.unwrap();
    engine.next_due().await.unwrap().unwrap_or(Timestamp::MAX)
}
