//! A storm of callbacks of every channel: each told a hundred times, mixed, to three processes on one PostgreSQL and one NATS, while
//! one of the processes, NATS and PostgreSQL are killed in the middle of it.
//!
//! One round here; `make storm ROUNDS=20` (and `SEED=…` to repeat one) for a long run.

use super::*;
use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use std::time::SystemTime;
use system_tests::{
    Nats,
    channels::{
        alipay::AlipayGateway,
        epay::EpaySite,
        stripe::{StripeApi, WEBHOOK_SECRET},
        wechat::{Tampering, WechatApi},
    },
    chaos::{
        Chance, rounds, seed,
        stage::{DatabaseServer, OwnDatabase},
    },
};

/// How often each callback is told.
const TIMES: usize = 100;
/// How many are under way at once.
const AT_ONCE: usize = 60;

/// One of each, Epay in both versions.
const CHANNELS: [&str; 5] = ["epay", "epay-two", "alipay", "wechat", "stripe"];

/// The simulators of all channels.
struct Shops {
    epay: EpaySite,
    epay_two: EpaySite,
    alipay: AlipayGateway,
    wechat: WechatApi,
    stripe: StripeApi,
}

/// A callback: whose it is, and what is sent.
struct Callback {
    channel: &'static str,
    request: reqwest::Request,
}

impl Callback {
    /// The same, to a gateway's door.
    fn at(&self, gateway: &str) -> reqwest::Request {
        let mut request = self.request.try_clone().unwrap();
        let mut url: reqwest::Url =
            format!("{gateway}/api/payments/{}/callback", self.channel).parse().unwrap();
        url.set_query(request.url().query());
        *request.url_mut() = url;
        *request.timeout_mut() = Some(Duration::from_secs(20));
        request
    }
}

impl Shops {
    async fn start() -> Self {
        let (epay, epay_two, alipay, wechat, stripe) = tokio::join!(
            EpaySite::start(1),
            EpaySite::start(2),
            AlipayGateway::start(true),
            WechatApi::start(true),
            StripeApi::start()
        );
        Self { epay, epay_two, alipay, wechat, stripe }
    }

    fn for_gateway(&self, options: GatewayOptions) -> GatewayOptions {
        let options = self.alipay.for_gateway(self.wechat.for_gateway(self.stripe.for_gateway(options)));
        let options = self.epay_two.for_gateway(options, "epay-two", "api");
        self.epay.for_gateway(options, "epay", "api")
    }

    /// A user orders and pays; nobody is told yet.
    async fn orders(&self, user: &User, channel: &str) -> Value {
        let currency = if channel == "stripe" { "USD" } else { "CNY" };
        let order =
            orders_with(user, json!({"amount": "50", "currency": currency, "channel": channel})).await;
        let number = number(&order);
        match channel {
            "alipay" => {
                self.alipay.opens(&order["action"]).await;
                self.alipay.is_paid(&number);
            }
            "wechat" => self.wechat.is_paid(&number),
            "stripe" => self.stripe.is_paid(&number),
            "epay" => self.epay.is_paid(&number),
            _ => self.epay_two.is_paid(&number),
        }
        order
    }

    /// What the channel tells of an order; or of one that nobody has, in that round.
    fn callback(&self, channel: &'static str, number: &str, stray: Option<(&str, u64)>) -> Callback {
        let door = "http://gateway/";
        let request = match channel {
            "alipay" => AlipayGateway::telling(door, &self.alipay.signed(self.alipay.notice(number))),
            "wechat" => {
                let transaction = self.wechat.transaction(number);
                self.wechat.telling(door, "TRANSACTION.SUCCESS", &transaction, Tampering::default())
            }
            "stripe" => {
                let event = self.stripe.event("checkout.session.completed", number);
                StripeApi::telling(door, &event, 0, WEBHOOK_SECRET)
            }
            _ => {
                let site = if channel == "epay" { &self.epay } else { &self.epay_two };
                let mut form = site.notice(number);
                if let Some((stray, round)) = stray {
                    form.insert("out_trade_no".into(), stray.to_owned());
                    form.insert("trade_no".into(), format!("stray-{round}"));
                }
                EpaySite::telling(door, &site.signed(form))
            }
        };
        Callback { channel, request: request.build().unwrap() }
    }
}

