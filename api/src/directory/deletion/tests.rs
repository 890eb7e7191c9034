//! Erasing people, on SQLite in a temporary folder. The other databases are walked in the system tests.

use super::*;
use crate::directory::{
    key::{KeyStatus, KeyTerms},
    mail::MailKind,
    settings::{Language, Settings},
    user::{NewUser, User, UserFilter},
};
use crate::secrets::Sealer;
use domain::ActorKind;
use projections::Database;
use relay::limits::Limit;
use std::collections::BTreeSet;
use tempfile::TempDir;

struct Fixture {
    directory: Directory,
    db: Database,
    _folder: TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
    let db = Database::connect(&url).await.unwrap();
    db.migrate().await.unwrap();
    let directory = Directory::open(db.clone(), Sealer::new(&[1; 32])).await.unwrap();
    Fixture { directory, db, _folder: folder }
}

impl Fixture {
    async fn user(&self, username: &str, role: Role) -> User {
        let new = NewUser {
            username: username.into(),
            email: format!("{username}@example.org"),
            password_hash: "hash".into(),
            role,
            email_verified: true,
        };
        self.directory.create_user(new, None).await.unwrap()
    }

    async fn deletes(&self, user: &User, role: Option<Role>) -> Result<Deletion, DirectoryError> {
        let wish = NewDeletion {
            user: user.id,
            by: user.id,
            role,
            reason: String::new(),
            credits_in: Credits::ZERO,
        };
        self.directory.delete_user(wish, actor(user)).await
    }

    /// How many texts of the database hold this, whatever its case, by table.
    async fn traces(&self, of: &str) -> BTreeSet<String> {
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
        let mut found = BTreeSet::new();
        for table in self.db.fetch_all(tables, &[]).await.unwrap() {
            let table = table.text("name").unwrap();
            let columns = format!("SELECT name FROM pragma_table_info('{table}')");
            for column in self.db.fetch_all(&columns, &[]).await.unwrap() {
                let column = column.text("name").unwrap();
                let sql = format!("SELECT COUNT(*) AS n FROM {table} WHERE CAST({column} AS TEXT) LIKE ?");
                let like = format!("%{of}%");
                if self.db.fetch_one(&sql, &[like.into()]).await.unwrap().int("n").unwrap() > 0 {
                    found.insert(format!("{table}.{column}"));
                }
            }
        }
        found
    }
}

fn actor(user: &User) -> Actor {
    crate::session::actor(ActorKind::User, user.id)
}

#[tokio::test]
async fn nothing_that_names_a_person_is_left_and_their_id_is() {
    let it = fixture().await;
    it.user("boss", Role::Owner).await;
    let ann = it.user("Annabel", Role::User).await;
    let d = &it.directory;
    d.open_session_from(&ann, "Annabel's browser", "192.0.2.77").await.unwrap();
    d.put_settings(ann.id, &Settings::new(Language::Chinese)).await.unwrap();
    d.put_webhook(ann.id, "https://annabel.example/", actor(&ann)).await.unwrap();
    d.test_webhook(ann.id).await.unwrap();
    d.make_email_token(crate::directory::token::Purpose::Reset, &ann.id.to_string(), &ann.email)
        .await
        .unwrap();
    d.want_email(ann.id, "annabel@elsewhere.example", Language::English, actor(&ann)).await.unwrap();
    d.ask_for_mail(MailKind::Reset, "ANNABEL@example.org", Language::English).await.unwrap();
    d.ask_for_mail(MailKind::Reset, "annabel@example.org", Language::English).await.unwrap();
    let terms = KeyTerms {
        name: "annabel's laptop".into(),
        status: KeyStatus::Active,
        expires_at: None,
        models: None,
        ip_allow: vec!["192.0.2.77/32".parse().unwrap()],
        budget: None,
        limit: Limit::NONE,
    };
    let (_, secret) = d.create_key(ann.id, terms, actor(&ann)).await.unwrap();
    let hash = relay::key::lookup_hash(secret.expose()).unwrap();
    assert!(d.catalogue_handle().load().keys.contains_key(&hash));
    assert!(it.traces("annabel").await.len() > 5);

    let deleted = it.deletes(&ann, None).await.unwrap();
    assert!(!d.catalogue_handle().load().keys.contains_key(&hash), "at once");
    let mut left = it.traces("annabel").await;
    // Acts on their way to AUDIT tell of keys by name; and the last mail, which is forgotten when it has left.
    left.remove("audit_outbox.act");
    for column in ["details", "recipient"] {
        assert!(left.remove(&format!("mails.{column}")));
    }
    assert!(left.is_empty(), "{left:?}");
    assert!(it.traces("192.0.2.77").await.is_subset(&BTreeSet::from(["audit_outbox.act".to_owned()])));
    for mail in d.claim_mails(10).await.unwrap() {
        match d.letter(&mail, false).await.unwrap() {
            Some(letter) => {
                assert_eq!((mail.kind, letter.language), (MailKind::AccountDeleted, Language::Chinese));
                d.mail_sent(&mail, "subject", None).await.unwrap();
            }
            None => d.forget_mail(&mail).await.unwrap(),
        }
    }
    assert!(it.traces("annabel").await.is_subset(&BTreeSet::from(["audit_outbox.act".to_owned()])));

    let tomb = d.user(ann.id).await.unwrap().unwrap();
    assert_eq!(
        (tomb.role, tomb.status.as_str(), tomb.deleted_at),
        (Role::User, "disabled", Some(deleted.deleted_at))
    );
    assert_eq!(it.deletes(&ann, None).await.unwrap(), deleted, "repeated");
    let list = async |deleted| {
        let filter = UserFilter { deleted, limit: 10, ..UserFilter::default() };
        d.users(&filter).await.unwrap().len()
    };
    assert_eq!((list(false).await, list(true).await), (1, 1));
    // Their name and address are free, and the one who has them now is somebody else.
    let other = it.user("annabel", Role::User).await;
    assert_ne!(other.id, ann.id);
    let on = crate::directory::user::UserChange {
        status: Some(crate::directory::Status::Active),
        ..Default::default()
    };
    let refused = d.change_user(ann.id, on, actor(&other), Role::Owner).await;
    assert!(matches!(refused, Err(DirectoryError::NotAllowed(_))), "nobody comes back: {refused:?}");
}

