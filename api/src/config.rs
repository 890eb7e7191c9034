//! Configuration: one TOML file, environment variables over it, read once at start.
//!
//! Claims: every option is in [`OPTIONS`] with its default and a sentence, from which the documentation is made; an unknown
//! key or variable is refused, for a typo in the name of a safety option must not go unnoticed.

mod desk;
mod issuer;
mod written;

pub use desk::{AdjustmentsConfig, ReferralConfig, RoleLimits};
pub use issuer::{IssuerConfig, IssuerKind};
pub use written::{Origin, Overrides, Shown, is_changeable};

use crate::payments::config::{ChannelConfig, of_variable};
use crate::roles::Roles;
use desk::{RawAdjustments, RawReferral, RawSite};
use relay::Secret;
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use written::Written;

/// One option, as documented.
#[derive(Clone, Copy, Debug)]
pub struct OptionHelp {
    /// Its key in the file: `topup.min`.
    pub key: &'static str,
    /// How the variable's text is read.
    kind: Kind,
    /// Its default, as one would write it; empty: none.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Bool,
    Integer,
    /// Comma-separated in a variable.
    List,
    /// `name=value` pairs, comma-separated in a variable.
    Pairs,
    /// Tables: an array in the file, `[{…}]` in TOML or JSON in a variable.
    Tables,
}

macro_rules! options {
    ($($key:literal $kind:ident $default:literal $help:literal)*) => {
        /// Every option.
        pub const OPTIONS: &[OptionHelp] = &[$(OptionHelp { key: $key, kind: Kind::$kind, default: $default, help: $help }),*];
    };
}

options! {
    "roles" List "api,relay,projector" "What this process does; `serve --role` stands over it. Less than all needs `nats_url`, `database_url` and, but for `projector` alone, `master_key`, which its peers share."
    "listen" Text "127.0.0.1:3000" "Address and port to serve on."
    "public_url" Text "http://<listen>" "How browsers and payment channels reach this gateway. `https` makes the session cookie Secure. Passkeys belong to its name."
    "data_dir" Text "./data" "Folder of everything the embedded default keeps: the SQLite file, the log, keys."
    "production" Bool "false" "Refuses what is only fit for development: the sandbox channel, a public_url without https."
    "admin_password" Text "" "Password of the user `admin` at the first start. Empty: a random one is printed once."
    "master_key" Text "" "32 bytes in hexadecimal that seal provider keys in the database. Empty: made at the first start and kept in `data_dir/master.key`."
    "database_url" Text "" "`postgres://…` or `mysql://…`. Empty: SQLite in `data_dir`."
    "nats_url" List "" "Addresses of NATS servers (`nats://host:4222`). Empty: a supervised nats-server on loopback."
    "nats_token" Text "" "Token for `nats_url`, where the servers ask for one."
    "nats_user" Text "" "User for `nats_url`, where the servers know users: one for each role has the least rights (deploy/nats/accounts.conf)."
    "nats_password" Text "" "The password of `nats_user`."
    "nats_ca_file" Text "" "A file of certificates (PEM) that are trusted besides the machine's own. With it, and with `tls://` addresses, connections to `nats_url` must be encrypted."
    "nats_replicas" Integer "1" "Copies of each event: 1 on one server, 3 in a cluster."
    "nats_sync" Text "unknown" "The servers' `sync_interval`, as you configured it; only shown. The supervised server runs with `always`."
    "nats_server" Text "" "Path of the nats-server binary to supervise. Empty: `.deps/bin/nats-server`, then PATH."
    "inbox_days" Integer "400" "How long raw payment callbacks are kept."
    "usage_keep_months" Integer "0" "How many whole months calls stay in the database before they leave it for Parquet files (docs/backup.md); those of the present month come on top. 0: for ever."
    "usage_archive_dir" Text "" "The folder of those files. Empty: `usage-archive` in `data_dir`."
    "time_zone" Text "+00:00" "The operator's offset from UTC, by which billing days begin."
    "log_level" Text "info,async_nats=warn" "What is logged: `error`, `warn`, `info`, `debug`, or directives such as `info,relay=debug`."
    "log_format" Text "text" "`text` or `json`."
    "drain_seconds" Integer "30" "How long a stop waits for calls in flight, and as long again for the log."
    "allow_private_providers" Bool "false" "Lets providers live on loopback and private addresses, and speak plain http there."
    "allow_private_webhooks" Bool "false" "Lets users' webhooks lead to loopback and private addresses, and be called by plain http there. For development, and where all users are trusted with the inside of the network."
    "trusted_proxies" List "" "Networks (CIDR) of reverse proxies whose `X-Forwarded-For` is believed."
    "sandbox" Bool "true" "The development payment channel. Never there in production mode."
    "registration.mode" Text "" "Who may register: `required` (whoever proves their e-mail address), `optional` (anybody; the address may be proven later), `invite` (only with an invitation), `closed` (nobody). Empty: `required` where `smtp.host` is set, else `optional`."
    "registration.email_domains" List "" "Domains whose addresses may register (`example.org`, not those below it). Empty: all."
    "registration.fold_aliases" Bool "false" "Takes `ann+shop@x` for `ann@x`, and addresses at Gmail that differ by dots for one, so that nobody registers twice by them."
    "password.memory_kib" Integer "19456" "Memory that hashing a password takes (Argon2id), in KiB. A login makes a weaker hash anew."
    "password.passes" Integer "2" "Passes over that memory."
    "oidc.issuers" Tables "" "Other sites by which people log in, each a table `[[oidc.issuers]]` (docs/accounts.md lists its keys). In a variable: `[{id = \"…\", …}]`, or the same as JSON."
    "oidc.secrets" Pairs "" "The client secrets of those sites by their ids; they stand over `client_secret` in a table."
    "security.confirmation_minutes" Integer "10" "How long a login, or a confirmation since (`POST /api/user/confirm`), is fresh enough for what moves money or changes secrets."
    "security.require_second_factor_for" List "" "Roles (`owner,admin`) that get at nothing beyond their own account until they have set a second factor up."
    "smtp.host" Text "" "The server that takes our mails. Empty: mails go to the log and to `/api/dev/mailbox`; in production mode they are not sent."
    "smtp.port" Integer "0" "Its port. 0: 587 with `starttls`, 465 with `tls`, 25 with `none`."
    "smtp.security" Text "starttls" "`starttls`, `tls` (from the first byte), or `none`."
    "smtp.username" Text "" "Whom to log in as. Empty: without a login."
    "smtp.password" Text "" "The password of `smtp.username`."
    "smtp.from" Text "" "The sender: `NexusRoute <no-reply@example.org>`. Needed with `smtp.host`."
    "smtp.ca_file" Text "" "A file of certificates (PEM) that are trusted besides the machine's own."
    "topup.presets" List "50,100,150,200,300,500,1000" "Amounts offered."
    "topup.min" Text "1" "The least amount of a top-up."
    "topup.max" Text "100000" "The greatest amount of a top-up."
    "topup.currency" Text "CNY" "The currency of a top-up that names none."
    "topup.rates" Pairs "CNY=7.2,USD=1" "Currencies taken, with the units of each that buy one credit."
    "topup.bonus" Pairs "" "What is given beside a top-up, as a percentage of the credits that it buys, by the amount of `topup.currency` from which it is given: `100=5,500=10`."
    "topup.daily_max" Text "0" "The most that one user may top up on a day of `time_zone`, in `topup.currency`: orders that are open or paid. 0: no such limit."
    "topup.monthly_max" Text "0" "The same in a month."
    "topup.open_orders" Integer "50" "How many orders of one user may wait for their payment at once. 0: no such limit."
    "site.name" Text "NexusRoute" "What the gateway is called to its users."
    "adjustments.approval_above" Pairs "finance=100,admin=1000,owner=10000" "How many credits one person of a role may add to or take from an account at once. What is larger waits for another person's approval. A role that is not named may move none alone."
    "adjustments.daily" Pairs "finance=500,admin=5000,owner=50000" "How many on one day of `time_zone`, all acts together; what goes beyond waits for approval as well."
    "adjustments.approval_days" Integer "7" "How long a request waits for approval."
    "approvals.single_operator" Bool "false" "There is one operator: they may approve, with a note, what they asked for themselves. Not in force while another active operator could."
    "referral.enabled" Bool "false" "Gives credits to users who bring others."
    "referral.reward" Text "5" "Credits for whoever brought somebody, once those have made a top-up."
    "referral.welcome" Text "0" "Credits for whoever was brought, at the same time."
    "referral.min_topup" Text "10" "The least number of credits that this top-up must buy."
    "referral.monthly_cap" Integer "10" "How often one user is rewarded in a month."
    "referral.days" Integer "90" "How long after registering such a top-up counts."
    "referral.hold_days" Integer "14" "How many days such a top-up must stand, not refunded and not disputed, before it earns; 0: none."
    "topup.order_seconds" Integer "1800" "How long an order can be paid: up to a day, at least a minute in production mode. A later payment is still credited."
    "topup.poll_seconds" List "30,120,600" "When the gateway of an unpaid order is asked about it, in seconds after its opening; the last pause repeats."
    "reconciliation.daily_at" Text "10:00" "When the bills of the day before are asked for, by each channel's own clock (Beijing's; Stripe: UTC). Empty: never; then they are uploaded."
    "metrics.token" Text "" "Whoever sends it as `Authorization: Bearer` may read `/metrics`."
    "metrics.allow" List "127.0.0.0/8,::1/128" "Networks (CIDR) from which `/metrics` may be read without it, but never through a proxy: a request with `X-Forwarded-For` and its like needs the token."
    "traces.url" Text "" "Where traces are posted by OTLP/HTTP as JSON: `http://collector:4318/v1/traces`. Empty: there are none."
    "traces.token" Text "" "Sent along as `Authorization: Bearer`."
    "redis_url" Text "" "A Redis (`redis://host:6379`) that shares rate limits between the processes that relay calls. Empty: each counts alone."
    "redis_ca_file" Text "" "A file of certificates (PEM) that are trusted for `redis_url` instead of the machine's own; that address must begin with `rediss://` then."
    "relay.max_body_bytes" Integer "33554432" "The largest request body of a model call."
    "relay.first_byte_seconds" Integer "300" "How long a provider may take to begin its answer; an answer that is not streamed begins when it is complete."
    "relay.idle_seconds" Integer "120" "How long a provider may pause within an answer."
    "relay.call_seconds" Integer "540" "The longest a call may take."
    "relay.allow_unpriced" Bool "false" "Lets calls through that ask for what price lists do not cover: dearer tiers of service, and tools that the provider runs and bills apart, such as web search. You bear what it takes for them."
    "lease.life_seconds" Integer "60" "How long a node may spend credits that it has leased, before it must renew the lease. A lease that is not renewed for twice as long is taken from its node."
    "lease.report_seconds" Integer "30" "No call begins while a usage record has been waiting longer than this for the log."
    "lease.quarantine_seconds" Integer "600" "How long the credits of a node that fell silent stay reserved: at least `relay.call_seconds` + `lease.report_seconds` + 5."
    "outbox.max_bytes" Integer "1073741824" "How much a node keeps on its own disk of calls and usage that the projections have not passed. Beyond it no call begins."
    "outbox.sync" Bool "false" "Calls wait until the disk has them, at their begin and at their end. Without it the disk has them within 5 ms: a power cut may lose so much, a kill nothing."
}

