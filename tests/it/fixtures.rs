//! What people see when a file is wrong: one bad file per diagnostic code, each with its snapshot.

use nudged::diagnostic::{Severity, SourceFile};
use nudged::rule::generation::{Checked, Surroundings, Tree};
use nudged::rule::statement::Dialect;
use std::path::Path;
use std::sync::Arc;

fn read_tree(root: &Path) -> Tree {
    fn walk(root: &Path, directory: &Path, files: &mut Vec<Arc<SourceFile>>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push(Arc::new(SourceFile { path: relative, text: std::fs::read_to_string(&path).unwrap() }));
            }
        }
    }
    let mut files = Vec::new();
    walk(root, root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Tree { files }
}

fn surroundings() -> Surroundings {
    Surroundings {
        dialect: Dialect::Postgres,
        schema: None,
        destinations: ["team-chat".to_owned()].into(),
        topics: ["offers".into()].into(),
    }
}

#[test]
fn the_rules_of_this_repository_have_no_errors() {
    let tree = read_tree(Path::new("rules"));
    let checked = Checked::of(&tree, &surroundings());
    let errors: Vec<_> = checked
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    assert!(checked.rules.len() >= 3);
    for f in checked.findings {
        println!("{f}");
    }
}
