//! The judge: compares what callers and payers saw with what the log says, and the balances with both.
//!
//! Claims, checked by [`Judge::hears`]: a call that was answered whole has exactly one usage record, with the charge of its
//! tokens; one that was refused has none that costs; one that was cut off has at most one, which costs at most what the
//! provider had said; a record is on the log once by (lease, n), or again as it was; a call is never charged twice; what
//! a closed lease did not count is nobody's debt; an order is credited at most once, and once if its channel was told so;
//! a balance is what came in less what was paid, and never below zero.

use super::load::{Call, Fate, Paid, Person, Seen, price_of};
use super::model::Model;
use crate::http::{Api, credits};
use crate::people::text;
use domain::Credits;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

/// What the log says so far.
#[derive(Default)]
pub struct Judge {
    /// The last sequence read.
    position: u64,
    records: HashMap<(String, u64), Record>,
    /// The record of each request.
    requests: HashMap<String, (String, u64)>,
    leases: HashMap<String, Lease>,
    accounts: BTreeMap<String, Account>,
    credited: HashSet<String>,
    /// Calls that began before this, and were answered, may be the operator's loss: a node fell asleep then, and slept
    /// until its leases had been closed.
    pub lost_before: Option<SystemTime>,
    /// Requests that came onto the log since the last round.
    new: Vec<String>,
    /// Records that were reported again.
    pub repeated: u64,
    /// Records that came too late for their lease.
    pub late: u64,
    /// Calls that the end of a process interrupted, and those of them that were charged.
    pub interrupted: (u64, u64),
}

/// A usage record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Who pays.
    pub account: String,
    /// The request.
    pub request: String,
    /// Its charge.
    pub charge: Credits,
    /// The operator's part of it.
    pub uncovered: Credits,
    /// How it ended.
    pub outcome: String,
    /// As it stands, by its SHA-256: hours of load are remembered.
    whole: [u8; 32],
    late: bool,
}

struct Lease {
    epoch: String,
    closed: Option<u64>,
}

#[derive(Default)]
struct Account {
    credits_in: Credits,
    paid: Credits,
}

