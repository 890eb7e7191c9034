//! The local nats-server: a supervised child for the embedded default.
//!
//! For: starting it on loopback with `sync_interval: always` and a fresh token, starting it again when it dies, stopping
//! it with its parent.
//! Claims: an acknowledged event has been flushed to disk; nobody else on the machine can write to it without the token; two
//! servers never share a store.

#[cfg(test)]
mod tests;

use crate::LedgerError;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where the local server's binary and its data are.
#[derive(Clone, Debug)]
pub struct LocalServerOptions {
    /// The nats-server binary.
    pub binary: PathBuf,
    /// Its folder: configuration, log file and JetStream's store.
    pub folder: PathBuf,
    /// How long a start may take: recovering a large store takes seconds.
    pub start_limit: Duration,
}

/// A nats-server that runs as long as this does.
pub struct LocalServer {
    url: String,
    token: String,
    pid: Arc<Mutex<Option<u32>>>,
    stop: DropGuard,
    supervisor: tokio::task::JoinHandle<()>,
}

/// The configuration file's name.
const CONFIGURATION: &str = "nats.conf";

/// What the supervisor needs to start the child again.
struct Plan {
    options: LocalServerOptions,
    port: u16,
    /// Locked as long as a server of ours may run in the folder. The kernel lets it go when this process dies.
    _claim: File,
}

impl LocalServer {
    /// Starts the server and waits until it answers.
    ///
    /// Errors: [`LedgerError::Unfit`] when the binary cannot be run, the folder cannot be written, or another process runs
    /// its server there.
    pub async fn start(options: LocalServerOptions) -> Result<Self, LedgerError> {
        let unfit =
            |what: &str, error: io::Error| LedgerError::Unfit(format!("local nats-server: {what}: {error}"));
        std::fs::create_dir_all(&options.folder).map_err(|error| unfit("cannot make its folder", error))?;
        let claim =
            claim(&options.folder).await.map_err(|error| unfit("its folder cannot be locked", error))?;
        end_left_over(&options.folder).await;
        let port = free_port().map_err(|error| unfit("no free port", error))?;
        let token = hex::encode(rand::random::<[u8; 24]>());
        let plan = Plan { options, port, _claim: claim };
        plan.write_configuration(&token).map_err(|error| unfit("cannot write its configuration", error))?;
        let child = plan.start().await?;
        let (stop, pid) = (CancellationToken::new(), Arc::new(Mutex::new(child.id())));
        let url = format!("nats://127.0.0.1:{port}");
        let supervisor = tokio::spawn(supervise(plan, child, pid.clone(), stop.clone()));
        Ok(Self { url, token, pid, stop: stop.drop_guard(), supervisor })
    }

    /// The address and token of the server that another process supervises in this folder, from its configuration; `None`
    /// when there never was one. Whether it still runs shows when one connects.
    pub fn found_in(folder: &Path) -> Option<(String, String)> {
        let text = std::fs::read_to_string(folder.join(CONFIGURATION)).ok()?;
        let between =
            |start: &str| text.split_once(start)?.1.split_once('"').map(|(value, _)| value.to_owned());
        Some((format!("nats://{}", between("listen: \"")?), between("token: \"")?))
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The token it asks for.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The child's process id; `None` between its death and its next start.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the server: asks, waits, and only then insists.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.supervisor.await {
            tracing::error!(%error, "the supervisor of the local nats-server failed");
        }
    }
}

impl Plan {
    fn configuration_file(&self) -> PathBuf {
        self.options.folder.join(CONFIGURATION)
    }

