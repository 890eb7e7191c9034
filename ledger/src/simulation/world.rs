//! The world between the nodes: one clock, one queue of what is due, the server, the tables, and the weather on the way.
//!
//! Claims: everything that happens is due at a moment of the one clock, in an order that the seed alone decides.

use super::audit::Audit;
use super::chance::Chance;
use super::plan::Plan;
use super::server::{Handled, Publish, Server, acknowledgement};
use super::tables::Tables;
use super::{Micros, Report};
use async_nats::HeaderMap;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};

pub(super) type Shared = Arc<Mutex<World>>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: Micros,
    queue: BTreeMap<(Micros, u64), Due>,
    order: u64,
    chance: Chance,
    server: Server,
    pub(super) tables: Tables,
    pub(super) audit: Audit,
    pub(super) weather: Weather,
    /// The run of each node that lives, if one does.
    alive: Vec<Option<u64>>,
    subscriptions: Vec<Subscription>,
    pub(super) report: Report,
    trace: Trace,
}

/// What is out of order now, and until when.
pub(super) struct Weather {
    pub(super) partitioned: Vec<Micros>,
    pub(super) server_away: Micros,
    pub(super) tables_away: Micros,
    /// The projector stands still: the tables answer, and trail.
    pub(super) tables_stand: Micros,
}

/// Something that happens at its moment.
pub(super) enum Due {
    /// A request reaches the server.
    Request(Request),
    /// A message is committed, or is not.
    Commit(Publish, Reply),
    /// An answer reaches its node.
    Answer(oneshot::Sender<Result<Bytes, String>>, Result<Bytes, String>),
    /// What nodes tell each other reaches the server.
    Told { node: usize, subject: String, payload: Bytes },
    /// It reaches a node that listens.
    Heard(mpsc::UnboundedSender<(String, Bytes)>, String, Bytes),
    /// Somebody acts: a user, an operator, fate.
    Act(super::Act),
}

pub(super) struct Request {
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
    pub(super) reply: Reply,
}

/// Where an answer goes: nowhere for a message that the network doubled.
pub(super) struct Reply {
    pub(super) node: usize,
    pub(super) to: Option<oneshot::Sender<Result<Bytes, String>>>,
}

struct Subscription {
    node: usize,
    run: u64,
    pattern: String,
    to: mpsc::UnboundedSender<(String, Bytes)>,
}

impl World {
    pub(super) fn new(plan: Plan, print: bool) -> Self {
        let nodes = plan.nodes;
        Self {
            now: 0,
            queue: BTreeMap::new(),
            order: 0,
            chance: Chance::of(plan.seed, 1),
            server: Server::default(),
            tables: Tables::default(),
            audit: Audit::new(&plan),
            weather: Weather { partitioned: vec![0; nodes], server_away: 0, tables_away: 0, tables_stand: 0 },
            alive: vec![None; nodes],
            subscriptions: Vec::new(),
            report: Report::default(),
            trace: Trace { hash: 0xcbf2_9ce4_8422_2325, print },
            plan,
        }
    }

    /// When the next thing is due.
    pub(super) fn next(&self) -> Option<Micros> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes what is due next; its moment becomes now.
    pub(super) fn take(&mut self) -> Due {
        let ((at, _), due) = self.queue.pop_first().unwrap();
        self.now = self.now.max(at);
        due
    }

