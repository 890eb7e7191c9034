//! Where things are: the repository, the binary under test, the programs that the set-up installed.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// The repository's folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the repository").to_owned()
}

/// The binary under test: `NEXUSROUTE_BIN`, else the one built beside this test.
pub fn nexusroute() -> PathBuf {
    if let Some(path) = std::env::var_os("NEXUSROUTE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>").join("nexusroute");
    assert!(
        path.exists(),
        "{} is missing: `make test` builds it (or cargo build --workspace --all-targets)",
        path.display()
    );
    path
}

/// The nats-server: `NEXUSROUTE_NATS_SERVER`, else the one that the set-up installed, else the one on PATH.
pub fn nats_server() -> PathBuf {
    if let Some(path) = std::env::var_os("NEXUSROUTE_NATS_SERVER") {
        return path.into();
    }
    let installed = repository().join(".deps/bin/nats-server");
    if installed.exists() { installed } else { "nats-server".into() }
}

/// A Python that has official clients and llmock (`tools/setup-test-clients.sh`).
pub fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("NEXUSROUTE_TEST_PYTHON") {
        return path.into();
    }
    let path = repository().join(".deps/bin/python");
    assert!(path.exists(), "{} is missing: `make test` installs it", path.display());
    path
}

/// A file of the packages from npm: official clients and aimock (`tools/setup-test-clients.sh`).
pub fn npm(path: &str) -> PathBuf {
    let path = repository().join("tests/clients/node_modules").join(path);
    assert!(path.exists(), "{} is missing: `make test` installs it", path.display());
    path
}

/// A TCP port on loopback that nobody listens on.
///
/// Taken below the range from which the kernel gives ports to outgoing connections, so that none of them, in this or
/// another test, takes it before the server is up.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id() * 61;
    loop {
        let port = u16::try_from(20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
