//! The sandbox: a pretended payment gateway inside the gateway, for development only.
//!
//! For: walking the whole road of a payment without a merchant account. Its page has a pay, a fail and a cancel
//! button; each builds a signed callback and sends it over HTTP to our own callback route, as a foreign gateway would.
//! May not touch: the ledger. Like any channel it can only send callbacks.
//! Claims: it does not exist in production mode; its callbacks are believed only under its secret, which is random and
//! never empty; pressing a button twice is the same transaction.

pub mod page;

use super::channel::{
    Action, CallbackFault, Channel, ChannelError, Closing, Created, Method, NewOrder, Notice, Payment,
    PaymentState, RefundState, RefundWish, Refunded, Reply, Verdict,
};
use domain::account::event::CloseReason;
use domain::{ChannelName, Currency, Label, Money, OrderId};
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use ledger::RawCallback;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The channel's name.
pub const NAME: &str = "sandbox";

/// The header of the signature: hexadecimal HMAC-SHA256 of the raw body.
pub const SIGNATURE_HEADER: &str = "x-sandbox-signature";

/// The file of the secret, in the data folder: 64 hexadecimal digits.
pub const SECRET_FILE: &str = "sandbox.secret";

/// Who we are at the sandbox.
const MERCHANT: &str = "nexusroute";

/// How many orders' ends it remembers for [`Channel::query`]. A development tool's memory, hence small.
const REMEMBERED: usize = 1000;

/// How long a callback may take. Real gateways give up after five to fifteen seconds.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(15);

/// The most that is read of an answer to a callback, in bytes.
const MOST_ANSWER: usize = 4096;

/// The channel.
pub struct Sandbox {
    name: ChannelName,
    secret: Vec<u8>,
    public_url: String,
    callback_url: String,
    http: reqwest::Client,
    /// What the pretended gateway knows. Lost at a restart, as is no loss in development.
    ends: Mutex<BTreeMap<OrderId, PaymentState>>,
    /// The numbers of the refunds that it was asked for.
    refunds: Mutex<BTreeSet<Label>>,
}

/// What a [`Sandbox`] is made of.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// In production there is no sandbox: anybody could pay with nothing.
    pub production: bool,
    /// Where its secret is kept. `None`: a secret for this process only.
    pub data_dir: Option<PathBuf>,
    /// Where browsers reach us, without a trailing slash: `http://127.0.0.1:3000`.
    pub public_url: String,
    /// Where we reach ourselves, without a trailing slash; usually the address we listen on.
    pub own_url: String,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Asked for in production.
    #[error("the sandbox channel is for development: it does not start in production mode")]
    Production,
    /// The secret could not be kept.
    #[error("the sandbox's secret cannot be kept in {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not hold a sandbox secret of 64 hexadecimal digits; delete it to get a new one")]
    BadSecret {
        /// The file.
        path: PathBuf,
    },
    /// The HTTP client could not be made.
    #[error("the sandbox cannot make HTTP calls")]
    Http(#[from] reqwest::Error),
    /// Cannot happen: the name is a constant that fits.
    #[error(transparent)]
    Name(#[from] domain::text::TextError),
}

/// What a person does on the sandbox's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Press {
    /// The payment succeeds.
    Pay,
    /// The payment fails.
    Fail,
    /// The payer gives up.
    Cancel,
}

/// A callback's JSON body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    merchant: String,
    order: String,
    txn: String,
    result: BodyResult,
    amount: String,
    currency: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BodyResult {
    Paid,
    Failed,
    Cancelled,
}

/// A callback ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCallback {
    /// The raw body, JSON.
    pub body: Vec<u8>,
    /// The value of [`SIGNATURE_HEADER`].
    pub signature: String,
}

/// What the callback route answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Delivered {
    /// Its HTTP status.
    pub status: u16,
    /// Its body, cut at 4 KiB.
    pub body: String,
    /// Did it answer the success word?
    pub accepted: bool,
}

impl Sandbox {
    /// Makes the channel; its secret is read from the data folder, or made there.
    pub fn try_new(options: &SandboxOptions) -> Result<Self, SandboxError> {
        if options.production {
            return Err(SandboxError::Production);
        }
        let secret = match &options.data_dir {
            Some(folder) => kept_secret(folder)?,
            None => rand::random::<[u8; 32]>().to_vec(),
        };
        Self::with_secret(secret, options)
    }

