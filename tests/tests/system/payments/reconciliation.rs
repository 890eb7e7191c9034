//! Reconciliation, end to end at every channel: a day that closes, and one with a difference of each kind planted into its bill.

use super::*;
use chrono::{NaiveDate, TimeDelta, Timelike, Utc};
use std::collections::BTreeMap;
use system_tests::Api;
use system_tests::channels::alipay::{AlipayGateway, SELLER_ID};
use system_tests::channels::bills::{self, Kind, Line};
use system_tests::channels::epay::{EpaySite, PID};
use system_tests::channels::stripe::{StripeApi, WEBHOOK_SECRET};
use system_tests::channels::wechat::{MCHID, WechatApi};
use system_tests::databases;

/// The channels, with what differs between them.
struct Shops {
    alipay: AlipayGateway,
    wechat: WechatApi,
    stripe: StripeApi,
    epay: EpaySite,
    epay_two: EpaySite,
}

const CHANNELS: [&str; 5] = ["alipay", "wechat", "stripe", "epay", "epay-two"];

impl Shops {
    async fn start() -> Self {
        let (alipay, wechat, stripe, epay, epay_two) = tokio::join!(
            AlipayGateway::start(false),
            WechatApi::start(false),
            StripeApi::start(),
            EpaySite::start(1),
            EpaySite::start(2)
        );
        Self { alipay, wechat, stripe, epay, epay_two }
    }

    fn for_gateway(&self, options: GatewayOptions) -> GatewayOptions {
        let options = self.alipay.for_gateway(self.wechat.for_gateway(self.stripe.for_gateway(options)));
        let options = self.epay_two.for_gateway(options, "epay-two", "api");
        self.epay
            .for_gateway(options, "epay", "api")
            .environment("NEXUSROUTE_PAYMENTS_ALIPAY_FEE", "0.6%")
            .environment("NEXUSROUTE_PAYMENTS_STRIPE_FEE", "0.6%")
            .environment("NEXUSROUTE_RECONCILIATION_DAILY_AT", "")
    }

    /// A user orders, pays, and the channel tells us.
    async fn pays(&self, gateway: &Gateway, user: &User, channel: &str, amount: &str) -> String {
        let order = self.orders(user, channel, amount).await;
        let (number, door) = (number(&order), door(gateway, channel));
        let heard = match channel {
            "alipay" => {
                self.alipay.opens(&order["action"]).await;
                self.alipay.is_paid(&number);
                self.alipay.notifies(&door, &number).await
            }
            "wechat" => {
                self.wechat.is_paid(&number);
                self.wechat.notifies(&door, &number).await
            }
            "stripe" => {
                self.stripe.is_paid(&number);
                self.stripe.notifies(&door, &number).await
            }
            _ => {
                self.site(channel).is_paid(&number);
                self.site(channel).notifies(&door, &number).await
            }
        };
        assert!((200..300).contains(&heard.status), "{channel}: {heard:?}");
        number
    }

    async fn orders(&self, user: &User, channel: &str, amount: &str) -> Value {
        let currency = if channel == "stripe" { "USD" } else { "CNY" };
        let method = if channel == "alipay" { json!("page") } else { Value::Null };
        let mut wish = json!({"amount": amount, "currency": currency, "channel": channel});
        if !method.is_null() {
            wish["method"] = method;
        }
        orders_with(user, wish).await
    }

    fn site(&self, channel: &str) -> &EpaySite {
        if channel == "epay" { &self.epay } else { &self.epay_two }
    }

    /// The channel tells us of a refund, where it does such a thing; answers whether it does.
    async fn tells_refund(&self, door: &str, channel: &str, number: &str, refund: &str) -> bool {
        let heard = match channel {
            "alipay" => {
                let form = self.alipay.refund_notice(number, refund, "20.02");
                self.alipay.tells(door, &self.alipay.signed(form)).await
            }
            "wechat" => self.wechat.tells_refund(door, number, refund).await,
            "stripe" => {
                let given = self.stripe.refunds.get(refund).unwrap();
                let event = self.stripe.refund_event(
                    "refund.updated",
                    &self.stripe.txn(number),
                    Some(refund),
                    &given,
                );
                self.stripe.tells(door, &event, 0, WEBHOOK_SECRET).await
            }
            _ => return false,
        };
        assert!((200..300).contains(&heard.status), "{channel}: {heard:?}");
        true
    }

