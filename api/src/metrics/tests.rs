//! The page over a real log and a real database, and that nothing committed names a metric that there is not.

use super::families::{FAMILIES, Kind};
use super::*;
use crate::http::tests::gateway_with;
use axum::body::Body;
use axum::http::HeaderValue;
use relay::Secret;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use tower::ServiceExt;

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The names that a query may use: a histogram has three.
fn names() -> BTreeMap<String, &'static [&'static str]> {
    let mut names = BTreeMap::new();
    for family in FAMILIES {
        match family.kind {
            Kind::Counter | Kind::Gauge => drop(names.insert(family.name.to_owned(), family.labels)),
            Kind::Histogram => {
                for part in ["_bucket", "_sum", "_count"] {
                    names.insert(format!("{}{part}", family.name), family.labels);
                }
            }
        }
    }
    names
}

/// What the scrape configuration and Prometheus itself put beside a metric's own labels.
const BESIDE: [&str; 5] = ["instance", "job", "release", "le", "alertstate"];
/// Metrics of other programs.
const FOREIGN: [&str; 3] = ["up", "probe_ssl_earliest_cert_expiry", "ALERTS"];

/// Metric names in a text, with the labels that are matched behind each.
fn used(text: &str) -> Vec<(String, Vec<String>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let starts = text.match_indices("nexusroute_").chain(text.match_indices("process_"));
    for (start, _) in starts {
        let before = text[..start].chars().next_back();
        if before.is_some_and(|c| is_word(c) || c == '-' || c == '/') {
            continue;
        }
        let rest = &text[start..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let mut labels = Vec::new();
        if let Some(matchers) = rest[end..].strip_prefix('{').and_then(|it| it.split('}').next()) {
            for matcher in matchers.split(',') {
                labels.push(matcher.trim().chars().take_while(|c| is_word(*c)).collect());
            }
        }
        found.push((rest[..end].to_owned(), labels));
    }
    found
}

/// Every query of the rules and the dashboards.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for file in ["rules.yml", "rules.test.yml"] {
        let path = repository().join("deploy/prometheus").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let text: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        queries.push((file.to_owned(), text.join("\n")));
    }
    for entry in std::fs::read_dir(repository().join("deploy/grafana/dashboards")).unwrap() {
        let path = entry.unwrap().path();
        let board: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let panels = board["panels"].as_array().unwrap();
        assert!(panels.len() > 10 && board["uid"].is_string(), "{}", path.display());
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len());
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            for target in panel["targets"].as_array().unwrap() {
                queries.push((
                    panel["title"].as_str().unwrap().to_owned(),
                    target["expr"].as_str().unwrap().to_owned(),
                ));
            }
        }
    }
    queries
}

#[test]
fn rules_and_dashboards_name_only_what_there_is_and_show_all_of_it() {
    let (names, mut shown) = (names(), BTreeSet::new());
    for (place, query) in queries() {
        let found = used(&query);
        let foreign = FOREIGN.iter().any(|name| query.contains(name));
        assert!(!found.is_empty() || foreign, "{place} asks for nothing: {query}");
        for (name, labels) in found {
            let known =
                names.get(&name).unwrap_or_else(|| panic!("{place} names {name}, which there is not"));
            for label in labels.iter().filter(|label| !BESIDE.contains(&label.as_str())) {
                assert!(known.contains(&label.as_str()), "{place}: {name} has no label {label}");
            }
            shown.insert(name);
        }
    }
    let missing: Vec<_> = FAMILIES
        .iter()
        .map(|family| family.name)
        .filter(|name| !shown.iter().any(|it| it == name || it.strip_suffix("_bucket") == Some(name)))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "neither a rule nor a dashboard shows these");
}