/// What the operator set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this process does.
    pub roles: Roles,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of the embedded default's files.
    pub data_dir: PathBuf,
    /// How browsers reach this gateway, without a trailing slash.
    pub public_url: String,
    /// Refuses what is only fit for development.
    pub production: bool,
    /// The first admin's password.
    pub admin_password: Option<String>,
    /// The key that seals provider keys, in hexadecimal.
    pub master_key: Option<String>,
    /// The database; absent: SQLite in the data folder.
    pub database_url: Option<String>,
    /// The Redis that shares rate limits; absent: each process counts alone.
    pub redis_url: Option<String>,
    /// Certificates that are trusted for it instead of the machine's.
    pub redis_ca_file: Option<PathBuf>,
    /// The NATS servers; absent: a supervised child.
    pub nats_url: Option<Vec<String>>,
    /// The NATS servers' token.
    pub nats_token: Option<String>,
    /// The user at the NATS servers, and their password.
    pub nats_login: Option<(String, Secret)>,
    /// Certificates that are trusted for the NATS servers besides the machine's.
    pub nats_ca_file: Option<PathBuf>,
    /// Copies of each event.
    pub nats_replicas: usize,
    /// The servers' sync interval as stated by the operator.
    pub nats_sync: Option<String>,
    /// The nats-server binary.
    pub nats_server: Option<PathBuf>,
    /// How long raw callbacks are kept.
    pub inbox_days: u32,
    /// How many whole months calls stay in the database; 0: for ever.
    pub usage_keep_months: u32,
    /// Where calls go after that, if not into the data folder.
    pub usage_archive_dir: Option<PathBuf>,
    /// The operator's time zone, as minutes east of UTC.
    pub time_zone_offset_minutes: i32,
    /// Log directives.
    pub log_level: String,
    /// Log lines as JSON.
    pub log_json: bool,
    /// How long a stop waits.
    pub drain: Duration,
    /// Providers on private addresses are allowed.
    pub allow_private_providers: bool,
    /// Users' webhooks on private addresses are allowed.
    pub allow_private_webhooks: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// The development channel.
    pub sandbox_enabled: bool,
    /// Who may register.
    pub registration: RegistrationConfig,
    /// What hashing a password costs.
    pub password: PasswordConfig,
    /// Other sites by which people log in.
    pub issuers: Vec<IssuerConfig>,
    /// What a login must have shown.
    pub security: SecurityConfig,
    /// The server that takes our mails; absent: there is none.
    pub smtp: Option<SmtpConfig>,
    /// Top-ups.
    pub topup: TopUpConfig,
    /// Reconciliation with channels' bills.
    pub reconciliation: ReconciliationConfig,
    /// Payment channels besides the sandbox, by name.
    pub payments: Vec<ChannelConfig>,
    /// Model calls.
    pub relay: RelayConfig,
    /// Metering of model calls.
    pub lease: LeaseConfig,
    /// The node's own store of calls and usage.
    pub outbox: OutboxConfig,
    /// What the gateway is called.
    pub site_name: String,
    /// How much an operator may move alone.
    pub adjustments: AdjustmentsConfig,
    /// May whoever is the only operator approve what they asked for themselves?
    pub single_operator: bool,
    /// What is given for bringing somebody.
    pub referral: ReferralConfig,
    /// Who may see the metrics.
    pub metrics: MetricsConfig,
    /// Where traces go; absent: nowhere.
    pub traces: Option<TracesConfig>,
    /// What was written, and where.
    pub(crate) written: Arc<Written>,
}