    fn with_secret(secret: Vec<u8>, options: &SandboxOptions) -> Result<Self, SandboxError> {
        Ok(Self {
            name: ChannelName::try_new(NAME)?,
            secret,
            public_url: options.public_url.trim_end_matches('/').to_owned(),
            callback_url: format!("{}/api/payments/{NAME}/callback", options.own_url.trim_end_matches('/')),
            http: reqwest::Client::builder()
                .timeout(CALLBACK_TIMEOUT)
                .connect_timeout(Duration::from_secs(5))
                .redirect(reqwest::redirect::Policy::none())
                // Our own address is never behind the operator's proxy.
                .no_proxy()
                .build()?,
            ends: Mutex::default(),
            refunds: Mutex::default(),
        })
    }

    /// The address of an order's payment page.
    pub fn page_url(&self, order: OrderId) -> String {
        format!("{}/api/payments/{NAME}/{}", self.public_url, order.merchant_number())
    }

    /// Where the payer goes back to: the console's page of the order.
    pub fn return_url(&self, order: OrderId) -> String {
        format!("{}/topup/{order}", self.public_url)
    }

    /// The callback that a press leads to, signed.
    pub fn callback(
        &self,
        order: OrderId,
        pay: Money,
        press: Press,
    ) -> Result<SignedCallback, CallbackFault> {
        let body = Body {
            merchant: MERCHANT.to_owned(),
            order: order.merchant_number(),
            txn: self.transaction(order)?,
            result: match press {
                Press::Pay => BodyResult::Paid,
                Press::Fail => BodyResult::Failed,
                Press::Cancel => BodyResult::Cancelled,
            },
            amount: pay.amount(),
            currency: pay.currency.to_string(),
        };
        let body = serde_json::to_vec(&body).map_err(|_| CallbackFault::Malformed("it cannot be written"))?;
        let signature = hex::encode(self.mac(&body)?.finalize().into_bytes());
        Ok(SignedCallback { body, signature })
    }

    /// Does what a foreign gateway does when a payer presses: remembers, and calls the merchant back.
    pub async fn press(&self, order: OrderId, pay: Money, press: Press) -> Result<Delivered, ChannelError> {
        let signed =
            self.callback(order, pay, press).map_err(|fault| ChannelError::Refused(fault.to_string()))?;
        self.remember(order, pay, press).map_err(|fault| ChannelError::Refused(fault.to_string()))?;
        let unreachable = |error: reqwest::Error| ChannelError::Unreachable(error.without_url().to_string());
        let answer = self
            .http
            .post(&self.callback_url)
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, signed.signature)
            .body(signed.body)
            .send()
            .await
            .map_err(unreachable)?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        let body = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_ANSWER)]).into_owned();
        let accepted = status == 200 && body == SUCCESS;
        Ok(Delivered { status, body, accepted })
    }

    /// The sandbox's number of a payment. Made from the order, so that paying twice is the same payment.
    fn transaction(&self, order: OrderId) -> Result<String, CallbackFault> {
        let mac = self.mac(format!("transaction of {order}").as_bytes())?;
        Ok(format!("sbx_{}", hex::encode(&mac.finalize().into_bytes()[..12])))
    }

    fn remember(&self, order: OrderId, pay: Money, press: Press) -> Result<(), CallbackFault> {
        let end = match press {
            Press::Pay => PaymentState::Paid(Payment {
                order: label(order.merchant_number())?,
                provider_txn: label(self.transaction(order)?)?,
                paid: pay,
            }),
            Press::Fail => PaymentState::Closed(CloseReason::Failed),
            Press::Cancel => PaymentState::Closed(CloseReason::Cancelled),
        };
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        while ends.len() >= REMEMBERED {
            ends.pop_first();
        }
        ends.insert(order, end);
        Ok(())
    }

    /// HMAC-SHA256 under the secret. HMAC takes an empty key gladly, so that case is refused here.
    fn mac(&self, message: &[u8]) -> Result<Hmac<Sha256>, CallbackFault> {
        if self.secret.is_empty() {
            return Err(CallbackFault::NoSecret);
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).map_err(|_| CallbackFault::NoSecret)?;
        mac.update(message);
        Ok(mac)
    }
}

/// The success word.
const SUCCESS: &str = "success";

