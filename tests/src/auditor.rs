//! The auditor: judges the log by reading its bytes, with none of the product's decoding, folding or projecting.
//!
//! Claims, each checked by [`audit`]: on every subject versions run 1, 2, 3… and `prev` is the SHA-256 of the stored
//! bytes before; event ids are unique; a lease's records run n = 1, 2, 3… and their cumulative `spent` adds up; a
//! closed lease closes once, with the count and the sum of its records; nobody ever has less than nothing available.

use crate::http::credits;
use domain::Credits;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What the log says, added up.
#[derive(Debug, Default)]
pub struct Books {
    /// By account id.
    pub accounts: BTreeMap<String, Account>,
    /// By lease id.
    pub leases: BTreeMap<String, Lease>,
    /// Messages read.
    pub events: usize,
}

/// One account's sums.
#[derive(Debug, Default)]
pub struct Account {
    /// Top-ups, grants and positive adjustments, less negative ones.
    pub credits_in: Credits,
    /// What usage records took.
    pub paid: Credits,
    /// Ids of the calls paid for.
    pub requests: BTreeSet<String>,
    /// Decisions about it.
    pub versions: u64,
}

/// One lease.
#[derive(Debug, Default)]
pub struct Lease {
    /// Whose.
    pub account: String,
    /// Its size now.
    pub size: Credits,
    /// The last record's cumulative sum.
    pub spent: Credits,
    /// Records so far.
    pub count: u64,
    /// What it was closed with: spent and count.
    pub closed: Option<(Credits, u64)>,
}

impl Account {
    /// What should be left: the balance's `total`.
    pub fn total(&self) -> Credits {
        self.credits_in.checked_sub(self.paid).unwrap()
    }
}

impl Books {
    /// The books of one account; empty if it never had an event.
    pub fn account(&self, id: &str) -> &Account {
        static NOBODY: std::sync::LazyLock<Account> = std::sync::LazyLock::new(Account::default);
        self.accounts.get(id).unwrap_or(&NOBODY)
    }

    /// The leases of one account.
    pub fn leases_of(&self, account: &str) -> impl Iterator<Item = &Lease> {
        self.leases.values().filter(move |lease| lease.account == account)
    }

    /// Fails unless every lease is closed, as after an orderly stop.
    pub fn assert_all_leases_closed(&self) {
        for (id, lease) in &self.leases {
            assert!(lease.closed.is_some(), "lease {id} was left open: {lease:?}");
        }
    }

    fn account_event(&mut self, kind: &str, account: &str, data: &Value) {
        let mut add = |amount: Credits| {
            let books = self.accounts.entry(account.to_owned()).or_default();
            books.credits_in = books.credits_in.checked_add(amount).unwrap();
        };
        let lease = |id: &Value| id.as_str().unwrap().to_owned();
        match kind {
            "top_up_initiated" | "top_up_closed" | "refund_approved" | "refund_completed" => {}
            "top_up_completed"
            | "credit_granted"
            | "adjustment_posted"
            | "refund_failed"
            | "chargeback_reversed" => add(credits(&data["credits"])),
            "refund_requested" => add(Credits::from_nano(-credits(&data["credits"]).nano())),
            // The one thing that may take more than there is.
            "chargeback_posted" => return add(Credits::from_nano(-credits(&data["credits"]).nano())),
            "lease_granted" => {
                let new = Lease {
                    account: account.to_owned(),
                    size: credits(&data["credits"]),
                    ..Lease::default()
                };
                let old = self.leases.insert(lease(&data["lease"]), new);
                assert!(old.is_none(), "a lease was granted twice: {data}");
            }
            "lease_amended" => {
                let lease =
                    self.leases.get_mut(&lease(&data["lease"])).expect("amended after it was granted");
                assert!(lease.closed.is_none(), "amended after its end: {data}");
                lease.size = credits(&data["credits"]);
            }
            "lease_closed" => {
                let lease = self.leases.get_mut(&lease(&data["lease"])).expect("closed after it was granted");
                let end = (credits(&data["spent"]), data["count"].as_u64().unwrap());
                assert!(lease.closed.replace(end).is_none(), "closed twice: {data}");
                assert_eq!(
                    end,
                    (lease.spent, lease.count),
                    "a lease closed with other sums than its records': {data}"
                );
            }
            other => panic!("the auditor does not know {other}: teach it"),
        }
        let Some(books) = self.accounts.get(account) else { return };
        // Open leases are set aside whole, closed ones cost what was spent of them.
        let bound = self.leases_of(account).map(|it| it.closed.map_or(it.size, |(spent, _)| spent));
        let bound = Credits::checked_sum(bound).unwrap();
        assert!(
            bound <= books.credits_in,
            "{account}: {bound} is bound and only {} came in, after {data}",
            books.credits_in
        );
    }

    fn usage_record(&mut self, record: &Value) {
        let lease =
            self.leases.get_mut(record["lease"].as_str().unwrap()).expect("a record names a granted lease");
        assert_eq!(
            lease.account,
            record["account"].as_str().unwrap(),
            "a record's lease is its account's: {record}"
        );
        assert!(lease.closed.is_none(), "a record after its lease's end: {record}");
        let charge = credits(&record["usage"]["charge"]);
        let uncovered = record.get("uncovered").map_or(Credits::ZERO, credits);
        let paid = charge.checked_sub(uncovered).unwrap();
        lease.count += 1;
        lease.spent = lease.spent.checked_add(paid).unwrap();
        assert_eq!(
            record["n"].as_u64(),
            Some(lease.count),
            "a lease's records have a gap or a double: {record}"
        );
        assert_eq!(credits(&record["spent"]), lease.spent, "a lease's sum does not add up: {record}");
        assert!(lease.spent <= lease.size, "more was spent than the lease held: {record}");
        let books = self.accounts.entry(lease.account.clone()).or_default();
        books.paid = books.paid.checked_add(paid).unwrap();
        let request = record["usage"]["request"].as_str().unwrap().to_owned();
        assert!(books.requests.insert(request), "a call was paid twice: {record}");
    }
}