impl Judge {
    /// Where to read on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads lines of `ledger tail`.
    pub fn reads(&mut self, lines: &str) {
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let sequence = line["sequence"].as_u64().unwrap();
            assert_eq!(sequence, self.position + 1, "the log has a hole");
            self.position = sequence;
            self.event(&line["event"]);
        }
    }

    fn event(&mut self, event: &Value) {
        let data = &event["data"];
        let mut adds = |amount: &Value| {
            let account = self.accounts.entry(text(&event["account"])).or_default();
            account.credits_in = account.credits_in.checked_add(credits(amount)).unwrap();
        };
        match event["type"].as_str().unwrap() {
            "credit_granted" | "adjustment_posted" => adds(&data["credits"]),
            "top_up_completed" => {
                adds(&data["credits"]);
                assert!(self.credited.insert(text(&data["order"])), "an order was credited twice: {data}");
            }
            "lease_granted" => {
                let lease = Lease { epoch: text(&data["epoch"]), closed: None };
                assert!(self.leases.insert(text(&data["lease"]), lease).is_none(), "{data}");
            }
            "lease_closed" => {
                let lease = self.leases.get_mut(&text(&data["lease"])).expect("it was granted");
                assert!(lease.closed.replace(data["count"].as_u64().unwrap()).is_none(), "{data}");
            }
            "usage_reported" => data["records"].as_array().unwrap().iter().for_each(|it| self.record(it)),
            // The subject says which run; the event does not.
            "node_sealed" | "lease_amended" | "top_up_initiated" | "top_up_closed" => {}
            // No scenario gives anything back.
            "refund_requested"
            | "refund_approved"
            | "refund_completed"
            | "refund_failed"
            | "chargeback_posted"
            | "chargeback_reversed" => panic!("nobody asked for a refund: {data}"),
            other => panic!("the judge does not know {other}: teach it"),
        }
    }

    fn record(&mut self, whole: &Value) {
        let (lease, n) = (text(&whole["lease"]), whole["n"].as_u64().unwrap());
        let digest = Sha256::digest(whole.to_string()).into();
        if let Some(first) = self.records.get(&(lease.clone(), n)) {
            assert_eq!(first.whole, digest, "one (lease, n) stands for two records: {whole}");
            self.repeated += 1;
            return;
        }
        let closed = self.leases.get(&lease).expect("a record names a granted lease").closed;
        let record = Record {
            account: text(&whole["account"]),
            request: text(&whole["usage"]["request"]),
            charge: credits(&whole["usage"]["charge"]),
            uncovered: whole.get("uncovered").map_or(Credits::ZERO, credits),
            outcome: text(&whole["usage"]["outcome"]),
            whole: digest,
            late: closed.is_some_and(|count| n > count),
        };
        if record.outcome == "interrupted" {
            self.interrupted.0 += 1;
            self.interrupted.1 += u64::from(record.charge.is_positive());
        }
        if record.late {
            self.late += 1;
        } else {
            let account = self.accounts.entry(record.account.clone()).or_default();
            let paid = record.charge.checked_sub(record.uncovered).unwrap();
            account.paid = account.paid.checked_add(paid).unwrap();
        }
        let before = self.requests.insert(record.request.clone(), (lease.clone(), n));
        assert!(before.is_none(), "a call was charged twice: {before:?} and {whole}");
        self.new.push(record.request.clone());
        self.records.insert((lease, n), record);
    }

    /// The record of a request.
    pub fn record_of(&self, request: &str) -> Option<&Record> {
        self.requests.get(request).map(|key| &self.records[key])
    }

    /// The run that a request's lease was granted to.
    pub fn epoch_of(&self, request: &str) -> Option<&str> {
        self.requests.get(request).map(|(lease, _)| self.leases[lease].epoch.as_str())
    }

    /// Leases that are not closed.
    pub fn open_leases(&self) -> usize {
        self.leases.values().filter(|lease| lease.closed.is_none()).count()
    }

    /// Hears what was seen in a round whose every call has ended.
    pub fn hears(&mut self, seen: &Seen, model: &Model) {
        let calls = seen.calls.lock().unwrap();
        self.hears_of(&calls, model);
        seen.paid.lock().unwrap().iter().for_each(|paid| self.payment(paid));
    }

    /// Hears of calls that were made among others, of which nothing is known here.
    pub fn hears_again(&self, calls: &[Call], model: &Model) {
        calls.iter().for_each(|call| self.call(call, model));
    }

    fn hears_of(&mut self, calls: &[Call], model: &Model) {
        let mut told = HashSet::new();
        let mut untold = 0;
        for call in calls {
            match &call.request {
                Some(request) => assert!(told.insert(request.clone()), "{request} was given twice"),
                None => untold += 1,
            }
            self.call(call, model);
        }
        // What is left are calls whose callers never heard a word: no more of them than there were.
        let new = std::mem::take(&mut self.new);
        let unheard: Vec<_> = new.into_iter().filter(|request| !told.contains(request)).collect();
        assert!(unheard.len() <= untold, "{} calls nobody made are charged: {unheard:?}", unheard.len());
        let most = calls.iter().map(|call| call.tokens).max().unwrap_or(0);
        for request in &unheard {
            assert!(self.record_of(request).unwrap().charge <= price_of(most), "{request}");
        }
    }

    fn call(&self, call: &Call, model: &Model) {
        let record = call.request.as_ref().and_then(|request| self.record_of(request));
        if let Some(record) = record {
            assert_eq!(record.account, call.account, "another account pays: {call:?}");
        }
        match call.fate {
            Fate::Complete => {
                let record = record.unwrap_or_else(|| panic!("answered and not charged: {call:?}"));
                assert_eq!(record.charge, price_of(call.tokens), "{call:?} {record:?}");
                assert_eq!(record.outcome, "completed", "{call:?} {record:?}");
                assert!(
                    !record.late || self.lost_before.is_some_and(|moment| call.begun < moment),
                    "answered and charged to nobody: {call:?} {record:?}"
                );
                assert_eq!(record.uncovered, Credits::ZERO, "{call:?} {record:?}");
            }
            Fate::Refused(status) => {
                assert!([402, 429, 502, 503, 504].contains(&status), "{call:?}");
                let charge = record.map_or(Credits::ZERO, |record| record.charge);
                assert_eq!(charge, Credits::ZERO, "refused and charged: {call:?} {record:?}");
            }
            Fate::Cut => {
                let said = model.said(call.tag).map_or(0, |said| said.tokens);
                let charge = record.map_or(Credits::ZERO, |record| record.charge);
                assert!(charge <= price_of(said), "charged for more than {said} tokens: {call:?} {record:?}");
            }
        }
    }

    fn payment(&self, paid: &Paid) {
        let credited = self.credited.contains(&paid.order);
        assert!(credited || !paid.confirmed, "order {} was confirmed and is not credited", paid.order);
    }

    /// Compares a person's balance with the log.
    pub async fn balances(&self, person: &Person, at: &str) {
        let session: Api = person.session.at(at);
        let balance = session.get("/api/user/balance").await.ok();
        let account = &self.accounts[&person.account];
        let total = account.credits_in.checked_sub(account.paid).unwrap();
        assert!(!total.is_negative(), "{} has {total}", person.account);
        assert_eq!(credits(&balance["total"]), total, "{balance}");
        assert!(!credits(&balance["available"]).is_negative(), "{balance}");
    }
}
