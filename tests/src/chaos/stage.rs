//! The stage: gateways, a NATS server, a database server and a provider, and what is done to them.
//!
//! Claims: a gateway that died is started again on the same data, elsewhere; after a round nothing is under way, and the
//! judge, `ledger verify` and `projections rebuild --dry-run` agree on what is left.

use super::{Chance, Judge, Load, Model, load, load::Manner, load::Person, servers};
use crate::{
    Gateway, GatewayOptions, Nats, auditor, eventually,
    people::{Operator, User},
    process,
};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// The model that is called.
const MODEL: &str = "chaos-model";
/// Whatever is waited for on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(120);

/// A database server of the stage's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseServer {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// What stands on a stage.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What it is called where it prints.
    pub kind: &'static str,
    /// Its chance.
    pub seed: u64,
    /// Gateways.
    pub nodes: usize,
    /// A NATS server beside the gateways; else each gateway's child.
    pub nats: bool,
    /// A database server; else SQLite.
    pub database: Option<DatabaseServer>,
    /// More of each gateway's environment.
    pub environment: &'static [(&'static str, &'static str)],
    /// How the callers behave.
    pub manner: Manner,
}

impl Setting {
    /// One gateway with all of its own.
    pub fn embedded(kind: &'static str, seed: u64) -> Self {
        let manner = Manner::default();
        Self { kind, seed, nodes: 1, nats: false, database: None, environment: &[], manner }
    }
}

/// A gateway, or the data of one that died.
pub struct Node {
    /// How it is started.
    pub options: GatewayOptions,
    /// It runs.
    pub gateway: Option<Gateway>,
}

/// Sums over all rounds.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    complete: usize,
    refused: usize,
    cut: usize,
    top_ups: usize,
    /// Records that a start has reported again.
    again: u64,
    /// The longest end of a run before, in milliseconds.
    slowest_ms: u64,
}

/// All that takes part.
pub struct Stage {
    /// What it was set with.
    pub setting: Setting,
    /// The gateways.
    pub nodes: Vec<Node>,
    /// The NATS server beside them.
    pub nats: Option<Nats>,
    /// The database server.
    database: Option<servers::Server>,
    /// The provider.
    pub model: Model,
    /// Who calls and pays.
    pub people: Vec<Person>,
    /// Where the gateways are.
    pub addresses: load::Addresses,
    /// What the log says.
    pub judge: Judge,
    /// What is random.
    pub chance: Chance,
    tally: Tally,
    begun: Instant,
}

impl Stage {
    /// Starts everything and makes three accounts with two keys each; one of them is short of credits.
    pub async fn set(setting: Setting) -> Self {
        eprintln!("chaos: {}: SEED={}", setting.kind, setting.seed);
        let (model, begun) = (Model::start().await, Instant::now());
        let nats = if setting.nats { Some(Nats::start().await) } else { None };
        let (database, url) = match setting.database {
            None => (None, None),
            Some(kind) => {
                let (server, url) = database(kind);
                (Some(server), Some(url))
            }
        };
        let mut nodes = Vec::new();
        for _ in 0..setting.nodes {
            // The nodes of one database seal what they keep there with one key.
            let mut options =
                GatewayOptions::default().environment("NEXUSROUTE_MASTER_KEY", &"5a".repeat(32));
            for (name, value) in setting.environment {
                options = options.environment(name, value);
            }
            if let Some(nats) = &nats {
                options = options.nats(nats);
            }
            if let Some(url) = &url {
                options = options.environment("NEXUSROUTE_DATABASE_URL", url);
            }
            // The payer's gateway is one, whichever node it is reached by: a payment repeated elsewhere is the same payment.
            std::fs::create_dir_all(options.data()).unwrap();
            std::fs::write(options.data().join("sandbox.secret"), "5b".repeat(32)).unwrap();
            nodes.push(Node { options, gateway: None });
        }
        let first = nodes[0].options.start().await;
        let operator = Operator::of(&first).await;
        operator.offers(MODEL, model.url(), "0", "1000").await;
        let mut people = Vec::new();
        for credits in ["1", "1000", "1000"] {
            let user = User::with_credits(&first, &operator, credits).await;
            let mut keys = Vec::new();
            for _ in 0..2 {
                keys.push(first.nobody().bearer(&user.makes_key().await));
            }
            people.push(Person { account: user.id, session: user.api, keys });
        }
        let mut addresses = vec![first.url().to_owned()];
        nodes[0].gateway = Some(first);
        for node in &mut nodes[1..] {
            let gateway = node.gateway.insert(node.options.start().await);
            addresses.push(gateway.url().to_owned());
        }
        Self {
            nodes,
            nats,
            database,
            model,
            people,
            addresses: Arc::new(Mutex::new(addresses)),
            judge: Judge::default(),
            chance: Chance::of(setting.seed),
            tally: Tally::default(),
            begun,
            setting,
        }
    }

