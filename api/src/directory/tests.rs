//! The directory on a real database: SQLite in a temporary folder.

use super::{
    Directory, DirectoryError, Status,
    group::Group,
    key::{BudgetPeriod, Key, KeyStatus, KeyTerms, MAX_KEYS},
    model::{MAX_OUTPUT_TOKENS, ModelChange},
    now,
    price_import::PriceImport,
    provider::{ApiFormat, NewProviderModel, PRESETS, Provider, ProviderTerms},
    session::{IDLE_MS, LIFE_MS},
    settings::Language,
    token::Purpose,
    user::{NewUser, Role, User, UserChange, UserFilter, check_email, check_username},
};
use crate::secrets::Sealer;
use domain::{AccountId, Actor, ActorKind, Credits, KeyId, Moment, Prices, price::PriceList};
use projections::Database;
use relay::{Catalogue, KeyStatus as GrantStatus, Secret};
use rust_decimal::Decimal;
use std::sync::Arc;
use tempfile::TempDir;
use uuid::Uuid;

struct Fixture {
    directory: Directory,
    db: Database,
    _folder: TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::connect(&format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display()))
        .await
        .unwrap();
    db.migrate().await.unwrap();
    let directory = Directory::open(db.clone(), Sealer::new(&[1; 32])).await.unwrap();
    Fixture { directory, db, _folder: folder }
}

impl Fixture {
    async fn user(&self, username: &str) -> User {
        self.try_user(username, &format!("{username}@example.org"), Role::User).await.unwrap()
    }

    async fn try_user(&self, username: &str, email: &str, role: Role) -> Result<User, DirectoryError> {
        let new = NewUser {
            username: username.into(),
            email: email.into(),
            password_hash: "hash".into(),
            role,
            email_verified: false,
        };
        self.directory.create_user(new, None).await
    }

    async fn provider(&self, name: &str, priority: i32, models: &[&str]) -> Provider {
        let terms = ProviderTerms {
            name: name.into(),
            base_url: "https://api.example.org/v1".into(),
            api_format: ApiFormat::OpenAi,
            status: Status::Active,
            priority,
            weight: 1,
            config: super::provider::ProviderConfig::default(),
        };
        let models = models.iter().map(|model| new_model(model)).collect();
        self.directory.create_provider(terms, &Secret::new("sk-upstream"), models, admin()).await.unwrap()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.directory.catalogue_handle().load_full()
    }

    fn price_now(&self, model: &str) -> Option<Decimal> {
        Some(self.catalogue().models[model].price.as_ref()?.prices.base.input)
    }

    async fn acts(&self) -> Vec<ledger::Act> {
        let rows = self.db.fetch_all("SELECT act FROM audit_outbox ORDER BY id", &[]).await.unwrap();
        rows.iter().map(|row| row.json("act").unwrap()).collect()
    }
}

fn admin() -> Actor {
    crate::session::actor(ActorKind::Admin, AccountId::from_uuid(Uuid::nil()))
}

fn new_model(name: &str) -> NewProviderModel {
    NewProviderModel {
        model_name: name.into(),
        upstream_name: format!("up/{name}"),
        display_name: None,
        cost: None,
    }
}

fn prices(input: i64) -> Prices {
    Prices::flat(PriceList::plain(Decimal::from(input), Decimal::from(input)))
}

fn terms(name: &str) -> KeyTerms {
    KeyTerms {
        name: name.into(),
        status: KeyStatus::Active,
        expires_at: None,
        models: None,
        ip_allow: Vec::new(),
        budget: None,
        limit: relay::limits::Limit::NONE,
    }
}

#[tokio::test]
async fn names_and_addresses_are_unique_whatever_their_case() {
    let it = fixture().await;
    it.try_user("Ann", "Ann@Example.org", Role::User).await.unwrap();
    for (username, email) in [("ann", "other@example.org"), ("other", "ANN@example.ORG")] {
        let refused = it.try_user(username, email, Role::User).await;
        assert!(matches!(refused, Err(DirectoryError::Taken(_))), "{username} {email}: {refused:?}");
    }
    for login in ["ANN", "ann@example.org"] {
        assert_eq!(it.directory.credentials(login).await.unwrap().unwrap().0.username, "Ann");
    }
    assert!(it.directory.credentials("nobody").await.unwrap().is_none());
}

#[test]
fn names_and_addresses_are_checked() {
    for name in ["ann", "A-1_b", &"x".repeat(32)] {
        assert!(check_username(name).is_ok(), "{name}");
    }
    for name in ["", "ab", &"x".repeat(33), "a b", "ann@b.c", "änn", "a.b", "ann\n"] {
        assert!(check_username(name).is_err(), "{name}");
    }
    for email in ["ann@example.org", "a.b+c@sub.example.org", "用户@例子.广告"] {
        assert!(check_email(email).is_ok(), "{email}");
    }
    let long = format!("{}@example.org", "x".repeat(65));
    for email in [
        "",
        "ann",
        "@example.org",
        "ann@",
        "ann@local",
        "a@b@c.d",
        "a b@c.d",
        "a@.d",
        "a@c..d",
        "<a@b.c>",
        &long,
    ] {
        assert!(check_email(email).is_err(), "{email}");
    }
}

