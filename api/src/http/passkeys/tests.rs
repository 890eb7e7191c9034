//! Passkeys over HTTP, with an authenticator of the tests' own: a P-256 key that signs what WebAuthn asks for.

use crate::directory::user::Role;
use crate::http::tests::{Answer, Gateway, gateway, gateway_with};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where a browser shows the gateway of these tests, whose public URL is the default one.
pub(crate) const ORIGIN: &str = "http://localhost:3000";

/// An authenticator with one passkey.
pub(crate) struct Authenticator {
    key: SigningKey,
    id: [u8; 32],
    user: Vec<u8>,
    counter: u32,
    /// Has it recognised its user?
    verifies: bool,
    /// What the browser takes itself to show.
    origin: String,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or("-"))
}

impl Authenticator {
    pub(crate) fn new() -> Self {
        Self {
            key: SigningKey::from_slice(&rand::random::<[u8; 32]>()).unwrap(),
            id: rand::random(),
            user: Vec::new(),
            counter: 1,
            verifies: true,
            origin: ORIGIN.into(),
        }
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let data = json!({"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false});
        data.to_string().into_bytes()
    }

    fn data(&self, rp_id: &str, more: u8) -> Vec<u8> {
        let verified = if self.verifies { 0b100 } else { 0 };
        let mut data = Sha256::digest(rp_id.as_bytes()).to_vec();
        data.push(1 | verified | more);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// Makes the passkey that is asked for: what `navigator.credentials.create` answers.
    pub(crate) fn creates(&mut self, options: &Value) -> Value {
        self.user = URL_SAFE_NO_PAD.decode(text(&options["user"]["id"])).unwrap();
        let point = self.key.verifying_key().to_encoded_point(false);
        let mut data = self.data(text(&options["rp"]["id"]), 0b0100_0000);
        data.extend([0; 16]); // of no model
        data.extend([0, 32]);
        data.extend(self.id);
        // The key by COSE: an EC2 key for ES256 on P-256.
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(point.x().unwrap());
        data.extend([0x22, 0x58, 0x20]);
        data.extend(point.y().unwrap());
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(u8::try_from(data.len()).unwrap());
        object.extend(data);
        json!({
            "id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "authenticatorAttachment": "platform",
            "clientExtensionResults": {"credProps": {"rk": true}},
            "response": {
                "clientDataJSON": b64(self.client_data("webauthn.create", options)),
                "attestationObject": b64(object), "transports": ["internal"],
            },
        })
    }

    /// Signs what is asked for: what `navigator.credentials.get` answers.
    pub(crate) fn signs(&mut self, options: &Value) -> Value {
        self.counter += 1;
        let client_data = self.client_data("webauthn.get", options);
        let data = self.data(text(&options["rpId"]), 0);
        let signed = [data.as_slice(), &Sha256::digest(&client_data)].concat();
        let signature: Signature = self.key.sign(&signed);
        json!({
            "id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": b64(client_data), "authenticatorData": b64(data),
                "signature": b64(signature.to_der().as_bytes()), "userHandle": b64(&self.user),
            },
        })
    }
}

impl Gateway {
    /// Registers a passkey; answers it, and the recovery codes.
    pub(crate) async fn adds_passkey(&self, token: &str, key: &mut Authenticator) -> Answer {
        let asked = self.call("POST", "/api/user/passkeys/options", Some(token), None).await;
        assert_eq!(asked.status, 200, "{}", asked.body);
        let credential = key.creates(&asked.body["options"]);
        let body = json!({"ceremony": asked.body["ceremony"], "name": "my phone", "credential": credential});
        self.call("POST", "/api/user/passkeys", Some(token), Some(body)).await
    }

    /// A passkey's answer to a new question.
    async fn signature_of(&self, key: &mut Authenticator) -> Value {
        let asked = self.call("POST", "/api/user/login/passkey/options", None, None).await;
        assert_eq!(asked.status, 200, "{}", asked.body);
        json!({"ceremony": asked.body["ceremony"], "credential": key.signs(&asked.body["options"])})
    }

    async fn comes_with(&self, signature: &Value) -> Answer {
        self.call("POST", "/api/user/login/passkey", None, Some(signature.clone())).await
    }

    async fn comes_with_key(&self, key: &mut Authenticator) -> Answer {
        self.comes_with(&self.signature_of(key).await).await
    }
}

#[tokio::test]
async fn a_passkey_logs_in_without_a_name_and_is_both_factors() {
    let it = gateway().await;
    let ann = it.token("ann", Role::User).await;
    let mut key = Authenticator::new();
    let added = it.adds_passkey(&ann, &mut key).await;
    assert_eq!(added.status, 201, "{}", added.body);
    assert_eq!(added.body["recovery_codes"].as_array().unwrap().len(), 10, "the first second factor");

    let session = it.comes_with_key(&mut key).await;
    assert_eq!(session.status, 200, "{}", session.body);
    assert_eq!(session.body["user"]["username"], "ann");
    assert!(session.headers["set-cookie"].to_str().unwrap().contains("HttpOnly"));
    // The password alone does not do any more; a recovery code beside it does.
    let password = json!({"login": "ann", "password": "correct horse"});
    let asked = it.call("POST", "/api/user/login", None, Some(password)).await;
    assert_eq!((asked.status.as_u16(), &asked.body["methods"]), (202, &json!(["passkey", "recovery_code"])));
    let answer = json!({"challenge": asked.body["challenge"], "code": added.body["recovery_codes"][0]});
    assert_eq!(it.call("POST", "/api/user/login/second-factor", None, Some(answer)).await.status, 200);

    let listed = it.call("GET", "/api/user/passkeys", Some(&ann), None).await.body["items"].clone();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("my phone")));
    assert!(listed[0]["last_used_at"].is_string() && listed[0]["regressed_at"].is_null(), "{listed}");
    let path = format!("/api/user/passkeys/{}", text(&listed[0]["id"]));
    let renamed = it.call("PATCH", &path, Some(&ann), Some(json!({"name": "旧手机"}))).await;
    assert_eq!((renamed.status.as_u16(), &renamed.body["name"]), (200, &json!("旧手机")));
    assert_eq!(it.call("DELETE", &path, Some(&ann), None).await.status, 204);
    assert_eq!(told(&it.comes_with_key(&mut key).await), (401, "bad_passkey"));
    let mine = it.call("GET", "/api/user/second-factor", Some(&ann), None).await.body;
    assert_eq!((&mine["enabled"], &mine["recovery_codes"]), (&json!(false), &json!(0)), "{mine}");
}

