//! Issuers: other sites by which people log in, as the operator configures them.
//!
//! Claims: what would only fail at somebody's login fails at the start: an id that does not fit a path, an address without
//! https, a secret for an issuer that is not there.

use super::ConfigError;
use relay::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How an issuer speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerKind {
    /// OpenID Connect, found by its discovery document.
    #[default]
    Oidc,
    /// As GitHub does: plain OAuth 2 and an API.
    Github,
}

/// A site by which people log in.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// Its name in paths.
    pub id: String,
    /// How it speaks.
    pub kind: IssuerKind,
    /// What people call it.
    pub name: String,
    /// What stands on its button.
    pub label: String,
    /// Its address, which is its name in ID tokens and in our tables. As written: a slash at the end belongs to it.
    pub issuer: String,
    /// Where GitHub's API is.
    pub api_url: String,
    /// Who we are there.
    pub client_id: String,
    /// Our secret there; `None`: a public client.
    pub client_secret: Option<Secret>,
    /// What we ask for.
    pub scopes: Vec<String>,
    /// Somebody unknown, whose address it vouches for and is that of a user, is that user.
    pub link_by_email: bool,
    /// Every address that it names is taken for proven.
    pub trust_email: bool,
    /// It may be on a private address, and speak plain http there.
    pub allow_private: bool,
}

/// One table of `oidc.issuers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    id: String,
    #[serde(default)]
    kind: IssuerKind,
    name: Option<String>,
    label: Option<String>,
    issuer: Option<String>,
    api_url: Option<String>,
    client_id: String,
    client_secret: Option<String>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    link_by_email: bool,
    #[serde(default)]
    trust_email: bool,
    #[serde(default)]
    allow_private: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOidc {
    issuers: Vec<RawIssuer>,
    secrets: BTreeMap<String, String>,
}

impl RawOidc {
    pub(super) fn check(mut self) -> Result<Vec<IssuerConfig>, ConfigError> {
        let wrong = |text: String| Err(ConfigError::Wrong(format!("oidc.{text}")));
        let mut checked: Vec<IssuerConfig> = Vec::new();
        for raw in self.issuers {
            let (id, secret) = (raw.id.clone(), self.secrets.remove(&raw.id));
            let issuer = match raw.check(secret) {
                Ok(issuer) => issuer,
                Err(fault) => return wrong(format!("issuers: {id:?}: {fault}")),
            };
            if checked.iter().any(|other| other.id == issuer.id) {
                return wrong(format!("issuers: there are two with the id {id:?}"));
            }
            // Its people would be one's and the other's.
            if checked.iter().any(|other| other.issuer == issuer.issuer) {
                return wrong(format!("issuers: {id:?}: there is another with the same issuer"));
            }
            checked.push(issuer);
        }
        match self.secrets.keys().next() {
            Some(id) => wrong(format!("secrets: there is no issuer {id:?}")),
            None => Ok(checked),
        }
    }
}

