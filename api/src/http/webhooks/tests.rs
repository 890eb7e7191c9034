//! Webhooks over HTTP, with receivers on this machine.

use crate::directory::{now, user::Role, webhook::DeliveryState};
use crate::http::tests::{Answer, Gateway, gateway, gateway_with};
use crate::webhook::{DELIVERY, EVENT, SIGNATURE, sign};
use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use relay::Secret;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A receiver that answers what it is told to and keeps what it got.
#[derive(Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answers: Arc<Mutex<Vec<StatusCode>>>,
    strayed: Arc<Mutex<u32>>,
}

impl Receiver {
    /// Starts it; answers where it listens.
    async fn start(&self) -> String {
        let (here, stray) = (self.clone(), self.clone());
        let take = move |headers: HeaderMap, body: Bytes| async move {
            let body = String::from_utf8(body.to_vec()).unwrap();
            here.got.lock().unwrap().push((headers, body));
            let status = here.answers.lock().unwrap().pop().unwrap_or(StatusCode::NO_CONTENT);
            let answer: Response = match status.is_redirection() {
                true => (status, [(header::LOCATION, "/elsewhere")]).into_response(),
                // Without an end: nobody may read it to its end.
                false if status == StatusCode::OK => {
                    let endless = futures_util::stream::repeat_with(|| {
                        Ok::<_, std::io::Error>(Bytes::from("x".repeat(65_536)))
                    });
                    (status, axum::body::Body::from_stream(endless)).into_response()
                }
                false => status.into_response(),
            };
            answer
        };
        let elsewhere = move || async move { *stray.strayed.lock().unwrap() += 1 };
        let router = Router::new()
            .route("/hook", post(take))
            .route("/elsewhere", get(elsewhere.clone()).post(elsewhere));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?for=ann", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn answers(&self, statuses: &[u16]) {
        let statuses = statuses.iter().rev().map(|it| StatusCode::from_u16(*it).unwrap()).collect();
        *self.answers.lock().unwrap() = statuses;
    }

    fn got(&self) -> Vec<(HeaderMap, String)> {
        self.got.lock().unwrap().clone()
    }
}

impl Gateway {
    async fn as_user(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.call(method, &format!("/api/user/webhook{path}"), Some(token), body).await
    }

    /// Lets the courier work until nothing is due now.
    async fn delivers(&self) {
        let stop = CancellationToken::new();
        let courier = tokio::spawn(self.app.courier.clone().keep_delivering(stop.clone()));
        let due = "SELECT COUNT(*) AS n FROM webhook_deliveries WHERE state = 'sending' OR (state = 'queued' AND next_try_at <= ?)";
        while self.app.db.fetch_one(due, &[now().into()]).await.unwrap().int("n").unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        courier.await.unwrap();
    }

    /// Lets the time of the next try come.
    async fn time_passes(&self) {
        self.app.db.execute("UPDATE webhook_deliveries SET next_try_at = 0", &[]).await.unwrap();
    }

    async fn newest(&self, token: &str) -> Value {
        self.as_user(token, "GET", "/deliveries", None).await.body["items"][0].clone()
    }
}

async fn set_up() -> (Gateway, String, Receiver, String) {
    let (it, receiver) = (gateway().await, Receiver::default());
    let token = it.token("ann", Role::User).await;
    let url = receiver.start().await;
    let made = it.as_user(&token, "PUT", "", Some(json!({"url": url}))).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    (it, token, receiver, secret)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().unwrap()
}

