//! What the figures were measured on.

use super::report::{self, percentile};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where sources, states and sync probes live, so that all share one disk.
pub fn directory() -> PathBuf {
    std::env::var_os("NUDGED_BENCH_DIR").map_or_else(|| PathBuf::from("/var/tmp/nudged-bench"), PathBuf::from)
}

pub fn describe() {
    fs::create_dir_all(directory()).expect("the bench directory can be made");
    println!("## machine");
    report::figure("processors", format!("{} × {}", cores(), line("/proc/cpuinfo", "model name")));
    report::figure("memory", line("/proc/meminfo", "MemTotal"));
    report::figure("kernel", read("/proc/sys/kernel/osrelease").trim());
    report::figure("load before", read("/proc/loadavg").trim());
    report::figure("8 KiB written and synced", report::shown(sync_latency()));
}

/// Resident memory of a process now and at its peak, in MiB.
pub fn memory_of(process: u32) -> (f64, f64) {
    let status = read(&format!("/proc/{process}/status"));
    let mib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the process runs, and memory is counted");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
    };
    (mib("VmRSS"), mib("VmHWM"))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The median of writing a page and waiting for the disk.
fn sync_latency() -> Duration {
    let path = directory().join("sync-probe");
    let mut file = File::create(&path).expect("the bench directory is writable");
    let mut samples: Vec<Duration> = (0..200)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&[1; 8192]).and_then(|()| file.sync_data()).expect("the disk takes a page");
            began.elapsed()
        })
        .collect();
    fs::remove_file(path).expect("the file is ours");
    samples.sort_unstable();
    percentile(&samples, 50)
}

fn line(path: &str, name: &str) -> String {
    let text = read(path);
    let found = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
    found.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
