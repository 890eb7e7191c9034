//! The variance report: what was there, what came of it, and everything that is not as one would think.
//!
//! Claims: the quota of all rows is the quota imported and the quota left out, each with its reason; nothing in it is a
//! secret.

use super::Kind;
use super::units::{QuotaPerCredit, nano_text};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Rows of an anomaly that are named; the others are counted.
const ROWS_NAMED: usize = 10;

/// What may be told of a source: a code for programs, a sentence for people.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// For programs; stable.
    pub code: &'static str,
    /// What it means, and what became of the rows.
    pub says: &'static str,
}

macro_rules! notes {
    ($($name:ident = $code:literal, $says:literal;)*) => {
        /// All notes.
        pub mod note {
            use super::Note;
            $(#[doc = $says] pub const $name: Note = Note { code: $code, says: $says };)*
        }
    };
}

notes! {
    UNREADABLE = "unreadable_row", "rows that hold what they cannot; not imported";
    NEGATIVE_QUOTA = "negative_quota", "users with less than nothing: imported with no balance, the debt is written off";
    QUOTA_BOUND = "quota_bound", "numbers at the end of 32 bits, where the old gateway cut them off; imported as they stand";
    QUOTA_OVERFLOW = "quota_overflow", "balances larger than an account can hold; the user is imported, the balance is not";
    QUOTA_ROUNDED = "quota_rounded", "balances that are no whole number of billionths; rounded half to even";
    OPERATOR_BALANCE = "operator_balances", "balances of operators, left out as asked";
    USED_QUOTA = "used_quota_differs", "users whose used_quota is not what their logs add up to; what was used is not imported";
    LOGS_MISSING = "logs_missing", "there are no logs, so used_quota was compared with nothing";
    REFERRAL_QUOTA = "referral_quota", "referral rewards that were not moved to the balance; not imported";
    DELETED_USERS = "deleted_users", "soft-deleted users; not imported, nor are their keys and balances";
    DISABLED_USERS = "disabled_users", "disabled users; imported with their balances, disabled";
    OPERATORS = "operators", "admins of the old gateway; imported as admins";
    UNKNOWN_ROLE = "unknown_role", "users of no known role; imported disabled, as plain users";
    NO_PASSWORD = "no_password", "users without a password that can be checked; they need a new one";
    NO_EMAIL = "email_missing", "users without an e-mail address; they got one under import.invalid that no mail reaches";
    BAD_EMAIL = "email_invalid", "e-mail addresses that are none; replaced by one under import.invalid";
    SAME_EMAIL = "email_duplicate", "e-mail addresses, alike but for case, of several users or of someone who is here; the first keeps it, the others got one under import.invalid";
    RENAMED = "username_changed", "usernames that are taken, or cannot be one here; changed";
    ODD_GROUP = "group_name", "groups whose names the admin API does not accept; their multipliers can be changed by moving their users only";
    GROUP_UNPRICED = "group_without_ratio", "groups in use that have no ratio; counted as 1, as before";
    GROUP_KEPT = "group_kept", "groups that are here with another multiplier; it stays";
    GROUP_RATIO = "group_ratio_invalid", "multipliers outside 0 to 1000 or with more than six decimals; rounded, or 1000";
    GROUP_PAIRS = "group_pair_ratios", "ratios for pairs of groups; there is no such thing here";
    ORPHAN_KEYS = "orphan_keys", "keys of users who are missing; not imported";
    DELETED_KEYS = "deleted_keys", "soft-deleted keys, or keys of deleted users; not imported";
    DISABLED_KEYS = "disabled_keys", "disabled keys; imported, disabled";
    KEY_UNUSABLE = "key_unusable", "keys that are no 20 to 128 letters, digits or _; not imported";
    KEY_TAKEN = "key_taken", "keys that are here already; not imported";
    KEY_NEGATIVE = "key_negative_quota", "limited keys with less than nothing left; their budget is 0";
    KEY_ABOVE_BALANCE = "key_above_balance", "limited keys with more left than their user has; a budget is a cap and no money, so nothing is wrong";
    KEY_GROUP = "key_group", "keys of another group than their user; here the user's group counts";
    KEY_NETWORK = "key_network", "networks that cannot be read; left out, and the key is disabled where none is left";
    UNKNOWN_TYPE = "unknown_channel_type", "channels of a type that the old gateway does not have; imported disabled";
    UNSPOKEN_TYPE = "unsupported_channel_type", "channels that speak what is not spoken here; imported disabled";
    CHANNEL_ADDRESS = "channel_address", "channels whose address cannot be a provider's; imported disabled";
    CHANNEL_KEY = "channel_key", "channels without a key that can be sent, or with disabled ones; those keys are not imported";
    CHANNEL_DISABLED = "disabled_channels", "disabled channels; imported, disabled";
    CHANNEL_GROUPS = "channel_groups", "channels that did not serve every group; here a provider serves all. One that did not serve the group default is imported disabled";
    CHANNEL_OPTIONS = "channel_options", "options of channels that there are not here; not imported";
    CHANNEL_NUMBERS = "channel_numbers", "priorities and weights that do not fit; set to the nearest";
    CHANNEL_RENAMED = "channel_renamed", "channels whose names are taken or cannot be one here; renamed";
    MAPPING = "model_mapping", "model mappings that are no JSON object or lead in a circle; such models are sent under their own names";
    MODEL_NAME = "model_name", "models whose names cannot be one here; not imported";
    NO_PRICE = "model_without_price", "models that channels serve and no table prices; imported without a price, so they cannot be called";
    NO_OUTPUT_PRICE = "model_without_output_price", "models whose completion ratio is built into the old program; they get no price. Save GET /api/pricing of the running site for --pricing, or say --completion-ratio";
    PRICE_TIERED = "price_tiered", "models that are charged by an expression; they get no price";
    PRICE_RANGE = "price_out_of_range", "prices that are negative or too large; they get none";
    PRICE_ROUNDED = "price_rounded", "prices with more than nine decimals; rounded half to even";
    PRICE_KEPT = "price_kept", "models that have a price here; it stays";
    PRICE_DIFFERS = "price_differs", "models whose price in force is not what the database says; the one in force counts";
    PRICE_AMBIGUOUS = "price_ambiguous", "models that channels send under names of different prices; the dearest counts";
    RATIO_ODD = "ratio_unreadable", "ratios that are no numbers, and tables that are no JSON; left out";
    RATIO_PATTERN = "ratio_pattern", "ratios for patterns of names; left out";
    TOP_UP_PENDING = "top_up_pending", "orders that may still be paid at their gateway; a payment to the old address is not credited here";
    TOP_UP_TWICE = "top_up_duplicate", "orders with the number of another";
    TOP_UP_TIME = "top_up_time", "paid orders completed before they were made, or never";
    TOP_UP_ORPHAN = "top_up_orphan", "orders of users who are not imported; not imported";
    REDEMPTIONS = "redemption_codes", "unused redemption codes; imported: promises beside the balances, which become grants when they are redeemed";
    REDEMPTIONS_USED = "redemption_codes_used", "used, disabled or expired redemption codes; not imported";
    REDEMPTION_ODD = "redemption_codes_odd", "redemption codes worth nothing, or that cannot be told from another; not imported";
    LEFT_BEHIND = "not_imported", "tables that are not imported";
    UNKNOWN_TABLES = "unknown_tables", "tables that neither gateway makes; not imported";
    SECRETS = "secrets_skipped", "options that hold secrets of the old site; not imported";
    TARGET_NEW = "nothing_here", "there are no tables of this version here yet, so names that are taken here were not looked at";
    CHANGED = "changed_since_import", "users whose balance is another than when they were imported; the first one stays";
    GONE_HERE = "deleted_here", "users who were imported before and are no more here";
}

/// One kind of anomaly.
#[derive(Clone, Debug, Serialize)]
pub struct Anomaly {
    code: &'static str,
    says: &'static str,
    count: u64,
    /// In quota, where it is about sums.
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<String>,
    /// The first ones.
    rows: Vec<String>,
}

/// How many of a kind there are.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Count {
    /// In the source.
    pub source: u64,
    /// New here with this run.
    pub imported: u64,
    /// Here from a run before.
    pub already: u64,
}

