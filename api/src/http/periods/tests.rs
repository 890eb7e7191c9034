//! Statements, exports and closed months through their routes.

use crate::directory::user::Role;
use crate::directory::{now, period};
use crate::exports::Clerk;
use crate::http::tests::{Gateway, Node, gateway, lease, record};
use crate::payments::sandbox::{Press, SIGNATURE_HEADER};
use axum::body::Body;
use axum::http::Request;
use domain::account::event::GrantSource;
use domain::{AccountId, ChannelName, Command, Currency, GrantId, LeaseId, Money, OrderId};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

/// An answer that is no JSON.
async fn fetched(it: &Gateway, path: &str, token: &str) -> (u16, String, Vec<u8>) {
    let request = Request::get(path).header("authorization", format!("Bearer {token}"));
    let (parts, body) = it.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().into_parts();
    let kind = parts.headers["content-type"].to_str().unwrap().to_owned();
    (parts.status.as_u16(), kind, axum::body::to_bytes(body, 10_000_000).await.unwrap().to_vec())
}

fn grant(credits: &str, reason: Option<&str>) -> Command {
    Command::GrantCredit {
        grant: GrantId::from_uuid(Uuid::now_v7()),
        source: GrantSource::Admin,
        credits: credits.parse().unwrap(),
        reason: reason.map(|it| it.parse().unwrap()),
    }
}

#[tokio::test]
async fn a_statement_adds_up_in_every_format_and_is_its_owners() {
    let it = gateway().await;
    let (token, auditor) = (it.token("ann", Role::User).await, it.token("aud", Role::Auditor).await);
    let ann = it.account_of(&token).await;
    it.decides(ann, grant("10.000000001", Some("=HYPERLINK(\"x\")"))).await;
    let mut node = Node::new();
    let anns = LeaseId::from_uuid(Uuid::now_v7());
    it.decides(ann, lease(anns, node.epoch, "4")).await;
    let position = node
        .reports(&it, vec![record(ann, anns, 1, "0.5", "0.5"), record(ann, anns, 2, "0.25", "0.75")])
        .await;
    let path = format!("/api/user/statements?after={position}");
    let told = it.call("GET", &path, Some(&token), None).await;
    assert_eq!(told.status, 200, "{}", told.body);
    let body = &told.body;
    assert_eq!(
        [
            &body["opening"],
            &body["credits"],
            &body["charges"],
            &body["refunds"],
            &body["adjustments"],
            &body["closing"]
        ],
        [
            &json!("0"),
            &json!("10.000000001"),
            &json!("0.75"),
            &json!("0"),
            &json!("0"),
            &json!("9.250000001")
        ]
    );
    let charge = body["lines"].as_array().unwrap().iter().find(|it| it["kind"] == "charge").unwrap();
    assert_eq!((&charge["calls"], &charge["amount"]), (&json!(2), &json!("-0.75")));
    assert_eq!(body["by_model"], json!([{"model": "the-model", "calls": 2, "amount": "0.75"}]));
    assert_eq!((&body["complete"], &body["time_zone"]), (&json!(false), &json!("+00:00")));
    for (format, kind, begins) in [
        ("csv", "text/csv; charset=utf-8", b"\xef\xbb\xbfday".as_slice()),
        (
            "xlsx",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            b"PK\x03\x04".as_slice(),
        ),
        ("pdf", "application/pdf", b"%PDF-".as_slice()),
    ] {
        let (status, found, bytes) =
            fetched(&it, &format!("/api/user/statements?format={format}"), &token).await;
        assert_eq!((status, found.as_str()), (200, kind));
        assert!(bytes.starts_with(begins), "{format}");
        if format == "csv" {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains("Gift: =HYPERLINK") && text.contains(",-0.75,9.250000001\r\n"), "{text}");
            assert!(text.trim_end().ends_with(",,,,,,9.250000001"), "{text}");
        }
    }
    let others = it.call("GET", &format!("/api/admin/users/{ann}/statements"), Some(&auditor), None).await;
    assert_eq!(others.body["closing"], body["closing"]);
    let nobody = format!("/api/admin/users/{}/statements", Uuid::nil());
    assert_eq!(it.call("GET", &nobody, Some(&auditor), None).await.status, 404);
    for bad in ["month=2026-1", "month=9000-01", "month=x", "format=doc", "day=2026-11-22"] {
        let answer = it.call("GET", &format!("/api/user/statements?{bad}"), Some(&token), None).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (400, &json!("invalid_query")), "{bad}");
    }
    let before = it.call("GET", "/api/user/statements?month=2020-02", Some(&token), None).await.body;
    assert_eq!(
        (&before["closing"], &before["complete"], &before["lines"]),
        (&json!("0"), &json!(true), &json!([]))
    );
}

