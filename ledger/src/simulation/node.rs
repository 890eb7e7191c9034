//! A relay node: the real `Meter` and `Ledger` in a runtime of their own, whose clock goes only when it is told to.
//!
//! Claims: what a kill leaves behind is what stood on the disk at that moment; nothing that is dropped after it is seen by
//! the world.

use super::Micros;
use super::chance::Chance;
use super::plan::Plan;
use super::tables::Connection;
use super::world::{Reply, Request, Shared, lock};
use crate::ambient::simulated::{NOW, Surroundings};
use crate::log::wire::{Simulated, Wire};
use crate::{Ledger, LedgerError, Log, Meter};
use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

/// A machine. It may be up or down.
pub(super) struct Node {
    pub(super) index: usize,
    world: Shared,
    /// How fast its clocks go, in millionths.
    rate: u64,
    wall: SystemTime,
    runs: u64,
    /// Where its disks are.
    disks: PathBuf,
    /// Its disk: the outbox's folder.
    disk: PathBuf,
    pub(super) up: Option<Up>,
    /// Stands still until then.
    pub(super) still: Option<Still>,
}

/// A machine that stands still.
#[derive(Clone, Copy)]
pub(super) struct Still {
    pub(super) since: Micros,
    pub(super) until: Micros,
    /// Its monotonic clock stands still too.
    pub(super) asleep: bool,
}

/// A process.
pub(super) struct Up {
    pub(super) run: u64,
    runtime: Option<Runtime>,
    pub(super) clock: Arc<Clock>,
    surroundings: Option<Surroundings>,
    pub(super) ledger: Ledger,
    /// There once it has started.
    pub(super) meter: Arc<Mutex<Option<Meter>>>,
    /// It was told to stop, and has.
    pub(super) stopped: Arc<AtomicBool>,
}

