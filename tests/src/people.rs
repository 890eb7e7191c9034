//! What people do with a gateway: an operator sets it up, a user pays and makes a key.

use crate::{
    gateway::{ADMIN_PASSWORD, Gateway},
    http::{Answer, Api, credits},
    wait::eventually,
};
use domain::Credits;
use futures_util::future::join_all;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How long projections may trail in a test.
const TRAILING: Duration = Duration::from_secs(20);

/// Every user's password.
pub const PASSWORD: &str = "a user's long password";

/// Logs in; the caller carries the session's cookie, as a browser would.
pub async fn log_in(gateway: &Gateway, login: &str, password: &str) -> Api {
    let answer = try_log_in(gateway, login, password).await;
    answer.ok();
    let cookie = answer.header("set-cookie").expect("a login sets a cookie");
    let pair = cookie.split(';').next().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    gateway.nobody().with("cookie", pair)
}

/// Tries to log in.
pub async fn try_log_in(gateway: &Gateway, login: &str, password: &str) -> Answer {
    gateway.nobody().post("/api/user/login", &json!({"login": login, "password": password})).await
}

/// The operator.
pub struct Operator {
    /// Calls as an admin.
    pub api: Api,
}

impl Operator {
    /// Logs in with the password that tests start the gateway with.
    pub async fn of(gateway: &Gateway) -> Self {
        Self { api: log_in(gateway, "admin", ADMIN_PASSWORD).await }
    }

    /// Makes a provider that serves one model, and prices it per million tokens.
    pub async fn offers(&self, model: &str, url: &str, input: &str, output: &str) {
        self.offers_as(model, json!({"base_url": url, "api_format": "openai"}), input, output).await;
    }

