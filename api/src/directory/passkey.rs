//! Passkeys: keys of WebAuthn with which an authenticator signs after it has recognised its user. Both factors in one.
//!
//! For: the two ceremonies, registration and login, by `webauthn_rp`, and the table of passkeys.
//! May not touch: who may ask for a ceremony (that is the edge's).
//! Claims: only a passkey that its authenticator can find by itself (discoverable) and whose user it has verified is taken, at
//! both ceremonies; a ceremony is for this gateway's own name and origin, is answered once and within five minutes, at
//! whichever process; a counter that fell is noted on the passkey and on AUDIT, for the key may have been copied.

use super::{
    Directory, DirectoryError, act, corrupt,
    imported_password::NO_PASSWORD,
    notice::{self, LoginChange, Notice},
    now,
    second_factor::{
        challenge::{self, ChallengeKind, NewChallenge},
        factors, first_codes, last_codes, lock,
    },
    user::{User, user},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{AccountId, ActorKind, Moment};
use projections::{Row, Tx, Value};
use relay::Secret;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{borrow::Cow, net::IpAddr};
use webauthn_rp::{
    AuthenticatedCredential, DiscoverableAuthentication16, DiscoverableAuthenticationServerState,
    DiscoverableCredentialRequestOptions, PublicKeyCredentialCreationOptions, Registration,
    RegistrationServerState,
    bin::{Decode, Encode},
    request::{
        AsciiDomain, PublicKeyCredentialDescriptor, RpId,
        auth::{AuthenticationVerificationOptions, SignatureCounterEnforcement},
        register::{PublicKeyCredentialUserEntity, RegistrationVerificationOptions, UserHandle, Username},
    },
    response::{
        AuthTransports, CredentialId, Origin,
        auth::error::AuthCeremonyErr,
        register::{CompressedPubKey, DynamicState, StaticState},
    },
};

/// How many a user may have.
pub const MAX_PASSKEYS: i64 = 20;

/// Bytes of a user's handle: their id.
const HANDLE: usize = 16;
type Static = StaticState<CompressedPubKey<[u8; 32], [u8; 32], [u8; 48], Vec<u8>>>;

/// This gateway, as authenticators know it.
#[derive(Debug)]
pub struct RelyingParty {
    id: RpId,
    origins: Vec<Origin<'static>>,
}

impl RelyingParty {
    /// By the address that browsers reach us under; `None`: passkeys need a name, and that one has an IP address. Where the address
    /// is loopback's, the name is `localhost`.
    pub fn of(public_url: &str) -> Option<Self> {
        let (scheme, rest) = public_url.split_once("://")?;
        let authority = rest.split('/').next()?;
        // An IPv6 address has colons of its own, and no name has any.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (authority, None),
        };
        let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let name = match address {
            None => host,
            Some(address) if address.is_loopback() => "localhost",
            Some(_) => return None,
        };
        let id = RpId::Domain(AsciiDomain::try_from(name.to_owned()).ok()?);
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let origin = format!("{scheme}://{}{port}", name.to_ascii_lowercase());
        Some(Self { id, origins: vec![Origin(Cow::Owned(origin))] })
    }
}

/// A passkey, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Passkey {
    /// Its id: a hash of the credential's.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// When it was last used.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Moment>,
    /// When its counter last fell, as it does where there are two copies; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub regressed_at: Option<Moment>,
}

fn passkey(row: &Row) -> Result<Passkey, DirectoryError> {
    Ok(Passkey {
        id: row.text("id")?,
        name: row.text("name")?,
        created_at: row.moment("created_at")?,
        last_used_at: row.opt_moment("last_used_at")?,
        regressed_at: row.opt_moment("regressed_at")?,
    })
}

/// 1 to 100 characters without control characters or spaces around them.
pub fn check_passkey_name(name: &str) -> Result<(), &'static str> {
    let fits = (1..=100).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err("must be 1 to 100 characters without spaces around them") }
}

/// What was asked of an authenticator.
#[derive(Debug)]
pub struct Ceremony {
    /// The token that comes back with the answer.
    pub challenge: NewChallenge,
    /// What a browser reads with `parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`.
    pub options: serde_json::Value,
}

fn refused(fault: impl std::fmt::Display) -> DirectoryError {
    DirectoryError::BadPasskey(fault.to_string())
}

fn handle(user: AccountId) -> UserHandle<HANDLE> {
    let Ok(handle) = UserHandle::decode(user.uuid().into_bytes());
    handle
}

/// The id of a passkey's row.
fn row_id(credential: &[u8]) -> String {
    hex::encode(Sha256::digest(credential))
}

fn unpack(row: &Row, column: &'static str) -> Result<Vec<u8>, DirectoryError> {
    URL_SAFE_NO_PAD.decode(row.text(column)?).map_err(|error| corrupt(format!("passkeys.{column}"), error))
}