    /// What the channel has of the payments and refunds so far.
    fn lines(&self, channel: &str) -> Vec<Line> {
        match channel {
            "alipay" => self.alipay.lines(),
            "wechat" => self.wechat.lines(),
            "stripe" => self.stripe.lines(),
            _ => self.site(channel).lines(),
        }
    }

    /// From now on these are the channel's bills of a day.
    fn offers(&self, channel: &str, day: NaiveDate, lines: &[Line]) {
        let text = day.to_string();
        match channel {
            "alipay" => {
                self.alipay.offers_bill("trade", &text, bills::alipay(SELLER_ID, day, lines));
                self.alipay.offers_bill("signcustomer", &text, bills::alipay_funds(SELLER_ID, day, lines));
            }
            "wechat" => {
                self.wechat.offers_bill("tradebill", &text, bills::wechat(MCHID, lines));
                self.wechat.offers_bill("fundflowbill", &text, bills::wechat_funds(lines));
            }
            "stripe" => self.stripe.offers_bill(&text, bills::stripe(lines)),
            _ => self.site(channel).lists(lines),
        }
    }

    /// The channel's bill of payments, as somebody would upload it.
    fn file(&self, channel: &str, day: NaiveDate, lines: &[Line]) -> Vec<u8> {
        match channel {
            "alipay" => bills::alipay(SELLER_ID, day, lines),
            "wechat" => bills::wechat(MCHID, lines),
            "stripe" => bills::stripe(lines),
            _ => serde_json::to_vec(&bills::epay(PID, lines)).unwrap(),
        }
    }
}

/// Today, as the channel counts days.
fn today(channel: &str) -> NaiveDate {
    let hours = if channel == "stripe" { 0 } else { 8 };
    (Utc::now() + TimeDelta::hours(hours)).date_naive()
}

async fn uploads(api: &Api, channel: &str, day: NaiveDate, bytes: Vec<u8>) -> system_tests::Answer {
    let path = format!("/api/admin/reconciliation/bills?channel={channel}&day={day}&kind=trades&name=bill");
    api.send(reqwest::Method::POST, &path, Some(("application/octet-stream", bytes))).await
}