#[test]
fn every_alert_has_its_section_in_the_runbooks_and_no_section_is_left_over() {
    let rules = std::fs::read_to_string(repository().join("deploy/prometheus/rules.yml")).unwrap();
    let books = std::fs::read_to_string(repository().join("docs/runbooks.md")).unwrap();
    let alerts: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let sections: BTreeSet<&str> = books.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(alerts, sections);
    for alert in &alerts {
        let anchor = format!("runbook: docs/runbooks.md#{}", alert.to_lowercase());
        assert!(rules.lines().any(|line| line.trim() == anchor), "{anchor}");
    }
    let tests = std::fs::read_to_string(repository().join("deploy/prometheus/rules.test.yml")).unwrap();
    for alert in alerts {
        assert!(
            tests.contains(&format!("\"{alert}\"")) || tests.contains(&format!("alertname: {alert}\n")),
            "{alert}"
        );
    }
}

#[test]
fn the_committed_list_of_metrics_is_current() {
    const MARK: &str =
        "<!-- metrics: made by NEXUSROUTE_GOLDEN=write, from api/src/metrics/families.rs -->\n";
    let path = repository().join("docs/monitoring.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, listed) = text.split_once(MARK).unwrap();
    let mut table = String::from("\n| metric | kind | labels | what it says |\n|---|---|---|---|\n");
    for family in FAMILIES {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = family.kind.as_str();
        writeln!(table, "| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help).unwrap();
    }
    if std::env::var("NEXUSROUTE_GOLDEN").is_ok_and(|it| it == "write") {
        std::fs::write(&path, format!("{before}{MARK}{table}")).unwrap();
        return;
    }
    assert_eq!(listed, table, "run it with NEXUSROUTE_GOLDEN=write");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_for_those_who_may_see_it_and_tells_of_log_tables_and_answers() {
    let it = gateway_with(|config| config.metrics.token = Some(Secret::new("a long token".to_owned()))).await;
    it.call("GET", "/api/site", None, None).await;
    it.call("GET", "/api/nothing/here", None, None).await;
    Verified { at: 1_700_000_000, findings: 0 }.leave(&it.app.config.data_dir);
    let metrics = Metrics::new(
        it.app.config.clone(),
        it.app.config.roles,
        it.app.ledger.log().clone(),
        it.app.db.clone(),
        Some(it.projector.clone()),
        None,
        it.app.tallies.clone(),
        LogTally::default(),
    );
    let router = routes(metrics);
    let ask = async |peer: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = Request::get("/metrics").body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer.parse::<IpAddr>().unwrap(), 9))));
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        router.clone().oneshot(request).await.unwrap()
    };
    for (peer, headers, status) in [
        ("127.0.0.1", &[][..], 200),
        ("::ffff:127.0.0.1", &[], 200),
        ("10.0.0.9", &[], 404),
        ("10.0.0.9", &[("authorization", "Bearer a long token")], 200),
        ("10.0.0.9", &[("authorization", "Bearer a long tokem")], 404),
        // nginx on the same machine asks for somebody else.
        ("127.0.0.1", &[("x-forwarded-for", "203.0.113.9")], 404),
        ("127.0.0.1", &[("x-real-ip", "203.0.113.9"), ("authorization", "Bearer a long token")], 200),
    ] {
        assert_eq!(ask(peer, headers).await.status(), status, "{peer} {headers:?}");
    }
    let answer = ask("127.0.0.1", &[]).await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let page = String::from_utf8(body.to_vec()).unwrap();
    for line in [
        "nexusroute_ledger_up 1",
        "nexusroute_database_up 1",
        "nexusroute_projections_halted 0",
        "nexusroute_books_imbalance{unit=\"credits\"} 0",
        "nexusroute_queue_length{queue=\"mails\"} 0",
        "nexusroute_verify_findings 0",
        "nexusroute_scrape_incomplete 0",
        "nexusroute_http_requests_total{method=\"GET\",route=\"/api/site\",status=\"200\"} 1",
        // What callers make up has one name.
        "nexusroute_http_requests_total{method=\"GET\",route=\"/api/{*rest}\",status=\"404\"} 1",
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
    }
    let known: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        assert!(known.contains(line.split(' ').next().unwrap()), "{line}");
    }
}
