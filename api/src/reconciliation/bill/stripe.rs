//! Stripe's itemised report `balance_change_from_activity`: decimals of major units, in the payer's currency and in the account's.
//!
//! It has no summary. Claims: gross less fee is net in every row; a payment is known by what we wrote beside it, and counted in
//! the currency that the payer saw.

use super::table::{Header, lines};
use super::{BillFault, BillRow, Format, RowKind, RowStatus, moment, money, number, size, unpack};
use domain::Currency;

pub(super) fn read(format: &Format, bytes: &[u8]) -> Result<Vec<BillRow>, BillFault> {
    let text = unpack::utf8(&unpack::plain(bytes)?)?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(BillFault::whole("its last line does not end: the file is cut off"));
    }
    let all = lines(&text, true)?;
    let [top, body @ ..] = &all[..] else { return Err(BillFault::whole("the file is empty")) };
    let header = Header::new(top, |cell| cell.trim().to_owned())?;
    let needed = |name: &str| header.needed(top, &[name]);
    let id = needed("balance_transaction_id")?;
    let (created, category) = (needed("created_utc")?, needed("reporting_category")?);
    let (gross, fee, net, currency) = (needed("gross")?, needed("fee")?, needed("net")?, needed("currency")?);
    let (facing, facing_currency) = (needed("customer_facing_amount")?, needed("customer_facing_currency")?);
    let (source, intent) = (needed("source_id")?, needed("payment_intent_id")?);
    let order = needed("payment_metadata[order_no]")?;
    let refund = header.find(&["refund_metadata[refund_no]"]);
    let mut rows = Vec::new();
    for line in body {
        header.check(line)?;
        let cell = |at: usize| line.cells.get(at).map(|it| it.trim()).unwrap_or_default();
        let bad = |what: &str| BillFault::at(line.number, what.to_owned());
        let code =
            |at: usize| Currency::try_new(&cell(at).to_uppercase()).map_err(|_| bad("its currency is none"));
        let currency = code(currency)?;
        let figure =
            |at: usize| super::fee(cell(at), currency).ok_or_else(|| bad("one of its amounts is none"));
        let (gross_milli, fee_milli, net_milli) = (figure(gross)?, figure(fee)?, figure(net)?);
        if gross_milli.checked_sub(fee_milli) != Some(net_milli) {
            return Err(bad("its gross less its fee is not its net"));
        }
        let settled = money(cell(gross), currency).ok_or_else(|| bad("its gross is no amount"))?;
        let word = cell(category);
        let kind = match word {
            "charge" => RowKind::Payment,
            "refund" => RowKind::Refund,
            "fee" => RowKind::Fee,
            _ => RowKind::Other,
        };
        // A fee has no face that a customer would see.
        let amount = match cell(facing) {
            "" => settled,
            text => {
                let currency = code(facing_currency)?;
                money(text, currency).ok_or_else(|| bad("its customer_facing_amount is no amount"))?
            }
        };
        let sized = if kind == RowKind::Other { Some(amount) } else { size(amount) };
        rows.push(BillRow {
            line: line.number,
            kind,
            status: RowStatus::Done,
            order: number(cell(order)),
            refund: refund.map(cell).filter(|_| kind == RowKind::Refund).and_then(number),
            txn: number(cell(intent))
                .or_else(|| number(cell(source)))
                .or_else(|| number(cell(id)))
                .ok_or_else(|| bad("it names no transaction"))?,
            amount: sized.ok_or_else(|| bad("its amount is no amount"))?,
            fee_milli: Some(fee_milli),
            rate_ppm: None,
            settled,
            at: moment(format, cell(created)).ok_or_else(|| bad("its created_utc is no time"))?,
            word: word.to_owned(),
        });
    }
    Ok(rows)
}