    pub(super) fn schedule(&mut self, at: Micros, due: Due) {
        self.order += 1;
        self.queue.insert((at.max(self.now), self.order), due);
    }

    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.trace.note(self.now, what);
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace.hash
    }

    pub(super) fn set_alive(&mut self, node: usize, run: Option<u64>) {
        self.alive[node] = run;
        self.subscriptions.retain(|it| it.node != node);
    }

    /// A node sends a request.
    pub(super) fn send(&mut self, run: u64, at: Micros, request: Request) {
        let node = request.reply.node;
        if self.alive[node] != Some(run) {
            return; // only its ghost is asking, while its tasks are dropped
        }
        if request.headers.is_some() && self.chance.permille(self.plan.network.doubled) {
            let reply = Reply { node, to: None };
            let (subject, headers, payload) =
                (request.subject.clone(), request.headers.clone(), request.payload.clone());
            self.report.count("message doubled");
            if let Some(arrival) = self.way(node, at) {
                self.schedule(arrival, Due::Request(Request { subject, headers, payload, reply }));
            }
        }
        match self.way(node, at) {
            Some(arrival) => self.schedule(arrival, Due::Request(request)),
            // The asker hears nothing and must wait for its time-out.
            None => drop(request),
        }
    }

    /// When a message that leaves now is there; `None`: it is lost.
    fn way(&mut self, node: usize, at: Micros) -> Option<Micros> {
        let network = &self.plan.network;
        let mut time = self.chance.within(network.usual.clone());
        if self.chance.permille(network.lost) {
            self.report.count("message lost");
            return None;
        }
        if self.chance.permille(network.slow) {
            time += self.chance.within(5_000..300_000);
            self.report.count("message delayed");
        } else if self.chance.permille(network.very_slow) {
            time += self.chance.within(300_000..12_000_000);
            self.report.count("message delayed for long");
        }
        let ends = self.weather.partitioned[node];
        if at < ends {
            // Cut off: what was sent is lost, or a client's buffer sends it when the connection is back.
            if self.chance.permille(500) {
                self.report.count("message lost");
                return None;
            }
            return Some(ends + time);
        }
        Some(at + time)
    }

    pub(super) fn publish(&mut self, node: usize, run: u64, at: Micros, subject: String, payload: Bytes) {
        if self.alive[node] == Some(run)
            && let Some(arrival) = self.way(node, at)
        {
            self.schedule(arrival, Due::Told { node, subject, payload });
        }
    }

    pub(super) fn subscribe(
        &mut self,
        node: usize,
        run: u64,
        pattern: String,
    ) -> mpsc::UnboundedReceiver<(String, Bytes)> {
        let (to, heard) = mpsc::unbounded_channel();
        self.subscriptions.push(Subscription { node, run, pattern, to });
        heard
    }

    /// What the server, its replicas and the network do by themselves; an act is handed back.
    pub(super) fn happen(&mut self, due: Due) -> Option<super::Act> {
        match due {
            Due::Act(act) => return Some(act),
            Due::Request(request) => self.arrive(request),
            Due::Commit(publish, reply) => self.commit(publish, reply),
            Due::Answer(to, answer) => {
                to.send(answer).ok();
            }
            Due::Told { node, subject, payload } => {
                if self.now >= self.weather.server_away {
                    self.note(format_args!("node {node} tells {subject}"));
                    self.tell(&subject, &payload);
                }
            }
            Due::Heard(to, subject, payload) => {
                to.send((subject, payload)).ok();
            }
        }
        None
    }

    fn arrive(&mut self, request: Request) {
        let Request { subject, headers, payload, reply } = request;
        let node = reply.node;
        if self.now < self.weather.server_away {
            self.report.count("request to a server that is away");
            // A server that is gone, or a client that knows it: some requests fail at once.
            if self.chance.permille(500) {
                self.answer(reply, Err("no responders".into()));
            }
            return;
        }
        self.report.requests += 1;
        match self.server.handle(&subject, headers.as_ref(), &payload, self.now) {
            Handled::Answer(answer) => {
                self.trace.note(
                    self.now,
                    format_args!(
                        "node {node} asks {subject} {}: {}",
                        if headers.is_some() { "publish".into() } else { String::from_utf8_lossy(&payload) },
                        String::from_utf8_lossy(&answer[..answer.len().min(100)])
                    ),
                );
                self.answer(reply, Ok(answer));
            }
            Handled::Commit(publish) => {
                let time = self.chance.within(self.plan.commit_time.clone());
                self.schedule(self.now + time, Due::Commit(publish, reply));
            }
        }
    }

    fn commit(&mut self, publish: Publish, reply: Reply) {
        let mut answered = true;
        if self.chance.permille(self.plan.leader_lost) {
            self.report.count("leader lost before a commit");
            answered = false;
            if self.chance.permille(500) {
                self.note(format_args!("a message on {} is lost with the leader", publish.subject));
                return self.server.forget(&publish);
            }
        }
        match self.server.commit(publish, self.now) {
            Ok(stored) => {
                self.trace.note(
                    self.now,
                    format_args!(
                        "#{} on {} by node {}: {:?}",
                        stored.sequence,
                        stored.subject,
                        reply.node,
                        Brief(&stored.recorded.event)
                    ),
                );
                self.audit.stored(stored, self.now);
                self.report.see(&stored.recorded.event);
                let answer = acknowledgement(stored.sequence);
                if answered {
                    self.answer(reply, Ok(answer));
                }
            }
            Err(error) => self.audit.broken(format!("a message that cannot be read was appended: {error}")),
        }
    }

    fn answer(&mut self, reply: Reply, answer: Result<Bytes, String>) {
        let Some(to) = reply.to else { return };
        if let Some(arrival) = self.way(reply.node, self.now) {
            self.schedule(arrival, Due::Answer(to, answer));
        }
    }

    fn tell(&mut self, subject: &str, payload: &Bytes) {
        let listeners: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|it| self.alive[it.node] == Some(it.run) && matches(&it.pattern, subject))
            .map(|it| (it.node, it.to.clone()))
            .collect();
        for (node, to) in listeners {
            if let Some(arrival) = self.way(node, self.now) {
                self.schedule(arrival, Due::Heard(to, subject.to_owned(), payload.clone()));
            }
        }
    }

    /// How long the tables take to answer.
    pub(super) fn tables_time(&mut self) -> Micros {
        self.chance.within(500..8_000)
    }

    /// Brings the tables to where they are at this moment; false: they cannot be read.
    pub(super) fn project(&mut self, at: Micros) -> bool {
        let lag = self.chance.within(self.plan.tables_lag.clone());
        if at >= self.weather.tables_stand {
            self.tables.advance(&self.server, at.saturating_sub(lag));
        }
        at >= self.weather.tables_away
    }
}

/// Does a subject match a pattern with `*` and `>`?
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(is)) if wanted == is => {}
            (_, _) => return false,
        }
    }
}

/// An event in a line of the trace.
struct Brief<'a>(&'a domain::Event);

impl fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use domain::{Event, NodeEvent};
        match self.0 {
            Event::Account(_, event) => write!(f, "{event:?}"),
            Event::Node(_, NodeEvent::UsageReported(report)) => {
                write!(f, "usage")?;
                for it in &report.records {
                    write!(f, " {}/{} spent {} by {}", it.lease, it.n, it.spent, it.usage.request)?;
                }
                Ok(())
            }
            Event::Node(_, NodeEvent::NodeSealed(sealed)) => write!(f, "{sealed:?}"),
            Event::Suspense(..) => write!(f, "suspense"),
            Event::Channel(..) => write!(f, "channel"),
        }
    }
}

/// All that happened, as a number to compare, and in words where somebody wants to read it.
struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    fn note(&mut self, at: Micros, what: fmt::Arguments<'_>) {
        use fmt::Write as _;
        write!(self, "{at} {what}").unwrap();
        if self.print {
            eprintln!("{:>10}.{:03} ms  {what}", at / 1000, at % 1000);
        }
    }
}

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
