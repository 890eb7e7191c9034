//! The projected tables: compared with the log and made anew from outside, while the gateway serves.

use serde_json::{Value, json};
use std::process::Output;
use system_tests::{
    Behaviour, FakeProvider, GatewayOptions, credits,
    people::{Caller, Operator, User},
};

const MODEL: &str = "projected-model";

fn json_of(output: &Output) -> Value {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON:\n{out}\n{err}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_rebuilt_beside_a_gateway_that_goes_on_serving() {
    let provider = FakeProvider::start(Behaviour::default()).await;
    let options = GatewayOptions::default();
    let gateway = options.start().await;
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let user = User::with_credits(&gateway, &operator, "5").await;
    let caller = Caller::new(&gateway, &user.makes_key().await);
    caller.chat(MODEL, 20).await.ok();

    let rebuilding = async {
        for _ in 0..3 {
            let report = json_of(&options.run(&["projections", "rebuild", "--json"]).await);
            assert_eq!(report["outcome"], "swapped", "{report}");
        }
    };
    let calling = async {
        for _ in 0..20 {
            caller.chat(MODEL, 20).await.ok();
        }
    };
    tokio::join!(rebuilding, calling);
    user.until_total(credits(&json!("4.58"))).await;
    let status = json_of(&options.run(&["projections", "status", "--checksum", "--json"]).await);
    assert_eq!((&status["halted"], &status["lag"]), (&Value::Null, &json!(0)), "{status}");
    let table = |name: &str| {
        status["tables"].as_array().unwrap().iter().find(|it| it["table"] == name).unwrap().clone()
    };
    assert_eq!(table("usage_records")["rows"], 21);
    assert_eq!(table("usage_records")["sha256"].as_str().unwrap().len(), 64);
    let shown = options.run(&["projections", "status"]).await;
    assert!(String::from_utf8_lossy(&shown.stdout).contains("halted    no"), "{shown:?}");

    // Somebody edits a balance. The comparison names it and leaves it; told to, the rebuild puts it right.
    let edit = "import os, sqlite3; db = sqlite3.connect(os.environ['FILE'], timeout=10)
db.execute('UPDATE account_balances SET used = used - 1000000000'); db.commit()";
    let file = options.data().join("nexusroute.db");
    let file = file.to_str().unwrap();
    options.shell("python3 -c \"$EDIT\"", &[("EDIT", edit), ("FILE", file)]).await;
    assert_eq!(user.balance().await.total, credits(&json!("5.58")));
    for arguments in [&["projections", "rebuild", "--dry-run"][..], &["projections", "rebuild"]] {
        let output = options.run(arguments).await;
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("used is \"-580000000\", should be \"420000000\""), "{said}");
    }
    assert_eq!(user.balance().await.total, credits(&json!("5.58")));
    let output = options.run(&["projections", "rebuild", "--replace"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(user.balance().await.total, credits(&json!("4.58")));
    caller.chat(MODEL, 20).await.ok();
    user.until_total(credits(&json!("4.56"))).await;
    gateway.stop().await;

    // Also without a gateway.
    let report = json_of(&options.run(&["projections", "rebuild", "--json"]).await);
    assert_eq!(report["outcome"], "swapped", "{report}");
}