/// Quota of several users.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Users.
    pub users: u64,
    /// Their quota.
    pub quota: i128,
}

impl Sum {
    /// One more.
    pub fn add(&mut self, quota: i64) {
        self.users += 1;
        self.quota += i128::from(quota);
    }
}

/// What the ledger says after the import.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnLedger {
    /// Accounts with an opening balance.
    pub accounts: u64,
    /// Their nano-credits together.
    pub nano: i128,
    /// Events that this run appended.
    pub new: u64,
}

/// The report.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which gateway's database.
    pub kind: Kind,
    /// The name of the source.
    pub source: String,
    /// Was nothing written?
    pub dry_run: bool,
    /// What is one credit.
    pub per_credit: QuotaPerCredit,
    /// Counts by kind of thing.
    pub counts: BTreeMap<&'static str, Count>,
    /// The quota of every row of `users`.
    pub total: Sum,
    /// That of those that are imported, now or before.
    pub imported: Sum,
    /// That of those that are not, by why.
    pub left_out: BTreeMap<&'static str, Sum>,
    /// Imported ones by group.
    pub groups: BTreeMap<String, Sum>,
    /// After an import.
    pub on_ledger: Option<OnLedger>,
    anomalies: BTreeMap<&'static str, Anomaly>,
    sums: BTreeMap<&'static str, i128>,
}