impl Directory {
    /// Asks an authenticator for a new passkey of a user, other than those that they have.
    pub async fn begin_passkey(&self, of: AccountId, rp: &RelyingParty) -> Result<Ceremony, DirectoryError> {
        let username = self.user(of).await?.ok_or(DirectoryError::NotFound("user"))?.username;
        let sql = "SELECT credential, transports FROM passkeys WHERE user_id = ? ORDER BY id";
        let rows = self.0.db.fetch_all(sql, &[of.into()]).await?;
        let known = rows.iter().map(descriptor).collect::<Result<Vec<_>, _>>()?;
        let id = handle(of);
        let name = Username::try_from(username).map_err(|error| corrupt("users.username", error))?;
        let entity = PublicKeyCredentialUserEntity { name, id: &id, display_name: None };
        let options = PublicKeyCredentialCreationOptions::passkey(&rp.id, entity, known);
        let (server, client) = options.start_ceremony().map_err(|error| corrupt("a ceremony", error))?;
        let state = server.encode().map_err(|error| corrupt("a ceremony", error))?;
        let options = serde_json::to_value(&client).map_err(|error| corrupt("a ceremony", error))?;
        let state = URL_SAFE_NO_PAD.encode(state);
        let challenge =
            self.make_challenge(ChallengeKind::PasskeyRegistration, Some(of), &state, now()).await?;
        Ok(Ceremony { challenge, options })
    }

    /// Takes a new passkey. Answers recovery codes where there was no second factor before. `credential`: the browser's
    /// `RegistrationResponseJSON`.
    pub async fn add_passkey(
        &self,
        of: AccountId,
        token: &str,
        name: &str,
        credential: &[u8],
        rp: &RelyingParty,
    ) -> Result<(Passkey, Vec<Secret>), DirectoryError> {
        let at = now();
        let asked = self.try_challenge(ChallengeKind::PasskeyRegistration, token, at).await?;
        if asked.user != Some(of) {
            return Err(DirectoryError::BadChallenge);
        }
        let (id, values) = {
            let registration = Registration::from_json_relaxed(credential).map_err(refused)?;
            let state = RegistrationServerState::<HANDLE>::decode(&state_of(&asked.state)?)
                .map_err(|error| corrupt("a ceremony", error))?;
            let options = RegistrationVerificationOptions::<'_, '_, Origin<'_>, Origin<'_>> {
                allowed_origins: &rp.origins,
                // Browsers add what was not asked for, such as whether the key can be discovered.
                error_on_unsolicited_extensions: false,
                ..RegistrationVerificationOptions::default()
            };
            let made = state.verify(&rp.id, &registration, &options).map_err(refused)?;
            let Ok(raw) = made.id().encode().map(<[u8]>::to_vec);
            let Ok(fixed) = made.static_state().encode();
            let Ok(moving) = made.dynamic_state().encode();
            let Ok(transports) = made.transports().encode();
            let id = row_id(&raw);
            let values: [Value; 8] = [
                id.as_str().into(),
                of.into(),
                name.into(),
                URL_SAFE_NO_PAD.encode(&raw).into(),
                URL_SAFE_NO_PAD.encode(fixed).into(),
                URL_SAFE_NO_PAD.encode(moving).into(),
                transports.to_string().into(),
                at.into(),
            ];
            (id, values)
        };
        let mut change = self.change_aside().await?;
        lock(&mut change.tx, of).await?;
        if !challenge::use_up(&mut change.tx, &asked, at).await? {
            return Err(DirectoryError::BadChallenge);
        }
        let before = factors(&mut change.tx, of).await?;
        if before.passkeys >= MAX_PASSKEYS {
            return Err(DirectoryError::TooMany { what: "passkeys", max: MAX_PASSKEYS });
        }
        let insert = "INSERT INTO passkeys (id, user_id, name, credential, static_state, dynamic_state, transports, \
                      created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        change.tx.execute(insert, &values).await.map_err(super::taken("this passkey"))?;
        let codes = first_codes(&mut change.tx, of, &before, at).await?;
        let actor = crate::session::actor(ActorKind::User, of);
        notice::notify(&mut change.tx, of, &Notice::LoginChanged(LoginChange::PasskeyAdded), at).await?;
        change.acts.push(act(actor, "user.passkey_add", of.to_string(), None, Some(json!({"passkey": id}))));
        self.finish(change).await?;
        let made =
            Passkey { id, name: name.to_owned(), created_at: at, last_used_at: None, regressed_at: None };
        Ok((made, codes))
    }

