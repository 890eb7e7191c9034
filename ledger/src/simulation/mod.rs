//! A deterministic simulation of the lease protocol: many nodes, one log, and everything that can go wrong between them.
//!
//! Each node runs the real [`crate::Meter`] and [`crate::Ledger`], with its real outbox on a real folder, in a runtime of
//! its own whose clock stands still until it is told to go on. The JetStream server, the network, the projections, the
//! callers and fate are played here. One thread, one clock, one queue; a seed decides everything, and the same seed always
//! runs the same way:
//! ```text
//! SIM_SEED=17 cargo test -p ledger simulation::tests::one -- --ignored --nocapture
//! ```
//! What must hold is in [`audit`]; what befalls whom is in [`plan`]. May not touch: production code, but through the places
//! made for it (`ambient`, `log::wire`).
//! Claims: a run of a seed is the same every time; a planted bug is found.

mod audit;
mod chance;
mod load;
mod node;
mod plan;
mod server;
mod tables;
mod tests;
mod world;

use chance::Chance;
use domain::account::event::Closer;
use domain::event::SealCause;
use domain::{AccountEvent, Event, NodeEvent};
use node::{Node, Still};
use plan::{Fate, Kind, LIFE, Plan, QUARANTINE};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use world::{Due, Shared, World, lock};

/// Microseconds of simulated time.
type Micros = u64;

const MS: Micros = 1_000;
const SECOND: Micros = 1_000_000;

/// What somebody does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Users call, or credits come in.
    Load,
    /// Something befalls somebody.
    Strike,
    /// A node's outbox reaches its disk.
    Flush,
    /// Somebody looks whether leases are stuck.
    Look,
    /// A node that stood still goes on.
    GoOn(usize),
    /// A node that was down is started.
    Return(usize),
    /// Somebody looks whether a node that was told to stop has done so, or has had its time.
    Stopped { node: usize, run: u64, by: Micros },
}

/// What came of runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) requests: u64,
    pub(super) actions: u64,
    pub(super) refused: u64,
    pub(super) accepted: u64,
    pub(super) late: u64,
    pub(super) refused_in_vain: u64,
    pub(super) unavailable: u64,
    /// What stood on the log.
    pub(super) seen: BTreeMap<&'static str, u64>,
    pub(super) faults: BTreeMap<&'static str, u64>,
}

impl Report {
    fn see(&mut self, event: &Event) {
        let what = match event {
            Event::Account(_, AccountEvent::LeaseClosed(it)) => match it.by {
                Closer::Holder => "lease closed by its holder",
                Closer::Sweeper => "lease closed by a sweeper",
            },
            Event::Node(_, NodeEvent::NodeSealed(it)) => match it.cause {
                SealCause::Silent => "silent run sealed",
                SealCause::Restarted => "former run sealed",
            },
            Event::Node(_, NodeEvent::UsageReported(report)) => {
                let interrupted =
                    report.records.iter().filter(|it| it.usage.outcome == domain::Outcome::Interrupted);
                *self.seen.entry("interrupted call").or_default() += interrupted.count() as u64;
                "usage report"
            }
            event => crate::codec::type_name(event),
        };
        *self.seen.entry(what).or_default() += 1;
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    fn steps(&self) -> u64 {
        self.requests + self.actions
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.actions += other.actions;
        self.refused += other.refused;
        self.accepted += other.accepted;
        self.late += other.late;
        self.refused_in_vain += other.refused_in_vain;
        self.unavailable += other.unavailable;
        for (fault, times) in &other.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        for (what, times) in &other.seen {
            *self.seen.entry(what).or_default() += times;
        }
    }
}

/// One run of one seed.
struct Run {
    world: Shared,
    nodes: Vec<Node>,
    /// The folder of all disks.
    _disks: tempfile::TempDir,
    plan: Plan,
    chance: Chance,
    /// Since when somebody has been able to sweep without a break.
    healthy_since: Option<Micros>,
    looked: Micros,
    /// The time of trouble is over.
    healing: bool,
}

/// The outcome of a run: what was done, a number made of all that happened, and what went wrong, if anything did.
struct Outcome {
    report: Report,
    trace: u64,
    wrong: Option<String>,
}

/// Runs a seed.
fn run(seed: u64, print: bool) -> Outcome {
    let mut run = Run::new(seed, print);
    run.all();
    run.end()
}

/// In memory where there is such a place: thousands of small files are written, and a flush of them is nothing there.
fn disks() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("nexusroute-simulation-");
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap()
}

impl Run {
    fn new(seed: u64, print: bool) -> Self {
        let plan = Plan::of(seed);
        if print {
            eprintln!("{plan:#?}");
        }
        let world: Shared = std::sync::Arc::new(std::sync::Mutex::new(World::new(plan.clone(), print)));
        let mut chance = Chance::of(seed, 2);
        let disks = disks();
        let node = |index| Node::new(index, world.clone(), disks.path().to_owned(), &mut chance);
        let nodes = (0..plan.nodes).map(node).collect();
        Self { world, nodes, _disks: disks, plan, chance, healthy_since: None, looked: 0, healing: false }
    }

