//! What a process and all its children have used, as the kernel tells it.

use std::time::Duration;

/// Ticks of `/proc/<pid>/stat` per second: the value that Linux shows to programs on every architecture that we run on.
const TICKS: u64 = 100;

/// A process and its children, theirs included.
#[derive(Clone, Debug)]
pub struct Tree(Vec<u32>);

impl Tree {
    /// Of a process.
    pub fn of(root: u32) -> Self {
        let parents: Vec<(u32, u32)> =
            processes().filter_map(|id| Some((id, number(&stat(id)?, 1)?))).collect();
        let mut ids = vec![root];
        let mut at = 0;
        while let Some(&parent) = ids.get(at) {
            ids.extend(parents.iter().filter(|(_, its)| *its == parent).map(|(id, _)| *id));
            at += 1;
        }
        Self(ids)
    }

    /// Processor time so far, of children that ended too.
    pub fn cpu(&self) -> Duration {
        self.0.iter().map(|&id| cpu(id)).sum()
    }

    /// Processor time of the first process alone.
    pub fn cpu_of_root(&self) -> Duration {
        cpu(self.0[0])
    }

    /// Lets the peak of memory be counted from now.
    pub fn forget_peak(&self) {
        for id in &self.0 {
            // 5 resets the high-water mark; where that is not allowed the peak is that of the whole run.
            let _ = std::fs::write(format!("/proc/{id}/clear_refs"), "5");
        }
    }

    /// The most memory held, in KiB: each process's own peak.
    pub fn peak_kib(&self) -> u64 {
        self.0.iter().map(|&id| memory(id, "VmHWM:")).sum()
    }

    /// Memory held now, in KiB, of the first process and of all.
    pub fn memory_kib(&self) -> (u64, u64) {
        (memory(self.0[0], "VmRSS:"), self.0.iter().map(|&id| memory(id, "VmRSS:")).sum())
    }
}

fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The fields of `/proc/<pid>/stat` behind the name, which may hold anything; the state is the first of them.
fn stat(id: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.to_owned())
}

fn number<T: std::str::FromStr>(stat: &str, index: usize) -> Option<T> {
    stat.split(' ').nth(index)?.parse().ok()
}

fn cpu(id: u32) -> Duration {
    // utime, stime, and the same of children that were waited for.
    let ticks: u64 =
        stat(id).map_or(0, |stat| (11..=14).filter_map(|index| number::<u64>(&stat, index)).sum());
    Duration::from_millis(ticks * 1000 / TICKS)
}

fn memory(id: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_holds_children_of_children_and_what_they_used() {
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let mut child = std::process::Command::new("sh")
            .args(["-c", &format!("sh -c '{busy}; echo; read x'; read y")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let tree = Tree::of(child.id());
        assert!(tree.0.len() >= 2, "{tree:?}");
        assert!(tree.cpu() > Duration::ZERO && tree.cpu() > tree.cpu_of_root());
        assert!(tree.peak_kib() >= tree.memory_kib().1 && tree.memory_kib().0 > 0);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
