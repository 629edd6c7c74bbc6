//! The sandbox: what a script may call, and the limits it runs under.
//!
//! Built from single packages, so that what is missing can't be reached: no files, no printing, no clock, no
//! randomness. What a script imports comes from the shelf that its rules directory filled, never from disk. Depth and sizes
//! are counted by the engine, operations here; a deadline in real time stands behind them. The engine's size limits don't
//! see a map that grows by `m[k] = v` (its own entries are checked, the map is not), nor what `curry` hands to a function, so
//! every use of a variable checks it.
//!
//! The engine is built without closures: what a function captures is shared, and a value that shares itself is never freed,
//! once per record. Functions in place (`|x| x + 1`) are there, and see their own parameters alone.

use super::amount::{self, exact, overflow};
use super::{sentiment, text, time};
use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, LanguageCorePackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{
    Array, Dynamic, Engine, EvalAltResult, FLOAT, FnPtr, INT, ImmutableString, Map, Module, ModuleResolver,
    OptimizationLevel, Position, Shared,
};
use rust_decimal::Decimal;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// A call that takes longer is stopped.
pub(super) const DEADLINE: Duration = Duration::from_millis(250);
/// Of one call, those of callbacks included.
const OPERATIONS: u64 = 200_000;
/// Operations between two looks at the clock.
const GLANCE: u64 = 16;
const DEPTH: usize = 24;
/// Of all text in one value together, in bytes.
pub(super) const TEXT: usize = 256 * 1024;
pub(super) const ENTRIES: usize = 1_000;
/// Modules of one script, those of its modules included; and imports of one call.
pub(super) const MODULES: usize = 16;

/// What the deadline's error carries.
pub(super) const TOO_LONG: &str = "deadline";
/// What the error of too many operations carries.
pub(super) const TOO_MANY: &str = "operations";

/// Compiled modules by the name that imports them.
pub(super) type Modules = BTreeMap<String, Shared<Module>>;

thread_local! {
    /// When the call that runs on this thread must be done. A call never leaves its thread.
    static UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Operations of the call that runs on this thread. The engine's own count begins anew in every callback of its
    /// functions over lists, so that calls within calls would never come to an end.
    static SPENT: Cell<u64> = const { Cell::new(0) };
    /// Why the call that runs on this thread has been stopped. Sorting passes over the errors of its callbacks.
    static STOPPED: Cell<Option<&'static str>> = const { Cell::new(None) };
    /// What the call that runs on this thread may import.
    static SHELF: RefCell<Option<Arc<Modules>>> = const { RefCell::new(None) };
}

/// Runs `call` for at most `deadline`, with these modules to import.
pub(super) fn timed<T>(deadline: Duration, modules: &Arc<Modules>, call: impl FnOnce() -> Fallible<T>) -> Fallible<T> {
    SHELF.set((!modules.is_empty()).then(|| Arc::clone(modules)));
    UNTIL.set(Instant::now().checked_add(deadline));
    SPENT.set(0);
    STOPPED.set(None);
    let result = call();
    UNTIL.set(None);
    SHELF.set(None);
    match (result, STOPPED.take()) {
        (Err(error), Some(_)) if matches!(error.unwrap_inner(), EvalAltResult::ErrorTerminated(..)) => Err(error),
        // Whatever it came to after a function passed over the error.
        (_, Some(why)) => Err(terminated(why).into()),
        (result, None) => result,
    }
}

fn is_late() -> bool {
    UNTIL.get().is_some_and(|until| Instant::now() >= until)
}

/// Before every operation: why it must not be done, nor any after it.
fn exhausted() -> Option<Dynamic> {
    let spent = SPENT.get() + 1;
    SPENT.set(spent);
    let stopped = STOPPED.get().or_else(|| match spent {
        _ if spent > OPERATIONS => Some(TOO_MANY),
        _ if spent.is_multiple_of(GLANCE) && is_late() => Some(TOO_LONG),
        _ => None,
    });
    STOPPED.set(stopped);
    stopped.map(Dynamic::from)
}