    /// Asks whoever has a passkey of this gateway to sign.
    pub async fn ask_passkey(&self, rp: &RelyingParty) -> Result<Ceremony, DirectoryError> {
        let asked = DiscoverableCredentialRequestOptions::passkey(&rp.id).start_ceremony();
        let (server, client) = asked.map_err(|error| corrupt("a ceremony", error))?;
        let state = server.encode().map_err(|error| corrupt("a ceremony", error))?;
        let options = serde_json::to_value(&client).map_err(|error| corrupt("a ceremony", error))?;
        let state = URL_SAFE_NO_PAD.encode(state);
        let challenge = self.make_challenge(ChallengeKind::PasskeyLogin, None, &state, now()).await?;
        Ok(Ceremony { challenge, options })
    }

    /// Whose passkey has signed. `credential`: the browser's `AuthenticationResponseJSON`. What the fault is with one that is
    /// refused is for the log: an answer would say which passkeys exist.
    pub async fn use_passkey(
        &self,
        token: &str,
        credential: &[u8],
        rp: &RelyingParty,
    ) -> Result<User, DirectoryError> {
        let at = now();
        let asked = self.try_challenge(ChallengeKind::PasskeyLogin, token, at).await?;
        let answer = DiscoverableAuthentication16::from_json_relaxed(credential).map_err(refused)?;
        let Ok(raw) = answer.raw_id().encode().map(<[u8]>::to_vec);
        let id = row_id(&raw);
        let sql = "SELECT user_id, static_state, dynamic_state FROM passkeys WHERE id = ?";
        let row = self.0.db.fetch_optional(sql, &[id.as_str().into()]).await?;
        let row = row.ok_or_else(|| refused("nobody has this passkey"))?;
        let of: AccountId = row.parsed("user_id")?;
        let owner = handle(of);
        let moving = unpack(&row, "dynamic_state")?;
        let moving = moving.try_into().map_err(|_| corrupt("passkeys.dynamic_state", "it is not 7 bytes"))?;
        let moving =
            DynamicState::decode(moving).map_err(|error| corrupt("passkeys.dynamic_state", error))?;
        let state = state_of(&asked.state)?;
        let judge = |counter: SignatureCounterEnforcement| {
            let fixed = Static::decode(&unpack(&row, "static_state")?)
                .map_err(|error| corrupt("passkeys.static_state", error))?;
            let mut key = AuthenticatedCredential::new(answer.raw_id(), &owner, fixed, moving)
                .map_err(|error| corrupt("passkeys", error))?;
            let server = DiscoverableAuthenticationServerState::decode(&state)
                .map_err(|error| corrupt("a ceremony", error))?;
            let options = AuthenticationVerificationOptions::<'_, '_, Origin<'_>, Origin<'_>> {
                allowed_origins: &rp.origins,
                error_on_unsolicited_extensions: false,
                sig_counter_enforcement: counter,
                ..AuthenticationVerificationOptions::default()
            };
            let judged = server.verify(&rp.id, &answer, &mut key, &options);
            let Ok(moved) = key.dynamic_state().encode();
            Ok::<_, DirectoryError>(judged.map(|_| moved))
        };
        let (moved, regressed) = match judge(SignatureCounterEnforcement::Fail)? {
            Ok(moved) => (moved, false),
            // Everything else is right: its owner is let in, and told.
            Err(AuthCeremonyErr::SignatureCounter) => {
                (judge(SignatureCounterEnforcement::Update)?.map_err(refused)?, true)
            }
            Err(fault) => return Err(refused(fault)),
        };
        self.passkey_used(&asked, of, &id, &URL_SAFE_NO_PAD.encode(moved), regressed, at).await
    }

    async fn passkey_used(
        &self,
        asked: &challenge::Challenge,
        of: AccountId,
        id: &str,
        moved: &str,
        regressed: bool,
        at: Moment,
    ) -> Result<User, DirectoryError> {
        let mut change = self.change_aside().await?;
        if !challenge::use_up(&mut change.tx, asked, at).await? {
            return Err(DirectoryError::BadChallenge);
        }
        let update = "UPDATE passkeys SET dynamic_state = ?, last_used_at = ? WHERE id = ?";
        if change.tx.execute(update, &[moved.into(), at.into(), id.into()]).await? != 1 {
            return Err(refused("it was removed a moment ago"));
        }
        if regressed {
            let note = "UPDATE passkeys SET regressed_at = ? WHERE id = ?";
            change.tx.execute(note, &[at.into(), id.into()]).await?;
            let actor = crate::session::actor(ActorKind::User, of);
            let told = json!({"passkey": id});
            notice::notify(&mut change.tx, of, &Notice::LoginChanged(LoginChange::PasskeyRegressed), at)
                .await?;
            change.acts.push(act(actor, "user.passkey_regressed", of.to_string(), None, Some(told)));
        }
        let sql = format!("SELECT {} FROM users WHERE id = ?", super::user::COLUMNS);
        let row = change.tx.fetch_optional(&sql, &[of.into()]).await?;
        let found = user(&row.ok_or(DirectoryError::BadChallenge)?)?;
        self.finish(change).await?;
        Ok(found)
    }

