//! What a seed stands for: who takes part, how much they have, and what befalls them.

use super::Micros;
use super::chance::Chance;
use crate::outbox::{Flush, OutboxOptions};
use crate::{LogOptions, MeterOptions};
use domain::{AccountId, KeyId};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

const MS: Micros = 1_000;
const SECOND: Micros = 1_000_000;

/// A lease's life. All times are about a tenth of production's.
pub(super) const LIFE: Micros = 4 * SECOND;
/// The longest that a call may take; the relay ends it then.
pub(super) const LONGEST_CALL: Micros = 3 * SECOND;
/// Holds are refused while a record waits longer for the log.
const REPORT_BOUND: Micros = 3 * SECOND;
/// Longest call, report bound, and what clocks may differ by.
pub(super) const QUARANTINE: Micros = 9 * SECOND;

/// A seed, spelled out.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) kind: Kind,
    pub(super) nodes: usize,
    pub(super) owners: Vec<Owner>,
    /// How long there is load and trouble.
    pub(super) active: Micros,
    /// Between two acts of load.
    pub(super) load_gap: Range<Micros>,
    /// Calls that come at once, now and then.
    pub(super) burst: u64,
    /// Between two strokes of fate; `None`: there are none.
    pub(super) fate_gap: Option<Range<Micros>>,
    pub(super) fates: Vec<Fate>,
    pub(super) network: Network,
    /// How long a commit takes: something where there are replicas.
    pub(super) commit_time: Range<Micros>,
    /// Commits lost or not answered, in a thousand.
    pub(super) leader_lost: u64,
    pub(super) tables_lag: Range<Micros>,
    /// How much faster or slower clocks go, in millionths.
    pub(super) skew: u64,
    /// How much an outbox may hold, in bytes.
    pub(super) disk: u64,
    /// Callers do not always wait for their answers.
    pub(super) impatient: bool,
}

/// Families of seeds: each looks somewhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing is wrong, and credits are scarce.
    Calm,
    /// Messages are lost, late, doubled; nodes are cut off; the server goes away.
    Network,
    /// Processes are killed and come back.
    Kills,
    /// Processes stand still, machines sleep, clocks differ.
    Pauses,
    /// Power cuts and lost disks.
    Disks,
    /// Everything, a little.
    Mixed,
    /// Everything, a lot.
    Wild,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Calm,
        Self::Network,
        Self::Kills,
        Self::Pauses,
        Self::Disks,
        Self::Mixed,
        Self::Wild,
        Self::Mixed,
    ];
}

/// An account and how it is used.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) account: AccountId,
    /// The worst case of a small call, in nano-credits; a large one needs some of these.
    pub(super) unit: i64,
    /// What it begins with, in units.
    pub(super) units: i64,
    /// Keys with their budgets, in nano-credits.
    pub(super) keys: Vec<(KeyId, i64)>,
}

/// How often messages are lost, doubled or late, in a thousand.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) usual: Range<Micros>,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) slow: u64,
    pub(super) very_slow: u64,
}

