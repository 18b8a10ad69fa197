//! How much main memory this machine can still give, so that too large a request is refused before it is
//! made: where the system promises more than it has, a request that cannot be met ends the process.

use std::fs;

/// Bytes that can still be had, by what the system says: its estimate, and what is left of this process's
/// control group.
/// `None` where it says neither.
#[must_use]
pub fn available_memory() -> Option<u64> {
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_meminfo(&text));
    [system, left_in_group()].into_iter().flatten().min()
}

/// `MemAvailable` of `/proc/meminfo`, which is given in KiB.
fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What the limit of the control group at the root of this namespace leaves; `None` without one.
fn left_in_group() -> Option<u64> {
    let read = |name| fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok();
    of_group(&read("max")?, &read("current")?)
}

fn of_group(max: &str, current: &str) -> Option<u64> {
    let bytes = |text: &str| text.trim().parse::<u64>().ok();
    Some(bytes(max)?.saturating_sub(bytes(current)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let text = "MemTotal:       24552380 kB\nMemFree:  1 kB\nMemAvailable:   14680064 kB\n";
        assert_eq!(of_meminfo(text), Some(14_680_064 << 10));
        for other in ["", "MemAvailable: x kB", "MemAvailable: 5", "MemAvailable: 99999999999999999999 kB"] {
            assert_eq!(of_meminfo(other), None);
        }
        assert_eq!(of_group("1000\n", "300\n"), Some(700));
        assert_eq!(of_group("1000\n", "1300\n"), Some(0));
        assert_eq!(of_group("max\n", "300\n"), None, "no limit");
    }
}