#[tokio::test]
async fn the_last_owner_stays_and_nobody_deletes_whom_they_do_not_govern() {
    let it = fixture().await;
    let boss = it.user("boss", Role::Owner).await;
    assert!(matches!(it.deletes(&boss, None).await, Err(DirectoryError::LastOwner)));
    assert_eq!(it.directory.user(boss.id).await.unwrap().unwrap().username, "boss", "nothing was erased");
    let second = it.user("second", Role::Owner).await;
    it.deletes(&boss, None).await.unwrap();
    assert!(matches!(it.deletes(&second, None).await, Err(DirectoryError::LastOwner)));
    let (admin, ann) = (it.user("admin", Role::Admin).await, it.user("ann", Role::User).await);
    for (whom, role) in [
        (&second, Role::Admin),
        (&admin, Role::Admin),
        (&ann, Role::Support),
        (&ann, Role::Finance),
        (&ann, Role::User),
    ] {
        let refused = it.deletes(whom, Some(role)).await;
        assert!(matches!(refused, Err(DirectoryError::NotAllowed(_))), "{role}: {refused:?}");
    }
    it.deletes(&ann, Some(Role::Admin)).await.unwrap();
    it.deletes(&admin, Some(Role::Owner)).await.unwrap();
}

/// Whoever adds a table that says whose its rows are decides here what becomes of them when that person leaves.
#[tokio::test]
async fn every_table_of_a_person_is_erased_with_them_or_kept_for_a_reason() {
    // Money and its history know a person by id only; a key's row is emptied; the rest is about the deletion itself.
    const KEPT: [&str; 20] = [
        "account_deletions",
        "api_keys",
        "approvals",
        "billing_records",
        "chargebacks",
        "disputes",
        "imported_top_ups",
        "account_balances",
        "account_states",
        "leases",
        "payment_orders",
        "reconciliation_differences",
        "redemption_codes",
        "refund_calls",
        "outside_refunds",
        "refund_notices",
        "refunds",
        "top_up_bonuses",
        "top_up_orders",
        "usage_records",
    ];
    let it = fixture().await;
    let tables = "SELECT m.name AS name, c.name AS col FROM sqlite_schema m JOIN pragma_table_info(m.name) c \
                  WHERE m.type = 'table' AND c.name IN ('user_id', 'account', 'subject', 'subject_id', 'owner')";
    let erased: BTreeSet<&str> = PERSONAL.iter().map(|(table, _)| *table).collect();
    let mut found = BTreeSet::new();
    for row in it.db.fetch_all(tables, &[]).await.unwrap() {
        let (table, column) = (row.text("name").unwrap(), row.text("col").unwrap());
        let known = erased.contains(table.as_str()) || KEPT.contains(&table.as_str());
        let projected =
            matches!(table.as_str(), "usage_carried" | "usage_hourly" | "journal_entries" | "journal_daily");
        // A rate limit's subject is a key, a group or a provider; none of them is a person.
        let other = table == "rate_limits";
        assert!(known || projected || other, "{table}.{column}: is it erased with its person?");
        found.insert(table);
    }
    assert!(erased.iter().all(|table| found.contains(*table)), "{erased:?} {found:?}");
}