/// What can befall a node, the server or the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// SIGSTOP and SIGCONT: clocks go on, the process does not.
    Pause,
    /// The machine sleeps: only the wall clock goes on.
    Sleep,
    /// kill -9, and a restart.
    Kill,
    /// A kill by power cut: what was not flushed may be gone.
    PowerCut,
    /// The machine is gone with its disk; another may take its place.
    DiskLost,
    /// A stop as an operator does it, and a restart.
    Restart,
    /// Its wall clock jumps, forward or back.
    ClockSet,
    Partition,
    ServerAway,
    TablesAway,
    TablesStand,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance::of(seed, 0);
        let kind = Kind::ALL[usize::try_from(seed).unwrap() % Kind::ALL.len()];
        let nodes = 2 + chance.index(3);
        let owners = (0..2 + chance.index(3)).map(|_| Owner::any(&mut chance)).collect();
        let replicated = chance.permille(500);
        let calm = kind == Kind::Calm;
        let wild = kind == Kind::Wild;
        let rough = matches!(kind, Kind::Network | Kind::Wild | Kind::Mixed);
        let network = match (rough, calm) {
            (_, true) => Network { usual: 200..3_000, lost: 0, doubled: 0, slow: 0, very_slow: 0 },
            (false, false) => Network { usual: 200..4_000, lost: 1, doubled: 5, slow: 10, very_slow: 0 },
            (true, false) => {
                let worse = if wild { 3 } else { 1 };
                Network {
                    usual: 200..8_000,
                    lost: worse * chance.within(1..20),
                    doubled: worse * chance.within(0..30),
                    slow: worse * chance.within(5..60),
                    very_slow: worse * chance.within(0..8),
                }
            }
        };
        let fate_gap = match kind {
            Kind::Calm => None,
            Kind::Wild => Some(300 * MS..3 * SECOND),
            Kind::Network | Kind::Kills | Kind::Pauses | Kind::Disks | Kind::Mixed => {
                Some(SECOND..8 * SECOND)
            }
        };
        Self {
            seed,
            kind,
            nodes,
            owners,
            active: chance.within(25..45) * SECOND,
            load_gap: match chance.within(0..3) {
                0 => 5 * MS..60 * MS,
                1 => 20 * MS..150 * MS,
                _ => 10 * MS..400 * MS,
            },
            burst: chance.within(0..25),
            fate_gap,
            fates: kind.fates(),
            network,
            commit_time: if replicated { 300..6_000 } else { 50..400 },
            leader_lost: if rough && replicated { chance.within(0..20) } else { 0 },
            tables_lag: if calm { 0..60 * MS } else { 0..chance.within(20..1_500) * MS },
            skew: if calm { 200 } else { chance.within(0..60_000) },
            disk: if !calm && chance.permille(150) { chance.within(60..300) << 10 } else { 64 << 20 },
            impatient: !calm,
        }
    }

    pub(super) fn log_options() -> LogOptions {
        LogOptions {
            timeout: Duration::from_millis(500),
            patience: Duration::from_millis(1_500),
            ..LogOptions::default()
        }
    }

    /// Small segments, so that there are many.
    pub(super) fn meter_options(&self, folder: &Path) -> MeterOptions {
        let outbox = OutboxOptions {
            segment_bytes: 12 << 10,
            max_bytes: self.disk,
            flush: Flush::Manual,
            ..OutboxOptions::at(folder)
        };
        MeterOptions {
            lease_life: Duration::from_micros(LIFE),
            idle_close: Duration::from_millis(1_500),
            report_bound: Duration::from_micros(REPORT_BOUND),
            upkeep_every: Duration::from_millis(200),
            recall_wait: Duration::from_millis(600),
            sweep_every: Duration::from_millis(700),
            quarantine: Duration::from_micros(QUARANTINE),
            outbox,
        }
    }
}

impl Kind {
    fn fates(self) -> Vec<Fate> {
        use Fate::*;
        match self {
            Self::Calm => Vec::new(),
            Self::Network => vec![Partition, Partition, ServerAway, TablesAway, TablesStand],
            Self::Kills => vec![Kill, Kill, Kill, Restart, TablesStand],
            Self::Pauses => vec![Pause, Pause, Pause, Sleep, ClockSet, TablesStand],
            Self::Disks => vec![PowerCut, PowerCut, PowerCut, Kill, DiskLost, Restart],
            Self::Mixed | Self::Wild => vec![
                Pause,
                Sleep,
                ClockSet,
                Kill,
                Kill,
                PowerCut,
                DiskLost,
                Restart,
                Partition,
                Partition,
                ServerAway,
                TablesAway,
                TablesStand,
            ],
        }
    }
}

impl Owner {
    fn any(chance: &mut Chance) -> Self {
        let unit = i64::try_from(chance.within(1_000..2_000_000)).unwrap();
        let units = match chance.within(0..4) {
            0 => chance.within(1..6),
            1 => chance.within(5..40),
            2 => chance.within(50..500),
            _ => chance.within(2_000..50_000),
        };
        let keys = (0..chance.index(3))
            .map(|_| {
                let budget = chance.within(2..60);
                (KeyId::from_uuid(chance.uuid()), unit * i64::try_from(budget).unwrap())
            })
            .collect();
        Self {
            account: AccountId::from_uuid(chance.uuid()),
            unit,
            units: i64::try_from(units).unwrap(),
            keys,
        }
    }
}
