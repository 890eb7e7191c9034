use crate::directory::user::Role;
use crate::http::tests::{Answer, Gateway, gateway};
use crate::live::Live;
use serde_json::{Value, json};
use std::sync::Arc;

async fn sets(it: &Gateway, who: &str, version: i64, set: Value) -> Answer {
    it.call("PATCH", "/api/admin/settings", Some(who), Some(json!({"version": version, "set": set}))).await
}

fn of<'a>(body: &'a Value, key: &str) -> &'a Value {
    body["items"].as_array().unwrap().iter().find(|it| it["key"] == key).unwrap()
}

#[tokio::test]
async fn a_setting_is_changed_while_the_gateway_runs_and_taken_back() {
    let it = gateway().await;
    let (owner, user) = (it.token("own", Role::Owner).await, it.token("ann", Role::User).await);
    let read = it.call("GET", "/api/admin/settings", Some(&owner), None).await.body;
    assert_eq!((&read["version"], &of(&read, "topup.min")["source"]), (&json!(0), &json!("default")));
    assert_eq!(
        (&of(&read, "listen")["changeable"], &of(&read, "topup.min")["changeable"]),
        (&json!(false), &json!(true))
    );

    let terms = json!({"topup.min": "20", "topup.presets": [20, 40], "topup.rates": {"CNY": "7"}, "registration.mode": "closed"});
    let set = sets(&it, &owner, 0, terms).await;
    assert_eq!((set.status.as_u16(), &set.body["version"]), (200, &json!(1)), "{}", set.body);
    assert_eq!(of(&set.body, "topup.min")["source"], "database");
    let options = it.call("GET", "/api/user/topup/options", Some(&user), None).await.body;
    assert_eq!((&options["min"], &options["rates"]), (&json!("20.00"), &json!({"CNY": "7"})));
    let wish = json!({"amount": "10", "channel": "sandbox"});
    assert_eq!(it.call("POST", "/api/user/topup", Some(&user), Some(wish.clone())).await.status, 422);
    let join = json!({"username": "newcomer", "email": "n@example.org", "password": "long enough 1"});
    let answer = it.call("POST", "/api/user/register", None, Some(join.clone())).await;
    assert_eq!(answer.body["code"], "registration_closed");

    let back =
        sets(&it, &owner, 1, json!({"topup.min": null, "registration.mode": null, "topup.presets": null}))
            .await;
    assert_eq!(
        (&back.body["version"], &of(&back.body, "topup.min")["source"]),
        (&json!(2), &json!("default"))
    );
    assert_eq!(it.call("POST", "/api/user/topup", Some(&user), Some(wish)).await.status, 201);
    assert_eq!(it.call("POST", "/api/user/register", None, Some(join)).await.status, 201);
    // Nothing that changes nothing is a version.
    assert_eq!(sets(&it, &owner, 2, json!({"topup.min": null})).await.body["version"], 2);
    let versions = it.call("GET", "/api/admin/settings/versions?limit=1", Some(&owner), None).await.body;
    assert_eq!((&versions["items"][0]["version"], &versions["next_cursor"]), (&json!(2), &json!("2")));
    let older = it.call("GET", "/api/admin/settings/versions?cursor=2", Some(&owner), None).await.body;
    assert_eq!(older["items"][0]["options"]["topup.min"], "20");
}

#[tokio::test]
async fn what_the_file_could_not_say_cannot_be_set() {
    let it = gateway().await;
    let owner = it.token("own", Role::Owner).await;
    for (set, named) in [
        (json!({"topup.min": "0"}), "topup.min"),
        (json!({"topup.max": "0.5"}), "topup"),
        (json!({"topup.rates": {"USD": "1"}}), "topup.currency"),
        (json!({"topup.presets": [1_000_000]}), "topup"),
        (json!({"registration.mode": "anybody"}), "registration.mode"),
        (json!({"listen": "0.0.0.0:1"}), "listen"),
        (json!({"no.such": null}), "no.such"),
        (json!({"referral.reward": "-1"}), "referral.reward"),
    ] {
        let answer = sets(&it, &owner, 0, set.clone()).await;
        assert_eq!(answer.status, 422, "{set}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(named), "{set}: {}", answer.body);
    }
    let read = it.call("GET", "/api/admin/settings", Some(&owner), None).await.body;
    assert_eq!(read["version"], 0);
}

#[tokio::test]
async fn of_two_who_change_the_same_version_one_is_refused() {
    let it = gateway().await;
    let owner = it.token("own", Role::Owner).await;
    let tries = (0..6).map(|n| sets(&it, &owner, 0, json!({"site.name": format!("name {n}")})));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|it| it.status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|it| it.body["code"] == "settings_changed").count(), 5);
}

#[tokio::test]
async fn an_admin_does_not_widen_what_admins_may_move_alone() {
    let it = gateway().await;
    let (owner, admin) = (it.token("own", Role::Owner).await, it.token("root", Role::Admin).await);
    let widen = json!({"adjustments.approval_above": {"admin": "1000000"}});
    assert_eq!(sets(&it, &admin, 0, widen.clone()).await.status, 403);
    assert_eq!(sets(&it, &admin, 0, json!({"site.name": "Ours"})).await.status, 200);
    assert_eq!(sets(&it, &owner, 1, widen).await.status, 200);
    let site = it.call("GET", "/api/site", None, None).await.body;
    assert_eq!(site["name"], "Ours");
}

#[tokio::test]
async fn settings_that_do_not_go_with_the_file_stop_a_start_and_not_a_run() {
    let it = gateway().await;
    let owner = it.token("own", Role::Owner).await;
    assert_eq!(sets(&it, &owner, 0, json!({"topup.currency": "USD"})).await.status, 200);
    // Somebody takes the dollar out of the file.
    let file = "[topup.rates]\nCNY = \"7\"\n";
    let config = crate::config::Config::from_parts(file, []).unwrap();
    let fault = Live::try_new(Arc::new(config), it.app.directory.clone()).map(|_| ()).unwrap_err();
    assert!(fault.to_string().contains("topup.currency"), "{fault}");
    assert_eq!(it.app.live.now().topup.currency, "USD");
    // A version that this process cannot use leaves the last one that it could.
    let bad = serde_json::from_value(json!({"topup.currency": "XXX"})).unwrap();
    let by = crate::session::actor(domain::ActorKind::Admin, it.account_of(&owner).await);
    it.app.directory.put_options(1, &bad, by).await.unwrap().unwrap();
    assert_eq!(it.app.live.now().topup.currency, "USD");
}