    fn write_configuration(&self, token: &str) -> io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let folder = std::path::absolute(&self.options.folder)?;
        let text = format!(
            "# Written at every start.\n\
             listen: \"127.0.0.1:{port}\"\n\
             server_name: \"nexusroute-local\"\n\
             authorization {{ token: \"{token}\" }}\n\
             jetstream {{\n  store_dir: {store:?}\n  # Flushed before it is acknowledged: an event survives a power cut.\n  sync_interval: always\n}}\n\
             log_file: {log:?}\nlogfile_size_limit: 16MB\nlogfile_max_num: 3\npid_file: {pid:?}\n",
            port = self.port,
            store = folder.join("store"),
            log = folder.join("nats.log"),
            pid = folder.join("nats.pid"),
        );
        let file = self.configuration_file();
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(file)?;
        // The mode above holds for a new file only.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())
    }

    /// Starts the child and waits until it greets.
    async fn start(&self) -> Result<Child, LedgerError> {
        // `setpriv` (util-linux) has the kernel end the child should this process be killed without a chance to. Where it
        // is missing, `end_left_over` takes care of it at the next start.
        let with_setpriv =
            ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(|path| Path::new(path).exists());
        let mut command = match with_setpriv {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(&self.options.binary);
                command
            }
            None => Command::new(&self.options.binary),
        };
        command.arg("--config").arg(self.configuration_file());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a process group of its own: Ctrl-C in a terminal reaches the gateway, which drains first.
        command.process_group(0);
        // Should the supervisor itself be dropped, with its runtime.
        command.kill_on_drop(true);
        let unfit = |what: String| LedgerError::Unfit(format!("local nats-server: {what}"));
        let mut child = command
            .spawn()
            .map_err(|error| unfit(format!("cannot run {}: {error}", self.options.binary.display())))?;
        let deadline = tokio::time::Instant::now() + self.options.start_limit;
        while !greets(self.port).await {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(unfit(format!("ended at once ({status}); see {}", self.log_file().display())));
            }
            if tokio::time::Instant::now() > deadline {
                end(&mut child).await;
                return Err(unfit(format!("does not answer; see {}", self.log_file().display())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(child)
    }

    fn log_file(&self) -> PathBuf {
        self.options.folder.join("nats.log")
    }
}

/// Starts the child again whenever it ends, until it is told to stop.
async fn supervise(plan: Plan, mut child: Child, pid: Arc<Mutex<Option<u32>>>, stop: CancellationToken) {
    let note = |now: Option<u32>| *pid.lock().unwrap_or_else(PoisonError::into_inner) = now;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            status = child.wait() => {
                note(None);
                tracing::error!(?status, "the local nats-server ended; starting it again");
            }
        }
        let mut attempt: u32 = 0;
        child = loop {
            match plan.start().await {
                Ok(child) => break child,
                Err(error) => tracing::error!(%error, attempt, "the local nats-server does not start"),
            }
            let pause = Duration::from_millis(100 << attempt.min(6));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => attempt += 1,
            }
        };
        note(child.id());
        tracing::info!(pid = child.id(), "the local nats-server is back");
    }
    end(&mut child).await;
    note(None);
}

/// Asks the child to end, and kills it when it does not within ten seconds.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(process_id) {
        // An error means that it is gone already.
        kill_process(pid, Signal::TERM).ok();
    }
    if tokio::time::timeout(Duration::from_secs(10), child.wait()).await.is_err() {
        tracing::error!("the local nats-server does not stop; killing it");
        child.kill().await.ok();
    }
}

/// Locks the folder. A lock that is just being given up (by a former run that ends, or by a child between its fork and its
/// exec) is waited for.
async fn claim(folder: &Path) -> io::Result<File> {
    let file = File::create(folder.join("lock"))?;
    for _ in 0..50 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process runs its server there"))
}

/// Ends the server of a former run that was killed without a chance to stop it. Recognised by its pid file and by the
/// configuration file in its command line, so that a reused process id is left alone.
async fn end_left_over(folder: &Path) {
    let Ok(text) = std::fs::read_to_string(folder.join("nats.pid")) else { return };
    let Some(pid) = text.trim().parse().ok().and_then(process_id) else { return };
    let Ok(configuration) = std::path::absolute(folder.join(CONFIGURATION)) else { return };
    let command_line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let arguments: Vec<&[u8]> = command_line.split(|byte| *byte == 0).collect();
    let is_ours = arguments.iter().any(|argument| {
        std::str::from_utf8(argument)
            .is_ok_and(|text| std::path::absolute(text).is_ok_and(|path| path == configuration))
    });
    if !is_ours {
        return;
    }
    tracing::warn!(pid = pid.as_raw_nonzero(), "ending the nats-server that a former run left behind");
    kill_process(pid, Signal::TERM).ok();
    for _ in 0..500 {
        if test_kill_process(pid).is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kill_process(pid, Signal::KILL).ok();
}

fn process_id(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw)
}

fn free_port() -> io::Result<u16> {
    // Free now and, on loopback, still free a moment later; if not, the start fails and says so.
    std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr().map(|address| address.port())
}

/// Does a NATS server greet on this port? It speaks first: `INFO {…}`.
async fn greets(port: u16) -> bool {
    use tokio::io::AsyncReadExt;
    let greeting = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let mut start = [0_u8; 5];
        stream.read_exact(&mut start).await?;
        io::Result::Ok(&start == b"INFO ")
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), greeting).await, Ok(Ok(true)))
}
