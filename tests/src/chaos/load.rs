//! Load: callers who call without a pause, a payer who tops up, and what each of them saw.

use super::{Chance, model};
use crate::http::Api;
use domain::Credits;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{sync::watch, task::JoinSet};

/// One token costs 0.001 credits.
pub const NANO_PER_TOKEN: i64 = 1_000_000;

/// What so many tokens cost.
pub fn price_of(tokens: u64) -> Credits {
    Credits::from_nano(NANO_PER_TOKEN * i64::try_from(tokens).unwrap())
}

/// How a call ended, as its caller saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Answered with 200, and whole: of a stream the last event came.
    Complete,
    /// Refused with this status.
    Refused(u16),
    /// Begun, perhaps, and not whole.
    Cut,
}

/// A call as its caller saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its tag at the provider.
    pub tag: u64,
    /// Who pays.
    pub account: String,
    /// The tokens asked for.
    pub tokens: u64,
    /// The node that was called.
    pub node: usize,
    /// When it was begun.
    pub begun: SystemTime,
    /// Its id, once its caller has been told.
    pub request: Option<String>,
    /// How it ended.
    pub fate: Fate,
}

/// A top-up as its payer saw it.
#[derive(Clone, Debug)]
pub struct Paid {
    /// The order.
    pub order: String,
    /// Was the gateway of the payments told that it is credited?
    pub confirmed: bool,
}

/// Somebody who calls and pays.
#[derive(Clone)]
pub struct Person {
    /// The account.
    pub account: String,
    /// Calls with the session.
    pub session: Api,
    /// Calls with each API key.
    pub keys: Vec<Api>,
}

/// Where the nodes are now: they come back elsewhere.
pub type Addresses = Arc<Mutex<Vec<String>>>;

/// Whom the callers call; `None`: anybody.
type Aim = Arc<Mutex<Option<usize>>>;

/// What everybody saw.
#[derive(Default)]
pub struct Seen {
    /// Where a call is under way: the node of each.
    under_way: Mutex<Vec<usize>>,
    /// Calls that have ended.
    pub calls: Mutex<Vec<Call>>,
    /// Orders.
    pub paid: Mutex<Vec<Paid>>,
    /// Pages of the console that were answered.
    pub pages: AtomicU64,
}

impl Seen {
    /// Calls that were answered whole.
    pub fn complete(&self) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| call.fate == Fate::Complete).count()
    }

    fn ends_at(&self, node: usize) {
        let mut under_way = self.under_way.lock().unwrap();
        let index = under_way.iter().position(|it| *it == node).unwrap();
        under_way.swap_remove(index);
    }
}

/// How the callers behave.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How many call at once.
    pub callers: usize,
    /// The most tokens of a call.
    pub tokens: u64,
    /// The longest pause between two tokens of a stream, in milliseconds.
    pub pause_ms: u64,
    /// Does somebody top up meanwhile?
    pub pays: bool,
    /// How much of what they could do the callers do, in percent: after each call they rest as long as that takes.
    pub percent: u32,
    /// Does somebody read the console's pages meanwhile?
    pub reads: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { callers: 12, tokens: 60, pause_ms: 50, pays: true, percent: 100, reads: false }
    }
}

/// What the console asks for when somebody looks around in it.
const PAGES: [&str; 7] = [
    "/",
    "/api/user/self",
    "/api/user/balance",
    "/api/user/usage?limit=20",
    "/api/user/usage/stats?by=model",
    "/api/user/billing?limit=20",
    "/api/user/keys",
];