#[tokio::test]
async fn an_export_is_asked_for_made_fetched_and_let_go() {
    let it = gateway().await;
    let (finance, support) = (it.token("fin", Role::Finance).await, it.token("sup", Role::Support).await);
    let ann = it.token("ann", Role::User).await;
    let ann = it.account_of(&ann).await;
    let position = it.decides(ann, grant("1.5", None)).await;
    assert!(it.projector.wait_for(position, Duration::from_secs(20)).await);
    let ask = async |body: Value| it.call("POST", "/api/admin/exports", Some(&finance), Some(body)).await;
    let journal = json!({"kind": "journal", "format": "csv"});
    assert_eq!(
        it.call("POST", "/api/admin/exports", Some(&support), Some(journal.clone())).await.status,
        403
    );
    for (bad, fault) in [
        (json!({"kind": "usage", "format": "beancount"}), "format: "),
        (json!({"kind": "journal", "format": "csv", "from": "2026-11-02", "to": "2026-11-01"}), "to: "),
        (json!({"kind": "journal", "format": "csv", "from": "2026-1-1"}), "from: "),
        (json!({"kind": "journal", "format": "csv", "month": "2026-11", "to": "2026-11-01"}), "month: "),
        (json!({"kind": "journal", "format": "csv", "month": "november"}), "month: "),
    ] {
        let answer = ask(bad).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().starts_with(fault), "{}", answer.body);
    }
    let asked = ask(journal.clone()).await;
    assert_eq!((asked.status.as_u16(), &asked.body["state"]), (201, &json!("queued")), "{}", asked.body);
    let path = format!("/api/admin/exports/{}", asked.body["id"].as_str().unwrap());
    let file = format!("{path}/file");
    assert_eq!(it.call("GET", &file, Some(&finance), None).await.body["code"], "export_not_ready");
    let stop = CancellationToken::new();
    assert!(it.app.clerk.make_next(&stop).await.unwrap());
    assert!(!it.app.clerk.make_next(&stop).await.unwrap());
    let done = it.call("GET", &path, Some(&finance), None).await.body;
    assert_eq!(
        (&done["state"], &done["rows_done"], &done["position"]),
        (&json!("done"), &json!(2), &json!(position))
    );
    let (status, kind, bytes) = fetched(&it, &file, &finance).await;
    assert_eq!((status, kind.as_str()), (200, "text/csv; charset=utf-8"));
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains(&format!(",{ann},expense:promotions,credits,1.5,0,1\r\n")), "{text}");

    // One that is taken back is not made, and one whose maker is silent is made by another.
    let second = ask(journal.clone()).await.body;
    let second = format!("/api/admin/exports/{}", second["id"].as_str().unwrap());
    for path in [&path, &second] {
        assert_eq!(it.call("DELETE", path, Some(&finance), None).await.status, 204);
        let gone = it.call("GET", &format!("{path}/file"), Some(&finance), None).await;
        assert_eq!((gone.status.as_u16(), &gone.body["code"]), (410, &json!("export_gone")));
    }
    assert!(!it.app.clerk.make_next(&stop).await.unwrap());
    ask(json!({"kind": "trial_balance", "format": "parquet", "month": "2026-01"})).await;
    let claimed = it.app.directory.claim_export().await.unwrap().unwrap();
    assert!(it.app.directory.claim_export().await.unwrap().is_none(), "it is somebody's");
    it.app.db.execute("UPDATE exports SET touched_at = 5 WHERE state = 'running'", &[]).await.unwrap();
    assert!(it.app.clerk.make_next(&stop).await.unwrap());
    assert!(
        !it.app.directory.export_progress(&claimed, 1, None).await.unwrap(),
        "the first maker has lost it"
    );
    let list = it.call("GET", "/api/admin/exports?limit=2", Some(&finance), None).await.body;
    assert_eq!(
        (&list["items"][0]["state"], &list["items"][0]["file_name"]),
        (&json!("done"), &json!("trial-balance-2026-01.parquet"))
    );
    assert!(list["next_cursor"].is_string());
    // A process that stops leaves what it began to the next.
    ask(journal).await;
    stop.cancel();
    it.app.clerk.make_next(&stop).await.unwrap();
}