/// Where traces go.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// The collector's address for traces.
    pub url: reqwest::Url,
    /// What it asks for.
    pub token: Option<Secret>,
}

/// Who may see the metrics.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// Whoever has this.
    pub token: Option<Secret>,
    /// Whoever comes straight from these networks.
    pub allow: Vec<ipnet::IpNet>,
}

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Whoever proves their address.
    Required,
    /// Anybody.
    Optional,
    /// Whoever has an invitation. The address is to be proven where mails can be sent.
    Invite,
    /// Nobody.
    Closed,
}

/// Options of registering.
#[derive(Clone, Debug)]
pub struct RegistrationConfig {
    /// Who may.
    pub mode: RegistrationMode,
    /// An account needs a proven address: nobody is a user, or logs in, without one.
    pub needs_proof: bool,
    /// Domains that are let in, in lower case; empty: all.
    pub email_domains: Vec<String>,
    /// Aliases of an address are that address.
    pub fold_aliases: bool,
}

/// What hashing a password costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordConfig {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

/// What a login must have shown.
#[derive(Clone, Debug)]
pub struct SecurityConfig {
    /// How long a proof is fresh.
    pub confirmation: Duration,
    /// Roles that need a second factor.
    pub require_second_factor_for: Vec<crate::directory::user::Role>,
}

/// How a connection to the mail server is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// By STARTTLS, which must succeed.
    StartTls,
    /// By TLS from the first byte.
    Tls,
    /// Not at all.
    None,
}

/// The server that takes our mails.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub security: SmtpSecurity,
    /// Name and password, where it asks for them.
    pub login: Option<(String, Secret)>,
    /// The sender.
    pub from: lettre::message::Mailbox,
    /// Certificates that are trusted besides the machine's.
    pub ca_file: Option<PathBuf>,
}

/// Options of top-ups.
#[derive(Clone, Debug)]
pub struct TopUpConfig {
    /// Amounts offered.
    pub presets: Vec<u32>,
    /// The least amount.
    pub min: String,
    /// The greatest amount.
    pub max: String,
    /// The usual currency.
    pub currency: String,
    /// Units of a currency per credit.
    pub rates: BTreeMap<String, Decimal>,
    /// From which amounts of the usual currency a bonus is given, and its percentage of the credits bought; ascending.
    pub bonus: Vec<(Decimal, Decimal)>,
    /// The most that one user may top up on a day, in the usual currency; zero: no limit.
    pub daily_max: String,
    /// The same in a month.
    pub monthly_max: String,
    /// How many orders of one user may be open at once; zero: no limit.
    pub open_orders: u32,
    /// How long an order can be paid, in milliseconds.
    pub order_life_ms: i64,
    /// When an unpaid order is asked about, in seconds after its opening; never empty.
    pub poll_seconds: Vec<u32>,
}

/// Options of reconciliation.
#[derive(Clone, Copy, Debug)]
pub struct ReconciliationConfig {
    /// When the bills of the day before are asked for, by the channel's clock; `None`: never.
    pub daily_at: Option<chrono::NaiveTime>,
}

/// Options of model calls.
#[derive(Clone, Copy, Debug)]
pub struct RelayConfig {
    /// The largest request body.
    pub max_body_bytes: usize,
    /// How long a provider may take to begin.
    pub first_byte: Duration,
    /// How long a provider may pause.
    pub idle: Duration,
    /// The longest a call may take.
    pub call: Duration,
    /// Serve what price lists do not cover?
    pub allow_unpriced: bool,
}

/// Options of metering.
#[derive(Clone, Copy, Debug)]
pub struct LeaseConfig {
    /// How long a node may spend what it has leased.
    pub life: Duration,
    /// How long usage may wait for the log before no call begins any more.
    pub report: Duration,
    /// How long a silent node's credits stay reserved.
    pub quarantine: Duration,
}

/// Options of the outbox.
#[derive(Clone, Copy, Debug)]
pub struct OutboxConfig {
    /// The most that it may hold.
    pub max_bytes: u64,
    /// Calls wait for the disk.
    pub sync: bool,
}

/// What a node's clock may be wrong by while it measures a call.
const CLOCK_ERROR: Duration = Duration::from_secs(5);
/// The least that an outbox can work with: some segments.
const LEAST_OUTBOX_BYTES: u64 = 64 << 20;

/// Why the configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file or a variable is not as it must be.
    #[error("{0}")]
    Wrong(String),
}

/// The environment's prefix.
const PREFIX: &str = "NEXUSROUTE_";
/// The prefix of payment channels' variables: `NEXUSROUTE_PAYMENTS_EPAY_KEY`.
const PAYMENTS_PREFIX: &str = "NEXUSROUTE_PAYMENTS_";
/// The variable that names the roles.
const ROLES_VARIABLE: &str = "NEXUSROUTE_ROLES";
/// The variable that names the file.
const FILE_VARIABLE: &str = "NEXUSROUTE_CONFIG";

impl OptionHelp {
    /// The variable that sets it: `NEXUSROUTE_TOPUP_MIN`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.replace('.', "_").to_uppercase())
    }
}

