use crate::directory::user::{Role, UserChange};
use crate::directory::{Status, now};
use crate::http::tests::{Answer, Gateway, gateway, gateway_with};
use crate::session::actor;
use axum::body::Body;
use axum::http::Request;
use domain::{ActorKind, Credits};
use serde_json::{Value, json};

struct Desk {
    it: Gateway,
    finance: String,
    other: String,
    user: String,
    path: String,
}

async fn desk() -> Desk {
    let it = gateway().await;
    let (finance, other) = (it.token("fin", Role::Finance).await, it.token("fio", Role::Finance).await);
    let user = it.token("ann", Role::User).await;
    let path = format!("/api/admin/users/{}/adjustments", it.account_of(&user).await);
    Desk { it, finance, other, user, path }
}

impl Desk {
    async fn asks(&self, credits: &str, key: Option<&str>) -> Answer {
        self.asks_at(&self.path, json!({"credits": credits, "reason": "a test"}), key).await
    }

    async fn asks_at(&self, path: &str, body: Value, key: Option<&str>) -> Answer {
        let mut request = Request::builder().method("POST").uri(path);
        request = request.header("authorization", format!("Bearer {}", self.finance));
        request = request.header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.it.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn says(&self, who: &str, id: &str, what: &str) -> Answer {
        self.it.call("POST", &format!("/api/admin/approvals/{id}/{what}"), Some(who), None).await
    }

    /// The user's balance once everything on the log is in the tables.
    async fn total(&self) -> String {
        let end = self.it.app.ledger.log().identity().await.unwrap().last_sequence;
        let path = format!("/api/user/balance?after={end}");
        self.it.call("GET", &path, Some(&self.user), None).await.body["total"].as_str().unwrap().to_owned()
    }

    async fn events(&self) -> usize {
        let account = self.it.account_of(&self.user).await;
        let path = format!("/api/admin/ledger/events?account={account}&limit=100");
        let events = self.it.call("GET", &path, Some(&self.finance), None).await.body;
        events["items"].as_array().unwrap().len()
    }
}

fn id(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_large_is_done_when_another_person_approves_and_not_before() {
    let desk = desk().await;
    // Finance may move 100 alone.
    assert_eq!(desk.asks("100", None).await.status, 201);
    let asked = desk.asks("100.000000001", Some("big")).await;
    assert_eq!((asked.status.as_u16(), &asked.body["state"]), (202, &json!("pending")));
    assert_eq!((&asked.body["needed"], &asked.body["event_seq"]), (&json!("amount"), &Value::Null));
    let big = id(&asked);
    let again = desk.asks("100.000000001", Some("big")).await;
    assert_eq!((again.status.as_u16(), id(&again)), (202, big.clone()), "the same key is the same request");
    let reused = desk.asks("100.000000002", Some("big")).await;
    assert_eq!((reused.status.as_u16(), &reused.body["code"]), (409, &json!("idempotency_key_reused")));
    assert_eq!(desk.total().await, "100");

    let own = desk.says(&desk.finance, &big, "approve").await;
    assert_eq!((own.status.as_u16(), &own.body["code"]), (403, &json!("second_person_needed")));
    for stranger in [&desk.user, &desk.it.token("aud", Role::Auditor).await] {
        assert_eq!(desk.says(stranger, &big, "approve").await.status, 403);
    }
    let waiting =
        desk.it.call("GET", "/api/admin/approvals?state=pending", Some(&desk.other), None).await.body;
    assert_eq!(waiting["items"].as_array().unwrap().len(), 1, "{waiting}");
    let done = desk.says(&desk.other, &big, "approve").await;
    assert_eq!((done.status.as_u16(), &done.body["state"]), (200, &json!("done")), "{}", done.body);
    assert!(done.body["event_seq"].is_number());
    assert_eq!(desk.total().await, "200.000000001");
    for what in ["approve", "reject"] {
        let late = desk.says(&desk.other, &big, what).await;
        assert_eq!((late.status.as_u16(), &late.body["code"]), (409, &json!("not_pending")));
    }
    // Whoever asked, with the same key, now gets the receipt.
    assert_eq!(desk.asks("100.000000001", Some("big")).await.status, 201);
    assert_eq!(desk.events().await, 2);

    let no = desk.asks("-150", None).await;
    assert_eq!(no.status, 202, "what is taken counts like what is given");
    assert_eq!(desk.says(&desk.other, &id(&no), "reject").await.body["state"], "rejected");
    assert_eq!(desk.says(&desk.other, &id(&no), "approve").await.status, 409);
    let mine = desk.asks("150", None).await;
    assert_eq!(desk.says(&desk.finance, &id(&mine), "reject").await.status, 200, "one's own is taken back");
    assert_eq!(desk.events().await, 2);
}

#[tokio::test]
async fn many_small_acts_do_not_add_up_to_more_than_a_day_allows() {
    let desk = desk().await;
    let grants = desk.path.replace("adjustments", "grants");
    // 500 a day: gifts and corrections, up and down, at once and one by one, count together.
    let acts = (0..12).map(|n| {
        let (path, credits) = if n % 2 == 0 { (&desk.path, "90") } else { (&grants, "90") };
        desk.asks_at(path, json!({"credits": credits, "reason": "small"}), None)
    });
    let answers = futures_util::future::join_all(acts).await;
    let done = answers.iter().filter(|it| it.status == 201).count();
    assert_eq!(done, 5, "5 times 90 fit into 500");
    let asked: Vec<_> = answers.iter().filter(|it| it.status == 202).collect();
    assert!(asked.len() == 7 && asked.iter().all(|it| it.body["needed"] == "day"));
    assert_eq!(desk.asks("-50.1", None).await.status, 202);
    assert_eq!(desk.asks("-50", None).await.status, 201, "and what fits exactly is let through");
    let allowance =
        desk.it.call("GET", "/api/admin/approvals/allowance", Some(&desk.finance), None).await.body;
    assert_eq!((&allowance["moved_today"], &allowance["on_a_day"]), (&json!("500"), &json!("500")));
    assert_eq!(desk.total().await, "400");
    let codes = json!({"name": "around it", "count": 1, "credits": "0.01"});
    let answer = desk.asks_at("/api/admin/redemption-codes", codes, None).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (403, &json!("above_limit")));
    // What the ledger refuses moved nothing and does not count, and its key may be used again.
    let admin = desk.it.token("root", Role::Admin).await;
    let desk = Desk { finance: admin, ..desk };
    for _ in 0..2 {
        assert_eq!(desk.asks("-900", Some("k")).await.status, 402);
    }
    let allowance =
        desk.it.call("GET", "/api/admin/approvals/allowance", Some(&desk.finance), None).await.body;
    assert_eq!(allowance["moved_today"], "0");
    assert_eq!(desk.asks("900", None).await.status, 201);
    assert_eq!(desk.asks("-900", Some("k")).await.status, 201);
}

#[tokio::test]
async fn of_approvers_who_act_at_once_one_approves_and_one_event_is_made() {
    let desk = desk().await;
    let asked = id(&desk.asks("250", None).await);
    let mut approvers = Vec::new();
    for n in 0..8 {
        approvers.push(desk.it.token(&format!("boss{n}"), Role::Admin).await);
    }
    let says = approvers.iter().map(|who| desk.says(who, &asked, "approve"));
    let answers = futures_util::future::join_all(says).await;
    let statuses: Vec<u16> = answers.iter().map(|it| it.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|it| **it == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|it| [200, 409].contains(it)), "{statuses:?}");
    assert_eq!((desk.events().await, desk.total().await.as_str()), (1, "250"));
}

