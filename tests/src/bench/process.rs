//! CPU time and memory of a process and its children, as the kernel counts them.

use std::fs;

/// The kernel counts CPU time in hundredths of a second on every platform this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process so far, in seconds; 0 if it is gone.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    // The name in parentheses may hold spaces; what counts comes after it, utime and stime as the 12th and 13th.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

/// The same of a process and all its children that still run. A child that ended in between is not counted.
pub(super) fn tree_cpu_seconds(pid: u32) -> f64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let below: f64 =
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(tree_cpu_seconds).sum();
    cpu_seconds(pid) + below
}

/// Bytes of memory that a process holds; 0 if it is gone.
pub(super) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