/// What one telling of a callback came to.
struct Told {
    number: String,
    /// HTTP's status and the body; `None`: nobody answered.
    heard: Option<(u16, String)>,
    /// When that was known.
    at: SystemTime,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_callbacks_makes_one_credit_each_and_success_is_said_only_of_what_is_durable() {
    let (count, seed) = (rounds(1), seed(11));
    eprintln!("a storm of callbacks: SEED={seed}");
    let mut chance = Chance::of(seed);
    let (shops, mut nats) = tokio::join!(Shops::start(), Nats::start());
    let database = OwnDatabase::start(DatabaseServer::Postgres);
    let options = || {
        let options = GatewayOptions::default()
            .nats(&nats)
            .environment("NEXUSROUTE_DATABASE_URL", &database.url)
            .environment("NEXUSROUTE_MASTER_KEY", &"5a".repeat(32))
            // Nothing here is found by asking.
            .environment("NEXUSROUTE_TOPUP_POLL_SECONDS", "3600");
        shops.for_gateway(options)
    };
    let all = [options(), options(), options()];
    let first = all[0].start().await;
    let user = User::new(&first).await;
    let (second, third) = tokio::join!(all[1].start(), all[2].start());
    let mut gateways = vec![first, second, third];
    let doors: Arc<Mutex<Vec<String>>> =
        Arc::new(Mutex::new(gateways.iter().map(|gateway| gateway.url().to_owned()).collect()));
    let mut expected = Credits::ZERO;
    for round in 1..=count {
        let user = User { id: user.id.clone(), api: user.api.at(gateways[0].url()) };
        // A payment by each channel, and one of an order that nobody has.
        let mut forms = Vec::new();
        let mut credited = BTreeMap::new();
        for channel in CHANNELS {
            let order = shops.orders(&user, channel).await;
            expected = expected.checked_add(bought(&order)).unwrap();
            forms.push((number(&order), shops.callback(channel, &number(&order), None)));
            credited.insert(number(&order), text(&order["order"]));
        }
        let stray = format!("{:032x}", u128::from(chance.number()));
        forms.push((stray.clone(), shops.callback("epay", &forms[0].0, Some((&stray, round)))));
        let mut storm: Vec<usize> = (0..forms.len() * TIMES).map(|at| at % forms.len()).collect();
        for at in (1..storm.len()).rev() {
            storm.swap(at, chance.index(at + 1));
        }
        let (forms, storm, answered) = (Arc::new(forms), Arc::new(storm), Arc::new(AtomicUsize::new(0)));
        let http = system_tests::http::client();
        let tellers: Vec<_> = (0..AT_ONCE)
            .map(|teller| {
                let (forms, storm, answered) = (forms.clone(), storm.clone(), answered.clone());
                let (doors, http) = (doors.clone(), http.clone());
                tokio::spawn(async move {
                    let mut told = Vec::new();
                    for at in (teller..storm.len()).step_by(AT_ONCE) {
                        let (number, callback) = &forms[storm[at]];
                        let door = doors.lock().unwrap()[at % 3].clone();
                        let request = http.execute(callback.at(&door));
                        let heard = match request.await {
                            Ok(answer) => {
                                let status = answer.status().as_u16();
                                answer.text().await.ok().map(|body| (status, body))
                            }
                            Err(_) => None,
                        };
                        told.push(Told { number: number.clone(), heard, at: SystemTime::now() });
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    told
                })
            })
            .collect();
        let until = async |part: usize| {
            eventually("the storm goes on", PATIENCE, async || {
                (answered.load(Ordering::Relaxed) >= storm.len() * part / 100).then_some(())
            })
            .await;
        };
        until(15).await;
        let killed = chance.index(3);
        let old = gateways.remove(killed);
        old.kill().await;
        until(35).await;
        nats.kill().await;
        tokio::time::sleep(chance.millis(0, 200)).await;
        nats.come_back().await;
        until(55).await;
        database.kill();
        tokio::time::sleep(chance.millis(0, 200)).await;
        database.revive();
        let back = all[killed].start().await;
        doors.lock().unwrap()[killed] = back.url().to_owned();
        gateways.insert(killed, back);
        let mut told = Vec::new();
        for teller in tellers {
            told.extend(teller.await.unwrap());
        }
        // What no gateway was told of before is told again, as the site would.
        for (number, callback) in forms.iter().filter(|(number, _)| *number != stray) {
            eventually("the payment is credited", PATIENCE, async || {
                let door = doors.lock().unwrap()[chance.index(3)].clone();
                let answer = http.execute(callback.at(&door)).await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
            assert!(told.iter().any(|it| it.number == *number));
        }
        is_kept(&nats, &told, &credited, &stray).await;
        User { id: user.id.clone(), api: user.api.at(gateways[0].url()) }.until_total(expected).await;
    }
    for gateway in gateways {
        gateway.stop().await;
    }
    let verified = all[0].run(&["ledger", "verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// Each order was paid once, the stray payment is in suspense once, and who heard success heard it after that.
async fn is_kept(nats: &Nats, told: &[Told], credited: &BTreeMap<String, String>, stray: &str) {
    let context = nats.context().await;
    let stream = context.get_stream("LEDGER").await.unwrap();
    let last = stream.get_info().await.unwrap().state.last_sequence;
    let mut stored: BTreeMap<String, Vec<i128>> = BTreeMap::new();
    let mut suspended = 0;
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        let order = event["data"]["order"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str() {
            Some("top_up_completed") => {
                stored.entry(order).or_default().push(message.time.unix_timestamp_nanos());
            }
            Some("payment_suspended") if order == stray => suspended += 1,
            Some(_) | None => {}
        }
    }
    assert_eq!(suspended, 1, "the stray payment");
    let (mut successes, mut failures, mut unanswered) = (0, 0, 0);
    for it in told {
        match &it.heard {
            Some((200 | 204, body)) => {
                assert!(["success", "", "ok"].contains(&body.as_str()), "{body}");
                let order = credited.get(&it.number).expect("a payment of nobody's order is never a success");
                let times = stored.get(order).expect("who heard success is credited");
                let at = it.at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
                assert!(
                    times[0] <= i128::try_from(at).unwrap(),
                    "success was said before the append: {order}"
                );
                successes += 1;
            }
            Some((status, body)) => {
                assert!(*status >= 400 && !body.contains("success"), "{status} {body}");
                failures += 1;
            }
            None => unanswered += 1,
        }
    }
    for order in credited.values() {
        assert_eq!(stored.get(order).map(Vec::len), Some(1), "{order} is paid once");
    }
    eprintln!("a storm of callbacks: {successes} heard success, {failures} a failure, {unanswered} nothing");
    assert!(successes > 0 && failures >= TIMES / 2, "{successes} {failures}");
}
