//! Issuers: other sites by which people log in, by OpenID Connect or as GitHub does.
//!
//! For: where to send a browser ([`Issuers::authorization`]), and who somebody is once the site has sent it back with a code
//! ([`Issuers::identify`]). May not touch: our own people; what an identity is good for is decided in [`crate::directory`] and
//! at the doors.
//! Claims: nothing that a browser brings is believed but what the issuer itself says over TLS; an ID token is taken only from
//! the issuer's own token endpoint and only if [`token`] finds nothing wrong with it; an issuer is asked at addresses that are
//! checked as providers' are, without redirects, for seconds and for a bounded number of bytes; no code, token or secret is
//! logged.

mod fetch;
mod github;
mod oidc;
mod signature;
pub mod token;

use crate::config::{Config, IssuerConfig, IssuerKind};
use fetch::Fetcher;
pub use fetch::form;
use relay::Secret;
use reqwest::Url;
use std::sync::Arc;

/// Why an issuer could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// It does not answer, or not as it must.
    #[error("the issuer does not answer as it must: {0}")]
    Unavailable(String),
    /// It refused the code; the text is its own short word.
    #[error("the issuer refused the code: {0}")]
    Refused(String),
    /// Its ID token is not to be believed.
    #[error("the issuer's ID token is refused")]
    Token(#[from] token::TokenError),
}

/// Who somebody is at an issuer. Personal data: not to be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// Who they are there, for ever.
    pub subject: String,
    /// Their address as it is known there.
    pub email: Option<String>,
    /// Does the issuer vouch for the address?
    pub email_verified: bool,
    /// What they are called there.
    pub name: Option<String>,
}

/// What is known of a login under way, besides who it is.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Comes back in the address.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Shows that whoever brings the code is who asked for it (PKCE).
    pub verifier: Secret,
}

/// The issuers that the operator configured. Cloning it clones one pointer.
#[derive(Clone)]
pub struct Issuers(Arc<[Issuer]>);

/// One of them.
pub struct Issuer {
    /// What the operator says of it.
    pub config: IssuerConfig,
    redirect_uri: String,
    fetcher: Fetcher,
    seen: oidc::Seen,
}

impl Issuers {
    /// Those of a configuration. None of them is asked for anything yet.
    pub fn try_new(config: &Config) -> Result<Self, reqwest::Error> {
        signature::install();
        let make = |it: &IssuerConfig| {
            Ok(Issuer {
                redirect_uri: format!("{}/api/user/oidc/{}/callback", config.public_url, it.id),
                fetcher: Fetcher::try_new(it.allow_private)?,
                seen: oidc::Seen::default(),
                config: it.clone(),
            })
        };
        config.issuers.iter().map(make).collect::<Result<_, _>>().map(Self)
    }

    /// All of them, as configured.
    pub fn all(&self) -> &[Issuer] {
        &self.0
    }

    /// The one with this id.
    pub fn find(&self, id: &str) -> Option<&Issuer> {
        self.0.iter().find(|it| it.config.id == id)
    }
}

impl Issuer {
    /// Where to send a browser.
    pub async fn authorization(&self, secrets: &Secrets) -> Result<Url, IssuerError> {
        let mut url = match self.config.kind {
            IssuerKind::Oidc => self.authorization_endpoint().await?,
            IssuerKind::Github => self.github_page("authorize").await?,
        };
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", &secrets.state)
            .append_pair("code_challenge", &token::challenge(secrets.verifier.expose()))
            .append_pair("code_challenge_method", "S256");
        if self.config.kind == IssuerKind::Oidc {
            url.query_pairs_mut().append_pair("nonce", &secrets.nonce);
        }
        Ok(url)
    }

    /// Must an answer name the issuer, so that it cannot be another's (RFC 9207)? What it names must be right in any case.
    pub async fn is_named_rightly(&self, named: Option<&str>) -> Result<bool, IssuerError> {
        Ok(match (self.config.kind, named) {
            (_, Some(named)) => named == self.config.issuer,
            (IssuerKind::Oidc, None) => !self.names_itself().await?,
            (IssuerKind::Github, None) => true,
        })
    }

    /// Who a code stands for.
    pub async fn identify(&self, code: &str, nonce: &str, verifier: &Secret) -> Result<Person, IssuerError> {
        let mut person = match self.config.kind {
            IssuerKind::Oidc => self.oidc_person(code, nonce, verifier).await?,
            IssuerKind::Github => self.github_person(code, verifier).await?,
        };
        person.email_verified |= self.config.trust_email && person.email.is_some();
        Ok(person)
    }
}
