//! A channel: a way to pay, behind one trait.
//!
//! For: what every channel can do ([`Channel`]) and which ones there are ([`Channels`]).
//! May not touch: orders and accounts. A channel says what a gateway said; the callback road judges it.
//! Claims: a [`Verdict`] exists only for a callback whose signature and merchant were checked over the raw bytes.

use super::{Sandbox, SandboxError, SandboxOptions, configured};
use crate::config::Config;
use crate::reconciliation::{bill::Format, matching::FeeTerms};
use chrono::NaiveDate;
use domain::account::event::CloseReason;
use domain::{ChannelName, Currency, Label, Moment, Money, OrderId};
use futures_util::future::BoxFuture;
use ledger::RawCallback;
use std::collections::BTreeMap;
use std::net::IpAddr;
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
    fn create<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<Created, ChannelError>>;

    /// Checks the signature and the merchant over the raw bytes, then reads what the gateway says.
    ///
    /// Pure but for the keys it holds: a stored callback can be judged again later.
    /// The clock is the callback's own time of arrival.
    fn read_callback(&self, callback: &RawCallback) -> Result<Verdict, CallbackFault>;

    /// Asks the gateway for the keys that it signs with now, after [`CallbackFault::UnknownKey`]. Answers whether there are
    /// new ones.
    fn learn_keys(&self) -> BoxFuture<'_, Result<bool, ChannelError>> {
        Box::pin(async { Ok(false) })
    }

    /// Is the gateway asked about an order before a callback that says it was paid is believed?
    fn confirms(&self) -> bool {
        false
    }

    /// Asks the gateway what became of an order.
    fn query<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<PaymentState, ChannelError>>;

    /// Asks the gateway to take no payment for an order any more.
    fn close<'a>(&'a self, _: &'a NewOrder) -> BoxFuture<'a, Result<Closing, ChannelError>> {
        Box::pin(async { Ok(Closing::Impossible) })
    }

    /// Asks the gateway to give money back. The same [`RefundWish::refund`] again is the same refund, wherever the gateway
    /// knows such numbers; [`ChannelError::Unreachable`] means that nobody knows yet, and [`Channel::query_refund`] is next.
    fn refund<'a>(&'a self, _: &'a RefundWish) -> BoxFuture<'a, Result<Refunded, ChannelError>> {
        Box::pin(async { Err(ChannelError::Unsupported("refunds")) })
    }

    /// May [`Channel::refund`] be asked again when nobody knows what became of it? `false`: each time is another refund, so
    /// that a person must look first.
    fn repeats_refunds(&self) -> bool {
        true
    }

    /// Asks the gateway what became of a refund.
    fn query_refund<'a>(&'a self, _: &'a RefundWish) -> BoxFuture<'a, Result<Refunded, ChannelError>> {
        Box::pin(async { Err(ChannelError::Unsupported("questions about refunds")) })
    }

    /// Downloads a day's bill, as the gateway wrote it.
    fn bill<'a>(&'a self, _: &'a BillWish) -> BoxFuture<'a, Result<Option<Bill>, ChannelError>> {
        Box::pin(async { Err(ChannelError::Unsupported("bills")) })
    }

    /// How its bills are read; `None`: it writes none.
    fn bill_format(&self) -> Option<Format> {
        None
    }

    /// What it was agreed to keep of each payment; `None`: that was not written down.
    fn fee_terms(&self) -> Option<FeeTerms> {
        None
    }

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
    /// Who pays, as far as a gateway asks.
    pub payer: Payer,
    /// The gateway's own name of the order, where [`Channel::create`] told one.
    pub reference: Option<Label>,
}

/// What some gateways want to know of a payer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payer {
    /// Where they call from.
    pub address: Option<IpAddr>,
    /// Who they are at the gateway, such as an `openid`.
    pub id: Option<Label>,
}

/// An order that a gateway expects the payment of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// What the payer does next.
    pub action: Action,
    /// The gateway's own name of the order, where it is needed to ask about it.
    pub reference: Option<Label>,
}

impl From<Action> for Created {
    fn from(action: Action) -> Self {
        Self { action, reference: None }
    }
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
    /// Hand these to the wallet's own JavaScript.
    Invoke {
        /// What it wants, in order.
        fields: Vec<FormField>,
    },
}

/// A field of [`Action::Form`] or [`Action::Invoke`].
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
    /// Money goes back to a payer.
    Refund(RefundNotice),
    /// A payer's bank disputes a payment.
    Dispute(DisputeNotice),
    /// Nothing that concerns orders.
    Nothing,
}

/// A refund, as the gateway states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundNotice {
    /// The order number, where the gateway tells it.
    pub order: Option<Label>,
    /// The number that we gave the refund; `None`: it was not made by us, or the gateway does not tell.
    pub refund: Option<Label>,
    /// The gateway's number of the refund.
    pub provider_refund: Option<Label>,
    /// The transaction that had been paid, where the gateway tells it.
    pub provider_txn: Option<Label>,
    /// What goes back.
    pub amount: Money,
    /// Is `amount` all that went back of the payment by now, and not this refund's part?
    pub is_total: bool,
    /// How far it is.
    pub state: RefundState,
}

