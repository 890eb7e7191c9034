//! A gateway for tests within this crate: it keeps what it was asked and answers what the test says.

use super::channel::{BillKind, BillWish, RefundWish};
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use chrono::NaiveDate;
use domain::{Currency, Label, Money, OrderId};
use std::sync::{Arc, Mutex};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Path and query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// An answer to be.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn of(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }
}

/// A running gateway.
pub(super) struct Stub {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    /// Starts one that answers so; `answer` gets its own address and the request.
    pub(super) async fn start(
        answer: impl Fn(&str, &Asked) -> Reply + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (own, kept) = (url.clone(), Arc::clone(&asked));
        let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let it = Asked {
                path: uri.path_and_query().unwrap().to_string(),
                headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            };
            let reply = answer(&own, &it);
            kept.lock().unwrap().push(it);
            let mut answer = (StatusCode::from_u16(reply.status).unwrap(), reply.body).into_response();
            for (name, value) in reply.headers {
                answer.headers_mut().insert(name, value.parse().unwrap());
            }
            async { answer }
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
        Self { url, asked }
    }

    /// Every request so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// A refund of 12.34 of 50.00.
pub(super) fn refund_wish(code: &str) -> RefundWish {
    let money = |text: &str| Money::parse(text, Currency::try_new(code).unwrap()).unwrap();
    RefundWish {
        order: OrderId::from_uuid(uuid::Uuid::from_u128(7)),
        paid: money("50.00"),
        provider_txn: Label::try_new("txn-1").unwrap(),
        reference: None,
        refund: Label::try_new("refund1").unwrap(),
        amount: money("12.34"),
        reason: "asked for".into(),
    }
}

/// The bill of a day in November.
pub(super) fn bill_wish(kind: BillKind) -> BillWish {
    BillWish { day: NaiveDate::from_ymd_opt(2026, 11, 21).unwrap(), kind }
}
