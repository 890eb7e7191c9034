//! A channel: a way to pay, behind one trait.
//!
//! For: what every channel can do ([`Channel`]) and which ones there are ([`Channels`]).
//! May not touch: orders and accounts. A channel says what a gateway said; the callback road judges it.
//! Claims: a [`Verdict`] exists only for a callback whose signature and merchant were checked over the raw bytes.

use super::{Sandbox, SandboxError, SandboxOptions};
use crate::config::Config;
use domain::account::event::CloseReason;
use domain::{ChannelName, Currency, Label, Moment, Money, OrderId};
use futures_util::future::BoxFuture;
use ledger::RawCallback;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A way to pay.
pub trait Channel: Send + Sync + 'static {
    /// Its name, as it stands in orders and in the callback's path.
    fn name(&self) -> &ChannelName;

    /// What a person calls it.
    fn title(&self) -> &str;

    /// The ways to pay within the channel, the default one first; empty where there is nothing to choose.
    fn methods(&self) -> &[Method];

    /// Does it take this currency?
    fn takes(&self, currency: Currency) -> bool;

    /// Asks the gateway to expect a payment; answers what the payer does next. The order is on the log already, and
    /// asking twice for the same order is the same order at the gateway.
    fn create<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<Action, ChannelError>>;

    /// Checks the signature and the merchant over the raw bytes, then reads what the gateway says.
    ///
    /// Pure but for the keys it holds: a stored callback can be judged again later.
    fn read_callback(&self, callback: &RawCallback) -> Result<Verdict, CallbackFault>;

    /// Asks the gateway what became of an order.
    fn query<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<PaymentState, ChannelError>>;

    /// The origins (`https://pay.example`) that an [`Action::Form`] is sent to, and is redirected to from there: browsers
    /// send no form anywhere else.
    fn form_targets(&self) -> Vec<String> {
        Vec::new()
    }

    /// The gateway's success or failure word.
    fn reply(&self, notice: &Notice) -> Reply;
}

/// One way to pay within a channel, such as a wallet or a bank card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// As it is sent: `alipay`.
    pub name: &'static str,
    /// As it is shown.
    pub title: &'static str,
}

/// An order as a gateway hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Its id; [`OrderId::merchant_number`] is the number at the gateway.
    pub order: OrderId,
    /// What must be paid.
    pub pay: Money,
    /// The method chosen, one of [`Channel::methods`].
    pub method: Option<&'static str>,
    /// When the offer ends.
    pub expires_at: Moment,
}

/// What the payer does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open this address.
    Redirect {
        /// An absolute URL.
        url: String,
    },
    /// Scan this.
    Qr {
        /// What the code holds.
        content: String,
    },
    /// Send this form with the browser.
    Form {
        /// An absolute URL.
        url: String,
        /// Hidden fields, in order.
        fields: Vec<FormField>,
    },
}

/// A hidden field of [`Action::Form`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormField {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What a verified callback says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The order was paid.
    Paid(Payment),
    /// The order ended unpaid.
    Closed {
        /// The order number, as the gateway wrote it.
        order: Label,
        /// Why.
        reason: CloseReason,
    },
    /// Nothing to do yet: the gateway only tells that it waits.
    Pending {
        /// The order number, as the gateway wrote it.
        order: Label,
    },
}

/// A payment, as the gateway states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The order number, as the gateway wrote it.
    pub order: Label,
    /// The gateway's transaction number.
    pub provider_txn: Label,
    /// What was paid.
    pub paid: Money,
}

/// What a gateway answers about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// It knows no such order.
    Unknown,
    /// Not paid yet.
    Waiting,
    /// Paid.
    Paid(Payment),
    /// Ended unpaid.
    Closed(CloseReason),
}

/// Why a callback is not believed. It stays in INBOX and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackFault {
    /// The channel has no secret to check with.
    #[error("the channel has no secret, so that no callback can be checked")]
    NoSecret,
    /// The signature is absent or wrong.
    #[error("the signature is absent or wrong")]
    BadSignature,
    /// The signature is right and the payment is another merchant's.
    #[error("the callback is for another merchant")]
    WrongMerchant,
    /// The signature is right and the contents are not what the channel sends.
    #[error("the callback cannot be read: {0}")]
    Malformed(&'static str),
}

/// Why a gateway could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// It was not reached or did not answer in time; a retry can help.
    #[error("the payment gateway cannot be reached: {0}")]
    Unreachable(String),
    /// It said no.
    #[error("the payment gateway refused: {0}")]
    Refused(String),
}

/// How the callback road ended: what a gateway is to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is on the log, now or since an earlier callback.
    Done,
    /// It is not. `code` says why, for people who read the answer while they set a channel up.
    Failed {
        /// A stable word such as `bad_signature`.
        code: &'static str,
    },
}

/// A gateway's word, as its protocol wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// `text/plain`, `application/json`, …
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// The channels of this gateway. Cheap to clone.
#[derive(Clone)]
pub struct Channels {
    inner: Arc<Inner>,
}

struct Inner {
    by_name: BTreeMap<ChannelName, Arc<dyn Channel>>,
    sandbox: Option<Arc<Sandbox>>,
}

/// Why the channels cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ChannelsError {
    /// The sandbox cannot start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl Channels {
    /// What the operator configured. `own_url` is where this process reaches itself, such as `http://127.0.0.1:3000`.
    ///
    /// Errors: a sandbox in production mode, or one that cannot keep its secret.
    pub fn try_new(config: &Config, own_url: &str) -> Result<Self, ChannelsError> {
        let options = SandboxOptions {
            production: config.production,
            data_dir: Some(config.data_dir.clone()),
            public_url: config.public_url.clone(),
            own_url: own_url.to_owned(),
        };
        let sandbox = config.sandbox_enabled.then(|| Sandbox::try_new(&options)).transpose()?;
        Ok(Self::of([], sandbox))
    }

    /// The given channels, and the sandbox where there is one. Of two with one name the later stays.
    pub fn of(channels: impl IntoIterator<Item = Arc<dyn Channel>>, sandbox: Option<Sandbox>) -> Self {
        let sandbox = sandbox.map(Arc::new);
        let built_in = sandbox.clone().map(|it| it as Arc<dyn Channel>);
        let by_name = channels.into_iter().chain(built_in).map(|it| (it.name().clone(), it)).collect();
        Self { inner: Arc::new(Inner { by_name, sandbox }) }
    }

    /// The channel of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.inner.by_name.get(&ChannelName::try_new(name).ok()?)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Channel>> {
        self.inner.by_name.values()
    }

    /// Where the payment forms of all channels go.
    pub fn form_targets(&self) -> Vec<String> {
        self.all().flat_map(|channel| channel.form_targets()).collect()
    }

    /// The sandbox, for the pages that play its gateway; `None` in production.
    pub fn sandbox(&self) -> Option<&Arc<Sandbox>> {
        self.inner.sandbox.as_ref()
    }
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.inner.by_name.keys()).finish()
    }
}
