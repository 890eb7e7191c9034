//! The four payment channels in a process of their own, for tests that are not written in Rust: the console's, in a browser.
//!
//! For: `web/e2e`, which starts `simulators`, reads one line of JSON from it (where it is told what to do, and what a gateway
//! must be configured with to take payments there), and closes its input when it is done.
//! Claims: it ends with whoever started it, however that ends.

use crate::{
    GatewayOptions,
    channels::{
        Heard,
        alipay::{AlipayGateway, SELLER_ID},
        bills,
        epay::EpaySite,
        stripe::StripeApi,
        wechat::{MCHID, WechatApi},
    },
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{io::Read, sync::Arc};

struct Channels {
    epay: EpaySite,
    alipay: AlipayGateway,
    wechat: WechatApi,
    stripe: StripeApi,
}

/// Starts them, says where, and ends when its input does.
pub async fn main() {
    let (epay, alipay, wechat, stripe) = tokio::join!(
        EpaySite::start(1),
        AlipayGateway::start(false),
        WechatApi::start(false),
        StripeApi::start()
    );
    let options = alipay.for_gateway(wechat.for_gateway(stripe.for_gateway(GatewayOptions::default())));
    let options = epay.for_gateway(options, "epay", "form");
    let configured: serde_json::Map<String, Value> =
        options.variables().iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let router = Router::new()
        .route("/paid", post(paid))
        .route("/refunds/{channel}", get(refunds))
        .route("/bills/{channel}/{day}", get(bill))
        .with_state(Arc::new(Channels { epay, alipay, wechat, stripe }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    println!("{}", json!({"url": format!("http://{}", listener.local_addr().unwrap()), "env": configured}));
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    // A thread of its own: a read that blocks would keep the runtime from ending.
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        ended.send(()).ok();
    });
    end.await.ok();
    server.abort();
}

/// `{channel, number, door, tells}`: the payer pays an order that they were led to, and unless `tells` is false the gateway is
/// told. A code of Alipay's is scanned first.
async fn paid(State(channels): State<Arc<Channels>>, Json(it): Json<Value>) -> Json<Value> {
    let text = |name: &str| it[name].as_str().unwrap_or_else(|| panic!("no {name}: {it}"));
    let (number, door) = (text("number"), text("door"));
    let tells = it["tells"] != json!(false);
    let Channels { epay, alipay, wechat, stripe } = &*channels;
    let heard: Option<Heard> = match text("channel") {
        "epay" => {
            epay.is_paid(number);
            if tells { Some(epay.notifies(door, number).await) } else { None }
        }
        "alipay" => {
            alipay.opens(&json!({"kind": "qr", "content": format!("https://qr.alipay.com/{number}")})).await;
            alipay.is_paid(number);
            if tells { Some(alipay.notifies(door, number).await) } else { None }
        }
        "wechat" => {
            wechat.is_paid(number);
            if tells { Some(wechat.notifies(door, number).await) } else { None }
        }
        "stripe" => {
            stripe.is_paid(number);
            if tells { Some(stripe.notifies(door, number).await) } else { None }
        }
        other => panic!("{other} is no channel of these"),
    };
    Json(heard.map_or(Value::Null, |it| json!({"status": it.status, "body": it.body})))
}

/// How often a channel was asked to give money back, and gave it.
async fn refunds(State(channels): State<Arc<Channels>>, Path(channel): Path<String>) -> Json<Value> {
    let Channels { epay, alipay, wechat, stripe } = &*channels;
    Json(json!(match channel.as_str() {
        "epay" => epay.refunds.calls(),
        "alipay" => alipay.refunds.calls(),
        "wechat" => wechat.refunds.calls(),
        "stripe" => stripe.refunds.calls(),
        other => panic!("{other} is no channel of these"),
    }))
}

/// The bill of the payments so far, as somebody would download it from the channel.
async fn bill(
    State(channels): State<Arc<Channels>>,
    Path((channel, day)): Path<(String, String)>,
) -> Result<Vec<u8>, StatusCode> {
    let day = day.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    match channel.as_str() {
        "alipay" => Ok(bills::alipay(SELLER_ID, day, &channels.alipay.lines())),
        "wechat" => Ok(bills::wechat(MCHID, &channels.wechat.lines())),
        "stripe" => Ok(bills::stripe(&channels.stripe.lines())),
        _ => Err(StatusCode::NOT_FOUND),
    }
}
