//! The plan, row by row.

use super::*;
use crate::import::source::columns::{CHANNELS, TOKENS, USERS};
use serde_json::json;

fn terms(kind: Kind) -> Terms {
    Terms {
        kind,
        source: "old".to_owned(),
        per_credit: None,
        dry_run: true,
        completion: None,
        emails_verified: false,
        without_operator_balances: false,
        allow_private: false,
        at: Moment::from_micros(1_800_000_000_000_000),
        pricing: None,
    }
}

/// A row with these columns; the others are NULL.
fn row(columns: &'static [&'static str], values: &[(&str, &str)]) -> Record {
    let value = |column: &&str| values.iter().find(|(name, _)| name == column).map_or("NULL", |it| it.1);
    Record::of(columns, &columns.iter().map(value).collect::<Vec<_>>())
}

fn user(id: &str, name: &str, quota: &str) -> Record {
    row(USERS, &[("id", id), ("username", name), ("quota", quota), ("role", "1"), ("status", "1")])
}

fn planned(data: &Data, present: &Present) -> Plan {
    plan(data, present, &terms(Kind::NewApi)).unwrap()
}

#[test]
fn every_users_quota_is_in_exactly_one_sum() {
    let users = vec![
        user("1", "ann", "5"),
        user("2", "bob", "-3"),
        user("3", "cat", "9223372036854775807"),
        user("4", "dan", "0"),
        row(USERS, &[("id", "5"), ("username", "eve"), ("quota", "7"), ("deleted_at", "2026-01-01")]),
        row(USERS, &[("id", "6"), ("username", "fay"), ("quota", "11"), ("role", "x")]),
    ];
    let plan = planned(&Data { users, ..Data::default() }, &Present::default());
    let report = plan.report;
    assert_eq!((report.total.users, report.imported.users, report.imported.quota), (6, 2, 5));
    let out: i128 = report.left_out.values().map(|sum| sum.quota).sum();
    assert_eq!(report.total.quota, report.imported.quota + out);
    let why: Vec<_> = report.left_out.iter().map(|(why, sum)| (*why, sum.quota)).collect();
    let most = i128::from(i64::MAX);
    assert_eq!(why, [("below zero", -3), ("deleted", 7), ("too large", most), ("unreadable", 11)]);
    assert_eq!(plan.openings.len(), 1, "an event only where there is a balance");
    assert_eq!(plan.users.len(), 4);
}

#[test]
fn names_and_addresses_that_are_taken_are_changed_and_told() {
    let with_email = |id: &str, name: &str, email: &str| {
        row(USERS, &[("id", id), ("username", name), ("email", email), ("role", "1"), ("status", "1")])
    };
    let users = vec![
        with_email("1", "Ann", "ANN@example.org "),
        with_email("2", "ann", "ann@EXAMPLE.org"),
        with_email("3", "a@b", "here@example.org"),
        with_email("4", "root", "x"),
        with_email("5", "", ""),
    ];
    let present = Present {
        usernames: ["root".to_owned()].into(),
        emails: ["here@example.org".to_owned()].into(),
        ..Present::default()
    };
    let plan = planned(&Data { users, ..Data::default() }, &present);
    let names: Vec<_> = plan.users.iter().map(|user| user.username.as_str()).collect();
    assert_eq!(names, ["Ann", "ann-2", "user-3", "root-4", "user-5"]);
    let emails: Vec<_> = plan.users.iter().map(|user| user.email.as_str()).collect();
    assert_eq!(
        emails,
        [
            "ann@example.org",
            "user-2@old.import.invalid",
            "user-3@old.import.invalid",
            "user-4@old.import.invalid",
            "user-5@old.import.invalid",
        ]
    );
    for (code, count) in
        [("username_changed", 4), ("email_duplicate", 2), ("email_invalid", 1), ("email_missing", 1)]
    {
        assert_eq!(plan.report.anomaly(code), count, "{code}");
    }
}