/// A dispute, as the gateway states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeNotice {
    /// The gateway's name of the dispute.
    pub reference: Label,
    /// The gateway's transaction that is disputed.
    pub provider_txn: Label,
    /// What is disputed.
    pub amount: Money,
    /// How far it is.
    pub stage: DisputeStage,
    /// The gateway's word for what happened.
    pub what: Label,
}

/// How far a dispute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisputeStage {
    /// Somebody asks; no money has moved.
    Inquiry,
    /// The money is taken back, for now.
    Taken,
    /// It came back, or was never taken.
    Won,
    /// It stays taken.
    Lost,
}

/// How far a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// Accepted, not done.
    Pending,
    /// The gateway could not pass the money on, and waits for the merchant to help there.
    Abnormal,
    /// The payer has the money.
    Done,
    /// It did not happen; the money is still ours.
    Failed,
}

/// A refund to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundWish {
    /// The order that was paid.
    pub order: OrderId,
    /// What was paid.
    pub paid: Money,
    /// The gateway's transaction that paid it.
    pub provider_txn: Label,
    /// The gateway's own name of the order, where it told one.
    pub reference: Option<Label>,
    /// Our number of the refund: letters and digits, at most 32.
    pub refund: Label,
    /// What goes back, at most what was paid.
    pub amount: Money,
    /// What the payer reads.
    pub reason: String,
}

/// What a gateway says of a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// How far it is; `None`: the gateway knows no such refund.
    pub state: Option<RefundState>,
    /// The gateway's number of the refund.
    pub provider_refund: Option<Label>,
}

/// What a gateway says to [`Channel::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It takes no payment for the order any more.
    Closed,
    /// It has taken one.
    Paid,
    /// It cannot close orders.
    Impossible,
}

/// Which bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillWish {
    /// The day, as the gateway counts days.
    pub day: NaiveDate,
    /// Payments, or movements of the account.
    pub kind: BillKind,
}

/// The two bills that gateways write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillKind {
    /// A line for each payment and refund.
    Trades,
    /// A line for each movement of the merchant's account.
    Funds,
}

/// A bill, as the gateway wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// A file name that says what it is.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
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
///
/// The first four are anybody's: nothing shows that a gateway sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackFault {
    /// The channel has no secret to check with.
    #[error("the channel has no secret, so that no callback can be checked")]
    NoSecret,
    /// The signature is absent or wrong.
    #[error("the signature is absent or wrong")]
    BadSignature,
    /// It cannot be read even so far as to check a signature.
    #[error("the callback is unsigned, for it cannot be read: {0}")]
    Unreadable(&'static str),
    /// It is signed with a key that we do not know.
    #[error("the callback is signed with an unknown key")]
    UnknownKey,
    /// The signature is right and too old, or ahead of its time.
    #[error("the callback's time stamp is more than five minutes off")]
    Stale,
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
    /// There is no such thing at this gateway.
    #[error("the channel does not know {0}")]
    Unsupported(&'static str),
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
    /// Configured, and off: nobody can pay there, and their callbacks are kept.
    off: BTreeMap<ChannelName, Arc<dyn Channel>>,
    sandbox: Option<Arc<Sandbox>>,
}

/// Why the channels cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ChannelsError {
    /// The sandbox cannot start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A channel is not configured as it must be.
    #[error("{0}")]
    Configured(String),
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
        let (open, off) = configured::channels(config).map_err(ChannelsError::Configured)?;
        Ok(Self::of(open, sandbox).with_off(off))
    }

    /// The same, with channels that are off.
    fn with_off(self, off: Vec<Arc<dyn Channel>>) -> Self {
        let off = off.into_iter().map(|it| (it.name().clone(), it)).collect();
        let by_name = self.inner.by_name.clone();
        Self { inner: Arc::new(Inner { by_name, off, sandbox: self.inner.sandbox.clone() }) }
    }

    /// The given channels, and the sandbox where there is one. Of two with one name the later stays.
    pub fn of(channels: impl IntoIterator<Item = Arc<dyn Channel>>, sandbox: Option<Sandbox>) -> Self {
        let sandbox = sandbox.map(Arc::new);
        let built_in = sandbox.clone().map(|it| it as Arc<dyn Channel>);
        let by_name = channels.into_iter().chain(built_in).map(|it| (it.name().clone(), it)).collect();
        Self { inner: Arc::new(Inner { by_name, off: BTreeMap::new(), sandbox }) }
    }

    /// The channel of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.inner.by_name.get(&ChannelName::try_new(name).ok()?)
    }

    /// The channels that write bills.
    pub fn with_bills(&self) -> Vec<Arc<dyn Channel>> {
        self.inner.by_name.values().filter(|it| it.bill_format().is_some()).cloned().collect()
    }

    /// The channel whose callbacks come in under that name: also one that is off, which believes none.
    pub fn for_callback(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.get(name).or_else(|| self.inner.off.get(&ChannelName::try_new(name).ok()?))
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
