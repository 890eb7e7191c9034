//! The users: calls as the relay makes them, and credits that come in.

use super::Micros;
use super::chance::Chance;
use super::node::Node;
use super::plan::{LONGEST_CALL, Owner};
use super::world::{Shared, World, lock};
use crate::{Hold, HoldRequest, Meter};
use domain::account::Budget;
use domain::account::event::{GrantSource, Scope};
use domain::usage::Usage;
use domain::{Actor, ActorKind, Command, Credits, GrantId, KeyId, Label, Outcome, RequestId};
use std::sync::Arc;
use std::time::Duration;

/// A call, from its first byte to its last.
#[derive(Clone, Debug)]
struct Call {
    request: RequestId,
    ask: HoldRequest,
    /// From the hold to the provider.
    before: Micros,
    /// Its caller leaves before the provider is called.
    leaves: bool,
    /// How long the provider takes, in parts; between them the charge so far is marked.
    parts: Vec<(Micros, i64)>,
    /// What it costs at the end; `None`: it is released.
    charge: Option<i64>,
    /// For how long its caller waits for a hold, and for the settlement.
    patience: (Duration, Duration),
}

/// Longer than any answer takes.
const LONG: Duration = Duration::from_secs(3600);

impl Call {
    fn any(owner: &Owner, impatient: bool, chance: &mut Chance) -> Self {
        let worst =
            owner.unit * i64::try_from(if chance.permille(700) { 1 } else { chance.within(1..6) }).unwrap();
        let key = (!owner.keys.is_empty() && chance.permille(400))
            .then(|| owner.keys[chance.index(owner.keys.len())]);
        let scope = key.map_or(Scope::Account, |(key, _)| Scope::Key { key, period: label("total") });
        let part = |share: u64| worst / 1_000 * i64::try_from(share).unwrap();
        let charge = match chance.within(0..100) {
            0..4 => None,
            4..10 => Some(0),
            10..18 => Some(part(chance.within(1_000..3_000))),
            18..30 => Some(worst),
            _ => Some(part(chance.within(10..1_000))),
        };
        let length = match chance.within(0..10) {
            0..5 => chance.within(1_000..60_000),
            5..9 => chance.within(50_000..1_000_000),
            _ => chance.within(1_000_000..LONGEST_CALL),
        };
        let parts = 1 + chance.within(0..3);
        let most = charge.unwrap_or(0).min(worst);
        let parts =
            (1..=parts).map(|nth| (length / parts, most / 4 * i64::try_from(nth).unwrap().min(4))).collect();
        let patience = |chance: &mut Chance| match impatient && chance.permille(60) {
            true => Duration::from_micros(chance.within(0..500_000)),
            false => LONG,
        };
        Self {
            request: RequestId::from_uuid(chance.uuid()),
            ask: HoldRequest {
                account: owner.account,
                scope,
                budget: key.map(|(_, limit)| Budget { limit: Credits::from_nano(limit) }),
                worst_case: Credits::from_nano(worst),
            },
            before: if chance.permille(100) { chance.within(0..500_000) } else { 0 },
            leaves: chance.permille(20),
            parts,
            charge,
            patience: (patience(chance), patience(chance)),
        }
    }

    /// The record if the process died now.
    fn so_far(&self, charge: i64) -> Usage {
        Usage { outcome: Outcome::Interrupted, ..self.usage(charge) }
    }

    fn usage(&self, charge: i64) -> Usage {
        let key = match self.ask.scope {
            Scope::Account => KeyId::from_uuid(uuid::Uuid::nil()),
            Scope::Key { key, .. } => key,
        };
        let charge = Credits::from_nano(charge);
        let usage = crate::testing::usage(charge);
        Usage { request: self.request, at: crate::ambient::now(), key, ..usage }
    }
}

/// Makes some calls at one node.
pub(super) fn call(node: &mut Node, owner: &Owner, world: &Shared, chance: &mut Chance, times: u64) {
    let (Some(meter), index) = (node.meter(), node.index) else { return };
    for _ in 0..times {
        let impatient = {
            let mut world = lock(world);
            world.report.actions += 1;
            world.plan.impatient
        };
        let call = Call::any(owner, impatient, chance);
        let (meter, world) = (meter.clone(), world.clone());
        let Some(up) = &mut node.up else { return };
        let clock = up.clock.clone();
        let caller = Caller { node: index, world, now: Arc::new(move || clock.global()) };
        up.spawn(caller.call(meter, call));
    }
}