impl Channel for Sandbox {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn title(&self) -> &str {
        "Sandbox (no real money)"
    }

    fn methods(&self) -> &[Method] {
        &[]
    }

    fn takes(&self, _: Currency) -> bool {
        true
    }

    fn create<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<Created, ChannelError>> {
        Box::pin(async move { Ok(Action::Redirect { url: self.page_url(order.order) }.into()) })
    }

    fn read_callback(&self, callback: &RawCallback) -> Result<Verdict, CallbackFault> {
        let mut signatures =
            callback.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(SIGNATURE_HEADER));
        let signature = match (signatures.next(), signatures.next()) {
            (Some((_, one)), None) => hex::decode(one).unwrap_or_default(),
            _ => Vec::new(),
        };
        // `verify_slice` compares in constant time and refuses any other length.
        self.mac(&callback.body)?.verify_slice(&signature).map_err(|_| CallbackFault::BadSignature)?;
        let body: Body = serde_json::from_slice(&callback.body)
            .map_err(|_| CallbackFault::Malformed("not the sandbox's JSON"))?;
        if body.merchant != MERCHANT {
            return Err(CallbackFault::WrongMerchant);
        }
        let order = label(body.order)?;
        match body.result {
            BodyResult::Paid => {
                let currency = Currency::try_new(&body.currency)
                    .map_err(|_| CallbackFault::Malformed("no such currency"))?;
                let paid = Money::parse(&body.amount, currency)
                    .map_err(|_| CallbackFault::Malformed("not an amount"))?;
                Ok(Verdict::Paid(Payment { order, provider_txn: label(body.txn)?, paid }))
            }
            BodyResult::Failed => Ok(Verdict::Closed { order, reason: CloseReason::Failed }),
            BodyResult::Cancelled => Ok(Verdict::Closed { order, reason: CloseReason::Cancelled }),
        }
    }

    fn query<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<PaymentState, ChannelError>> {
        Box::pin(async move {
            let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(ends.get(&order.order).cloned().unwrap_or(PaymentState::Unknown))
        })
    }

    /// Whatever it is asked for is done at once: nobody has paid.
    fn refund<'a>(&'a self, wish: &'a RefundWish) -> BoxFuture<'a, Result<Refunded, ChannelError>> {
        Box::pin(async move {
            {
                let mut refunds = self.refunds.lock().unwrap_or_else(PoisonError::into_inner);
                while refunds.len() >= REMEMBERED {
                    refunds.pop_first();
                }
                refunds.insert(wish.refund.clone());
            }
            self.query_refund(wish).await
        })
    }

    fn query_refund<'a>(&'a self, wish: &'a RefundWish) -> BoxFuture<'a, Result<Refunded, ChannelError>> {
        Box::pin(async move {
            let refunds = self.refunds.lock().unwrap_or_else(PoisonError::into_inner);
            let state = refunds.contains(&wish.refund).then_some(RefundState::Done);
            let number = format!("sbx_re_{}", wish.refund);
            Ok(Refunded { state, provider_refund: Label::try_new(number).ok().filter(|_| state.is_some()) })
        })
    }

    /// Its page takes a late press all the same, as some gateways take a late payment.
    fn close<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<Closing, ChannelError>> {
        Box::pin(async move {
            Ok(match self.query(order).await? {
                PaymentState::Paid(_) => Closing::Paid,
                PaymentState::Unknown | PaymentState::Waiting | PaymentState::Closed(_) => Closing::Closed,
            })
        })
    }

    fn reply(&self, notice: &Notice) -> Reply {
        let body = match notice {
            Notice::Done => SUCCESS.to_owned(),
            Notice::Failed { code } => format!("failure: {code}"),
        };
        Reply { content_type: "text/plain; charset=utf-8", body }
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("callback_url", &self.callback_url).finish_non_exhaustive()
    }
}

fn label(text: String) -> Result<Label, CallbackFault> {
    Label::try_new(text).map_err(|_| CallbackFault::Malformed("an empty, over-long or unprintable field"))
}

