use crate::directory::now;
use crate::directory::user::Role;
use crate::http::tests::{Gateway, gateway_with};
use crate::referral::Road;
use domain::Credits;
use serde_json::{Value, json};

async fn programme(changes: Value) -> (Gateway, Road) {
    let mut overrides = json!({"referral.enabled": true, "referral.reward": "5", "referral.welcome": "1",
        "referral.min_topup": "5", "referral.monthly_cap": 2, "referral.hold_days": 0});
    overrides.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let it = gateway_with(|config| {
        *config = config.with(&serde_json::from_value(overrides).unwrap()).unwrap();
    })
    .await;
    let road = Road {
        ledger: it.app.ledger.clone(),
        directory: it.app.directory.clone(),
        db: it.app.db.clone(),
        live: it.app.live.clone(),
    };
    (it, road)
}

impl Gateway {
    async fn joins(&self, name: &str, email: &str, referral: Option<&str>) -> String {
        let body =
            json!({"username": name, "email": email, "password": "long enough 1", "referral": referral});
        let answer = self.call("POST", "/api/user/register", None, Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let (user, _) = self.app.directory.credentials(name).await.unwrap().unwrap();
        self.app.directory.open_session(&user, "test").await.unwrap().token
    }

    /// Ann, and Bob whom she brought.
    async fn brings(&self) -> (String, String) {
        let ann = self.token("ann", Role::User).await;
        let code = self.mine(&ann).await["code"].as_str().unwrap().to_owned();
        let bob = self.joins("bob", "bob@example.com", Some(&code)).await;
        (ann, bob)
    }

    /// Tops up and waits until the tables hold it; the order.
    async fn pays(&self, who: &str, amount: &str) -> domain::OrderId {
        let body = json!({"amount": amount, "channel": "sandbox"});
        let order = self.call("POST", "/api/user/topup", Some(who), Some(body)).await.body;
        let id = order["order"].as_str().unwrap().parse().unwrap();
        let account = self.account_of(who).await;
        let pay: domain::Money = domain::Money::parse(amount, "CNY".parse().unwrap()).unwrap();
        let command = domain::Command::CompleteTopUp {
            order: id,
            channel: "sandbox".parse().unwrap(),
            provider_txn: "t-1".parse().unwrap(),
            paid: pay,
        };
        let position = self.decides(account, command).await;
        assert!(self.projector.wait_for(position, std::time::Duration::from_secs(20)).await);
        id
    }

    /// So much of an order's money is asked to go back.
    async fn asks_back(&self, who: &str, order: domain::OrderId, amount: &str) -> domain::RefundId {
        let refund = domain::RefundId::from_uuid(uuid::Uuid::now_v7());
        let amount = domain::Money::parse(amount, "CNY".parse().unwrap()).unwrap();
        let reason = "changed my mind".parse().unwrap();
        let command = domain::Command::RequestRefund { refund, order, pay: amount, reason };
        let position = self.decides(self.account_of(who).await, command).await;
        assert!(self.projector.wait_for(position, std::time::Duration::from_secs(20)).await);
        refund
    }

    async fn total(&self, who: &str) -> Credits {
        let end = self.app.ledger.log().identity().await.unwrap().last_sequence;
        let path = format!("/api/user/balance?after={end}");
        let total = self.call("GET", &path, Some(who), None).await.body["total"].clone();
        total.as_str().unwrap().parse().unwrap()
    }

    async fn mine(&self, who: &str) -> Value {
        self.call("GET", "/api/user/referral", Some(who), None).await.body
    }
}

fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

#[tokio::test]
async fn whoever_brings_a_payer_is_rewarded_once() {
    let (it, road) = programme(json!({})).await;
    let ann = it.token("ann", Role::User).await;
    let code = it.mine(&ann).await["code"].as_str().unwrap().to_owned();
    assert_eq!(it.mine(&ann).await["code"], code.as_str(), "one has one code");
    let bob = it.joins("bob", "bob@example.com", Some(&code.to_lowercase())).await;
    road.reward().await.unwrap();
    it.pays(&bob, "7.20").await; // one credit: too little
    road.reward().await.unwrap();
    assert_eq!((it.total(&ann).await, it.mine(&ann).await["waiting"].clone()), (Credits::ZERO, json!(1)));
    it.pays(&bob, "72").await;
    it.pays(&bob, "72").await;
    // Several processes, several times.
    for _ in 0..2 {
        let roads = (0..4).map(|_| road.reward());
        futures_util::future::join_all(roads).await.into_iter().for_each(|done| done.unwrap());
    }
    assert_eq!((it.total(&ann).await, it.total(&bob).await), (credits("5"), credits("22")));
    let mine = it.mine(&ann).await;
    assert_eq!((&mine["brought"], &mine["rewarded"], &mine["credits"]), (&json!(1), &json!(1), &json!("5")));
    let support = it.token("sup", Role::Support).await;
    let all = it.call("GET", "/api/admin/referrals?state=earned", Some(&support), None).await.body;
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    assert!(
        all["items"][0]["reward_event_seq"].is_number() && all["items"][0]["welcome_event_seq"].is_number()
    );
}

#[tokio::test]
async fn a_process_that_dies_beside_the_grant_leaves_it_to_the_next() {
    let (it, road) = programme(json!({})).await;
    let (ann, bob) = it.brings().await;
    it.pays(&bob, "72").await;
    // Decided, and then nothing; then granted, and not noted.
    let waiting = it.app.directory.waiting_referrals(None, 10).await.unwrap().remove(0);
    let earning = crate::directory::referral::Earning {
        order: domain::OrderId::from_uuid(uuid::Uuid::nil()),
        reward: credits("5"),
        welcome: credits("1"),
        monthly_cap: 2,
        month: "2026-11".into(),
    };
    let decided = it.app.directory.earn_referral(&waiting, &earning).await.unwrap().unwrap();
    assert_eq!(it.app.directory.earn_referral(&waiting, &earning).await.unwrap(), None);
    assert_eq!(
        it.app.directory.ungranted_referrals(now().plus_ms(1)).await.unwrap(),
        std::slice::from_ref(&decided)
    );
    let share = crate::directory::referral::Share::Reward;
    let command = domain::Command::GrantCredit {
        grant: decided.grant(share),
        source: domain::account::event::GrantSource::Referral,
        credits: decided.reward,
        reason: None,
    };
    it.decides(decided.referrer, command).await;
    for _ in 0..2 {
        road.finish(now().plus_ms(1)).await.unwrap();
    }
    assert_eq!((it.total(&ann).await, it.total(&bob).await), (credits("5"), credits("11")));
    assert!(it.app.directory.ungranted_referrals(now().plus_ms(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_month_has_a_cap_and_nobody_brings_themselves() {
    let (it, road) = programme(json!({})).await;
    let ann = it.joins("ann", "ann@gmail.com", None).await;
    let code = it.mine(&ann).await["code"].as_str().unwrap().to_owned();
    // Herself, in another form of her address.
    it.joins("annie", "a.n.n+second@googlemail.com", Some(&code)).await;
    assert_eq!(it.mine(&ann).await["brought"], 0);
    let mut brought = Vec::new();
    for n in 0..3 {
        let who = it.joins(&format!("friend{n}"), &format!("friend{n}@example.com"), Some(&code)).await;
        it.pays(&who, "72").await;
        brought.push(who);
    }
    road.reward().await.unwrap();
    assert_eq!(it.total(&ann).await, credits("10"), "two of three: the cap");
    for who in &brought {
        assert_eq!(it.total(who).await, credits("11"), "the welcome is everybody's");
    }
    let mine = it.mine(&ann).await;
    assert_eq!((&mine["rewarded"], &mine["rewarded_this_month"]), (&json!(2), &json!(2)));
    let body = json!({"username": "odd", "email": "odd@example.com", "password": "long enough 1", "referral": "NOBODYS"});
    let odd = it.call("POST", "/api/user/register", None, Some(body)).await;
    assert_eq!(odd.status, 422, "{}", odd.body);
}

#[tokio::test]
async fn while_it_is_off_nothing_is_given_nor_made_up_for() {
    let (it, road) = programme(json!({})).await;
    let owner = it.token("own", Role::Owner).await;
    let (ann, bob) = it.brings().await;
    let sets = async |version: i64, on: bool| {
        let body = json!({"version": version, "set": {"referral.enabled": on}});
        assert_eq!(it.call("PATCH", "/api/admin/settings", Some(&owner), Some(body)).await.status, 200);
    };
    sets(0, false).await;
    it.joins("eve", "eve@example.com", Some("any text at all")).await;
    it.pays(&bob, "72").await;
    road.reward().await.unwrap();
    sets(1, true).await;
    it.pays(&bob, "72").await;
    road.reward().await.unwrap();
    assert_eq!(it.total(&ann).await, Credits::ZERO);
    let all = it.call("GET", "/api/admin/referrals", Some(&owner), None).await.body;
    assert_eq!(all["items"][0]["state"], "missed");
}

#[tokio::test]
async fn a_top_up_whose_money_goes_back_earns_nothing() {
    let (it, road) = programme(json!({})).await;
    let (ann, bob) = it.brings().await;
    // Ten credits, of which less than five would be left.
    let order = it.pays(&bob, "72").await;
    it.asks_back(&bob, order, "36.01").await;
    road.reward().await.unwrap();
    assert_eq!((it.total(&ann).await, it.mine(&ann).await["waiting"].clone()), (Credits::ZERO, json!(1)));
    // Another one stands, but is disputed, and then not any more.
    let second = it.pays(&bob, "72").await;
    let sql = "INSERT INTO disputes (id, channel, reference, order_id, currency, amount, state, what, created_at, updated_at) \
               VALUES ('d', 'sandbox', 'dp_1', ?, 'CNY', 7200, 'open', 'fraudulent', 0, 0)";
    it.app.db.execute(sql, &[second.into()]).await.unwrap();
    road.reward().await.unwrap();
    assert_eq!(it.total(&ann).await, Credits::ZERO);
    it.app.db.execute("UPDATE disputes SET state = 'won'", &[]).await.unwrap();
    road.reward().await.unwrap();
    assert_eq!(it.total(&ann).await, credits("5"));
}

#[tokio::test]
async fn a_reward_waits_until_its_top_up_has_stood_and_what_came_in_time_does_not_lapse_meanwhile() {
    let (it, road) = programme(json!({"referral.hold_days": 14, "referral.days": 1})).await;
    let (ann, bob) = it.brings().await;
    it.pays(&bob, "72").await;
    let days_ago = async |days: i64| {
        let at = now().plus_ms(-days * 86_400_000);
        it.app.db.execute("UPDATE referrals SET created_at = ?", &[at.into()]).await.unwrap();
        it.app.db.execute("UPDATE top_up_orders SET completed_at = ?", &[at.into()]).await.unwrap();
        road.reward().await.unwrap();
        it.mine(&ann).await["waiting"].clone()
    };
    assert_eq!(days_ago(0).await, json!(1));
    assert_eq!((days_ago(13).await, it.total(&ann).await), (json!(1), Credits::ZERO));
    assert_eq!((days_ago(14).await, it.total(&ann).await), (json!(0), credits("5")));
}
