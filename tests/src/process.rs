//! Child processes: their output is kept, they are asked to end, and killed only if a test ends without having done so.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a program in a process group of its own.
    pub fn start(name: &str, command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let output = Arc::new(Mutex::new(Vec::new()));
        keep(child.stdout.take().unwrap(), output.clone());
        keep(child.stderr.take().unwrap(), output.clone());
        Self { name: name.to_owned(), child, output }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().join("\n")
    }

    /// Asks it to end (SIGTERM) and waits.
    pub async fn stop(&mut self) -> ExitStatus {
        signal("TERM", self.id());
        self.wait().await
    }

    /// Waits until it has ended.
    pub async fn wait(&mut self) -> ExitStatus {
        match tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("{} did not end within a minute", self.name),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.output.lock().unwrap();
            let from = output.len().saturating_sub(80);
            eprintln!("--- the last lines of {}:\n{}\n---", self.name, output[from..].join("\n"));
        }
    }
}

fn keep(from: impl AsyncRead + Unpin + Send + 'static, into: Arc<Mutex<Vec<String>>>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            into.lock().unwrap().push(line);
        }
    });
}

/// Sends a signal to one process, by its id; the shell's own `kill`, so that no package is needed. `STOP` is waited for: on a
/// busy machine threads run on until one of them has had its turn to take the signal.
pub fn signal(name: &str, id: u32) {
    send(name, &id.to_string());
    while name == "STOP" && !is_stopped(id) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Does none of its threads run, or is it gone?
fn is_stopped(id: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok()).all(|stat| {
        // The name in brackets may hold anything; the state stands behind it.
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        matches!(state, Some('T' | 'Z' | 'X'))
    })
}

/// The processes that this one started.
pub fn children(of: u32) -> Vec<u32> {
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name in brackets may hold anything; behind it stand the state and the parent.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        parent.is_some_and(|parent| parent == of.to_string())
    })
    .collect()
}

/// Sends a signal to a whole process group, as a terminal's Ctrl-C does.
pub fn signal_group(name: &str, id: u32) {
    send(name, &format!("-{id}"));
}

fn send(name: &str, target: &str) {
    let script = format!("kill -s {name} -- {target}");
    let status = std::process::Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{script} failed");
}

/// Is there such a process, and does its command line name this path? Process ids are reused; the path is not.
pub fn runs_with(id: u32, path: &Path) -> bool {
    let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(&*path.to_string_lossy())
}
