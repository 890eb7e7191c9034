//! OpenID Connect: what an issuer's discovery document and keys say, and the exchange of a code for an ID token.
//!
//! Claims: the document is the issuer's own only if it names the issuer exactly; both are kept for an hour, and keys are asked
//! for again as soon as a token was signed with one that is not among them, so that a change of keys needs no restart. Nobody
//! but the issuer can make us ask: tokens come from it alone.

use super::fetch::{escaped, word};
use super::token::{self, Claims, TokenError, Wanted};
use super::{Issuer, IssuerError, Person};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::jwk::Jwk;
use relay::Secret;
use reqwest::Url;
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a document and keys are believed without asking again.
const KEPT: Duration = Duration::from_secs(3600);

/// What was seen of an issuer.
#[derive(Default)]
pub(super) struct Seen {
    document: Mutex<Option<(Instant, Arc<Document>)>>,
    keys: Mutex<Option<(Instant, Arc<Vec<Jwk>>)>>,
}

/// What was seen lately enough.
fn recent<T>(seen: &Mutex<Option<(Instant, Arc<T>)>>) -> Option<Arc<T>> {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.as_ref().filter(|(at, _)| at.elapsed() < KEPT).map(|(_, it)| Arc::clone(it))
}

fn keep<T>(seen: &Mutex<Option<(Instant, Arc<T>)>>, it: T) -> Arc<T> {
    let it = Arc::new(it);
    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&it)));
    it
}

/// The discovery document, as far as we ask.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    id_token_signing_alg_values_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<String>,
}

impl Issuer {
    pub(super) async fn authorization_endpoint(&self) -> Result<Url, IssuerError> {
        let document = self.document().await?;
        self.fetcher.checked("authorization_endpoint", &document.authorization_endpoint).await
    }

    /// Does it name itself in the addresses that it sends browsers to?
    pub(super) async fn names_itself(&self) -> Result<bool, IssuerError> {
        Ok(self.document().await?.authorization_response_iss_parameter_supported)
    }

    async fn document(&self) -> Result<Arc<Document>, IssuerError> {
        if let Some(document) = recent(&self.seen.document) {
            return Ok(document);
        }
        let base = self.config.issuer.trim_end_matches('/');
        let url = self.fetcher.checked("issuer", &format!("{base}/.well-known/openid-configuration")).await?;
        let document: Document =
            self.fetcher.success("the discovery document", self.fetcher.get(url)).await?;
        if document.issuer != self.config.issuer {
            let fault = format!(
                "the discovery document is of {:?}; write the option issuer just so",
                document.issuer.chars().take(255).collect::<String>()
            );
            return Err(IssuerError::Unavailable(fault));
        }
        Ok(keep(&self.seen.document, document))
    }

    async fn fresh_keys(&self, document: &Document) -> Result<Arc<Vec<Jwk>>, IssuerError> {
        let url = self.fetcher.checked("jwks_uri", &document.jwks_uri).await?;
        let found: Keys = self.fetcher.success("the list of keys", self.fetcher.get(url)).await?;
        // One key of a kind that nobody here knows must not hide the others.
        let keys = found.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        Ok(keep(&self.seen.keys, keys))
    }

    pub(super) async fn oidc_person(
        &self,
        code: &str,
        nonce: &str,
        verifier: &Secret,
    ) -> Result<Person, IssuerError> {
        let document = self.document().await?;
        let tokens = self.exchange(&document, code, verifier).await?;
        let Some(id_token) = tokens.id_token else {
            return Err(IssuerError::Unavailable("there is no ID token in its answer".into()));
        };
        let claims = self.verified(&document, &id_token, nonce).await?;
        let claims = match (&claims.email, &document.userinfo_endpoint, tokens.access_token) {
            (None, Some(endpoint), Some(token)) => self.completed(claims, endpoint, &token).await?,
            (Some(_), _, _) | (None, _, _) => claims,
        };
        Ok(claims.person())
    }

    async fn verified(
        &self,
        document: &Document,
        id_token: &str,
        nonce: &str,
    ) -> Result<Claims, IssuerError> {
        let wanted = Wanted {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce,
            announced: &document.id_token_signing_alg_values_supported,
        };
        let at_s = chrono::Utc::now().timestamp();
        if let Some(keys) = recent(&self.seen.keys) {
            match token::verify(id_token, &keys, &wanted, at_s) {
                Err(TokenError::UnknownKey | TokenError::Signature) => {}
                judged => return Ok(judged?),
            }
        }
        let keys = self.fresh_keys(document).await?;
        Ok(token::verify(id_token, &keys, &wanted, at_s)?)
    }

    async fn exchange(
        &self,
        document: &Document,
        code: &str,
        verifier: &Secret,
    ) -> Result<Tokens, IssuerError> {
        let url = self.fetcher.checked("token_endpoint", &document.token_endpoint).await?;
        let methods = &document.token_endpoint_auth_methods_supported;
        let knows = |method: &str| methods.iter().any(|it| it == method);
        let id = self.config.client_id.as_str();
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", verifier.expose()),
        ];
        // What all must know where they name nothing is the login in a header.
        let in_header = methods.is_empty() || knows("client_secret_basic") || !knows("client_secret_post");
        let request = match &self.config.client_secret {
            Some(secret) if in_header => {
                let login = format!("{}:{}", escaped(id), escaped(secret.expose()));
                let value = format!("Basic {}", STANDARD.encode(login));
                self.fetcher.post(url, &fields).header("authorization", value)
            }
            Some(secret) => {
                fields.extend([("client_id", id), ("client_secret", secret.expose())]);
                self.fetcher.post(url, &fields)
            }
            None => {
                fields.push(("client_id", id));
                self.fetcher.post(url, &fields)
            }
        };
        let (status, body) = self.fetcher.answer::<serde_json::Value>("the token endpoint", request).await?;
        if !status.is_success() {
            let error = body["error"].as_str().map_or_else(|| status.as_str().to_owned(), word);
            return Err(IssuerError::Refused(error));
        }
        serde_json::from_value(body)
            .map_err(|_| IssuerError::Unavailable("its tokens are not as they must be".into()))
    }

    /// Adds what only the userinfo endpoint tells. It must speak of the same person.
    async fn completed(&self, claims: Claims, endpoint: &str, token: &str) -> Result<Claims, IssuerError> {
        let url = self.fetcher.checked("userinfo_endpoint", endpoint).await?;
        let more: token::About =
            self.fetcher.success("the userinfo endpoint", self.fetcher.get(url).bearer_auth(token)).await?;
        if more.sub != claims.sub {
            return Err(TokenError::AnotherPerson.into());
        }
        Ok(claims.with(more))
    }
}
