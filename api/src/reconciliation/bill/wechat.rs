//! WeChat Pay's bills: 交易账单 (payments and refunds) and 资金账单 (movements of the account).
//!
//! No cell is quoted: a comma in a name is written as a backslash and a blank. Each cell of a row begins with a backtick.
//! Claims: every row is of the merchant; each figure of the summary at the end is what the rows come to.

use super::table::{Header, Line, lines};
use super::{
    BillFault, BillRow, Format, RowKind, RowStatus, moment, money, number, percent_ppm, scaled, size, unpack,
    yuan,
};
use crate::payments::BillKind;
use domain::{Currency, Money};

/// The summary's figures are compared to five decimals.
const DECIMALS: u32 = 5;

pub(super) fn read(
    format: &Format,
    mchid: &str,
    kind: BillKind,
    bytes: &[u8],
) -> Result<Vec<BillRow>, BillFault> {
    let text = unpack::utf8(&unpack::plain(bytes)?)?;
    let table = Table::read(&text)?;
    match kind {
        BillKind::Trades => trades(format, mchid, &table),
        BillKind::Funds => funds(format, &table),
    }
}

struct Table {
    top: Line,
    header: Header,
    body: Vec<Line>,
    sums_top: Line,
    sums_header: Header,
    sums: Line,
}

fn clean(cell: &str) -> &str {
    cell.trim().trim_start_matches('`').trim()
}

impl Table {
    fn read(text: &str) -> Result<Self, BillFault> {
        let all: Vec<Line> = lines(text, false)?
            .into_iter()
            .filter(|it| it.cells.iter().any(|cell| !cell.trim().is_empty()))
            .collect();
        let is_data = |line: &Line| line.cells.first().is_some_and(|it| it.starts_with('`'));
        let cut = || BillFault::whole("the summary at its end is missing: the file is cut off");
        let [top, rest @ ..] = &all[..] else { return Err(BillFault::whole("the file is empty")) };
        let [body @ .., sums_top, sums] = rest else { return Err(cut()) };
        if is_data(top) {
            return Err(BillFault::at(top.number, "the header is missing"));
        }
        if is_data(sums_top) || !is_data(sums) {
            return Err(cut());
        }
        if let Some(line) = body.iter().find(|line| !is_data(line)) {
            return Err(BillFault::at(line.number, "this is no row of a bill"));
        }
        let header = Header::new(top, |cell| clean(cell).to_owned())?;
        body.iter().try_for_each(|line| header.check(line))?;
        let sums_header = Header::new(sums_top, |cell| clean(cell).to_owned())?;
        sums_header.check(sums)?;
        Ok(Self {
            top: top.clone(),
            header,
            body: body.to_vec(),
            sums_top: sums_top.clone(),
            sums_header,
            sums: sums.clone(),
        })
    }

    /// A figure of the summary, in units of 10^-5; `None`: it has no such column.
    fn told(&self, names: &[&str]) -> Result<Option<i64>, BillFault> {
        let Some(at) = self.sums_header.find(names) else { return Ok(None) };
        let text = self.sums.cells.get(at).map(|it| clean(it)).unwrap_or_default();
        let figure = scaled(text, DECIMALS);
        figure.map(Some).ok_or_else(|| BillFault::at(self.sums.number, format!("{text:?} is no figure")))
    }

