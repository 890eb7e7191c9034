//! An Epay site's bill: the rows of `act=orders` of a day, as the site wrote them.
//!
//! Sites have no other. It has no summary and no fees. Claims: every row is of the merchant, where it says whose it is; an order
//! that nobody paid is no row.

use super::{BillFault, BillRow, Format, RowKind, RowStatus, moment, number, unpack};
use crate::payments::{epay::yuan, fields::Fields};
use domain::Currency;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The answer that the list may stand in.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

pub(super) fn read(
    format: &Format,
    pid: &str,
    currency: Currency,
    bytes: &[u8],
) -> Result<Vec<BillRow>, BillFault> {
    let text = unpack::utf8(&unpack::plain(bytes)?)?;
    let broken = |error: serde_json::Error| {
        let line = u32::try_from(error.line()).ok().filter(|it| *it > 0);
        BillFault { line, what: "this is no list of orders; the file may be cut off".to_owned() }
    };
    let starts_list = text.trim_start().starts_with('[');
    let listed: Vec<&RawValue> = if starts_list {
        serde_json::from_str(&text).map_err(broken)?
    } else {
        let Answer { data } = serde_json::from_str(&text).map_err(broken)?;
        data
    };
    let mut rows = Vec::new();
    for (at, raw) in listed.into_iter().enumerate() {
        let line = u32::try_from(at + 1).unwrap_or(u32::MAX);
        let bad = |what: &str| BillFault::at(line, what.to_owned());
        let fields = Fields::read(raw.get().as_bytes()).ok_or_else(|| bad("this is no order"))?;
        let text = |name: &str| fields.text(name).filter(|it| !it.is_empty());
        if text("pid").is_some_and(|it| it != pid) {
            return Err(bad("this row is another merchant's"));
        }
        let status = match text("status").as_deref() {
            Some("0") => continue,
            Some("1") => RowStatus::Done,
            // Paid, and given back.
            Some("2") => RowStatus::Reversed,
            Some("3" | "4") => RowStatus::Pending,
            Some(_) | None => return Err(bad("its status is none that is known")),
        };
        let amount =
            text("money").and_then(|it| yuan(&it, currency)).ok_or_else(|| bad("its amount is no amount"))?;
        let time = text("endtime").or_else(|| text("addtime")).ok_or_else(|| bad("it tells no time"))?;
        rows.push(BillRow {
            line,
            kind: RowKind::Payment,
            status,
            order: text("out_trade_no"),
            refund: None,
            txn: text("trade_no")
                .as_deref()
                .and_then(number)
                .ok_or_else(|| bad("it names no transaction"))?,
            amount,
            fee_milli: None,
            rate_ppm: None,
            settled: amount,
            at: moment(format, &time).ok_or_else(|| bad("its time is none"))?,
            word: text("type").unwrap_or_default(),
        });
    }
    Ok(rows)
}