/// The differences of a day by their kind, with how many there are; those that settled themselves in brackets.
async fn found(api: &Api, channel: &str, day: NaiveDate) -> BTreeMap<String, usize> {
    let path =
        format!("/api/admin/reconciliation/differences?channel={channel}&from={day}&to={day}&limit=100");
    let items = api.get(&path).await.ok()["items"].as_array().unwrap().clone();
    let mut found = BTreeMap::new();
    for it in &items {
        let class = text(&it["class"]);
        let word = if it["state"] == "cleared" { format!("({class})") } else { class };
        *found.entry(word).or_default() += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_channels_day_closes_and_each_planted_difference_is_found() {
    reconciles(impatient(4), &CHANNELS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_reconciled_on_postgresql() {
    let url = databases::postgres().await;
    reconciles(impatient(4).environment("NEXUSROUTE_DATABASE_URL", &url), &["wechat"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_reconciled_on_mariadb() {
    let url = databases::mariadb().await;
    reconciles(impatient(4).environment("NEXUSROUTE_DATABASE_URL", &url), &["wechat"]).await;
}

async fn reconciles(options: GatewayOptions, channels: &[&str]) {
    let shops = Shops::start().await;
    let options = options.environment("NEXUSROUTE_TOPUP_BONUS", "100=10");
    // So that a payment in dollars reaches it too.
    let options = options.environment("NEXUSROUTE_TOPUP_RATES", "CNY=1,USD=1");
    let gateway = shops.for_gateway(options).start().await;
    let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
    futures_util::future::join_all(channels.iter().map(async |channel| {
        let day = today(channel);
        closes(&shops, &gateway, &operator, &user, channel, day).await;
        plants(&shops, &gateway, &operator, &user, channel, day).await;
    }))
    .await;
    signs_off(&gateway, &operator).await;
    stands_again(&shops, &operator).await;
    if channels.contains(&"epay") {
        claims(&shops, &gateway, &operator, &user).await;
    }
    refuses(&shops, &operator).await;
    let mut secrets = shops.alipay.secrets();
    secrets.extend(shops.wechat.secrets());
    secrets.extend(shops.stripe.secrets());
    secrets.extend(shops.epay.secrets());
    secrets.extend(shops.epay_two.secrets());
    eventually("the owner was told of each refund", PATIENCE, async || {
        let mails = operator.api.get("/api/admin/mails?limit=100").await.ok();
        let count =
            |kind: &str| mails["items"].as_array().unwrap().iter().filter(|it| it["kind"] == kind).count();
        // One that was done before anybody looked is told of as done only.
        assert!(count("refund-failed") == 0 && count("refund-requested") <= channels.len(), "{mails}");
        (count("refund-completed") == channels.len()).then_some(())
    })
    .await;
    nothing_leaks(&gateway, &secrets);
    gateway.stop().await;
}

/// Pay, callback, credit, bill, reconciliation: nothing differs, and the day is recorded.
async fn closes(
    shops: &Shops,
    gateway: &Gateway,
    operator: &Operator,
    user: &User,
    channel: &str,
    day: NaiveDate,
) {
    // Tomorrow's is empty, so that nothing can be waiting for it.
    let after = day.succ_opt().unwrap();
    uploads(&operator.api, channel, after, shops.file(channel, after, &[])).await.ok();
    shops.pays(gateway, user, channel, "50").await;
    let number = shops.pays(gateway, user, channel, "100.10").await;
    goes_back(shops, gateway, operator, user, channel, &number).await;
    let lines = shops.lines(channel);
    let has_refunds = !channel.starts_with("epay");
    assert_eq!(lines.len(), if has_refunds { 3 } else { 2 }, "{channel}");
    shops.offers(channel, day, &lines);
    let body = json!({"channel": channel, "day": day.to_string(), "download": true});
    let run = operator.api.post("/api/admin/reconciliation/runs", &body).await.ok();
    assert_eq!(
        (&run["matched"], &run["differences"], &run["open"]),
        (&json!(lines.len()), &json!(0), &json!(0)),
        "{channel}: {run}"
    );
    let total = &run["totals"][0];
    assert_eq!(
        (&total["payments"], &total["ledger_payments"]),
        (&json!("150.10"), &json!("150.10")),
        "{run}"
    );
    assert_eq!(total["ledger_refunds"], "20.02", "{run}");
    if has_refunds {
        assert_eq!(total["refunds"], "20.02", "{run}");
        assert_eq!((&total["fees"], &total["net"]), (&json!("0.90"), &json!("129.18")), "{run}");
    }
    if matches!(channel, "alipay" | "wechat") {
        assert_eq!(
            (&total["fund_change"], &total["unexplained"]),
            (&json!("129.18"), &json!("0.00")),
            "{run}"
        );
    }
    assert_eq!(found(&operator.api, channel, day).await, BTreeMap::new(), "{channel}");
    // The same bill again is the same bill, by hand or by the channel.
    let list = format!("/api/admin/reconciliation/bills?channel={channel}");
    let before = operator.api.get(&list).await.ok();
    operator.api.post("/api/admin/reconciliation/runs", &body).await.ok();
    assert_eq!(before, operator.api.get(&list).await.ok(), "{channel}");
    let path = format!("/api/admin/reconciliation/runs?channel={channel}&from={day}&to={day}");
    let runs = operator.api.get(&path).await.ok();
    assert_eq!(runs["items"].as_array().unwrap().len(), 2, "days without a difference are recorded too");
    let one = format!("/api/admin/reconciliation/runs/{}", text(&run["id"]));
    assert_eq!(operator.api.get(&one).await.ok(), run);
}

/// A part of a payment of 100.10 goes back: asked for, approved, given, told of. Its bonus goes with it in proportion.
async fn goes_back(
    shops: &Shops,
    gateway: &Gateway,
    operator: &Operator,
    user: &User,
    channel: &str,
    number: &str,
) {
    let order = json!({"order": number});
    until_status(user, &order, "completed").await;
    let order = user.api.get(&format!("/api/user/topup/{number}")).await.ok();
    let (credits, bonus) = (bought(&order), credits(&order["bonus"]));
    assert_eq!(bonus.nano(), credits.nano() / 10, "{order}");
    let path = format!("/api/admin/ledger/events?account={}&limit=100", user.id);
    // The grant follows its payment at once.
    eventually("the bonus is given", PATIENCE, async || {
        let events = operator.api.get(&path).await.ok()["items"].as_array().unwrap().clone();
        let of_it = |it: &&Value| {
            it["event"]["type"] == "credit_granted" && it["event"]["data"]["grant"] == order["order"]
        };
        events.iter().find(of_it).map(|it| assert_eq!(it["event"]["data"]["credits"], order["bonus"]))
    })
    .await;
    let refund = refunds::refunds(operator, user, &order, "20.02").await;
    // A fifth of what it had bought, and of its bonus: 20.02 of 100.10, each rounded up to the nano.
    let fifth = |credits: Credits| (credits.nano() + 4) / 5;
    let taken = Credits::from_nano(fifth(credits) + fifth(bonus));
    assert_eq!(refund["credits"], taken.to_string(), "{channel}: {order}");
    refunds::until(operator, &refund, "status", "completed").await;
    let told = shops.tells_refund(&door(gateway, channel), channel, number, &text(&refund["number"])).await;
    if told {
        eventually("the callback of the refund lies in INBOX", PATIENCE, async || {
            verdicts(operator, channel).await.contains(&"refunded".to_owned()).then_some(())
        })
        .await;
    }
}

/// One difference of each kind.
async fn plants(
    shops: &Shops,
    gateway: &Gateway,
    operator: &Operator,
    user: &User,
    channel: &str,
    day: NaiveDate,
) {
    let closed = shops.orders(user, channel, "60").await;
    let mut numbers = Vec::new();
    for amount in ["71", "72", "73", "74", "75", "76"] {
        numbers.push(shops.pays(gateway, user, channel, amount).await);
    }
    until_status(user, &closed, "cancelled").await;
    let mut lines = shops.lines(channel);
    let at = |lines: &[Line], n: usize| lines.iter().position(|line| line.order == numbers[n]).unwrap();
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    let mut expect = |class: &str| *expected.entry(class.to_owned()).or_default() += 1;
    // Not ours, or lost before it became ours.
    let first = lines[0].clone();
    lines.push(Line { order: "0".repeat(31) + "7", txn: "nobody-knows-it".into(), ..first.clone() });
    expect("provider_only");
    // Closed here, and paid there.
    lines.push(Line { order: number(&closed), txn: "paid-too-late".into(), ..first.clone() });
    expect("status");
    let n = at(&lines, 0);
    lines[n].minor += 1;
    expect("amount");
    let n = at(&lines, 1);
    lines.remove(n);
    expect("ledger_only");
    let n = at(&lines, 2);
    let twice = Line { txn: "a-second-payment".into(), ..lines[n].clone() };
    lines.push(twice);
    expect("duplicate_payment");
    // Paid in the last second of yesterday, and credited today.
    let n = at(&lines, 3);
    let mut yesterday = lines.remove(n);
    yesterday.at = day.and_hms_opt(0, 0, 0).unwrap() - TimeDelta::seconds(1);
    if !channel.starts_with("epay") {
        let n = at(&lines, 4);
        lines[n].fee += 7;
        expect("fee");
        let n = at(&lines, 5);
        let back = Line {
            kind: Kind::Refund,
            refund: "made-by-hand".into(),
            minor: 100,
            fee: 0,
            ..lines[n].clone()
        };
        lines.push(back);
        expect("refund");
        lines.push(Line {
            kind: Kind::Payout,
            order: String::new(),
            txn: "payout-1".into(),
            fee: 0,
            ..first
        });
        expect("unknown_row");
    }
    let before = day.pred_opt().unwrap();
    shops.offers(channel, day, &lines);
    let body = json!({"channel": channel, "day": day.to_string(), "download": true});
    let run = operator.api.post("/api/admin/reconciliation/runs", &body).await.ok();
    let mut without_yesterday = expected.clone();
    // Credited more than an hour after midnight it is an alarm at once, else it waits for yesterday's bill: so does the row
    // that is taken out for good.
    let local = Utc::now() + TimeDelta::hours(if channel == "stripe" { 0 } else { 8 });
    let early = if local.hour() == 0 { "timing" } else { "ledger_only" };
    without_yesterday.remove("ledger_only");
    without_yesterday.insert(early.to_owned(), 2);
    let planted: usize = without_yesterday.values().sum();
    assert_eq!(found(&operator.api, channel, day).await, without_yesterday, "{channel}: {run}");
    assert_eq!((&run["differences"], &run["open"]), (&json!(planted), &json!(planted)), "{channel}");
    // Yesterday's bill comes in: it settles itself, and today is compared again by that.
    let sent = uploads(&operator.api, channel, before, shops.file(channel, before, &[yesterday])).await.ok();
    assert_eq!((&sent["is_new"], &sent["run"]["open"]), (&json!(true), &json!(0)), "{sent}");
    assert_eq!(found(&operator.api, channel, before).await, BTreeMap::from([("(timing)".to_owned(), 1)]));
    // What no bill has is an alarm now, and no longer a question.
    expected.insert(format!("({early})"), if early == "timing" { 2 } else { 1 });
    assert_eq!(found(&operator.api, channel, day).await, expected, "{channel}");
    if matches!(channel, "alipay" | "wechat") {
        // The channel knows of no bill of that day: the one that was sent stands.
        let body = json!({"channel": channel, "day": before.to_string(), "download": true});
        assert_eq!(operator.api.post("/api/admin/reconciliation/runs", &body).await.ok()["matched"], 1);
    }
    let path = format!(
        "/api/admin/reconciliation/differences?channel={channel}&class=timing&from={before}&to={before}"
    );
    let linked = operator.api.get(&path).await.ok()["items"][0]["linked_day"].clone();
    if !channel.starts_with("epay") {
        // Yesterday is over, so its fee is booked: 0.6% of 74.
        eventually("the fee stands in the books", PATIENCE, async || {
            let trial = operator.api.get("/api/admin/ledger/trial-balance").await.ok();
            let name = format!("expense:fees:{channel}");
            let book = trial["books"].as_array().unwrap().iter().find(|it| it["book"] == name)?.clone();
            assert_eq!((&trial["balanced"], &book["debit"]), (&json!(true), &json!("0.44")), "{book}");
            Some(())
        })
        .await;
    }
    assert_eq!(linked, json!(day.to_string()), "the link to the other day is kept");
}

/// Open, assigned, proposed, signed off by another person; never opened again, but found anew by a later bill.
async fn signs_off(gateway: &Gateway, operator: &Operator) {
    let finance = User::new(gateway).await;
    finance.becomes(operator, "finance").await;
    let list = "/api/admin/reconciliation/differences?channel=wechat&class=ledger_only&state=open";
    let it = finance.api.get(list).await.ok()["items"][0].clone();
    let step = |word: &str| format!("/api/admin/reconciliation/differences/{}/{word}", text(&it["id"]));
    assert_eq!(it["user_id"].as_str().map(str::len), Some(36), "{it}");
    let assigned = finance.api.post(&step("assign"), &json!({"owner": finance.id})).await.ok();
    assert_eq!((&assigned["state"], &assigned["owner"]), (&json!("assigned"), &json!(finance.id)));
    assert_eq!(operator.api.post(&step("approve"), &json!({})).await.problem(409), "wrong_state");
    let end = json!({"act": "adjusted", "reason": "=credits taken back, see request 12"});
    assert_eq!(finance.api.post(&step("resolve"), &end).await.ok()["state"], "proposed");
    assert_eq!(finance.api.post(&step("approve"), &json!({})).await.problem(403), "second_person_needed");
    let resolved = operator.api.post(&step("approve"), &json!({"note": "seen"})).await.ok();
    assert_eq!((&resolved["state"], &resolved["resolved_by"]), (&json!("resolved"), &json!(finance.id)));
    assert_eq!(
        finance.api.post(&step("assign"), &json!({"owner": finance.id})).await.problem(409),
        "wrong_state"
    );
    let day = text(&it["day"]);
    // Compared again by the same bill it stays signed off.
    let again = json!({"channel": "wechat", "day": day});
    finance.api.post("/api/admin/reconciliation/runs", &again).await.ok();
    assert_eq!(finance.api.get(list).await.ok()["items"], json!([]));
    let csv = finance.api.get("/api/admin/reconciliation/export?channel=wechat&state=resolved").await;
    assert!(csv.header("content-type").unwrap().starts_with("text/csv"), "{csv:?}");
    let line = csv.text.lines().nth(1).unwrap();
    assert!(line.contains("\"'=credits taken back, see request 12\""), "{line}");
    assert!(line.contains("\"\t42000009142021011"), "a number of many digits is text: {line}");
    let ages = finance.api.get("/api/admin/reconciliation/ageing?channel=wechat").await.ok();
    let fresh: u64 =
        ages["items"].as_array().unwrap().iter().map(|it| it["under_1_day"].as_u64().unwrap()).sum();
    assert!(fresh >= 6, "{ages}");
    eventually("the steps stand on AUDIT", PATIENCE, async || {
        let path = format!("/api/admin/audit?act=reconciliation&subject={}", text(&it["id"]));
        let acts = operator.api.get(&path).await.ok()["items"].as_array().unwrap().clone();
        let mut words: Vec<String> = acts.iter().map(|act| text(&act["act"])).collect();
        words.reverse();
        let expected = ["find", "assign", "resolve", "approve"].map(|word| format!("reconciliation.{word}"));
        (words == expected).then_some(())
    })
    .await;
}

/// A wrong bill takes the right one's place, and the right one, sent again, takes it back; what was booked of fees goes along.
async fn stands_again(shops: &Shops, operator: &Operator) {
    let day = today("wechat").checked_sub_days(chrono::Days::new(5)).unwrap();
    let at = day.and_hms_opt(10, 0, 0).unwrap();
    let right = shops.file("wechat", day, &[Line::payment("0", "four-days-ago", "100", at)]);
    let wrong = shops.file("wechat", day, &[]);
    let books = async || {
        let trial = operator.api.get("/api/admin/ledger/trial-balance").await.ok();
        let book = trial["books"].as_array().unwrap().iter().find(|it| it["book"] == "expense:fees:wechat");
        book.map(|book| book["balance"].clone())
    };
    let expects = async |bytes: &[u8], outcome: &str, rows: u64, debit: &str| {
        let sent = uploads(&operator.api, "wechat", day, bytes.to_vec()).await.ok();
        assert_eq!(
            (&sent["outcome"], &sent["bill"]["rows"], &sent["bill"]["is_current"]),
            (&json!(outcome), &json!(rows), &json!(true)),
            "{sent}"
        );
        eventually(&format!("fees of {debit}"), PATIENCE, async || (books().await? == debit).then_some(()))
            .await;
    };
    expects(&right, "new", 1, "1.04").await;
    expects(&wrong, "new", 0, "0.44").await;
    expects(&right, "stands_again", 1, "1.04").await;
    expects(&right, "known", 1, "1.04").await;
}

/// A payment that waited in suspense is claimed, days after it came: the comparison of the day that credits it ends the difference
/// of the day that was paid.
async fn claims(shops: &Shops, gateway: &Gateway, operator: &Operator, user: &User) {
    let second = User::new(gateway).await;
    second.becomes(operator, "finance").await;
    let (today, txn) = (today("epay"), "paid-days-ago");
    let paid = shops.pays(gateway, user, "epay", "80").await;
    let mut form = shops.epay.notice(&paid);
    form.extend([("out_trade_no".into(), "stray".into()), ("trade_no".into(), txn.into())]);
    assert_eq!(shops.epay.tells(&door(gateway, "epay"), &shops.epay.signed(form)).await.status, 404);
    let day = today.checked_sub_days(chrono::Days::new(5)).unwrap();
    let line = Line::payment("stray", txn, "80", day.and_hms_opt(10, 0, 0).unwrap());
    let bill = shops.file("epay", day, &[Line { fee: 0, ..line }]);
    let sent = uploads(&operator.api, "epay", day, bill).await.ok();
    assert_eq!(sent["run"]["open"], 1, "{sent}");
    let open = BTreeMap::from([("provider_only".to_owned(), 1)]);
    assert_eq!(found(&operator.api, "epay", day).await, open);

    let held = operator.api.get("/api/admin/payments/suspense?status=open").await.ok();
    let held = held["items"].as_array().unwrap().iter().find(|it| it["transaction"] == txn).unwrap().clone();
    let path = format!("/api/admin/payments/suspense/{}/claim", held["payment"]);
    let claim = json!({"user_id": user.id, "reason": "theirs"});
    let request = operator.api.post(&path, &claim).await.ok();
    let path = format!("/api/admin/approvals/{}/approve", text(&request["id"]));
    assert_eq!(second.api.post(&path, &json!({})).await.ok()["state"], "done");
    assert_eq!(found(&operator.api, "epay", day).await, open, "no day was compared since");
    let again = json!({"channel": "epay", "day": today.to_string()});
    operator.api.post("/api/admin/reconciliation/runs", &again).await.ok();
    let settled = found(&operator.api, "epay", day).await;
    assert_eq!(settled, BTreeMap::from([("(provider_only)".to_owned(), 1), ("(timing)".to_owned(), 1)]));
}

/// What is not the channel's bill of the day is refused, and nothing of it is kept.
async fn refuses(shops: &Shops, operator: &Operator) {
    let day = today("wechat").pred_opt().unwrap().pred_opt().unwrap();
    let path = "/api/admin/reconciliation/bills?limit=100";
    let before = operator.api.get(path).await.ok();
    let at = day.and_hms_opt(10, 0, 0).unwrap();
    let lines = [Line::payment("a", "b", "1", at)];
    let good = shops.file("wechat", day, &lines);
    let cut = good[..good.len() - 60].to_vec();
    for (bytes, word) in [
        (cut, "cut off"),
        (bills::wechat("1230000108", &lines), "line 2: this row is another merchant's"),
        (b"PK\x03\x04".to_vec(), ""),
        (Vec::new(), "empty"),
    ] {
        let answer = uploads(&operator.api, "wechat", day, bytes).await;
        assert_eq!(answer.problem(422), "bad_bill", "{word}");
        assert!(answer.text.contains(word), "{word}: {}", answer.text);
    }
    let other_day = uploads(&operator.api, "wechat", day.pred_opt().unwrap(), good).await;
    assert_eq!(other_day.problem(422), "bad_bill");
    assert_eq!(uploads(&operator.api, "sandbox", day, Vec::new()).await.problem(422), "not_supported");
    let large = uploads(&operator.api, "wechat", day, vec![b' '; 32 * 1024 * 1024 + 1]).await;
    assert_eq!(large.problem(413), "body_too_large");
    assert_eq!(operator.api.get(path).await.ok(), before);
}