    /// The same with a provider of any kind: its `base_url`, its `api_format` and what else is to be said of it. Answers the
    /// provider.
    pub async fn offers_as(&self, model: &str, mut provider: Value, input: &str, output: &str) -> Value {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        provider["name"] = json!(format!("provider {}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        provider["api_key"] = json!("sk-of-the-provider");
        let provider = self.api.post("/api/admin/providers", &provider).await.ok();
        self.offers_more(&provider, &[model], input, output).await;
        provider
    }

    /// Lets a provider serve more models, and prices them.
    pub async fn offers_more(&self, provider: &Value, models: &[&str], input: &str, output: &str) {
        let path = format!("/api/admin/providers/{}/models", text(&provider["id"]));
        join_all(models.iter().map(async |model| {
            self.api
                .post(&path, &json!({"model_name": model, "upstream_name": upstream_name(model)}))
                .await
                .ok();
            self.prices(model, input, output).await;
        }))
        .await;
    }

    /// Publishes a price per million tokens.
    pub async fn prices(&self, model: &str, input: &str, output: &str) {
        let price = json!({"model": model, "prices": {"input": input, "output": output}});
        self.api.post("/api/admin/prices", &price).await.ok();
    }

    /// Corrects an account by a difference.
    pub async fn adjusts(&self, user: &User, credits: &str) -> Answer {
        let body = json!({"credits": credits, "reason": "a test needs it"});
        self.api.post(&format!("/api/admin/users/{}/adjustments", user.id), &body).await
    }
}

/// What a model is called at its provider, in these tests: never as callers call it.
pub fn upstream_name(model: &str) -> String {
    format!("upstream-{model}")
}

/// A user.
pub struct User {
    /// Their id, which is their account's.
    pub id: String,
    /// Calls as this user.
    pub api: Api,
}

impl User {
    /// Registers somebody new and logs in.
    pub async fn new(gateway: &Gateway) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("user{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let body = json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        gateway.nobody().post("/api/user/register", &body).await.ok();
        let api = log_in(gateway, &name, PASSWORD).await;
        let id = text(&api.get("/api/user/self").await.ok()["id"]);
        Self { id, api }
    }

    /// Is given a role by an operator.
    pub async fn becomes(&self, operator: &Operator, role: &str) {
        let body = json!({"role": role}).to_string().into_bytes();
        let path = format!("/api/admin/users/{}", self.id);
        operator.api.send(reqwest::Method::PATCH, &path, Some(("application/json", body))).await.ok();
    }

    /// Registers somebody with credits: an operator's adjustment.
    pub async fn with_credits(gateway: &Gateway, operator: &Operator, credits: &str) -> Self {
        let user = Self::new(gateway).await;
        operator.adjusts(&user, credits).await.ok();
        user
    }

    /// Orders a top-up in CNY at the sandbox and presses a button of its page: `pay`, `fail` or `cancel`.
    pub async fn tops_up(&self, amount: &str, button: &str) -> Value {
        let body = json!({"amount": amount, "currency": "CNY", "channel": "sandbox"});
        let order = self.api.post("/api/user/topup", &body).await.ok();
        assert_eq!(order["status"], "pending", "{order}");
        presses(&self.api, &order, button).await;
        order
    }

    /// Makes an API key; answers its secret.
    pub async fn makes_key(&self) -> String {
        text(&self.makes_key_with(json!({"name": "test"})).await["secret"])
    }

    /// Makes an API key with these options; answers all that is told about it.
    pub async fn makes_key_with(&self, options: Value) -> Value {
        self.api.post("/api/user/keys", &options).await.ok()
    }

    /// The balance now.
    pub async fn balance(&self) -> Balance {
        let body = self.api.get("/api/user/balance").await.ok();
        Balance {
            available: credits(&body["available"]),
            reserved: credits(&body["reserved"]),
            total: credits(&body["total"]),
        }
    }

    /// Waits until the balance's total is this, and answers the balance.
    pub async fn until_total(&self, total: Credits) -> Balance {
        let what = format!("the total of {} is {total}", self.id);
        eventually(&what, TRAILING, async || {
            let balance = self.balance().await;
            (balance.total == total).then_some(balance)
        })
        .await
    }

    /// Waits until nothing is reserved: the leases are closed.
    pub async fn until_nothing_is_reserved(&self) -> Balance {
        eventually("nothing is reserved", Duration::from_secs(60), async || {
            let balance = self.balance().await;
            (balance.reserved == Credits::ZERO).then_some(balance)
        })
        .await
    }

    /// Waits until the usage record of a call is there, and answers it.
    pub async fn usage(&self, request: &str) -> Value {
        let path = format!("/api/user/usage/{request}");
        eventually(&format!("usage record {request}"), TRAILING, async || {
            let answer = self.api.get(&path).await;
            if answer.status == 404 { None } else { Some(answer.ok()) }
        })
        .await
    }

    /// Every item of a list, page by page.
    pub async fn every(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.api.get(&format!("{path}{join}limit=100{cursor}")).await.ok();
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

/// Opens an order's payment page and presses one of its buttons, as a browser does that knows nothing but the page.
pub async fn presses(api: &Api, order: &Value, button: &str) {
    assert_eq!(order["action"]["kind"], "redirect", "{order}");
    let url = text(&order["action"]["url"]);
    let path = url.strip_prefix(api.base()).unwrap_or_else(|| panic!("{url} is not on {}", api.base()));
    let page = api.get(path).await;
    page.assert_success();
    let action = page.text.split("action=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let action = action.into_iter().find(|action| action.ends_with(&format!("/{button}")));
    let action = action.unwrap_or_else(|| panic!("no button {button}: {}", page.text));
    let form = Some(("application/x-www-form-urlencoded", Vec::new()));
    api.send(reqwest::Method::POST, action, form).await.assert_success();
}

/// What an amount must buy at the rate that the gateway states, rounded half to even at the ninth decimal.
pub fn bought(amount: &str, options: &Value) -> Credits {
    let rate: Decimal = text(&options["rates"]["CNY"]).parse().unwrap();
    let amount: Decimal = amount.parse().unwrap();
    let exact = (amount / rate).round_dp_with_strategy(9, RoundingStrategy::MidpointNearestEven);
    credits(&json!(exact.normalize().to_string()))
}

/// A balance as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What can be spent or leased.
    pub available: Credits,
    /// What open leases still hold.
    pub reserved: Credits,
    /// All credits in, less all out and all usage.
    pub total: Credits,
}

/// A caller of models: an API key.
pub struct Caller {
    /// Calls with the key.
    pub api: Api,
}

impl Caller {
    /// With this secret.
    pub fn new(gateway: &Gateway, secret: &str) -> Self {
        Self { api: gateway.nobody().bearer(secret) }
    }

    /// One short chat call; `max_tokens` bounds its price.
    pub async fn chat(&self, model: &str, max_tokens: u64) -> Answer {
        self.api.post("/v1/chat/completions", &chat(model, max_tokens)).await
    }
}

/// The body of a short chat call.
pub fn chat(model: &str, max_tokens: u64) -> Value {
    json!({"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": "Count the credits."}]})
}

/// A string in JSON, as a string.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).to_owned()
}
