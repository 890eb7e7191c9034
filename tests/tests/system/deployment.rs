//! What `deploy/` holds, with the real binary: users at the log by role, the page of metrics, backups and the ways back.

use domain::Credits;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use system_tests::{
    Behaviour, FakeProvider, Gateway, GatewayOptions,
    cluster::Shared,
    credits, databases, eventually,
    people::{Caller, Operator, User},
    place,
    process::{self, Process},
};
use tempfile::TempDir;

const MODEL: &str = "deployed-model";
const PATIENCE: Duration = Duration::from_secs(60);
const ROLES: [&str; 5] = ["api", "relay", "gateway", "reader", "restore"];

/// A nats-server with `deploy/nats/accounts.conf`.
struct Guarded {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), place::free_port());
        let accounts = place::repository().join("deploy/nats/accounts.conf");
        // Paths of includes are taken from the file that includes.
        std::fs::copy(accounts, folder.path().join("accounts.conf")).unwrap();
        let text = format!(
            "listen: 127.0.0.1:{port}\njetstream {{ store_dir: {:?}, sync_interval: always }}\ninclude accounts.conf\n",
            folder.path().join("store").to_str().unwrap()
        );
        let configuration = folder.path().join("nats.conf");
        std::fs::write(&configuration, text).unwrap();
        let mut command = tokio::process::Command::new(place::nats_server());
        command.arg("--config").arg(&configuration).env("NATS_SYS_PASSWORD", "of-sys");
        for role in ROLES {
            command.env(format!("NATS_{}_PASSWORD", role.to_uppercase()), password(role));
        }
        let mut process = Process::start("nats-server", &mut command);
        eventually("the nats-server greets", PATIENCE, async || {
            assert!(process.ended().is_none(), "nats-server ended at once:\n{}", process.output());
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self { process, port, _folder: folder }
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn client(&self, role: &str) -> async_nats::Client {
        let options = async_nats::ConnectOptions::with_user_and_password(role.to_owned(), password(role));
        options.request_timeout(Some(Duration::from_millis(300))).connect(self.url()).await.unwrap()
    }

    /// Does the server answer this user at all? What a user may not send is dropped.
    async fn answers(&self, role: &str, subject: &str, body: &str) -> bool {
        self.client(role).await.request(subject.to_owned(), body.to_owned().into()).await.is_ok()
    }
}

/// A collector of traces: its address, and what was posted there with the right token.
async fn collector() -> (String, Arc<Mutex<Vec<Value>>>) {
    let taken = Arc::<Mutex<Vec<Value>>>::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let into = taken.clone();
    let take = move |headers: axum::http::HeaderMap, axum::Json(body): axum::Json<Value>| {
        assert_eq!(headers["authorization"], "Bearer of-the-collector");
        into.lock().unwrap().push(body);
        std::future::ready(())
    };
    let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
    tokio::spawn(axum::serve(listener, router).into_future());
    (url, taken)
}

fn password(role: &str) -> String {
    format!("of-{role}")
}

/// The value of a metric by the beginning of its line.
async fn metric(gateway: &Gateway, line: &str) -> Option<String> {
    let page = gateway.nobody().get("/metrics").await;
    page.assert_success();
    let found = page.text.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
    found.map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_work_with_the_least_rights_and_its_page_tells_of_it() {
    let (nats, database, provider) =
        tokio::join!(Guarded::start(), databases::postgres(), FakeProvider::start(Behaviour::default()));
    let secrets = tempfile::tempdir().unwrap();
    let shared = |user: &str| {
        let path = secrets.path().join(user);
        std::fs::write(&path, format!("{}\n", password(user))).unwrap();
        Shared::new(&database)
            .with("NEXUSROUTE_NATS_URL", &nats.url())
            .with("NEXUSROUTE_NATS_USER", user)
            .with("NEXUSROUTE_NATS_PASSWORD_FILE", path.to_str().unwrap())
    };
    let (collector, traced) = collector().await;
    let as_relay = shared("relay")
        .with("NEXUSROUTE_TRACES_URL", &collector)
        .with("NEXUSROUTE_TRACES_TOKEN", "of-the-collector")
        .with("NEXUSROUTE_LOG_LEVEL", "warn");
    let (as_api, as_reader) = (shared("api"), shared("reader"));
    // All at once: those that may not make the streams wait for the one that may.
    let (api, relay, projector) =
        tokio::join!(as_api.start("api"), as_relay.start("relay"), as_reader.start("projector"));
    let operator = Operator::of(&api).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let user = User::with_credits(&api, &operator, "1").await;
    user.tops_up("50.00", "pay").await;
    let caller = Caller::new(&relay, &user.makes_key().await);
    let request = eventually("the relay knows the key", PATIENCE, async || {
        let answer = caller.chat(MODEL, 20).await;
        (!matches!(answer.status, 401 | 404)).then(|| {
            answer.ok();
            answer.header("x-request-id").unwrap().to_owned()
        })
    })
    .await;
    user.until_total(credits(&json!("7.924444444"))).await;
    // Its trace, whatever the log shows: found by the request's id, and without a word of the prompt, the answer or the key.
    let trace =
        eventually("the trace arrives", PATIENCE, async || traced.lock().unwrap().first().cloned()).await;
    let span = &trace["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], request.replace('-', ""), "{trace}");
    assert_eq!(span["name"], format!("call {MODEL}"), "{trace}");
    for secret in ["Count the credits", "balance.", "sk-", &user.id] {
        assert!(!trace.to_string().contains(secret), "{secret} in {trace}");
    }
    relay.nobody().bearer("sk-none").post("/v1/chat/completions", &json!({})).await.openai_error(401);

    // What the page tells of it.
    let calls = format!("nexusroute_calls_total{{model=\"{MODEL}\",provider=");
    let page = relay.nobody().get("/metrics").await.text;
    let line = page.lines().find(|it| it.starts_with(&calls) && it.contains("completed"));
    assert!(line.is_some_and(|it| it.ends_with(" 1")), "{line:?} in\n{page}");
    assert!(page.contains("code=\"invalid_api_key\",status=\"401\"} "), "{page}");
    let paid = page.lines().find(|it| it.starts_with("nexusroute_call_paid_credits_total{"));
    assert!(paid.is_some_and(|it| it.ends_with(" 0.02")), "{paid:?}");
    for (gateway, line, value) in [
        (&relay, "nexusroute_meter_admits", "1"),
        (&api, "nexusroute_payments_credited_total{channel=\"sandbox\",currency=\"CNY\"}", "1"),
        (&api, "nexusroute_payments_credited_money_total{channel=\"sandbox\",currency=\"CNY\"}", "50.00"),
        (&projector, "nexusroute_books_imbalance{unit=\"credits\"}", "0"),
        (&projector, "nexusroute_projections_halted", "0"),
        (&projector, "nexusroute_ledger_up", "1"),
    ] {
        assert_eq!(metric(gateway, line).await.as_deref(), Some(value), "{line}");
    }
    // What users are told of it: one call tells nothing about now, and something about the day.
    let status = api.nobody().get("/api/status").await.ok();
    let model = &status["models"][0];
    assert_eq!((&status["state"], &model["model"]), (&json!("unknown"), &json!(MODEL)), "{status}");
    assert_eq!(
        (&model["uptime"], &model["days"][0]["uptime"]),
        (&json!("100.00"), &json!("100.00")),
        "{status}"
    );
    // Through a proxy there is no page.
    assert_eq!(api.nobody().with("x-forwarded-for", "203.0.113.1").get("/metrics").await.status, 404);

    // Nobody deletes, purges or changes; each writes its own subjects alone.
    const FORBIDDEN: [&str; 4] =
        ["STREAM.DELETE.LEDGER", "STREAM.PURGE.LEDGER", "STREAM.MSG.DELETE.LEDGER", "STREAM.RESTORE.LEDGER"];
    let nats_ref = &nats;
    join_all(ROLES.map(|role| async move {
        let answers =
            async |verb: &str, body: &str| nats_ref.answers(role, &format!("$JS.API.{verb}"), body).await;
        for verb in FORBIDDEN {
            assert!(!answers(verb, r#"{"seq":1}"#).await, "{role} {verb}");
        }
        // A body that is none: it would be answered with an error.
        assert_eq!(answers("STREAM.UPDATE.LEDGER", "x").await, role == "restore", "{role}");
        assert!(answers("STREAM.INFO.LEDGER", "").await, "{role} may look");
    }))
    .await;
    // An expected sequence that cannot be: whoever may write is answered with a refusal, and nothing is stored.
    let writes = async |role: &str, subject: &str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", "999999");
        let client = nats.client(role).await;
        client.request_with_headers(subject.to_owned(), headers, "{}".into()).await.is_ok()
    };
    for (role, subject, may) in [
        ("relay", "ledger.node.x", true),
        ("relay", "ledger.account.x", true),
        ("relay", "ledger.suspense.x", false),
        ("relay", "inbox.x", false),
        ("relay", "audit.x", false),
        ("api", "inbox.x", true),
        ("api", "ledger.node.x", false),
        ("reader", "ledger.account.x", false),
        ("reader", "ledger.node.x", false),
    ] {
        assert_eq!(writes(role, subject).await, may, "{role} writes {subject}");
    }
    let verified = as_reader.apply(api.options().clone(), "api").run(&["ledger", "verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    assert_eq!(metric(&api, "nexusroute_verify_findings").await.as_deref(), Some("0"));
    for gateway in [relay, api, projector] {
        gateway.stop().await;
    }
    let mut process = nats.process;
    process.stop().await;
}

/// Runs the script of backups with a gateway's configuration; answers what it printed.
async fn backs_up(options: &GatewayOptions, folder: &Path, arguments: &str, succeeds: bool) -> String {
    let script = place::repository().join("deploy/backup/nexusroute-backup");
    let line = format!("if python3 '{}' {arguments} 2>&1; then echo DONE; fi", script.display());
    let binary = place::nexusroute();
    let variables = [("BACKUP_DIR", folder.to_str().unwrap()), ("BACKUP_BINARY", binary.to_str().unwrap())];
    let said = options.shell(&line, &variables).await;
    assert_eq!(said.trim_end().ends_with("DONE"), succeeds, "{arguments}: {said}");
    said
}

fn destroy(path: PathBuf) {
    for path in [path.clone(), path.with_extension("db-wal"), path.with_extension("db-shm")] {
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disaster_takes_is_brought_back_by_the_log_or_by_last_nights_backup() {
    let (provider, backups) = (FakeProvider::start(Behaviour::default()).await, tempfile::tempdir().unwrap());
    let options = GatewayOptions::default();
    let gateway = options.start().await;
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let user = User::with_credits(&gateway, &operator, "1").await;
    let key = user.makes_key().await;
    Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
    let before = credits(&json!("0.98"));
    user.until_total(before).await;

    // Beside the running gateway.
    backs_up(&options, backups.path(), "create", true).await;
    assert!(metric(&gateway, "nexusroute_backup_position").await.is_some());
    backs_up(&options, backups.path(), "verify latest", true).await;
    backs_up(&options, backups.path(), "drill", true).await;
    let refused = backs_up(&options, backups.path(), "restore latest", false).await;
    assert!(refused.contains("not empty"), "{refused}");
    // After the backup: what only the log and the outbox know.
    Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
    user.until_total(credits(&json!("0.96"))).await;
    gateway.stop().await;

    // The database is lost, the log is there: the plain tables come from the backup, all others from the log.
    destroy(options.data().join("nexusroute.db"));
    let restored =
        "cd \"$NEXUSROUTE_DATA_DIR\" && gzip -dc \"$BACKUP_DIR\"/2*Z/database.sqlite.gz > nexusroute.db";
    options.shell(restored, &[("BACKUP_DIR", backups.path().to_str().unwrap())]).await;
    let gateway = options.start().await;
    let user = User { api: user.api.at(gateway.url()), ..user };
    user.until_total(credits(&json!("0.96"))).await;
    let verified = options.run(&["ledger", "verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    // Usage that the backup does not know of.
    Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
    let nats = gateway.nats_id();
    gateway.kill().await;
    if let Some(id) = nats.filter(|id| process::runs_with(*id, &options.data())) {
        process::signal("KILL", id);
    }

    // Log and database are lost, the backup of last night and the outbox are left. That speaks of a lease which the older log
    // never granted: nothing starts on both until somebody says that it is written off, as docs/backup.md has it.
    destroy(options.data().join("nexusroute.db"));
    destroy(options.data().join("nats"));
    backs_up(&options, backups.path(), "restore latest", true).await;
    let refused = options.run(&["serve"]).await;
    let said =
        String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && said.contains("never granted"), "{said}");
    let outbox = options.data().join("outbox");
    std::fs::write(outbox.join("write-off"), "").unwrap();
    let gateway = options.start().await;
    let files = std::fs::read_dir(&outbox).unwrap().map(|it| it.unwrap().path());
    let told: String = files
        .filter(|it| it.file_name().unwrap().to_string_lossy().starts_with("written-off-"))
        .map(|it| std::fs::read_to_string(it).unwrap())
        .collect();
    assert!(
        !told.is_empty() && told.lines().all(|line| line.contains(&user.id)),
        "what is lost is told: {told}"
    );
    let user = User { api: user.api.at(gateway.url()), ..user };
    // The window of loss is what came after the backup, less what the outbox brought back: usage of a lease that the backup has.
    let calls = async |least: usize| {
        eventually("what is charged is what is listed", PATIENCE, async || {
            let calls = user.every("/api/user/usage").await.len();
            let left = Credits::from_nano(1_000_000_000 - 20_000_000 * i64::try_from(calls).unwrap());
            (calls >= least && user.balance().await.total == left).then_some(calls)
        })
        .await
    };
    let back = calls(1).await - 1;
    assert!((1..=2).contains(&(back + told.lines().count())) && back <= 1, "{back} came back: {told}");
    Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
    assert_eq!(calls(back + 2).await, back + 2);
    gateway.stop().await;
    let verified = options.run(&["ledger", "verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));

    // A damaged backup is named.
    let archive = std::fs::read_dir(backups.path()).unwrap().next().unwrap().unwrap().path().join("log.nra");
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let refused = backs_up(&options, backups.path(), "verify latest", false).await;
    assert!(refused.contains("log.nra is not the file"), "{refused}");
}

/// rclone takes a folder for a second place too; what is S3's own about it is rclone's to get right.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_to_a_second_place_and_comes_back_from_there_whole_or_not_at_all() {
    let (backups, remote) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = GatewayOptions::default().environment("BACKUP_REMOTE", remote.path().to_str().unwrap());
    options.start().await.stop().await;
    // Beyond the retention, and at the second place alone.
    std::fs::create_dir(remote.path().join("2020-01-01T00-00-00Z")).unwrap();
    let said = backs_up(&options, backups.path(), "create", true).await;
    assert!(said.contains("sent to ") && said.contains("removed "), "{said}");
    let names = |folder: &Path| -> Vec<_> {
        std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(remote.path()), names(backups.path()), "{said}");
    let name = names(remote.path()).remove(0);
    destroy(backups.path().join(&name));
    backs_up(&options, backups.path(), "fetch latest", true).await;
    backs_up(&options, backups.path(), "verify latest", true).await;
    // Damaged over there.
    destroy(backups.path().join(&name));
    let archive = remote.path().join(&name).join("log.nra");
    let mut bytes = std::fs::read(&archive).unwrap();
    bytes.pop();
    std::fs::write(&archive, bytes).unwrap();
    let refused = backs_up(&options, backups.path(), "fetch latest", false).await;
    assert!(refused.contains("log.nra is not the file"), "{refused}");
    // Without what makes a backup whole it is none.
    std::fs::remove_file(remote.path().join(&name).join("about.json")).unwrap();
    let refused = backs_up(&options, backups.path(), "fetch latest", false).await;
    assert!(refused.contains("there is no backup"), "{refused}");
}