impl RawIssuer {
    fn check(self, secret: Option<String>) -> Result<IssuerConfig, String> {
        let in_path = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&self.id.len()) || !self.id.bytes().all(in_path) {
            return Err("an id is 1 to 32 lower-case letters, digits and \"-\"".into());
        }
        let (usual_name, usual_scopes): (_, &[&str]) = match self.kind {
            IssuerKind::Oidc => (self.id.as_str(), &["openid", "profile", "email"]),
            IssuerKind::Github => ("GitHub", &["read:user", "user:email"]),
        };
        let name = self.name.unwrap_or_else(|| usual_name.to_owned());
        let label = self.label.unwrap_or_else(|| format!("Log in with {name}"));
        let scopes = match self.scopes {
            Some(scopes) => scopes,
            None => usual_scopes.iter().map(|&scope| scope.to_owned()).collect(),
        };
        let issuer = match (self.kind, self.issuer) {
            (_, Some(issuer)) => issuer,
            (IssuerKind::Github, None) => "https://github.com".to_owned(),
            (IssuerKind::Oidc, None) => return Err("issuer is missing: its address".into()),
        };
        let api_url = match (self.kind, self.api_url) {
            (IssuerKind::Oidc, Some(_)) => return Err("api_url goes with the kind github only".into()),
            (IssuerKind::Oidc, None) => String::new(),
            (IssuerKind::Github, Some(url)) => url,
            (IssuerKind::Github, None) if issuer.trim_end_matches('/') == "https://github.com" => {
                "https://api.github.com".to_owned()
            }
            // GitHub Enterprise Server has it there.
            (IssuerKind::Github, None) => format!("{}/api/v3", issuer.trim_end_matches('/')),
        };
        for (field, url) in [("issuer", &issuer), ("api_url", &api_url)] {
            let plain = self.allow_private && url.starts_with("http://");
            if !(url.is_empty() || url.starts_with("https://") || plain) {
                let fault = "must begin with https:// (http:// is for private addresses, with allow_private)";
                return Err(format!("{field} {fault}"));
            }
            if url.len() > 255 {
                return Err(format!("{field} must not be longer than 255 bytes"));
            }
        }
        if self.kind == IssuerKind::Oidc && !scopes.iter().any(|scope| scope == "openid") {
            return Err("scopes must hold openid".into());
        }
        if self.client_id.is_empty() {
            return Err("client_id is empty".into());
        }
        let client_secret = secret.or(self.client_secret).filter(|it| !it.is_empty()).map(Secret::new);
        if self.kind == IssuerKind::Github && client_secret.is_none() {
            return Err("client_secret is missing".into());
        }
        Ok(IssuerConfig {
            id: self.id,
            kind: self.kind,
            name,
            label,
            issuer,
            api_url,
            client_id: self.client_id,
            client_secret,
            scopes,
            link_by_email: self.link_by_email,
            trust_email: self.trust_email,
            allow_private: self.allow_private,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Vec<IssuerConfig>, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(Config::from_parts(text, variables)?.issuers)
    }

    #[test]
    fn issuers_come_from_the_file_and_their_secrets_from_a_variable() {
        let file = "[[oidc.issuers]]\nid = \"google\"\nname = \"Google\"\nissuer = \"https://accounts.google.com\"\n\
                    client_id = \"us\"\n[[oidc.issuers]]\nid = \"hub\"\nkind = \"github\"\nclient_id = \"we\"\n";
        let secrets = [("NEXUSROUTE_OIDC_SECRETS", "google=a=b, hub=very secret")];
        let found = read(file, &secrets).unwrap();
        let [google, hub] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((google.kind, google.label.as_str()), (IssuerKind::Oidc, "Log in with Google"));
        assert_eq!(google.scopes, ["openid", "profile", "email"]);
        assert_eq!(google.client_secret.as_ref().unwrap().expose(), "a=b");
        assert!(!google.link_by_email && !google.trust_email && !google.allow_private);
        assert_eq!(
            (hub.issuer.as_str(), hub.api_url.as_str()),
            ("https://github.com", "https://api.github.com")
        );
        assert!(!format!("{found:?}").contains("very secret"));
        assert!(read("", &[]).unwrap().is_empty());
    }

    #[test]
    fn a_variable_holds_issuers_as_toml_or_json() {
        let toml = "[{id = \"a\", issuer = \"https://a.example\", client_id = \"c\"}]";
        let json = r#"[{"id": "a", "issuer": "https://a.example", "client_id": "c"}]"#;
        for text in [toml, json] {
            assert_eq!(read("", &[("NEXUSROUTE_OIDC_ISSUERS", text)]).unwrap()[0].id, "a");
        }
        let ghe = r#"[{"id": "ghe", "kind": "github", "issuer": "https://git.example", "client_id": "c", "client_secret": "s"}]"#;
        let found = read("", &[("NEXUSROUTE_OIDC_ISSUERS", ghe)]).unwrap();
        assert_eq!(found[0].api_url, "https://git.example/api/v3");
    }

    #[test]
    fn what_is_wrong_with_an_issuer_is_named() {
        let of = |fields: &str| {
            format!("[{{id = \"a\", issuer = \"https://a.example\", client_id = \"c\", {fields}}}]")
        };
        for (text, named) in [
            ("[1]".to_owned(), "issuers"),
            ("a".to_owned(), "NEXUSROUTE_OIDC_ISSUERS"),
            (of("colour = 1"), "colour"),
            (of("kind = \"saml\""), "saml"),
            (of("scopes = [\"email\"]"), "openid"),
            (of("api_url = \"https://x\""), "api_url"),
            (of("kind = \"github\""), "client_secret"),
            ("[{id = \"A\", client_id = \"c\"}]".to_owned(), "lower-case"),
            ("[{id = \"a\", client_id = \"c\"}]".to_owned(), "issuer is missing"),
            ("[{id = \"a\", issuer = \"http://a\", client_id = \"c\"}]".to_owned(), "https://"),
            ("[{id = \"a\", issuer = \"https://a\", client_id = \"\"}]".to_owned(), "client_id"),
            (of("").replace("}]", "},") + &of("")[1..], "two with the id"),
            (of("").replace("}]", "},") + &of("").replace("\"a\"", "\"b\"")[1..], "same issuer"),
        ] {
            let error = read("", &[("NEXUSROUTE_OIDC_ISSUERS", &text)]).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
        let error = read("", &[("NEXUSROUTE_OIDC_SECRETS", "b=x")]).unwrap_err().to_string();
        assert!(error.contains("no issuer \"b\""), "{error}");
    }
}
