//! Accounts by e-mail, with a mail server that this project did not write: from registration to a forgotten password, on every
//! database; and mails that arrive later, and once, when that server was down, refused, or a process died.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use system_tests::{
    Answer, Gateway, GatewayOptions, Nats, databases, eventually,
    people::{Operator, log_in, try_log_in},
    smtp::{Smtp, link, token},
};

const PASSWORD: &str = "correct horse battery";
const PATIENCE: Duration = Duration::from_secs(60);

async fn registers(gateway: &Gateway, username: &str, email: &str) -> Answer {
    let body = json!({"username": username, "email": email, "password": PASSWORD});
    gateway.nobody().post("/api/user/register", &body).await
}

async fn forgets(gateway: &Gateway, email: &str) {
    let answer = gateway.nobody().post("/api/user/password/forgot", &json!({"email": email})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

async fn follows(gateway: &Gateway, token: &str) -> Answer {
    gateway.nobody().get(&format!("/api/user/verify-email?token={token}")).await
}

async fn resets(gateway: &Gateway, token: &str, password: &str) -> Answer {
    gateway.nobody().post("/api/user/password/reset", &json!({"token": token, "password": password})).await
}

/// The newest mail that the gateway has for somebody, as its operator sees it, once it is as wanted.
async fn until_mail(operator: &Operator, to: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("the mail to {to} is as wanted"), PATIENCE, async || {
        let list = operator.api.get("/api/admin/mails?limit=100").await.ok();
        let mail = list["items"].as_array().unwrap().iter().find(|it| it["to"] == to).cloned();
        mail.filter(&is)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_registration_to_a_forgotten_password_by_mail() {
    walks(GatewayOptions::default(), "starttls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_postgresql_with_tls_from_the_first_byte() {
    let url = databases::postgres().await;
    walks(GatewayOptions::default().environment("NEXUSROUTE_DATABASE_URL", &url), "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_mariadb_with_a_server_on_the_same_machine() {
    let url = databases::mariadb().await;
    walks(GatewayOptions::default().environment("NEXUSROUTE_DATABASE_URL", &url), "none").await;
}

async fn walks(options: GatewayOptions, security: &'static str) {
    let smtp = Smtp::start(security).await;
    let gateway = smtp.for_gateway(options).start().await;
    // A mail server is there, so addresses must be proven.
    let asked = registers(&gateway, "Ann", "ann@example.org").await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    let mail = smtp.mail_to("ann@example.org", 1).await;
    assert_eq!(mail["sender"], "The Gateway <gateway@example.net>");
    assert_eq!(
        (&mail["from"], &mail["auto_submitted"]),
        (&json!("gateway@example.net"), &json!("auto-generated"))
    );
    assert_eq!(
        (&mail["tls"], &mail["authenticated"]),
        (&json!(security != "none"), &json!(security != "none"))
    );
    assert!(link(&mail).starts_with(&format!("{}/api/user/verify-email?token=", gateway.url())), "{mail}");
    assert_eq!(try_log_in(&gateway, "ann", PASSWORD).await.problem(403), "email_not_verified");

    let proof = token(&mail);
    let forged = format!("{}x", &proof[1..]);
    assert_eq!(follows(&gateway, &forged).await.problem(400), "invalid_token");
    assert_eq!(follows(&gateway, &proof).await.ok()["email_verified"], true);
    assert_eq!(follows(&gateway, &proof).await.problem(400), "invalid_token", "reused");
    let session = log_in(&gateway, "ANN@example.org", PASSWORD).await;
    let settings = json!({"language": "zh-CN", "time_zone": "+08:00", "display_currency": null, "low_balance_alert": "1"});
    let put = ("application/json", settings.to_string().into_bytes());
    session.send(Method::PUT, "/api/user/settings", Some(put)).await.ok();

    forgets(&gateway, "ann@example.org").await;
    forgets(&gateway, "nobody@example.org").await;
    let mail = smtp.mail_to("ann@example.org", 2).await;
    assert_eq!(mail["subject"], "设置新密码", "in her language");
    let reset = token(&mail);
    assert!(link(&mail).contains("/reset#token="), "behind #, where no server sees it");
    assert_eq!(follows(&gateway, &reset).await.problem(400), "invalid_token", "foreign: for another purpose");
    assert_eq!(
        resets(&gateway, &proof, "a new long password").await.problem(400),
        "invalid_token",
        "foreign"
    );
    assert_eq!(
        resets(&gateway, &forged, "a new long password").await.problem(400),
        "invalid_token",
        "forged"
    );
    let crowd = join_all((0..10).map(|_| resets(&gateway, &reset, "a new long password"))).await;
    assert_eq!(crowd.iter().filter(|answer| answer.status == 204).count(), 1, "once, whoever is first");
    assert!(crowd.iter().all(|it| it.status == 204 || it.problem(400) == "invalid_token"));
    assert_eq!(session.get("/api/user/self").await.problem(401), "unauthenticated");
    assert_eq!(try_log_in(&gateway, "ann", PASSWORD).await.problem(401), "wrong_credentials");
    log_in(&gateway, "ann@example.org", "a new long password").await;
    assert_eq!(smtp.mail_to("ann@example.org", 3).await["subject"], "您的密码已修改", "its owner is told");

    // Many at once, as after an announcement: nobody is turned away, everybody has one mail.
    let crowd = join_all((0..20).map(|n| {
        let (name, email) = (format!("crowd{n}"), format!("crowd{n}@example.org"));
        let gateway = &gateway;
        async move { registers(gateway, &name, &email).await }
    }))
    .await;
    assert!(crowd.iter().all(|answer| answer.status == 202), "{crowd:?}");
    let proofs = join_all((0..20).map(|n| {
        let (smtp, email) = (&smtp, format!("crowd{n}@example.org"));
        async move { token(&smtp.mail_to(&email, 1).await) }
    }))
    .await;
    let joined = join_all(proofs.iter().map(|proof| follows(&gateway, proof))).await;
    assert!(joined.iter().all(|answer| answer.status == 200), "{joined:?}");

    // With another's address: the answer of a stranger's, and a mail to its owner.
    let again = registers(&gateway, "ann2", "ann@example.org").await;
    assert_eq!((again.status, &again.text), (asked.status, &asked.text));
    assert_eq!(smtp.mail_to("ann@example.org", 4).await["subject"], "您已经有账户了");
    assert!(smtp.mails_to("nobody@example.org").is_empty());
    // What operators see, and what the log says, holds no token and none of the words.
    let operator = Operator::of(&gateway).await;
    let list = operator.api.get("/api/admin/mails").await.text;
    for secret in [&proof, &reset] {
        assert!(!list.contains(secret.as_str()) && !gateway.output().contains(secret.as_str()));
    }
    assert!(!list.contains("nobody@example.org"), "there was nobody to write to: {list}");
    assert_eq!(gateway.nobody().get("/api/dev/mailbox").await.problem(404), "not_found");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_arrive_later_and_once_when_the_mail_server_was_away_or_would_not() {
    let mut smtp = Smtp::start("starttls").await;
    let options = smtp.for_gateway(GatewayOptions::default());
    let gateway = options.start().await;
    let operator = Operator::of(&gateway).await;
    smtp.goes_away().await;
    registers(&gateway, "ann", "ann@example.org").await.assert_success();
    let waiting = until_mail(&operator, "ann@example.org", |it| it["last_error"].is_string()).await;
    assert_eq!(waiting["state"], "queued", "{waiting}");
    // The process dies too, and another goes on with its queue.
    gateway.kill().await;
    let gateway = options.start().await;
    let operator = Operator::of(&gateway).await;
    until_mail(&operator, "ann@example.org", |it| it["attempts"].as_i64() >= Some(2)).await;
    smtp.comes_back().await;
    let mail = smtp.mail_to("ann@example.org", 1).await;
    let sent = until_mail(&operator, "ann@example.org", |it| it["state"] == "sent").await;
    assert_eq!(mail["message_id"], format!("<{}@example.net>", sent["id"].as_str().unwrap()));
    assert_eq!(follows(&gateway, &token(&mail)).await.status, 200, "its time runs from when it left");

    // A server that would rather have it later gets it later.
    smtp.refuses(Some("data 451 too busy"));
    forgets(&gateway, "ann@example.org").await;
    let waiting = until_mail(&operator, "ann@example.org", |it| it["last_error"].is_string()).await;
    assert!(
        waiting["state"] != "failed" && waiting["last_error"].as_str().unwrap().contains("too busy"),
        "{waiting}"
    );
    smtp.refuses(None);
    let reset = smtp.mail_to("ann@example.org", 2).await;
    until_mail(&operator, "ann@example.org", |it| it["state"] == "sent").await;

    // One that knows nobody of that name is not asked again, but by the operator.
    smtp.refuses(Some("rcpt 550 no such user"));
    forgets(&gateway, "ann@example.org").await;
    let failed = until_mail(&operator, "ann@example.org", |it| it["state"] == "failed").await;
    assert_eq!(failed["attempts"], 1, "{failed}");
    smtp.refuses(None);
    let retry = format!("/api/admin/mails/{}/retry", failed["id"].as_str().unwrap());
    operator.api.post(&retry, &json!({})).await.ok();
    let later = smtp.mail_to("ann@example.org", 3).await;
    until_mail(&operator, "ann@example.org", |it| it["state"] == "sent").await;
    assert_eq!(operator.api.post(&retry, &json!({})).await.problem(409), "mail_not_waiting");
    assert_eq!(resets(&gateway, &token(&later), "a new long password").await.status, 204);
    assert_eq!(resets(&gateway, &token(&reset), "another password").await.problem(400), "invalid_token");
    gateway.stop().await;
    assert_eq!(smtp.mails_to("ann@example.org").len(), 3, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_processes_on_one_database_one_sends_each_mail() {
    let (nats, database, mut smtp) =
        tokio::join!(Nats::start(), databases::postgres(), Smtp::start("starttls"));
    let shared = || {
        smtp.for_gateway(GatewayOptions::default())
            .nats(&nats)
            .environment("NEXUSROUTE_DATABASE_URL", &database)
            .environment("NEXUSROUTE_MASTER_KEY", &"07".repeat(32))
    };
    let (one, two, three) = (shared(), shared(), shared());
    let (one, two, three) = tokio::join!(one.start(), two.start(), three.start());
    // Asked for while the server is away, so that all three look at the same queue when it comes back.
    smtp.goes_away().await;
    let gateways = [&one, &two, &three];
    let asked = join_all((0..30).map(|n| {
        let (name, email) = (format!("user{n}"), format!("user{n}@example.org"));
        let gateway = gateways[n % 3];
        async move { registers(gateway, &name, &email).await }
    }))
    .await;
    assert!(asked.iter().all(|answer| answer.status == 202), "{asked:?}");
    smtp.comes_back().await;
    let operator = Operator::of(&one).await;
    eventually("all mails are sent", PATIENCE, async || {
        let list = operator.api.get("/api/admin/mails?limit=100&state=sent").await.ok();
        (list["items"].as_array().unwrap().len() == 30).then_some(())
    })
    .await;
    let mut arrived: BTreeMap<String, u32> = BTreeMap::new();
    for mail in smtp.mails() {
        *arrived.entry(mail["to"][0].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(arrived.len(), 30);
    assert!(arrived.values().all(|times| *times == 1), "{arrived:?}");
    // Sent by one, followed at another.
    let proof = token(&smtp.mail_to("user7@example.org", 1).await);
    assert_eq!(follows(&two, &proof).await.status, 200);
    log_in(&three, "user7@example.org", PASSWORD).await;
    for gateway in [one, two, three] {
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_nobody_vouches_for_gets_nothing() {
    let (stranger, plain) = tokio::join!(Smtp::start("starttls"), Smtp::start("none"));
    // Its certificate is of no authority that this gateway knows; the other offers no TLS at all, as if somebody in between had
    // taken the offer out.
    let unknown = stranger.for_gateway(GatewayOptions::default()).environment("NEXUSROUTE_SMTP_CA_FILE", "");
    let stripped =
        plain.for_gateway(GatewayOptions::default()).environment("NEXUSROUTE_SMTP_SECURITY", "starttls");
    for (options, smtp, fault) in [(unknown, stranger, "certificate"), (stripped, plain, "STARTTLS")] {
        let gateway = options.start().await;
        registers(&gateway, "ann", "ann@example.org").await.assert_success();
        let operator = Operator::of(&gateway).await;
        let mail = until_mail(&operator, "ann@example.org", |it| it["attempts"].as_i64() >= Some(2)).await;
        let error = mail["last_error"].as_str().unwrap();
        assert!(error.to_lowercase().contains(&fault.to_lowercase()), "{mail}");
        assert!(mail["state"] != "sent" && smtp.mails().is_empty(), "{mail}");
        gateway.stop().await;
    }
}
