//! A mail server that this project did not write: aiosmtpd, run by `tests/clients/smtp.py`, with TLS, a login, and faults on
//! demand.

use crate::{GatewayOptions, place, process::Process, wait::eventually};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;

/// How long a mail may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running mail server, and what it has taken.
pub struct Smtp {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    security: &'static str,
}

impl Smtp {
    /// Starts one: `starttls`, `tls` or `none`.
    pub async fn start(security: &'static str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), place::free_port());
        let mut smtp = Self { process: None, folder, port, security };
        smtp.comes_back().await;
        smtp
    }

    /// What its certificate for `localhost` and `127.0.0.1` is made of, for other servers of a test: a file with the key and the
    /// certificate, and the authority's.
    pub fn certificates(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("server.pem"), self.folder.path().join("ca.pem"))
    }

    /// Starts it again, on the same port and with the same certificate.
    pub async fn comes_back(&mut self) {
        let mut command = tokio::process::Command::new(place::python());
        command
            .arg(place::repository().join("tests/clients/smtp.py"))
            .arg(self.folder.path())
            .args([&self.port.to_string(), self.security])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let process = self.process.insert(Process::start("smtp.py", &mut command));
        eventually("the mail server is ready", PATIENCE, async || {
            assert!(process.ended().is_none(), "smtp.py ended at once:\n{}", process.output());
            process.output().contains("ready").then_some(())
        })
        .await;
    }

    /// Stops it.
    pub async fn goes_away(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop().await;
        }
    }

    /// From now on it answers so at a command, `rcpt 550 no such user` or `data 451 later`; `None`: it takes everything.
    pub fn refuses(&self, fault: Option<&str>) {
        let path = self.folder.path().join("fault");
        match fault {
            Some(fault) => std::fs::write(path, fault).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
    }

    /// Lets a gateway send its mails here.
    #[must_use]
    pub fn for_gateway(&self, options: GatewayOptions) -> GatewayOptions {
        let options = options
            .environment("NEXUSROUTE_SMTP_HOST", "localhost")
            .environment("NEXUSROUTE_SMTP_PORT", &self.port.to_string())
            .environment("NEXUSROUTE_SMTP_SECURITY", self.security)
            .environment("NEXUSROUTE_SMTP_FROM", "The Gateway <gateway@example.net>")
            .environment("NEXUSROUTE_SMTP_CA_FILE", self.folder.path().join("ca.pem").to_str().unwrap());
        match self.security {
            "none" => options,
            _ => options
                .environment("NEXUSROUTE_SMTP_USERNAME", "gateway")
                .environment("NEXUSROUTE_SMTP_PASSWORD", "a mail password"),
        }
    }

    /// Every mail that it took, oldest first.
    pub fn mails(&self) -> Vec<Value> {
        let path: PathBuf = self.folder.path().join("mails.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // The last line may be half written.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The mails to an address.
    pub fn mails_to(&self, to: &str) -> Vec<Value> {
        self.mails().into_iter().filter(|mail| mail["to"][0] == to).collect()
    }

    /// Waits for the n-th mail to an address.
    pub async fn mail_to(&self, to: &str, n: usize) -> Value {
        let what = format!("mail number {n} to {to}");
        eventually(&what, PATIENCE, async || self.mails_to(to).into_iter().nth(n - 1)).await
    }
}

/// The link in a mail.
pub fn link(mail: &Value) -> String {
    let text = mail["text"].as_str().unwrap();
    let link =
        text.lines().find(|line| line.starts_with("http")).unwrap_or_else(|| panic!("no link: {text}"));
    let escaped = link.replace('&', "&amp;");
    assert!(mail["html"].as_str().unwrap().contains(&format!("href=\"{escaped}\"")), "{mail}");
    link.trim().to_owned()
}

/// The token of the link in a mail.
pub fn token(mail: &Value) -> String {
    let link = link(mail);
    link.split_once("token=").unwrap_or_else(|| panic!("{link} has no token")).1.to_owned()
}