    /// Is a figure of the summary what the rows come to?
    fn agrees(&self, names: &[&str], found: Option<i64>) -> Result<(), BillFault> {
        match self.told(names)? {
            Some(told) if Some(told) != found => {
                let name = names.first().copied().unwrap_or_default();
                Err(BillFault::at(self.sums.number, format!("{name} is not what the rows come to")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The sum of a column.
    fn sum(&self, names: &[&str]) -> Result<Option<i64>, BillFault> {
        let Some(at) = self.header.find(names) else { return Ok(None) };
        let mut sum = 0_i64;
        for line in &self.body {
            let text = line.cells.get(at).map(|it| clean(it)).unwrap_or_default();
            let figure = if text.is_empty() { Some(0) } else { scaled(text, DECIMALS) };
            let next = figure.and_then(|it| sum.checked_add(it));
            sum = next.ok_or_else(|| BillFault::at(line.number, format!("{text:?} is no amount")))?;
        }
        Ok(Some(sum))
    }
}

/// So many, in the summary's units.
fn whole(count: usize) -> Option<i64> {
    i64::try_from(count).ok()?.checked_mul(10_i64.pow(DECIMALS))
}

fn trades(format: &Format, mchid: &str, table: &Table) -> Result<Vec<BillRow>, BillFault> {
    let (top, header) = (&table.top, &table.header);
    let at = header.needed(top, &["交易时间"])?;
    let merchant = header.needed(top, &["商户号"])?;
    let txn = header.needed(top, &["微信订单号"])?;
    let order = header.needed(top, &["商户订单号"])?;
    let state = header.needed(top, &["交易状态"])?;
    let currency = header.needed(top, &["货币种类"])?;
    // Very old accounts have 总金额 alone.
    let total = header.needed(top, &["订单金额", "总金额"])?;
    let (got, gone) = (header.find(&["应结订单金额"]), header.find(&["退款金额"]));
    let refund = header.find(&["商户退款单号"]);
    let back = header.find(&["申请退款金额", "退款金额"]);
    let back_state = header.find(&["退款状态"]);
    let done_at = header.find(&["退款成功时间"]);
    let (fee, rate) = (header.find(&["手续费"]), header.find(&["费率"]));
    if table.told(&["总交易单数"])?.is_none() {
        return Err(BillFault::at(table.sums_top.number, "the summary has no column 总交易单数"));
    }
    table.agrees(&["总交易单数"], whole(table.body.len()))?;
    for (name, column) in [
        ("应结订单总金额", &["应结订单金额"][..]),
        ("订单总金额", &["订单金额"]),
        ("总交易额", &["总金额"]),
        ("退款总金额", &["退款金额"]),
        ("申请退款总金额", &["申请退款金额"]),
        ("充值券退款总金额", &["充值券退款金额"]),
        ("手续费总金额", &["手续费"]),
    ] {
        if let Some(sum) = table.sum(column)? {
            table.agrees(&[name], Some(sum))?;
        }
    }
    let mut rows = Vec::new();
    for line in &table.body {
        let cell = |at: usize| line.cells.get(at).map(|it| clean(it)).unwrap_or_default();
        let maybe = |at: Option<usize>| at.map(cell).unwrap_or_default();
        let bad = |what: &str| BillFault::at(line.number, what.to_owned());
        if cell(merchant) != mchid {
            return Err(bad("this row is another merchant's"));
        }
        let currency = Currency::try_new(cell(currency)).map_err(|_| bad("its currency is none"))?;
        let amount =
            |text: &str| money(text, currency).and_then(size).ok_or_else(|| bad("its amount is no amount"));
        let word = cell(state);
        // A payment that was revoked has gone back by a refund of its own number, or of none.
        let is_refund = word == "REFUND" || (word == "REVOKED" && number(maybe(refund)).is_some());
        let (kind, status, sum) = match (word, is_refund) {
            ("REFUND" | "REVOKED", true) => {
                let status = match maybe(back_state) {
                    "SUCCESS" | "" => RowStatus::Done,
                    "PROCESSING" => RowStatus::Pending,
                    "FAIL" | "CHANGE" => RowStatus::Failed,
                    _ => return Err(bad("its 退款状态 is none that is known")),
                };
                (RowKind::Refund, status, amount(maybe(back))?)
            }
            ("SUCCESS", _) => (RowKind::Payment, RowStatus::Done, amount(cell(total))?),
            ("REVOKED", _) => (RowKind::Payment, RowStatus::Reversed, amount(cell(total))?),
            _ => return Err(bad("its 交易状态 is none that is known")),
        };
        // Less coupons; very old accounts do not tell.
        let settled = match maybe(if is_refund { gone } else { got }) {
            "" => sum,
            text => amount(text)?,
        };
        let fee_milli = match maybe(fee) {
            "" => None,
            text => Some(super::fee(text, currency).ok_or_else(|| bad("its 手续费 is no amount"))?),
        };
        let time = Some(maybe(done_at)).filter(|it| is_refund && !it.is_empty()).unwrap_or_else(|| cell(at));
        rows.push(BillRow {
            line: line.number,
            kind,
            status,
            order: number(cell(order)),
            refund: if is_refund { number(maybe(refund)) } else { None },
            txn: number(cell(txn)).ok_or_else(|| bad("it names no transaction"))?,
            amount: sum,
            fee_milli,
            rate_ppm: percent_ppm(maybe(rate)),
            settled,
            at: moment(format, time).ok_or_else(|| bad("its 交易时间 is no time"))?,
            word: word.to_owned(),
        });
    }
    Ok(rows)
}

fn funds(format: &Format, table: &Table) -> Result<Vec<BillRow>, BillFault> {
    let (top, header, currency) = (&table.top, &table.header, yuan()?);
    let at = header.needed(top, &["记账时间"])?;
    let txn = header.needed(top, &["微信支付业务单号"])?;
    let own = header.needed(top, &["资金流水单号"])?;
    let (name, kind) = (header.needed(top, &["业务名称"])?, header.needed(top, &["业务类型"])?);
    let way = header.needed(top, &["收支类型"])?;
    let sum = header.needed(top, &["收支金额(元)", "收支金额"])?;
    let mut rows = Vec::new();
    let (mut counts, mut sums) = ([0_usize; 2], [0_i64; 2]);
    for line in &table.body {
        let cell = |at: usize| line.cells.get(at).map(|it| clean(it)).unwrap_or_default();
        let bad = |what: &str| BillFault::at(line.number, what.to_owned());
        let amount =
            money(cell(sum), currency).and_then(size).ok_or_else(|| bad("its amount is no amount"))?;
        let is_income = match cell(way) {
            "收入" => true,
            "支出" => false,
            _ => return Err(bad("its 收支类型 is neither 收入 nor 支出")),
        };
        let side = usize::from(!is_income);
        counts[side] += 1;
        let more = scaled(cell(sum), DECIMALS).and_then(|it| sums[side].checked_add(it));
        sums[side] = more.ok_or_else(|| bad("its amount is no amount"))?;
        let says = |word: &str| cell(name).contains(word) || cell(kind).contains(word);
        // The fee first: it is called 扣除交易手续费.
        let is = match is_income {
            _ if says("手续费") => RowKind::Fee,
            false if says("退款") => RowKind::Refund,
            true if says("交易") => RowKind::Payment,
            _ => RowKind::Other,
        };
        let signed = Money { currency, minor: if is_income { amount.minor } else { -amount.minor } };
        rows.push(BillRow {
            line: line.number,
            kind: is,
            status: RowStatus::Done,
            order: None,
            refund: None,
            txn: number(cell(txn))
                .or_else(|| number(cell(own)))
                .ok_or_else(|| bad("it names no transaction"))?,
            amount: if is == RowKind::Other { signed } else { amount },
            fee_milli: None,
            rate_ppm: None,
            settled: signed,
            at: moment(format, cell(at)).ok_or_else(|| bad("its 记账时间 is no time"))?,
            word: format!("{} {}", cell(name), cell(kind)).trim().to_owned(),
        });
    }
    if table.told(&["资金流水总笔数"])?.is_none() {
        return Err(BillFault::at(table.sums_top.number, "the summary has no column 资金流水总笔数"));
    }
    table.agrees(&["资金流水总笔数"], whole(table.body.len()))?;
    table.agrees(&["收入笔数"], whole(counts[0]))?;
    table.agrees(&["支出笔数"], whole(counts[1]))?;
    table.agrees(&["收入金额"], Some(sums[0]))?;
    table.agrees(&["支出金额"], Some(sums[1]))?;
    Ok(rows)
}