#[tokio::test]
async fn a_session_ends_by_age_by_idleness_at_logout_and_with_its_user() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let at = now();
    let open = async || it.directory.open_session(&ann, "test").await.unwrap().token;

    let token = open().await;
    assert_eq!(it.directory.session_at(&token, at).await.unwrap().unwrap().user, ann.id);
    assert!(it.directory.session_at(&format!("{token}x"), at).await.unwrap().is_none());
    assert!(it.directory.session_at(&token, at.plus_ms(IDLE_MS + 60_000)).await.unwrap().is_none());
    // Used every six days it lives, until its greatest age.
    let day = 24 * 3600 * 1000;
    for days in [6, 12, 18, 24] {
        assert!(it.directory.session_at(&token, at.plus_ms(days * day)).await.unwrap().is_some(), "{days}");
    }
    assert!(it.directory.session_at(&token, at.plus_ms(LIFE_MS + 60_000)).await.unwrap().is_none());

    let token = open().await;
    let caller = it.directory.session(&token).await.unwrap().unwrap();
    it.directory.close_session(&caller.session).await.unwrap();
    assert!(it.directory.session(&token).await.unwrap().is_none());

    let (kept, other) = (open().await, open().await);
    let session = it.directory.session(&kept).await.unwrap().unwrap().session;
    // Somebody else, in a session of theirs, wanted the account to have their address.
    let theirs = "ann@elsewhere.example.org";
    it.directory.want_email(ann.id, theirs, Language::English, admin()).await.unwrap();
    let wanted = it.directory.make_email_token(Purpose::Verify, &ann.id.to_string(), theirs).await.unwrap();
    it.directory.set_password(ann.id, "new".into(), Some(&session), admin()).await.unwrap();
    let proven = it.directory.prove_email(wanted.expose(), false).await;
    assert!(matches!(proven, Err(DirectoryError::BadToken)), "{proven:?}");
    assert!(it.directory.session(&kept).await.unwrap().is_some());
    assert!(it.directory.session(&other).await.unwrap().is_none());

    let off = UserChange { status: Some(Status::Disabled), ..UserChange::default() };
    it.directory.change_user(ann.id, off, admin(), Role::Owner).await.unwrap();
    assert!(it.directory.session(&kept).await.unwrap().is_none());
    let tokens = it.db.fetch_all("SELECT id FROM sessions", &[]).await.unwrap();
    assert!(tokens.iter().all(|row| row.text("id").unwrap() != kept));
}

#[tokio::test]
async fn the_last_active_owner_stays_one() {
    let it = fixture().await;
    assert!(!it.directory.has_owner().await.unwrap());
    let first = it.try_user("first", "first@example.org", Role::Owner).await.unwrap();
    let demoted = || UserChange { role: Some(Role::User), ..UserChange::default() };
    let disabled = || UserChange { status: Some(Status::Disabled), ..UserChange::default() };
    for change in [demoted(), disabled()] {
        let refused = it.directory.change_user(first.id, change, admin(), Role::Owner).await;
        assert!(matches!(refused, Err(DirectoryError::LastOwner)));
    }
    assert_eq!(it.directory.user(first.id).await.unwrap().unwrap(), first);
    it.try_user("second", "second@example.org", Role::Owner).await.unwrap();
    assert_eq!(
        it.directory.change_user(first.id, demoted(), admin(), Role::Owner).await.unwrap().role,
        Role::User
    );
    assert!(it.directory.has_owner().await.unwrap());
}

