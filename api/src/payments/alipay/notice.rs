//! Notifications of the gateway: a form, signed over its decoded fields.

use super::{Alipay, yuan};
use crate::payments::channel::{CallbackFault, Payment, RefundNotice, RefundState, Verdict};
use crate::payments::crypto::PublicKey;
use crate::payments::form::{Form, string_to_sign};
use domain::Label;
use domain::account::event::CloseReason;
use ledger::RawCallback;

/// The kind of notification that tells of payments.
const TRADE: &str = "trade_status_sync";

/// Judges a notification.
pub(super) fn read(alipay: &Alipay, callback: &RawCallback) -> Result<Verdict, CallbackFault> {
    let form = Form::read(&callback.body).map_err(CallbackFault::Unreadable)?;
    let keys = alipay.keys.of(form.get("alipay_cert_sn")).ok_or(CallbackFault::UnknownKey)?;
    let checked = keys.iter().map(|key| check(key, &form)).reduce(Result::or);
    checked.unwrap_or(Err(CallbackFault::BadSignature))?;
    if form.get("notify_type") != Some(TRADE) {
        return Ok(Verdict::Nothing);
    }
    if form.get("app_id") != Some(alipay.app_id.as_str())
        || form.get("seller_id") != Some(alipay.seller_id.as_str())
    {
        return Err(CallbackFault::WrongMerchant);
    }
    let label = |name: &str, fault| {
        Label::try_new(form.get(name).unwrap_or_default()).map_err(|_| CallbackFault::Malformed(fault))
    };
    let amount = |name: &str| {
        let text = form.get(name).unwrap_or_default();
        yuan(text, alipay.currency).ok_or(CallbackFault::Malformed("its amount is no amount"))
    };
    let order = label("out_trade_no", "it names no order")?;
    // A refund is told at the same address, with the state that the payment has by then.
    if form.get("gmt_refund").is_some() {
        return Ok(Verdict::Refund(RefundNotice {
            order: Some(order),
            refund: form.get("out_biz_no").and_then(|it| Label::try_new(it).ok()),
            provider_refund: None,
            provider_txn: label("trade_no", "it names no transaction").ok(),
            // What went back so far; which refund made it so, `out_biz_no` says.
            is_total: true,
            amount: amount("refund_fee")?,
            state: RefundState::Done,
        }));
    }
    match form.get("trade_status") {
        Some("TRADE_SUCCESS" | "TRADE_FINISHED") => {
            let provider_txn = label("trade_no", "it names no transaction")?;
            Ok(Verdict::Paid(Payment { order, provider_txn, paid: amount("total_amount")? }))
        }
        Some("TRADE_CLOSED") => Ok(Verdict::Closed { order, reason: CloseReason::Expired }),
        Some("WAIT_BUYER_PAY") => Ok(Verdict::Pending { order }),
        Some(_) | None => Err(CallbackFault::Malformed("its state is none that there is")),
    }
}

/// Checks a notification's signature. Those that tell of no payment may have the kind of signature among what is signed.
pub(super) fn check(key: &PublicKey, form: &Form) -> Result<(), CallbackFault> {
    let sign = form.get("sign").ok_or(CallbackFault::BadSignature)?;
    if form.get("sign_type").is_some_and(|kind| kind != "RSA2") {
        return Err(CallbackFault::BadSignature);
    }
    let usual = string_to_sign(form.iter(), &["sign", "sign_type"]);
    if key.verifies(usual.as_bytes(), sign) {
        return Ok(());
    }
    let others = form.iter().filter(|(name, _)| *name != "sign_type").chain([("sign_type", "RSA2")]);
    let with_kind = string_to_sign(others, &["sign"]);
    match form.get("notify_type") != Some(TRADE) && key.verifies(with_kind.as_bytes(), sign) {
        true => Ok(()),
        false => Err(CallbackFault::BadSignature),
    }
}