/// Whoever makes a call, and tells the audit what it was answered.
struct Caller {
    node: usize,
    world: Shared,
    now: Arc<dyn Fn() -> Micros + Send + Sync>,
}

impl Caller {
    fn tell(&self, what: &str, call: &Call, tell: impl FnOnce(&mut World, Micros)) {
        let now = (self.now)();
        let mut world = lock(&self.world);
        let now = now.max(world.now);
        world.note(format_args!("node {} call {} {what}", self.node, call.request));
        tell(&mut world, now);
    }

    async fn call(self, meter: Meter, call: Call) {
        let request = call.request;
        let worst = call.ask.worst_case.nano();
        let asks = format!("asks {worst} of {} {:?}", call.ask.account, call.ask.scope);
        self.tell(&asks, &call, |world, now| {
            world.audit.asked(request, self.node, call.ask.account, worst, now)
        });
        let hold = tokio::time::timeout(call.patience.0, meter.hold(call.ask.clone())).await;
        let Ok(hold) = hold else {
            return self.tell("waits no longer", &call, |world, _| world.audit.left(request));
        };
        match hold {
            Err(error) => self.tell(&format!("is refused: {error}"), &call, |world, _| {
                world.report.refused += 1;
                world.audit.refused(request, &error);
            }),
            Ok(hold) => {
                self.tell("holds", &call, |world, now| world.audit.held(request, now));
                self.held(hold, call).await;
            }
        }
    }

    async fn held(self, mut hold: Hold, call: Call) {
        let request = call.request;
        if call.before > 0 {
            tokio::time::sleep(Duration::from_micros(call.before)).await;
        }
        let mark = |charge: i64| move |world: &mut World, _: Micros| world.audit.marked(request, charge);
        let release = |hold: Hold| {
            hold.release();
            self.tell("is released", &call, |world, now| world.audit.released(request, now));
        };
        if call.leaves {
            return release(hold);
        }
        self.tell("opens", &call, |world, _| world.audit.opening(request, 0));
        if let Err(error) = hold.open(call.so_far(0)).await {
            self.tell(&format!("is not opened: {error}"), &call, |_, _| {});
            return release(hold);
        }
        let lease = hold.lease();
        self.tell("is opened", &call, |world, _| world.audit.opened(request, lease));
        for (nth, (time, charge)) in call.parts.iter().enumerate() {
            tokio::time::sleep(Duration::from_micros(*time)).await;
            if nth + 1 < call.parts.len() {
                self.tell("is marked", &call, mark(*charge));
                hold.mark(call.so_far(*charge));
            }
        }
        let Some(charge) = call.charge else { return release(hold) };
        self.tell("settles", &call, |world, now| world.audit.settling(request, charge, now));
        let settled = tokio::time::timeout(call.patience.1, hold.settle(call.usage(charge))).await;
        let Ok(settled) = settled else {
            return self.tell("does not wait for its settlement", &call, |_, _| {});
        };
        self.tell(&format!("is settled: {settled:?}"), &call, |world, now| {
            world.audit.settled(request, settled, now);
        });
    }
}

/// Gives credits, and asks again until it is known that they are there.
pub(super) fn give(node: &mut Node, owner: &Owner, world: &Shared, units: i64, chance: &mut Chance) {
    let Some(up) = &mut node.up else { return };
    lock(world).report.actions += 1;
    let command = Command::GrantCredit {
        grant: GrantId::from_uuid(chance.uuid()),
        source: GrantSource::Admin,
        credits: Credits::from_nano(owner.unit * units),
        reason: None,
    };
    let (ledger, account) = (up.ledger.clone(), owner.account);
    up.spawn(async move {
        let actor = Actor { kind: ActorKind::System, id: label("operator") };
        while let Err(_again) = ledger.execute(account, command.clone(), actor.clone(), None).await {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}
