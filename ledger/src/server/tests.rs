//! The supervised server: its guards, its lives and its deaths.

use super::*;
use crate::testing::{Server, binary, credits, funded, is_running, kill, server_options, until};
use crate::{Ledger, Log, LogOptions, NoSnapshots};
use domain::AccountId;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

async fn ledger_on(local: &LocalServer) -> Ledger {
    let options = LogOptions {
        servers: vec![local.url().to_owned()],
        token: Some(local.token().to_owned()),
        ..LogOptions::default()
    };
    Ledger::new(Log::connect(options).await.unwrap(), Arc::new(NoSnapshots))
}

async fn assert_funded(local: &LocalServer, account: AccountId, amount: &str) {
    assert_eq!(ledger_on(local).await.account(account).await.unwrap().available(), credits(amount));
}

#[tokio::test]
async fn its_configuration_flushes_always_and_only_its_owner_can_read_it() {
    let server = Server::start().await;
    let file = server.folder().join("nats.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("sync_interval: always"), "{text}");
    assert!(text.contains("listen: \"127.0.0.1:"), "{text}");
    assert!(text.contains(&format!("token: \"{}\"", server.local().token())), "{text}");
    assert_eq!(server.local().token().len(), 48);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let found = LocalServer::found_in(server.folder());
    assert_eq!(found, Some((server.local().url().to_owned(), server.local().token().to_owned())));
    assert_eq!(LocalServer::found_in(&server.folder().join("store")), None);
}

#[tokio::test]
async fn a_configuration_file_that_others_could_read_is_closed_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let local = LocalServer::start(server_options(folder.path())).await.unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    local.stop().await;
}

#[tokio::test]
async fn it_lets_nobody_in_without_its_token() {
    let server = Server::start().await;
    for token in [None, Some("guess".to_owned()), Some(String::new())] {
        let answer = Log::connect(LogOptions { token: token.clone(), ..server.options() }).await;
        match answer {
            Err(LedgerError::Unavailable(text)) => {
                assert!(text.contains("authorization"), "{token:?}: {text}")
            }
            other => panic!("{token:?}: {:?}", other.map(|_| ())),
        }
    }
}

#[tokio::test]
async fn stopping_and_dropping_end_the_child_and_keep_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalServer::start(server_options(folder.path())).await.unwrap();
    let account = funded(&ledger_on(&local).await, "2").await;
    let (pid, token) = (local.pid().unwrap(), local.token().to_owned());
    assert!(is_running(pid));
    local.stop().await;
    assert!(!is_running(pid));

    let local = LocalServer::start(server_options(folder.path())).await.unwrap();
    assert_ne!(local.token(), token, "a token for each start");
    assert_funded(&local, account, "2").await;
    let pid = local.pid().unwrap();
    drop(local);
    until("a dropped server ends", async || !is_running(pid)).await;
}

#[tokio::test]
async fn a_killed_child_is_started_again_with_its_data() {
    let server = Server::start().await;
    let ledger = server.ledger().await;
    let mut pid = server.local().pid().unwrap();
    for round in 1..=3 {
        let account = funded(&ledger, "1").await;
        kill(pid);
        until("another child", async || server.local().pid().is_some_and(|now| now != pid)).await;
        pid = server.local().pid().unwrap();
        assert_funded(server.local(), account, "1").await;
        assert_eq!(ledger.log().identity().await.unwrap().last_sequence, round);
    }
}

#[tokio::test]
async fn two_servers_never_share_a_folder() {
    let server = Server::start().await;
    let pid = server.local().pid();
    match LocalServer::start(server_options(server.folder())).await {
        Err(LedgerError::Unfit(text)) => assert!(text.contains("another process runs"), "{text}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
    assert_eq!(server.local().pid(), pid);
    server.log().await;
}

#[tokio::test]
async fn a_server_left_behind_by_a_former_run_is_ended_first() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalServer::start(server_options(folder.path())).await.unwrap();
    let account = funded(&ledger_on(&local).await, "3").await;
    local.stop().await;
    // As if setpriv were missing: the child outlived its supervisor.
    let mut left = Command::new(binary());
    left.arg("--config").arg(folder.path().join("nats.conf")).stderr(Stdio::null()).kill_on_drop(true);
    let mut left = left.spawn().unwrap();
    let pid = left.id().unwrap();
    let pid_file = folder.path().join("nats.pid");
    until("it writes its pid", async || {
        std::fs::read_to_string(&pid_file).is_ok_and(|text| text.trim() == pid.to_string())
    })
    .await;
    // Somebody has to take the dead child's status, as init would.
    let (local, _) = tokio::join!(LocalServer::start(server_options(folder.path())), left.wait());
    let local = local.unwrap();
    assert!(!is_running(pid));
    assert_funded(&local, account, "3").await;
    local.stop().await;
}

#[tokio::test]
async fn a_strangers_process_under_the_old_pid_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut stranger = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    let pid = stranger.id().unwrap();
    std::fs::write(folder.path().join("nats.pid"), pid.to_string()).unwrap();
    let local = LocalServer::start(server_options(folder.path())).await.unwrap();
    assert!(is_running(pid));
    local.stop().await;
    stranger.kill().await.unwrap();
}

#[tokio::test]
async fn what_cannot_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let missing =
        LocalServerOptions { binary: "/no/such/nats-server".into(), ..server_options(folder.path()) };
    // Ends at once, without a word of NATS.
    let wrong = LocalServerOptions { binary: "/bin/true".into(), ..server_options(folder.path()) };
    for options in [missing, wrong] {
        match LocalServer::start(options).await {
            Err(LedgerError::Unfit(text)) => assert!(text.contains("local nats-server"), "{text}"),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let answer = LocalServer::start(server_options(&file)).await;
    assert!(matches!(answer, Err(LedgerError::Unfit(_))));
}

const PARENT: &str = "NEXUSROUTE_TEST_PARENT";

/// A process that starts a server in the folder it is told, and then does nothing until it is killed.
#[tokio::test]
#[ignore = "a child process of `the_child_of_a_killed_parent_is_ended`"]
async fn parent() {
    let Some(folder) = std::env::var_os(PARENT) else { return };
    let _local = LocalServer::start(server_options(Path::new(&folder))).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_child_of_a_killed_parent_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap());
    parent.args(["--exact", "server::tests::parent", "--ignored"]).env(PARENT, folder.path());
    let mut parent = parent.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let pid_of = || std::fs::read_to_string(folder.path().join("nats.pid")).ok()?.trim().parse::<u32>().ok();
    until("the parent's child runs", async || pid_of().is_some_and(is_running)).await;
    let child = pid_of().unwrap();

    parent.kill().await.unwrap();
    let began = Instant::now();
    // By the kernel where there is setpriv, else by the next start.
    let local = LocalServer::start(server_options(folder.path())).await.unwrap();
    until("the child of the killed parent ends", async || !is_running(child)).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_ne!(local.pid(), Some(child));
    funded(&ledger_on(&local).await, "1").await;
    local.stop().await;
}
