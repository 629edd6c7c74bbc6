//! Shared modules: files of `scripts/` that others `import "lib/name" as n;`. They come from the tree alone,
//! each compiled once, those it imports before it.

use super::engine::{DEADLINE, ENGINE, MODULES, Modules, timed};
use super::parse::parse;
use super::{finding, problem, scan};
use crate::diagnostic::{Finding, Place, SourceFile, suggest};
use rhai::{Module, Scope, Shared};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For all calls that are made at load of one tree together: each has its own deadline, and there may be thousands.
const TOGETHER: Duration = Duration::from_secs(10);

/// What is said of those that it doesn't suffice for.
pub(super) const NOT_CALLED: &str = "the scripts before it took too long together, so it was not called";

/// The files of `scripts/` by the name that imports them, and those that somebody imports, compiled.
#[derive(Debug)]
pub struct Library {
    files: BTreeMap<String, Arc<SourceFile>>,
    shelf: BTreeMap<String, Result<Shelved, Vec<Finding>>>,
    /// For calls at load.
    pub(super) left: Cell<Duration>,
}

impl Default for Library {
    fn default() -> Self {
        Self { files: BTreeMap::new(), shelf: BTreeMap::new(), left: Cell::new(TOGETHER) }
    }
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

fn names(file: &SourceFile) -> impl Iterator<Item = String> {
    scan::imports(&file.text).into_iter().filter_map(|import| import.name)
}

/// The modules that a file imports, directly or not, without itself. Where these are more than a script may have, one more.
fn reached<'a>(
    file: &'a Arc<SourceFile>,
    find: impl Fn(&str) -> Option<&'a Arc<SourceFile>>,
) -> BTreeMap<String, &'a Arc<SourceFile>> {
    let mut found: BTreeMap<String, &Arc<SourceFile>> = BTreeMap::new();
    let mut open = vec![file];
    while let Some(next) = open.pop() {
        for name in names(next) {
            let news = find(&name).filter(|module| module.path != file.path && !found.contains_key(&name));
            if let Some(module) = news.filter(|_| found.len() <= MODULES) {
                found.insert(name, module);
                open.push(module);
            }
        }
    }
    found
}

/// The file and all that it imports, directly or not, as far as they are there. Itself first, the others by name.
#[must_use]
pub fn with_imports<'a>(scripts: &'a [Arc<SourceFile>], file: &'a Arc<SourceFile>) -> Vec<&'a Arc<SourceFile>> {
    let found = reached(file, |name| scripts.iter().find(|file| name_of(&file.path) == Some(name)));
    std::iter::once(file).chain(found.into_values()).collect()
}

impl Library {
    #[must_use]
    pub fn of(scripts: &[Arc<SourceFile>]) -> Self {
        let files = scripts.iter().filter_map(|file| Some((name_of(&file.path)?.to_owned(), Arc::clone(file))));
        let mut library = Self { files: files.collect(), ..Self::default() };
        let named = scripts.iter().flat_map(|file| names(file)).filter(|name| library.files.contains_key(name));
        let named: Vec<String> = named.collect();
        for name in named {
            library.shelve(&name, &mut Vec::new());
        }
        library
    }

    /// Everything that a file imports, or what is wrong with any of it.
    pub(super) fn imported(&self, file: &Arc<SourceFile>) -> Result<Imported, Vec<Finding>> {
        if let Some(finding) = self.too_many(file) {
            return Err(vec![finding]);
        }
        let mut findings = self.unknown(file);
        let mut modules = Modules::new();
        for name in names(file) {
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

    fn too_many(&self, file: &Arc<SourceFile>) -> Option<Finding> {
        if reached(file, |name| self.files.get(name)).len() <= MODULES {
            return None;
        }
        let message = format!("more than {MODULES} modules are imported, those that modules import included");
        let range = scan::imports(&file.text).into_iter().next()?.range;
        let finding = Finding::error("script.import", message).at(Place { file: Arc::clone(file), range });
        Some(finding.help("put what belongs together into one module"))
    }

    /// Makes a call at load, unless those before it have taken the time of all.
    pub(super) fn call<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        if self.left.get().is_zero() {
            return None;
        }
        let began = Instant::now();
        let result = call();
        self.left.set(self.left.get().saturating_sub(began.elapsed()));
        Some(result)
    }

    /// Compiles a module after those it imports. `trail` are the modules that wait for it.
    fn shelve(&mut self, name: &str, trail: &mut Vec<String>) {
        if self.shelf.contains_key(name) {
            return;
        }
        let Some(file) = self.files.get(name).cloned() else { return };
        if let Some(finding) = self.too_many(&file) {
            self.shelf.insert(name.to_owned(), Err(vec![finding]));
            return;
        }
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
        let mut ast = parse(file)?;
        ast.set_source(file.path.as_str());
        // The engine is not ours: should it panic over a module, that module has failed, not the reload.
        let built = self.call(|| {
            catch_unwind(AssertUnwindSafe(|| {
                timed(DEADLINE, &imported.modules, || Module::eval_ast_as_new(Scope::new(), &ast, &ENGINE))
            }))
        });
        let wrong = |line, column, text: String| vec![finding(file, line, column, "script.dry-call", text)];
        let module = match built {
            Some(Ok(Ok(module))) => sealed(module),
            Some(Ok(Err(error))) => {
                let problem = problem::of(&error, &[]);
                return Err(wrong(problem.line, problem.column, problem.text));
            }
            Some(Err(_)) => return Err(wrong(1, 1, "the script engine failed".into())),
            None => return Err(wrong(1, 1, NOT_CALLED.into())),
        };
        Ok(Shelved { module: module.into(), needs: imported.modules.keys().cloned().collect() })
    }
}

/// The module without those that it imports, which its functions keep for themselves: the engine would index whatever can be
/// reached through them, and where two modules import the same, and are imported by two, that doubles at every level.
fn sealed(mut module: Module) -> Module {
    let names: Vec<String> = module.iter_sub_modules().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        module.set_sub_module(name, Module::new());
    }
    module.build_index();
    module
}