#[tokio::test]
async fn nobody_makes_or_changes_whom_their_role_does_not_govern() {
    let it = fixture().await;
    let governed = |by| match by {
        Role::Owner => Role::ALL.to_vec(),
        Role::Admin => vec![Role::User, Role::Support, Role::Finance, Role::Auditor],
        Role::Support => vec![Role::User],
        Role::User | Role::Finance | Role::Auditor => Vec::new(),
    };
    it.try_user("the_boss", "boss@example.org", Role::Owner).await.unwrap();
    for (n, (by, was)) in Role::ALL.iter().flat_map(|by| Role::ALL.map(|was| (*by, was))).enumerate() {
        let name = format!("person{n}");
        let person = it.try_user(&name, &format!("{name}@example.org"), was).await.unwrap();
        let off = UserChange { status: Some(Status::Disabled), ..UserChange::default() };
        let changed = it.directory.change_user(person.id, off, admin(), by).await;
        assert_eq!(changed.is_ok(), governed(by).contains(&was), "{by} switches off a {was}");
        for is in Role::ALL.into_iter().filter(|is| *is != was) {
            let wanted = UserChange { role: Some(is), ..UserChange::default() };
            let changed = it.directory.change_user(person.id, wanted, admin(), by).await;
            let may = governed(by).contains(&was) && governed(by).contains(&is) && by != Role::Support;
            assert_eq!(changed.is_ok(), may, "{by} makes a {was} a {is}");
            if let Err(error) = changed {
                assert!(matches!(error, DirectoryError::NotAllowed(_)), "{error}");
                continue;
            }
            let back = UserChange { role: Some(was), ..UserChange::default() };
            it.directory.change_user(person.id, back, admin(), Role::Owner).await.unwrap();
        }
    }
    it.directory.put_group(&Group { name: "vip".into(), multiplier: Decimal::ZERO }, admin()).await.unwrap();
    let ann = it.user("ann").await;
    let vip = || UserChange { group: Some("vip".into()), ..UserChange::default() };
    let refused = it.directory.change_user(ann.id, vip(), admin(), Role::Support).await;
    assert!(matches!(refused, Err(DirectoryError::NotAllowed(_))), "a group is a price");
    it.directory.change_user(ann.id, vip(), admin(), Role::Admin).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_makes_the_first_active_admin_the_owner() {
    let it = fixture().await;
    let mut admins = Vec::new();
    for name in ["oldest", "older", "young"] {
        admins.push(it.try_user(name, &format!("{name}@example.org"), Role::Admin).await.unwrap());
    }
    let off = UserChange { status: Some(Status::Disabled), ..UserChange::default() };
    it.directory.change_user(admins[0].id, off, admin(), Role::Owner).await.unwrap();
    let migration = include_str!("../../../migrations/sqlite/0009_desk.sql");
    let promote = migration.split_once("UPDATE").unwrap().1.split_once(";").unwrap().0;
    it.db.execute(&format!("UPDATE{promote}"), &[]).await.unwrap();
    let mut roles = Vec::new();
    for admin in &admins {
        roles.push(it.directory.user(admin.id).await.unwrap().unwrap().role);
    }
    assert_eq!(roles, [Role::Admin, Role::Owner, Role::Admin]);
}

#[tokio::test]
async fn users_are_found_by_parts_and_paged() {
    let it = fixture().await;
    for name in ["ann_a", "annxa", "bob"] {
        it.user(name).await;
    }
    let find = async |q: Option<&str>, before, limit| {
        let filter = UserFilter { q: q.map(Into::into), before, limit, ..UserFilter::default() };
        let users = it.directory.users(&filter).await.unwrap();
        users.into_iter().map(|user| (user.username, user.id.uuid())).collect::<Vec<_>>()
    };
    let names = |users: Vec<(String, Uuid)>| users.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(find(Some("ANN_"), None, 10).await), ["ann_a"], "_ stands for itself");
    assert_eq!(names(find(Some("%"), None, 10).await), Vec::<String>::new(), "so does %");
    let first = find(None, None, 2).await;
    let rest = find(None, Some(first[1].1), 2).await;
    assert_eq!(names(first), ["bob", "annxa"]);
    assert_eq!(names(rest), ["ann_a"]);
}

#[tokio::test]
async fn a_key_is_in_the_catalogue_when_made_and_its_old_secret_is_not_when_rotated() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let (key, secret) = it.directory.create_key(ann.id, terms("one"), admin()).await.unwrap();
    let grant = |secret: &Secret| it.catalogue().keys.get(&relay::key::hash(secret.expose())).cloned();
    assert_eq!(grant(&secret).unwrap().key, key.id);
    assert_eq!(grant(&secret).unwrap().account, ann.id);

    let (rotated, new_secret) = it.directory.rotate_key(ann.id, key.id, 0, admin()).await.unwrap();
    assert_eq!(rotated.id, key.id);
    assert!(grant(&secret).is_none());
    assert_eq!(grant(&new_secret).unwrap().key, key.id);

    it.directory.delete_key(ann.id, key.id, admin()).await.unwrap();
    assert!(grant(&new_secret).is_none());
    assert!(matches!(it.directory.key(ann.id, key.id).await, Err(DirectoryError::NotFound("key"))));
    assert!(it.directory.keys(ann.id, None, 10).await.unwrap().is_empty());
    let stored = it.db.fetch_one("SELECT hash, prefix FROM api_keys", &[]).await.unwrap();
    assert!(!new_secret.expose().contains(&stored.text("hash").unwrap()));
    assert!(stored.text("prefix").unwrap().len() < 20);
}