/// When it was signed, by what the header says.
fn moment_of(signature: &str) -> i64 {
    signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_call_is_signed_and_made_again_with_the_same_bytes_until_it_is_taken() {
    let (it, token, receiver, secret) = set_up().await;
    assert!(secret.starts_with("whsec_") && secret.len() > 40, "{secret}");
    receiver.answers(&[500, 302, 200]);
    let queued = it.as_user(&token, "POST", "/test", None).await;
    assert_eq!((queued.status.as_u16(), &queued.body["state"]), (202, &json!("queued")));
    for (n, status, error) in [(1, 500, "500"), (2, 302, "redirects are not followed")] {
        it.delivers().await;
        let told = it.newest(&token).await;
        assert_eq!(
            (&told["state"], &told["attempts"], &told["last_status"]),
            (&json!("queued"), &json!(n), &json!(status))
        );
        assert!(told["last_error"].as_str().unwrap().contains(error), "{told}");
        assert!(told["next_try_at"].is_string());
        it.delivers().await;
        assert_eq!(receiver.got().len(), n, "not before its time");
        it.time_passes().await;
    }
    it.delivers().await;
    let told = it.newest(&token).await;
    assert_eq!(
        (&told["state"], &told["attempts"], &told["last_status"]),
        (&json!("delivered"), &json!(3), &json!(200))
    );
    assert!(
        told["last_error"].is_null() && told["next_try_at"].is_null() && told["delivered_at"].is_string()
    );
    assert_eq!(*receiver.strayed.lock().unwrap(), 0);

    let got = receiver.got();
    assert_eq!(got.len(), 3);
    for (headers, body) in &got {
        assert_eq!((header(headers, EVENT), header(headers, "content-type")), ("test", "application/json"));
        assert_eq!(header(headers, DELIVERY), queued.body["id"].as_str().unwrap());
        let signature = header(headers, SIGNATURE);
        assert_eq!(signature, sign(&[Secret::new(secret.as_str())], moment_of(signature), body));
        assert!((now().micros() / 1_000_000 - moment_of(signature)).abs() < 60);
        assert_eq!(body, &got[0].1);
    }
    let body: Value = serde_json::from_str(&got[0].1).unwrap();
    assert_eq!((&body["id"], &body["type"], &body["data"]), (&queued.body["id"], &json!("test"), &json!({})));

    // Wanted again: the same id, so that the receiver knows it.
    let again = format!("/deliveries/{}/retry", queued.body["id"].as_str().unwrap());
    assert_eq!(it.as_user(&token, "POST", &again, None).await.body["state"], "queued");
    it.delivers().await;
    assert_eq!(header(&receiver.got()[3].0, DELIVERY), queued.body["id"].as_str().unwrap());
}

#[tokio::test]
async fn a_call_that_is_never_taken_is_given_up_and_one_that_is_gone_at_once() {
    let (it, token, receiver, _) = set_up().await;
    it.as_user(&token, "POST", "/test", None).await;
    receiver.answers(&[410]);
    it.delivers().await;
    let told = it.newest(&token).await;
    assert_eq!((&told["state"], &told["attempts"]), (&json!("failed"), &json!(1)), "{told}");
    it.as_user(&token, "POST", "/test", None).await;
    receiver.answers(&[500; 15]);
    for _ in 0..15 {
        it.delivers().await;
        it.app
            .db
            .execute("UPDATE webhook_deliveries SET next_try_at = 0 WHERE state = 'queued'", &[])
            .await
            .unwrap();
    }
    let told = it.newest(&token).await;
    assert_eq!((&told["state"], &told["attempts"]), (&json!("failed"), &json!(15)), "{told}");
    it.delivers().await;
    assert_eq!(receiver.got().len(), 16);
    // A webhook that is taken away takes what waits with it.
    let waits = it.as_user(&token, "POST", "/test", None).await.body["id"].clone();
    assert_eq!(it.as_user(&token, "DELETE", "", None).await.status, 204);
    it.delivers().await;
    let told = it.newest(&token).await;
    assert_eq!((&told["id"], &told["state"]), (&waits, &json!("failed")));
    assert_eq!(it.as_user(&token, "DELETE", "", None).await.status, 404);
    assert_eq!(it.as_user(&token, "POST", "/test", None).await.status, 404);
    assert_eq!(it.as_user(&token, "GET", "", None).await.status, 404);
    assert_eq!(receiver.got().len(), 16);
}

#[tokio::test]
async fn a_secret_is_shown_once_sealed_at_rest_and_overlaps_the_next_one() {
    let (it, token, receiver, first) = set_up().await;
    let shown = it.as_user(&token, "GET", "", None).await;
    assert!(!shown.body.to_string().contains("whsec_"), "{}", shown.body);
    let url = shown.body["url"].clone();
    let moved = it.as_user(&token, "PUT", "", Some(json!({"url": url}))).await;
    assert_eq!((moved.status.as_u16(), &moved.body["secret"]), (200, &Value::Null), "it keeps its secret");
    let stored = it.app.db.fetch_one("SELECT secret_sealed FROM webhooks", &[]).await.unwrap();
    assert!(!stored.text("secret_sealed").unwrap().contains(&first));
    let rotated = it.as_user(&token, "POST", "/rotate-secret", None).await;
    let second = rotated.body["secret"].as_str().unwrap().to_owned();
    assert!(second != first && rotated.body["previous_until"].is_string());
    it.as_user(&token, "POST", "/test", None).await;
    it.delivers().await;
    it.app.db.execute("UPDATE webhooks SET previous_until = 1", &[]).await.unwrap();
    it.as_user(&token, "POST", "/test", None).await;
    it.delivers().await;
    let got = receiver.got();
    let secrets = [second, first].map(Secret::new);
    for ((headers, body), secrets) in got.iter().zip([&secrets[..], &secrets[..1]]) {
        let signature = header(headers, SIGNATURE);
        assert_eq!(signature, sign(secrets, moment_of(signature), body));
    }
    assert_eq!(got.len(), 2);
}

#[tokio::test]
async fn without_the_operators_switch_nothing_goes_inward_whenever_it_was_set() {
    let it = gateway_with(|config| config.allow_private_webhooks = false).await;
    let token = it.token("ann", Role::User).await;
    let receiver = Receiver::default();
    let url = receiver.start().await;
    for inward in
        [url.as_str(), "https://127.0.0.1/", "https://localhost/", "https://[::ffff:169.254.169.254]/x"]
    {
        let refused = it.as_user(&token, "PUT", "", Some(json!({"url": inward}))).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (422, &json!("invalid_value")),
            "{inward}"
        );
        assert!(refused.body["detail"].as_str().unwrap().starts_with("url: "), "{}", refused.body);
    }
    // Set while it was allowed, or a name that leads elsewhere by now: found out at the call.
    it.as_user(&token, "PUT", "", Some(json!({"url": "https://93.184.216.34/"}))).await;
    let port = url.split(':').nth(2).unwrap();
    for (inward, fault) in [
        (url.clone(), "must start with https://"),
        (format!("https://127.0.0.1:{port}"), "private address"),
        (format!("https://localhost:{port}"), "no public address"),
    ] {
        it.app.db.execute("UPDATE webhooks SET url = ?", &[inward.as_str().into()]).await.unwrap();
        it.as_user(&token, "POST", "/test", None).await;
        it.delivers().await;
        let told = it.newest(&token).await;
        assert_eq!((&told["state"], &told["last_status"]), (&json!("queued"), &Value::Null), "{inward}");
        assert!(told["last_error"].as_str().unwrap().contains(fault), "{inward}: {told}");
    }
    assert!(receiver.got().is_empty());
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody_else() {
    let it = gateway().await;
    let (ann, bob) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
    // Takes connections, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}/", silent.local_addr().unwrap());
    let receiver = Receiver::default();
    it.as_user(&ann, "PUT", "", Some(json!({"url": hangs}))).await;
    it.as_user(&bob, "PUT", "", Some(json!({"url": receiver.start().await}))).await;
    for _ in 0..40 {
        it.as_user(&ann, "POST", "/test", None).await;
    }
    it.as_user(&bob, "POST", "/test", None).await;
    let stop = CancellationToken::new();
    let courier = tokio::spawn(it.app.courier.clone().keep_delivering(stop.clone()));
    while receiver.got().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let under_way = "SELECT COUNT(*) AS n FROM webhook_deliveries WHERE state = 'sending'";
    assert!(
        it.app.db.fetch_one(under_way, &[]).await.unwrap().int("n").unwrap() <= 2,
        "one at a time for each"
    );
    let state: DeliveryState = it.newest(&ann).await["state"].as_str().unwrap().parse().unwrap();
    assert_eq!(state, DeliveryState::Queued);
    courier.abort();
}

#[tokio::test]
async fn what_one_wants_to_be_told_of_is_ones_own_choice_but_for_mails_about_security() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    let put = async |body: Value| it.call("PUT", "/api/user/settings", Some(&token), Some(body)).await;
    let base = json!({"language": "en", "time_zone": "Europe/Berlin", "display_currency": null, "low_balance_alert": "1"});
    let usual = put(base.clone()).await;
    assert_eq!(
        (usual.status.as_u16(), &usual.body["time_zone"]),
        (200, &json!("Europe/Berlin")),
        "{}",
        usual.body
    );
    let on = json!({"mail": true, "webhook": true});
    assert_eq!(
        (&usual.body["notifications"]["security"], &usual.body["notifications"]["balance"]),
        (&on, &on)
    );
    let with = |notifications: Value| {
        let mut body = base.clone();
        body["notifications"] = notifications;
        body
    };
    let off = json!({"mail": false, "webhook": false});
    let chosen = put(with(json!({"balance": off}))).await;
    assert_eq!(
        (&chosen.body["notifications"]["balance"], &chosen.body["notifications"]["security"]),
        (&off, &on)
    );
    let refused = put(with(json!({"security": off}))).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body["detail"].as_str().unwrap().starts_with("notifications.security.mail: "));
    let kept = it.call("GET", "/api/user/settings", Some(&token), None).await.body;
    assert_eq!(kept, chosen.body);
    for zone in ["Mars/Olympus", "+15:00", ""] {
        let mut body = base.clone();
        body["time_zone"] = json!(zone);
        let refused = put(body).await;
        assert!(
            refused.body["detail"].as_str().unwrap().starts_with("time_zone: must be"),
            "{}",
            refused.body
        );
    }
}

#[tokio::test]
async fn a_budgets_days_are_those_of_the_settings_at_once() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    let key = json!({"name": "k", "budget": {"credits": "1", "period": "day"}});
    let key = it.call("POST", "/api/user/keys", Some(&token), Some(key)).await.body;
    let hash = relay::key::lookup_hash(key["secret"].as_str().unwrap()).unwrap();
    let zone = || it.app.catalogue.load().keys[&hash].budget.unwrap().zone.to_string();
    assert_eq!(zone(), "+00:00");
    for name in ["America/New_York", "+05:45"] {
        let settings = json!({"language": "en", "time_zone": name});
        it.call("PUT", "/api/user/settings", Some(&token), Some(settings)).await;
        assert_eq!(zone(), name);
    }
}
