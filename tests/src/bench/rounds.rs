//! Rounds: the same load straight at the provider, through nginx and through the gateway, in turns.

use super::driver::{Driven, Task, drive};
use super::nginx::Nginx;
use super::table::{Row, Table};
use super::tree::Tree;
use super::{MODEL, Mock, gateway, print_circumstances};
use crate::cluster::Shared;
use crate::nats::Nats;
use crate::people::{Operator, User};
use crate::wait::eventually;
use crate::{Gateway, GatewayOptions};
use domain::Credits;
use std::net::SocketAddr;
use std::time::Duration;

/// What is measured, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds of each load.
    pub rounds: usize,
    /// How long each system is driven in a round.
    pub time: Duration,
    /// Numbers of connections.
    pub connections: Vec<usize>,
    /// Kinds of calls: whole answers, streams.
    pub kinds: Vec<bool>,
    /// Do projections and nats-server run as other processes, which are not counted?
    pub apart: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let (time, connections) = (Duration::from_secs(4), vec![1, 16, 64, 256]);
        Self { rounds: 3, time, connections, kinds: vec![false, true], apart: false }
    }
}

impl Plan {
    /// The default but for what is named: `rounds=5 seconds=10 connections=16,64 kinds=json,sse projections=apart`.
    pub fn of(words: &[&str]) -> Self {
        let mut plan = Self::default();
        for word in words {
            match word.split_once('=') {
                Some(("rounds", number)) => plan.rounds = number.parse().expect("a number of rounds"),
                Some(("seconds", number)) => {
                    plan.time = Duration::from_secs(number.parse().expect("seconds"))
                }
                Some(("connections", numbers)) => {
                    plan.connections =
                        numbers.split(',').map(|one| one.parse().expect("a number of connections")).collect();
                }
                Some(("kinds", kinds)) => {
                    plan.kinds = kinds.split(',').map(|kind| kind == "sse").collect();
                }
                Some(("projections", "apart")) => plan.apart = true,
                _ => panic!("{word}: known are rounds=, seconds=, connections=, kinds=, projections=apart"),
            }
        }
        plan
    }
}

/// Measures and prints the table.
pub async fn run(plan: &Plan) {
    print_circumstances();
    let stage = if plan.apart {
        println!("projections and nats-server in processes of their own, which are not counted");
        Stage::set_apart().await
    } else {
        Stage::set().await
    };
    let mut table = Table::default();
    for &streams in &plan.kinds {
        let kind = if streams { "SSE, 50 chunks" } else { "JSON, 1 KiB" };
        let charge = stage.charge(streams).await;
        for &connections in &plan.connections {
            for round in 0..=plan.rounds {
                let time = if round == 0 { Duration::from_secs(1) } else { plan.time };
                let task = |address| Task { address, key: stage.key.clone(), streams, connections, time };
                let rows = [
                    stage.direct(&task(stage.mock.address)).await,
                    stage.nginx(&task(stage.nginx.address)).await,
                    stage.gateway(&task(stage.address), charge).await,
                ];
                // The first one is short and only makes connections, pages and caches.
                if round > 0 {
                    table.add(kind, connections, rows);
                }
            }
            table.print_last();
        }
    }
    stage.leave().await;
}

/// Everything that runs.
pub(super) struct Stage {
    pub(super) mock: Mock,
    nginx: Nginx,
    pub(super) gateway: Gateway,
    pub(super) address: SocketAddr,
    pub(super) key: String,
    user: User,
    /// The projections' process and the log's, where they are apart.
    others: Option<(Gateway, Nats)>,
}

impl Stage {
    /// A provider, nginx before it, and a gateway before it with one model, one price and one account, all made over
    /// its public API.
    pub(super) async fn set() -> Self {
        let (gateway, _) = gateway(GatewayOptions::default()).await;
        Self::around(gateway, None).await
    }