#[tokio::test]
async fn a_keys_terms_reach_the_catalogue() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    it.directory
        .put_group(&Group { name: "vip".into(), multiplier: Decimal::new(5, 1) }, admin())
        .await
        .unwrap();
    let wanted = KeyTerms {
        expires_at: Some(now().plus_ms(1000)),
        models: Some(vec!["m".into()]),
        ip_allow: vec!["192.0.2.0/24".parse().unwrap()],
        budget: Some((Credits::from_nano(5), BudgetPeriod::Month)),
        ..terms("one")
    };
    let (key, secret) = it.directory.create_key(ann.id, wanted.clone(), admin()).await.unwrap();
    assert_eq!(it.directory.key(ann.id, key.id).await.unwrap().terms, wanted);
    let grant = || it.catalogue().keys[&relay::key::hash(secret.expose())].clone();
    assert_eq!(grant().expires_at, wanted.expires_at);
    assert_eq!(grant().models, wanted.models);
    assert_eq!(grant().ip_allow, wanted.ip_allow);
    assert_eq!(grant().budget.unwrap().credits, Credits::from_nano(5));
    assert_eq!(grant().multiplier, Decimal::ONE);

    let vip = UserChange { group: Some("vip".into()), ..UserChange::default() };
    it.directory.change_user(ann.id, vip, admin(), Role::Owner).await.unwrap();
    assert_eq!(grant().multiplier, Decimal::new(5, 1));
    let nowhere = UserChange { group: Some("nowhere".into()), ..UserChange::default() };
    let refused = it.directory.change_user(ann.id, nowhere, admin(), Role::Owner).await;
    assert!(matches!(refused, Err(DirectoryError::NotFound("group"))));

    let edit = |terms: &mut KeyTerms| {
        terms.status = KeyStatus::Disabled;
        terms.expires_at = Some(Moment::from_micros(1));
        terms.budget = None;
    };
    it.directory.change_key(ann.id, key.id, edit, admin()).await.unwrap();
    assert_eq!(grant().status, GrantStatus::Disabled);
    assert_eq!(grant().expires_at, Some(Moment::from_micros(1)));
    assert!(grant().budget.is_none());

    let off = UserChange { status: Some(Status::Disabled), ..UserChange::default() };
    it.directory.change_user(ann.id, off, admin(), Role::Owner).await.unwrap();
    assert_eq!(grant().status, GrantStatus::OwnerDisabled);
}