impl Report {
    /// An empty one.
    pub fn new(kind: Kind, source: &str, per_credit: QuotaPerCredit, dry_run: bool) -> Self {
        Self {
            kind,
            source: source.to_owned(),
            dry_run,
            per_credit,
            counts: BTreeMap::new(),
            total: Sum::default(),
            imported: Sum::default(),
            left_out: BTreeMap::new(),
            groups: BTreeMap::new(),
            on_ledger: None,
            anomalies: BTreeMap::new(),
            sums: BTreeMap::new(),
        }
    }

    /// Tells of a row.
    pub fn tell(&mut self, note: Note, row: impl Into<String>) {
        self.tell_many(note, 1, row);
    }

    /// Tells of several rows at once.
    pub fn tell_many(&mut self, note: Note, count: u64, row: impl Into<String>) {
        let empty = || Anomaly { code: note.code, says: note.says, count: 0, quota: None, rows: Vec::new() };
        let anomaly = self.anomalies.entry(note.code).or_insert_with(empty);
        anomaly.count += count;
        if anomaly.rows.len() < ROWS_NAMED {
            anomaly.rows.push(row.into());
        }
    }

    /// Tells of a row with a sum.
    pub fn tell_sum(&mut self, note: Note, quota: i64, row: impl Into<String>) {
        self.tell(note, row);
        *self.sums.entry(note.code).or_default() += i128::from(quota);
    }

    /// How many of a kind there are.
    pub fn count(&mut self, what: &'static str) -> &mut Count {
        self.counts.entry(what).or_default()
    }

    /// How many rows an anomaly has.
    pub fn anomaly(&self, code: &str) -> u64 {
        self.anomalies.get(code).map_or(0, |it| it.count)
    }

    fn anomalies(&self) -> Vec<Anomaly> {
        let with_sum =
            |it: &Anomaly| Anomaly { quota: self.sums.get(it.code).map(ToString::to_string), ..it.clone() };
        self.anomalies.values().map(with_sum).collect()
    }

