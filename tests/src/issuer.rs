//! An issuer of OpenID Connect that this project did not write: oidc-provider-mock (Flask and Authlib, RS256), and a browser
//! that goes there and comes back.

use crate::{Gateway, GatewayOptions, http, place, process::Process, wait::eventually};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running issuer.
pub struct Issuer {
    process: Option<Process>,
    port: u16,
    token_life_s: i64,
}

impl Issuer {
    /// Starts one whose ID tokens live for so many seconds; below zero they have expired when they are given out.
    pub async fn start(token_life_s: i64) -> Self {
        let mut issuer = Self { process: None, port: place::free_port(), token_life_s };
        issuer.comes_back().await;
        issuer
    }

    /// Its address, which is its name.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it again at the same address: with another key, and without anybody it knew.
    pub async fn comes_back(&mut self) {
        let mut command = tokio::process::Command::new(place::python());
        command
            .args(["-W", "ignore", "-m", "oidc_provider_mock", "--port", &self.port.to_string()])
            .args(["--token-max-age", &self.token_life_s.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let process = self.process.insert(Process::start("oidc-provider-mock", &mut command));
        eventually("the issuer is ready", PATIENCE, async || {
            assert!(process.ended().is_none(), "the issuer ended at once:\n{}", process.output());
            process.output().contains("Uvicorn running").then_some(())
        })
        .await;
    }

    /// Stops it.
    pub async fn goes_away(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop().await;
        }
    }

    /// Lets people log in to a gateway by it.
    #[must_use]
    pub fn for_gateway(&self, options: GatewayOptions) -> GatewayOptions {
        let issuer = json!([{
            "id": "main", "name": "The Issuer", "issuer": self.url(), "client_id": "gateway", "allow_private": true,
        }]);
        options
            .environment("NEXUSROUTE_OIDC_ISSUERS", &issuer.to_string())
            .environment("NEXUSROUTE_OIDC_SECRETS", "main=a client secret")
    }

    /// Says what is known of a person there.
    pub async fn knows(&self, subject: &str, claims: &Value) {
        let request = http::client().put(format!("{}/users/{subject}", self.url()));
        let request = request.header("content-type", "application/json").body(claims.to_string());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

/// A browser: it keeps cookies, and goes where it is told one step at a time.
pub struct Browser {
    http: reqwest::Client,
    base: String,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// A new one, at a gateway.
    pub fn new(gateway: &Gateway) -> Self {
        Self { http: http::client(), base: gateway.url().to_owned(), cookies: BTreeMap::new() }
    }

    /// The same browser at another address of the same site.
    pub fn moves_to(&mut self, gateway: &Gateway) {
        self.base = gateway.url().to_owned();
    }

    /// Sends a request to the gateway; answers status, where it sends the browser, and the body.
    pub async fn send(
        &mut self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, String, Value) {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.header("cookie", cookies.join("; "));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = answer.headers().get("location").map(|it| it.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, location.unwrap_or_default(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Opens a page of the gateway; answers where it sends the browser.
    pub async fn goes(&mut self, path: &str) -> String {
        let (status, location, body) = self.send(reqwest::Method::GET, path, None).await;
        assert_eq!(status, 303, "{path}: {body}");
        location
    }

    /// Clicks on the button; answers the issuer's page.
    pub async fn starts(&mut self, query: &str) -> String {
        self.goes(&format!("/api/user/oidc/main/start{query}")).await
    }

    /// Says yes on the issuer's page as somebody; answers the gateway's path that the issuer sends the browser to.
    pub async fn agrees(&self, page: &str, subject: &str) -> String {
        let request = self.http.post(page).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(format!("sub={subject}")).send().await.unwrap();
        let location = answer.headers().get("location").map(|it| it.to_str().unwrap().to_owned());
        let location = location.unwrap_or_else(|| panic!("the issuer sends the browser nowhere: {answer:?}"));
        let path = location.find("/api/").unwrap_or_else(|| panic!("{location} is no page of the gateway"));
        location[path..].to_owned()
    }

    /// From the button to where the browser lands in the end.
    pub async fn logs_in(&mut self, subject: &str, query: &str) -> String {
        let page = self.starts(query).await;
        let back = self.agrees(&page, subject).await;
        self.goes(&back).await
    }

    /// Logs in with a password.
    pub async fn logs_in_with(&mut self, login: &str, password: &str) {
        let body = json!({"login": login, "password": password});
        let (status, _, body) = self.send(reqwest::Method::POST, "/api/user/login", Some(&body)).await;
        assert_eq!(status, 200, "{body}");
    }

    /// Who is logged in; null: nobody.
    pub async fn me(&mut self) -> Value {
        let (status, _, body) = self.send(reqwest::Method::GET, "/api/user/self", None).await;
        if status == 200 { body } else { Value::Null }
    }
}