/// The file's shape, with defaults filled in before it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    roles: Vec<String>,
    listen: SocketAddr,
    public_url: Option<String>,
    data_dir: PathBuf,
    production: bool,
    admin_password: Option<String>,
    master_key: Option<String>,
    database_url: Option<String>,
    nats_url: Option<Vec<String>>,
    redis_url: Option<String>,
    redis_ca_file: String,
    nats_token: Option<String>,
    nats_user: String,
    nats_password: String,
    nats_ca_file: String,
    nats_replicas: usize,
    nats_sync: Option<String>,
    nats_server: Option<PathBuf>,
    inbox_days: u32,
    usage_keep_months: u32,
    usage_archive_dir: Option<PathBuf>,
    time_zone: String,
    log_level: String,
    log_format: LogFormat,
    drain_seconds: u64,
    allow_private_providers: bool,
    allow_private_webhooks: bool,
    trusted_proxies: Vec<ipnet::IpNet>,
    sandbox: bool,
    registration: RawRegistration,
    password: RawPassword,
    oidc: issuer::RawOidc,
    security: RawSecurity,
    smtp: RawSmtp,
    topup: RawTopUp,
    reconciliation: RawReconciliation,
    #[serde(default)]
    payments: BTreeMap<String, toml::Table>,
    relay: RawRelay,
    lease: RawLease,
    outbox: RawOutbox,
    site: RawSite,
    adjustments: RawAdjustments,
    approvals: RawApprovals,
    referral: RawReferral,
    metrics: RawMetrics,
    traces: RawTraces,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTraces {
    url: String,
    token: String,
}