/// Reads the secret, or makes one. Two processes that start at once agree: the file is made whole under another name
/// and then linked to its own, which only one of them can do.
fn kept_secret(folder: &Path) -> Result<Vec<u8>, SandboxError> {
    let path = folder.join(SECRET_FILE);
    let io = |source| SandboxError::Io { path: path.clone(), source };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_secret(folder, &path).map_err(io)?;
            std::fs::read_to_string(&path).map_err(io)?
        }
        Err(error) => return Err(io(error)),
    };
    match hex::decode(text.trim()) {
        Ok(secret) if secret.len() == 32 => Ok(secret),
        _ => Err(SandboxError::BadSecret { path }),
    }
}

fn write_secret(folder: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let draft = folder.join(format!("{SECRET_FILE}.{}", uuid::Uuid::new_v4().simple()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&draft).and_then(|mut file| {
        writeln!(file, "{}", hex::encode(rand::random::<[u8; 32]>()))?;
        file.sync_all()
    });
    let linked = written.and_then(|()| std::fs::hard_link(&draft, path));
    let removed = std::fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payments::Payer;
    use domain::Moment;
    use uuid::Uuid;

    fn options() -> SandboxOptions {
        SandboxOptions {
            production: false,
            data_dir: None,
            public_url: "http://127.0.0.1:3000/".into(),
            own_url: "http://127.0.0.1:3000".into(),
        }
    }

    fn sandbox(secret: &[u8]) -> Sandbox {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Sandbox::with_secret(secret.to_vec(), &options()).unwrap()
    }

    fn order() -> OrderId {
        OrderId::from_uuid(Uuid::from_u128(7))
    }

    fn cny(text: &str) -> Money {
        Money::parse(text, Currency::try_new("CNY").unwrap()).unwrap()
    }

    fn raw(signed: SignedCallback) -> RawCallback {
        RawCallback {
            method: "POST".into(),
            uri: "/api/payments/sandbox/callback".into(),
            headers: vec![("X-Sandbox-Signature".into(), signed.signature)],
            body: signed.body,
            received_at: Moment::from_micros(0),
        }
    }

    fn sign(sandbox: &Sandbox, body: &str) -> RawCallback {
        let signature = hex::encode(sandbox.mac(body.as_bytes()).unwrap().finalize().into_bytes());
        raw(SignedCallback { body: body.as_bytes().to_vec(), signature })
    }

    #[test]
    fn a_callback_of_its_own_is_believed_whole() {
        let sandbox = sandbox(b"secret");
        let paid = raw(sandbox.callback(order(), cny("50.00"), Press::Pay).unwrap());
        let Ok(Verdict::Paid(payment)) = sandbox.read_callback(&paid) else { panic!("not paid") };
        assert_eq!(payment.order.as_str(), order().merchant_number());
        assert_eq!(payment.paid, cny("50.00"));
        for (press, reason) in [(Press::Fail, CloseReason::Failed), (Press::Cancel, CloseReason::Cancelled)] {
            let closed = raw(sandbox.callback(order(), cny("50.00"), press).unwrap());
            let verdict = sandbox.read_callback(&closed).unwrap();
            assert_eq!(verdict, Verdict::Closed { order: payment.order.clone(), reason });
        }
    }

    #[test]
    fn the_signature_is_plain_hmac_sha256_of_the_raw_body() {
        // RFC 4231, test case 2.
        let sandbox = sandbox(b"Jefe");
        let mac = sandbox.mac(b"what do ya want for nothing?").unwrap();
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(mac.finalize().into_bytes()), expected);
    }

    #[test]
    fn a_forged_callback_is_refused() {
        let sandbox = sandbox(b"secret");
        let good = raw(sandbox.callback(order(), cny("50.00"), Press::Pay).unwrap());
        let refused = |callback: &RawCallback| sandbox.read_callback(callback).unwrap_err();

        let mut tampered = good.clone();
        let text = String::from_utf8(tampered.body).unwrap().replace("50.00", "5000.00");
        tampered.body = text.into_bytes();
        assert_eq!(refused(&tampered), CallbackFault::BadSignature);

        let mut unsigned = good.clone();
        unsigned.headers.clear();
        assert_eq!(refused(&unsigned), CallbackFault::BadSignature);

        for signature in ["", "00", "zz", &good.headers[0].1[..62], &"0".repeat(64)] {
            let mut other = good.clone();
            other.headers[0].1 = signature.to_owned();
            assert_eq!(refused(&other), CallbackFault::BadSignature, "{signature}");
        }

        let mut twice = good.clone();
        twice.headers.push(good.headers[0].clone());
        assert_eq!(refused(&twice), CallbackFault::BadSignature);

        let other_secret = self::sandbox(b"another").callback(order(), cny("50.00"), Press::Pay).unwrap();
        assert_eq!(refused(&raw(other_secret)), CallbackFault::BadSignature);
    }

    #[test]
    fn an_empty_secret_neither_signs_nor_verifies() {
        let empty = sandbox(b"");
        assert_eq!(empty.callback(order(), cny("1.00"), Press::Pay), Err(CallbackFault::NoSecret));
        let mut mac = Hmac::<Sha256>::new_from_slice(b"").unwrap();
        mac.update(b"{}");
        let forged =
            SignedCallback { body: b"{}".to_vec(), signature: hex::encode(mac.finalize().into_bytes()) };
        assert_eq!(empty.read_callback(&raw(forged)), Err(CallbackFault::NoSecret));
    }

    #[test]
    fn a_signed_callback_of_another_merchant_or_shape_is_refused() {
        let sandbox = sandbox(b"secret");
        let good = r#"{"merchant":"nexusroute","order":"o","txn":"t","result":"paid","amount":"1.00","currency":"CNY"}"#;
        assert!(sandbox.read_callback(&sign(&sandbox, good)).is_ok());
        let other = sign(&sandbox, &good.replace("nexusroute", "someone"));
        assert_eq!(sandbox.read_callback(&other), Err(CallbackFault::WrongMerchant));
        for (from, to) in [
            (r#""1.00""#, r#""1.001""#),
            (r#""1.00""#, r#""1e2""#),
            (r#""1.00""#, r#"1.00"#),
            ("CNY", "cny"),
            (r#""t""#, r#""""#),
            (r#""o""#, r#""\u0000""#),
            ("paid", "refunded"),
            (r#""txn":"t""#, r#""txn":"t","txn":"u""#),
            (r#""txn":"t""#, r#""txn":"t","extra":1"#),
        ] {
            let bad = sandbox.read_callback(&sign(&sandbox, &good.replace(from, to)));
            assert!(matches!(bad, Err(CallbackFault::Malformed(_))), "{to}: {bad:?}");
        }
        assert!(matches!(sandbox.read_callback(&sign(&sandbox, "")), Err(CallbackFault::Malformed(_))));
    }

    #[test]
    fn paying_twice_is_one_transaction_and_orders_differ() {
        let sandbox = sandbox(b"secret");
        let other = OrderId::from_uuid(Uuid::from_u128(8));
        assert_eq!(sandbox.transaction(order()), sandbox.transaction(order()));
        assert_ne!(sandbox.transaction(order()), sandbox.transaction(other));
    }

    #[test]
    fn it_does_not_exist_in_production() {
        let production = SandboxOptions { production: true, ..options() };
        assert!(matches!(Sandbox::try_new(&production), Err(SandboxError::Production)));
    }

    #[test]
    fn its_secret_is_random_kept_and_never_empty() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let first = kept_secret(folders[0].path()).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(first, kept_secret(folders[0].path()).unwrap());
        assert_ne!(first, kept_secret(folders[1].path()).unwrap());
        assert_eq!(std::fs::read_dir(folders[0].path()).unwrap().count(), 1, "no draft is left behind");
        for bad in ["", "\n", "00", "not hexadecimal"] {
            std::fs::write(folders[1].path().join(SECRET_FILE), bad).unwrap();
            assert!(matches!(kept_secret(folders[1].path()), Err(SandboxError::BadSecret { .. })), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_query_tells_what_was_pressed_even_where_the_callback_was_lost() {
        let unreachable = SandboxOptions { own_url: "http://127.0.0.1:1".into(), ..options() };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox = Sandbox::try_new(&unreachable).unwrap();
        let asked = NewOrder {
            order: order(),
            pay: cny("50.00"),
            method: None,
            expires_at: Moment::from_micros(0),
            payer: Payer::default(),
            reference: None,
        };
        assert_eq!(sandbox.query(&asked).await.unwrap(), PaymentState::Unknown);
        let lost = sandbox.press(order(), cny("50.00"), Press::Pay).await;
        assert!(matches!(lost, Err(ChannelError::Unreachable(_))));
        let PaymentState::Paid(payment) = sandbox.query(&asked).await.unwrap() else { panic!("not paid") };
        assert_eq!(payment.paid, cny("50.00"));
    }
}
