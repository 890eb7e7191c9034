//! Evidence: a callback as it lies in INBOX, shown to people.
//!
//! May not touch: whether it is believed; that is judged over the bytes.
//! Claims: signatures, keys and what a payer is called are masked, wherever a callback carries them; what cannot be read field by
//! field is not shown, only measured.

use super::form::Form;
use domain::Moment;
use ledger::StoredCallback;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What stands in the place of what is not shown.
const MASK: &str = "•••";
/// Names that hold secrets, proofs or a person, or whose values are sealed: any name with one of these within.
const HIDDEN: [&str; 20] = [
    "sign",
    "secret",
    "token",
    "key",
    "auth",
    "cookie",
    "cipher",
    "nonce",
    "buyer",
    "payer",
    "openid",
    "email",
    "phone",
    "mobile",
    "name",
    "address",
    "account",
    "card",
    "customer",
    "forwarded",
];
/// Names that would be hidden and are harmless and useful.
const SHOWN: [&str; 7] = [
    "sign_type",
    "notify_id",
    "wechatpay-serial",
    "wechatpay-timestamp",
    "wechatpay-signature-type",
    "app_name",
    "payer_total",
];

/// A name and its value, masked where it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A callback as it came in.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Evidence {
    /// Its sequence in INBOX.
    pub inbox: u64,
    /// The channel whose route it came in by.
    pub channel: String,
    /// When it arrived: the moment by which its time stamp is judged, now and when it is replayed.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Moment,
    /// `GET` or `POST`; `ANSWER`: it was not sent to us, it is what the gateway answered when it was asked.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// The query.
    pub query: Vec<Pair>,
    /// Headers, in their order.
    pub headers: Vec<Pair>,
    /// The body's fields, of a form.
    pub form: Option<Vec<Pair>>,
    /// The body, of JSON.
    pub json: Option<Value>,
    /// How many bytes the body has.
    pub bytes: u64,
    /// Their SHA-256 in hexadecimal.
    pub sha256: String,
}

impl Evidence {
    /// What may be shown of a callback.
    pub fn of(stored: &StoredCallback) -> Self {
        let it = &stored.callback;
        let (path, query) = it.uri.split_once('?').unwrap_or((&it.uri, ""));
        let json = serde_json::from_slice::<Value>(&it.body).ok().filter(|json| json.is_object()).map(masked);
        let fields = |text: &[u8]| {
            let form = Form::read(text).ok()?;
            Some(form.iter().map(|(name, value)| pair(name.to_owned(), value.to_owned())).collect::<Vec<_>>())
        };
        Self {
            inbox: stored.sequence,
            channel: stored.channel.to_string(),
            received_at: it.received_at,
            method: it.method.clone(),
            path: path.to_owned(),
            query: fields(query.as_bytes()).unwrap_or_default(),
            headers: it.headers.iter().map(|(name, value)| pair(name.clone(), value.clone())).collect(),
            form: if json.is_some() || it.body.is_empty() { None } else { fields(&it.body) },
            json,
            bytes: u64::try_from(it.body.len()).unwrap_or(u64::MAX),
            sha256: hex::encode(Sha256::digest(&it.body)),
        }
    }
}

fn pair(name: String, value: String) -> Pair {
    let value = if is_hidden(&name) { MASK.to_owned() } else { value };
    Pair { name, value }
}

fn is_hidden(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !SHOWN.contains(&name.as_str()) && HIDDEN.iter().any(|word| name.contains(word))
}

/// The same JSON, with what must be hidden masked at every depth. A text that is JSON itself is masked as such.
fn masked(json: Value) -> Value {
    match json {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let value = if is_hidden(&name) { Value::from(MASK) } else { masked(value) };
                    (name, value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(masked).collect()),
        Value::String(text) => match serde_json::from_str::<Value>(&text) {
            Ok(inner) if inner.is_object() || inner.is_array() => Value::String(masked(inner).to_string()),
            Ok(_) | Err(_) => Value::String(text),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::RawCallback;

    fn shown(uri: &str, headers: &[(&str, &str)], body: &str) -> Evidence {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let callback = RawCallback {
            method: "POST".into(),
            uri: uri.into(),
            headers,
            body: body.as_bytes().to_vec(),
            received_at: Moment::from_micros(7),
        };
        Evidence::of(&StoredCallback { sequence: 3, channel: "epay".parse().unwrap(), callback })
    }

    #[test]
    fn what_proves_and_who_pays_is_masked_and_the_rest_is_shown() {
        let it = shown(
            "/api/payments/epay/callback?out_trade_no=ab&money=1.00&sign=proof&sign_type=MD5",
            &[("Stripe-Signature", "t=1,v1=proof"), ("wechatpay-serial", "77"), ("x-forwarded-for", "proof")],
            r#"{"id":"evt","data":{"amount":500,"customer_email":"proof","list":[{"openid":"proof"}]},"inner":"{\"sign\":\"proof\",\"a\":1}"}"#,
        );
        let text = serde_json::to_string(&it).unwrap();
        assert!(!text.contains("proof"), "{text}");
        for seen in ["out_trade_no", "1.00", "MD5", "77", "evt", "500"] {
            assert!(text.contains(seen), "{seen}: {text}");
        }
        let it = shown("/c", &[], "trade_no=9&buyer_logon_id=proof&sign=proof");
        let values: Vec<_> = it.form.unwrap().into_iter().map(|it| it.value).collect();
        assert_eq!(values, [MASK, MASK, "9"], "by name");
        // Neither a form nor JSON: measured, not shown.
        let it = shown("/c", &[], "sign=%zz proof");
        assert_eq!((it.form, it.json, it.bytes), (None, None, 14));
    }
}
