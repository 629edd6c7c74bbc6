//! Where a demo keeps what it makes, and which rules it runs.

use std::io;
use std::path::{Path, PathBuf};

/// The demo's rules, for a program that was installed without its repository.
const RULES: [(&str, &str); 14] = [
    ("catalog.yaml", include_str!("../../../rules/catalog.yaml")),
    ("low-nps.yaml", include_str!("../../../rules/low-nps.yaml")),
    ("renewal.yaml", include_str!("../../../rules/renewal.yaml")),
    ("vip-monday.yaml", include_str!("../../../rules/vip-monday.yaml")),
    ("win-back.yaml", include_str!("../../../rules/win-back.yaml")),
    ("scripts/win-back.rhai", include_str!("../../../rules/scripts/win-back.rhai")),
    ("templates/layouts/default.html", include_str!("../../../rules/templates/layouts/default.html")),
    ("templates/nps-angry.md", include_str!("../../../rules/templates/nps-angry.md")),
    ("templates/nps-unhappy.md", include_str!("../../../rules/templates/nps-unhappy.md")),
    ("templates/renewal-30.md", include_str!("../../../rules/templates/renewal-30.md")),
    ("templates/renewal-7.md", include_str!("../../../rules/templates/renewal-7.md")),
    ("templates/renewal-over.md", include_str!("../../../rules/templates/renewal-over.md")),
    ("templates/win-back-1.md", include_str!("../../../rules/templates/win-back-1.md")),
    ("templates/win-back-2.md", include_str!("../../../rules/templates/win-back-2.md")),
];

/// The directory of one demo.
#[derive(Debug, Clone)]
pub struct Home {
    directory: PathBuf,
}

impl Home {
    /// Makes the directory if it isn't there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Removes what earlier demos left here. Rules that somebody may have edited stay.
    pub fn clear(&self) -> io::Result<()> {
        for name in ["crm.db", "state.db"] {
            for suffix in ["", "-wal", "-shm"] {
                gone(std::fs::remove_file(self.directory.join(format!("{name}{suffix}"))))?;
            }
        }
        for file in ["clock.json", "webhooks.jsonl", "state.lock", "state.db.lock"] {
            gone(std::fs::remove_file(self.directory.join(file)))?;
        }
        gone(std::fs::remove_dir_all(self.mailbox()))
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn crm(&self) -> PathBuf {
        self.directory.join("crm.db")
    }

    pub fn state(&self) -> PathBuf {
        self.directory.join("state.db")
    }

    pub fn mailbox(&self) -> PathBuf {
        self.directory.join("mailbox")
    }

    pub fn webhooks(&self) -> PathBuf {
        self.directory.join("webhooks.jsonl")
    }

    /// The rules to run: those of the checkout we stand in, else copies made here once.
    pub fn rules(&self) -> io::Result<PathBuf> {
        if stands_in_checkout() {
            return Ok(PathBuf::from("rules"));
        }
        let rules = self.directory.join("rules");
        for (path, text) in RULES {
            let file = rules.join(path);
            if file.exists() {
                continue;
            }
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(file, text)?;
        }
        Ok(rules)
    }
}

fn stands_in_checkout() -> bool {
    let ours = |manifest: String| manifest.contains("\nname = \"nudged\"\n");
    std::fs::read_to_string("Cargo.toml").is_ok_and(ours) && Path::new("rules/catalog.yaml").exists()
}

/// What isn't there needs no removing.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path, below: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, below, found);
            } else {
                found.push(path.strip_prefix(below).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn every_rule_file_of_the_repository_is_embedded() {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
        let mut found = Vec::new();
        files(&rules, &rules, &mut found);
        found.sort();
        let mut embedded: Vec<&str> = RULES.iter().map(|(path, _)| *path).collect();
        embedded.sort_unstable();
        assert_eq!(found, embedded);
    }

    #[test]
    fn clearing_removes_what_a_demo_made_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        for path in [home.crm(), home.state(), home.webhooks(), home.directory().join("mine.txt")] {
            std::fs::write(path, "x").unwrap();
        }
        std::fs::create_dir(home.mailbox()).unwrap();
        home.clear().unwrap();
        home.clear().unwrap();
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["mine.txt"]);
    }
}