#[test]
fn what_was_imported_before_is_opened_as_it_was() {
    let mapped = |quota: i64| Mapped {
        target: AccountId::from_uuid(id_of("old", "user", "1", 0)).to_string(),
        quota,
        credits: Credits::from_nano(quota * 2_000),
    };
    let key = ("user".to_owned(), "1".to_owned());
    let data = Data { users: vec![user("1", "ann", "9")], ..Data::default() };
    let present = Present { mapped: [(key, mapped(5))].into(), ..Present::default() };
    let plan = planned(&data, &present);
    assert!(plan.users.is_empty());
    assert_eq!(plan.openings[0].credits, Credits::from_nano(10_000));
    assert_eq!((plan.report.total.quota, plan.report.imported.quota), (9, 5));
    assert_eq!(plan.report.left_out["changed since"].quota, 4);
    assert_eq!(plan.report.anomaly("changed_since_import"), 1);
}

#[test]
fn a_key_keeps_its_terms() {
    let key = |more: &[(&str, &str)]| {
        let common = [("id", "1"), ("user_id", "1"), ("key", "AbCdEfGhIjKlMnOpQrSt"), ("status", "1")];
        let data = Data {
            users: vec![user("1", "ann", "5")],
            tokens: vec![row(TOKENS, &[&common[..], more].concat())],
            ..Data::default()
        };
        planned(&data, &Present::default()).keys.remove(0)
    };
    let plain = key(&[("expired_time", "-1"), ("remain_quota", "-1")]);
    assert_eq!((plain.budget, plain.expires_at, &plain.models), (Some(Credits::ZERO), None, &None));
    assert_eq!(plain.hash, relay::key::hash("sk-AbCdEfGhIjKlMnOpQrSt"));
    let ended = key(&[("expired_time", "1700000000"), ("unlimited_quota", "true"), ("remain_quota", "5")]);
    assert_eq!((ended.budget, ended.expires_at), (None, Some(Moment::from_micros(1_700_000_000_000_000))));
    let none = key(&[("model_limits_enabled", "1"), ("model_limits", "")]);
    assert_eq!(none.models, Some(Vec::new()), "limited to nothing is nothing");
    let bound = key(&[("allow_ips", "10.1.2.3/8\n2001:db8::1"), ("model_limits", "unused")]);
    assert_eq!((bound.ip_allow.len(), &bound.models), (2, &None));
    assert_eq!(bound.ip_allow[0].to_string(), "10.0.0.0/8");
    let lost = key(&[("allow_ips", "nonsense")]);
    assert_eq!((lost.status, lost.ip_allow.len()), (KeyStatus::Disabled, 0), "never wider than it was");
}

#[test]
fn a_channel_that_cannot_be_used_is_there_and_disabled() {
    let channel = |more: &[(&str, &str)]| {
        let common = [
            ("id", "1"),
            ("name", "c"),
            ("key", "k"),
            ("status", "1"),
            ("models", "m"),
            ("group", "default"),
        ];
        let merged: Vec<_> =
            common.into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).collect();
        let data = Data { channels: vec![row(CHANNELS, &[&merged[..], more].concat())], ..Data::default() };
        let mut plan = planned(&data, &Present::default());
        (plan.providers.remove(0), plan.report)
    };
    let (good, _) = channel(&[("type", "1"), ("priority", "-3"), ("weight", "0")]);
    assert_eq!((good.status, good.priority, good.weight), (Status::Active, -3, 1));
    assert_eq!(good.base_url, "https://api.openai.com/v1");
    for (more, code) in [
        (&[("type", "999")][..], "unknown_channel_type"),
        (&[("type", "3")], "unsupported_channel_type"),
        (&[("type", "8"), ("base_url", "https://x.example/{model}")], "unsupported_channel_type"),
        (&[("type", "23"), ("key", "a|b|c")], "unsupported_channel_type"),
        (&[("type", "1"), ("base_url", "http://10.0.0.1")], "channel_address"),
        (&[("type", "1"), ("base_url", "https://127.0.0.1")], "channel_address"),
        (&[("type", "47")], "channel_address"),
        (&[("type", "1"), ("key", "")], "channel_key"),
        (&[("type", "1"), ("group", "vip")], "channel_groups"),
        (&[("type", "1"), ("status", "3")], "disabled_channels"),
    ] {
        let (provider, report) = channel(more);
        assert_eq!(provider.status, Status::Disabled, "{more:?}");
        assert_eq!(report.anomaly(code), 1, "{more:?}: {}", report.text());
    }
    let (whole, _) = channel(&[("type", "8"), ("base_url", "https://x.example/v1/chat/completions")]);
    assert_eq!((whole.status, whole.base_url.as_str()), (Status::Active, "https://x.example/v1"));
}

