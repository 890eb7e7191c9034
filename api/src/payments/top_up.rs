//! Opening a top-up: the order goes on the log, then the channel is told to expect it.
//!
//! For: what a payer may ask ([`Wish`]) and what comes of it ([`open`]).
//! May not touch: HTTP.
//! Claims: an order is durable before any gateway or payer hears of it; the same wish under the same idempotency key is
//! the same order.

use super::Terms;
use super::channel::{Action, Channel, ChannelError, Channels, Method, NewOrder, Payer};
use super::limits::{self, LimitError};
use super::poller::Schedule;
use crate::app::App;
use domain::event::TopUpInitiated;
use domain::{AccountEvent, AccountId, Actor, Command, Credits, IdempotencyKey, Money, OrderId};
use ledger::{LedgerError, Receipt};
use std::sync::Arc;
use uuid::Uuid;

/// What a payer asks, checked.
#[derive(Clone)]
pub struct Wish {
    channel: Arc<dyn Channel>,
    method: Option<&'static str>,
    pay: Money,
    credits: Credits,
    bonus: Credits,
    payer: Payer,
}

/// Which part of a wish is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong with it.
    pub fault: String,
}

/// An order that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The order as it stands on the log.
    pub order: TopUpInitiated,
    /// The position of its event.
    pub position: u64,
    /// What is given beside it once it is paid.
    pub bonus: Credits,
    /// What the payer does next.
    pub action: Action,
}

/// Why an order was not opened, or its payer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ledger said no, or did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The user has as many orders, or as much in them, as one may have.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// What the gateway calls the order could not be kept.
    #[error(transparent)]
    Directory(#[from] crate::directory::DirectoryError),
    /// The order is open; the gateway did not take it.
    #[error("order {order} is open, but {source}")]
    Channel {
        /// The order.
        order: OrderId,
        /// What the gateway said.
        source: ChannelError,
    },
    /// The receipt is not a top-up's. Cannot happen: the ledger compares what a key stood for.
    #[error("the ledger answered a top-up with event {sequence}, which is none")]
    Foreign {
        /// That event.
        sequence: u64,
    },
}

impl Wish {
    /// Checks what a payer sent against the channels and the terms.
    pub fn try_new(
        channels: &Channels,
        terms: &Terms,
        amount: &str,
        currency: Option<&str>,
        channel: &str,
        method: Option<&str>,
    ) -> Result<Self, Unfit> {
        let unfit = |field, fault: String| Unfit { field, fault };
        let (code, terms) = terms.of(currency).map_err(|error| unfit("currency", error.to_string()))?;
        let (pay, credits) = terms.accept(amount).map_err(|error| unfit("amount", error.to_string()))?;
        let bonus = terms.bonus_of(pay, credits);
        let found = channels.get(channel).ok_or_else(|| {
            let known = channels.all().map(|it| it.name().as_str()).collect::<Vec<_>>().join(", ");
            unfit("channel", format!("there is no such channel; there are: {known}"))
        })?;
        if !found.takes(code) {
            return Err(unfit("currency", format!("the channel {} does not take {code}", found.name())));
        }
        let method = match (method, found.methods()) {
            (None, methods) => methods.first().map(|it| it.name),
            (Some(asked), methods) => Some(named(methods, asked).ok_or_else(|| {
                let known = methods.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
                unfit("method", format!("the channel {} has no such method; it has: [{known}]", found.name()))
            })?),
        };
        Ok(Self { channel: Arc::clone(found), method, pay, credits, bonus, payer: Payer::default() })
    }

    /// The same, by somebody a gateway may want to know of.
    #[must_use]
    pub fn by(self, payer: Payer) -> Self {
        Self { payer, ..self }
    }
}

fn named(methods: &[Method], name: &str) -> Option<&'static str> {
    methods.iter().map(|it| it.name).find(|it| *it == name)
}

