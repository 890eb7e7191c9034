use crate::directory::user::Role;
use crate::http::tests::{Answer, Gateway, Node, gateway, lease};
use crate::payments::channel::{DisputeNotice, DisputeStage, RefundNotice, RefundState};
use crate::payments::refunds::desk;
use crate::payments::{disputes, refunds as road};
use axum::body::Body;
use axum::http::Request;
use domain::{ChannelName, Command, Label, LeaseId, Money, OrderId};
use serde_json::{Value, json};
use uuid::Uuid;

struct Payer {
    it: Gateway,
    user: String,
    finance: String,
    other: String,
}

async fn payer() -> Payer {
    let it = gateway().await;
    let user = it.token("ann", Role::User).await;
    let (finance, other) = (it.token("fin", Role::Finance).await, it.token("fio", Role::Finance).await);
    Payer { it, user, finance, other }
}

fn money(amount: &str) -> Money {
    Money::parse(amount, "CNY".parse().unwrap()).unwrap()
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn sandbox() -> ChannelName {
    "sandbox".parse().unwrap()
}

impl Payer {
    /// An order of the sandbox that was paid.
    async fn paid(&self, amount: &str, credits: &str) -> OrderId {
        self.paid_by(&self.user, amount, credits).await
    }

    async fn paid_by(&self, token: &str, amount: &str, credits: &str) -> OrderId {
        let account = self.it.account_of(token).await;
        let order = OrderId::from_uuid(Uuid::new_v4());
        let expires_at = crate::directory::now().plus_ms(60_000);
        let (pay, credits) = (money(amount), credits.parse().unwrap());
        self.it
            .decides(account, Command::InitiateTopUp { order, channel: sandbox(), pay, credits, expires_at })
            .await;
        let provider_txn = label(&format!("txn-{order}"));
        self.it
            .decides(account, Command::CompleteTopUp { order, channel: sandbox(), provider_txn, paid: pay })
            .await;
        self.settled().await;
        order
    }

    /// Waits until the tables hold all that is on the log.
    async fn settled(&self) {
        let end = self.it.app.ledger.log().identity().await.unwrap().last_sequence;
        assert!(self.it.app.follower.wait_for(end, std::time::Duration::from_secs(20)).await);
    }

    async fn asks(&self, body: Value, key: Option<&str>) -> Answer {
        let mut request = Request::builder().method("POST").uri("/api/user/refunds");
        request = request.header("authorization", format!("Bearer {}", self.user));
        request = request.header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = self.it.send(request.body(Body::from(body.to_string())).unwrap()).await;
        self.settled().await;
        answer
    }

    async fn says(&self, who: &str, id: &str, what: &str, body: Option<Value>) -> Answer {
        let answer = self.it.call("POST", &format!("/api/admin/refunds/{id}/{what}"), Some(who), body).await;
        self.settled().await;
        answer
    }

    async fn available(&self) -> String {
        let body = self.it.call("GET", "/api/user/balance", Some(&self.user), None).await.body;
        body["available"].as_str().unwrap().to_owned()
    }

    async fn refund(&self, id: &str) -> Value {
        self.it.call("GET", &format!("/api/admin/refunds/{id}"), Some(&self.finance), None).await.body
    }
}

fn id(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

fn outcome(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_part_of_an_order_goes_back_once_an_operator_agrees() {
    let it = payer().await;
    let order = it.paid("50.00", "7").await;
    let wish = json!({"order": order, "amount": "20.00", "reason": "not wanted"});
    let asked = it.asks(wish.clone(), Some("k")).await;
    assert_eq!((outcome(&asked), &asked.body["status"]), ((201, ""), &json!("requested")));
    assert_eq!((&asked.body["credits"], it.available().await.as_str()), (&json!("2.8"), "4.2"));
    let refund = id(&asked);
    assert_eq!(id(&it.asks(wish, Some("k")).await), refund, "the same key is the same refund");
    let above = json!({"order": order, "amount": "30.01", "reason": "all of it"});
    assert_eq!(outcome(&it.asks(above, None).await), (409, "refund_above_order"));
    for (body, code) in [
        (json!({"order": order, "amount": "0", "reason": "r"}), "not_positive"),
        (json!({"order": order, "amount": "1e1", "reason": "r"}), "invalid_value"),
        (json!({"order": order, "reason": ""}), "invalid_value"),
    ] {
        assert_eq!(outcome(&it.asks(body, None).await), (422, code));
    }
    // Nothing is asked of the gateway before.
    desk::round(&it.it.app).await;
    assert_eq!(it.refund(&refund).await["call"], Value::Null);
    assert_eq!(outcome(&it.says(&it.user, &refund, "approve", None).await).0, 403);

    let approved = it.says(&it.finance, &refund, "approve", None).await;
    assert_eq!((outcome(&approved), &approved.body["status"]), ((200, ""), &json!("approved")));
    let late = it.says(&it.finance, &refund, "reject", Some(json!({"reason": "no"}))).await;
    assert_eq!(outcome(&late), (409, "refund_under_way"));
    tokio::join!(desk::round(&it.it.app), desk::round(&it.it.app));
    it.settled().await;
    let done = it.refund(&refund).await;
    assert_eq!((&done["status"], &done["call"]["state"]), (&json!("completed"), &json!("done")));
    assert_eq!(done["provider_refund"], json!(format!("sbx_re_{}", done["number"].as_str().unwrap())));
    assert_eq!(outcome(&it.says(&it.finance, &refund, "retry", None).await), (409, "refund_not_waiting"));
    let settle = json!({"outcome": "failed", "reason": "r"});
    assert_eq!(
        outcome(&it.says(&it.finance, &refund, "settle", Some(settle)).await),
        (409, "refund_not_waiting")
    );

    // The rest, by its key and without an amount: also when there is nothing left any more.
    let rest = json!({"order": order, "reason": "the rest"});
    let first = it.asks(rest.clone(), Some("rest")).await;
    assert_eq!((&first.body["pay"]["amount"], it.available().await.as_str()), (&json!("30.00"), "0"));
    assert_eq!(id(&it.asks(rest.clone(), Some("rest")).await), id(&first));
    assert_eq!(outcome(&it.asks(rest, None).await), (409, "refund_above_order"));
    let rejected = it.says(&it.finance, &id(&first), "reject", Some(json!({"reason": "too late"}))).await;
    assert_eq!((&rejected.body["status"], &rejected.body["failure"]), (&json!("failed"), &json!("too late")));
    assert_eq!(it.available().await, "4.2");
    assert_eq!(outcome(&it.says(&it.finance, &id(&first), "approve", None).await), (409, "refund_over"));

    let lines = it.it.call("GET", "/api/user/billing?type=refund", Some(&it.user), None).await.body;
    let states: Vec<_> = lines["items"].as_array().unwrap().iter().map(|line| &line["status"]).collect();
    assert_eq!(states, [&json!("failed"), &json!("completed")]);
    let mine = it.it.call("GET", "/api/user/refunds?status=completed", Some(&it.user), None).await.body;
    assert_eq!(mine["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_large_refund_waits_for_a_second_person_who_did_not_ask() {
    let it = payer().await;
    // Finance may move 100 credits alone.
    let order = it.paid("5000.00", "700").await;
    let body = json!({"order": order, "reason": "the whole of it"});
    let asked = it.it.call("POST", "/api/admin/refunds", Some(&it.finance), Some(body)).await;
    assert_eq!(outcome(&asked), (201, ""));
    it.settled().await;
    let refund = id(&asked);
    let waits = it.says(&it.finance, &refund, "approve", None).await;
    assert_eq!((outcome(&waits), &waits.body["kind"]), ((202, ""), &json!("refund")));
    assert_eq!((&waits.body["needed"], &waits.body["credits"]), (&json!("amount"), &json!("-700")));
    let again = it.says(&it.finance, &refund, "approve", None).await;
    assert_eq!((again.status.as_u16(), id(&again)), (202, id(&waits)), "asking twice is one request");
    assert_eq!(it.refund(&refund).await["status"], json!("requested"));
    let second = it.says(&it.other, &refund, "approve", None).await;
    assert_eq!((outcome(&second), &second.body["status"]), ((200, ""), &json!("approved")));
    desk::round(&it.it.app).await;
    it.settled().await;
    assert_eq!(it.refund(&refund).await["status"], json!("completed"));
    assert_eq!(it.available().await, "0");
}

#[tokio::test]
async fn what_a_callback_tells_is_booked_once_and_what_nobody_asked_for_is_seen() {
    let it = payer().await;
    let order = it.paid("50.00", "7").await;
    let refund = id(&it.asks(json!({"order": order, "amount": "20.00", "reason": "r"}), None).await);
    it.says(&it.finance, &refund, "approve", None).await;
    let number = it.refund(&refund).await["number"].as_str().unwrap().to_owned();
    let notice = |refund: Option<&str>, amount: &str, state| RefundNotice {
        order: Some(label(&order.merchant_number())),
        refund: refund.map(label),
        provider_refund: Some(label("re_1")),
        provider_txn: None,
        amount: money(amount),
        is_total: false,
        state,
    };
    let (app, channel) = (&it.it.app, sandbox());
    let verdict = |ending| match ending {
        crate::payments::callback::Ending::Back { verdict, .. } => verdict,
        other => panic!("{other:?}"),
    };
    let tell = async |notice| verdict(road::told(app, &channel, notice, 7).await.unwrap());
    assert_eq!(tell(notice(Some(&number), "20.01", RefundState::Done)).await, "refund_differs");
    assert_eq!(tell(notice(Some(&number), "20.00", RefundState::Pending)).await, "refund_pending");
    for _ in 0..3 {
        assert_eq!(tell(notice(Some(&number), "20.00", RefundState::Done)).await, "refunded");
    }
    assert_eq!(tell(notice(Some(&number), "20.00", RefundState::Failed)).await, "refund_differs");
    for _ in 0..2 {
        assert_eq!(tell(notice(Some("made-there"), "5.00", RefundState::Done)).await, "refund_differs");
    }
    // Of another channel a number means nothing.
    let other: ChannelName = "epay".parse().unwrap();
    let told = road::told(app, &other, notice(Some(&number), "20.00", RefundState::Done), 7).await.unwrap();
    assert_eq!(verdict(told), "refund_differs");
    it.settled().await;
    assert_eq!(
        (it.available().await.as_str(), &it.refund(&refund).await["status"]),
        ("4.2", &json!("completed"))
    );

    let path_of_open = "/api/admin/outside-refunds?state=open";
    let open = it.it.call("GET", path_of_open, Some(&it.finance), None).await.body;
    let open = open["items"].as_array().unwrap().clone();
    assert_eq!(open.len(), 4, "{open:?}");
    let made_there = open.iter().find(|row| row["refund_number"] == json!("made-there")).unwrap();
    assert_eq!((&made_there["order"], &made_there["inbox"]), (&json!(order), &json!(7)));
    let path = format!("/api/admin/outside-refunds/{}/resolve", made_there["id"].as_str().unwrap());
    let body = json!({"reason": "made on the console", "take_credits": true});
    let resolved = it.it.call("POST", &path, Some(&it.finance), Some(body.clone())).await;
    assert_eq!((outcome(&resolved), &resolved.body["state"]), ((200, ""), &json!("resolved")));
    assert_eq!(outcome(&it.it.call("POST", &path, Some(&it.finance), Some(body)).await).0, 409);
    it.settled().await;
    // 5 of 50 yuan bought 0.7 credits.
    assert_eq!(it.available().await, "3.5");
    // One that nobody asked for and that has not gone, or does not go, is no difference.
    let unknown = |number: &str, state| RefundNotice {
        provider_refund: Some(label(number)),
        ..notice(Some("made-there-too"), "3.00", state)
    };
    let noted = async |notice| road::told(app, &channel, notice, 8).await.unwrap().verdict().to_owned();
    assert_eq!(noted(unknown("re_2", RefundState::Pending)).await, "noted");
    assert_eq!(noted(unknown("re_2", RefundState::Failed)).await, "noted");
    let count = async || {
        let open = it.it.call("GET", path_of_open, Some(&it.finance), None).await.body;
        open["items"].as_array().unwrap().len()
    };
    assert_eq!(count().await, 3);
    // The one whose credits were taken failed after all: somebody must give them back.
    assert_eq!(tell(notice(Some("made-there"), "5.00", RefundState::Failed)).await, "refund_differs");
    assert_eq!(count().await, 4);
}

#[tokio::test]
async fn a_running_total_is_a_difference_of_what_nobody_knows_of_and_only_once() {
    let it = payer().await;
    let order = it.paid("72.00", "10").await;
    let mut numbers = Vec::new();
    for amount in ["14.40", "7.20"] {
        let refund = id(&it.asks(json!({"order": order, "amount": amount, "reason": "r"}), None).await);
        it.says(&it.finance, &refund, "approve", None).await;
        numbers.push(it.refund(&refund).await["number"].as_str().unwrap().to_owned());
    }
    let (app, channel) = (&it.it.app, sandbox());
    let tell = async |refund: &str, total: &str| {
        let notice = RefundNotice {
            order: Some(label(&order.merchant_number())),
            refund: Some(label(refund)),
            provider_refund: None,
            provider_txn: None,
            amount: money(total),
            is_total: true,
            state: RefundState::Done,
        };
        let ending = road::told(app, &channel, notice, 7).await.unwrap();
        it.settled().await;
        ending.verdict().to_owned()
    };
    assert_eq!(tell(&numbers[0], "14.40").await, "refunded");
    // On the gateway's console, and told of by one of ours first.
    assert_eq!(tell(&numbers[1], "28.80").await, "refunded");
    for _ in 0..2 {
        assert_eq!(tell("console", "28.80").await, "noted");
        assert_eq!(tell(&numbers[0], "14.40").await, "refunded");
    }
    assert_eq!(tell("console2", "36.00").await, "refund_differs");
    assert_eq!(tell("console2", "36.00").await, "noted");
    let path = "/api/admin/outside-refunds?state=open";
    let open =
        it.it.call("GET", path, Some(&it.finance), None).await.body["items"].as_array().unwrap().clone();
    let amounts: Vec<&Value> = open.iter().map(|row| &row["amount"]["amount"]).collect();
    assert_eq!(amounts, ["7.20", "7.20"], "{open:?}");
    assert!(open[0]["what"].as_str().unwrap().contains("36.00 CNY went back of this payment so far"));
    let path = format!("/api/admin/outside-refunds/{}/resolve", open[1]["id"].as_str().unwrap());
    let body = json!({"reason": "made on the console", "take_credits": true});
    assert_eq!(it.it.call("POST", &path, Some(&it.finance), Some(body)).await.status, 200);
    it.settled().await;
    // 10 less 2, 1 and 1.
    assert_eq!(it.available().await, "6");
}

#[tokio::test]
async fn a_dispute_takes_spent_credits_too_and_gives_them_back_when_it_is_won() {
    let it = payer().await;
    let order = it.paid("50.00", "7").await;
    let account = it.it.account_of(&it.user).await;
    it.it.decides(account, lease(LeaseId::from_uuid(Uuid::now_v7()), Node::new().epoch, "3")).await;
    let told = |reference: &str, stage| DisputeNotice {
        reference: label(reference),
        provider_txn: label(&format!("txn-{order}")),
        amount: money("50.00"),
        stage,
        what: label("charge.dispute"),
    };
    let (app, channel) = (&it.it.app, sandbox());
    let tell = async |notice| {
        let (number, ending) = disputes::told(app, &channel, notice, 7).await;
        assert_eq!(number, Some(label(&order.merchant_number())));
        ending.unwrap();
        it.settled().await;
        it.available().await
    };
    assert_eq!(tell(told("dp_1", DisputeStage::Inquiry)).await, "4");
    assert_eq!(tell(told("dp_1", DisputeStage::Taken)).await, "-3");
    assert_eq!(tell(told("dp_1", DisputeStage::Taken)).await, "-3");
    let more = lease(LeaseId::from_uuid(Uuid::now_v7()), Node::new().epoch, "0.000000001");
    let actor = crate::session::actor(domain::ActorKind::Node, account);
    let refused = it.it.app.ledger.execute(account, more, actor, None).await;
    assert!(matches!(refused, Err(ledger::LedgerError::Refused(_))), "a debt is not spent from");
    assert_eq!(tell(told("dp_1", DisputeStage::Won)).await, "4");
    assert_eq!(tell(told("dp_1", DisputeStage::Taken)).await, "4", "it comes late and changes nothing");
    // Told of its end first.
    assert_eq!(tell(told("dp_2", DisputeStage::Won)).await, "4");
    assert_eq!(tell(told("dp_2", DisputeStage::Taken)).await, "4");
    let list = it.it.call("GET", "/api/admin/disputes?state=won", Some(&it.finance), None).await.body;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));

    // Where a gateway tells of it by mail, an operator does.
    let body = json!({"order": order, "amount": "25.00", "reference": "case 9", "reason": "a letter"});
    let opened = it.it.call("POST", "/api/admin/disputes", Some(&it.finance), Some(body.clone())).await;
    assert_eq!(outcome(&opened), (201, ""));
    let twice = it.it.call("POST", "/api/admin/disputes", Some(&it.finance), Some(body)).await;
    assert_eq!(id(&twice), id(&opened));
    it.settled().await;
    assert_eq!(it.available().await, "0.5");
    let path = format!("/api/admin/disputes/{}/close", id(&opened));
    let end = |word: &str| json!({"outcome": word, "reason": "another letter"});
    let lost = it.it.call("POST", &path, Some(&it.finance), Some(end("lost"))).await;
    assert_eq!((outcome(&lost), &lost.body["credits"]), ((200, ""), &json!("3.5")));
    assert_eq!(outcome(&it.it.call("POST", &path, Some(&it.finance), Some(end("won"))).await), (200, ""));
    it.settled().await;
    assert_eq!(it.available().await, "4");
    let late = it.it.call("POST", &path, Some(&it.finance), Some(end("lost"))).await;
    assert_eq!(outcome(&late), (409, "dispute_won"));

    // Nobody says of their own payment that its credits come back.
    let own = it.paid_by(&it.finance, "50.00", "7").await;
    let body = json!({"order": own, "reference": "case 10", "reason": "a letter"});
    let opened = it.it.call("POST", "/api/admin/disputes", Some(&it.other), Some(body)).await;
    assert_eq!(outcome(&opened), (201, ""));
    it.settled().await;
    let path = format!("/api/admin/disputes/{}/close", id(&opened));
    let by_oneself = it.it.call("POST", &path, Some(&it.finance), Some(end("won"))).await;
    assert_eq!(outcome(&by_oneself), (403, "second_person_needed"));
    assert_eq!(outcome(&it.it.call("POST", &path, Some(&it.other), Some(end("won"))).await), (200, ""));
}

#[tokio::test]
async fn an_owner_is_told_once_of_each_stage_of_a_refund() {
    let it = payer().await;
    let order = it.paid("50.00", "7").await;
    let directory = it.it.app.directory.clone();
    let tells = async || crate::alerts::tell_of_refunds(&directory).await.unwrap();
    let kinds = async || {
        let rows = it.it.app.db.fetch_all("SELECT kind FROM mails WHERE kind LIKE 'refund-%'", &[]).await;
        let mut kinds: Vec<String> = rows.unwrap().iter().map(|row| row.text("kind").unwrap()).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(tells().await, 0);
    let wish = |amount: &str| json!({"order": order, "amount": amount, "reason": "not wanted"});
    let first = id(&it.asks(wish("20.00"), None).await);
    // Several look at the same time.
    let (one, two) = tokio::join!(tells(), tells());
    assert_eq!((one + two, tells().await), (1, 0));
    assert_eq!(kinds().await, ["refund-requested"]);
    assert_eq!(it.says(&it.finance, &first, "reject", Some(json!({"reason": "no"}))).await.status, 200);
    assert_eq!((tells().await, tells().await), (1, 0));
    assert_eq!(kinds().await, ["refund-failed", "refund-requested"]);
    // One that was approved is still only asked for, to its owner; one that is done before anybody looks is told of as done.
    let second = id(&it.asks(wish("10.00"), None).await);
    assert_eq!(tells().await, 1);
    assert_eq!(it.says(&it.finance, &second, "approve", None).await.status, 200);
    assert_eq!(tells().await, 0);
    let account = it.it.account_of(&it.user).await;
    let refund = second.parse().unwrap();
    it.it.decides(account, Command::CompleteRefund { refund, provider_refund: None }).await;
    it.settled().await;
    assert_eq!((tells().await, tells().await), (1, 0));
    assert_eq!(kinds().await, ["refund-completed", "refund-failed", "refund-requested", "refund-requested"]);
    // An old change of tables that were made anew is no news.
    it.it.app.db.execute("DELETE FROM refund_notices", &[]).await.unwrap();
    it.it.app.db.execute("UPDATE refunds SET updated_at = updated_at - 400000000000", &[]).await.unwrap();
    assert_eq!(tells().await, 0);
}

/// A database that lost its notes knows of no question: an operator's word is one, or such a refund would wait for ever.
#[tokio::test]
async fn a_refund_that_was_never_asked_for_is_asked_for_by_an_operators_word() {
    let it = payer().await;
    let order = it.paid("50.00", "7").await;
    let refund = id(&it.asks(json!({"order": order, "amount": "20.00", "reason": "r"}), None).await);
    it.says(&it.finance, &refund, "approve", None).await;
    let app = &it.it.app;
    app.directory.adopt_refunds(10, crate::directory::now()).await.unwrap();
    app.db.execute("UPDATE refund_calls SET state = 'unknown', attempts = 0", &[]).await.unwrap();
    assert_eq!(it.says(&it.finance, &refund, "retry", None).await.status, 200);
    let row = app.db.fetch_one("SELECT state, attempts FROM refund_calls", &[]).await.unwrap();
    assert_eq!((row.text("state").unwrap().as_str(), row.int("attempts").unwrap()), ("due", 1));
}