#[tokio::test]
async fn a_key_is_only_its_owners() {
    let it = fixture().await;
    let (ann, bob) = (it.user("ann").await, it.user("bob").await);
    let (key, secret) = it.directory.create_key(ann.id, terms("one"), admin()).await.unwrap();
    let missing =
        |result: Result<Key, DirectoryError>| matches!(result, Err(DirectoryError::NotFound("key")));
    assert!(missing(it.directory.key(bob.id, key.id).await));
    assert!(missing(it.directory.rotate_key(bob.id, key.id, 0, admin()).await.map(|(key, _)| key)));
    assert!(missing(it.directory.change_key(bob.id, key.id, |_| (), admin()).await));
    let deleted = it.directory.delete_key(bob.id, key.id, admin()).await;
    assert!(matches!(deleted, Err(DirectoryError::NotFound("key"))));
    assert!(it.catalogue().keys.contains_key(&relay::key::hash(secret.expose())));
    assert!(it.directory.keys(bob.id, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_are_paged_newest_first_and_bounded() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    for n in 0..MAX_KEYS {
        it.directory.create_key(ann.id, terms(&n.to_string()), admin()).await.unwrap();
    }
    let refused = it.directory.create_key(ann.id, terms("more"), admin()).await;
    assert!(matches!(refused, Err(DirectoryError::TooMany { what: "keys", .. })));
    let page = it.directory.keys(ann.id, None, 2).await.unwrap();
    let next = it.directory.keys(ann.id, Some(page[1].id.uuid()), 1).await.unwrap();
    let names = page.iter().chain(&next).map(|key| key.terms.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["99", "98", "97"]);
}

#[tokio::test]
async fn the_price_in_force_is_the_newest_whose_time_has_come() {
    let it = fixture().await;
    it.provider("p", 0, &["m"]).await;
    assert_eq!(it.price_now("m"), None, "a model without a price cannot be called");
    it.directory.publish_price("m", prices(1), None, admin()).await.unwrap();
    assert_eq!(it.price_now("m"), Some(Decimal::ONE));
    let at = now();
    let later = it.directory.publish_price("m", prices(2), Some(at.plus_ms(60_000)), admin()).await.unwrap();
    assert_eq!(it.price_now("m"), Some(Decimal::ONE));

    let (catalogue, due) = it.directory.load_catalogue(at.plus_ms(59_999)).await.unwrap();
    assert_eq!(catalogue.models["m"].price.as_ref().unwrap().prices, prices(1));
    assert_eq!(due, Some(later.effective_from));
    let (catalogue, due) = it.directory.load_catalogue(later.effective_from).await.unwrap();
    assert_eq!(catalogue.models["m"].price.as_ref().unwrap().version, later.id);
    assert_eq!(due, None);

    // Published later but for now: it holds until the planned one begins.
    it.directory.publish_price("m", prices(3), None, admin()).await.unwrap();
    assert_eq!(it.price_now("m"), Some(Decimal::from(3)));
    let (catalogue, _) = it.directory.load_catalogue(later.effective_from).await.unwrap();
    assert_eq!(catalogue.models["m"].price.as_ref().unwrap().version, later.id);
    let versions = it.directory.price_versions(Some("m"), None, 10).await.unwrap();
    assert_eq!(
        versions.iter().map(|it| it.prices.clone()).collect::<Vec<_>>(),
        [prices(3), prices(2), prices(1)]
    );

    let refused = it.directory.publish_price("unknown", prices(1), None, admin()).await;
    assert!(matches!(refused, Err(DirectoryError::NotFound("model"))));
}

#[tokio::test]
async fn a_price_begins_by_itself() {
    let it = fixture().await;
    it.provider("p", 0, &["m"]).await;
    let soon = now().plus_ms(50);
    it.directory.publish_price("m", prices(1), Some(soon), admin()).await.unwrap();
    while now() < soon {
        tokio::task::yield_now().await;
    }
    it.directory.refresh().await.unwrap();
    assert_eq!(it.price_now("m"), Some(Decimal::ONE));
}

#[tokio::test]
async fn a_damaged_price_is_no_price() {
    let it = fixture().await;
    it.provider("p", 0, &["m"]).await;
    it.directory.publish_price("m", prices(1), None, admin()).await.unwrap();
    it.directory.publish_price("m", prices(2), None, admin()).await.unwrap();
    let damage = "UPDATE price_versions SET prices = '{}' WHERE prices LIKE '%\"2\"%'";
    assert_eq!(it.db.execute(damage, &[]).await.unwrap(), 1);
    it.directory.reload().await.unwrap();
    assert_eq!(it.price_now("m"), None);
}

#[tokio::test]
async fn routes_are_sorted_by_priority_and_switched_off_ones_left_out() {
    let it = fixture().await;
    let low = it.provider("a-low", 1, &["m"]).await;
    let high = it.provider("z-high", 5, &["m"]).await;
    let names =
        || it.catalogue().models["m"].routes.iter().map(|it| it.provider.to_string()).collect::<Vec<_>>();
    assert_eq!(names(), ["z-high", "a-low"]);
    let route = it.catalogue().models["m"].routes[0].clone();
    assert_eq!(route.keys[0].secret.expose(), "sk-upstream");
    assert_eq!(route.upstream_model.as_str(), "up/m");

    let off = |terms: &mut ProviderTerms| terms.status = Status::Disabled;
    it.directory.change_provider(high.id, off, None, admin()).await.unwrap();
    assert_eq!(names(), ["a-low"]);
    let key = Secret::new("sk-new");
    it.directory.change_provider(low.id, |_| (), Some(&key), admin()).await.unwrap();
    assert_eq!(it.catalogue().models["m"].routes[0].keys[0].secret.expose(), "sk-new");
    it.directory.delete_provider_model(low.id, "m", admin()).await.unwrap();
    assert!(it.catalogue().models["m"].routes.is_empty());
    it.directory.delete_provider(low.id, admin()).await.unwrap();
    assert!(matches!(it.directory.provider(low.id).await, Err(DirectoryError::NotFound("provider"))));

    let off = ModelChange { status: Some(Status::Disabled), ..ModelChange::default() };
    it.directory.change_model("m", off, admin()).await.unwrap();
    assert!(!it.catalogue().models.contains_key("m"));
}

#[tokio::test]
async fn a_provider_under_another_master_key_takes_out_only_itself() {
    let it = fixture().await;
    it.provider("p", 0, &["m"]).await;
    let other = Directory::open(it.db.clone(), Sealer::new(&[2; 32])).await.unwrap();
    let catalogue = other.catalogue_handle().load_full();
    assert!(catalogue.models["m"].routes.is_empty());
    let stored = it.db.fetch_one("SELECT api_key_sealed FROM providers", &[]).await.unwrap();
    assert!(!stored.text("api_key_sealed").unwrap().contains("upstream"));
}

#[tokio::test]
async fn a_rotated_secret_works_as_long_as_its_owner_asked_and_only_one_of_them() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let (key, first) = it.directory.create_key(ann.id, terms("one"), admin()).await.unwrap();
    let grant = |secret: &Secret| it.catalogue().keys.get(&relay::key::hash(secret.expose())).cloned();
    let began = now();
    let (rotated, second) = it.directory.rotate_key(ann.id, key.id, 60_000, admin()).await.unwrap();
    let until = rotated.previous_until.unwrap();
    assert!(until >= began.plus_ms(60_000) && until <= now().plus_ms(60_000));
    assert_eq!(grant(&first).unwrap().expires_at, Some(until));
    assert_eq!((grant(&second).unwrap().expires_at, grant(&second).unwrap().key), (None, key.id));
    assert_eq!(it.directory.key(ann.id, key.id).await.unwrap().previous_until, Some(until));
    // The key's own end counts for both; what is done to the key is done to both secrets.
    let end = now().plus_ms(1_000);
    let edit = |terms: &mut KeyTerms| {
        terms.expires_at = Some(end);
        terms.status = KeyStatus::Disabled;
    };
    it.directory.change_key(ann.id, key.id, edit, admin()).await.unwrap();
    for secret in [&first, &second] {
        let grant = grant(secret).unwrap();
        assert_eq!((grant.expires_at, grant.status), (Some(end), GrantStatus::Disabled));
    }
    let (_, third) = it.directory.rotate_key(ann.id, key.id, 60_000, admin()).await.unwrap();
    assert!(grant(&first).is_none() && grant(&second).is_some() && grant(&third).is_some());
    let (_, fourth) = it.directory.rotate_key(ann.id, key.id, 0, admin()).await.unwrap();
    assert!(grant(&second).is_none() && grant(&third).is_none() && grant(&fourth).is_some());
    // What is past opens nothing, though its row still names it.
    let (_, fifth) = it.directory.rotate_key(ann.id, key.id, 60_000, admin()).await.unwrap();
    let past = now().plus_ms(-1);
    it.db.execute("UPDATE api_keys SET previous_until = ?", &[past.into()]).await.unwrap();
    it.directory.reload().await.unwrap();
    assert!(grant(&fourth).is_none() && grant(&fifth).is_some());
    assert_eq!(it.directory.key(ann.id, key.id).await.unwrap().previous_until, None);
}

#[tokio::test]
async fn a_leaked_secret_never_works_again() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let (key, first) = it.directory.create_key(ann.id, terms("one"), admin()).await.unwrap();
    let (other, kept) = it.directory.create_key(ann.id, terms("other"), admin()).await.unwrap();
    let grant = |secret: &Secret| it.catalogue().keys.get(&relay::key::hash(secret.expose())).cloned();
    let leaks = async |secret: &Secret| {
        it.directory.revoke_leaked(relay::key::hash(secret.expose())).await.unwrap();
    };
    let shown = async || it.directory.key(ann.id, key.id).await.unwrap();
    let revision = it.directory.revision().await.unwrap();
    it.directory.revoke_leaked([7; 32]).await.unwrap();
    assert_eq!(it.directory.revision().await.unwrap(), revision, "a stranger's guess makes nobody read anew");

    let (_, second) = it.directory.rotate_key(ann.id, key.id, 60_000, admin()).await.unwrap();
    leaks(&first).await;
    assert!(grant(&first).is_none(), "the former one ends before its time");
    assert_eq!(grant(&second).unwrap().status, GrantStatus::Active, "and the present one goes on");
    assert!(shown().await.leaked_at.is_some());

    leaks(&second).await;
    leaks(&second).await;
    assert!(grant(&second).is_none());
    assert_eq!(shown().await.terms.status, KeyStatus::Disabled);
    let on = |terms: &mut KeyTerms| terms.status = KeyStatus::Active;
    it.directory.change_key(ann.id, key.id, on, admin()).await.unwrap();
    assert!(grant(&second).is_none(), "switching the key on does not bring the secret back");
    let (rotated, third) = it.directory.rotate_key(ann.id, key.id, 60_000, admin()).await.unwrap();
    assert_eq!((grant(&third).unwrap().key, rotated.leaked_at), (key.id, None));
    assert_eq!(grant(&kept).unwrap().key, other.id);
    let acts = it.acts().await;
    let told: Vec<_> = acts.iter().filter(|act| act.act == "key.revoke_leaked").collect();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].after, Some(serde_json::json!({"owner": ann.id, "secret": "former"})));
    let json = serde_json::to_string(&acts).unwrap();
    assert!(!json.contains(first.expose()) && !json.contains(second.expose()));
}

