//! The README's tour, as it is printed: its commands are taken from the page and run.

use domain::Credits;
use serde_json::Value;
use system_tests::{
    Gateway, credits,
    foreign::Llmock,
    gateway::ADMIN_PASSWORD,
    people::{log_in, text},
    place,
};

/// The commands of the tour: the blocks marked `sh`. Those marked `console` start what is running here already.
fn tour() -> String {
    let page = std::fs::read_to_string(place::repository().join("README.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_works_as_it_is_printed() {
    let (gateway, llmock) = tokio::join!(Gateway::start(), Llmock::start());
    let replacements = [
        ("http://127.0.0.1:3000", gateway.url().to_owned()),
        ("http://127.0.0.1:9000/v1", llmock.url()),
        ("target/quick/nexusroute", place::nexusroute().to_str().unwrap().to_owned()),
    ];
    let mut script = tour();
    for (printed, here) in replacements {
        assert!(script.contains(printed), "{printed} is not in the tour");
        script = script.replace(printed, &here);
    }
    // The tour's reader takes longer than a script: the last call must be in the tables before it is looked up.
    let pause = r#"for try in $(seq 100); do [ "$(call "$ANN" /api/user/usage | grep -o '"charge"' | wc -l)" = 2 ] && break; sleep 0.1; done"#;
    script = script.replacen("REQUEST=", &format!("{pause}\nREQUEST="), 1);
    let output = gateway.options().shell(&script, &[("ADMIN_PASSWORD", ADMIN_PASSWORD)]).await;

    for part in [r#""6.944444444""#, "[DONE]", "multiplier", "top_up_completed", "usage_reported"] {
        assert!(output.contains(part), "{part} is missing:\n{output}");
    }
    let ann = log_in(&gateway, "ann", "correct horse battery").await;
    let calls = ann.get("/api/user/usage").await.ok();
    let calls = calls["items"].as_array().unwrap();
    let charge = |call: &Value| credits(&call["charge"]);
    let charged = Credits::checked_sum(calls.iter().map(charge)).unwrap();
    assert_eq!(calls.len(), 2);
    assert!(charged.is_positive() && output.contains(&text(&calls[0]["charge"])), "{charged}\n{output}");
    let total = credits(&ann.get("/api/user/balance").await.ok()["total"]);
    assert_eq!(total.checked_add(charged).unwrap().to_string(), "6.944444444");
    gateway.stop().await;
}