    /// What the ledger holds more (or less) than the imported quota, exactly; `None`: nothing was written.
    pub fn difference(&self) -> Option<String> {
        self.on_ledger.map(|it| self.per_credit.difference(it.nano, self.imported.quota))
    }

    /// Are the sums the same, but for what rounding explains?
    pub fn adds_up(&self) -> bool {
        self.difference().is_none_or(|it| it == "0" || self.anomaly(note::QUOTA_ROUNDED.code) > 0)
    }

    /// As one JSON object.
    pub fn json(&self) -> serde_json::Value {
        let sum = |it: &Sum| serde_json::json!({"users": it.users, "quota": it.quota.to_string(), "credits": self.per_credit.shown(it.quota)});
        let sums = |all: Vec<(String, Sum)>| {
            all.iter().map(|(name, it)| (name.clone(), sum(it))).collect::<serde_json::Map<_, _>>()
        };
        let left_out = self.left_out.iter().map(|(why, it)| ((*why).to_owned(), *it)).collect();
        let groups = self.groups.iter().map(|(name, it)| (name.clone(), *it)).collect();
        let on_ledger = self.on_ledger.map(|it| {
            serde_json::json!({"accounts": it.accounts, "credits": nano_text(it.nano), "events_appended": it.new})
        });
        serde_json::json!({
            "kind": self.kind.as_str(), "source": self.source, "dry_run": self.dry_run,
            "quota_per_credit": self.per_credit.get(), "counts": self.counts,
            "balances": {
                "all_rows": sum(&self.total), "imported": sum(&self.imported), "left_out": sums(left_out),
                "by_group": sums(groups), "on_ledger": on_ledger, "difference": self.difference(),
            },
            "anomalies": self.anomalies(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        self.written().unwrap_or_default()
    }

    fn written(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let out = &mut text;
        let what =
            if self.dry_run { "would be imported (a dry run: nothing was written)" } else { "was imported" };
        writeln!(out, "{} database, source {:?}: what {what}", self.kind, self.source)?;
        writeln!(out, "{} quota is one credit", self.per_credit.get())?;
        writeln!(out, "\n{:<18}{:>10}{:>10}{:>10}", "", "source", "new", "before")?;
        for (what, it) in &self.counts {
            writeln!(out, "{what:<18}{:>10}{:>10}{:>10}", it.source, it.imported, it.already)?;
        }
        let line = |out: &mut String, name: &str, it: &Sum| {
            let credits = self.per_credit.shown(it.quota);
            writeln!(out, "{name:<28}{:>8} users{:>22} quota{credits:>26} credits", it.users, it.quota)
        };
        writeln!(out, "\nbalances")?;
        line(out, "all rows", &self.total)?;
        for (why, it) in &self.left_out {
            line(out, &format!("  left out: {why}"), it)?;
        }
        line(out, "imported", &self.imported)?;
        for (group, it) in &self.groups {
            line(out, &format!("  group {group}"), it)?;
        }
        if let (Some(it), Some(difference)) = (self.on_ledger, self.difference()) {
            let (accounts, credits) = (it.accounts, nano_text(it.nano));
            writeln!(out, "{:<28}{accounts:>8} accounts{credits:>51} credits", "on the ledger")?;
            writeln!(out, "variance: {difference} credits, {} events appended by this run", it.new)?;
        }
        let anomalies = self.anomalies();
        writeln!(out, "\n{} kinds of anomalies", anomalies.len())?;
        for it in anomalies {
            let sum = it.quota.map_or_else(String::new, |quota| format!(", {quota} quota"));
            writeln!(out, "{} ({}{sum}): {}", it.code, it.count, it.says)?;
            let more = it.count.saturating_sub(it.rows.len() as u64);
            for row in &it.rows {
                writeln!(out, "    {row}")?;
            }
            if more > 0 && it.rows.len() == ROWS_NAMED {
                writeln!(out, "    and {more} more")?;
            }
        }
        text.truncate(text.trim_end().len());
        Ok(text)
    }
}