/// For functions that read a whole text: the engine looks at the clock between operations only.
pub(super) fn in_time() -> Fallible<()> {
    if is_late() {
        return Err(terminated(TOO_LONG).into());
    }
    Ok(())
}

fn terminated(why: &'static str) -> EvalAltResult {
    EvalAltResult::ErrorTerminated(Dynamic::from(why), Position::NONE)
}

/// Finds modules on the shelf and nowhere else.
struct FromShelf;

impl ModuleResolver for FromShelf {
    fn resolve(&self, _: &Engine, _: Option<&str>, path: &str, position: Position) -> Fallible<Shared<Module>> {
        let found = SHELF.with_borrow(|shelf| shelf.as_ref().and_then(|modules| modules.get(path).cloned()));
        found.ok_or_else(|| EvalAltResult::ErrorModuleNotFound(path.into(), position).into())
    }
}

/// All scripts share one engine: it holds no state of any of them.
pub(super) static ENGINE: LazyLock<Engine> = LazyLock::new(build);

pub(super) type Fallible<T> = Result<T, Box<EvalAltResult>>;

fn build() -> Engine {
    let mut engine = Engine::new_raw();
    register_packages(&mut engine);
    // It would take a time in proportion to the square of a file's cases of `switch`, or of its blocks.
    engine.set_optimization_level(OptimizationLevel::None);
    for word in ["eval", "export", "this", "print", "debug", "timestamp", "sleep"] {
        engine.disable_symbol(word);
    }
    // A function name is not a symbol in every position, so `sleep` is taken away twice.
    engine.register_fn("sleep", |_: INT| forbidden::<()>("sleep"));
    engine.register_fn("sleep", |_: FLOAT| forbidden::<()>("sleep"));
    engine.set_max_call_levels(DEPTH).set_max_expr_depths(48, 32);
    engine.set_max_string_size(TEXT).set_max_array_size(ENTRIES).set_max_map_size(ENTRIES);
    engine.set_module_resolver(FromShelf);
    engine.set_max_modules(MODULES).set_max_functions(64).set_max_variables(64);
    engine.set_fail_on_invalid_map_property(true).set_strict_variables(true);
    engine.on_progress(|_| exhausted());
    check_every_use(&mut engine);
    bound_replacements(&mut engine);
    mix_decimals_and_floats(&mut engine);
    time::register(&mut engine);
    text::register(&mut engine);
    amount::register(&mut engine);
    sentiment::register(&mut engine);
    engine
}

fn register_packages(engine: &mut Engine) {
    LanguageCorePackage::new().register_into_engine(engine);
    ArithmeticPackage::new().register_into_engine(engine);
    BasicStringPackage::new().register_into_engine(engine);
    BasicIteratorPackage::new().register_into_engine(engine);
    BasicFnPackage::new().register_into_engine(engine);
    LogicPackage::new().register_into_engine(engine);
    BasicMathPackage::new().register_into_engine(engine);
    BasicArrayPackage::new().register_into_engine(engine);
    BasicMapPackage::new().register_into_engine(engine);
    MoreStringPackage::new().register_into_engine(engine);
}

fn forbidden<T>(what: &str) -> Fallible<T> {
    Err(EvalAltResult::ErrorFunctionNotFound(what.into(), Position::NONE).into())
}

/// Sizes of a variable are checked whenever it is used, which is before it can be copied into itself.
fn check_every_use(engine: &mut Engine) {
    #[expect(deprecated, reason = "marked so only because its signature may change between minor versions")]
    engine.on_var(|name, _, context| {
        match context.scope().get(name) {
            Some(value) if value.is_map() || value.is_array() || value.is_fnptr() => within_limits(value)?,
            _ => {}
        }
        Ok(None)
    });
}

