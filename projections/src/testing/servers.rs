//! Database servers of the tests' own: started in temporary folders, reached over private sockets, gone with the tests.
//!
//! May not touch: the system's services and their data.
//! Claims: nothing outlives the test process, however it ends: the kernel kills a server with the process that started it
//! (`setpriv --pdeathsig`), and a janitor that waits for that end removes the folder. A missing program is an error that
//! names its package, not a test left out.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// A server's start, its recovery after a kill included.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Postgres,
    MariaDb,
}

/// A server, or the data of one that was killed.
pub(crate) struct Server {
    program: Program,
    /// Is what it commits flushed to disk, for power cuts, or only handed to the system, which survives a kill?
    durable: bool,
    folder: PathBuf,
    /// The port in the name of PostgreSQL's socket.
    port: u16,
    /// Arguments that stand over the usual ones.
    more: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Program {
    /// The server that all tests of this process share.
    pub(crate) fn shared(self) -> &'static Server {
        static POSTGRES: OnceLock<Server> = OnceLock::new();
        static MARIADB: OnceLock<Server> = OnceLock::new();
        let server = match self {
            Self::Postgres => &POSTGRES,
            Self::MariaDb => &MARIADB,
        };
        server.get_or_init(|| Server::start_new(self))
    }

    /// The server's executable.
    fn executable(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadbd",
        }
    }

    /// Debian's package, and the user that it makes.
    fn package_and_user(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => ("postgresql", "postgres"),
            Self::MariaDb => ("mariadb-server", "mysql"),
        }
    }

    /// Where a program of the package is: on PATH, or where Debian puts servers (of several versions the newest).
    fn find(self, name: &str) -> PathBuf {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
        folders.extend(["/usr/sbin", "/usr/bin"].map(PathBuf::from));
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
        versions.sort();
        folders.splice(0..0, versions.into_iter().rev());
        let found = folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file());
        found.unwrap_or_else(|| {
            let (package, _) = self.package_and_user();
            panic!("{name} is missing: these tests need Debian's package {package} (tools/setup-databases.sh installs it)")
        })
    }

    /// A command of the package. As root it runs as the package's user: PostgreSQL refuses root.
    fn command(self, name: &str, pdeathsig: bool) -> Command {
        let (package, user) = self.package_and_user();
        let mut command = Command::new("setpriv");
        if id(&["-u"]) == 0 {
            let known = Command::new("id").arg(user).output().is_ok_and(|output| output.status.success());
            assert!(known, "there is no user {user}: Debian's package {package} makes it");
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        if pdeathsig {
            command.args(["--pdeathsig", "KILL"]);
        }
        command.arg("--").arg(self.find(name)).stdin(Stdio::null());
        // Its language would show in messages and sort orders.
        command.env_clear().env("LC_ALL", "C").env("PATH", env::var_os("PATH").unwrap_or_default());
        command
    }
}

impl Server {
    /// A new server with empty data.
    pub(crate) fn start_new(program: Program) -> Self {
        Self::start_with(program, false, 5432, Vec::new())
    }

    /// One that takes TCP on loopback too, and encrypts it: `pem` holds its key and its certificate.
    #[allow(dead_code, reason = "the system tests use it, who share this file")]
    pub(crate) fn start_encrypted(program: Program, port: u16, pem: &[u8]) -> Self {
        let folder = new_folder(program);
        let file = folder.join("server.pem");
        fs::write(&file, pem).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        if id(&["-u"]) == 0 {
            let (_, user) = program.package_and_user();
            chown(&file, Some(id(&["-u", user])), Some(id(&["-g", user]))).unwrap();
        }
        let file = file.display();
        let more = match program {
            Program::Postgres => format!(
                "-h 127.0.0.1 -p {port} -c ssl=on -c ssl_cert_file={file} -c ssl_key_file={file} -c unix_socket_permissions=0777"
            ),
            Program::MariaDb => format!(
                "--skip-networking=0 --bind-address=127.0.0.1 --port={port} --ssl-cert={file} --ssl-key={file}"
            ),
        };
        Self::start_with(program, false, port, more.split(' ').map(str::to_owned).collect())
    }

    /// One that flushes to disk at every commit: much slower.
    pub(crate) fn start_durable(program: Program) -> Self {
        Self::start_with(program, true, 5432, Vec::new())
    }