/// Load that goes on until it is told to stop.
pub struct Load {
    stop: watch::Sender<bool>,
    aim: Aim,
    callers: usize,
    seen: Arc<Seen>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Begins.
    pub fn start(
        model: &str,
        people: &[Person],
        addresses: &Addresses,
        manner: Manner,
        chance: &mut Chance,
    ) -> Self {
        let (stop, seen, mut tasks) = (watch::Sender::new(false), Arc::<Seen>::default(), JoinSet::new());
        let aim = Aim::default();
        for caller in 0..manner.callers {
            let person = people[caller % people.len()].clone();
            let key = person.keys[caller / people.len() % person.keys.len()].clone();
            let (addresses, seen, stop) = (addresses.clone(), seen.clone(), stop.subscribe());
            let (model, aim, mut chance) = (model.to_owned(), aim.clone(), chance.another());
            tasks.spawn(async move {
                while !*stop.borrow() {
                    let (node, url) = {
                        let aimed_at = aim.lock().unwrap();
                        let (node, url) = address(&addresses, *aimed_at, &mut chance);
                        seen.under_way.lock().unwrap().push(node);
                        (node, url)
                    };
                    let asked = Instant::now();
                    let call = call(&model, &person.account, &key, (node, &url), manner, &mut chance).await;
                    let took = asked.elapsed();
                    seen.ends_at(node);
                    let fate = call.fate;
                    seen.calls.lock().unwrap().push(call);
                    if fate != Fate::Complete {
                        tokio::time::sleep(chance.millis(30, 90)).await;
                    } else if manner.percent < 100 {
                        tokio::time::sleep(took * (100 - manner.percent) / manner.percent).await;
                    }
                }
            });
        }
        if manner.reads {
            let (reader, addresses, seen) = (people[0].clone(), addresses.clone(), seen.clone());
            let (stop, mut chance) = (stop.subscribe(), chance.another());
            tasks.spawn(async move {
                while !*stop.borrow() {
                    let page = PAGES[chance.index(PAGES.len())];
                    let session = reader.session.at(&address(&addresses, None, &mut chance).1);
                    // A process that was just killed answers nothing, and one without its database an error.
                    if session
                        .try_send(reqwest::Method::GET, page, None)
                        .await
                        .is_ok_and(|it| it.status == 200)
                    {
                        seen.pages.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(chance.millis(20, 100)).await;
                }
            });
        }
        if manner.pays {
            let (payer, addresses, seen) = (people[0].clone(), addresses.clone(), seen.clone());
            let (stop, mut chance) = (stop.subscribe(), chance.another());
            tasks.spawn(async move {
                while !*stop.borrow() {
                    tops_up(&payer, &addresses, &seen, &mut chance).await;
                    tokio::time::sleep(chance.millis(20, 100)).await;
                }
            });
        }
        Self { stop, aim, callers: manner.callers, seen, tasks }
    }

    /// From now on calls go to this node; `None`: to any.
    pub fn aim(&self, node: Option<usize>) {
        *self.aim.lock().unwrap() = node;
    }

    /// Waits until every caller waits for this node.
    pub async fn all_wait_for(&self, node: usize) {
        self.wait_for("all call one node", node, self.callers).await;
    }

    /// Waits until no caller waits for this node.
    pub async fn nobody_waits_for(&self, node: usize) {
        self.wait_for("nobody calls a node", node, 0).await;
    }

    async fn wait_for(&self, what: &str, node: usize, callers: usize) {
        crate::eventually(what, Duration::from_secs(90), async || {
            let under_way = self.seen.under_way.lock().unwrap();
            (under_way.iter().filter(|it| **it == node).count() == callers).then_some(())
        })
        .await;
    }

    /// What was seen until now.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Waits until so many more calls have been answered whole.
    pub async fn more_are_answered(&self, more: usize) {
        let goal = self.seen.complete() + more;
        crate::eventually("calls are answered again", Duration::from_secs(90), async || {
            (self.seen.complete() >= goal).then_some(())
        })
        .await;
    }

    /// What was seen until now, to be kept.
    pub fn shared(&self) -> Arc<Seen> {
        self.seen.clone()
    }

    /// Begins nothing more, waits for the end of what was begun, and answers with all that was seen.
    pub async fn stop(mut self) -> Arc<Seen> {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.transpose().unwrap().is_some() {} };
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("calls did not end");
        self.seen
    }
}

fn address(addresses: &Addresses, aim: Option<usize>, chance: &mut Chance) -> (usize, String) {
    let addresses = addresses.lock().unwrap();
    let any = chance.index(addresses.len());
    let node = aim.unwrap_or(any);
    (node, addresses[node].clone())
}

/// Tags are unique in a process, so that providers can be told about all of its calls.
fn next_tag() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn call(
    model: &str,
    account: &str,
    key: &Api,
    (node, url): (usize, &str),
    manner: Manner,
    chance: &mut Chance,
) -> Call {
    let (tag, tokens) = (next_tag(), chance.between(1, manner.tokens + 1));
    // Half of them are quick, so that records come at any moment; the others are caught in the middle.
    let (streamed, slow) = match chance.between(0, 4) {
        0 => (false, false),
        1 => (true, false),
        _ => (true, true),
    };
    let pause = if slow { chance.millis(0, manner.pause_ms + 1) } else { Duration::ZERO };
    let body = model::ask(model, tag, tokens, pause, streamed);
    let begun = SystemTime::now();
    let mut call =
        Call { tag, account: account.to_owned(), tokens, node, begun, request: None, fate: Fate::Cut };
    let Ok(response) = key.at(url).begin("/v1/chat/completions", &body).await else { return call };
    let id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    call.request = id.map(str::to_owned);
    let status = response.status().as_u16();
    let Ok(text) = response.text().await else { return call };
    call.fate = match status {
        200 if !streamed || text.trim_end().ends_with("data: [DONE]") => Fate::Complete,
        200 => Fate::Cut,
        status => Fate::Refused(status),
    };
    if call.fate == Fate::Complete && !streamed {
        let body: Value = serde_json::from_str(&text).expect("a whole answer is JSON");
        assert_eq!(body["usage"]["completion_tokens"], tokens, "{text}");
    }
    call
}

/// Orders a top-up and pays it until its channel is told that it is credited, or this order's payer gives up.
async fn tops_up(payer: &Person, addresses: &Addresses, seen: &Seen, chance: &mut Chance) {
    let session = |chance: &mut Chance| payer.session.at(&address(addresses, None, chance).1);
    let body = json!({"amount": "1.00", "currency": "CNY", "channel": "sandbox"});
    let ordered = session(chance).begin("/api/user/topup", &body).await;
    let Ok(answer) = ordered else { return };
    if !answer.status().is_success() {
        return;
    }
    let Ok(order) = answer.json::<Value>().await else { return };
    let order = crate::people::text(&order["order"]);
    let mut confirmed = false;
    for _ in 0..5 {
        let session = session(chance).with("accept", "application/json");
        let paid = session.begin(&format!("/api/payments/sandbox/{order}/pay"), &json!({})).await;
        if paid.is_ok_and(|answer| answer.status() == 200) {
            confirmed = true;
            break;
        }
        tokio::time::sleep(chance.millis(20, 100)).await;
    }
    seen.paid.lock().unwrap().push(Paid { order, confirmed });
}