#[tokio::test]
async fn the_last_use_of_a_key_is_seen_at_once_here_and_written_for_others() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let (key, secret) = it.directory.create_key(ann.id, terms("one"), admin()).await.unwrap();
    let other = Directory::open(it.db.clone(), Sealer::new(&[1; 32])).await.unwrap();
    let used = async |directory: &Directory| directory.key(ann.id, key.id).await.unwrap().last_used_at;
    assert_eq!(used(&it.directory).await, None);
    let uses = |secret: &Secret, at: Moment| {
        it.catalogue().keys[&relay::key::hash(secret.expose())].last_use.note(at);
    };
    let first = now();
    uses(&secret, first);
    assert_eq!((used(&it.directory).await, used(&other).await), (Some(first), None));
    it.directory.write_last_uses().await.unwrap();
    assert_eq!(used(&other).await, Some(first));
    // Another secret of the key, and another catalogue, note it in the same place.
    let (_, second) = it.directory.rotate_key(ann.id, key.id, 60_000, admin()).await.unwrap();
    let later = first.plus_ms(20_000);
    uses(&second, later);
    uses(&secret, later.plus_ms(1));
    assert_eq!(used(&it.directory).await, Some(later), "close to the last one: not noted");
    it.directory.write_last_uses().await.unwrap();
    assert_eq!(used(&other).await, Some(later));
    // A process that saw only an earlier use does not turn it back.
    other.refresh().await.unwrap();
    other.catalogue_handle().load().keys[&relay::key::hash(second.expose())].last_use.note(first);
    other.write_last_uses().await.unwrap();
    assert_eq!(used(&it.directory).await, Some(later));
}

