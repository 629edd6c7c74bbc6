//! Points in time kept as ISO 8601 text, compared exactly in SQL.
//!
//! Text with an offset is compared in UTC, text without one in the column's zone; both against bounds with
//! six decimals, of which a shorter text is a prefix, so that byte order is time order. What doesn't begin
//! like a date is null.

use super::dialect;
use super::fragment::Fragment;
use crate::rule::statement::Dialect;

/// Whether the text reads as at most the bound, given in UTC and as wall time.
pub(super) fn at_most(dialect: Dialect, raw: &Fragment, utc: &Fragment, wall: &Fragment) -> Fragment {
    let text = dialect::text(dialect, raw);
    let plain = match dialect {
        Dialect::MySql => Fragment::of("REPLACE(CONVERT({} USING utf8mb4), 'T', ' ')", &[raw]),
        Dialect::Postgres | Dialect::Sqlite => Fragment::of("replace({}, 'T', ' ')", &[&text]),
    };
    let below = |text: &Fragment, bound: &Fragment| {
        let text = match dialect {
            Dialect::MySql => Fragment::of("CAST({} AS BINARY)", &[text]),
            Dialect::Postgres | Dialect::Sqlite => dialect::ordered_text(dialect, text),
        };
        Fragment::of("{} <= {}", &[&text, &dialect::bound_text(dialect, bound)])
    };
    let zulu = below(&Fragment::of("rtrim({}, 'Z')", &[&plain]), utc);
    let offset = below(&in_utc(dialect, &plain), utc);
    let local = below(&plain, wall);
    match dialect {
        Dialect::Sqlite => Fragment::of(
            "(CASE WHEN {} NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' THEN NULL \
             WHEN substr({}, -1) = 'Z' THEN {} \
             WHEN substr({}, -6, 1) IN ('+', '-') AND substr({}, -3, 1) = ':' THEN {} ELSE {} END)",
            &[&plain, &plain, &zulu, &plain, &plain, &offset, &local],
        ),
        Dialect::Postgres => Fragment::of(
            r"(CASE WHEN {} !~ '^[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]' THEN NULL WHEN right({}, 1) = 'Z' THEN {} WHEN {} ~ ' [0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?[+-][0-9]{2}:[0-9]{2}$' THEN {} ELSE {} END)",
            &[&plain, &plain, &zulu, &plain, &offset, &local],
        ),
        Dialect::MySql => {
            let zulu = below(&Fragment::of("TRIM(TRAILING 'Z' FROM {})", &[&plain]), utc);
            Fragment::of(
                "(CASE WHEN {} NOT REGEXP '^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]' THEN NULL \
                 WHEN RIGHT({}, 1) = 'Z' THEN {} WHEN {} REGEXP '[+-][0-9][0-9]:[0-9][0-9]$' THEN {} ELSE {} END)",
                &[&plain, &plain, &zulu, &plain, &offset, &local],
            )
        }
    }
}

/// Text that ends in `+02:00`, as UTC wall time. Never fails: impossible days roll over or give null.
fn in_utc(dialect: Dialect, plain: &Fragment) -> Fragment {
    match dialect {
        Dialect::Sqlite => Fragment::of("strftime('%Y-%m-%d %H:%M:%f000', {})", &[plain]),
        Dialect::MySql => Fragment::of(
            "DATE_FORMAT(CONVERT_TZ(CAST(LEFT({}, CHAR_LENGTH({}) - 6) AS DATETIME(6)), RIGHT({}, 6), '+00:00'), \
             '%Y-%m-%d %H:%i:%s.%f')",
            &[plain, plain, plain],
        ),
        Dialect::Postgres => Fragment::of(
            "to_char(make_timestamp(CAST(left({}, 4) AS int), CAST(substr({}, 6, 2) AS int), 1, 0, 0, 0) \
             + make_interval(days => CAST(substr({}, 9, 2) AS int) - 1, hours => CAST(substr({}, 12, 2) AS int), \
             mins => CAST(substr({}, 15, 2) AS int), \
             secs => CAST(substring({} from ':([0-9]{2}(?:[.][0-9]+)?)[+-]') AS double precision)) \
             - make_interval(hours => CAST(left(right({}, 6), 3) AS int), \
             mins => CAST(left(right({}, 6), 1) || right({}, 2) AS int)), 'YYYY-MM-DD HH24:MI:SS.US')",
            &[plain, plain, plain, plain, plain, plain, plain, plain, plain],
        ),
    }
}

/// The same text in a form whose byte order is time order as long as a column keeps one form: for MAX.
pub(super) fn sortable(dialect: Dialect, raw: &Fragment) -> Fragment {
    match dialect {
        Dialect::MySql => Fragment::of("REPLACE(REPLACE({}, ' ', 'T'), 'Z', '+00:00')", &[raw]),
        Dialect::Postgres | Dialect::Sqlite => dialect::ordered_text(
            dialect,
            &Fragment::of("replace(replace(CAST({} AS text), ' ', 'T'), 'Z', '+00:00')", &[raw]),
        ),
    }
}
