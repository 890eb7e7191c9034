//! The operator's drill: verify the log, export it, bring it back elsewhere, and go on.

use domain::Credits;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use system_tests::{
    Behaviour, FakeProvider, GatewayOptions, credits,
    people::{Caller, Operator, User, text},
};

const MODEL: &str = "kept-model";

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn run(options: &GatewayOptions, arguments: &[&str], status: i32) -> String {
    let output = options.run(arguments).await;
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", said(&output));
    said(&output)
}

/// The report of a clean log.
async fn clean(options: &GatewayOptions, arguments: &[&str]) -> Value {
    let output = options.run(&[&["ledger", "verify", "--json"], arguments].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["clean"], &report["findings"]), (&json!(true), &json!([])), "{report}");
    report
}

fn digest(output: &str) -> String {
    let line = output.lines().find_map(|line| line.strip_prefix("digest "));
    line.unwrap_or_else(|| panic!("no digest: {output}")).to_owned()
}

/// All of a data folder but the log: what a backup of the database and the secrets holds.
fn copy_all_but_the_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_verified_exported_and_brought_back_with_every_balance() {
    let provider = FakeProvider::start(Behaviour::default()).await;
    let options = GatewayOptions::default();
    let gateway = options.start().await;
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let user = User::with_credits(&gateway, &operator, "1").await;
    user.tops_up("50.00", "pay").await;
    let key = user.makes_key().await;
    for _ in 0..3 {
        Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
    }
    let bought = credits(&json!("6.944444444"));
    let left = Credits::checked_sum([credits(&json!("0.94")), bought]).unwrap();
    user.until_total(left).await;

    // Beside the running gateway, whose lease may still be open.
    let live = clean(&options, &[]).await;
    assert_eq!(live["counts"]["usage_records"], 3, "{live}");
    assert_eq!(live["tables"]["compared"], false, "what was not done is not claimed");
    gateway.stop().await;
    let report = clean(&options, &["--no-tables"]).await;
    assert_eq!(report["counts"]["leases_open"], 0, "{report}");
    assert_eq!(credits(&report["wallets"]["available"]), left);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.nra");
    let path = file.to_str().unwrap();
    let exported = run(&options, &["ledger", "export", path], 0).await;
    assert!(run(&options, &["ledger", "export", path], 1).await.contains("exists"), "nothing is overwritten");
    let archived = clean(&options, &["--archive", path]).await;
    assert_eq!(archived["wallets"], report["wallets"]);
    assert_eq!(text(&archived["of"]["digest"]), digest(&exported));

    // Elsewhere: the database of a backup, and the log of the archive.
    let elsewhere = GatewayOptions::default();
    copy_all_but_the_log(&options.data(), &elsewhere.data());
    let imported = run(&elsewhere, &["ledger", "import", path], 0).await;
    assert_eq!(digest(&imported), digest(&exported));
    let back = clean(&elsewhere, &[]).await;
    assert_eq!((&back["wallets"], &back["counts"]), (&report["wallets"], &report["counts"]));
    let second = folder.path().join("again.nra");
    let again = run(&elsewhere, &["ledger", "export", second.to_str().unwrap()], 0).await;
    assert_eq!(digest(&again), digest(&exported));
    assert_eq!(std::fs::read(&second).unwrap(), std::fs::read(&file).unwrap());

    let gateway = elsewhere.start().await;
    let user = User { api: user.api.at(gateway.url()), ..user };
    assert_eq!(user.balance().await.total, left);
    Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
    user.until_total(left.checked_sub(credits(&json!("0.02"))).unwrap()).await;
    // The log has gone on: the archive is not brought back over it.
    let refused = run(&elsewhere, &["ledger", "import", path], 1).await;
    assert!(refused.contains("LEDGER is not empty"), "{refused}");
    gateway.stop().await;
    assert_eq!(clean(&elsewhere, &[]).await["counts"]["usage_records"], 4);
    elsewhere.audit().await.assert_all_leases_closed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_named_and_not_brought_back() {
    let options = GatewayOptions::default();
    options.start().await.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.nra");
    let path = file.to_str().unwrap();
    run(&options, &["ledger", "export", path], 0).await;
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let report = run(&options, &["ledger", "verify", "--archive", path], 1).await;
    assert!(report.contains("FINDING archive_"), "{report}");
    let elsewhere = GatewayOptions::default();
    let refused = run(&elsewhere, &["ledger", "import", path], 1).await;
    assert!(refused.contains("the archive is damaged"), "{refused}");
    elsewhere.start().await.stop().await;
    // What cannot be judged at all is neither clean nor a finding.
    let missing = folder.path().join("missing");
    run(&options, &["ledger", "verify", "--archive", missing.to_str().unwrap()], 2).await;
    let nobody = GatewayOptions::default().environment("NEXUSROUTE_NATS_URL", "nats://127.0.0.1:1");
    run(&nobody, &["ledger", "verify"], 2).await;
}
