//! How much a rendering may make. The engine counts instructions, and one of them can make any amount of text: so what a
//! template gives a name to, what filters make and what is printed is measured, and what all of it comes to is counted.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use std::time::{Duration, Instant};

/// Bytes of one value: more can't be sent either.
pub(super) const VALUE: usize = 1 << 20;
/// Bytes of all that one rendering makes: a page, and every text that was made on the way to it.
const ALL: usize = 32 << 20;
/// How long one rendering may take: some thousand times what a long mail needs.
const LONGEST: Duration = Duration::from_secs(5);
/// Lists within lists: who prints, compares or drops them calls itself for each.
const DEEPEST: usize = 32;
/// What a list needs to hold one value.
const ENTRY: usize = 16;

const TOO_LARGE: &str = "a value that it makes has more than 1 MiB, or lists in lists more than 32 deep";
const TOO_MUCH: &str = "what it makes comes to more than 32 MiB; is there a loop that multiplies itself?";

/// The tests that [`super::measured`] puts behind the tags that give values a name. Tests can't be given a name
/// themselves, so no template can put another in their place.
pub(super) const NAMED: &str = "measured";
pub(super) const MADE: &str = "counted";

pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_test(NAMED, |state: &mut State<'_, '_>, value: Value| {
        checked(&value)?;
        count(state, 0).map(|()| true)
    });
    environment.add_test(MADE, |state: &mut State<'_, '_>, value: Value| made(state, value).map(|_| true));
}

/// Whether an error's detail is one of this module, and so can't hold a value.
pub(super) fn told(detail: &str) -> bool {
    [TOO_LARGE, TOO_MUCH].contains(&detail)
}

/// What this rendering has made, and since when.
#[derive(Debug)]
struct Made {
    bytes: usize,
    since: Instant,
}

/// Counts what was made, and looks at the clock: to compare or to put together large values is one instruction as well.
pub(super) fn count(state: &mut State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let made = state.get_or_insert_extension_with(|| Made { bytes: 0, since: Instant::now() });
    made.bytes = made.bytes.saturating_add(bytes);
    if made.bytes > ALL {
        return Err(Error::new(ErrorKind::InvalidOperation, TOO_MUCH));
    }
    if made.since.elapsed() > LONGEST {
        return Err(Error::from(ErrorKind::OutOfFuel));
    }
    Ok(())
}

/// A new value, if it is not too large, counted.
pub(super) fn made(state: &mut State<'_, '_>, value: Value) -> Result<Value, Error> {
    count(state, size(&value)?)?;
    Ok(value)
}

/// Refuses what is too large to be worked with.
pub(super) fn checked(value: &Value) -> Result<(), Error> {
    size(value).map(|_| ())
}

fn size(value: &Value) -> Result<usize, Error> {
    let mut left = VALUE;
    if take(&mut left, value, DEEPEST) { Ok(VALUE - left) } else { Err(too_large()) }
}

pub(super) fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOperation, TOO_LARGE)
}

/// Takes the size of a value from what is left, what is shared as often as it is printed. `false`: there is not enough.
fn take(left: &mut usize, value: &Value, deeper: usize) -> bool {
    let own = ENTRY + value.as_bytes().map_or(0, <[u8]>::len);
    let Some(rest) = left.checked_sub(own) else { return false };
    *left = rest;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable if deeper > 0 => {
            value.try_iter().is_ok_and(|mut entries| entries.all(|entry| take(left, &entry, deeper - 1)))
        }
        ValueKind::Map if deeper > 0 => value.try_iter().is_ok_and(|mut keys| {
            keys.all(|key| {
                let entry = value.get_item(&key).unwrap_or_default();
                take(left, &key, deeper - 1) && take(left, &entry, deeper - 1)
            })
        }),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => false,
        _ => true,
    }
}