/// An order of 50.00 CNY at the sandbox, paid so many days ago.
async fn paid_order(it: &Gateway, account: AccountId, days_ago: i64) -> OrderId {
    let order = OrderId::from_uuid(Uuid::new_v4());
    let channel = ChannelName::try_new("sandbox").unwrap();
    let pay = Money::parse("50.00", Currency::try_new("CNY").unwrap()).unwrap();
    let begin = Command::InitiateTopUp {
        order,
        channel: channel.clone(),
        pay,
        credits: "7".parse().unwrap(),
        expires_at: now().plus_ms(60_000),
    };
    it.decides(account, begin).await;
    let provider_txn = format!("txn-{order}").parse().unwrap();
    let position =
        it.decides(account, Command::CompleteTopUp { order, channel, provider_txn, paid: pay }).await;
    assert!(it.projector.wait_for(position, Duration::from_secs(20)).await);
    let older = "UPDATE top_up_orders SET completed_at = completed_at - ? WHERE order_id = ?";
    let back = (days_ago * 86_400_000_000).into();
    it.app.db.execute(older, &[back, order.into()]).await.unwrap();
    order
}

#[tokio::test]
async fn what_has_no_counterpart_is_listed_once_with_its_age() {
    let it = gateway().await;
    let finance = it.token("fin", Role::Finance).await;
    let ann = it.account_of(&it.token("ann", Role::User).await).await;
    let mut orders = Vec::new();
    for days_ago in [9, 5, 40, 3, 2] {
        orders.push(paid_order(&it, ann, days_ago).await);
    }
    let run = async |sql: &str, values: &[projections::Value]| it.app.db.execute(sql, values).await.unwrap();
    // The second is on a bill that stands; the third on one that stands no more, and as a refund's row.
    for (bill, is_current) in [("b1", 1_i64), ("b2", 0)] {
        let sql = "INSERT INTO reconciliation_bills (id, channel, merchant, day, kind, name, sha256, entries, source, is_current, \
                   imported_at) VALUES (?, 'sandbox', '', '2026-11-20', 'trades', 'n', ?, 1, 'upload', ?, 0)";
        run(sql, &[bill.into(), bill.into(), is_current.into()]).await;
    }
    let row =
        "INSERT INTO reconciliation_rows (bill_id, line, txn, refund_number, body) VALUES (?, ?, ?, ?, '{}')";
    for (bill, line, order, refund) in
        [("b1", 1_i64, orders[1], None), ("b2", 1, orders[2], None), ("b1", 2, orders[2], Some("r"))]
    {
        run(row, &[bill.into(), line.into(), format!("txn-{order}").into(), refund.into()]).await;
    }
    // Of the fourth a difference tells; the fifth was signed off.
    for (id, order, state) in [("d1", orders[3], "open"), ("d2", orders[4], "resolved")] {
        let sql = "INSERT INTO reconciliation_differences (id, run_id, channel, day, class, mark, state, order_id, account, \
                   ledger_currency, ledger_amount, detail, created_at, updated_at) \
                   VALUES (?, 'r', 'sandbox', '2026-11-20', 'ledger_only', ?, ?, ?, ?, 'CNY', 5000, '=look', ?, 0)";
        let since = now().plus_ms(-1_000);
        run(sql, &[id.into(), id.into(), state.into(), order.into(), ann.into(), since.into()]).await;
    }
    let outside = "INSERT INTO outside_refunds (id, fingerprint, channel, currency, amount, what, inbox, state, created_at) \
                   VALUES ('o1', 'f', 'sandbox', 'CNY', 720, 'a refund of its own', 1, ?, 5)";
    run(outside, &["open".into()]).await;
    // A payment that no order takes.
    let pay = Money::parse("3.00", Currency::try_new("CNY").unwrap()).unwrap();
    let stranger = OrderId::from_uuid(Uuid::new_v4());
    let signed = it.app.channels.sandbox().unwrap().callback(stranger, pay, Press::Pay).unwrap();
    let request = Request::post("/api/payments/sandbox/callback").header(SIGNATURE_HEADER, signed.signature);
    assert_eq!(it.send(request.body(Body::from(signed.body)).unwrap()).await.status, 404);
    let end = it.app.ledger.log().identity().await.unwrap().last_sequence;
    assert!(it.projector.wait_for(end, Duration::from_secs(20)).await);

    // Its bill's row is a difference as well; so is one of another sum under its transaction, and one that somebody looks after.
    let held = it.call("GET", "/api/admin/payments/suspense", Some(&finance), None).await.body;
    let txn = held["items"][0]["transaction"].as_str().unwrap();
    for (id, minor, state) in [("d3", 300, "open"), ("d4", 301, "open"), ("d5", 300, "assigned")] {
        let sql = "INSERT INTO reconciliation_differences (id, run_id, channel, day, class, mark, state, txn, provider_currency, \
                   provider_amount, detail, created_at, updated_at) \
                   VALUES (?, 'r', 'sandbox', '2026-11-20', 'provider_only', ?, ?, ?, 'CNY', ?, 'it waits', ?, 0)";
        run(sql, &[id.into(), id.into(), state.into(), txn.into(), minor.into(), now().into()]).await;
    }

    let lines = async |body: Value| {
        let asked = it.call("POST", "/api/admin/exports", Some(&finance), Some(body)).await;
        assert_eq!(asked.status, 201, "{}", asked.body);
        assert!(it.app.clerk.make_next(&CancellationToken::new()).await.unwrap());
        let path = format!("/api/admin/exports/{}/file", asked.body["id"].as_str().unwrap());
        let (status, _, bytes) = fetched(&it, &path, &finance).await;
        assert_eq!(status, 200);
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .skip(1)
            .map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let found = lines(json!({"kind": "unmatched", "format": "csv"})).await;
    let told: Vec<_> = found.iter().map(|it| [&*it[0], &*it[2], &*it[6], &*it[7]]).collect();
    let (first, third) = (orders[0].to_string(), orders[2].to_string());
    let payment = found[0][2].clone();
    let ages = (now().micros() / 86_400_000_000).to_string();
    assert_eq!(
        told,
        [
            ["suspense", &payment, "0", "0-1 days"],
            ["difference", "d1", "0", "0-1 days"],
            ["difference", "d4", "0", "0-1 days"],
            ["difference", "d5", "0", "0-1 days"],
            ["outside_refund", "o1", &ages, "over 30 days"],
            ["not_billed", &third, "40", "over 30 days"],
            ["not_billed", &first, "9", "8-30 days"],
        ],
        "{found:?}"
    );
    assert_eq!((&*found[0][15], &*found[1][13], &*found[1][17]), ("3.00", "50.00", "\"'=look\""));
    assert!(found.iter().all(|line| line.len() == 19), "{found:?}");
    // What came by the end of a day.
    let by = (chrono::Utc::now() - chrono::TimeDelta::days(20)).date_naive();
    let older = lines(json!({"kind": "unmatched", "format": "csv", "from": by, "to": by})).await;
    let kinds: Vec<_> = older.iter().map(|it| &*it[0]).collect();
    assert_eq!(kinds, ["outside_refund", "not_billed"], "{older:?}");
}

#[tokio::test]
async fn a_file_is_told_to_lie_elsewhere_or_to_be_gone() {
    let it = gateway().await;
    let finance = it.token("fin", Role::Finance).await;
    let asked = json!({"kind": "journal", "format": "csv"});
    let asked = it.call("POST", "/api/admin/exports", Some(&finance), Some(asked)).await.body;
    let path = format!("/api/admin/exports/{}", asked["id"].as_str().unwrap());
    let file = async |it: &Gateway| {
        let answer = it.call("GET", &format!("{path}/file"), Some(&finance), None).await;
        (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or_default().to_owned(), answer.body)
    };
    // Another process with a data folder of its own, and one that shares this one's.
    let (far, near) = (tempfile::tempdir().unwrap(), it.app.config.data_dir.clone());
    let clerk = |folder: &std::path::Path| {
        let app = &it.app;
        Clerk::new(app.directory.clone(), app.db.clone(), app.ledger.clone(), app.config.zone(), folder)
    };
    let stop = CancellationToken::new();
    assert!(clerk(far.path()).make_next(&stop).await.unwrap());
    let (status, code, body) = file(&it).await;
    assert_eq!((status, &*code), (409, "export_elsewhere"));
    let host = it.call("GET", &path, Some(&finance), None).await.body["made_on"].clone();
    assert!(body["detail"].as_str().unwrap().contains(host.as_str().unwrap()), "{body}");

    it.app.db.execute("UPDATE exports SET state = 'queued', attempts = 0", &[]).await.unwrap();
    assert!(clerk(&near).make_next(&stop).await.unwrap(), "who shares the folder");
    assert_eq!(file(&it).await.0, 200);
    let lies = std::fs::read_dir(near.join("exports")).unwrap().map(|it| it.unwrap().path());
    let lies = lies.filter(|it| it.extension().is_some_and(|it| it == "csv")).collect::<Vec<_>>();
    std::fs::remove_file(&lies[0]).unwrap();
    assert_eq!(file(&it).await.1, "export_gone");
    let state = it.call("GET", &path, Some(&finance), None).await.body["state"].clone();
    assert_eq!(state, "expired", "nobody has it any more, and so it stays");
}

#[tokio::test]
async fn a_month_is_closed_once_in_order_and_what_is_altered_is_found() {
    let it = gateway().await;
    let (finance, auditor) = (it.token("fin", Role::Finance).await, it.token("aud", Role::Auditor).await);
    let ann = it.token("ann", Role::User).await;
    let ann = it.account_of(&ann).await;
    let position = it.decides(ann, grant("1.5", None)).await;
    assert!(it.projector.wait_for(position, Duration::from_secs(20)).await);
    // As if it had been decided in January.
    for table in ["journal_entries", "journal_daily"] {
        it.app.db.execute(&format!("UPDATE {table} SET day = '2026-01-20'"), &[]).await.unwrap();
    }
    let close = async |token: &str, month: &str| {
        it.call("POST", "/api/admin/periods", Some(token), Some(json!({"month": month}))).await
    };
    let list = async || it.call("GET", "/api/admin/periods", Some(&auditor), None).await.body;
    assert_eq!(list().await["next"], "2026-01");
    assert_eq!(close(&auditor, "2026-01").await.status, 403);
    assert_eq!(close(&finance, "2026-1").await.status, 422);
    assert_eq!(close(&finance, "9000-01").await.body["code"], "period_not_over");
    let january = close(&finance, "2026-01").await;
    assert_eq!((january.status.as_u16(), &january.body["entries"]), (201, &json!(2)), "{}", january.body);
    assert_eq!(january.body["position"], position);
    for (month, code) in
        [("2026-01", "period_closed"), ("2025-12", "period_closed"), ("2026-03", "period_out_of_order")]
    {
        let answer = close(&finance, month).await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str().unwrap()), (409, code), "{month}");
    }
    let february = close(&finance, "2026-02").await.body;
    assert_eq!(february["previous_digest"], january.body["digest"]);
    assert_eq!(february["public_key"], january.body["public_key"]);
    assert_eq!(
        (&list().await["next"], list().await["items"].as_array().unwrap().len()),
        (&json!("2026-03"), 2)
    );
    let shown = it.call("GET", "/api/admin/periods/2026-01", Some(&auditor), None).await.body;
    let document: Value = serde_json::from_str(shown["document"].as_str().unwrap()).unwrap();
    assert_eq!(document["trial_balance"].as_array().unwrap().len(), 2);
    assert_eq!(it.call("GET", "/api/admin/periods/2026-09", Some(&auditor), None).await.status, 404);

    let key = january.body["public_key"].as_str().unwrap();
    let faults = async |key: &str| period::verify(&it.app.db, Some(key)).await.unwrap().1;
    assert_eq!(faults(key).await, Vec::<String>::new());
    assert_eq!(faults("00").await.len(), 2, "both are signed with another key than that");
    for (change, back, told) in [
        (
            "UPDATE journal_entries SET amount = amount + 1 WHERE line = 0",
            "UPDATE journal_entries SET amount = amount - 1 WHERE line = 0",
            "lines",
        ),
        (
            "UPDATE period_books SET debit_units = debit_units + 1 WHERE month = '2026-02' AND book = 'expense:promotions'",
            "UPDATE period_books SET debit_units = debit_units - 1 WHERE month = '2026-02' AND book = 'expense:promotions'",
            "sums",
        ),
        (
            "UPDATE period_closes SET document = REPLACE(document, 'month', 'mouth')",
            "UPDATE period_closes SET document = REPLACE(document, 'mouth', 'month')",
            "signature",
        ),
        (
            "UPDATE period_closes SET position = position + 1 WHERE month = '2026-01'",
            "UPDATE period_closes SET position = position - 1 WHERE month = '2026-01'",
            "position",
        ),
        (
            "UPDATE period_closes SET previous = NULL",
            "UPDATE period_closes SET previous = (SELECT digest FROM period_closes WHERE month = '2026-01') WHERE month = '2026-02'",
            "before it",
        ),
    ] {
        it.app.db.execute(change, &[]).await.unwrap();
        let found = faults(key).await;
        assert!(found.iter().any(|it| it.contains(told)), "{change}: {found:?}");
        it.app.db.execute(back, &[]).await.unwrap();
        assert_eq!(faults(key).await, Vec::<String>::new(), "{back}");
    }
}