#[tokio::test]
async fn another_process_sees_a_change_at_its_next_look() {
    let it = fixture().await;
    let other = Directory::open(it.db.clone(), Sealer::new(&[1; 32])).await.unwrap();
    let before = other.catalogue_handle().load_full();
    other.refresh().await.unwrap();
    assert!(Arc::ptr_eq(&before, &other.catalogue_handle().load_full()), "nothing changed: nothing is read");
    let ann = it.user("ann").await;
    it.directory.create_key(ann.id, terms("one"), admin()).await.unwrap();
    other.refresh().await.unwrap();
    assert_eq!(other.catalogue_handle().load().keys.len(), 1);
}

#[tokio::test]
async fn every_write_is_an_act_without_secrets() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let (key, secret) = it.directory.create_key(ann.id, terms("one"), admin()).await.unwrap();
    it.directory.rotate_key(ann.id, key.id, 0, admin()).await.unwrap();
    let provider = it.provider("p", 0, &["m"]).await;
    let new_key = Secret::new("sk-other");
    let rename = |terms: &mut ProviderTerms| terms.name = "q".into();
    it.directory.change_provider(provider.id, rename, Some(&new_key), admin()).await.unwrap();
    it.directory.publish_price("m", prices(1), None, admin()).await.unwrap();
    it.directory.put_group(&Group { name: "g".into(), multiplier: Decimal::ONE }, admin()).await.unwrap();
    it.directory.set_password(ann.id, "argon".into(), None, admin()).await.unwrap();
    let acts = it.acts().await;
    let names = acts.iter().map(|act| act.act.as_str()).collect::<Vec<_>>();
    let expected = [
        "key.create",
        "key.rotate",
        "provider.create",
        "provider.change",
        "price.publish",
        "group.put",
        "user.set_password",
    ];
    assert_eq!(names, expected);
    let told = serde_json::to_string(&acts).unwrap();
    for word in [secret.expose(), "sk-upstream", "sk-other", "argon", "example.org\"", "ann@"] {
        assert!(!told.replace("api.example.org/v1", "").contains(word), "{word}");
    }
    let change = &acts[3];
    assert_eq!(change.before.as_ref().unwrap()["name"], "p");
    assert_eq!(change.after.as_ref().unwrap()["name"], "q");
    assert_eq!(change.after.as_ref().unwrap()["api_key_changed"], true);
}

