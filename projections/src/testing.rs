//! What tests are made of: databases of every kind, and a log in memory, as the engine would read it from a server.

mod logs;
mod measure;
mod proxy;
mod servers;

pub(crate) use logs::{FOREVER, LogServer, serve};
pub(crate) use measure::{databases, insert_raw, median, number, processor_time, rate};
pub(crate) use proxy::{Cut, Proxy};
pub(crate) use servers::{Program, Server};

use crate::checksum::TABLES;
use crate::{Checkpoint, Database, Dialect, Value};
use chrono::FixedOffset;
use domain::account::event::{
    AdjustmentPosted, ChargebackPosted, ChargebackReversed, CloseReason, Closer, CreditGranted, GrantSource,
    LeaseAmended, LeaseClosed, LeaseGranted, RefundApproved, RefundCompleted, RefundFailed, RefundRequested,
    Scope, TopUpClosed, TopUpCompleted, TopUpInitiated,
};
use domain::event::{PaymentSuspended, Resolution, ReturnedBy, SuspenseResolved, UsageReported};
use domain::price::PriceList;
use domain::usage::{Attempt, Usage};
use domain::*;
use ledger::{Logged, StreamIdentity};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Sqlite,
    Postgres,
    MariaDb,
}

/// Makes three tests of each function named: `the_function::sqlite`, `::postgres` and `::mariadb`.
macro_rules! on_every_database {
    ($($test:ident),* $(,)?) => {$(
        mod $test {
            use crate::testing::On;

            #[tokio::test]
            async fn sqlite() {
                super::$test(On::Sqlite).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$test(On::Postgres).await;
            }

            #[tokio::test]
            async fn mariadb() {
                super::$test(On::MariaDb).await;
            }
        }
    )*};
}
pub(crate) use on_every_database;

impl On {
    pub(crate) const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::MariaDb];

    /// The server that it needs.
    pub(crate) fn program(self) -> Option<Program> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(Program::Postgres),
            Self::MariaDb => Some(Program::MariaDb),
        }
    }
}

/// A database of a test's own, gone when dropped.
pub(crate) struct TestDatabase {
    pub(crate) db: Database,
    pub(crate) url: String,
    home: Home,
}

/// Where it lies, and how it goes.
enum Home {
    File {
        _folder: tempfile::TempDir,
    },
    Server {
        server: &'static Server,
        name: String,
    },
    /// A database that goes with its server.
    OwnServer {
        name: String,
    },
}

impl TestDatabase {
    /// With all its tables, empty.
    pub(crate) async fn on(on: On) -> Self {
        let test = Self::without_tables(on).await;
        test.db.migrate().await.unwrap();
        test
    }

    pub(crate) async fn without_tables(on: On) -> Self {
        let (url, home) = match on.program() {
            None => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}?mode=rwc", folder.path().join("test.db").display());
                (url, Home::File { _folder: folder })
            }
            Some(program) => {
                let server = program.shared();
                let name = create_database(server).await;
                (server.url(&name), Home::Server { server, name })
            }
        };
        Self { db: Database::connect(&url).await.unwrap(), url, home }
    }

    /// On a server that the test may kill, or through a socket that it may break.
    pub(crate) async fn on_server(server: &Server, socket: &Path) -> Self {
        let name = create_database(server).await;
        let url = server.url_through(socket, &name);
        let db = Database::connect(&url).await.unwrap();
        db.migrate().await.unwrap();
        Self { db, url, home: Home::OwnServer { name } }
    }

    /// On a server that flushes to disk, as in production; SQLite always does.
    pub(crate) async fn for_bench(on: On, server: Option<&Server>) -> Self {
        match server {
            None => Self::on(on).await,
            Some(server) => Self::on_server(server, &server.socket()).await,
        }
    }

    /// Its name on its server.
    pub(crate) fn name(&self) -> &str {
        match &self.home {
            Home::File { .. } => "",
            Home::Server { name, .. } | Home::OwnServer { name } => name,
        }
    }

    /// The same database as another process would see it.
    pub(crate) async fn another(&self) -> Database {
        Database::connect(&self.url).await.unwrap()
    }
}

