//! Differences as a table for spreadsheets.
//!
//! Claims: a number of many digits is text (a TAB before it, as Alipay does it), for a spreadsheet keeps fifteen digits only; no cell
//! begins a formula, whatever a channel or a payer wrote into it.

use crate::directory::reconciliation::Difference;
use domain::Money;

/// The columns.
const COLUMNS: [&str; 22] = [
    "id",
    "channel",
    "day",
    "class",
    "state",
    "order_number",
    "refund_number",
    "transaction",
    "user",
    "ledger_currency",
    "ledger_amount",
    "provider_currency",
    "provider_amount",
    "detail",
    "other_day",
    "owner",
    "act",
    "reason",
    "resolved_by",
    "approved_by",
    "found_at",
    "ended_at",
];

/// The differences as CSV: UTF-8 with its mark, lines ending in CR LF.
pub fn csv(differences: &[Difference]) -> String {
    let mut text = String::from("\u{feff}");
    text.push_str(&COLUMNS.join(","));
    text.push_str("\r\n");
    for it in differences {
        let plain = |it: Option<String>| it.unwrap_or_default();
        let currency = |it: Option<Money>| it.map(|it| it.currency.to_string()).unwrap_or_default();
        let amount = |it: Option<Money>| it.map(Money::amount).unwrap_or_default();
        let cells: [String; 22] = [
            it.id.to_string(),
            it.channel.to_string(),
            it.day.to_string(),
            it.class.to_string(),
            it.state.to_string(),
            plain(it.order_number.clone()),
            plain(it.refund_number.clone()),
            plain(it.txn.clone()),
            plain(it.account.map(|it| it.to_string())),
            currency(it.ledger),
            amount(it.ledger),
            currency(it.provider),
            amount(it.provider),
            it.detail.clone(),
            plain(it.linked.map(|it| it.to_string())),
            plain(it.owner.map(|it| it.to_string())),
            plain(it.act.map(|it| it.to_string())),
            plain(it.reason.clone()),
            plain(it.resolved_by.map(|it| it.to_string())),
            plain(it.approved_by.map(|it| it.to_string())),
            it.created_at.to_string(),
            plain(it.ended_at.map(|it| it.to_string())),
        ];
        let cells: Vec<String> =
            cells.iter().enumerate().map(|(at, cell)| written(cell, matches!(at, 10 | 12))).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A cell, safe and quoted where it must be. `is_amount`: it is one of ours, whose sign is no formula.
fn written(cell: &str, is_amount: bool) -> String {
    let safe = if is_amount {
        cell.to_owned()
    } else if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}")
    } else if cell.len() > 11 && cell.bytes().all(|it| it.is_ascii_digit() || it == b'e' || it == b'E') {
        // `12e34…` would be read as a number too.
        format!("\t{cell}")
    } else {
        cell.to_owned()
    };
    match safe.contains(['"', ',', '\n', '\r', '\t']) {
        true => format!("\"{}\"", safe.replace('"', "\"\"")),
        false => safe,
    }
}

#[cfg(test)]
mod tests {
    use super::written;

    #[test]
    fn no_cell_is_a_formula_or_loses_digits() {
        for (cell, expected) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-1", "'-1"),
            ("4200000914202101195554393855", "\"\t4200000914202101195554393855\""),
            ("019000000000700080000000000012e3", "\"\t019000000000700080000000000012e3\""),
            ("a, \"b\"", "\"a, \"\"b\"\"\""),
            ("plain", "plain"),
        ] {
            assert_eq!(written(cell, false), expected);
        }
        assert_eq!(written("-1.50", true), "-1.50");
    }
}
