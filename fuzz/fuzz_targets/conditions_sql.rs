#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nudged_fuzz::conditions_sql(input));