    /// A user's passkeys, the oldest first.
    pub async fn passkeys(&self, of: AccountId) -> Result<Vec<Passkey>, DirectoryError> {
        let sql = "SELECT id, name, created_at, last_used_at, regressed_at FROM passkeys WHERE user_id = ? \
                   ORDER BY created_at, id";
        self.0.db.fetch_all(sql, &[of.into()]).await?.iter().map(passkey).collect()
    }

    /// Gives a user's passkey another name.
    pub async fn rename_passkey(
        &self,
        of: AccountId,
        id: &str,
        name: &str,
    ) -> Result<Passkey, DirectoryError> {
        let mut change = self.change_aside().await?;
        let update = "UPDATE passkeys SET name = ? WHERE id = ? AND user_id = ?";
        change.tx.execute(update, &[name.into(), id.into(), of.into()]).await?;
        // MySQL counts a row whose name is the same already as not changed.
        let found = find(&mut change.tx, of, id).await?;
        self.finish(change).await?;
        Ok(found)
    }

    /// Removes a user's passkey, unless it is the last way to log in.
    pub async fn remove_passkey(&self, of: AccountId, id: &str) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        lock(&mut change.tx, of).await?;
        let delete = "DELETE FROM passkeys WHERE id = ? AND user_id = ?";
        if change.tx.execute(delete, &[id.into(), of.into()]).await? == 0 {
            return Err(DirectoryError::NotFound("passkey"));
        }
        let ways = "SELECT u.password_hash, (SELECT COUNT(*) FROM passkeys p WHERE p.user_id = u.id) \
                    + (SELECT COUNT(*) FROM identities i WHERE i.user_id = u.id) AS others FROM users u WHERE u.id = ?";
        let row = change.tx.fetch_one(ways, &[of.into()]).await?;
        if row.text("password_hash")? == NO_PASSWORD && row.int("others")? == 0 {
            return Err(DirectoryError::LastWayIn);
        }
        last_codes(&mut change.tx, of).await?;
        let actor = crate::session::actor(ActorKind::User, of);
        let told = json!({"passkey": id});
        notice::notify(&mut change.tx, of, &Notice::LoginChanged(LoginChange::PasskeyRemoved), now()).await?;
        change.acts.push(act(actor, "user.passkey_remove", of.to_string(), Some(told), None));
        self.finish(change).await
    }
}

async fn find(tx: &mut Tx, of: AccountId, id: &str) -> Result<Passkey, DirectoryError> {
    let sql =
        "SELECT id, name, created_at, last_used_at, regressed_at FROM passkeys WHERE id = ? AND user_id = ?";
    let row = tx.fetch_optional(sql, &[id.into(), of.into()]).await?;
    passkey(&row.ok_or(DirectoryError::NotFound("passkey"))?)
}

/// A passkey that an authenticator shall not make again.
fn descriptor(row: &Row) -> Result<PublicKeyCredentialDescriptor<Vec<u8>>, DirectoryError> {
    let id = CredentialId::decode(unpack(row, "credential")?)
        .map_err(|error| corrupt("passkeys.credential", error))?;
    let transports: u8 = row.parsed("transports")?;
    let transports =
        AuthTransports::decode(transports).map_err(|error| corrupt("passkeys.transports", error))?;
    Ok(PublicKeyCredentialDescriptor { id, transports })
}

fn state_of(text: &str) -> Result<Vec<u8>, DirectoryError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| corrupt("login_challenges.state", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relying_party_is_the_name_in_the_public_url() {
        for (url, id, origin) in [
            ("https://gw.example.org", "gw.example.org", "https://gw.example.org"),
            ("https://GW.example.org:8443/path", "gw.example.org", "https://gw.example.org:8443"),
            ("http://127.0.0.1:3000", "localhost", "http://localhost:3000"),
            ("http://[::1]:3000", "localhost", "http://localhost:3000"),
        ] {
            let found = RelyingParty::of(url).unwrap();
            assert_eq!(found.id.as_ref(), id);
            assert_eq!(found.origins[0].0, origin);
        }
        for address in ["https://192.0.2.7", "https://[2001:db8::1]:443", "nonsense"] {
            assert!(RelyingParty::of(address).is_none(), "{address}");
        }
    }

    #[test]
    fn a_passkeys_name_has_something_in_it() {
        for name in ["my phone", "电脑", &"x".repeat(100)] {
            assert!(check_passkey_name(name).is_ok(), "{name}");
        }
        for name in ["", " ", " a", "a\n", &"x".repeat(101)] {
            assert!(check_passkey_name(name).is_err(), "{name:?}");
        }
    }
}