/// Opens an order.
pub async fn open(
    app: &App,
    account: AccountId,
    actor: Actor,
    key: Option<IdempotencyKey>,
    wish: Wish,
) -> Result<Opened, OpenError> {
    limits::check(app, account, key.as_ref(), wish.pay).await?;
    let command = Command::InitiateTopUp {
        order: OrderId::from_uuid(Uuid::new_v4()),
        channel: wish.channel.name().clone(),
        pay: wish.pay,
        credits: wish.credits,
        expires_at: crate::directory::now().plus_ms(app.live.now().topup.order_life_ms),
    };
    let receipt = app.ledger.execute(account, command, actor, key).await?;
    let position = receipt.recorded.sequence;
    // What was not promised when it was opened is not promised by asking again.
    let promised = if receipt.repeated { Credits::ZERO } else { wish.bonus };
    // A repeated wish is answered from the first receipt: its order, not the one made above.
    let order = initiated(receipt)?;
    // Before anybody can pay it: a payment finds its bonus promised.
    let bonus = app.directory.promise_bonus(account, order.order, promised).await?;
    let expected = NewOrder {
        order: order.order,
        pay: order.pay,
        method: wish.method,
        expires_at: order.expires_at,
        payer: wish.payer,
        reference: None,
    };
    let created = wish.channel.create(&expected).await.map_err(|source| {
        tracing::error!(channel = %order.channel, order = %order.order, %account, "a gateway did not take an order: {source}");
        OpenError::Channel { order: order.order, source }
    })?;
    let first_poll_at = Schedule::new(&app.live.now().topup.poll_seconds).first(crate::directory::now());
    // Before the payer hears of it: without the gateway's name of an order nobody could ask about it.
    app.directory
        .note_order(account, order.order, wish.method, created.reference.as_ref(), first_poll_at)
        .await?;
    let action = created.action;
    Ok(Opened { order, position, bonus, action })
}

fn initiated(receipt: Receipt) -> Result<TopUpInitiated, OpenError> {
    match receipt.recorded.event {
        AccountEvent::TopUpInitiated(order) => Ok(order),
        AccountEvent::TopUpCompleted(_)
        | AccountEvent::TopUpClosed(_)
        | AccountEvent::CreditGranted(_)
        | AccountEvent::AdjustmentPosted(_)
        | AccountEvent::RefundRequested(_)
        | AccountEvent::RefundApproved(_)
        | AccountEvent::RefundCompleted(_)
        | AccountEvent::RefundFailed(_)
        | AccountEvent::ChargebackPosted(_)
        | AccountEvent::ChargebackReversed(_)
        | AccountEvent::LeaseGranted(_)
        | AccountEvent::LeaseAmended(_)
        | AccountEvent::LeaseClosed(_) => Err(OpenError::Foreign { sequence: receipt.recorded.sequence }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::payments::{Sandbox, SandboxOptions};

    fn terms() -> Terms {
        Terms::try_new(&Config::default().topup).unwrap()
    }

    fn channels() -> Channels {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = SandboxOptions {
            production: false,
            data_dir: None,
            public_url: "http://127.0.0.1:3000".into(),
            own_url: "http://127.0.0.1:3000".into(),
        };
        Channels::of([], Some(Sandbox::try_new(&options).unwrap()))
    }

    #[test]
    fn a_wish_knows_what_it_buys() {
        let wish = Wish::try_new(&channels(), &terms(), "50.00", None, "sandbox", None).unwrap();
        assert_eq!(
            (wish.pay.to_string(), wish.credits.to_string()),
            ("50.00 CNY".into(), "6.944444444".into())
        );
        assert_eq!(wish.method, None);
    }

    #[test]
    fn an_unfit_wish_names_its_field() {
        let channels = channels();
        let field = |amount, currency, channel, method| {
            Wish::try_new(&channels, &terms(), amount, currency, channel, method)
                .map(|_| ())
                .unwrap_err()
                .field
        };
        assert_eq!(field("0", None, "sandbox", None), "amount");
        assert_eq!(field("1e3", None, "sandbox", None), "amount");
        assert_eq!(field("50", Some("XXX"), "sandbox", None), "currency");
        assert_eq!(field("50", None, "alipay", None), "channel");
        assert_eq!(field("50", None, "Sand Box!", None), "channel");
        assert_eq!(field("50", None, "", None), "channel");
        assert_eq!(field("50", None, "sandbox", Some("card")), "method");
    }

    #[test]
    fn there_is_no_sandbox_in_production() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let development = Config { data_dir: folder.path().to_owned(), ..Config::default() };
        let channels = Channels::try_new(&development, "http://127.0.0.1:3000").unwrap();
        assert!(channels.sandbox().is_some() && channels.get("sandbox").is_some());
        let production = Config { production: true, ..development.clone() };
        assert!(Channels::try_new(&production, "http://127.0.0.1:3000").is_err());
        let without = Config { sandbox_enabled: false, ..production };
        let channels = Channels::try_new(&without, "http://127.0.0.1:3000").unwrap();
        assert!(channels.sandbox().is_none() && channels.get("sandbox").is_none());
    }
}
