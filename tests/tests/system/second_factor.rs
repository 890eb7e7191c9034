//! Second factors on every database, with two processes at once: what one of them asked for is answered at the other, and a code
//! or a challenge that both are sent at the same moment lets in once.

use data_encoding::BASE32_NOPAD;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use system_tests::{
    Answer, Gateway, GatewayOptions, Nats, databases,
    people::{Operator, PASSWORD, User, log_in, text, try_log_in},
};

/// The code of an authenticator app, some steps from now: written here a second time, from the RFC.
fn code(secret: &str, steps: i64) -> String {
    let step = u64::try_from(chrono::Utc::now().timestamp() / 30 + steps).unwrap();
    let key = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 15);
    let number = u32::from_be_bytes(hash[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

async fn answers(gateway: &Gateway, challenge: &Value, code: &str) -> Answer {
    let body = json!({"challenge": challenge, "code": code});
    gateway.nobody().post("/api/user/login/second-factor", &body).await
}

/// Of answers at the same moment one lets in, and the others say why not.
fn one_of(answers: &[Answer], refused: &str) {
    let let_in = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(let_in, 1, "{answers:?}");
    assert!(answers.iter().all(|it| it.status == 200 || it.problem(401) == refused), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_take_a_code_once_on_postgresql() {
    walks(&databases::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_take_a_code_once_on_mariadb() {
    walks(&databases::mariadb().await).await;
}

async fn walks(database: &str) {
    let nats = Nats::start().await;
    let shared = || {
        GatewayOptions::default()
            .nats(&nats)
            .environment("NEXUSROUTE_DATABASE_URL", database)
            .environment("NEXUSROUTE_MASTER_KEY", &"07".repeat(32))
    };
    let (one, two) = (shared(), shared());
    let (one, two) = tokio::join!(one.start(), two.start());
    let gateways = [&one, &two];
    let ann = User::new(&one).await;
    let name = text(&ann.api.get("/api/user/self").await.ok()["username"]);
    let begun = ann.api.post("/api/user/totp", &json!({})).await.ok();
    let secret = text(&begun["secret"]);
    let confirmed = ann.api.post("/api/user/totp/confirm", &json!({"code": code(&secret, 0)})).await.ok();
    let recovery: Vec<String> = confirmed["recovery_codes"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(recovery.len(), 10);

    let asks = async |n: usize| {
        let asked = try_log_in(gateways[n % 2], &name, PASSWORD).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        asked.json()["challenge"].clone()
    };
    // One code for logins of their own, at both.
    for right in [code(&secret, 1), recovery[0].clone()] {
        let challenges = join_all((0..4).map(&asks)).await;
        let tried = challenges.iter().enumerate().map(|(n, it)| answers(gateways[(n + 1) % 2], it, &right));
        one_of(&join_all(tried).await, "wrong_code");
    }
    // One login, with a code each.
    let challenge = asks(0).await;
    let tried = (1..5).map(|n| answers(gateways[n % 2], &challenge, &recovery[n]));
    one_of(&join_all(tried).await, "challenge_over");
    let left = ann.api.get("/api/user/second-factor").await.ok();
    assert_eq!(left["recovery_codes"], 8, "those that came too late were not used up");

    // New ones, asked for at both at once: those of one of them are in force, and all ten.
    let with_cookie = async |n: usize| {
        let challenge = asks(n).await;
        let session = answers(gateways[n % 2], &challenge, &recovery[n + 5]).await;
        gateways[n % 2].nobody().bearer(&text(&session.ok()["access_token"]))
    };
    let (first, second) = (with_cookie(0).await, with_cookie(1).await);
    let (path, nothing) = ("/api/user/recovery-codes", json!({}));
    let (made, also) = tokio::join!(first.post(path, &nothing), second.post(path, &nothing));
    assert_eq!((made.status, also.status), (201, 201), "{} {}", made.text, also.text);
    assert_eq!(ann.api.get("/api/user/second-factor").await.ok()["recovery_codes"], 10);

    let operator = Operator::of(&two).await;
    let path = format!("/api/admin/users/{}/remove-second-factors", ann.id);
    let removed = operator.api.post(&path, &json!({"reason": "a test"})).await;
    assert_eq!(removed.status, 204, "{}", removed.text);
    log_in(&one, &name, PASSWORD).await;
    for gateway in [one, two] {
        gateway.stop().await;
    }
}
