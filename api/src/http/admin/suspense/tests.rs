use crate::directory::user::Role;
use crate::http::tests::{Answer, Gateway, gateway};
use crate::payments::sandbox::{Press, SIGNATURE_HEADER};
use crate::payments::{RefundNotice, RefundState, refunds, suspense};
use axum::body::Body;
use axum::http::Request;
use domain::{Currency, Label, Money, OrderId};
use serde_json::{Value, json};
use uuid::Uuid;

struct Desk {
    it: Gateway,
    finance: String,
    other: String,
    user: String,
}

async fn desk() -> Desk {
    let it = gateway().await;
    let (finance, other) = (it.token("fin", Role::Finance).await, it.token("fio", Role::Finance).await);
    let user = it.token("ann", Role::User).await;
    Desk { it, finance, other, user }
}

impl Desk {
    /// The sandbox tells of a payment; answers HTTP's status.
    async fn told(&self, order: OrderId, pay: &str) -> u16 {
        let pay = Money::parse(pay, Currency::try_new("CNY").unwrap()).unwrap();
        let signed = self.it.app.channels.sandbox().unwrap().callback(order, pay, Press::Pay).unwrap();
        let request =
            Request::post("/api/payments/sandbox/callback").header(SIGNATURE_HEADER, signed.signature);
        self.it.send(request.body(Body::from(signed.body)).unwrap()).await.status.as_u16()
    }

    async fn asks(&self, who: &str, payment: &Value, act: &str, body: Value) -> Answer {
        let path = format!("/api/admin/payments/suspense/{payment}/{act}");
        self.it.call("POST", &path, Some(who), Some(body)).await
    }

    async fn claims(&self, who: &str, payment: &Value) -> Answer {
        let user = self.it.account_of(&self.user).await;
        self.asks(who, payment, "claim", json!({"user_id": user, "reason": "the bank's receipt"})).await
    }

    async fn approves(&self, who: &str, request: &Answer) -> Answer {
        let id = request.body["id"].as_str().unwrap();
        self.it.call("POST", &format!("/api/admin/approvals/{id}/approve"), Some(who), None).await
    }

