//! The process as the kernel sees it: `/proc` and the disk under the data folder. What cannot be read is left out.

use super::families::{CPU, DISK_FREE, DISK_SIZE, MAX_FILES, OPEN_FILES, RESIDENT, START, TASKS, THREADS};
use super::page::{Page, decimal};
use std::path::Path;

/// The unit of times in `/proc`, which Linux has promised to user space for good: hundredths of a second.
const TICKS: u32 = 2;

pub(super) fn write(page: &mut Page, data_dir: &Path) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    page.put_some(&START, started(&stat).map(|hundredths| decimal(hundredths, TICKS)));
    page.put_some(&CPU, cpu(&stat).map(|hundredths| decimal(hundredths, TICKS)));
    page.put_some(&RESIDENT, field(&status, "VmRSS:").map(|kib| kib.saturating_mul(1024)));
    page.put_some(&THREADS, field(&status, "Threads:"));
    // The folder itself is open while it is read.
    let open = std::fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1)).ok();
    page.put_some(&OPEN_FILES, open);
    page.put_some(&MAX_FILES, max_files());
    page.put_some(
        &TASKS,
        tokio::runtime::Handle::try_current().map(|it| it.metrics().num_alive_tasks()).ok(),
    );
    if let Ok(disk) = rustix::fs::statvfs(data_dir) {
        page.put(&DISK_FREE, &[], disk.f_bavail.saturating_mul(disk.f_frsize));
        page.put(&DISK_SIZE, &[], disk.f_blocks.saturating_mul(disk.f_frsize));
    }
}

/// A number of `/proc/self/stat`, counted from 1 as its manual does. The name in brackets may hold blanks.
fn stat_field(stat: &str, number: usize) -> Option<i128> {
    stat.rsplit(')').next()?.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// Time in user and in kernel mode.
fn cpu(stat: &str) -> Option<i128> {
    Some(stat_field(stat, 14)? + stat_field(stat, 15)?)
}

/// When it started, in hundredths of a second of Unix time.
fn started(stat: &str) -> Option<i128> {
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: i128 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot * 100 + stat_field(stat, 22)?)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn max_files() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_seen_as_it_is() {
        let mut page = Page::default();
        write(&mut page, Path::new("/"));
        let text = page.into_text();
        // Whole numbers will do.
        let value = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let number = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
            number.split('.').next().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1_000_000);
        assert!(value("process_open_fds") >= 3 && value("process_max_fds") >= value("process_open_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!((now - 3600..now + 2).contains(&value("process_start_time_seconds")));
        assert!(value("nexusroute_data_disk_size_bytes") >= value("nexusroute_data_disk_free_bytes"));
        assert_eq!(cpu("7 (a )b) S 1 1 1 0 -1 4 1 0 0 0 250 50 0 0"), Some(300));
    }
}
