//! From the operator's tables to channels.
//!
//! Claims: a channel without its secret is off and says so at the start; it is never one that believes without checking.

use super::alipay::Alipay;
use super::channel::{
    CallbackFault, Channel, ChannelError, Created, Method, NewOrder, Notice, PaymentState, Reply, Verdict,
};
use super::config::{ChannelConfig, Kind, Unusable};
use super::epay::Epay;
use super::gateway::GatewayClient;
use super::stripe::Stripe;
use super::wechat::Wechat;
use crate::config::Config;
use crate::reconciliation::matching::FeeTerms;
use domain::{ChannelName, Currency};
use futures_util::future::BoxFuture;
use ledger::RawCallback;
use rust_decimal::{Decimal, prelude::ToPrimitive};
use std::sync::Arc;

/// What every channel is told.
pub(super) struct Common {
    /// Where the gateway sends its callbacks.
    pub(super) notify_url: String,
    /// Where the browser goes after a payment.
    pub(super) return_url: String,
    /// Calls the gateway.
    pub(super) client: GatewayClient,
    /// Its address, checked.
    pub(super) base_url: String,
    /// What it was agreed to keep.
    pub(super) fee: Option<FeeTerms>,
}

type Both = (Vec<Arc<dyn Channel>>, Vec<Arc<dyn Channel>>);

/// The channels that can be used, and those that are off. Error: which field is wrong, and how.
pub(super) fn channels(config: &Config) -> Result<Both, String> {
    let (mut open, mut off) = (Vec::new(), Vec::new());
    for channel in &config.payments {
        match built(channel, config) {
            Ok(channel) => open.push(channel),
            Err(Unusable::Off(why)) => {
                tracing::warn!(channel = %channel.name, "the payment channel is off: {why}");
                off.push(Arc::new(Off { name: channel.name.clone() }) as Arc<dyn Channel>);
            }
            Err(Unusable::Wrong(what)) => return Err(what),
        }
    }
    Ok((open, off))
}

fn built(channel: &ChannelConfig, config: &Config) -> Result<Arc<dyn Channel>, Unusable> {
    if !channel.flag("enabled")? {
        return Err(Unusable::Off("enabled is false".to_owned()));
    }
    let allow_private = channel.flag("allow_private")?;
    let base_url = GatewayClient::check_url(channel.needed("base_url")?, allow_private);
    let client = GatewayClient::try_new(allow_private);
    let common = Common {
        notify_url: format!("{}/api/payments/{}/callback", config.public_url, channel.name),
        return_url: match channel.text("return_url") {
            "" => format!("{}/", config.public_url),
            url => url.to_owned(),
        },
        client: client.map_err(|error| channel.wrong("kind", &format!("cannot make HTTP calls: {error}")))?,
        base_url: base_url.map_err(|fault| channel.wrong("base_url", &fault))?,
        fee: fee_terms(channel.text("fee")).map_err(|fault| channel.wrong("fee", fault))?,
    };
    Ok(match channel.kind {
        Kind::Epay => Arc::new(Epay::try_new(channel, common)?),
        Kind::Stripe => Arc::new(Stripe::try_new(channel, common)?),
        Kind::Alipay => Arc::new(Alipay::try_new(channel, common)?),
        Kind::Wechat => Arc::new(Wechat::try_new(channel, common)?),
    })
}

/// Reads `0.6%` or `2.9% + 0.30`; empty: nothing was written down. The fixed part is in units of a currency with two decimals.
fn fee_terms(text: &str) -> Result<Option<FeeTerms>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let (share, fixed) = text.split_once('+').unwrap_or((text, "0"));
    let number = |text: &str, scale: u32| -> Option<i64> {
        let it: Decimal = text.trim().parse().ok()?;
        let scaled = it.checked_mul(Decimal::from(10_i64.pow(scale)))?;
        (scaled >= Decimal::ZERO && scaled.is_integer()).then(|| scaled.to_i64())?
    };
    let rate_ppm = share.trim().strip_suffix('%').and_then(|it| number(it, 4)).filter(|it| *it <= 1_000_000);
    let terms =
        rate_ppm.zip(number(fixed, 5)).map(|(rate_ppm, fixed_milli)| FeeTerms { rate_ppm, fixed_milli });
    terms.map(Some).ok_or("is neither a share such as 0.6% nor a share and a sum such as 2.9% + 0.30")
}

/// A channel without a secret.
struct Off {
    name: ChannelName,
}

impl Channel for Off {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn title(&self) -> &str {
        self.name.as_str()
    }

    fn methods(&self) -> &[Method] {
        &[]
    }

    fn takes(&self, _: Currency) -> bool {
        false
    }

    fn create<'a>(&'a self, _: &'a NewOrder) -> BoxFuture<'a, Result<Created, ChannelError>> {
        Box::pin(async { Err(ChannelError::Refused("the channel is off".to_owned())) })
    }

    fn read_callback(&self, _: &RawCallback) -> Result<Verdict, CallbackFault> {
        Err(CallbackFault::NoSecret)
    }

    fn query<'a>(&'a self, _: &'a NewOrder) -> BoxFuture<'a, Result<PaymentState, ChannelError>> {
        Box::pin(async { Err(ChannelError::Refused("the channel is off".to_owned())) })
    }

    fn reply(&self, notice: &Notice) -> Reply {
        let body = match notice {
            Notice::Done => "success".to_owned(),
            Notice::Failed { code } => format!("failure: {code}"),
        };
        Reply { content_type: "text/plain; charset=utf-8", body }
    }
}

/// What a channel is told in tests.
#[cfg(test)]
pub(super) fn common_for_tests(base_url: &str) -> Common {
    drop(rustls::crypto::ring::default_provider().install_default());
    Common {
        notify_url: "https://gw.example.com/api/payments/x/callback".to_owned(),
        return_url: "https://gw.example.com/".to_owned(),
        client: GatewayClient::try_new(true).unwrap(),
        base_url: base_url.to_owned(),
        fee: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_channel_keeps_is_a_share_and_perhaps_a_sum() {
        let terms = |rate_ppm, fixed_milli| Ok(Some(FeeTerms { rate_ppm, fixed_milli }));
        assert_eq!(fee_terms(""), Ok(None));
        assert_eq!(fee_terms("0.6%"), terms(6_000, 0));
        assert_eq!(fee_terms("2.9% + 0.30"), terms(29_000, 30_000));
        for text in ["0.6", "%", "-1%", "101%", "1e2%", "0.6% + x", "0.00001%"] {
            assert!(fee_terms(text).is_err(), "{text}");
        }
    }
}
