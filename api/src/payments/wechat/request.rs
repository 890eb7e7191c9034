//! Requests to the API, signed; answers, verified.

use super::verify::Certificates;
use super::{Wechat, verify};
use crate::payments::channel::{CallbackFault, ChannelError};
use crate::payments::fields::Fields;
use crate::payments::gateway::{Answer, words};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use serde_json::Value;

/// An answer. A good one is verified; a failure may not be.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Told {
    /// A failure's stable word; empty where there is none.
    pub(super) fn code(&self) -> String {
        match self.status {
            200..300 => String::new(),
            _ => Fields::read(&self.body).and_then(|it| it.text("code")).unwrap_or_default(),
        }
    }

    /// What a failure says.
    pub(super) fn refusal(&self) -> ChannelError {
        let message = Fields::read(&self.body).and_then(|it| it.text("message")).unwrap_or_default();
        let text = format!("HTTP {} {} {}", self.status, words(&self.code()), words(&message));
        match self.status {
            429 | 500.. => ChannelError::Unreachable(text),
            _ => ChannelError::Refused(text),
        }
    }

    /// A good answer as a type.
    pub(super) fn read<T: for<'a> Deserialize<'a>>(&self) -> Result<T, ChannelError> {
        match self.status {
            200 => serde_json::from_slice(&self.body)
                .map_err(|_| ChannelError::Refused("its answer is not what it documents".to_owned())),
            _ => Err(self.refusal()),
        }
    }
}

pub(super) fn seconds() -> i64 {
    crate::directory::now().micros().div_euclid(1_000_000)
}

pub(super) fn nonce() -> String {
    hex::encode_upper(rand::random::<[u8; 16]>())
}

pub(super) fn unsigned() -> ChannelError {
    ChannelError::Refused("the request cannot be signed".to_owned())
}

/// What a request's signature is over.
pub(super) fn message(method: &str, path: &str, time: i64, nonce: &str, body: &str) -> String {
    format!("{method}\n{path}\n{time}\n{nonce}\n{body}\n")
}

impl Wechat {
    pub(super) async fn get(&self, path: &str) -> Result<Told, ChannelError> {
        let url = format!("{}{path}", self.common.base_url);
        let answer =
            self.common.client.send(self.authorized(self.common.client.get(&url), "GET", &url, "")?).await?;
        self.verified(answer).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Told, ChannelError> {
        let url = format!("{}{path}", self.common.base_url);
        let body = body.to_string();
        let request = self.authorized(self.common.client.post(&url), "POST", &url, &body)?;
        let request = request.header("content-type", "application/json").body(body);
        let answer = self.common.client.send(request).await?;
        self.verified(answer).await
    }

    /// A bill's file: its answer is not signed, its hash is checked by who asked.
    pub(super) async fn file(&self, url: &str) -> Result<Vec<u8>, ChannelError> {
        self.common.client.check_file_url(url, &self.common.base_url, &[])?;
        let request = self.authorized(self.common.client.get(url), "GET", url, "")?;
        let answer = self.common.client.fetch(request).await?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(Told { status, body: answer.body }.refusal()),
        }
    }

    fn authorized(
        &self,
        request: RequestBuilder,
        method: &str,
        url: &str,
        body: &str,
    ) -> Result<RequestBuilder, ChannelError> {
        let parsed =
            Url::parse(url).map_err(|_| ChannelError::Refused("its address is no address".to_owned()))?;
        let path = match parsed.query() {
            Some(query) => format!("{}?{query}", parsed.path()),
            None => parsed.path().to_owned(),
        };
        let header = self.authorization(method, &path, seconds(), &nonce(), body).ok_or_else(unsigned)?;
        let request = request.header("authorization", header).header("accept", "application/json");
        // So that the answer is signed with the key that we have.
        Ok(match self.platform.public_key_id() {
            Some(id) => request.header("wechatpay-serial", id),
            None => request,
        })
    }

    /// The header of a request; `None`: it cannot be signed.
    pub(super) fn authorization(
        &self,
        method: &str,
        path: &str,
        time: i64,
        nonce: &str,
        body: &str,
    ) -> Option<String> {
        let signature = self.own.sign(message(method, path, time, nonce, body).as_bytes())?;
        let (mchid, serial) = (&self.mchid, &self.serial_no);
        Some(format!(
            "WECHATPAY2-SHA256-RSA2048 mchid=\"{mchid}\",nonce_str=\"{nonce}\",timestamp=\"{time}\",\
             serial_no=\"{serial}\",signature=\"{signature}\""
        ))
    }

    /// Verifies a good answer. A key that is not known is asked for once.
    async fn verified(&self, answer: Answer) -> Result<Told, ChannelError> {
        if !(200..300).contains(&answer.status) {
            return Ok(Told { status: answer.status, body: answer.body });
        }
        let check = || self.platform.check(|name| answer.header(name), &answer.body, seconds());
        let mut verdict = check();
        if verdict == Err(CallbackFault::UnknownKey) {
            self.fetch_certificates().await?;
            verdict = check();
        }
        match verdict {
            Ok(()) => Ok(Told { status: answer.status, body: answer.body }),
            Err(fault) => Err(ChannelError::Refused(format!("its answer is not believed: {fault}"))),
        }
    }

    /// Asks for the platform's certificates, at most once a minute. Answers whether there are new ones.
    pub(super) async fn fetch_certificates(&self) -> Result<bool, ChannelError> {
        if !self.platform.may_fetch() {
            return Ok(false);
        }
        let url = format!("{}/v3/certificates", self.common.base_url);
        let request = self.authorized(self.common.client.get(&url), "GET", &url, "")?;
        let answer = self.common.client.send(request).await?;
        match answer.status {
            200 => {}
            // Merchants of the public-key mode have none.
            404 => return Ok(false),
            status => return Err(Told { status, body: answer.body }.refusal()),
        }
        let found = verify::certificates(&self.api_key, &answer.body).ok_or_else(|| {
            ChannelError::Refused("its certificates cannot be decrypted with the APIv3 key".to_owned())
        })?;
        self.accept(&answer, found)
    }

    /// Accepts certificates from an answer that verifies by the keys that we have, or by one of its own: that could only be
    /// written by somebody who knows the APIv3 key.
    fn accept(&self, answer: &Answer, found: Certificates) -> Result<bool, ChannelError> {
        let checked = self.platform.check_with(&found, |name| answer.header(name), &answer.body, seconds());
        match checked {
            Ok(()) => Ok(self.platform.learn(found)),
            Err(fault) => Err(ChannelError::Refused(format!("its certificates are not believed: {fault}"))),
        }
    }
}