#[tokio::test]
async fn what_a_passkey_signed_opens_one_session_of_its_owner_here() {
    let it = gateway().await;
    let (ann, bob) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
    let (mut anns, mut bobs) = (Authenticator::new(), Authenticator::new());
    it.adds_passkey(&ann, &mut anns).await;
    it.adds_passkey(&bob, &mut bobs).await;

    // A crowd with one signature.
    let signature = it.signature_of(&mut anns).await;
    let crowd = futures_util::future::join_all((0..4).map(|_| it.comes_with(&signature))).await;
    assert_eq!(crowd.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(crowd.iter().all(|it| it.status == 200 || told(it) == (401, "challenge_over")));

    // An answer to another question.
    let other = it.signature_of(&mut anns).await;
    let mut mixed = it.signature_of(&mut anns).await;
    mixed["credential"] = other["credential"].clone();
    assert_eq!(told(&it.comes_with(&mixed).await), (401, "bad_passkey"));
    // One who says to be another.
    let user = std::mem::replace(&mut anns.user, bobs.user.clone());
    assert_eq!(told(&it.comes_with_key(&mut anns).await), (401, "bad_passkey"));
    anns.user = user;
    // Another's key under this one's id.
    let own = std::mem::replace(&mut anns.key, bobs.key.clone());
    assert_eq!(told(&it.comes_with_key(&mut anns).await), (401, "bad_passkey"));
    anns.key = own;
    // A page of another site.
    anns.origin = "http://localhost.example.org:3000".into();
    assert_eq!(told(&it.comes_with_key(&mut anns).await), (401, "bad_passkey"));
    anns.origin = ORIGIN.into();
    // Nobody was recognised.
    anns.verifies = false;
    assert_eq!(told(&it.comes_with_key(&mut anns).await), (401, "bad_passkey"));
    anns.verifies = true;
    assert_eq!(
        told(&it.comes_with(&json!({"ceremony": "forged", "credential": {}})).await),
        (401, "challenge_over")
    );
    assert_eq!(it.comes_with_key(&mut anns).await.status, 200, "and all of that had one fault each");
}

#[tokio::test]
async fn a_registration_is_its_users_and_needs_a_recognised_user() {
    let it = gateway().await;
    let (ann, bob) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
    let mut key = Authenticator::new();
    let asked = it.call("POST", "/api/user/passkeys/options", Some(&ann), None).await.body;
    let credential = key.creates(&asked["options"]);
    let body = json!({"ceremony": asked["ceremony"], "name": "stolen", "credential": credential});
    let foreign = it.call("POST", "/api/user/passkeys", Some(&bob), Some(body.clone())).await;
    assert_eq!(told(&foreign), (401, "challenge_over"));
    assert_eq!(it.call("POST", "/api/user/passkeys", Some(&ann), Some(body.clone())).await.status, 201);
    assert_eq!(
        told(&it.call("POST", "/api/user/passkeys", Some(&ann), Some(body)).await),
        (401, "challenge_over")
    );
    // The same key again, for anybody.
    assert_eq!(told(&it.adds_passkey(&ann, &mut key).await), (409, "taken"));
    // An authenticator is told which keys it shall not make again.
    let again = it.call("POST", "/api/user/passkeys/options", Some(&ann), None).await.body;
    assert_eq!(again["options"]["excludeCredentials"].as_array().unwrap().len(), 1, "{again}");
    // An authenticator without this protection is as good: browsers would refuse it.
    assert_eq!(again["options"]["extensions"]["enforceCredentialProtectionPolicy"], false, "{again}");
    let selection = &again["options"]["authenticatorSelection"];
    assert_eq!(
        (&selection["residentKey"], &selection["userVerification"]),
        (&json!("required"), &json!("required"))
    );
    let mut careless = Authenticator::new();
    careless.verifies = false;
    assert_eq!(told(&it.adds_passkey(&bob, &mut careless).await), (422, "invalid_value"));
    let mine = it.call("GET", "/api/user/passkeys", Some(&bob), None).await.body;
    assert_eq!(mine["items"], json!([]));
}

#[tokio::test]
async fn a_counter_that_fell_is_noted() {
    let it = gateway().await;
    let ann = it.token("ann", Role::User).await;
    let mut key = Authenticator::new();
    it.adds_passkey(&ann, &mut key).await;
    key.counter = 100;
    assert_eq!(it.comes_with_key(&mut key).await.status, 200);
    key.counter = 50;
    assert_eq!(it.comes_with_key(&mut key).await.status, 200);
    let listed = it.call("GET", "/api/user/passkeys", Some(&ann), None).await.body;
    assert!(listed["items"][0]["regressed_at"].is_string(), "{listed}");
    let rows = it.app.db.fetch_all("SELECT act FROM audit_outbox", &[]).await.unwrap();
    let acts: Vec<String> = rows.iter().map(|row| row.json::<ledger::Act>("act").unwrap().act).collect();
    assert_eq!(acts, ["user.passkey_add", "user.passkey_regressed"]);
}

#[tokio::test]
async fn a_passkey_confirms_its_owners_session_and_no_others() {
    let it = gateway().await;
    let (ann, bob) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
    let mut key = Authenticator::new();
    it.adds_passkey(&ann, &mut key).await;
    it.proofs_age(60).await;
    let confirm = async |token: &str, signature: Value| {
        it.call("POST", "/api/user/confirm", Some(token), Some(json!({"passkey": signature}))).await
    };
    let signature = it.signature_of(&mut key).await;
    assert_eq!(told(&confirm(&bob, signature).await), (403, "bad_passkey"));
    let signature = it.signature_of(&mut key).await;
    assert_eq!(confirm(&ann, signature.clone()).await.status, 200);
    assert_eq!(told(&confirm(&ann, signature).await), (403, "challenge_over"));
    assert_eq!(it.call("POST", "/api/user/totp", Some(&ann), None).await.status, 201);
    let refused = it.call("POST", "/api/user/totp", Some(&bob), None).await;
    assert_eq!(told(&refused), (403, "confirmation_required"));
}

#[tokio::test]
async fn who_is_switched_off_does_not_come_in_by_a_passkey_either() {
    let it = gateway().await;
    let (ann, boss) = (it.token("ann", Role::User).await, it.token("boss", Role::Owner).await);
    let mut key = Authenticator::new();
    it.adds_passkey(&ann, &mut key).await;
    let id = it.account_of(&ann).await;
    let off = Some(json!({"status": "disabled"}));
    it.call("PATCH", &format!("/api/admin/users/{id}"), Some(&boss), off).await;
    assert_eq!(told(&it.comes_with_key(&mut key).await), (403, "account_disabled"));
}

#[tokio::test]
async fn a_gateway_without_a_name_has_no_passkeys() {
    let it = gateway_with(|config| config.public_url = "https://192.0.2.7".into()).await;
    let ann = it.token("ann", Role::User).await;
    for (path, token) in
        [("/api/user/login/passkey/options", None), ("/api/user/passkeys/options", Some(&ann))]
    {
        let answer = it.call("POST", path, token.map(String::as_str), None).await;
        assert_eq!(told(&answer), (409, "passkeys_unavailable"), "{path}");
    }
}
