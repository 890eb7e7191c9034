use super::*;
use crate::directory::{
    notice::{Choices, Ways},
    settings::{Language, Settings},
    user::Role,
};
use crate::http::tests::{Gateway, Node, gateway, lease, record};
use domain::account::event::GrantSource;
use domain::{AccountId, AdjustmentId, Command, Credits, GrantId, LeaseId};
use futures_util::future::join_all;
use uuid::Uuid;

fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

impl Gateway {
    async fn applied(&self, position: u64) {
        assert!(self.projector.wait_for(position, Duration::from_secs(20)).await);
    }

    /// Changes a balance by so much, up or down, and waits for the tables.
    async fn changes_by(&self, account: AccountId, difference: &str) {
        let difference = credits(difference);
        let command = match difference.is_positive() {
            true => Command::GrantCredit {
                grant: GrantId::from_uuid(Uuid::now_v7()),
                source: GrantSource::Admin,
                credits: difference,
                reason: None,
            },
            false => Command::PostAdjustment {
                adjustment: AdjustmentId::from_uuid(Uuid::now_v7()),
                credits: difference,
                reason: "a test".parse().unwrap(),
            },
        };
        let position = self.decides(account, command).await;
        self.applied(position).await;
    }

    async fn wants_alert(&self, account: AccountId, threshold: Option<&str>, ways: Ways) {
        let settings = Settings {
            low_balance_alert: threshold.map(credits),
            notifications: Choices { balance: ways, ..Choices::default() },
            ..Settings::new(Language::Chinese)
        };
        self.app.directory.put_settings(account, &settings).await.unwrap();
    }

    /// How many warnings are queued: mails, calls of webhooks.
    async fn warnings(&self) -> (i64, i64) {
        let count = async |sql| self.app.db.fetch_one(sql, &[]).await.unwrap().int("n").unwrap();
        (
            count("SELECT COUNT(*) AS n FROM mails WHERE kind = 'low-balance'").await,
            count("SELECT COUNT(*) AS n FROM webhook_deliveries WHERE event = 'balance.low'").await,
        )
    }

    async fn looks(&self) -> usize {
        look(&self.app.directory).await.unwrap()
    }
}

const BOTH: Ways = Ways { mail: true, webhook: true };

async fn ann() -> (Gateway, AccountId) {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    let ann = it.account_of(&token).await;
    let actor = crate::session::actor(domain::ActorKind::User, ann);
    it.app.directory.put_webhook(ann, "https://93.184.216.34/", actor).await.unwrap();
    (it, ann)
}

#[tokio::test]
async fn a_balance_that_falls_below_its_threshold_is_told_of_once_for_each_crossing() {
    let (it, ann) = ann().await;
    it.wants_alert(ann, Some("5"), BOTH).await;
    assert_eq!(it.looks().await, 0, "an account without events has no balance that could fall");
    it.changes_by(ann, "6").await;
    it.changes_by(ann, "-1").await;
    assert_eq!(it.looks().await, 0, "exactly at the threshold");
    it.changes_by(ann, "-0.000000001").await;
    // As many processes as you like look at the same moment.
    let crowd = join_all((0..10).map(|_| it.looks())).await;
    assert_eq!(crowd.iter().sum::<usize>(), 1, "{crowd:?}");
    it.changes_by(ann, "-1").await;
    assert_eq!((it.looks().await, it.warnings().await), (0, (1, 1)), "deeper is no other crossing");

    it.changes_by(ann, "1.000000001").await;
    assert_eq!(
        (it.looks().await, it.warnings().await),
        (0, (1, 1)),
        "back at the threshold: armed, not told"
    );
    it.changes_by(ann, "-2").await;
    assert_eq!((it.looks().await, it.warnings().await), (1, (2, 2)));
    let told = it.app.directory.deliveries(ann, None, 1).await.unwrap().remove(0);
    let body: serde_json::Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!((&body["type"], &body["account"]), (&"balance.low".into(), &ann.to_string().into()));
    assert_eq!(body["id"], told.id.to_string());
    assert_eq!((&body["data"]["balance"], &body["data"]["threshold"]), (&"3".into(), &"5".into()));
    let mail = it.app.directory.claim_mails(10).await.unwrap().remove(0);
    let letter = it.app.directory.letter(&mail, false).await.unwrap().unwrap();
    let words = crate::mail::words::write(&letter.matter, letter.language, &letter.username, "https://g/");
    assert!(words.subject == "您的余额不足" && words.text.contains("4.999999999"), "{words:?}");
}

