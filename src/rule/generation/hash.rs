//! The content hash of a tree.

use super::Tree;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// SHA-256 over length-prefixed paths and contents, in hexadecimal.
pub(super) fn of_tree(tree: &Tree) -> String {
    let mut hasher = Sha256::new();
    for part in tree.files.iter().flat_map(|file| [&file.path, &file.text]) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