    fn all(&mut self) {
        for node in &mut self.nodes {
            node.start(0);
        }
        for owner in self.plan.owners.clone() {
            load::give(&mut self.nodes[0], &owner, &self.world, owner.units, &mut self.chance);
        }
        self.act_in(0..50 * MS, Act::Load);
        self.act_in(0..50 * MS, Act::Flush);
        self.act_in(0..50 * MS, Act::Look);
        if let Some(gap) = self.plan.fate_gap.clone() {
            self.act_in(gap, Act::Strike);
        }
        self.until(self.plan.active);
        self.heal();
        self.until(self.plan.active + 2 * LIFE + QUARANTINE + 12 * SECOND);
        self.stop();
        self.until(self.now() + 10 * SECOND);
        if lock(&self.world).audit.wrong.is_none() {
            lock(&self.world).audit.finish();
        }
    }

    fn end(mut self) -> Outcome {
        for node in &mut self.nodes {
            node.kill();
        }
        let mut world = lock(&self.world);
        let mut report = std::mem::take(&mut world.report);
        report.accepted = world.audit.accepted();
        report.late = world.audit.late;
        report.unavailable = world.audit.unavailable;
        report.refused_in_vain = world.audit.refused_in_vain;
        Outcome { report, trace: world.trace_hash(), wrong: world.audit.wrong.take() }
    }

    /// Everything that is due until then, one after the other; every process first runs to the moment it is due.
    fn until(&mut self, end: Micros) {
        loop {
            for node in &mut self.nodes {
                let until = lock(&self.world).next().map_or(end, |next| next.min(end));
                node.run(until);
            }
            let act = {
                let mut world = lock(&self.world);
                if world.audit.wrong.is_some() {
                    return;
                }
                match world.next() {
                    Some(next) if next <= end => {
                        let due = world.take();
                        world.happen(due)
                    }
                    _ => {
                        world.now = end;
                        return;
                    }
                }
            };
            if let Some(act) = act {
                self.act(act);
            }
        }
    }

    fn now(&self) -> Micros {
        lock(&self.world).now
    }