    fn start_with(program: Program, durable: bool, port: u16, more: Vec<String>) -> Self {
        let folder = new_folder(program);
        let data = folder.join("data");
        let mut init;
        match program {
            Program::Postgres => {
                init = program.command("initdb", false);
                init.arg("-D").arg(&data);
                init.args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]);
                // A default sort order that is not ours: "a-b" after "ab", lower case before upper case.
                init.args(["--locale=C", "--locale-provider=icu", "--icu-locale=en"]);
            }
            Program::MariaDb => {
                init = program.command("mariadb-install-db", false);
                init.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
                init.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                init.arg("--innodb-log-file-size=16M");
            }
        }
        let output = init.output().unwrap_or_else(|error| panic!("setpriv cannot be run: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program:?} cannot make its data: {said}");
        let server = Self { program, durable, folder, port, more, child: Mutex::new(None) };
        server.start();
        server
    }

    /// Starts it (again) and waits until it answers.
    pub(crate) fn start(&self) {
        // A socket left by a killed server answers nobody.
        let _ = fs::remove_file(self.socket());
        let begun = Instant::now();
        let mut child = spawn(self.command());
        while !self.answers() {
            thread::sleep(Duration::from_millis(10));
            if let Some(ended) = child.try_wait().unwrap() {
                // A killed PostgreSQL's children live on for a moment, and a new one refuses to start beside them.
                let said = fs::read_to_string(self.log()).unwrap_or_default();
                let beside = said.contains("pre-existing shared memory block");
                let again = beside && begun.elapsed() < START_LIMIT;
                assert!(again, "{:?} does not start ({ended}):\n{said}", self.program);
                child = spawn(self.command());
            }
            assert!(begun.elapsed() < START_LIMIT, "{:?} does not answer", self.program);
        }
        *self.child.lock().unwrap() = Some(child);
    }

    /// The server itself; what it says replaces the log.
    fn command(&self) -> Command {
        let data = self.folder.join("data");
        let mut command = self.program.command(self.program.executable(), true);
        match self.program {
            Program::Postgres => {
                command.arg("-D").arg(&data).arg("-k").arg(&self.folder).args(["-h", ""]);
                command.args(["-c", "max_connections=400", "-c", "max_wal_size=1GB"]);
                if !self.durable {
                    command.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
                }
            }
            Program::MariaDb => {
                command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
                command.arg(format!("--socket={}", self.socket().display()));
                command.arg(format!("--pid-file={}", self.folder.join("pid").display()));
                // A server that starts clears the temporary tables out of /tmp, those of others too.
                command.arg(format!("--tmpdir={}", self.folder.display()));
                command.args(["--skip-networking", "--max-connections=400", "--performance-schema=OFF"]);
                command.arg("--innodb-buffer-pool-size=256M");
                if self.durable {
                    command.arg("--innodb-log-file-size=256M");
                } else {
                    command.arg("--innodb-log-file-size=16M");
                    command.args(["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync"]);
                    command.args(["--innodb-doublewrite=OFF", "--sync-frm=OFF"]);
                }
            }
        }
        command.args(&self.more);
        let log = fs::File::create(self.log()).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap().take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop at once, as the system does when it restarts a service: calls under way are told so, and undone.
    pub(crate) fn stop(&self) {
        let mut child = self.child.lock().unwrap().take().expect("it runs");
        let signal = match self.program {
            Program::Postgres => "-INT",
            Program::MariaDb => "-TERM",
        };
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        child.wait().unwrap();
    }

    /// The URL of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_through(&self.socket(), database)
    }

    /// The same, through another socket. PostgreSQL wants it to have the name of its own.
    pub(crate) fn url_through(&self, socket: &Path, database: &str) -> String {
        match self.program {
            Program::Postgres => {
                format!(
                    "postgres://postgres@localhost/{database}?host={}",
                    socket.parent().unwrap().display()
                )
            }
            Program::MariaDb => format!("mysql://root@localhost/{database}?socket={}", socket.display()),
        }
    }

    /// Its database that is there from the beginning.
    pub(crate) fn first_database(&self) -> &'static str {
        match self.program {
            Program::Postgres => "postgres",
            Program::MariaDb => "mysql",
        }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(match self.program {
            Program::Postgres => format!(".s.PGSQL.{}", self.port),
            Program::MariaDb => "socket".to_owned(),
        })
    }

    fn answers(&self) -> bool {
        let connects = || UnixStream::connect(self.socket()).is_ok();
        match self.program {
            // It listens before it is done with recovering, and writes here when it is.
            Program::Postgres => {
                let state = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
                state.lines().nth(7).is_some_and(|line| line.trim() == "ready") && connects()
            }
            Program::MariaDb => connects(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.get_mut().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A folder that the server's user may write, and that the janitor removes.
fn new_folder(program: Program) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("nexusroute-test-").tempdir().unwrap().keep();
    if id(&["-u"]) == 0 {
        let (_, user) = program.package_and_user();
        chown(&folder, Some(id(&["-u", user])), Some(id(&["-g", user]))).unwrap();
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    clean_up_after(&folder);
    folder
}

/// Has the folder removed when this process has ended. The janitor's input ends then, and not before.
fn clean_up_after(folder: &Path) {
    static JANITORS: Mutex<Vec<ChildStdin>> = Mutex::new(Vec::new());
    let script = "cat; for try in 1 2 3 4 5 6 7 8 9; do rm -rf \"$0\" && exit; sleep 0.2; done";
    let janitor = Command::new("sh")
        .args(["-c", script])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0) // an interrupt from the keyboard is not meant for it
        .spawn();
    let mut janitor = janitor.unwrap();
    JANITORS.lock().unwrap().push(janitor.stdin.take().unwrap());
    thread::spawn(move || janitor.wait());
}

/// Starts a command from a thread that lives as long as the process: a parent's death, to the kernel, is that of the
/// thread that started the child, and a test's thread ends with its test.
fn spawn(mut command: Command) -> Child {
    type Start = Box<dyn FnOnce() + Send>;
    static STARTER: LazyLock<Mutex<Sender<Start>>> = LazyLock::new(|| {
        let (sender, starts) = channel::<Start>();
        thread::spawn(move || starts.into_iter().for_each(|start| start()));
        Mutex::new(sender)
    });
    let (answer, child) = channel();
    STARTER.lock().unwrap().send(Box::new(move || drop(answer.send(command.spawn())))).unwrap();
    child.recv().unwrap().unwrap_or_else(|error| panic!("setpriv cannot be run: {error}"))
}

/// What `id` says: a number.
fn id(arguments: &[&str]) -> u32 {
    let output = Command::new("id").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}