impl Node {
    pub(super) fn new(index: usize, world: Shared, disks: PathBuf, chance: &mut Chance) -> Self {
        let skew = lock(&world).plan.skew;
        let rate = 1_000_000 - skew / 2 + chance.within(0..skew.max(1));
        let ahead = chance.within(0..10_000_000);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_341_595_000_000 + ahead);
        let disk = disks.join(format!("{index}-0"));
        Self { index, world, rate, wall, runs: 0, disks, disk, up: None, still: None }
    }

    /// A new process.
    pub(super) fn start(&mut self, now: Micros) {
        self.runs += 1;
        let run = self.runs;
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let since = runtime.block_on(async { Instant::now() });
        let clock = Arc::new(Clock {
            rate: self.rate,
            anchor: Mutex::new((now, since)),
            horizon: Mutex::new(since),
            nearer: Notify::new(),
        });
        let (world, index) = (self.world.clone(), self.index);
        lock(&world).set_alive(index, Some(run));
        let part = 1_000 + (index as u64) * 1_000 + run;
        let chance = Chance::of(lock(&world).plan.seed, part).into_rng();
        let wall = self.wall + Duration::from_micros(now);
        let surroundings = Some(Surroundings { chance, wall, since });
        let link = Link { world: world.clone(), node: index, run, clock: clock.clone() };
        let log = Log::on(Wire::Simulated(Arc::new(link)), Plan::log_options());
        let tables = Arc::new(Connection { world: world.clone(), clock: clock.clone() });
        let ledger = Ledger::new(log, tables.clone());
        let meter = Arc::new(Mutex::new(None));
        let mut up = Up {
            run,
            runtime: Some(runtime),
            clock,
            surroundings,
            ledger: ledger.clone(),
            meter: meter.clone(),
            stopped: Arc::default(),
        };
        let options = lock(&world).plan.meter_options(&self.disk);
        up.spawn(async move {
            // What a supervisor does: a start that failed is tried again.
            loop {
                let error = match Meter::start(ledger.clone(), tables.clone(), options.clone()).await {
                    Ok(started) => {
                        lock(&world).note(format_args!("node {index} serves as {}", started.epoch()));
                        *lock(&meter) = Some(started);
                        return;
                    }
                    Err(error) => error,
                };
                {
                    let mut world = lock(&world);
                    world.note(format_args!("node {index} cannot start: {error}"));
                    if !matches!(error, LedgerError::Unavailable(_)) {
                        world.audit.broken(format!("node {index} cannot start: {error}"));
                    }
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        self.up = Some(up);
    }

    /// Lets the process run until its clock shows this moment, or until something is due earlier.
    pub(super) fn run(&mut self, until: Micros) {
        if self.still.is_none()
            && let Some(up) = &mut self.up
        {
            up.clock.set_horizon(until);
            up.enter(|runtime, clock| runtime.block_on(clock.reached()));
        }
    }

    /// The process, or its whole machine, stands still.
    pub(super) fn stand(&mut self, still: Still) {
        self.still = Some(still);
    }

    /// Somebody sets its wall clock.
    pub(super) fn set_clock(&mut self, ahead: bool, by: Micros) {
        let by = Duration::from_micros(by);
        let set = |wall: SystemTime| if ahead { wall + by } else { wall - by };
        self.wall = set(self.wall);
        if let Some(surroundings) = self.up.as_mut().and_then(|up| up.surroundings.as_mut()) {
            surroundings.wall = set(surroundings.wall);
        }
    }

    /// It goes on.
    pub(super) fn go_on(&mut self, now: Micros) {
        let (Some(still), Some(up)) = (self.still.take(), &mut self.up) else { return };
        if still.asleep {
            let slept = now - still.since;
            up.clock.forget(slept);
            if let Some(surroundings) = &mut up.surroundings {
                surroundings.wall += Duration::from_micros(slept);
            }
            return;
        }
        let to = up.clock.local(now);
        up.enter(|runtime, _| {
            runtime.block_on(async {
                tokio::time::advance(to.saturating_duration_since(Instant::now())).await;
            });
        });
    }

    /// The process is gone at once, and so is all that it had in memory.
    pub(super) fn kill(&mut self) {
        let Some(mut up) = self.up.take() else { return };
        self.still = None;
        lock(&self.world).set_alive(self.index, None);
        // What is dropped with it still writes and sends: to a disk and a link that nobody looks at any more.
        let was = std::mem::replace(&mut self.disk, self.disks.join(format!("{}-{}", self.index, self.runs)));
        copy(&was, &self.disk);
        NOW.with(|now| *now.borrow_mut() = up.surroundings.take());
        drop(up.runtime.take());
        drop(up);
        NOW.with(|now| now.borrow_mut().take());
        std::fs::remove_dir_all(was).unwrap_or_default();
    }

    /// It is told to end: it lets its calls finish, gives its leases back and takes no more.
    pub(super) fn stop(&mut self, limit: Duration) -> u64 {
        let (Some(meter), Some(up)) = (self.meter(), &mut self.up) else { return 0 };
        let stopped = up.stopped.clone();
        up.spawn(async move {
            meter.drain(limit).await;
            stopped.store(true, Ordering::SeqCst);
        });
        up.run
    }

    /// What its outbox has written reaches its disk.
    pub(super) fn flush(&mut self) -> bool {
        let Some(meter) = self.meter().filter(|_| self.still.is_none()) else { return false };
        meter.outbox().flush().unwrap();
        true
    }

    /// A kill by power cut: of what was not flushed, the disk has any part.
    pub(super) fn power_cut(&mut self, chance: &mut Chance) {
        let unflushed = self.meter().map(|meter| meter.status().outbox.unflushed_bytes);
        self.kill();
        let Some((segment, length)) = self.last_segment() else { return };
        // While it starts only its frames tell.
        let by_frames = || durable(&std::fs::read(&segment).unwrap());
        let on_disk = unflushed.map_or_else(by_frames, |unflushed| length - unflushed);
        let end = chance.within(on_disk..length + 1);
        if on_disk == 0 && chance.permille(300) {
            return std::fs::remove_file(segment).unwrap();
        }
        let file = std::fs::OpenOptions::new().write(true).open(segment).unwrap();
        file.set_len(end).unwrap();
        if chance.permille(200) {
            // The length had reached the disk, the bytes had not.
            file.set_len(length).unwrap();
        }
    }

    pub(super) fn lose_disk(&mut self) {
        std::fs::remove_dir_all(&self.disk).unwrap();
    }

    fn last_segment(&self) -> Option<(PathBuf, u64)> {
        let files = std::fs::read_dir(&self.disk).ok()?.map(|file| file.unwrap().path());
        let last = files.filter(|path| path.extension().is_some_and(|it| it == "log")).max()?;
        let length = std::fs::metadata(&last).unwrap().len();
        Some((last, length))
    }

    /// The meter, if the process runs and has started it.
    pub(super) fn meter(&self) -> Option<Meter> {
        self.up.as_ref().and_then(|up| lock(&up.meter).clone())
    }

    pub(super) fn is_well(&self) -> bool {
        self.still.is_none() && self.meter().is_some()
    }
}

impl Up {
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.enter(|runtime, _| {
            runtime.spawn(task);
        });
    }

    /// With this process's surroundings.
    fn enter(&mut self, act: impl FnOnce(&Runtime, &Clock)) {
        NOW.with(|now| *now.borrow_mut() = self.surroundings.take());
        act(self.runtime.as_ref().unwrap(), &self.clock);
        self.surroundings = NOW.with(|now| now.borrow_mut().take());
    }
}

/// A process's clock against the world's.
pub(super) struct Clock {
    rate: u64,
    /// A moment by both.
    anchor: Mutex<(Micros, Instant)>,
    /// How far it may go.
    horizon: Mutex<Instant>,
    /// Told when that comes nearer.
    nearer: Notify,
}

impl Clock {
    /// Now, by the world's clock. Inside the runtime only.
    pub(super) fn global(&self) -> Micros {
        let (then, at) = *lock(&self.anchor);
        let passed = u64::try_from(Instant::now().duration_since(at).as_micros()).unwrap();
        then + u64::try_from(u128::from(passed) * 1_000_000 / u128::from(self.rate)).unwrap()
    }

    fn local(&self, global: Micros) -> Instant {
        let (then, at) = *lock(&self.anchor);
        let passed = u128::from(global.saturating_sub(then)) * u128::from(self.rate) / 1_000_000;
        at + Duration::from_micros(u64::try_from(passed).unwrap())
    }

    /// Time that passed for the world only.
    fn forget(&self, slept: Micros) {
        lock(&self.anchor).0 += slept;
    }

    fn set_horizon(&self, until: Micros) {
        *lock(&self.horizon) = self.local(until);
    }

    /// Something is due at this moment: go no further.
    fn come_nearer(&self, until: Micros) {
        let until = self.local(until);
        let mut horizon = lock(&self.horizon);
        if until < *horizon {
            *horizon = until;
            self.nearer.notify_one();
        }
    }

    async fn reached(&self) {
        // What was woken meanwhile comes first.
        tokio::task::yield_now().await;
        loop {
            let horizon = *lock(&self.horizon);
            if Instant::now() >= horizon {
                return;
            }
            tokio::select! {
                biased;
                () = self.nearer.notified() => {}
                () = tokio::time::sleep_until(horizon) => {}
            }
        }
    }
}

/// A process's connection to the server.
struct Link {
    world: Shared,
    node: usize,
    run: u64,
    clock: Arc<Clock>,
}

impl Link {
    fn after<T>(&self, act: impl FnOnce(&mut super::world::World, Micros) -> T) -> T {
        let mut world = lock(&self.world);
        let now = self.clock.global().max(world.now);
        let answer = act(&mut world, now);
        if let Some(next) = world.next() {
            self.clock.come_nearer(next);
        }
        answer
    }
}

impl Simulated for Link {
    fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        async move {
            let (to, answer) = oneshot::channel();
            let reply = Reply { node: self.node, to: Some(to) };
            let request = Request { subject, headers, payload, reply };
            self.after(|world, now| world.send(self.run, now, request));
            let answered = async {
                match answer.await {
                    Ok(answer) => answer,
                    // Lost on its way: nobody says so.
                    Err(_) => std::future::pending().await,
                }
            };
            let timeout = tokio::time::timeout(Plan::log_options().timeout, answered);
            timeout.await.unwrap_or_else(|_| Err("timed out".into()))
        }
        .boxed()
    }

    fn publish(&self, subject: String, payload: Bytes) {
        self.after(|world, now| world.publish(self.node, self.run, now, subject, payload));
    }

    fn subscribe(&self, pattern: String) -> mpsc::UnboundedReceiver<(String, Bytes)> {
        lock(&self.world).subscribe(self.node, self.run, pattern)
    }
}

/// What of a segment was on the disk, by its own frames.
fn durable(segment: &[u8]) -> u64 {
    let number = |at: usize, length: usize| {
        segment
            .get(at..at + length)
            .map(|bytes| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let (mut at, mut durable) = (0, 0);
    while let (Some(length), Some(claims)) = (number(at + 8, 4), number(at + 20, 8)) {
        durable = durable.max(claims);
        at += 28 + usize::try_from(length).unwrap();
    }
    durable
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let Ok(files) = std::fs::read_dir(from) else { return };
    for file in files.map(Result::unwrap) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