#[tokio::test]
async fn nobody_moves_or_approves_their_own_credits_alone() {
    let desk = desk().await;
    let mine = format!("/api/admin/users/{}/adjustments", desk.it.account_of(&desk.finance).await);
    let asked = desk.asks_at(&mine, json!({"credits": "0.01", "reason": "for me"}), None).await;
    assert_eq!((asked.status.as_u16(), &asked.body["needed"]), (202, &json!("own")));
    // Another's request about my account is not mine to approve.
    let others = format!("/api/admin/users/{}/adjustments", desk.it.account_of(&desk.other).await);
    let asked = desk.asks_at(&others, json!({"credits": "300", "reason": "for them"}), None).await;
    assert_eq!(desk.says(&desk.other, &id(&asked), "approve").await.status, 403);
    let owner = desk.it.token("own", Role::Owner).await;
    assert_eq!(desk.says(&owner, &id(&asked), "approve").await.status, 200);
    // An owner is whom the machine belongs to: their limits are the usual ones.
    let own = format!("/api/admin/users/{}/adjustments", desk.it.account_of(&owner).await);
    let body = json!({"credits": "1", "reason": "to try it out"});
    assert_eq!(desk.it.call("POST", &own, Some(&owner), Some(body)).await.status, 201);
}

#[tokio::test]
async fn a_request_ends_with_its_time_and_with_its_requesters_office() {
    let desk = desk().await;
    let asked = desk.asks("300", None).await;
    let boss = desk.it.token("boss", Role::Admin).await;
    let by = desk.it.app.directory.session(&boss).await.unwrap().unwrap();
    let uuid = id(&asked).parse().unwrap();
    let late = now().plus_ms(8 * 86_400_000);
    let fault = desk.it.app.directory.approve_at(uuid, &by, None, late).await.unwrap().unwrap_err();
    assert!(fault.to_string().contains("expired"), "{fault}");
    let fired = desk.it.account_of(&desk.finance).await;
    let change = UserChange { status: Some(Status::Disabled), ..UserChange::default() };
    let owner = actor(ActorKind::Admin, by.user);
    desk.it.app.directory.change_user(fired, change, owner, Role::Owner).await.unwrap();
    let answer = desk.says(&boss, &id(&asked), "approve").await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (409, &json!("requester_gone")));
    assert_eq!(desk.says(&boss, &id(&asked), "reject").await.status, 200);
}