#[tokio::test]
async fn a_refused_change_leaves_no_act_and_no_new_revision() {
    let it = fixture().await;
    it.provider("p", 0, &[]).await;
    let (acts, revision) = (it.acts().await.len(), it.directory.revision().await.unwrap());
    let terms = it.directory.providers().await.unwrap().remove(0).terms;
    let again = it.directory.create_provider(terms, &Secret::new("sk"), vec![new_model("m")], admin()).await;
    assert!(matches!(again, Err(DirectoryError::Taken(_))));
    let nobody = it
        .directory
        .delete_key(AccountId::from_uuid(Uuid::nil()), KeyId::from_uuid(Uuid::nil()), admin())
        .await;
    assert!(matches!(nobody, Err(DirectoryError::NotFound("key"))));
    assert_eq!((it.acts().await.len(), it.directory.revision().await.unwrap()), (acts, revision));
    assert!(it.directory.models().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_import_is_whole_or_not_at_all_and_keeps_what_a_model_is_called() {
    let it = fixture().await;
    let provider = it.provider("p", 0, &["old"]).await;
    let import = |model: &str| PriceImport {
        entry: format!("catalogue/{model}"),
        model: model.into(),
        multiplier: Decimal::TWO,
        prices: prices(6),
        cost: prices(3),
        upstream_name: "their-name".into(),
        max_output_tokens: Some(77),
    };
    let (before, acts) = (it.directory.revision().await.unwrap(), it.acts().await.len());
    let both = || vec![import("old"), import("new")];
    for (costs_for, missing) in [(None, "model"), (Some(Uuid::nil()), "provider")] {
        let refused = it.directory.import_prices(both(), None, costs_for, admin()).await;
        assert!(matches!(refused, Err(DirectoryError::NotFound(what)) if what == missing), "{refused:?}");
    }
    assert_eq!((it.directory.revision().await.unwrap(), it.acts().await.len()), (before, acts));
    assert_eq!(it.directory.price_versions(None, None, 10).await.unwrap(), []);

    let done = it.directory.import_prices(both(), None, Some(provider.id), admin()).await.unwrap();
    assert_eq!(done.iter().map(|it| it.is_new_model).collect::<Vec<_>>(), [false, true]);
    assert_eq!((it.price_now("old"), it.price_now("new")), (Some(6.into()), Some(6.into())));
    let served = it.directory.provider_models(provider.id).await.unwrap();
    let served: Vec<_> = served.iter().map(|it| (it.upstream_name.as_str(), it.cost.clone())).collect();
    assert_eq!(served, [("their-name", Some(prices(3))), ("up/old", Some(prices(3)))]);
    let caps = it.directory.models().await.unwrap();
    assert_eq!(caps.iter().map(|it| it.max_output_tokens).collect::<Vec<_>>(), [77, MAX_OUTPUT_TOKENS]);
    let told: Vec<_> = it.acts().await.split_off(acts).into_iter().map(|act| act.act).collect();
    assert_eq!(told, ["provider.put_model", "price.publish", "provider.put_model", "price.publish"]);
}

#[tokio::test]
async fn a_setting_is_read_back() {
    let it = fixture().await;
    assert_eq!(it.directory.setting("a").await.unwrap(), None);
    for value in ["1", "2"] {
        it.directory.set_setting("a", value).await.unwrap();
        assert_eq!(it.directory.setting("a").await.unwrap().as_deref(), Some(value));
    }
}

#[test]
fn the_built_in_preset_is_antinomy() {
    let preset = PRESETS.iter().find(|it| it.preset == "antinomy").unwrap();
    assert_eq!((preset.name, preset.base_url), ("Antinomy AI", "https://antinomy.ai/api/v1"));
    assert_eq!(preset.models.len(), 7);
}

#[tokio::test]
async fn passwords_cost_what_imported_ones_do_until_the_last_of_them_is_gone() {
    use super::import::{ImportSource, ImportedUser};
    let it = fixture().await;
    let imported = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let user = ImportedUser {
        source_id: "1".into(),
        id: AccountId::from_uuid(Uuid::from_u128(1)),
        username: "ann".into(),
        email: "ann@example.org".into(),
        email_verified: false,
        password_hash: imported.into(),
        role: Role::User,
        status: Status::Active,
        group: "default".into(),
        created_at: None,
        quota: 5,
        credits: Credits::from_nano(10_000),
    };
    let source = ImportSource {
        source: "old".into(),
        kind: "new-api".into(),
        fingerprint: "f".into(),
        quota_per_credit: 500_000,
    };
    let cost = it.directory.imported_cost();
    assert_eq!(cost.get(), None);
    let users = [user];
    it.directory.begin_import(&source, &users, admin()).await.unwrap();
    assert_eq!(cost.get(), Some(5), "before the first of them can be tried");
    it.directory.import_users("old", &users).await.unwrap();
    let again = it.directory.import_users("old", &users).await;
    assert!(matches!(again, Err(DirectoryError::Taken(_))), "a row is imported once");
    it.directory.begin_import(&source, &[], admin()).await.unwrap();
    it.directory.forget_imported_cost().await.unwrap();
    assert_eq!(cost.get(), Some(5));

    // Only the hash that was checked is replaced.
    let (id, hash) = (users[0].id, async || it.directory.password_hash(users[0].id).await.unwrap().unwrap());
    it.directory.upgrade_password(id, "another", "$argon2id$new").await.unwrap();
    assert_eq!(hash().await, imported);
    it.directory.upgrade_password(id, imported, "$argon2id$new").await.unwrap();
    assert_eq!(hash().await, "$argon2id$new");
    it.directory.forget_imported_cost().await.unwrap();
    assert_eq!(cost.get(), None);

    let present = super::import::present(&it.db, "old").await.unwrap();
    let mapped = &present.mapped[&("user".to_owned(), "1".to_owned())];
    assert_eq!((mapped.quota, mapped.credits), (5, Credits::from_nano(10_000)));
    assert_eq!(present.source, Some(source));
    assert!(!present.has_operator && present.usernames.contains("ann"));
}
