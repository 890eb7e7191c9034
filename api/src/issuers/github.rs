//! GitHub: plain OAuth 2, and an API that tells who somebody is. Not OpenID Connect: there is no ID token.
//!
//! Claims: a person is their number there, for a login name can pass to somebody else; an address counts only if it is the
//! primary one and GitHub says that it is verified.

use super::{Issuer, IssuerError, Person, fetch::word};
use relay::Secret;
use reqwest::Url;
use serde::Deserialize;

#[derive(Deserialize)]
struct Token {
    access_token: Option<String>,
    /// Refusals come with the status of a success.
    error: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
}

#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

impl Issuer {
    /// A page of its OAuth.
    pub(super) async fn github_page(&self, page: &str) -> Result<Url, IssuerError> {
        let base = self.config.issuer.trim_end_matches('/');
        self.fetcher.checked("address", &format!("{base}/login/oauth/{page}")).await
    }

    pub(super) async fn github_person(&self, code: &str, verifier: &Secret) -> Result<Person, IssuerError> {
        let secret = self.config.client_secret.as_ref().map_or("", Secret::expose);
        let fields = [
            ("client_id", self.config.client_id.as_str()),
            ("client_secret", secret),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier.expose()),
        ];
        let request = self.fetcher.post(self.github_page("access_token").await?, &fields);
        let token = match self.fetcher.success("the token endpoint", request).await? {
            Token { error: Some(error), .. } => return Err(IssuerError::Refused(word(&error))),
            Token { access_token: Some(token), error: None } => Secret::new(token),
            Token { access_token: None, error: None } => {
                return Err(IssuerError::Unavailable("there is no token in its answer".into()));
            }
        };
        let user: User = self.github_api("user", &token).await?;
        let emails: Vec<Email> = self.github_api("user/emails", &token).await?;
        let primary = emails.into_iter().find(|it| it.primary);
        Ok(Person {
            subject: user.id.to_string(),
            email_verified: primary.as_ref().is_some_and(|it| it.verified),
            email: primary.map(|it| it.email),
            name: Some(user.login),
        })
    }

    async fn github_api<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        token: &Secret,
    ) -> Result<T, IssuerError> {
        let base = self.config.api_url.trim_end_matches('/');
        let url = self.fetcher.checked("api_url", &format!("{base}/{path}")).await?;
        let request = self.fetcher.get(url).bearer_auth(token.expose());
        self.fetcher.success(&format!("GET /{path}"), request).await
    }
}