fn within_limits(value: &Dynamic) -> Fallible<()> {
    let mut sizes = Sizes::default();
    sizes.add(value);
    let too_large = match sizes {
        Sizes { text, .. } if text > TEXT => "Length of string",
        Sizes { entries, .. } if entries > ENTRIES => "Size of array/BLOB",
        Sizes { fields, .. } if fields > ENTRIES => "Size of object map",
        Sizes { .. } => return Ok(()),
    };
    Err(EvalAltResult::ErrorDataTooLarge(too_large.into(), Position::NONE).into())
}

/// Of a value and all in it, counted as the engine does; a function is a list of what `curry` handed to it, which the engine
/// doesn't count.
#[derive(Default)]
struct Sizes {
    entries: usize,
    fields: usize,
    text: usize,
}

impl Sizes {
    fn add(&mut self, value: &Dynamic) {
        if let Some(text) = value.read_lock::<ImmutableString>() {
            self.text += text.len();
        } else if let Some(list) = value.read_lock::<Array>() {
            self.entries += list.len();
            list.iter().for_each(|entry| self.add(entry));
        } else if let Some(map) = value.read_lock::<Map>() {
            self.fields += map.len();
            map.values().for_each(|field| self.add(field));
        } else if let Some(function) = value.read_lock::<FnPtr>() {
            self.entries += function.curry().len();
            function.iter_curry().for_each(|handed| self.add(handed));
        }
    }
}

/// The engine checks a text's size only after it has been made; replacing can make it a million times
/// longer at once.
fn bound_replacements(engine: &mut Engine) {
    fn replaced(text: &mut ImmutableString, find: &str, by: &str) -> Fallible<()> {
        let times = if find.is_empty() { text.chars().count() + 1 } else { text.matches(find).count() };
        if text.len().saturating_add(times.saturating_mul(by.len())) > TEXT {
            return Err(EvalAltResult::ErrorDataTooLarge("Length of string".into(), Position::NONE).into());
        }
        *text = text.replace(find, by).into();
        Ok(())
    }
    engine.register_fn("replace", |text: &mut ImmutableString, find: &str, by: &str| replaced(text, find, by));
    engine.register_fn("replace", |text: &mut ImmutableString, find: char, by: &str| {
        replaced(text, find.encode_utf8(&mut [0; 4]), by)
    });
    engine.register_fn("replace", |text: &mut ImmutableString, find: &str, by: char| {
        replaced(text, find, by.encode_utf8(&mut [0; 4]))
    });
    engine.register_fn("replace", |text: &mut ImmutableString, find: char, by: char| {
        replaced(text, find.encode_utf8(&mut [0; 4]), by.encode_utf8(&mut [0; 4]))
    });
}

/// Amounts are exact decimals and `0.5` in a script is a float. Without these, comparing the two would be
/// false without a word.
fn mix_decimals_and_floats(engine: &mut Engine) {
    macro_rules! compare {
        ($($sign:literal $operator:tt),*) => {$(
            engine.register_fn($sign, |a: Decimal, b: FLOAT| exact(b).map(|b| a $operator b));
            engine.register_fn($sign, |a: FLOAT, b: Decimal| exact(a).map(|a| a $operator b));
        )*};
    }
    compare!("<" <, "<=" <=, ">" >, ">=" >=, "==" ==, "!=" !=);
    macro_rules! calculate {
        ($($sign:literal $checked:ident),*) => {$(
            engine.register_fn($sign, |a: Decimal, b: FLOAT| exact(b).and_then(|b| a.$checked(b).ok_or_else(|| overflow().into())));
            engine.register_fn($sign, |a: FLOAT, b: Decimal| exact(a).and_then(|a| a.$checked(b).ok_or_else(|| overflow().into())));
        )*};
    }
    calculate!("+" checked_add, "-" checked_sub, "*" checked_mul, "/" checked_div);
}