#[test]
fn groups_are_what_their_ratios_say_and_never_cheaper_by_mistake() {
    let mut data = Data {
        users: vec![row(USERS, &[("id", "1"), ("username", "ann"), ("group", "lost"), ("role", "1")])],
        ..Data::default()
    };
    let ratios = json!({"default": 2, "minus": -1, "fine": 0.1234565, "here": 3});
    data.options.insert("GroupRatio".to_owned(), ratios.to_string());
    let present = Present {
        groups: [("default".to_owned(), Decimal::ONE), ("here".to_owned(), Decimal::TWO)].into(),
        ..Present::default()
    };
    let plan = planned(&data, &present);
    let groups: Vec<_> = plan.groups.iter().map(|(name, it)| format!("{name} {it}")).collect();
    assert_eq!(groups, ["default 2", "fine 0.123456", "lost 1", "minus 1000"]);
    for code in ["group_kept", "group_without_ratio"] {
        assert_eq!(plan.report.anomaly(code), 1, "{code}");
    }
    assert_eq!(plan.report.anomaly("group_ratio_invalid"), 2);
}

#[test]
fn a_code_that_nobody_redeemed_there_can_be_redeemed_here() {
    let code = |id: &str, key: &str, status: &str, quota: &str, ends: &str| {
        let values = [
            ("id", id),
            ("key", key),
            ("status", status),
            ("quota", quota),
            ("expired_time", ends),
            ("name", "fair"),
        ];
        row(crate::import::source::columns::REDEMPTIONS, &values)
    };
    let key = |first: char| format!("{first}123456789abcdef0123456789abcdef");
    let redemptions = vec![
        code("1", &key('a'), "1", "5000", "0"),
        code("2", &key('b'), "3", "1", "0"),
        code("3", &key('c'), "1", "2", "1799999999"),
        code("4", &key('d'), "1", "5000", "1900000000"),
        code("5", &key('A'), "1", "4", "0"),
        code("6", &key('e'), "1", "0", "0"),
        code("7", "short", "1", "8", "0"),
        code("8", &key('f'), "1", "16", "0"),
        code("9", &key('9'), "1", "5000", "0"),
    ];
    let mapped = Mapped { target: "x".into(), quota: 0, credits: Credits::ZERO };
    let present = Present {
        mapped: [(("redemption".to_owned(), "8".to_owned()), mapped)].into(),
        ..Present::default()
    };
    let plan = planned(&Data { redemptions, ..Data::default() }, &present);
    let ids: Vec<_> = plan.codes.iter().map(|code| code.source_id.as_str()).collect();
    assert_eq!(
        ids,
        ["1", "4", "9"],
        "used, over, equal but for case, worthless, short, and brought before: not again"
    );
    assert_eq!(plan.codes[0].credits, Credits::from_nano(10_000_000));
    assert_eq!(plan.codes[0].batch, plan.codes[2].batch);
    assert_ne!(plan.codes[0].batch, plan.codes[1].batch, "another end is another batch");
    assert_eq!((plan.codes[0].ending.as_str(), plan.codes[0].expires_at), ("CDEF", None));
    for (code, count) in [("redemption_codes", 3), ("redemption_codes_used", 2), ("redemption_codes_odd", 3)]
    {
        assert_eq!(plan.report.anomaly(code), count, "{code}");
    }
}
