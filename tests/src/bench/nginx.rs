//! nginx as a plain reverse proxy: one worker, connections to the provider kept, nothing collected, nothing logged.

use super::{MEASURED, OPEN_FILES, until_listening};
use crate::place;
use crate::process::Process;
use std::net::SocketAddr;
use tempfile::TempDir;

/// A running nginx.
pub struct Nginx {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
    _folder: TempDir,
}

/// Where it is: Debian puts it into a folder that not everybody has on PATH.
pub fn program() -> String {
    let debian = "/usr/sbin/nginx";
    if std::path::Path::new(debian).exists() { debian.to_owned() } else { "nginx".to_owned() }
}

impl Nginx {
    /// Starts one in front of a provider, on the core of the measured.
    pub async fn start(provider: SocketAddr) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), place::free_port());
        let path = folder.path().to_str().expect("a path in a temporary folder");
        let configuration = folder.path().join("nginx.conf");
        std::fs::write(&configuration, text(path, port, provider)).unwrap();
        let mut command = tokio::process::Command::new("taskset");
        command
            .args(["--cpu-list", MEASURED, &program(), "-p", path, "-e", "stderr", "-c"])
            .arg(&configuration);
        let mut process = Process::start("nginx", &mut command);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until_listening(address, &mut process).await;
        Self { address, process, _folder: folder }
    }

    /// The process id of its master.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops it: master and worker.
    pub async fn stop(mut self) {
        self.process.stop().await;
    }
}

fn text(folder: &str, port: u16, provider: SocketAddr) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .collect();
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile {OPEN_FILES};
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {OPEN_FILES}; }}
http {{
{temporary}    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    client_max_body_size 32m;
    upstream provider {{
        server {provider};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
        }}
    }}
}}
"
    )
}