impl RawTraces {
    fn check(self) -> Result<Option<TracesConfig>, ConfigError> {
        if self.url.is_empty() {
            return Ok(None);
        }
        let url = reqwest::Url::parse(&self.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let wrong = || ConfigError::Wrong(format!("traces.url: {:?} is no http or https address", self.url));
        let url = url.ok_or_else(wrong)?;
        Ok(Some(TracesConfig { url, token: (!self.token.is_empty()).then(|| Secret::new(self.token)) }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApprovals {
    single_operator: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetrics {
    token: String,
    allow: Vec<ipnet::IpNet>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum LogFormat {
    Text,
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistration {
    mode: String,
    email_domains: Vec<String>,
    fold_aliases: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPassword {
    memory_kib: u32,
    passes: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecurity {
    confirmation_minutes: u64,
    require_second_factor_for: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSmtp {
    host: String,
    port: u16,
    security: SmtpSecurity,
    username: String,
    password: String,
    from: String,
    ca_file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTopUp {
    presets: Vec<Number>,
    min: Number,
    max: Number,
    currency: String,
    rates: BTreeMap<String, Number>,
    bonus: BTreeMap<String, Number>,
    daily_max: Number,
    monthly_max: Number,
    open_orders: u32,
    order_seconds: i64,
    poll_seconds: Vec<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReconciliation {
    daily_at: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRelay {
    max_body_bytes: usize,
    first_byte_seconds: u64,
    idle_seconds: u64,
    call_seconds: u64,
    allow_unpriced: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLease {
    life_seconds: u64,
    report_seconds: u64,
    quarantine_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOutbox {
    max_bytes: u64,
    sync: bool,
}

/// A number that may be written with or without quotes; a float is refused, for it is not the number that was written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Integer(i64),
}

impl Number {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
        }
    }

    fn decimal(&self, key: &str) -> Result<Decimal, ConfigError> {
        let text = self.text();
        text.parse().map_err(|_| ConfigError::Wrong(format!("{key}: {text:?} is not a decimal number")))
    }
}

impl RawRegistration {
    fn check(self, has_mail: bool, production: bool) -> Result<RegistrationConfig, ConfigError> {
        let mode = match self.mode.as_str() {
            "" if has_mail => RegistrationMode::Required,
            "" | "optional" => RegistrationMode::Optional,
            "required" => RegistrationMode::Required,
            "invite" => RegistrationMode::Invite,
            "closed" => RegistrationMode::Closed,
            other => {
                let fault =
                    format!("registration.mode: {other:?} is none of required, optional, invite and closed");
                return Err(ConfigError::Wrong(fault));
            }
        };
        if mode == RegistrationMode::Required && production && !has_mail {
            let fault =
                "registration.mode is required, and without smtp.host nobody gets the mail that it needs";
            return Err(ConfigError::Wrong(fault.into()));
        }
        let email_domains: Vec<String> =
            self.email_domains.iter().map(|it| it.trim().to_lowercase()).collect();
        if let Some(odd) = email_domains.iter().find(|it| it.is_empty() || it.contains(['@', '*', ' '])) {
            let fault = format!("registration.email_domains: {odd:?} is not a domain such as example.org");
            return Err(ConfigError::Wrong(fault));
        }
        let needs_proof = match mode {
            RegistrationMode::Required => true,
            RegistrationMode::Invite | RegistrationMode::Closed => has_mail,
            RegistrationMode::Optional => false,
        };
        Ok(RegistrationConfig { mode, needs_proof, email_domains, fold_aliases: self.fold_aliases })
    }
}

impl RawPassword {
    fn check(&self) -> Result<PasswordConfig, ConfigError> {
        let wrong = |text: &str| Err(ConfigError::Wrong(text.into()));
        if !(8_192..=1_048_576).contains(&self.memory_kib) {
            return wrong("password.memory_kib must be between 8192 and 1048576");
        }
        if !(1..=100).contains(&self.passes) {
            return wrong("password.passes must be between 1 and 100");
        }
        Ok(PasswordConfig { memory_kib: self.memory_kib, passes: self.passes })
    }
}

impl RawSecurity {
    fn check(&self) -> Result<SecurityConfig, ConfigError> {
        if !(1..=1440).contains(&self.confirmation_minutes) {
            return Err(ConfigError::Wrong(
                "security.confirmation_minutes must be between 1 and 1440".into(),
            ));
        }
        let role = |name: &String| match name.trim().parse() {
            Ok(role) => Ok(role),
            Err(fault) => Err(ConfigError::Wrong(format!("security.require_second_factor_for: {fault}"))),
        };
        Ok(SecurityConfig {
            confirmation: Duration::from_secs(self.confirmation_minutes * 60),
            require_second_factor_for: self
                .require_second_factor_for
                .iter()
                .map(role)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl RawSmtp {
    fn check(self, production: bool) -> Result<Option<SmtpConfig>, ConfigError> {
        let wrong = |text: String| Err(ConfigError::Wrong(text));
        if self.host.is_empty() {
            return Ok(None);
        }
        let from = self.from.parse().map_err(|error| {
            ConfigError::Wrong(format!(
                "smtp.from: {:?} is not a sender such as \"NexusRoute <no-reply@example.org>\" ({error})",
                self.from
            ))
        })?;
        if self.username.is_empty() != self.password.is_empty() {
            return wrong("smtp.username and smtp.password go together".into());
        }
        if production && self.security == SmtpSecurity::None && !self.password.is_empty() {
            return wrong("smtp.security none would send smtp.password for all to read".into());
        }
        let port = match (self.port, self.security) {
            (0, SmtpSecurity::StartTls) => 587,
            (0, SmtpSecurity::Tls) => 465,
            (0, SmtpSecurity::None) => 25,
            (port, _) => port,
        };
        let login = (!self.username.is_empty()).then(|| (self.username, Secret::new(self.password)));
        let ca_file = (!self.ca_file.is_empty()).then(|| PathBuf::from(self.ca_file));
        Ok(Some(SmtpConfig { host: self.host, port, security: self.security, login, from, ca_file }))
    }
}

impl Config {
    /// Reads the file that `NEXUSROUTE_CONFIG` or `file` names (or `nexusroute.toml` here, if there is one), then the
    /// environment. `roles`, as the command line names them, stand over both; empty: it names none.
    pub fn load(file: Option<&Path>, roles: &[String]) -> Result<Self, ConfigError> {
        let named = file.map(Path::to_owned).or_else(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from));
        let usual = PathBuf::from("nexusroute.toml");
        let path = named.or_else(|| usual.exists().then_some(usual));
        let text = match path {
            Some(path) => {
                std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path, source })?
            }
            None => String::new(),
        };
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .map(of_file)
            .collect::<Result<Vec<_>, _>>()?;
        // Behind the environment's: the last one counts.
        let named = (!roles.is_empty()).then(|| (ROLES_VARIABLE.to_owned(), roles.join(",")));
        Self::from_parts(&text, variables.into_iter().chain(named))
    }

    /// From a file's text and an environment.
    pub fn from_parts(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let file: toml::Table =
            text.parse().map_err(|error: toml::de::Error| ConfigError::Wrong(error.to_string()))?;
        let mut table = defaults();
        let mut written = Written::of_file(&file);
        merge(&mut table, file);
        for (name, value) in
            variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX) && name != FILE_VARIABLE)
        {
            let unknown = || ConfigError::Wrong(format!("the variable {name} is unknown"));
            if let Some(rest) = name.strip_prefix(PAYMENTS_PREFIX) {
                let (channel, field) = of_variable(rest).ok_or_else(unknown)?;
                set(&mut table, &format!("payments.{channel}.{field}"), value.into());
                continue;
            }
            let option = OPTIONS.iter().find(|option| option.variable() == name).ok_or_else(unknown)?;
            written.environment(option);
            set(&mut table, option.key, read_value(&name, option.kind, &value)?);
        }
        let written = Arc::new(written.keep(&table));
        let raw: Raw =
            table.try_into().map_err(|error: toml::de::Error| ConfigError::Wrong(error.to_string()))?;
        Ok(Self { written, ..Self::check(raw)? })
    }

    fn check(raw: Raw) -> Result<Self, ConfigError> {
        let wrong = |text: String| Err(ConfigError::Wrong(text));
        let present = |text: Option<String>| text.filter(|text| !text.is_empty());
        let public_url = present(raw.public_url).unwrap_or_else(|| format!("http://{}", raw.listen));
        let public_url = public_url.trim_end_matches('/').to_owned();
        if !public_url.starts_with("http://") && !public_url.starts_with("https://") {
            return wrong(format!("public_url: {public_url:?} must begin with https:// or http://"));
        }
        if raw.production && !public_url.starts_with("https://") {
            return wrong("public_url must begin with https:// in production mode".into());
        }
        let roles =
            Roles::try_new(&raw.roles).map_err(|fault| ConfigError::Wrong(format!("roles: {fault}")))?;
        let (database_url, master_key) = (present(raw.database_url), present(raw.master_key));
        let nats_url = raw.nats_url.filter(|servers| !servers.is_empty());
        if !roles.are_all() {
            let (log, database) = (nats_url.is_some(), database_url.is_some());
            // Sealed provider keys must open in every process that uses them.
            let key = master_key.is_some() || !(roles.api || roles.relay);
            for (given, name) in [(log, "nats_url"), (database, "database_url"), (key, "master_key")] {
                if !given {
                    return wrong(format!(
                        "{name} must be set where the roles are only {roles}: the processes that have the others share it"
                    ));
                }
            }
        }
        if !matches!(raw.nats_replicas, 1 | 3 | 5) {
            return wrong(format!("nats_replicas is {}; it must be 1, 3 or 5", raw.nats_replicas));
        }
        if raw.nats_user.is_empty() != raw.nats_password.is_empty() {
            return wrong("nats_user and nats_password go together".into());
        }
        let nats_token = present(raw.nats_token);
        if nats_token.is_some() && !raw.nats_user.is_empty() {
            return wrong("nats_token and nats_user are two ways to log in; set one of them".into());
        }
        let smtp = raw.smtp.check(raw.production)?;
        let registration = raw.registration.check(smtp.is_some(), raw.production)?;
        let mut rates = BTreeMap::new();
        for (currency, rate) in &raw.topup.rates {
            let rate = rate.decimal("topup.rates")?;
            if let Err(error) = domain::Currency::try_new(currency) {
                return wrong(format!("topup.rates: {error}"));
            }
            if rate <= Decimal::ZERO {
                return wrong(format!("topup.rates: the rate of {currency} must be above zero"));
            }
            rates.insert(currency.clone(), rate);
        }
        if !rates.contains_key(&raw.topup.currency) {
            return wrong(format!("topup.currency: there is no rate for {}", raw.topup.currency));
        }
        let (min, max) = (raw.topup.min.decimal("topup.min")?, raw.topup.max.decimal("topup.max")?);
        if min <= Decimal::ZERO || max < min {
            return wrong(format!(
                "topup.min is {min} and topup.max is {max}; they must be above zero and in order"
            ));
        }
        let bonus = read_bonus(&raw.topup.bonus)?;
        let daily_max = raw.topup.daily_max.decimal("topup.daily_max")?;
        let monthly_max = raw.topup.monthly_max.decimal("topup.monthly_max")?;
        for (key, limit) in [("daily_max", daily_max), ("monthly_max", monthly_max)] {
            if limit != Decimal::ZERO && limit < min {
                return wrong(format!(
                    "topup.{key} is {limit}; it must be 0 or at least topup.min, which is {min}"
                ));
            }
        }
        let lease = LeaseConfig {
            life: Duration::from_secs(raw.lease.life_seconds),
            report: Duration::from_secs(raw.lease.report_seconds),
            quarantine: Duration::from_secs(raw.lease.quarantine_seconds),
        };
        if !(1..=3600).contains(&raw.lease.life_seconds) {
            return wrong("lease.life_seconds must be between 1 and 3600".into());
        }
        // A call that was admitted before its node fell silent may still be running, and its usage may still come.
        let least = Duration::from_secs(raw.relay.call_seconds) + lease.report + CLOCK_ERROR;
        if lease.quarantine < least {
            return wrong(format!(
                "lease.quarantine_seconds is {}; with these relay.call_seconds and lease.report_seconds it must be at least {}",
                lease.quarantine.as_secs(),
                least.as_secs()
            ));
        }
        if raw.outbox.max_bytes < LEAST_OUTBOX_BYTES {
            return wrong(format!("outbox.max_bytes must be at least {LEAST_OUTBOX_BYTES}"));
        }
        // Nobody pays within a second; a test gives up as fast.
        let least = if raw.production { 60 } else { 1 };
        if !(least..=86_400).contains(&raw.topup.order_seconds) {
            return wrong(format!("topup.order_seconds must be between {least} and 86400"));
        }
        let pause =
            |number: &Number| number.text().parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
        let poll_seconds: Option<Vec<u32>> = raw.topup.poll_seconds.iter().map(pause).collect();
        let poll_seconds = poll_seconds.filter(|pauses| !pauses.is_empty() && pauses.is_sorted());
        let poll_seconds = poll_seconds.ok_or_else(|| {
            ConfigError::Wrong("topup.poll_seconds must be growing whole numbers between 1 and 86400".into())
        })?;
        let daily_at = match raw.reconciliation.daily_at.as_str() {
            "" => None,
            text => Some(chrono::NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| {
                ConfigError::Wrong(format!("reconciliation.daily_at: {text:?} is no time such as 10:00"))
            })?),
        };
        let payments = raw.payments.iter().map(|(name, table)| ChannelConfig::try_new(name, table));
        let payments = payments.collect::<Result<Vec<_>, _>>().map_err(ConfigError::Wrong)?;
        let preset = |number: &Number| {
            let text = number.text();
            text.parse()
                .map_err(|_| ConfigError::Wrong(format!("topup.presets: {text:?} is not a whole number")))
        };
        Ok(Self {
            roles,
            listen: raw.listen,
            data_dir: raw.data_dir,
            public_url,
            production: raw.production,
            admin_password: present(raw.admin_password),
            master_key,
            database_url,
            nats_url,
            nats_token,
            nats_login: (!raw.nats_user.is_empty()).then(|| (raw.nats_user, Secret::new(raw.nats_password))),
            nats_ca_file: (!raw.nats_ca_file.is_empty()).then(|| PathBuf::from(raw.nats_ca_file)),
            redis_url: present(raw.redis_url),
            redis_ca_file: (!raw.redis_ca_file.is_empty()).then(|| PathBuf::from(raw.redis_ca_file)),
            nats_replicas: raw.nats_replicas,
            nats_sync: present(raw.nats_sync),
            nats_server: raw.nats_server.filter(|path| !path.as_os_str().is_empty()),
            inbox_days: raw.inbox_days,
            usage_keep_months: raw.usage_keep_months,
            usage_archive_dir: raw.usage_archive_dir.filter(|path| !path.as_os_str().is_empty()),
            time_zone_offset_minutes: offset_minutes(&raw.time_zone)?,
            log_level: raw.log_level,
            log_json: raw.log_format == LogFormat::Json,
            drain: Duration::from_secs(raw.drain_seconds),
            allow_private_providers: raw.allow_private_providers,
            allow_private_webhooks: raw.allow_private_webhooks,
            trusted_proxies: raw.trusted_proxies,
            sandbox_enabled: raw.sandbox && !raw.production,
            registration,
            password: raw.password.check()?,
            issuers: raw.oidc.check()?,
            security: raw.security.check()?,
            smtp,
            topup: TopUpConfig {
                presets: raw.topup.presets.iter().map(preset).collect::<Result<_, _>>()?,
                min: min.to_string(),
                max: max.to_string(),
                currency: raw.topup.currency,
                rates,
                bonus,
                daily_max: daily_max.to_string(),
                monthly_max: monthly_max.to_string(),
                open_orders: raw.topup.open_orders,
                order_life_ms: raw.topup.order_seconds.saturating_mul(1000),
                poll_seconds,
            },
            reconciliation: ReconciliationConfig { daily_at },
            payments,
            relay: RelayConfig {
                max_body_bytes: raw.relay.max_body_bytes,
                first_byte: Duration::from_secs(raw.relay.first_byte_seconds),
                idle: Duration::from_secs(raw.relay.idle_seconds),
                call: Duration::from_secs(raw.relay.call_seconds),
                allow_unpriced: raw.relay.allow_unpriced,
            },
            lease,
            outbox: OutboxConfig { max_bytes: raw.outbox.max_bytes, sync: raw.outbox.sync },
            site_name: raw.site.check()?,
            adjustments: raw.adjustments.check()?,
            single_operator: raw.approvals.single_operator,
            referral: raw.referral.check()?,
            metrics: MetricsConfig {
                token: (!raw.metrics.token.is_empty()).then(|| Secret::new(raw.metrics.token)),
                allow: raw.metrics.allow,
            },
            traces: raw.traces.check()?,
            written: Arc::default(),
        })
    }

    /// The operator's clock, by which the books count days.
    pub fn zone(&self) -> chrono::FixedOffset {
        let utc = chrono::Offset::fix(&chrono::Utc);
        chrono::FixedOffset::east_opt(self.time_zone_offset_minutes.saturating_mul(60)).unwrap_or(utc)
    }

    /// The table of `docs/configuration.md`.
    pub fn documentation() -> String {
        use std::fmt::Write;
        let mut text = String::from("| key | variable | default | what it does |\n|---|---|---|---|\n");
        for option in OPTIONS {
            let default =
                if option.default.is_empty() { "—".to_owned() } else { format!("`{}`", option.default) };
            // Writing to a String cannot fail.
            writeln!(text, "| `{}` | `{}` | {default} | {} |", option.key, option.variable(), option.help)
                .ok();
        }
        text
    }
}

#[cfg(test)]
impl Default for Config {
    fn default() -> Self {
        Self::from_parts("", []).unwrap()
    }
}

/// A variable whose name ends in `_FILE` names a file that holds the option's value: secrets of container runtimes and
/// credentials of systemd come so. Variables of options that are paths themselves, and of payment channels, are left alone.
fn of_file((name, value): (String, String)) -> Result<(String, String), ConfigError> {
    let is_option = |name: &str| OPTIONS.iter().any(|option| option.variable() == name);
    match name.strip_suffix("_FILE") {
        Some(option) if is_option(option) && !is_option(&name) => {
            let path = PathBuf::from(value);
            let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path, source })?;
            Ok((option.to_owned(), text.trim_end_matches(['\r', '\n']).to_owned()))
        }
        _ => Ok((name, value)),
    }
}

/// The defaults of [`OPTIONS`] as a table.
fn defaults() -> toml::Table {
    let mut table = toml::Table::new();
    for option in OPTIONS.iter().filter(|option| option.key != "public_url") {
        // The defaults are ours and a test reads them all.
        if let Ok(value) = read_value(option.key, option.kind, option.default) {
            set(&mut table, option.key, value);
        }
    }
    table
}

fn read_value(name: &str, kind: Kind, text: &str) -> Result<toml::Value, ConfigError> {
    let wrong = |what: &str| ConfigError::Wrong(format!("{name}: {text:?} is not {what}"));
    let items = || text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Ok(match kind {
        Kind::Text => text.into(),
        Kind::Bool => text.parse::<bool>().map_err(|_| wrong("true or false"))?.into(),
        Kind::Integer => text.parse::<i64>().map_err(|_| wrong("a whole number"))?.into(),
        Kind::List => toml::Value::Array(items().map(Into::into).collect()),
        Kind::Pairs => {
            let mut pairs = toml::Table::new();
            for item in items() {
                let (name, value) = item.split_once('=').ok_or_else(|| wrong("a list of name=value"))?;
                pairs.insert(name.trim().into(), value.trim().into());
            }
            pairs.into()
        }
        Kind::Tables if text.is_empty() => toml::Value::Array(Vec::new()),
        Kind::Tables => tables(text).ok_or_else(|| wrong("an array of tables, in TOML or JSON"))?,
    })
}

/// An array of tables, as TOML within a line or as JSON.
fn tables(text: &str) -> Option<toml::Value> {
    if let Ok(value) = serde_json::from_str::<toml::Value>(text) {
        return Some(value);
    }
    format!("x = {text}").parse::<toml::Table>().ok()?.remove("x")
}

fn set(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.into(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| toml::Table::new().into());
            if let toml::Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// The tiers of bonuses: a greater payment never has a smaller one.
fn read_bonus(pairs: &BTreeMap<String, Number>) -> Result<Vec<(Decimal, Decimal)>, ConfigError> {
    let wrong = |what: String| Err(ConfigError::Wrong(format!("topup.bonus: {what}")));
    let mut tiers = Vec::new();
    for (from, percent) in pairs {
        let Ok(amount) = from.parse::<Decimal>() else {
            return wrong(format!("{from:?} is no amount from which a bonus is given"));
        };
        let percent = percent.decimal("topup.bonus")?;
        if amount <= Decimal::ZERO || percent <= Decimal::ZERO || percent > Decimal::ONE_HUNDRED {
            return wrong(format!(
                "{from}={percent} must be an amount above zero and a percentage up to 100"
            ));
        }
        tiers.push((amount, percent));
    }
    tiers.sort_unstable();
    for pair in tiers.windows(2) {
        if let [(below, less), (above, more)] = pair
            && (below == above || less >= more)
        {
            return wrong(format!("from {above} on it must be more than from {below} on"));
        }
    }
    Ok(tiers)
}

/// Lays the file over the defaults. A table of pairs (`topup.rates`, `oidc.secrets`) is replaced as a whole.
fn merge(table: &mut toml::Table, file: toml::Table) {
    for (key, value) in file {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value))
                if key != "rates" && key != "secrets" && key != "bonus" =>
            {
                merge(inner, value)
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// `+08:00` as minutes east of UTC.
fn offset_minutes(text: &str) -> Result<i32, ConfigError> {
    let offset: chrono::FixedOffset = text
        .parse()
        .map_err(|_| ConfigError::Wrong(format!("time_zone: {text:?} is not an offset such as +08:00")))?;
    Ok(offset.local_minus_utc() / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_parts(text, variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn the_defaults_are_those_that_are_documented() {
        let config = read("", &[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(config.public_url, "http://127.0.0.1:3000");
        assert_eq!(config.topup.presets, [50, 100, 150, 200, 300, 500, 1000]);
        assert_eq!(config.topup.rates["CNY"].to_string(), "7.2");
        assert!(
            config.nats_url.is_none() && config.database_url.is_none() && config.admin_password.is_none()
        );
        for option in OPTIONS {
            read_value(option.key, option.kind, option.default).unwrap();
        }
    }

    #[test]
    fn variables_stand_over_the_file_and_the_file_over_the_defaults() {
        let file = "listen = \"127.0.0.1:4000\"\ntime_zone = \"+08:00\"\n[topup]\nmin = 5\n[topup.rates]\nCNY = \"7.0\"\n";
        let config =
            read(file, &[("NEXUSROUTE_LISTEN", "127.0.0.1:5000"), ("NEXUSROUTE_TOPUP_MAX", "80")]).unwrap();
        assert_eq!(config.listen.port(), 5000);
        assert_eq!((config.topup.min.as_str(), config.topup.max.as_str()), ("5", "80"));
        assert_eq!(config.topup.rates.len(), 1);
        assert_eq!(config.time_zone_offset_minutes, 480);
        let config = read("", &[("NEXUSROUTE_NATS_URL", "nats://a:1, nats://b:2"), ("HOME", "x")]).unwrap();
        assert_eq!(config.nats_url.unwrap(), ["nats://a:1", "nats://b:2"]);
    }

    #[test]
    fn a_process_has_all_roles_unless_some_are_named() {
        assert_eq!(read("", &[]).unwrap().roles, Roles::ALL);
        let shared = "nats_url = [\"n\"]\ndatabase_url = \"d\"\n";
        let named = [("NEXUSROUTE_ROLES", "relay"), ("NEXUSROUTE_ROLES", "projector")];
        let config = read(shared, &named).unwrap();
        assert_eq!(config.roles.to_string(), "projector", "the command line's, which comes last, counts");
        let with_key = format!("{shared}master_key = \"m\"\n");
        assert_eq!(read(&with_key, &named[..1]).unwrap().roles.to_string(), "relay");
    }

    #[test]
    fn a_payment_channel_is_a_table_or_variables_or_both() {
        let file =
            "[payments.epay]\npid = 1001\nkey = \"of the file\"\n[payments.epay-two]\nkind = \"epay\"\n";
        let variables =
            [("NEXUSROUTE_PAYMENTS_EPAY_KEY", "0123456789abcdef"), ("NEXUSROUTE_PAYMENTS_EPAY_TWO_PID", "2")];
        let config = read(file, &variables).unwrap();
        let names: Vec<&str> = config.payments.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["epay", "epay-two"]);
        assert_eq!(
            (config.payments[0].text("key"), config.payments[1].text("pid")),
            ("0123456789abcdef", "2")
        );
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn whoever_can_be_written_to_proves_their_address_unless_told_otherwise() {
        let mode = |text: &str| read(text, &[]).unwrap().registration;
        assert_eq!((mode("").mode, mode("").needs_proof), (RegistrationMode::Optional, false));
        let smtp = "[smtp]\nhost = \"mail\"\nfrom = \"Gateway <gw@example.org>\"\n";
        assert_eq!((mode(smtp).mode, mode(smtp).needs_proof), (RegistrationMode::Required, true));
        let invite = "[registration]\nmode = \"invite\"\nemail_domains = [\"Example.org\"]\n";
        assert_eq!((mode(invite).mode, mode(invite).needs_proof), (RegistrationMode::Invite, false));
        assert_eq!(mode(invite).email_domains, ["example.org"]);
        assert!(mode(&format!("{invite}{smtp}")).needs_proof);
        for (security, port) in [("starttls", 587), ("tls", 465), ("none", 25)] {
            let found = read(&format!("{smtp}security = \"{security}\""), &[]).unwrap().smtp.unwrap();
            assert_eq!(found.port, port);
            assert!(found.login.is_none() && found.ca_file.is_none());
        }
        let login = [("NEXUSROUTE_SMTP_USERNAME", "gw"), ("NEXUSROUTE_SMTP_PASSWORD", "secret word")];
        let config = read(&format!("{smtp}port = 2525"), &login).unwrap();
        assert_eq!(config.smtp.as_ref().unwrap().port, 2525);
        assert!(!format!("{config:?}").contains("secret word"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (file, variables, named) in [
            ("listn = 1", &[][..], "listn"),
            ("[topup]\nmini = 1", &[], "mini"),
            ("", &[("NEXUSROUTE_LISTN", "x")], "NEXUSROUTE_LISTN"),
            ("roles = []", &[], "roles"),
            ("", &[("NEXUSROUTE_ROLES", "api,relai")], "relai"),
            ("roles = [\"api\"]\ndatabase_url = \"d\"\nmaster_key = \"m\"", &[], "nats_url"),
            ("roles = [\"projector\"]\nnats_url = [\"n\"]", &[], "database_url"),
            ("roles = [\"relay\"]\nnats_url = [\"n\"]\ndatabase_url = \"d\"", &[], "master_key"),
            ("", &[("NEXUSROUTE_PRODUCTION", "yes")], "NEXUSROUTE_PRODUCTION"),
            ("production = true", &[], "public_url"),
            ("nats_replicas = 2", &[], "nats_replicas"),
            ("time_zone = \"Mars\"", &[], "time_zone"),
            ("[topup.rates]\nCNY = 7.2", &[], "rates"),
            ("[topup.rates]\nUSD = 1", &[], "topup.currency"),
            ("[topup]\nmin = 0", &[], "topup.min"),
            ("[topup.bonus]\n100 = 0", &[], "topup.bonus"),
            ("[topup.bonus]\n100 = 101", &[], "topup.bonus"),
            ("[topup.bonus]\n100 = 10\n500 = 5", &[], "from 500 on it must be more"),
            ("[topup.bonus]\nmuch = 5", &[], "no amount"),
            ("", &[("NEXUSROUTE_TOPUP_BONUS", "100=5,100.0=6")], "topup.bonus"),
            ("[topup]\ndaily_max = \"0.5\"", &[], "topup.daily_max"),
            ("[topup]\nmonthly_max = -1", &[], "topup.monthly_max"),
            ("[topup]\norder_seconds = 0", &[], "topup.order_seconds"),
            ("[reconciliation]\ndaily_at = \"ten\"", &[], "reconciliation.daily_at"),
            ("[topup]\npoll_seconds = [60, 30]", &[], "topup.poll_seconds"),
            ("[payments.shop]\npid = 1", &[], "payments.shop.kind"),
            ("[payments.epay]\nkeys = 1", &[], "payments.epay.keys"),
            ("", &[("NEXUSROUTE_PAYMENTS_EPAY_KEYS", "x")], "NEXUSROUTE_PAYMENTS_EPAY_KEYS"),
            ("nats_user = \"u\"", &[], "nats_password"),
            ("nats_user = \"u\"\nnats_password = \"p\"\nnats_token = \"t\"", &[], "nats_token"),
            ("[metrics]\nallow = [\"here\"]", &[], "metrics"),
            ("[relay]\ncall_seconds = 600", &[], "lease.quarantine_seconds"),
            ("", &[("NEXUSROUTE_LEASE_LIFE_SECONDS", "0")], "lease.life_seconds"),
            ("[outbox]\nmax_bytes = 1", &[], "outbox.max_bytes"),
            ("[registration]\nmode = \"open\"", &[], "registration.mode"),
            ("[registration]\nemail_domains = [\"*.org\"]", &[], "registration.email_domains"),
            (
                "production = true\npublic_url = \"https://g\"\n[registration]\nmode = \"required\"",
                &[],
                "smtp.host",
            ),
            ("[password]\nmemory_kib = 1", &[], "password.memory_kib"),
            ("[password]\npasses = 0", &[], "password.passes"),
            ("[security]\nconfirmation_minutes = 0", &[], "security.confirmation_minutes"),
            ("[security]\nrequire_second_factor_for = [\"boss\"]", &[], "boss"),
            ("[smtp]\nhost = \"m\"", &[], "smtp.from"),
            ("[smtp]\nhost = \"m\"\nfrom = \"a@b.c\"\nusername = \"u\"", &[], "smtp.password"),
            ("[smtp]\nsecurity = \"ssl\"", &[], "security"),
            (
                "production = true\npublic_url = \"https://g\"\n[smtp]\nhost = \"m\"\nfrom = \"a@b.c\"\nsecurity = \"none\"\nusername = \"u\"\npassword = \"p\"",
                &[],
                "smtp.security",
            ),
        ] {
            let error = read(file, variables).unwrap_err().to_string();
            assert!(error.contains(named), "{file:?} {variables:?}: {error}");
        }
    }

    #[test]
    fn a_variable_may_name_a_file_that_holds_the_value() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "postgres://u:p@h/d\n").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let read = |name: &str| of_file((name.to_owned(), path.clone()));
        let expected = ("NEXUSROUTE_DATABASE_URL".to_owned(), "postgres://u:p@h/d".to_owned());
        assert_eq!(read("NEXUSROUTE_DATABASE_URL_FILE").unwrap(), expected);
        // Paths stay paths, and what is no option is judged where variables are.
        for name in [
            "NEXUSROUTE_SMTP_CA_FILE",
            "NEXUSROUTE_NATS_CA_FILE",
            "NEXUSROUTE_PAYMENTS_WX_KEY_FILE",
            "X_FILE",
        ] {
            assert_eq!(read(name).unwrap(), (name.to_owned(), path.clone()));
        }
        let missing = of_file(("NEXUSROUTE_MASTER_KEY_FILE".to_owned(), "/nothing/here".to_owned()));
        assert!(missing.unwrap_err().to_string().contains("/nothing/here"));
    }

    #[test]
    fn the_documentation_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            text.contains(&Config::documentation()),
            "run `nexusroute config` and put its table into docs/configuration.md"
        );
    }
}