    /// The gateway of a node that runs.
    pub fn gateway(&self, node: usize) -> &Gateway {
        self.nodes[node].gateway.as_ref().expect("it runs")
    }

    /// A gateway that may have died.
    pub fn gateway_mut(&mut self, node: usize) -> &mut Gateway {
        self.nodes[node].gateway.as_mut().expect("it was started")
    }

    /// Begins load.
    pub fn load(&mut self) -> Load {
        Load::start(MODEL, &self.people, &self.addresses, self.setting.manner, &mut self.chance)
    }

    /// Lets the load run until a random moment, and then on until a stream is in the middle.
    pub async fn moment(&mut self) {
        tokio::time::sleep(self.chance.millis(20, 1500)).await;
        eventually("a stream is in the middle", LONG, async || (self.model.speaking() > 0).then_some(()))
            .await;
    }

    /// Kills a gateway (SIGKILL).
    pub async fn kill(&mut self, node: usize) {
        self.nodes[node].gateway.take().expect("it runs").kill().await;
    }

    /// Kills the database server (SIGKILL).
    pub fn kill_database(&self) {
        tokio::task::block_in_place(|| self.database.as_ref().expect("there is one").kill());
    }

    /// Starts it again on its data.
    pub fn revive_database(&self) {
        tokio::task::block_in_place(|| self.database.as_ref().expect("there is one").start());
    }

    /// Starts a node again and waits until it is ready.
    pub async fn revive(&mut self, node: usize) {
        let gateway = self.nodes[node].options.start().await;
        self.is_back(node, gateway);
    }

    /// Notes that a node has come back.
    pub fn is_back(&mut self, node: usize, gateway: Gateway) {
        self.addresses.lock().unwrap()[node] = gateway.url().to_owned();
        // "the run before is ended leases=3 records=1 interrupted=2 took_ms=35"
        for line in gateway.output().lines().filter(|line| line.contains("the run before is ended")) {
            let field = |name: &str| {
                let value = line.split(&format!("{name}=")).nth(1)?;
                value.split_whitespace().next()?.parse::<u64>().ok()
            };
            self.tally.again += field("records").unwrap();
            self.tally.slowest_ms = self.tally.slowest_ms.max(field("took_ms").unwrap());
        }
        self.nodes[node].gateway = Some(gateway);
    }

    /// Waits until every gateway is ready.
    pub async fn is_ready(&self) {
        for node in &self.nodes {
            let api = node.gateway.as_ref().expect("it runs").nobody();
            eventually("the gateway is ready again", LONG, async || {
                (api.get("/readyz").await.status == 200).then_some(())
            })
            .await;
        }
    }

    /// Waits until a node has leases: credits to serve calls from without asking anybody.
    pub async fn has_leases(&self, node: usize) {
        self.meter_shows("the node has leases", node, |meter| meter["open_leases"].as_u64() > Some(0)).await;
    }

    /// Waits until no call is in flight on a node and every record of it is on the log.
    pub async fn is_idle(&self, node: usize) {
        let is_idle = |meter: &Value| meter["calls_in_flight"] == 0 && meter["unreported"] == 0;
        self.meter_shows("the node has nothing to do", node, is_idle).await;
    }

    async fn meter_shows(&self, what: &str, node: usize, shows: impl Fn(&Value) -> bool) {
        let api = self.gateway(node).nobody();
        eventually(what, LONG, async || {
            let answer = api.get("/readyz").await;
            (answer.status == 200 && shows(&answer.json()["meter"])).then_some(())
        })
        .await;
    }

