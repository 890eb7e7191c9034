use super::*;
use crate::directory::user::Role;
use crate::http::tests::{Answer, Gateway, gateway, gateway_with};
use axum::extract::Query;
use axum::routing::get;
use serde_json::json;
use std::collections::HashMap;

/// A provider whose list has three pages in Claude's and Gemini's forms and one in OpenAI's, and that tells its balance.
async fn provider() -> String {
    let claude = async |headers: HeaderMap, Query(query): Query<HashMap<String, String>>| {
        assert!(headers.contains_key("anthropic-version") && headers["x-api-key"] == "sk-of-the-provider");
        axum::Json(match query.get("after_id").map(String::as_str) {
            None => json!({"data": [{"id": "claude-1"}], "has_more": true, "last_id": "claude-1"}),
            Some("claude-1") => {
                json!({"data": [{"id": "claude-2"}], "has_more": true, "last_id": "claude-2"})
            }
            _ => json!({"data": [{"id": "claude-3"}], "has_more": false, "last_id": "claude-3"}),
        })
    };
    let gemini = async |Query(query): Query<HashMap<String, String>>| {
        assert_eq!(query["pageSize"], "1000");
        axum::Json(match query.get("pageToken").map(String::as_str) {
            None => json!({"models": [{"name": "models/gemini-1"}], "nextPageToken": "two"}),
            _ => json!({"models": [{"name": "models/gemini-2"}, {"no": "name"}]}),
        })
    };
    let openai = async || axum::Json(json!({"object": "list", "data": [{"id": "b"}, {"id": "a"}]}));
    let balance = async |headers: HeaderMap| {
        assert_eq!(headers["authorization"], "Bearer sk-of-the-provider");
        axum::Json(
            json!({"infos": [{"currency": "CNY", "left": "110.00"}], "data": {"all": 12.5, "used": 2.25}}),
        )
    };
    let huge = async || "x".repeat(MOST_BYTES + 1);
    let router = axum::Router::new()
        .route("/claude/v1/models", get(claude))
        .route("/gemini/v1beta/models", get(gemini))
        .route("/gemini/models", get(gemini))
        .route("/openai/models", get(openai))
        .route("/user/balance", get(balance))
        .route("/huge/models", get(huge))
        .route("/words/models", get(async || "no JSON"))
        .route("/away/models", get(async || axum::response::Redirect::temporary("/openai/models")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn asks(it: &Gateway, root: &str, url: &str, format: &str, config: Value, what: &str) -> Answer {
    let name = format!("provider {}", Uuid::new_v4());
    let body = json!({"name": name, "base_url": url, "api_key": "sk-of-the-provider", "api_format": format, "config": config});
    let made = it.call("POST", "/api/admin/providers", Some(root), Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = format!("/api/admin/providers/{}/{what}", made.body["id"].as_str().unwrap());
    it.call("POST", &path, Some(root), None).await
}

#[tokio::test]
async fn every_page_of_a_providers_models_is_read_in_its_own_form() {
    let (it, url) = (gateway().await, provider().await);
    let root = it.token("root", Role::Admin).await;
    for (path, format, expected) in [
        ("/openai", "openai", &["a", "b"][..]),
        ("/claude", "claude", &["claude-1", "claude-2", "claude-3"]),
        ("/gemini", "gemini", &["gemini-1", "gemini-2"]),
    ] {
        let answer = asks(&it, &root, &format!("{url}{path}"), format, json!({}), "fetch-models").await;
        assert_eq!(answer.status, 200, "{format}: {}", answer.body);
        let names = answer.body["items"].as_array().unwrap().iter().map(|it| it["upstream_name"].clone());
        assert_eq!(names.collect::<Vec<_>>(), expected, "{format}");
        assert_eq!(
            (&answer.body["truncated"], &answer.body["items"][0]["served"]),
            (&json!(false), &json!(false))
        );
    }
    for path in ["/huge", "/words", "/away", "/nothing"] {
        let answer = asks(&it, &root, &format!("{url}{path}"), "openai", json!({}), "fetch-models").await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (502, &json!("provider_failed")),
            "{path}"
        );
        assert!(!answer.body.to_string().contains("sk-of-the-provider"));
    }
}

#[tokio::test]
async fn a_providers_balance_is_read_where_its_template_says() {
    let (it, url) = (gateway().await, provider().await);
    let root = it.token("root", Role::Admin).await;
    let url = format!("{url}/openai");
    let left =
        json!({"path": "/user/balance", "pointer": "/infos/0/left", "currency_pointer": "/infos/0/currency"});
    let answer = asks(&it, &root, &url, "openai", json!({"balance": left}), "balance").await;
    assert_eq!(answer.body, json!({"balance": "110.00", "currency": "CNY"}));
    let rest = json!({"path": "/user/balance", "pointer": "/data/all", "minus_pointer": "/data/used", "currency": "USD"});
    let answer = asks(&it, &root, &url, "openai", json!({"balance": rest}), "balance").await;
    assert_eq!(answer.body, json!({"balance": "10.25", "currency": "USD"}));
    let gone = json!({"path": "/user/balance", "pointer": "/nowhere", "currency": "USD"});
    assert_eq!(asks(&it, &root, &url, "openai", json!({"balance": gone}), "balance").await.status, 502);
    let answer = asks(&it, &root, &url, "openai", json!({}), "balance").await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (409, &json!("no_balance_template")));
    for path in
        ["https://elsewhere.example/b", "//elsewhere.example/b", "relative", "/a b", "/\\\\elsewhere.example"]
    {
        let config = json!({"balance": {"path": path, "pointer": "/a", "currency": "USD"}});
        let body =
            json!({"name": path, "base_url": url, "api_key": "k", "api_format": "openai", "config": config});
        let refused = it.call("POST", "/api/admin/providers", Some(&root), Some(body)).await;
        assert_eq!(refused.status, 422, "{path}: {}", refused.body);
    }
}

#[tokio::test]
async fn a_provider_on_a_private_address_is_not_asked_once_the_rule_forbids_it() {
    let url = provider().await;
    let it = gateway_with(|config| config.allow_private_providers = false).await;
    let root = it.token("root", Role::Admin).await;
    // As if it had been added while private addresses were allowed.
    let terms = ProviderTerms {
        name: "inner".into(),
        base_url: format!("{url}/openai"),
        api_format: crate::directory::provider::ApiFormat::OpenAi,
        status: crate::directory::Status::Active,
        priority: 0,
        weight: 1,
        config: Default::default(),
    };
    let by = crate::session::actor(domain::ActorKind::Admin, it.account_of(&root).await);
    let secret = relay::Secret::new("sk-of-the-provider");
    let made = it.app.directory.create_provider(terms, &secret, Vec::new(), by).await.unwrap();
    let path = format!("/api/admin/providers/{}/fetch-models", made.id);
    let answer = it.call("POST", &path, Some(&root), None).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
}