async fn create_database(server: &Server) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let administrator = Database::connect(&server.url(server.first_database())).await.unwrap();
    administrator.execute(&format!("CREATE DATABASE {name}"), &[]).await.unwrap();
    administrator.close().await;
    name
}

impl Drop for Home {
    fn drop(&mut self) {
        let Self::Server { server, name } = self else { return };
        // Nobody waits for it, and what is not dropped goes with the server: this only keeps the disk from filling up.
        let (url, name) = (server.url(server.first_database()), name.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let administrator = Database::connect(&url).await?;
                let force = if administrator.dialect() == Dialect::Postgres { " WITH (FORCE)" } else { "" };
                administrator.execute(&format!("DROP DATABASE {name}{force}"), &[]).await
            })
        });
    }
}

pub(crate) fn zone(hours: i32) -> FixedOffset {
    FixedOffset::east_opt(hours * 3600).unwrap()
}

pub(crate) fn identity() -> StreamIdentity {
    StreamIdentity { stream: "LEDGER".into(), created: "2026-11-22T10:00:00Z".into(), last_sequence: 0 }
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

pub(crate) fn at(text: &str) -> Moment {
    text.parse().unwrap()
}

pub(crate) fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn money(text: &str) -> Money {
    Money::parse(text, "CNY".parse().unwrap()).unwrap()
}

/// A UUID that the same number always gives.
pub(crate) fn id(kind: u8, number: u64) -> Uuid {
    Uuid::from_u64_pair(u64::from(kind) << 56 | 0x4000, 0x8000_0000_0000_0000 | number)
}

pub(crate) fn account(number: u64) -> AccountId {
    AccountId::from_uuid(id(1, number))
}

pub(crate) fn order(number: u64) -> OrderId {
    OrderId::from_uuid(id(2, number))
}

pub(crate) fn lease(number: u64) -> LeaseId {
    LeaseId::from_uuid(id(3, number))
}

pub(crate) fn request(number: u64) -> RequestId {
    RequestId::from_uuid(id(4, number))
}

pub(crate) fn key(number: u64) -> KeyId {
    KeyId::from_uuid(id(5, number))
}

/// A usage record of input and output tokens at 3 and 15 credits a million, and of some units of media.
pub(crate) fn record(of: AccountId, on: LeaseId, n: u64, spent: Credits, usage: Usage) -> UsageRecord {
    UsageRecord { account: of, lease: on, n, spent, uncovered: Credits::ZERO, usage }
}

pub(crate) fn usage(number: u64, model: &str, input: u64, output: u64, when: Moment) -> Usage {
    let tokens = Tokens {
        input,
        output,
        cache_read: number % 3,
        characters: if number % 5 == 1 { 100 + number } else { 0 },
        audio_seconds: if number % 5 == 2 { number } else { 0 },
        images: number % 2,
        ..Tokens::default()
    };
    let list = PriceList {
        per_million_characters: Some("15".parse().unwrap()),
        per_audio_minute: Some("0.0001".parse().unwrap()),
        per_image: Some("0.00004".parse().unwrap()),
        ..PriceList::plain("3.000001".parse().unwrap(), "15.7".parse().unwrap())
    };
    let mut usage = Usage {
        request: request(number),
        at: when,
        key: key(number % 2),
        model: label(model),
        provider: label("antinomy"),
        upstream_model: label(model),
        endpoint: label("/v1/chat/completions"),
        tokens,
        price_version: PriceVersionId::from_uuid(id(6, 1)),
        unit_prices: list.resolve(),
        multiplier: "1.25".parse().unwrap(),
        charge: Credits::ZERO,
        cost: Credits::from_nano(i64::try_from(input + output).unwrap()),
        cost_prices: (number.is_multiple_of(2)).then(|| list.resolve()),
        outcome: if number % 7 == 3 { Outcome::ProviderError } else { Outcome::Completed },
        usage_source: UsageSource::Provider,
        stream: number.is_multiple_of(2),
        status: 200,
        ttft_ms: (!number.is_multiple_of(5)).then_some(120),
        duration_ms: 900 + number,
        attempts: vec![Attempt {
            provider: label("antinomy"),
            key: number.is_multiple_of(4).then(|| label("main")),
            chosen: Some(label("priority")),
            status: Some(200),
            error: None,
            duration_ms: 800,
        }],
    };
    usage.charge = usage.derived_charge().unwrap();
    usage
}

/// Appends events and remembers them as the log would give them back.
#[derive(Default)]
pub(crate) struct TestLog {
    pub(crate) messages: Vec<Logged>,
    versions: BTreeMap<String, u64>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    now: i64,
}

impl TestLog {
    /// Sets the clock of the events that follow.
    pub(crate) fn at(&mut self, when: &str) -> &mut Self {
        self.now = at(when).micros();
        self
    }

    pub(crate) fn append(&mut self, event: Event) -> &mut Self {
        let subject = ledger::codec::subject_of(&event).to_string();
        let version = self.versions.entry(subject).or_default();
        *version += 1;
        self.now += 1_000_000;
        let sequence = u64::try_from(self.messages.len()).unwrap() + 1;
        let recorded = Recorded {
            sequence,
            id: EventId::from_uuid(id(7, sequence)),
            version: *version,
            at: Moment::from_micros(self.now),
            actor: Actor { kind: ActorKind::System, id: label("test") },
            key: None,
            event,
        };
        if let Event::Account(account, event) = &recorded.event {
            self.accounts.entry(*account).or_default().apply(&recorded.with(event.clone()));
        }
        let hash = ledger::log::hash(format!("message {sequence}").as_bytes());
        let stored_at = Moment::from_micros(self.now + 1_000);
        self.messages.push(Logged { recorded, hash, prev: None, stored_at });
        self
    }

    pub(crate) fn of(&mut self, of: AccountId, event: AccountEvent) -> &mut Self {
        self.append(Event::Account(of, event))
    }

    pub(crate) fn initiated(&mut self, of: AccountId, number: u64, pay: &str, buys: &str) -> &mut Self {
        let expires_at = Moment::from_micros(self.now).plus_ms(1_800_000);
        let it = TopUpInitiated {
            order: order(number),
            channel: "sandbox".parse().unwrap(),
            pay: money(pay),
            credits: credits(buys),
            expires_at,
        };
        self.of(of, AccountEvent::TopUpInitiated(it))
    }

    pub(crate) fn completed(&mut self, of: AccountId, number: u64, paid: &str, buys: &str) -> &mut Self {
        let it = TopUpCompleted {
            order: order(number),
            channel: "sandbox".parse().unwrap(),
            provider_txn: label(&format!("txn-{number}")),
            paid: money(paid),
            credits: credits(buys),
        };
        self.of(of, AccountEvent::TopUpCompleted(it))
    }

    pub(crate) fn closed(&mut self, of: AccountId, number: u64, reason: CloseReason) -> &mut Self {
        self.of(of, AccountEvent::TopUpClosed(TopUpClosed { order: order(number), reason }))
    }

    /// A paid order of which a part went back, a part did not, a part is on its way, and the rest was disputed and won.
    pub(crate) fn given_back(&mut self, of: AccountId, number: u64) -> &mut Self {
        let channel: ChannelName = "sandbox".parse().unwrap();
        self.initiated(of, number, "50.00", "6.944444444").completed(of, number, "50.00", "6.944444444");
        for (part, (pay, takes)) in [("7.20", "1"), ("14.40", "2"), ("3.60", "0.5")].into_iter().enumerate() {
            let refund = RefundId::from_uuid(id(12, number * 10 + u64::try_from(part).unwrap()));
            let (order, pay, credits) = (order(number), money(pay), credits(takes));
            self.of(
                of,
                AccountEvent::RefundRequested(RefundRequested {
                    refund,
                    order,
                    channel: channel.clone(),
                    pay,
                    credits,
                    bonus: Credits::ZERO,
                    reason: "not wanted".parse().unwrap(),
                }),
            );
            self.of(of, AccountEvent::RefundApproved(RefundApproved { refund, order }));
            let channel = channel.clone();
            match part {
                0 => self.of(
                    of,
                    AccountEvent::RefundCompleted(RefundCompleted {
                        refund,
                        order,
                        channel,
                        pay,
                        credits,
                        bonus: Credits::ZERO,
                        provider_refund: Some(label(&format!("re-{number}"))),
                    }),
                ),
                1 => {
                    let reason = "closed by the channel".parse().unwrap();
                    let failed = RefundFailed { refund, order, channel, credits, reason };
                    self.of(of, AccountEvent::RefundFailed(failed))
                }
                _ => &mut *self,
            };
        }
        let (order, chargeback) = (order(number), ChargebackId::from_uuid(id(13, number)));
        let (pay, credits) = (money("14.40"), credits("2"));
        let posted = ChargebackPosted {
            chargeback,
            order,
            channel: channel.clone(),
            pay,
            credits,
            bonus: Credits::ZERO,
            reference: label(&format!("dp-{number}")),
        };
        self.of(of, AccountEvent::ChargebackPosted(posted));
        let reversed = ChargebackReversed { chargeback, order, channel, pay, credits, bonus: Credits::ZERO };
        self.of(of, AccountEvent::ChargebackReversed(reversed))
    }

    pub(crate) fn granted(&mut self, of: AccountId, number: u64, gift: &str) -> &mut Self {
        let it = CreditGranted {
            grant: GrantId::from_uuid(id(8, number)),
            source: GrantSource::Signup,
            credits: credits(gift),
            reason: None,
        };
        self.of(of, AccountEvent::CreditGranted(it))
    }

    pub(crate) fn adjusted(&mut self, of: AccountId, number: u64, by: &str) -> &mut Self {
        let it = AdjustmentPosted {
            adjustment: AdjustmentId::from_uuid(id(9, number)),
            credits: credits(by),
            reason: "as agreed".parse().unwrap(),
        };
        self.of(of, AccountEvent::AdjustmentPosted(it))
    }

    pub(crate) fn leased(&mut self, of: AccountId, number: u64, size: &str) -> &mut Self {
        let epoch = EpochId::from_uuid(id(10, 1));
        let scope = match number % 2 {
            0 => Scope::Account,
            _ => Scope::Key { key: key(1), period: label("2026-11") },
        };
        let it = LeaseGranted { lease: lease(number), epoch, scope, credits: credits(size), ttl_ms: 60_000 };
        self.of(of, AccountEvent::LeaseGranted(it))
    }

    pub(crate) fn amended(&mut self, of: AccountId, number: u64, size: &str) -> &mut Self {
        let it = LeaseAmended { lease: lease(number), credits: credits(size), ttl_ms: 60_000 };
        self.of(of, AccountEvent::LeaseAmended(it))
    }

    pub(crate) fn ended(&mut self, of: AccountId, number: u64, spent: Credits, count: u64) -> &mut Self {
        let it = LeaseClosed { lease: lease(number), spent, count, by: Closer::Holder };
        self.of(of, AccountEvent::LeaseClosed(it))
    }

    pub(crate) fn reported(&mut self, records: Vec<UsageRecord>) -> &mut Self {
        self.reported_by(1, records)
    }

    /// By a run other than the one that holds the leases.
    pub(crate) fn reported_by(&mut self, run: u64, records: Vec<UsageRecord>) -> &mut Self {
        let batch = BatchId::from_uuid(id(11, u64::try_from(self.messages.len()).unwrap()));
        let report = NodeEvent::UsageReported(UsageReported { batch, records });
        self.append(Event::Node(EpochId::from_uuid(id(10, run)), report))
    }

    pub(crate) fn suspended(&mut self) -> &mut Self {
        let it = PaymentSuspended {
            order: label("nobody"),
            provider_txn: label("t"),
            paid: money("1"),
            reason: "no such order".parse().unwrap(),
            inbox: 1,
        };
        self.append(Event::Suspense("sandbox".parse().unwrap(), SuspenseEvent::PaymentSuspended(it)))
    }

    /// The end of what [`Self::suspended`] put there.
    pub(crate) fn resolved(&mut self, payment: u64) -> &mut Self {
        let it = SuspenseResolved {
            payment,
            provider_txn: label("t"),
            paid: money("1"),
            resolution: Resolution::Returned { by: ReturnedBy::Hand, reference: None },
            reason: "they asked".parse().unwrap(),
        };
        self.append(Event::Suspense("sandbox".parse().unwrap(), SuspenseEvent::SuspenseResolved(it)))
    }

    /// Names that a careless database would alter, take for one another or put in another order, and numbers of every
    /// length, on an account of their own.
    pub(crate) fn oddities(&mut self) -> &mut Self {
        let (owner, held) = (account(77), 770_000);
        self.granted(owner, held, "9000000000").adjusted(owner, held + 1, "-8999999999.999999999");
        self.adjusted(owner, held + 2, "200000000").leased(owner, held, "100000000");
        let mut spent = Credits::ZERO;
        let when = Moment::from_micros(self.now);
        let records = (1..).zip(ODD_NAMES).map(|(n, name)| {
            let mut call = usage(held + n, name, n * 1_000, n, when);
            call.duration_ms = u64::MAX / (n * n);
            (call.provider, call.endpoint) = (label(name), label(name));
            spent = spent.checked_add(call.charge).unwrap();
            record(owner, lease(held), n, spent, call)
        });
        let records = records.collect();
        self.reported(records);
        for (number, name) in (held..).zip(ODD_NAMES) {
            self.initiated(owner, number, "90000000000000.01", "0.000000001");
            let it = TopUpCompleted {
                order: order(number),
                channel: "sandbox".parse().unwrap(),
                provider_txn: label(name),
                paid: money("90000000000000.01"),
                credits: credits("0.000000001"),
            };
            self.of(owner, AccountEvent::TopUpCompleted(it));
            let it = CreditGranted {
                grant: GrantId::from_uuid(id(8, number + 1_000)),
                source: GrantSource::Admin,
                credits: Credits::from_nano(1),
                reason: Some(name.parse().unwrap()),
            };
            self.of(owner, AccountEvent::CreditGranted(it));
        }
        self
    }

    /// Some hundred events of three accounts, as a busy week would make them; always the same for a seed.
    pub(crate) fn busy_week(seed: u64) -> Self {
        let mut log = Self::default();
        log.at("2026-11-22T10:00:00Z");
        let mut random = Random(seed);
        let mut number = 0;
        let mut open: BTreeMap<u64, (AccountId, u64, Credits)> = BTreeMap::new();
        let mut pending: Vec<(AccountId, u64)> = Vec::new();
        let mut reported: Vec<UsageRecord> = Vec::new();
        for owner in 0..3 {
            log.granted(account(owner), owner, "500.000000007");
            log.given_back(account(owner), 900_000 + owner);
        }
        for _ in 0..400 {
            number += 1;
            log.now += i64::try_from(random.below(3_600)).unwrap() * 1_000_000;
            let owner = account(random.below(3));
            match random.below(9) {
                0 => {
                    log.initiated(owner, number, "50.00", "6.944444444");
                    pending.push((owner, number));
                }
                1 if !pending.is_empty() => {
                    let (owner, order) = pending.remove(0);
                    log.completed(owner, order, "50.00", "6.944444444");
                }
                2 if !pending.is_empty() => {
                    // The owner gives up; half of the time the payment comes all the same.
                    let (owner, order) = pending.remove(0);
                    log.closed(owner, order, CloseReason::Expired);
                    if random.below(2) == 0 {
                        pending.push((owner, order));
                    }
                }
                3 => {
                    log.adjusted(owner, number, if random.below(2) == 0 { "-0.000000003" } else { "1.5" });
                }
                4 => {
                    log.leased(owner, number, "5");
                    open.insert(number, (owner, 0, Credits::ZERO));
                }
                5 if !open.is_empty() => {
                    let lease = *open.keys().nth(random.pick(open.len())).unwrap();
                    log.amended(open[&lease].0, lease, "7.5");
                }
                6 if open.len() > 3 => {
                    let (lease, (owner, count, spent)) = open.pop_first().unwrap();
                    log.ended(owner, lease, spent, count);
                }
                _ if !open.is_empty() => {
                    let mut records = Vec::new();
                    for _ in 0..=random.below(4) {
                        let at_lease = *open.keys().nth(random.pick(open.len())).unwrap();
                        let (owner, n, spent) = open.get_mut(&at_lease).unwrap();
                        number += 1;
                        let model = if random.below(2) == 0 { "claude-sonnet-4" } else { "gemini-2.5-pro" };
                        let when = Moment::from_micros(log.now);
                        let usage = usage(number, model, random.below(5_000), random.below(900), when);
                        *n += 1;
                        *spent = spent.checked_add(usage.charge).unwrap();
                        records.push(record(*owner, lease(at_lease), *n, *spent, usage));
                    }
                    // A node that did not hear the acknowledgement reports some again, now and then.
                    if !reported.is_empty() && random.below(3) == 0 {
                        records.push(reported[random.pick(reported.len())].clone());
                    }
                    reported.extend(records.iter().cloned());
                    log.reported(records);
                }
                _ => {
                    log.suspended();
                    let payment = u64::try_from(log.messages.len()).unwrap();
                    if random.below(2) == 0 {
                        log.resolved(payment);
                    }
                }
            }
        }
        log
    }
}

/// See [`TestLog::oddities`].
pub(crate) const ODD_NAMES: [&str; 20] = [
    "a",
    "A",
    "ab",
    "a-b",
    "a b",
    "aB",
    "á",
    "a\u{301}",
    "Z",
    "z",
    "ß",
    "ss",
    "it's \"so\" `so`",
    "back\\slash\\",
    "? $1 %_ -- ;",
    "模型/v1.5:thinking",
    "\u{202e}left\u{200b}",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "\u{10ffff}",
    "NULL",
];

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn pick(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap())).unwrap()
    }
}

