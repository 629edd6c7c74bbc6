//! One line per figure: what, ours, the bare equivalent, and how many times as long ours takes.

use std::time::Duration;

pub fn time(what: &str, ours: Duration, bare: Option<(&str, Duration)>) {
    let ratio = bare.map_or_else(String::new, |(tool, bare)| {
        format!(" | {tool}: {} | ratio {:.2}", shown(bare), ours.as_secs_f64() / bare.as_secs_f64())
    });
    println!("{what}: {}{ratio}", shown(ours));
}

/// Ours against bare in things per second: the ratio is ours / bare.
pub fn rate(what: &str, ours: f64, bare: Option<(&str, f64)>) {
    let ratio =
        bare.map_or_else(String::new, |(tool, bare)| format!(" | {tool}: {bare:.0}/s | ratio {:.2}", ours / bare));
    println!("{what}: {ours:.0}/s{ratio}");
}

pub fn figure(what: &str, value: impl std::fmt::Display) {
    println!("{what}: {value}");
}

pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Resident memory in MiB.
pub fn memory(what: &str, ours: f64, bare: (&str, f64)) {
    println!("{what}: {ours:.0} MiB | {}: {:.0} MiB | ratio {:.1}", bare.0, bare.1, ours / bare.1);
}

/// p50, p90, p99 and the worst; the ratio is of the medians.
pub fn spread_beside(what: &str, samples: Vec<Duration>, (tool, mut bare): (&str, Vec<Duration>)) {
    let mut sorted = samples.clone();
    sorted.sort_unstable();
    bare.sort_unstable();
    let [ours, theirs] = [&sorted, &bare].map(|samples| percentile(samples, 50));
    spread(what, samples);
    spread(&format!("  {tool}"), bare);
    println!("  ratio {:.2}", ours.as_secs_f64() / theirs.as_secs_f64());
}

/// p50, p90, p99 and the worst.
pub fn spread(what: &str, mut samples: Vec<Duration>) {
    samples.sort_unstable();
    let [p50, p90, p99] = [50, 90, 99].map(|percent| shown(percentile(&samples, percent)));
    let worst = shown(*samples.last().expect("there are samples"));
    println!("{what}: p50 {p50}, p90 {p90}, p99 {p99}, max {worst} ({} samples)", samples.len());
}

pub fn shown(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}