    /// The same with the relay and the API in one process, the projections in another, on the same core, and a nats-server
    /// on the core of the others.
    async fn set_apart() -> Self {
        let nats = Nats::start().await;
        let relay = GatewayOptions::default();
        // Both find the same file, which the one that projects makes.
        let database = relay.data().with_extension("db");
        let database =
            format!("sqlite://{}?mode=rwc", database.to_str().expect("a path in a temporary folder"));
        let shared = Shared::new(&database).with("NEXUSROUTE_NATS_URL", &nats.url());
        let (projector, _) = gateway(shared.options("projector")).await;
        let (gateway, _) = gateway(shared.apply(relay, "api,relay")).await;
        Self::around(gateway, Some((projector, nats))).await
    }

    async fn around(gateway: Gateway, others: Option<(Gateway, Nats)>) -> Self {
        let mock = Mock::start().await;
        let nginx = Nginx::start(mock.address).await;
        let operator = Operator::of(&gateway).await;
        operator.offers(MODEL, &format!("http://{}/v1", mock.address), "1", "3").await;
        let user = User::with_credits(&gateway, &operator, "1000000").await;
        // Charges are told by the balance from here on, and another process may take its time to show it.
        user.until_total("1000000".parse().expect("credits")).await;
        let key = user.makes_key().await;
        let address = gateway.url().trim_start_matches("http://").parse().expect("an address");
        Self { mock, nginx, gateway, address, key, user, others }
    }

    /// What one call is charged, told by the balance before and after it.
    async fn charge(&self, streams: bool) -> i64 {
        let before = self.user.balance().await.total;
        let task = Task {
            address: self.address,
            key: self.key.clone(),
            streams,
            connections: 1,
            time: Duration::from_millis(200),
        };
        let driven = drive(&task).await;
        assert!(driven.calls > 0 && driven.errors == 0, "{driven:?}");
        let calls = i64::try_from(driven.calls).unwrap();
        let mut spent = 0;
        // A sum that stands still and divides evenly is that of all calls.
        eventually("all calls are charged", Duration::from_secs(20), async || {
            let last = spent;
            tokio::time::sleep(Duration::from_millis(100)).await;
            spent = before.nano() - self.user.balance().await.total.nano();
            (spent > 0 && spent == last && spent % calls == 0).then_some(spent / calls)
        })
        .await
    }

    async fn direct(&self, task: &Task) -> Row {
        let driven = drive(task).await;
        Row::new(driven, None)
    }

    async fn nginx(&self, task: &Task) -> Row {
        let tree = Tree::of(self.nginx.id());
        tree.forget_peak();
        let before = tree.cpu();
        let driven = drive(task).await;
        Row::new(driven, Some((tree.cpu() - before, tree.peak_kib())))
    }

    /// The round ends when every call of it is in the balance, to the nano: then all records are projected.
    async fn gateway(&self, task: &Task, charge: i64) -> Row {
        let before = self.user.balance().await.total;
        let tree = Tree::of(self.gateway.id());
        tree.forget_peak();
        let (cpu, of_root) = (tree.cpu(), tree.cpu_of_root());
        let driven = drive(task).await;
        self.until_charged(before, charge, driven).await;
        let used = tree.cpu() - cpu;
        let of_log = used.saturating_sub(tree.cpu_of_root() - of_root);
        Row::new(driven, Some((used, tree.peak_kib()))).with_log(of_log)
    }

    async fn until_charged(&self, before: Credits, charge: i64, driven: Driven) {
        let calls = i64::try_from(driven.calls).unwrap();
        let total = Credits::from_nano(before.nano() - calls * charge);
        eventually(&format!("{calls} calls are charged"), Duration::from_secs(60), async || {
            let now = self.user.balance().await.total;
            assert!(now >= total, "{calls} calls leave {total}, and {now} is less");
            if now == total { Some(()) } else { None }
        })
        .await;
    }

    pub(super) async fn leave(self) {
        self.nginx.stop().await;
        self.gateway.stop().await;
        if let Some((projector, mut nats)) = self.others {
            projector.stop().await;
            nats.go_away().await;
        }
    }
}