/// Applies messages in batches of at most `size`, from wherever the checkpoint stands.
pub(crate) async fn apply_in(db: &Database, messages: &[Logged], size: usize) -> Checkpoint {
    apply_by(zone(8), db, messages, size).await
}

/// The same by another operator's clock.
pub(crate) async fn apply_by(
    zone: FixedOffset,
    db: &Database,
    messages: &[Logged],
    size: usize,
) -> Checkpoint {
    let mut checkpoint = Checkpoint::read(db).await.unwrap();
    let done = usize::try_from(checkpoint.sequence).unwrap();
    for batch in messages[done..].chunks(size) {
        match crate::engine::apply(db, zone, &identity(), &checkpoint, batch).await.unwrap() {
            crate::engine::Applied::Here(next) => checkpoint = next,
            crate::engine::Applied::Elsewhere => panic!("nobody else applies"),
        }
    }
    checkpoint
}

/// All rows of the projected tables, as text, in the order of their keys.
pub(crate) async fn dump(db: &Database) -> Vec<String> {
    let mut lines = Vec::new();
    for (table, keys) in TABLES {
        let sql = format!("SELECT * FROM {table} ORDER BY {}", keys.join(", "));
        for row in db.fetch_all(&sql, &[]).await.unwrap() {
            let names = row.columns();
            let cells = names.iter().enumerate().map(|(at, name)| (*name, row.cell(at).unwrap()));
            lines.push(format!("{table} {:?}", cells.collect::<BTreeMap<_, _>>()));
        }
    }
    lines
}

/// The number of rows of a table.
pub(crate) async fn count(db: &Database, table: &str) -> u64 {
    let row =
        db.fetch_one(&format!("SELECT COUNT(*) AS rows_found FROM {table}"), &[] as &[Value]).await.unwrap();
    row.count("rows_found").unwrap()
}
