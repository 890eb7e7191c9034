//! The relay beside a plain proxy: what a call costs through nginx, and what through a gateway that does everything.
//!
//! For: `make bench-relay`. A provider that answers at once ([`mock`]) and callers who ask as fast as they are answered
//! ([`driver`]), both thin enough to cost less than what they measure ([`wire`]); nginx as a plain reverse proxy
//! ([`nginx`]); what a tree of processes has used ([`tree`]); the rounds and their table ([`rounds`]); many streams held
//! open at once ([`streams`]).
//! May not touch: the product's insides.
//! Claims: what is measured has a core of its own, and mock, driver and this program the other; rounds alternate, so that
//! what else the machine does falls on all sides; the gateway's figure holds its nats-server and its projections, and is
//! taken when the account's balance has fallen by exactly the charge of every call of the round.

pub mod driver;
pub mod mock;
pub mod nginx;
pub mod rounds;
pub mod streams;
pub mod table;
pub mod tree;
pub mod wire;

use crate::process::Process;
use crate::wait::eventually;
use crate::{Gateway, GatewayOptions, place};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;

/// The core of what is measured.
pub const MEASURED: &str = "0";
/// The core of mock, driver and this program.
pub const OTHERS: &str = "1";
/// Files that a process may have open: two for each of the streams held open, and some more.
pub const OPEN_FILES: u64 = 15_000;
/// The model that callers name. It is called differently at its provider, so every request is rewritten.
pub const MODEL: &str = "bench";

/// Runs what the arguments name: `mock PORT`, `drive …`, `rounds`, `streams`; without any, the rounds and the streams.
pub async fn main(arguments: Vec<String>) {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            rounds::run(&rounds::Plan::default()).await;
            streams::run(streams::STREAMS, streams::HOLD).await;
        }
        ["mock", port] => mock::serve(port.parse().expect("a port")).await,
        ["drive", task] => driver::run(&serde_json::from_str(task).expect("a task")).await,
        ["rounds", plan @ ..] => rounds::run(&rounds::Plan::of(plan)).await,
        ["streams"] => streams::run(streams::STREAMS, streams::HOLD).await,
        ["streams", count, seconds] => {
            let seconds = Duration::from_secs(seconds.parse().expect("seconds"));
            streams::run(count.parse().expect("a number of streams"), seconds).await;
        }
        other => panic!(
            "{other:?}: known are mock PORT, drive TASK, rounds [NAME=VALUE…], streams [COUNT SECONDS]"
        ),
    }
}

/// A provider in a process of its own.
pub struct Mock {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

impl Mock {
    /// Starts it on the core of the others.
    pub async fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], place::free_port()));
        let mut process = Process::start("mock", &mut ourselves(&["mock", &address.port().to_string()]));
        until_listening(address, &mut process).await;
        Self { address, _process: process }
    }
}

/// This program with other arguments, on the core of the others.
fn ourselves(arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("prlimit");
    command.arg(format!("--nofile={OPEN_FILES}")).args(["taskset", "--cpu-list", OTHERS]);
    command.arg(std::env::current_exe().expect("this program has a path")).args(arguments);
    command
}

async fn until_listening(address: SocketAddr, process: &mut Process) {
    eventually("it listens", Duration::from_secs(10), async || {
        assert!(process.ended().is_none(), "it ended at once:\n{}", process.output());
        TcpStream::connect(address).await.ok()
    })
    .await;
}

/// A gateway on the core of the measured; its log goes to a file, as a service manager would have it.
async fn gateway(options: GatewayOptions) -> (Gateway, PathBuf) {
    // One account pays for every call of a round, which is more than an operator gives away alone.
    let options = options
        .environment("NEXUSROUTE_ADJUSTMENTS_APPROVAL_ABOVE", "owner=1000000")
        .environment("NEXUSROUTE_ADJUSTMENTS_DAILY", "owner=1000000");
    let log = options.data().with_extension("log");
    let script = format!(
        "ulimit -n {OPEN_FILES} && exec taskset --cpu-list {MEASURED} \"$@\" >{} 2>&1",
        log.to_str().expect("a path in a temporary folder")
    );
    let mut gateway = options.through(&["sh", "-c", &script, "sh"]).launch();
    let is_ready = gateway.gets_ready().await;
    assert!(is_ready, "the gateway ended:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
    (gateway, log)
}

/// What runs, and whether the machine was quiet: without it no figure means anything.
fn print_circumstances() {
    let line = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
    };
    println!("{}", line("uptime", &[]));
    println!(
        "{}, {}",
        line(&nginx::program(), &["-v"]),
        line(&place::nats_server().to_string_lossy(), &["--version"])
    );
}
