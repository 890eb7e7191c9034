//! Stripe's events: the signature over the raw body, then what the event says.

use super::{Refund, Session, Stripe, of_stripe, payment, refund_state};
use crate::payments::channel::{CallbackFault, DisputeNotice, DisputeStage, RefundNotice, Verdict};
use crate::payments::crypto::same;
use domain::Label;
use domain::account::event::CloseReason;
use hmac::{Hmac, KeyInit, Mac};
use ledger::RawCallback;
use relay::Secret;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::Sha256;

/// How old an event may be, or how far ahead of us, in seconds.
const TOLERANCE_S: u64 = 300;

#[derive(Deserialize)]
struct Event<'a> {
    object: String,
    #[serde(rename = "type")]
    kind: String,
    livemode: bool,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Dispute {
    id: String,
    amount: i64,
    currency: String,
    payment_intent: Option<String>,
    charge: Option<String>,
    status: Option<String>,
}

#[derive(Deserialize)]
struct Charge {
    refunds: Option<Refunds>,
}

#[derive(Deserialize)]
struct Refunds {
    /// The newest first.
    data: Vec<Refund>,
}

/// Judges an event.
pub(super) fn read(stripe: &Stripe, callback: &RawCallback) -> Result<Verdict, CallbackFault> {
    let mut headers =
        callback.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("stripe-signature"));
    let (Some((_, header)), None) = (headers.next(), headers.next()) else {
        return Err(CallbackFault::BadSignature);
    };
    check(
        &stripe.webhook_secrets,
        header,
        &callback.body,
        callback.received_at.micros().div_euclid(1_000_000),
    )?;
    let event: Event<'_> =
        serde_json::from_slice(&callback.body).map_err(|_| CallbackFault::Malformed("it is no event"))?;
    // Thin events have another shape, and tell nothing of orders.
    if event.object != "event" {
        return Ok(Verdict::Nothing);
    }
    if event.livemode != stripe.is_live {
        return Err(CallbackFault::WrongMerchant);
    }
    let Some(Data { object }) = event.data else { return Ok(Verdict::Nothing) };
    said(stripe, &event.kind, object)
}

fn said(stripe: &Stripe, kind: &str, object: &RawValue) -> Result<Verdict, CallbackFault> {
    let malformed = CallbackFault::Malformed("its object is not what the event says");
    let session = || -> Result<Session, CallbackFault> {
        let session: Session = serde_json::from_str(object.get()).map_err(|_| malformed.clone())?;
        stripe.owns(&session)?;
        Ok(session)
    };
    // A session that somebody else of the account made has no number of ours.
    let order =
        |session: &Session| session.client_reference_id.clone().and_then(|it| Label::try_new(it).ok());
    match kind {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            let session = session()?;
            let Some(order) = order(&session) else { return Ok(Verdict::Nothing) };
            match session.payment_status.as_deref() {
                Some("paid") => payment(&session).map(Verdict::Paid),
                // A method that takes days: another event tells when it is paid.
                Some(_) | None => Ok(Verdict::Pending { order }),
            }
        }
        "checkout.session.async_payment_failed" | "checkout.session.expired" => {
            let session = session()?;
            let reason = match kind {
                "checkout.session.expired" => CloseReason::Expired,
                _ => CloseReason::Failed,
            };
            Ok(order(&session).map_or(Verdict::Nothing, |order| Verdict::Closed { order, reason }))
        }
        "refund.created" | "refund.updated" | "refund.failed" => {
            let refund: Refund = serde_json::from_str(object.get()).map_err(|_| malformed.clone())?;
            given_back(&refund).map(Verdict::Refund)
        }
        // Only older versions of the API put the refunds there; the events above tell the same.
        "charge.refunded" => {
            let charge: Charge = serde_json::from_str(object.get()).map_err(|_| malformed)?;
            let newest = charge.refunds.and_then(|it| it.data.into_iter().next());
            newest.map_or(Ok(Verdict::Nothing), |refund| given_back(&refund).map(Verdict::Refund))
        }
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated"
        | "charge.dispute.closed" => {
            let dispute: Dispute = serde_json::from_str(object.get()).map_err(|_| malformed.clone())?;
            let txn = dispute.payment_intent.or(dispute.charge).and_then(|it| Label::try_new(it).ok());
            let status = dispute.status.unwrap_or_default();
            let what = format!("{kind} ({status})");
            Ok(Verdict::Dispute(DisputeNotice {
                reference: Label::try_new(dispute.id).map_err(|_| malformed.clone())?,
                provider_txn: txn.ok_or_else(|| malformed.clone())?,
                amount: of_stripe(dispute.amount, &dispute.currency).ok_or_else(|| malformed.clone())?,
                stage: stage(kind, &status),
                what: Label::try_new(what).map_err(|_| malformed)?,
            }))
        }
        _ => Ok(Verdict::Nothing),
    }
}

fn given_back(refund: &Refund) -> Result<RefundNotice, CallbackFault> {
    let label = |text: Option<&String>| text.and_then(|it| Label::try_new(it.as_str()).ok());
    let metadata = refund.metadata.as_ref();
    let amount = of_stripe(refund.amount, &refund.currency);
    Ok(RefundNotice {
        order: label(metadata.and_then(|it| it.order_no.as_ref())),
        refund: label(metadata.and_then(|it| it.refund_no.as_ref())),
        provider_refund: label(Some(&refund.id)),
        provider_txn: label(refund.payment_intent.as_ref().or(refund.charge.as_ref())),
        amount: amount.ok_or(CallbackFault::Malformed("its object is not what the event says"))?,
        is_total: false,
        state: refund_state(refund),
    })
}

/// What an event means. The money goes when a dispute is opened, unless it is only asked about; the status alone says how
/// it ended, for `closed` is both.
fn stage(kind: &str, status: &str) -> DisputeStage {
    match (kind, status) {
        (_, "won" | "warning_closed") | ("charge.dispute.funds_reinstated", _) => DisputeStage::Won,
        (_, "lost") => DisputeStage::Lost,
        ("charge.dispute.funds_withdrawn", _) => DisputeStage::Taken,
        (_, status) if status.starts_with("warning_") => DisputeStage::Inquiry,
        _ => DisputeStage::Taken,
    }
}

/// Checks `t=…,v1=…`: HMAC-SHA256 of `t.body` under the whole text of a secret. Any `v1` and any secret may match; other
/// schemes do not count.
pub(super) fn check(secrets: &[Secret], header: &str, body: &[u8], now: i64) -> Result<(), CallbackFault> {
    if secrets.is_empty() || secrets.iter().any(|secret| secret.expose().is_empty()) {
        return Err(CallbackFault::NoSecret);
    }
    let (mut time, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", _)) if time.is_some() => return Err(CallbackFault::BadSignature),
            Some(("t", text)) => time = Some(text),
            Some(("v1", text)) => signatures.push(text),
            Some(_) | None => {}
        }
    }
    // The text as it stands is what was signed.
    let time = time.ok_or(CallbackFault::BadSignature)?;
    let sent: i64 = time.parse().map_err(|_| CallbackFault::BadSignature)?;
    let mut matches = false;
    for secret in secrets {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
            .map_err(|_| CallbackFault::NoSecret)?;
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body);
        let own = hex::encode(mac.finalize().into_bytes());
        for signature in &signatures {
            matches |= same(own.as_bytes(), signature.as_bytes());
        }
    }
    if !matches {
        return Err(CallbackFault::BadSignature);
    }
    if now.abs_diff(sent) > TOLERANCE_S { Err(CallbackFault::Stale) } else { Ok(()) }
}
