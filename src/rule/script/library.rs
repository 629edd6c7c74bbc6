//! Shared modules: files of `scripts/` that others `import "lib/name" as n;`. They come from the tree alone,
//! each compiled once, those it imports before it.

use super::engine::{DEADLINE, ENGINE, Modules, timed};
use super::{finding, problem, scan};
use crate::diagnostic::{Finding, Place, SourceFile, suggest};
use rhai::{Module, Scope, Shared};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The files of `scripts/` by the name that imports them, and those that somebody imports, compiled.
#[derive(Debug, Default)]
pub struct Library {
    files: BTreeMap<String, Arc<SourceFile>>,
    shelf: BTreeMap<String, Result<Shelved, Vec<Finding>>>,
}

#[derive(Debug, Clone)]
struct Shelved {
    module: Shared<Module>,
    /// All that it imports, directly or not.
    needs: Vec<String>,
}

/// What a script imports, directly or not.
#[derive(Debug, Default)]
pub(super) struct Imported {
    pub modules: Arc<Modules>,
}

/// `scripts/lib/name.rhai` is imported as `lib/name`.
fn name_of(path: &str) -> Option<&str> {
    path.strip_prefix("scripts/")?.strip_suffix(".rhai")
}

/// The file and all that it imports, directly or not, as far as they are there. Itself first, the others by name.
#[must_use]
pub fn with_imports<'a>(scripts: &'a [Arc<SourceFile>], file: &'a Arc<SourceFile>) -> Vec<&'a Arc<SourceFile>> {
    let mut found: BTreeMap<String, &Arc<SourceFile>> = BTreeMap::new();
    let mut open = vec![file];
    while let Some(next) = open.pop() {
        for name in scan::imports(&next.text).into_iter().filter_map(|import| import.name) {
            let module = scripts.iter().find(|file| name_of(&file.path) == Some(name.as_str()));
            if let Some(module) = module.filter(|module| module.path != file.path && !found.contains_key(&name)) {
                found.insert(name, module);
                open.push(module);
            }
        }
    }
    std::iter::once(file).chain(found.into_values()).collect()
}

impl Library {
    #[must_use]
    pub fn of(scripts: &[Arc<SourceFile>]) -> Self {
        let files = scripts.iter().filter_map(|file| Some((name_of(&file.path)?.to_owned(), Arc::clone(file))));
        let mut library = Self { files: files.collect(), shelf: BTreeMap::new() };
        let named: Vec<String> = scripts
            .iter()
            .flat_map(|file| scan::imports(&file.text))
            .filter_map(|import| import.name)
            .filter(|name| library.files.contains_key(name))
            .collect();
        for name in named {
            library.shelve(&name, &mut Vec::new());
        }
        library
    }

    /// Everything that a file imports, or what is wrong with any of it.
    pub(super) fn imported(&self, file: &Arc<SourceFile>) -> Result<Imported, Vec<Finding>> {
        let mut findings = self.unknown(file);
        let mut modules = Modules::new();
        for name in scan::imports(&file.text).into_iter().filter_map(|import| import.name) {
            match self.shelf.get(&name) {
                Some(Ok(shelved)) => {
                    let needed = shelved.needs.iter().chain([&name]);
                    let found = needed.filter_map(|name| match self.shelf.get(name) {
                        Some(Ok(shelved)) => Some((name.clone(), Shared::clone(&shelved.module))),
                        Some(Err(_)) | None => None,
                    });
                    modules.extend(found);
                }
                Some(Err(wrong)) => findings.extend(wrong.iter().cloned()),
                None => {}
            }
        }
        if findings.is_empty() { Ok(Imported { modules: Arc::new(modules) }) } else { Err(findings) }
    }

    /// Imports of what isn't there, or can't be told without running.
    fn unknown(&self, file: &Arc<SourceFile>) -> Vec<Finding> {
        let at = |range| Place { file: Arc::clone(file), range };
        let wrong = scan::imports(&file.text).into_iter().filter_map(|import| {
            let Some(name) = import.name else {
                let finding = Finding::error("script.import", "a module is imported by a plain name");
                return Some(finding.at(at(import.range)).help("write `import \"lib/name\" as n;`"));
            };
            if self.files.contains_key(&name) {
                return None;
            }
            let finding = Finding::error("script.unknown-module", format!("there is no scripts/{name}.rhai"));
            let finding = finding.at(at(import.range));
            Some(match suggest::help(&name, self.files.keys().map(String::as_str)) {
                Some(help) => finding.help(help),
                None => finding,
            })
        });
        wrong.collect()
    }

    /// Compiles a module after those it imports. `trail` are the modules that wait for it.
    fn shelve(&mut self, name: &str, trail: &mut Vec<String>) {
        if self.shelf.contains_key(name) {
            return;
        }
        let Some(file) = self.files.get(name).cloned() else { return };
        trail.push(name.to_owned());
        let circles = self.shelve_imports(&file, trail);
        trail.pop();
        let compiled = if circles.is_empty() { self.compile(&file) } else { Err(circles) };
        self.shelf.insert(name.to_owned(), compiled);
    }

    /// Returns the imports that lead back.
    fn shelve_imports(&mut self, file: &Arc<SourceFile>, trail: &mut Vec<String>) -> Vec<Finding> {
        let mut circles = Vec::new();
        for import in scan::imports(&file.text) {
            let Some(name) = import.name else { continue };
            let Some(start) = trail.iter().position(|waiting| *waiting == name) else {
                self.shelve(&name, trail);
                continue;
            };
            let way: Vec<&str> = trail[start..].iter().map(String::as_str).chain([name.as_str()]).collect();
            let message = format!("modules import each other: {}", way.join(" → "));
            let finding = Finding::error("script.import-cycle", message);
            let finding = finding.at(Place { file: Arc::clone(file), range: import.range });
            circles.push(finding.help("put what both need into a third module"));
        }
        circles
    }

    fn compile(&self, file: &Arc<SourceFile>) -> Result<Shelved, Vec<Finding>> {
        let imported = self.imported(file)?;
        let mut ast = ENGINE.compile(&file.text).map_err(|error| {
            let (line, column) = problem::place(error.position());
            vec![finding(file, line, column, "script.syntax", error.err_type().to_string())]
        })?;
        ast.set_source(file.path.as_str());
        // The engine is not ours: should it panic over a module, that module has failed, not the reload.
        let built = catch_unwind(AssertUnwindSafe(|| {
            timed(DEADLINE, &imported.modules, || Module::eval_ast_as_new(Scope::new(), &ast, &ENGINE))
        }));
        let module = match built {
            Ok(Ok(module)) => module,
            Ok(Err(error)) => {
                let problem = problem::of(&error, &[]);
                return Err(vec![finding(file, problem.line, problem.column, "script.dry-call", problem.text)]);
            }
            Err(_) => return Err(vec![finding(file, 1, 1, "script.dry-call", "the script engine failed".into())]),
        };
        Ok(Shelved { module: module.into(), needs: imported.modules.keys().cloned().collect() })
    }
}