#[tokio::test]
async fn what_was_taken_while_the_log_was_away_is_not_refused_but_on_its_way() {
    let mut desk = desk().await;
    desk.it.stop_log().await;
    let taken = desk.asks("5", Some("k")).await;
    assert_eq!((taken.status.as_u16(), &taken.body["state"]), (202, &json!("approved")), "{}", taken.body);
    let waiting = desk.it.app.directory.unfinished_requests(now().plus_ms(1)).await.unwrap();
    assert_eq!(waiting.len(), 1, "whoever comes by finishes it");
}

#[tokio::test]
async fn a_role_that_is_not_named_moves_nothing_alone() {
    let it = gateway_with(|config| {
        let daily = json!({"adjustments.approval_above": {"finance": "1"}});
        *config = config.with(&serde_json::from_value(daily).unwrap()).unwrap();
    })
    .await;
    assert_eq!(it.app.config.adjustments.approval_above.of(Role::Admin), Credits::ZERO);
    let (admin, user) = (it.token("root", Role::Admin).await, it.token("ann", Role::User).await);
    let path = format!("/api/admin/users/{}/grants", it.account_of(&user).await);
    let answer = it.call("POST", &path, Some(&admin), Some(json!({"credits": "0.000000001"}))).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
}

#[tokio::test]
async fn the_only_operator_agrees_with_themselves_where_the_file_says_so_and_nobody_else_could() {
    let it = gateway_with(|config| config.single_operator = true).await;
    let (boss, user) = (it.token("boss", Role::Owner).await, it.token("ann", Role::User).await);
    // Who may look at money and not move it is nobody who could agree.
    it.token("aud", Role::Auditor).await;
    let ask = async |who: &str, of: &str| {
        let path = format!("/api/admin/users/{}/adjustments", it.account_of(of).await);
        let asked = it.call("POST", &path, Some(who), Some(json!({"credits": "20000", "reason": "x"}))).await;
        assert_eq!(asked.status, 202, "{}", asked.body);
        format!("/api/admin/approvals/{}/approve", id(&asked))
    };
    let alone = async |who: &str| {
        let answer = it.call("GET", "/api/admin/approvals/allowance", Some(who), None).await;
        answer.body["alone"].as_bool().unwrap()
    };
    let note = json!({"note": "seen in the bank's statement"});
    let path = ask(&boss, &user).await;
    assert!(alone(&boss).await);
    let silent = it.call("POST", &path, Some(&boss), None).await;
    assert_eq!(silent.status, 422, "{}", silent.body);
    let done = it.call("POST", &path, Some(&boss), Some(note.clone())).await;
    assert_eq!((done.status.as_u16(), &done.body["state"]), (200, &json!("done")), "{}", done.body);
    assert_eq!(done.body["decided_by"], done.body["requested_by"]);
    let acts = it.app.db.fetch_all("SELECT act FROM audit_outbox", &[]).await.unwrap();
    let acts: Vec<String> = acts.iter().map(|row| row.text("act").unwrap()).collect();
    assert!(
        acts.iter().any(|act| act.contains("approval.approve") && act.contains("\"alone\":true")),
        "{acts:?}"
    );
    // Not about one's own account, and not while there is somebody else.
    let own = ask(&boss, &boss).await;
    let answer = it.call("POST", &own, Some(&boss), Some(note.clone())).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (403, &json!("second_person_needed")));
    let path = ask(&boss, &user).await;
    let finance = it.token("fin", Role::Finance).await;
    assert!(!alone(&boss).await && !alone(&finance).await);
    let answer = it.call("POST", &path, Some(&boss), Some(note)).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (403, &json!("second_person_needed")));
    assert_eq!(it.call("POST", &path, Some(&finance), None).await.body["state"], "done");
}