#[tokio::test]
async fn another_threshold_is_another_crossing_and_the_same_one_is_not() {
    let (it, ann) = ann().await;
    it.changes_by(ann, "3").await;
    it.wants_alert(ann, Some("5"), BOTH).await;
    assert_eq!(it.looks().await, 1, "below what was set is told at once");
    it.wants_alert(ann, Some("5"), BOTH).await;
    assert_eq!(it.looks().await, 0, "settings that were stored again");
    it.wants_alert(ann, Some("4"), BOTH).await;
    assert_eq!(it.looks().await, 1);
    it.wants_alert(ann, None, BOTH).await;
    assert_eq!(it.looks().await, 0);
    it.wants_alert(ann, Some("4"), BOTH).await;
    assert_eq!(it.looks().await, 1);
}

#[tokio::test]
async fn what_leases_hold_rings_no_bell_and_what_calls_use_does() {
    let (it, ann) = ann().await;
    it.wants_alert(ann, Some("5"), BOTH).await;
    it.changes_by(ann, "10").await;
    let (mut node, first) = (Node::new(), LeaseId::from_uuid(Uuid::now_v7()));
    let position = it.decides(ann, lease(first, node.epoch, "8")).await;
    it.applied(position).await;
    assert_eq!(it.looks().await, 0, "2 are available, 10 are there");
    let position = node.reports(&it, vec![record(ann, first, 1, "5.5", "5.5")]).await;
    it.applied(position).await;
    assert_eq!((it.looks().await, it.warnings().await), (1, (1, 1)));
}

#[tokio::test]
async fn a_claim_is_not_made_on_a_balance_that_has_risen_meanwhile() {
    let (it, ann) = ann().await;
    it.wants_alert(ann, Some("5"), BOTH).await;
    it.changes_by(ann, "3").await;
    let crossings = it.app.directory.balance_crossings().await.unwrap();
    assert_eq!(crossings.len(), 1);
    it.changes_by(ann, "30").await;
    assert!(!it.app.directory.take_crossing(crossings[0]).await.unwrap());
    assert_eq!(it.warnings().await, (0, 0));
    it.changes_by(ann, "-30").await;
    assert_eq!(it.looks().await, 1, "the alert is still armed");
}

#[tokio::test]
async fn each_is_told_by_the_ways_they_chose_and_whoever_is_switched_off_by_none() {
    let (it, ann) = ann().await;
    let [mail, webhook] = [(true, false), (false, true)].map(|(mail, webhook)| Ways { mail, webhook });
    it.changes_by(ann, "3").await;
    it.wants_alert(ann, Some("5"), mail).await;
    assert_eq!((it.looks().await, it.warnings().await), (1, (1, 0)));
    it.wants_alert(ann, Some("6"), webhook).await;
    assert_eq!((it.looks().await, it.warnings().await), (1, (1, 1)));
    it.app.db.execute("UPDATE users SET status = 'disabled' WHERE username = 'ann'", &[]).await.unwrap();
    it.wants_alert(ann, Some("7"), BOTH).await;
    assert_eq!((it.looks().await, it.warnings().await), (0, (1, 1)));
}

#[tokio::test]
async fn the_watcher_sees_what_happens_and_what_was_set_while_nothing_does() {
    let (it, ann) = ann().await;
    let stop = CancellationToken::new();
    let watcher = tokio::spawn(keep_watching(it.app.directory.clone(), it.app.db.clone(), stop.clone()));
    it.wants_alert(ann, Some("5"), BOTH).await;
    it.changes_by(ann, "3").await;
    while it.warnings().await != (1, 1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    watcher.await.unwrap();
}