    fn act_in(&mut self, gap: std::ops::Range<Micros>, act: Act) {
        let at = self.now() + self.chance.within(gap);
        lock(&self.world).schedule(at, Due::Act(act));
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Load if self.healing => {}
            Act::Load => {
                self.load();
                self.act_in(self.plan.load_gap.clone(), Act::Load);
            }
            Act::Strike if self.healing => {}
            Act::Strike => {
                self.strike();
                let gap = self.plan.fate_gap.clone().unwrap();
                self.act_in(gap, Act::Strike);
            }
            Act::Flush => {
                for node in 0..self.nodes.len() {
                    if self.chance.permille(500) {
                        self.flush(node);
                    }
                }
                self.act_in(20 * MS..200 * MS, Act::Flush);
            }
            Act::Look => {
                self.look();
                self.act_in(250 * MS..500 * MS, Act::Look);
            }
            Act::GoOn(node) => self.go_on(node),
            Act::Return(node) => self.start(node),
            Act::Stopped { node, run, by } => {
                let Some(up) = self.nodes[node].up.as_ref().filter(|up| up.run == run) else { return };
                match up.stopped.load(Ordering::SeqCst) || self.now() >= by {
                    true => {
                        self.nodes[node].kill();
                        self.act_in(100 * MS..2 * SECOND, Act::Return(node));
                    }
                    false => self.act_in(100 * MS..300 * MS, Act::Stopped { node, run, by }),
                }
            }
        }
    }

    fn load(&mut self) {
        let owners = self.plan.owners.clone();
        let owner = &owners[self.chance.index(owners.len())];
        let node = self.chance.index(self.nodes.len());
        if self.chance.permille(20) {
            let units = i64::try_from(self.chance.within(1..30)).unwrap();
            return load::give(&mut self.nodes[node], owner, &self.world, units, &mut self.chance);
        }
        if self.plan.burst > 1 && self.chance.permille(30) {
            // Everyone at once.
            for node in &mut self.nodes {
                let times = self.chance.within(1..self.plan.burst);
                load::call(node, owner, &self.world, &mut self.chance, times);
            }
            return;
        }
        load::call(&mut self.nodes[node], owner, &self.world, &mut self.chance, 1);
    }

    fn strike(&mut self) {
        let fate = self.plan.fates[self.chance.index(self.plan.fates.len())];
        let node = self.chance.index(self.nodes.len());
        let now = self.now();
        // Most trouble is short, some outlives leases, some the quarantine.
        let length = match self.chance.within(0..10) {
            0..4 => self.chance.within(50 * MS..SECOND),
            4..8 => self.chance.within(SECOND..2 * LIFE + SECOND),
            _ => self.chance.within(2 * LIFE..2 * LIFE + QUARANTINE + 4 * SECOND),
        };
        let until = now + length;
        let up = self.nodes[node].up.is_some() && self.nodes[node].still.is_none();
        if !matches!(fate, Fate::Partition | Fate::ServerAway | Fate::TablesAway | Fate::TablesStand) && !up {
            return;
        }
        let name = match fate {
            Fate::Pause => "pause",
            Fate::Sleep => "sleep of a machine",
            Fate::Kill => "kill",
            Fate::PowerCut => "power cut",
            Fate::DiskLost => "disk lost",
            Fate::Restart => "restart",
            Fate::ClockSet => "clock set",
            Fate::Partition => "partition",
            Fate::ServerAway => "server away",
            Fate::TablesAway => "tables away",
            Fate::TablesStand => "projector stands still",
        };
        {
            let mut world = lock(&self.world);
            world.report.count(name);
            world.report.actions += 1;
            world.note(format_args!("{name}: node {node} for {} ms", length / MS));
            match fate {
                Fate::Partition => world.weather.partitioned[node] = until,
                Fate::ServerAway => world.weather.server_away = now + length.min(3 * SECOND),
                Fate::TablesAway => world.weather.tables_away = until,
                Fate::TablesStand => world.weather.tables_stand = until,
                Fate::Pause
                | Fate::Sleep
                | Fate::Kill
                | Fate::PowerCut
                | Fate::DiskLost
                | Fate::Restart
                | Fate::ClockSet => {}
            }
        }
        match fate {
            Fate::Pause | Fate::Sleep => {
                let asleep = fate == Fate::Sleep;
                self.nodes[node].stand(Still { since: now, until, asleep });
                self.act_in(length..length + 1, Act::GoOn(node));
            }
            Fate::Kill => {
                self.nodes[node].kill();
                self.act_in(length..length + 1, Act::Return(node));
            }
            Fate::PowerCut => {
                self.power_cut(node);
                self.act_in(length..length + 1, Act::Return(node));
            }
            Fate::DiskLost => {
                lock(&self.world).audit.disk_lost(node);
                self.nodes[node].kill();
                self.nodes[node].lose_disk();
                if self.chance.permille(700) {
                    self.act_in(length..length + 1, Act::Return(node));
                }
            }
            Fate::Restart => {
                let run = self.nodes[node].stop(Duration::from_secs(2));
                let by = self.now() + 5 * SECOND;
                self.act_in(100 * MS..300 * MS, Act::Stopped { node, run, by });
            }
            Fate::ClockSet => {
                let ahead = self.chance.permille(500);
                self.nodes[node].set_clock(ahead, length);
            }
            Fate::Partition | Fate::ServerAway | Fate::TablesAway | Fate::TablesStand => {}
        }
    }

    fn flush(&mut self, node: usize) {
        if self.nodes[node].flush() {
            lock(&self.world).audit.flushed(node);
        }
    }

    fn power_cut(&mut self, node: usize) {
        self.nodes[node].power_cut(&mut self.chance);
        lock(&self.world).audit.cut(node);
    }

    fn go_on(&mut self, node: usize) {
        let now = self.now();
        if self.nodes[node].still.is_some_and(|still| now >= still.until) {
            self.nodes[node].go_on(now);
        }
    }

    fn start(&mut self, node: usize) {
        let now = self.now();
        if self.nodes[node].up.is_none() {
            lock(&self.world).note(format_args!("node {node} starts"));
            self.nodes[node].start(now);
        }
    }

    /// Counts the time in which a stale lease could have been swept, and looks whether one was not.
    fn look(&mut self) {
        let now = self.now();
        let well: Vec<bool> = self.nodes.iter().map(Node::is_well).collect();
        let mut world = lock(&self.world);
        let weather = &world.weather;
        let out = [weather.server_away, weather.tables_away, weather.tables_stand];
        let healthy = out.iter().all(|until| now >= *until)
            && well.iter().zip(&weather.partitioned).any(|(well, until)| *well && now >= *until);
        match (healthy, self.healthy_since) {
            (false, _) => self.healthy_since = None,
            (true, None) => self.healthy_since = Some(now),
            // What was begun in bad weather needs its time-outs.
            (true, Some(since)) if now > since + 4 * SECOND => {
                world.audit.healthy += now - self.looked;
                world.audit.check_stuck();
            }
            (true, Some(_)) => {}
        }
        self.looked = now;
    }

    /// The trouble ends: everyone who can come back does.
    fn heal(&mut self) {
        self.healing = true;
        let now = self.now();
        {
            let mut world = lock(&self.world);
            world.weather.partitioned.fill(now);
            world.weather.server_away = now;
            world.weather.tables_away = now;
            world.weather.tables_stand = now;
            world.plan.network.very_slow = 0;
            world.note(format_args!("healing"));
        }
        for node in 0..self.nodes.len() {
            if let Some(still) = &mut self.nodes[node].still {
                still.until = now;
            }
            self.go_on(node);
            if self.nodes[node].up.is_none() {
                // One in five never returns, with all that is on its disk.
                match node > 0 && self.chance.permille(200) {
                    true => lock(&self.world).audit.disk_lost(node),
                    false => self.start(node),
                }
            }
        }
    }

    fn stop(&mut self) {
        for node in &mut self.nodes {
            node.stop(Duration::from_secs(4));
        }
    }
}
