//! Every metric by name, kind, labels and meaning: the one list that the page, the documentation, the alert rules and the
//! dashboards go by.
//!
//! Claims: nothing is exported that is not here; docs/monitoring.md holds this list as it is; a rule or a dashboard that
//! names anything else fails a test.

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from zero at the start of the process.
    Counter,
    /// As of now.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// Prometheus' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric: a name with its labels.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name; the unit stands at its end.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident $kind:ident $name:literal [$($label:literal)*] $help:literal)*) => {
        $(
            #[doc = $help]
            pub const $constant: Family =
                Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// All of them, in the order of the page.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD Gauge "nexusroute_build_info" ["version" "roles"] "1, with the version and the roles of the process."
    START Gauge "process_start_time_seconds" [] "When the process started, in Unix time."
    CPU Counter "process_cpu_seconds_total" [] "Processor time that the process used."
    RESIDENT Gauge "process_resident_memory_bytes" [] "Memory that the process holds."
    THREADS Gauge "process_threads" [] "Threads of the process."
    OPEN_FILES Gauge "process_open_fds" [] "Files and sockets that the process holds open."
    MAX_FILES Gauge "process_max_fds" [] "How many it may hold open."
    TASKS Gauge "nexusroute_tasks" [] "Tasks of the runtime that have not ended."
    DISK_FREE Gauge "nexusroute_data_disk_free_bytes" [] "Free space of the disk under the data folder, as far as the process may use it."
    DISK_SIZE Gauge "nexusroute_data_disk_size_bytes" [] "Size of that disk."
    LOG_LINES Counter "nexusroute_log_lines_total" ["level"] "Lines logged at `error` and at `warn`."
    ALERTS Counter "nexusroute_alerts_total" ["alert"] "Things that need a person, as the log names them in its field `alert`."

    LOG_UP Gauge "nexusroute_ledger_up" [] "1: NATS JetStream answered when it was asked for this page."
    LOG_POSITION Gauge "nexusroute_ledger_position" [] "The last sequence of LEDGER."
    REPLICAS Gauge "nexusroute_ledger_replicas" [] "Copies of each event, as configured."
    DATABASE_UP Gauge "nexusroute_database_up" [] "1: the database answered when it was asked for this page."
    APPLIED Gauge "nexusroute_projections_position" [] "The last sequence that the tables contain."
    LAG Gauge "nexusroute_projections_lag" [] "How many messages of LEDGER the tables are behind."
    HALTED Gauge "nexusroute_projections_halted" [] "1: the projector of this process has stopped for good and waits for a person. Projectors only."
    WAITING Gauge "nexusroute_projections_waiting" [] "1: the projector of this process waits for the log or the database. Projectors only."

    HTTP_REQUESTS Counter "nexusroute_http_requests_total" ["method" "route" "status"] "Answers of `/api` by route and status. Calls of models are counted below."
    HTTP_TIMES Histogram "nexusroute_http_request_duration_seconds" ["route"] "How long answers of `/api` took."

    CALLS Counter "nexusroute_calls_total" ["model" "provider" "outcome"] "Calls that reached a provider, by how they ended: completed, client_gone, provider_error, interrupted, refused."
    CALL_TIMES Histogram "nexusroute_call_duration_seconds" ["provider" "stream"] "How long those calls took."
    FIRST_BYTE Histogram "nexusroute_call_first_byte_seconds" ["provider"] "How long streamed calls waited for their first byte."
    CALL_TOKENS Counter "nexusroute_call_tokens_total" ["model" "provider" "direction"] "Tokens read (`input`) and generated (`output`)."
    CALL_PAID Counter "nexusroute_call_paid_credits_total" ["model" "provider"] "What accounts paid for calls, in credits."
    CALL_COST Counter "nexusroute_call_cost_credits_total" ["model" "provider"] "What providers cost, in credits, as far as cost prices are known. Paid less cost is the margin."
    CALL_UNCOVERED Counter "nexusroute_call_uncovered_credits_total" ["model" "provider"] "What calls cost beyond what anybody's credits covered: the operator's loss, in credits."
    CALLS_REFUSED Counter "nexusroute_calls_refused_total" ["protocol" "code" "status"] "Requests that became no call, by the code of the answer."
    CALLS_RUNNING Gauge "nexusroute_calls_in_flight" [] "Calls that are being admitted, served or settled."
    ATTEMPTS Counter "nexusroute_provider_attempts_total" ["provider" "result"] "Tries at providers: `ok`, or what went wrong as usage records name it."
    PROVIDER_UP Gauge "nexusroute_provider_up" ["provider" "key" "model"] "1: calls may try it; 0: its circuit is open. An empty model stands for the key as a whole. Known once a call has met it."
    PROVIDER_FAILURES Gauge "nexusroute_provider_failure_percent" ["provider" "key" "model"] "The share of failures among its recent tries."

    LEASES Gauge "nexusroute_leases_open" [] "Leases that this node holds."
    HOLDS Gauge "nexusroute_holds" [] "Calls that hold credits on this node."
    LEASE_DECISIONS Counter "nexusroute_lease_decisions_total" [] "Decisions about leases that this node sent to the log."
    CALLS_BY_LOG Counter "nexusroute_calls_waited_for_ledger_total" [] "Calls that waited for the log; all others waited for the outbox alone."
    SEALED Counter "nexusroute_epochs_sealed_total" [] "Runs of this process that other nodes have sealed: it had fallen silent."
    UNREPORTED Gauge "nexusroute_usage_unreported" [] "Usage records that the log has not acknowledged."
    UNREPORTED_AGE Gauge "nexusroute_usage_unreported_age_seconds" [] "How long the oldest of them has waited. Beyond `lease.report_seconds` no call begins."
    ADMITS Gauge "nexusroute_meter_admits" [] "1: this node admits calls; 0: `/readyz` says why not."
    OUTBOX_BYTES Gauge "nexusroute_outbox_bytes" [] "Size of the outbox."
    OUTBOX_MAX Gauge "nexusroute_outbox_max_bytes" [] "Beyond this no call begins (`outbox.max_bytes`)."
    OUTBOX_AGE Gauge "nexusroute_outbox_age_seconds" [] "Age of its oldest segment, which stays until the tables have passed its records."
    OUTBOX_RECORDS Gauge "nexusroute_outbox_records" [] "Settled records in it."
    OUTBOX_UNFLUSHED Gauge "nexusroute_outbox_unflushed_bytes" [] "Written to it and not yet on the disk."
    LIMITS_AWAY Gauge "nexusroute_limits_redis_away" [] "1: Redis does not answer, and this node counts limits alone."
    LIMITS_ALONE Counter "nexusroute_limits_fallbacks_total" [] "Admissions that this node judged by its own counts because Redis was away."

    CALLBACKS Counter "nexusroute_payment_callbacks_total" ["channel" "verdict"] "Messages of payment channels, by what became of them: credited, closed, noted, or the code of the answer."
    PAYMENTS Counter "nexusroute_payments_credited_total" ["channel" "currency"] "Payments credited by this process, from callbacks and from asking."
    MONEY Counter "nexusroute_payments_credited_money_total" ["channel" "currency"] "What those paid, in the currency's units."
    ORDERS Gauge "nexusroute_topup_orders_day" ["channel" "status"] "Orders of the last 24 hours, by their status now. Projectors only."
    BOOKS_CREDITS Gauge "nexusroute_book_credits" ["book"] "What a book holds in credits, debit above zero; all accounts together are one book. Projectors only, read every few minutes."
    BOOKS_MONEY Gauge "nexusroute_book_money" ["book" "currency"] "What a book holds of a currency, in its units, debit above zero. Projectors only, read every few minutes."
    IMBALANCE Gauge "nexusroute_books_imbalance" ["unit"] "Debits less credits of all books of a unit. Anything but 0 is damage. Projectors only."
    LEASED Gauge "nexusroute_leased_credits" [] "Credits in open leases of all nodes. Projectors only."
    LEASES_ALL Gauge "nexusroute_leases_open_all" [] "Open leases of all nodes. Projectors only."
    LEASE_AGE Gauge "nexusroute_leases_oldest_age_seconds" [] "How long the most neglected of them was not renewed. Beyond the quarantine nobody looks after it. Projectors only."
    QUEUED Gauge "nexusroute_queue_length" ["queue"] "What waits to be sent: mails, webhooks, audit acts. Projectors only."
    QUEUE_AGE Gauge "nexusroute_queue_oldest_age_seconds" ["queue"] "How long the oldest of it has waited. Projectors only."
    USERS Gauge "nexusroute_users" ["status"] "Users. Projectors only."

    VERIFY_TIME Gauge "nexusroute_verify_last_seconds" [] "When `ledger verify` last ended on this data folder, in Unix time."
    VERIFY_FINDINGS Gauge "nexusroute_verify_findings" [] "What it found, log and tables together. Anything but 0 needs a person at once."
    BACKUP_TIME Gauge "nexusroute_backup_last_seconds" [] "When `nexusroute-backup create` last succeeded on this data folder, in Unix time."
    BACKUP_BYTES Gauge "nexusroute_backup_bytes" [] "How large that backup is."
    BACKUP_POSITION Gauge "nexusroute_backup_position" [] "The last sequence of LEDGER in it."
    UNANSWERED Gauge "nexusroute_scrape_incomplete" [] "1: something did not answer in time and is missing from this page."
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_prometheus_names_once_each_with_their_kind_at_the_end() {
        let mut seen = BTreeSet::new();
        for family in FAMILIES {
            assert!(seen.insert(family.name), "{}", family.name);
            let is_ours = family.name.starts_with("nexusroute_") || family.name.starts_with("process_");
            assert!(
                is_ours && family.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{}",
                family.name
            );
            assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
            assert!(family.kind != Kind::Histogram || family.name.ends_with("_seconds"), "{}", family.name);
            assert!(family.help.ends_with('.') || family.help.ends_with("known."), "{}", family.help);
        }
    }
}