/// Reads the whole log; fails at the first thing that is not as it must be.
pub fn audit(messages: &[(String, Vec<u8>)]) -> Books {
    let mut books = Books::default();
    let mut ids = BTreeSet::new();
    let mut tails: BTreeMap<&str, (u64, String)> = BTreeMap::new();
    for (subject, bytes) in messages {
        let event: Value = serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{subject}: {error}"));
        let tail = tails.entry(subject).or_default();
        assert_eq!(
            event["version"].as_u64(),
            Some(tail.0 + 1),
            "{subject}: versions have a gap or a double: {event}"
        );
        let before = (tail.0 > 0).then_some(tail.1.as_str());
        assert_eq!(event["prev"].as_str(), before, "{subject}: the chain is broken: {event}");
        assert!(
            ids.insert(event["id"].as_str().unwrap().to_owned()),
            "an event is on the log twice: {event}"
        );
        *tail = (tail.0 + 1, hex::encode(Sha256::digest(bytes)));
        books.events += 1;
        let (kind, data) = (event["type"].as_str().unwrap(), &event["data"]);
        if let Some(account) = subject.strip_prefix("ledger.account.") {
            assert_eq!(event["account"].as_str(), Some(account), "{event}");
            books.account_event(kind, account, data);
            books.accounts.entry(account.to_owned()).or_default().versions += 1;
        } else if subject.starts_with("ledger.node.") && kind == "usage_reported" {
            data["records"].as_array().unwrap().iter().for_each(|record| books.usage_record(record));
        }
    }
    books
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Writes a log as the gateway would: versions and the chain are right, whatever the events say.
    #[derive(Default)]
    struct Log(Vec<(String, Vec<u8>)>);

    impl Log {
        fn add(mut self, subject: &str, kind: &str, data: Value) -> Self {
            let before: Vec<_> = self.0.iter().filter(|(other, _)| other == subject).collect();
            let (version, id) = (before.len() + 1, self.0.len());
            let prev = before.last().map(|(_, bytes)| hex::encode(Sha256::digest(bytes)));
            let account = subject.strip_prefix("ledger.account.");
            let event = json!({"id": id.to_string(), "type": kind, "account": account, "version": version, "prev": prev, "data": data});
            self.0.push((subject.to_owned(), event.to_string().into_bytes()));
            self
        }

        fn account(self, kind: &str, data: Value) -> Self {
            self.add("ledger.account.a", kind, data)
        }

        fn usage(self, n: u64, spent: &str, charge: &str) -> Self {
            let usage = json!({"request": format!("call {n}"), "charge": charge});
            let record = json!({"account": "a", "lease": "l", "n": n, "spent": spent, "usage": usage});
            self.add("ledger.node.e", "usage_reported", json!({"records": [record]}))
        }

        fn leased() -> Self {
            let paid = Self::default().account("top_up_completed", json!({"credits": "5"}));
            paid.account("lease_granted", json!({"lease": "l", "credits": "2"}))
        }

        fn closed(self, spent: &str, count: u64) -> Self {
            self.account("lease_closed", json!({"lease": "l", "spent": spent, "count": count}))
        }
    }

    fn faults(log: Log) -> bool {
        std::panic::catch_unwind(|| audit(&log.0)).is_err()
    }

    #[test]
    fn a_good_log_adds_up() {
        let books = audit(&Log::leased().usage(1, "0.5", "0.5").usage(2, "1.25", "0.75").closed("1.25", 2).0);
        books.assert_all_leases_closed();
        assert_eq!(books.account("a").total().to_string(), "3.75");
        assert_eq!((books.account("a").requests.len(), books.events), (2, 5));
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        let good = || Log::leased().usage(1, "0.5", "0.5");
        assert!(!faults(good()));
        assert!(faults(good().usage(3, "1", "0.5")), "a record is missing");
        assert!(faults(good().usage(1, "1", "0.5")), "a record twice");
        assert!(faults(good().usage(2, "1.1", "0.5")), "a wrong sum");
        assert!(faults(good().usage(2, "2.5", "2")), "more than the lease");
        assert!(faults(good().closed("0.4", 1)), "closed with too little");
        assert!(faults(good().closed("0.5", 2)), "closed with too many");
        assert!(faults(good().closed("0.5", 1).usage(2, "1", "0.5")), "spent after its end");
        assert!(faults(good().account("adjustment_posted", json!({"credits": "-4"}))), "less than is leased");
        assert!(faults(good().account("balance_set", json!({}))), "an unknown event");
        let mut lost = good();
        lost.0.remove(0);
        assert!(faults(lost), "the first event is gone");
        let mut altered = Log::leased().closed("0", 0);
        altered.0[0].1.push(b' ');
        assert!(faults(altered), "stored bytes differ from the chain");
        assert!(
            std::panic::catch_unwind(|| audit(&good().0).assert_all_leases_closed()).is_err(),
            "a lease is open"
        );
    }
}
