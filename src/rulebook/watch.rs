//! Tells that something below the rules directory may have changed.
//!
//! Directories are watched, never files: an atomic save, a `ConfigMap`'s `..data` swap and a git checkout
//! all replace what a file watch would hold on to. The directory's parent is watched as well, since the
//! directory itself may be a link that gets swapped. What changed is not asked here; the content tells.

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// A running watch. The periodic rescan covers whatever it misses.
pub struct DirectoryWatch {
    root: PathBuf,
    /// What `root` led to when it was last watched.
    target: Option<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    changed: Arc<Notify>,
}

impl std::fmt::Debug for DirectoryWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectoryWatch").field("root", &self.root).field("target", &self.target).finish_non_exhaustive()
    }
}

impl DirectoryWatch {
    /// Watches `root`. Where the system has no watches to give, says so once and relies on the rescan.
    pub fn new(root: &Path) -> Self {
        let changed = Arc::new(Notify::new());
        let signal = Arc::clone(&changed);
        let handler = move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, may_matter) {
                signal.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|error| tracing::warn!(%error, "can't watch files; changes are found by the rescan alone"))
            .ok();
        let mut watch = Self { root: root.to_owned(), target: None, watcher, changed };
        watch.follow();
        watch
    }

    /// Resolves after something happened since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Watches what `root` leads to now, if that is another directory than before.
    pub fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let target = self.root.canonicalize().ok();
        if target == self.target {
            return;
        }
        if let Some(old) = self.target.take() {
            // It may be gone, and its watch with it.
            let _ = watcher.unwatch(&old);
        }
        if let Some(parent) = self.root.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            if let Err(error) = watcher.watch(parent, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, "can't watch the rules directory's parent");
            }
        }
        let Some(target) = target else { return };
        match watcher.watch(&target, RecursiveMode::Recursive) {
            Ok(()) => self.target = Some(target),
            Err(error) => {
                tracing::warn!(%error, "can't watch the rules directory; changes are found by the rescan alone");
            }
        }
    }
}

/// Reading doesn't change anything; our own reading would wake us for ever.
fn may_matter(event: &Event) -> bool {
    !matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}