    /// Waits until no call is in flight, every record is on the log, and the tables contain it all.
    pub async fn is_quiet(&self) {
        for node in &self.nodes {
            let api = node.gateway.as_ref().expect("it runs").nobody();
            let mut last = Value::Null;
            let start = Instant::now();
            loop {
                let answer = api.get("/readyz").await;
                last = if answer.status == 200 { answer.json() } else { last };
                let (meter, tables) = (&last["meter"], &last["projections"]);
                if meter["calls_in_flight"] == 0
                    && meter["unreported"] == 0
                    && tables["applied"] == last["log_position"]
                {
                    break;
                }
                assert!(start.elapsed() < LONG, "it does not come to rest: {last}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Judges a round whose load has ended and whose gateways run.
    pub async fn judge(&mut self, seen: &load::Seen) {
        self.is_quiet().await;
        self.reads().await;
        self.judge.hears(seen, &self.model);
        let at = self.gateway(0).url().to_owned();
        for person in &self.people {
            self.judge.balances(person, &at).await;
        }
        self.model.forget();
        let calls = seen.calls.lock().unwrap();
        let count = |fates: fn(load::Fate) -> bool| calls.iter().filter(|call| fates(call.fate)).count();
        self.tally.rounds += 1;
        self.tally.complete += count(|fate| fate == load::Fate::Complete);
        self.tally.cut += count(|fate| fate == load::Fate::Cut);
        self.tally.refused += count(|fate| matches!(fate, load::Fate::Refused(_)));
        if self.tally.rounds.is_multiple_of(10) {
            self.says();
        }
        self.tally.top_ups += seen.paid.lock().unwrap().iter().filter(|paid| paid.confirmed).count();
    }

    /// Has the judge read on, up to the log's end.
    pub async fn reads(&mut self) {
        let after = self.judge.position().to_string();
        let lines = self.gateway(0).command(&["ledger", "tail", "--after", &after]).await;
        self.judge.reads(&lines);
    }

    /// `ledger verify` is clean, and rebuilt tables equal the ones in use.
    pub async fn is_sound(&self) {
        for arguments in [
            ["ledger", "verify", "--json"].as_slice(),
            ["projections", "rebuild", "--dry-run", "--json"].as_slice(),
        ] {
            let output = self.nodes[0].options.run(arguments).await;
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{arguments:?}: {}\n{out}\n{err}", output.status);
        }
    }

    /// Stops everything in order; every lease must be closed then. Has the whole log read once more by the auditor, which
    /// knows nothing of the judge, and says what there was.
    pub async fn ends(mut self) {
        self.is_sound().await;
        self.reads().await;
        for node in &mut self.nodes {
            node.gateway.take().expect("it runs").stop().await;
        }
        let messages = match &self.nats {
            Some(nats) => nats.ledger().await,
            None => {
                let mut nats = Nats::on_store(&self.nodes[0].options.data().join("nats/store")).await;
                let messages = nats.ledger().await;
                nats.go_away().await;
                messages
            }
        };
        // The auditor knows no sweepers and no repeats.
        if self.judge.repeated + self.judge.late == 0 {
            auditor::audit(&messages).assert_all_leases_closed();
        }
        self.says();
        if let Some(nats) = &mut self.nats {
            nats.go_away().await;
        }
    }

    /// Prints the sums.
    pub fn says(&self) {
        let Tally { rounds, complete, refused, cut, top_ups, again, slowest_ms } = self.tally;
        let (interrupted, charged) = self.judge.interrupted;
        let (repeated, late) = (self.judge.repeated, self.judge.late);
        eprintln!(
            "chaos: {}: {rounds} rounds in {} s; calls: {complete} answered, {refused} refused, {cut} cut off; {top_ups} \
             top-ups confirmed; starts reported {again} records again (the slowest end of a run took {slowest_ms} ms); \
             {interrupted} interrupted calls, {charged} of them charged; on the log {} messages, {repeated} repeated \
             records, {late} late ones",
            self.setting.kind,
            self.begun.elapsed().as_secs(),
            self.judge.position(),
        );
    }

    /// Sends a signal to a gateway.
    pub fn signal(&self, name: &str, node: usize) {
        process::signal(name, self.gateway(node).id());
    }
}

/// A database server of one's own, to be killed.
pub struct OwnDatabase {
    server: servers::Server,
    /// The address of its database.
    pub url: String,
}

impl OwnDatabase {
    /// Starts one with an empty database.
    pub fn start(kind: DatabaseServer) -> Self {
        let (server, url) = database(kind);
        Self { server, url }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        tokio::task::block_in_place(|| self.server.kill());
    }

    /// Starts it again on its data.
    pub fn revive(&self) {
        tokio::task::block_in_place(|| self.server.start());
    }
}

fn database(kind: DatabaseServer) -> (servers::Server, String) {
    // It waits with threads, not with tasks.
    tokio::task::block_in_place(|| match kind {
        DatabaseServer::Postgres => {
            let server = servers::Server::start_new(servers::Program::Postgres);
            let url = server.url(server.first_database());
            (server, url)
        }
        DatabaseServer::MariaDb => {
            let server = servers::Server::start_new(servers::Program::MariaDb);
            let made = std::process::Command::new("mariadb")
                .args(["--no-defaults", "--user=root", "--execute=CREATE DATABASE nexusroute"])
                .arg(format!("--socket={}", server.socket().display()))
                .status();
            assert!(made.is_ok_and(|status| status.success()), "the database could not be made");
            let url = server.url("nexusroute");
            (server, url)
        }
    })
}
