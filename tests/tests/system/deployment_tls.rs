//! Every connection that leaves the gateway, encrypted: NATS, PostgreSQL, MariaDB, Redis and mail, each a real server with a
//! certificate of an authority that only an option names; and what happens where that option names another one.

use serde_json::json;
use std::{path::Path, time::Duration};
use system_tests::{
    Behaviour, FakeProvider, Gateway, GatewayOptions,
    databases::Encrypted,
    eventually,
    people::{Caller, Operator, User, text, try_log_in},
    place,
    process::Process,
    smtp::{Smtp, token},
};
use tokio::process::Command;

const MODEL: &str = "encrypted-model";
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that speaks TLS alone; its address.
async fn listening(name: &str, command: &mut Command, port: u16) -> Process {
    let mut process = Process::start(name, command);
    eventually(&format!("{name} listens"), PATIENCE, async || {
        assert!(process.ended().is_none(), "{name} ended at once:\n{}", process.output());
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    process
}

async fn nats(folder: &Path, pem: &Path) -> (Process, String) {
    let port = place::free_port();
    let text = format!(
        "listen: 127.0.0.1:{port}\njetstream {{ store_dir: {:?} }}\ntls {{ cert_file: {pem:?}, key_file: {pem:?} }}\n",
        folder.join("nats")
    );
    std::fs::write(folder.join("nats.conf"), text).unwrap();
    let mut command = Command::new(place::nats_server());
    command.arg("--config").arg(folder.join("nats.conf"));
    (listening("nats-server", &mut command, port).await, format!("tls://127.0.0.1:{port}"))
}

async fn redis(folder: &Path, pem: &Path, ca: &Path) -> (Process, String) {
    let port = place::free_port();
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        "0",
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--tls-auth-clients",
        "no",
        "--tls-port",
    ]);
    command.arg(port.to_string()).arg("--tls-cert-file").arg(pem).arg("--tls-key-file").arg(pem);
    command.arg("--tls-ca-cert-file").arg(ca).arg("--dir").arg(folder);
    (listening("redis-server", &mut command, port).await, format!("rediss://127.0.0.1:{port}"))
}

/// An authority that signed none of the servers' certificates.
fn stranger(folder: &Path) -> String {
    let file = folder.join("stranger.pem");
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=a stranger", "-keyout", "/dev/null", "-out"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    file.to_str().unwrap().to_owned()
}

/// Starts it, waits until it says that a certificate is not to be trusted, and ends it.
async fn refuses(what: &str, options: GatewayOptions) {
    let gateway = options.launch();
    eventually(&format!("the authority of {what} is refused"), PATIENCE, async || {
        gateway.output().contains("UnknownIssuer").then_some(())
    })
    .await;
    // It may hold the port already, where nobody answers.
    let api = gateway.nobody();
    let ready = api.try_send(reqwest::Method::GET, "/readyz", None);
    let ready = tokio::time::timeout(Duration::from_millis(500), ready).await;
    assert!(!matches!(ready, Ok(Ok(_))), "{what}: it serves all the same");
    gateway.kill().await;
}

async fn metric(gateway: &Gateway, name: &str) -> String {
    let page = gateway.nobody().get("/metrics").await.text;
    let line = page.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn log_database_redis_and_mail_are_reached_by_tls_and_only_where_the_authority_is_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let smtp = Smtp::start("starttls").await;
    let (pem, ca) = smtp.certificates();
    let key_and_certificate = std::fs::read(&pem).unwrap();
    let (postgres, mariadb, (_nats, nats_url), (_redis, redis_url), provider) = tokio::join!(
        Encrypted::postgres(key_and_certificate.clone()),
        Encrypted::mariadb(key_and_certificate),
        nats(folder.path(), &pem),
        redis(folder.path(), &pem, &ca),
        FakeProvider::start(Behaviour::default()),
    );
    let trusted = ca.to_str().unwrap();
    let stranger = stranger(folder.path());
    let with_nats = |ca: &str| {
        GatewayOptions::default()
            .environment("NEXUSROUTE_NATS_URL", &nats_url)
            .environment("NEXUSROUTE_NATS_CA_FILE", ca)
            .environment("NEXUSROUTE_MASTER_KEY", &"6e".repeat(32))
    };
    let on = |database: &Encrypted, ca: &str| {
        GatewayOptions::default().environment("NEXUSROUTE_DATABASE_URL", &database.url(Path::new(ca)))
    };

    // All of it at once: a user's walk.
    let options = with_nats(trusted)
        .environment("NEXUSROUTE_DATABASE_URL", &postgres.url(&ca))
        .environment("NEXUSROUTE_REDIS_URL", &redis_url)
        .environment("NEXUSROUTE_REDIS_CA_FILE", trusted);
    let gateway = smtp.for_gateway(options).start().await;
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let body = json!({"username": "ann", "email": "ann@example.org", "password": "correct horse battery"});
    assert_eq!(gateway.nobody().post("/api/user/register", &body).await.status, 202);
    let mail = smtp.mail_to("ann@example.org", 1).await;
    assert_eq!(mail["tls"], true, "{mail}");
    gateway.nobody().get(&format!("/api/user/verify-email?token={}", token(&mail))).await.assert_success();
    let session = try_log_in(&gateway, "ann", "correct horse battery").await.ok();
    let api = gateway.nobody().bearer(&text(&session["access_token"]));
    let ann = User { id: text(&api.get("/api/user/self").await.ok()["id"]), api };
    ann.tops_up("50.00", "pay").await;
    let limited = json!({"name": "limited", "rpm": 100});
    let key = text(&ann.makes_key_with(limited.clone()).await["secret"]);
    Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
    assert_eq!(metric(&gateway, "nexusroute_limits_redis_away").await, "0");
    assert_eq!(metric(&gateway, "nexusroute_limits_fallbacks_total").await, "0");
    gateway.stop().await;
    on(&mariadb, trusted).start().await.stop().await;

    // An authority that signed none of it.
    let without_redis_and_mail = async {
        let options = GatewayOptions::default()
            .environment("NEXUSROUTE_REDIS_URL", &redis_url)
            .environment("NEXUSROUTE_REDIS_CA_FILE", &stranger)
            .environment("NEXUSROUTE_REGISTRATION_MODE", "optional");
        let gateway =
            smtp.for_gateway(options).environment("NEXUSROUTE_SMTP_CA_FILE", &stranger).start().await;
        let operator = Operator::of(&gateway).await;
        operator.offers(MODEL, provider.url(), "0", "1000").await;
        let user = User::with_credits(&gateway, &operator, "1").await;
        let key = text(&user.makes_key_with(limited.clone()).await["secret"]);
        // Limits are counted by this process alone then; nobody is kept from calling.
        Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
        assert_eq!(metric(&gateway, "nexusroute_limits_redis_away").await, "1");
        eventually("the mail server is not believed", PATIENCE, async || {
            gateway.output().contains("UnknownIssuer").then_some(())
        })
        .await;
        gateway.stop().await;
    };
    tokio::join!(
        refuses("NATS", with_nats(&stranger)),
        refuses("PostgreSQL", on(&postgres, &stranger)),
        refuses("MariaDB", on(&mariadb, &stranger)),
        without_redis_and_mail,
    );
    assert_eq!(smtp.mails().len(), 1, "a mail went to a server that is not the right one");
}
