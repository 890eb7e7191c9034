//! The two ways to a call: by the routes, and past them.

use super::*;
use axum::body::to_bytes;
use tower::Service;

const PEER: &str = "127.0.0.1:4000";

/// A request to a chat's path, or to another.
struct Sent {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: &'static str,
}

impl Sent {
    fn request(&self) -> Request {
        let mut request = axum::http::Request::builder().method(self.method).uri(self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(Body::from(self.body)).unwrap()
    }
}

/// What of an answer must be the same: all of it but the request's id.
async fn told(response: Response) -> (StatusCode, BTreeMap<String, String>, String) {
    let (parts, body) = response.into_parts();
    let mut headers: BTreeMap<String, String> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    // On the wire it comes from the body, whoever wrote the head.
    headers.remove("content-length");
    let id = headers.insert("x-request-id".into(), String::new()).expect("every answer names its request");
    let id = Uuid::parse_str(&id).unwrap();
    if let Some(same) = headers.get_mut("request-id") {
        assert_eq!(std::mem::take(same), id.to_string());
    }
    // A converted answer is called by the request's id too.
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body = String::from_utf8(body.into()).unwrap().replace(&id.simple().to_string(), "");
    (parts.status, headers, body)
}

impl Gateway {
    async fn by_the_routes(&self, sent: &Sent) -> Response {
        let mut request = sent.request();
        request.extensions_mut().insert(ConnectInfo(PEER.parse::<SocketAddr>().unwrap()));
        self.relay.router().call(request).await.unwrap()
    }

    async fn past_the_routes(&self, sent: &Sent) -> Result<Response, Request> {
        match self.relay.answer(PEER.parse().unwrap(), sent.request()) {
            Ok(answering) => Ok(answering.await),
            Err(request) => Err(request),
        }
    }
}

#[tokio::test]
async fn a_call_is_answered_the_same_by_either_way() {
    let provider = provider(|asked| match asked["stream"].as_bool() {
        Some(true) => sse(&[ROLE, HELLO, THERE, FINISH, USAGE, DONE]),
        _ => json_answer(ANSWER),
    })
    .await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let key = format!("Bearer {}", gateway.key);
    let json = ("content-type", "application/json".to_owned());
    let call = |path, headers: &[(&'static str, String)], body| {
        let headers = [&[("authorization", key.clone()), json.clone()], headers].concat();
        Sent { method: "POST", path, headers, body }
    };
    const CHAT: &str = "/v1/chat/completions";
    const HELLO_BODY: &str = r#"{"model":"vendor/model","messages":[{"role":"user","content":"say hello"}]}"#;
    let of_claude = ("anthropic-version", "2023-06-01".to_owned());
    let of_gemini = ("x-goog-api-key", gateway.key.clone());
    let sent = [
        call(CHAT, &[], HELLO_BODY),
        call(
            CHAT,
            &[],
            r#"{"model":"vendor/model","stream":true,"messages":[{"role":"user","content":"say hello"}]}"#,
        ),
        call(CHAT, std::slice::from_ref(&of_claude), HELLO_BODY),
        call(CHAT, &[of_gemini], HELLO_BODY),
        call(
            "/v1/messages",
            &[of_claude],
            r#"{"model":"vendor/model","max_tokens":50,"messages":[{"role":"user","content":"say hello"}]}"#,
        ),
        call(
            "/v1/messages",
            &[],
            r#"{"model":"no/such","max_tokens":5,"messages":[{"role":"user","content":"x"}]}"#,
        ),
        call("/v1/messages?key=nothing", &[], "{"),
        call(CHAT, &[], r#"{"model":"no/such","messages":[]}"#),
        call(CHAT, &[], r#"{"model":"free/model","messages":[{"role":"user","content":"x"}]}"#),
        call(CHAT, &[], "not json"),
        call(CHAT, &[("content-encoding", "gzip".into())], HELLO_BODY),
        call("/v1/embeddings", &[], r#"{"model":7}"#),
        Sent { method: "POST", path: CHAT, headers: vec![json.clone()], body: HELLO_BODY },
        Sent { method: "POST", path: CHAT, headers: vec![("authorization", key.clone())], body: HELLO_BODY },
    ];
    for sent in &sent {
        let past = gateway.past_the_routes(sent).await.expect("a call needs no route");
        let (routed, past) = (told(gateway.by_the_routes(sent).await).await, told(past).await);
        assert_eq!(routed, past, "{} with {:?}: {}", sent.path, sent.headers, sent.body);
    }
    let records = gateway.settled().await;
    assert!(!records.is_empty() && records.len() % 2 == 0, "each way makes its records");
}

#[tokio::test]
async fn what_is_no_call_is_left_to_the_routes_as_it_came() {
    let gateway = gateway(ranked(&["http://127.0.0.1:1"])).await;
    let others = [
        ("GET", "/v1/chat/completions"),
        ("OPTIONS", "/v1/messages"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1beta/models/vendor/model:generateContent"),
        ("GET", "/v1/models"),
        ("POST", "/api/user/login"),
    ];
    for (method, path) in others {
        let sent = Sent { method, path, headers: vec![("x-api-key", "abc".into())], body: "whole" };
        let request = gateway.past_the_routes(&sent).await.expect_err(path);
        assert_eq!((request.method().as_str(), request.uri().path()), (method, path));
        assert_eq!(request.headers()["x-api-key"], "abc");
        assert_eq!(to_bytes(request.into_body(), 100).await.unwrap(), "whole");
    }
}

#[tokio::test]
async fn a_panic_before_the_answer_ends_one_call_and_holds_nothing() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let headers = vec![
        ("authorization", format!("Bearer {}", gateway.key)),
        ("content-type", "application/json".into()),
    ];
    let body = r#"{"model":"vendor/model","messages":[{"role":"user","content":"say hello"}]}"#;
    let sent = Sent { method: "POST", path: "/v1/chat/completions", headers, body };
    for past in [true, false] {
        gateway.wallet.0.lock().unwrap().breaks = true;
        let answer = match past {
            true => gateway.past_the_routes(&sent).await.unwrap(),
            false => gateway.by_the_routes(&sent).await,
        };
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(gateway.relay.in_flight(), 0, "past: {past}");
        let answer = gateway.past_the_routes(&sent).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "the next call goes on");
    }
    assert_eq!(gateway.settled().await.len(), 2);
}