    async fn sees(&self, path: &str) -> Value {
        let answer = self.it.call("GET", path, Some(&self.finance), None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    async fn end(&self) -> u64 {
        self.it.app.ledger.log().identity().await.unwrap().last_sequence
    }

    async fn total(&self) -> String {
        let path = format!("/api/user/balance?after={}", self.end().await);
        self.it.call("GET", &path, Some(&self.user), None).await.body["total"].as_str().unwrap().to_owned()
    }

    /// The sum of what the books hold in suspense, in minor units.
    async fn in_the_books(&self) -> i64 {
        let end = self.end().await;
        self.it.call("GET", &format!("/api/user/balance?after={end}"), Some(&self.user), None).await;
        let sql = "SELECT CAST(COALESCE(SUM(amount), 0) AS INTEGER) AS total FROM journal_entries WHERE book = 'suspense:sandbox'";
        self.it.app.db.fetch_one(sql, &[]).await.unwrap().int("total").unwrap()
    }
}

/// A payment of 50.00 CNY that fits no order: its number and its place.
async fn suspended(desk: &Desk) -> (OrderId, Value) {
    let order = OrderId::from_uuid(Uuid::new_v4());
    assert_eq!(desk.told(order, "50.00").await, 404);
    let list = desk.sees("/api/admin/payments/suspense?status=open&limit=1").await;
    let item = &list["items"][0];
    assert_eq!(
        (&item["order_number"], &item["paid"]["amount"]),
        (&json!(order.merchant_number()), &json!("50.00"))
    );
    (order, item["payment"].clone())
}

#[tokio::test]
async fn a_payment_in_suspense_is_credited_once_on_a_second_persons_word() {
    let desk = desk().await;
    let (order, payment) = suspended(&desk).await;
    let summary = desk.sees("/api/admin/payments/suspense/summary").await;
    assert_eq!((&summary["open"], &summary["by_channel"][0]["under_1d"]), (&json!(1), &json!(1)));
    assert_eq!(desk.in_the_books().await, -5000);

    let asked = desk.claims(&desk.finance, &payment).await;
    assert_eq!((asked.status.as_u16(), &asked.body["state"]), (202, &json!("pending")), "{}", asked.body);
    assert_eq!((&asked.body["needed"], &asked.body["credits"]), (&json!("always"), &json!("6.944444444")));
    let second = desk.asks(&desk.other, &payment, "dismiss", json!({"reason": "no"})).await;
    assert_eq!((second.status.as_u16(), &second.body["code"]), (409, &json!("request_open")));
    let own = desk.approves(&desk.finance, &asked).await;
    assert_eq!((own.status.as_u16(), &own.body["code"]), (403, &json!("second_person_needed")));
    assert_eq!(desk.total().await, "0");

    let boss = desk.it.token("boss", Role::Owner).await;
    let (one, two) = tokio::join!(desk.approves(&desk.other, &asked), desk.approves(&boss, &asked));
    let mut codes = [one.status.as_u16(), two.status.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409], "{} {}", one.body, two.body);
    let done = if one.status == 200 { one } else { two };
    assert_eq!(done.body["state"], "done", "{}", done.body);
    assert_eq!(desk.total().await, "6.944444444");
    assert_eq!(desk.in_the_books().await, 0, "what is claimed has left suspense");

    // Who tells of it again, or judges it again, changes nothing any more.
    let end = desk.end().await;
    assert_eq!(end, 4, "suspended, resolved, ordered, paid");
    assert_eq!(desk.told(order, "50.00").await, 200, "the gateway may stop telling");
    let detail = desk.sees(&format!("/api/admin/payments/suspense/{payment}")).await;
    assert_eq!((&detail["status"], &detail["resolution"]["event_seq"]), (&json!("claimed"), &json!(2)));
    assert_eq!(detail["requests"].as_array().map(Vec::len), Some(1));
    let inbox = &detail["evidence"]["inbox"];
    let text = detail.to_string();
    assert!(text.contains("x-sandbox-signature") && text.contains("•••"), "{text}");
    let path = format!("/api/admin/payments/inbox/{inbox}/replay");
    let replay = desk.it.call("POST", &path, Some(&desk.finance), None).await;
    assert_eq!((replay.status.as_u16(), &replay.body["verdict"]), (200, &json!("noted")), "{}", replay.body);
    let late = desk.claims(&desk.other, &payment).await;
    assert_eq!((late.status.as_u16(), &late.body["code"]), (409, &json!("suspense_resolved")));
    assert_eq!(desk.end().await, end);
    let acts = desk.it.app.db.fetch_all("SELECT act FROM audit_outbox", &[]).await.unwrap();
    let acts: Vec<String> = acts.iter().map(|row| row.text("act").unwrap()).collect();
    for verb in ["approval.ask", "approval.approve", "suspense.claim", "callback.replay"] {
        assert_eq!(
            acts.iter().filter(|act| act.contains(&format!("\"{verb}\""))).count(),
            1,
            "{verb}: {acts:?}"
        );
    }
}

#[tokio::test]
async fn what_was_approved_is_done_once_wherever_a_process_died() {
    let desk = desk().await;
    let (_, payment) = suspended(&desk).await;
    let asked = desk.claims(&desk.finance, &payment).await;
    let id: Uuid = asked.body["id"].as_str().unwrap().parse().unwrap();
    // Approved in the directory, and dead before anything was done; then dead after each step in turn.
    let sql = "UPDATE approvals SET state = 'approved', decided_at = 1 WHERE id = ?";
    let revive = async || desk.it.app.db.execute(sql, &[id.to_string().into()]).await.unwrap();
    revive().await;
    for _ in 0..2 {
        suspense::do_old(&desk.it.app, 0).await.unwrap();
        assert_eq!(desk.total().await, "6.944444444");
        assert_eq!(desk.end().await, 4);
        // As if nobody had noted that it was done.
        assert_eq!(desk.it.app.directory.approval(id).await.unwrap().state.as_str(), "done");
        revive().await;
    }
    let (one, two) = tokio::join!(suspense::do_old(&desk.it.app, 0), suspense::do_old(&desk.it.app, 0));
    one.and(two).unwrap();
    assert_eq!((desk.total().await.as_str(), desk.end().await), ("6.944444444", 4));
}

#[tokio::test]
async fn a_payment_goes_back_by_its_channel_or_by_hand_or_is_dismissed() {
    let desk = desk().await;
    let (_, returned) = suspended(&desk).await;
    let asked =
        desk.asks(&desk.finance, &returned, "return", json!({"by": "channel", "reason": "theirs"})).await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    let done = desk.approves(&desk.other, &asked).await;
    assert_eq!(done.body["state"], "done", "{}", done.body);
    let detail = desk.sees(&format!("/api/admin/payments/suspense/{returned}")).await;
    assert!(detail["resolution"]["reference"].as_str().unwrap().starts_with("sbx_re_"), "{detail}");
    // The gateway tells of it under the number that it was asked with: nothing that nobody asked for, unless it is another sum.
    let number = asked.body["id"].as_str().unwrap().replace('-', "");
    let tell = async |amount: &str| {
        let notice = RefundNotice {
            order: None,
            refund: Some(Label::try_new(number.as_str()).unwrap()),
            provider_refund: None,
            provider_txn: None,
            amount: Money::parse(amount, Currency::try_new("CNY").unwrap()).unwrap(),
            is_total: false,
            state: RefundState::Done,
        };
        let told = refunds::told(&desk.it.app, &"sandbox".parse().unwrap(), notice, 7).await.unwrap();
        told.verdict().to_owned()
    };
    let differences =
        async || desk.sees("/api/admin/outside-refunds").await["items"].as_array().map_or(0, Vec::len);
    assert_eq!((tell("50.00").await.as_str(), differences().await), ("returned", 0));
    assert_eq!((tell("49.00").await.as_str(), differences().await), ("refund_differs", 1));

    let (order, first) = suspended(&desk).await;
    let by_hand = json!({"by": "hand", "reference": "transfer 7", "reason": "theirs"});
    let asked = desk.asks(&desk.finance, &first, "return", by_hand).await;
    assert_eq!((asked.status.as_u16(), &asked.body["user_id"]), (202, &Value::Null), "{}", asked.body);
    assert_eq!(desk.approves(&desk.other, &asked).await.body["state"], "done");
    let detail = desk.sees(&format!("/api/admin/payments/suspense/{first}")).await;
    assert_eq!(detail["resolution"]["reference"], "transfer 7");
    assert_eq!((&detail["status"], desk.told(order, "50.00").await), (&json!("returned"), 200));

    let (_, second) = suspended(&desk).await;
    let asked = desk.asks(&desk.finance, &second, "dismiss", json!({"reason": "a test"})).await;
    let id = asked.body["id"].as_str().unwrap().to_owned();
    let path = format!("/api/admin/approvals/{id}/reject");
    let rejected = desk.it.call("POST", &path, Some(&desk.other), None).await;
    assert_eq!(rejected.body["state"], "rejected");
    let asked = desk.asks(&desk.other, &second, "dismiss", json!({"reason": "a test"})).await;
    assert_eq!(
        desk.approves(&desk.finance, &asked).await.body["state"],
        "done",
        "what was rejected makes room"
    );
    assert_eq!(desk.in_the_books().await, 0);
    assert_eq!(desk.total().await, "0");
    let nobody = json!({"user_id": Uuid::from_u128(7), "reason": "x"});
    assert_eq!(desk.asks(&desk.finance, &first, "claim", nobody).await.status, 404);
    assert_eq!(desk.claims(&desk.finance, &json!(99)).await.status, 404);
    let open = desk.sees("/api/admin/payments/suspense?status=open").await;
    assert_eq!(open["items"], json!([]));
}

#[tokio::test]
async fn what_is_not_believed_is_counted_and_what_is_replayed_is_judged_by_its_own_time() {
    let desk = desk().await;
    for _ in 0..3 {
        let forged = Request::post("/api/payments/sandbox/callback").header(SIGNATURE_HEADER, "ab");
        assert_eq!(desk.it.send(forged.body(Body::from("{}")).unwrap()).await.status, 403);
    }
    let (order, _) = suspended(&desk).await;
    let quarantine = desk.sees("/api/admin/payments/quarantine").await;
    assert_eq!((&quarantine["total"], &quarantine["by"][0]["verdict"]), (&json!(3), &json!("bad_signature")));
    let count = async |query: &str| {
        let path = format!("/api/admin/payments/inbox?{query}");
        desk.sees(&path).await["items"].as_array().unwrap().len()
    };
    assert_eq!((count("quarantined=true").await, count("quarantined=false").await), (3, 1));
    assert_eq!((count(&format!("order={order}")).await, count("order=nobody's").await), (1, 0));
    let last = desk.sees("/api/admin/payments/inbox?quarantined=true&limit=1").await["items"][0].clone();
    let path = format!("/api/admin/payments/inbox/{}", last["inbox"]);
    let replay = desk.it.call("POST", &format!("{path}/replay"), Some(&desk.finance), None).await;
    assert_eq!((&replay.body["verdict"], &replay.body["status"]), (&json!("bad_signature"), &json!(403)));
    let detail = desk.sees(&path).await;
    assert_eq!(detail["judgements"].as_array().map(Vec::len), Some(2), "{detail}");
    assert_eq!(detail["bytes"], 2);
    for seq in [0, 999] {
        let path = format!("/api/admin/payments/inbox/{seq}");
        let (finance, replay) = (Some(&*desk.finance), format!("{path}/replay"));
        assert_eq!(desk.it.call("POST", &replay, finance, None).await.status, 404);
        assert_eq!(desk.it.call("GET", &path, finance, None).await.status, 404);
    }
}
