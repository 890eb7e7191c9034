//! Alipay's bills: 业务明细 (payments and refunds) and 账务明细 (movements of the account), in a zip file or alone.
//!
//! Claims: the account named in the file's head is the merchant's; the counts and sums of the foot are those of the rows.

use super::table::{Header, Line, lines};
use super::{BillFault, BillRow, Format, RowKind, RowStatus, moment, money, number, size, unpack, yuan};
use crate::payments::BillKind;
use chrono::NaiveDate;
use domain::{Currency, Money};

/// A cell without the TAB that keeps spreadsheets from making a number of it.
fn clean(cell: &str) -> &str {
    cell.trim_matches(|it: char| it.is_whitespace() || it == '\u{feff}')
}

pub(super) fn read(
    format: &Format,
    seller_id: &str,
    kind: BillKind,
    day: NaiveDate,
    bytes: &[u8],
) -> Result<Vec<BillRow>, BillFault> {
    let word = match kind {
        BillKind::Trades => "业务明细",
        BillKind::Funds => "账务明细",
    };
    if !bytes.starts_with(b"PK") {
        let text = unpack::text(&unpack::plain(bytes)?)?;
        return Details::read(format, seller_id, kind, day, &text).map(|it| it.rows);
    }
    let files = unpack::zip(bytes)?;
    let is_sum = |name: &str| name.contains("汇总");
    let details: Vec<_> = files.iter().filter(|it| it.name.contains(word) && !is_sum(&it.name)).collect();
    let [file] = details[..] else {
        let what = format!("the zip file holds {} files of {word}; one is wanted", details.len());
        return Err(BillFault::whole(what));
    };
    let details = Details::read(format, seller_id, kind, day, &unpack::text(&file.bytes)?)?;
    if kind == BillKind::Trades
        && let Some(sum) = files.iter().find(|it| it.name.contains(word) && is_sum(&it.name))
    {
        details.agrees(&unpack::text(&sum.bytes)?)?;
    }
    Ok(details.rows)
}

struct Details {
    rows: Vec<BillRow>,
}

/// What a foot says of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Foot {
    line: u32,
    count: i64,
    sum: Money,
}

/// `#交易合计：3笔，商家实收共60.00元，…`: how many, and the first sum.
fn foot(line: &Line, text: &str, currency: Currency) -> Result<Foot, BillFault> {
    let bad = || BillFault::at(line.number, "this line of the foot cannot be read");
    let (_, rest) = text.split_once(['：', ':']).ok_or_else(bad)?;
    let (count, rest) = rest.split_once('笔').ok_or_else(bad)?;
    let (before, _) = rest.split_once('元').ok_or_else(bad)?;
    // The words before the sum are several: 商家实收共, 商家实收退款共, 总金额.
    let digits = before.trim_end_matches(|it: char| it.is_ascii_digit() || matches!(it, '.' | '-'));
    let sum =
        before.strip_prefix(digits).and_then(|it| money(it, currency)).and_then(size).ok_or_else(bad)?;
    Ok(Foot { line: line.number, count: clean(count).parse().map_err(|_| bad())?, sum })
}

impl Details {
    fn read(
        format: &Format,
        seller_id: &str,
        kind: BillKind,
        day: NaiveDate,
        text: &str,
    ) -> Result<Self, BillFault> {
        let currency = yuan()?;
        let mut header: Option<(Line, Header)> = None;
        let (mut body, mut feet) = (Vec::new(), [None, None]);
        let (mut is_ours, mut has_ended) = (false, false);
        let (first, second) = match kind {
            BillKind::Trades => ("#交易合计", "#退款合计"),
            BillKind::Funds => ("#收入合计", "#支出合计"),
        };
        for line in lines(text, false)? {
            let start = line.cells.first().map(|it| clean(it)).unwrap_or_default().to_owned();
            if !start.starts_with('#') {
                if line.cells.iter().all(|it| clean(it).is_empty()) {
                    continue;
                }
                if has_ended {
                    return Err(BillFault::at(line.number, "a row stands behind the end of the list"));
                }
                match &header {
                    None => header = Some((line.clone(), Header::new(&line, |cell| clean(cell).to_owned())?)),
                    Some((_, header)) => {
                        header.check(&line)?;
                        body.push(line);
                    }
                }
                continue;
            }
            // Newer files pad these lines with commas; a sum holds none.
            let whole = line
                .cells
                .iter()
                .map(|it| clean(it))
                .filter(|it| !it.is_empty())
                .collect::<Vec<_>>()
                .join(",");
            if whole.starts_with("#账号") {
                let account: String = whole.chars().filter(char::is_ascii_digit).collect();
                // The account's number is the merchant's with four digits behind it.
                is_ours = account.strip_prefix(seller_id).is_some_and(|rest| rest.len() <= 4);
                if !is_ours {
                    return Err(BillFault::at(line.number, "this is the bill of another merchant"));
                }
            } else if whole.starts_with("#起始日期") {
                let day = [day.format("%Y年%m月%d日").to_string(), day.format("%Y-%m-%d").to_string()];
                let begins = whole
                    .split(['：', ':', '['])
                    .map(str::trim)
                    .find(|it| it.starts_with(|it: char| it.is_ascii_digit()));
                if !begins.is_some_and(|it| day.iter().any(|day| it.starts_with(day.as_str()))) {
                    return Err(BillFault::at(line.number, "this is the bill of another day"));
                }
            } else if whole.contains("列表结束") {
                has_ended = true;
            } else if whole.starts_with(first) {
                feet[0] = Some(foot(&line, &whole, currency)?);
            } else if whole.starts_with(second) {
                feet[1] = Some(foot(&line, &whole, currency)?);
            }
        }
        if !is_ours {
            return Err(BillFault::whole(
                "no line tells whose bill it is (#账号); it may be in another encoding",
            ));
        }
        let (line, header) = header.ok_or_else(|| BillFault::whole("there is no header"))?;
        let rows = match kind {
            BillKind::Trades => trades(format, currency, &line, &header, &body)?,
            BillKind::Funds => funds(format, currency, &line, &header, &body)?,
        };
        let [Some(first), Some(second)] = feet else {
            return Err(BillFault::whole("the sums at its end are missing: the file is cut off"));
        };
        for (foot, is_first) in [(first, true), (second, false)] {
            let counted: Vec<&(BillRow, Money, bool)> = rows.iter().filter(|it| it.2 == is_first).collect();
            let sum = counted.iter().try_fold(0_i64, |sum, it| sum.checked_add(it.1.minor));
            let count = i64::try_from(counted.len()).unwrap_or(i64::MAX);
            if (count, sum.map(i64::abs)) != (foot.count, Some(foot.sum.minor)) {
                let what = format!(
                    "this says {} rows with a sum of {}; there are {count}, with another sum or number",
                    foot.count,
                    foot.sum.amount()
                );
                return Err(BillFault::at(foot.line, what));
            }
        }
        Ok(Self { rows: rows.into_iter().map(|(row, ..)| row).collect() })
    }

    /// Does the file of sums count the same rows?
    fn agrees(&self, text: &str) -> Result<(), BillFault> {
        let mut header: Option<(Line, Header)> = None;
        for line in lines(text, false)? {
            let start = line.cells.first().map(|it| clean(it)).unwrap_or_default();
            match &header {
                _ if start.starts_with('#') || line.cells.len() < 3 => {}
                None => header = Some((line.clone(), Header::new(&line, |cell| clean(cell).to_owned())?)),
                Some((top, header)) if start == "合计" => {
                    for (name, kind) in
                        [("交易订单总笔数", RowKind::Payment), ("退款订单总笔数", RowKind::Refund)]
                    {
                        let told = line.cells.get(header.needed(top, &[name])?).map(|it| clean(it));
                        let found = self.rows.iter().filter(|row| row.kind == kind).count();
                        if told != Some(found.to_string().as_str()) {
                            let what = format!(
                                "the file of sums says another {name} than the {found} that there are"
                            );
                            return Err(BillFault::at(line.number, what));
                        }
                    }
                    return Ok(());
                }
                Some(_) => {}
            }
        }
        Err(BillFault::whole("the file of sums has no line 合计"))
    }
}

/// A row, what the foot counts of it, and whether the first line of the foot does.
type Counted = Vec<(BillRow, Money, bool)>;

fn trades(
    format: &Format,
    currency: Currency,
    top: &Line,
    header: &Header,
    body: &[Line],
) -> Result<Counted, BillFault> {
    let txn = header.needed(top, &["支付宝交易号"])?;
    let order = header.needed(top, &["商户订单号"])?;
    let kind = header.needed(top, &["业务类型"])?;
    let done = header.needed(top, &["完成时间"])?;
    let total = header.needed(top, &["订单金额（元）"])?;
    let received = header.needed(top, &["商家实收（元）"])?;
    let refund = header.needed(top, &["退款批次号/请求号", "退款批次号", "退款请求号"])?;
    let fee = header.find(&["服务费（元）"]);
    let mut rows = Vec::new();
    for line in body {
        let cell = |at: usize| line.cells.get(at).map(|it| clean(it)).unwrap_or_default();
        let bad = |what: &str| BillFault::at(line.number, what.to_owned());
        let amount = |at: usize| money(cell(at), currency).ok_or_else(|| bad("its amount is no amount"));
        let word = cell(kind);
        let is_payment = match word {
            "交易" => true,
            _ if word.contains("退款") => false,
            _ => return Err(bad("its 业务类型 is neither 交易 nor 退款")),
        };
        let got = amount(received)?;
        let sum = size(amount(total)?).ok_or_else(|| bad("its amount is no amount"))?;
        let fee_milli = match fee.map(cell).filter(|it| !it.is_empty()) {
            Some(text) => {
                let fee = super::fee(text, currency).and_then(i64::checked_abs);
                let fee = fee.ok_or_else(|| bad("its 服务费 is no amount"))?;
                Some(if is_payment { fee } else { -fee })
            }
            None => None,
        };
        rows.push((
            BillRow {
                line: line.number,
                kind: if is_payment { RowKind::Payment } else { RowKind::Refund },
                status: RowStatus::Done,
                order: number(cell(order)),
                refund: if is_payment { None } else { number(cell(refund)) },
                txn: number(cell(txn)).ok_or_else(|| bad("it names no transaction"))?,
                amount: sum,
                fee_milli,
                rate_ppm: None,
                // Less the coupons that the merchant gave.
                settled: size(got).ok_or_else(|| bad("its amount is no amount"))?,
                at: moment(format, cell(done)).ok_or_else(|| bad("its 完成时间 is no time"))?,
                word: word.to_owned(),
            },
            got,
            is_payment,
        ));
    }
    Ok(rows)
}

fn funds(
    format: &Format,
    currency: Currency,
    top: &Line,
    header: &Header,
    body: &[Line],
) -> Result<Counted, BillFault> {
    let own = header.needed(top, &["账务流水号"])?;
    let txn = header.needed(top, &["业务流水号"])?;
    let order = header.needed(top, &["商户订单号"])?;
    let at = header.needed(top, &["发生时间"])?;
    let income = header.needed(top, &["收入金额（+元）"])?;
    let expense = header.needed(top, &["支出金额（-元）"])?;
    let kind = header.needed(top, &["业务类型"])?;
    let mut rows = Vec::new();
    for line in body {
        let cell = |at: usize| line.cells.get(at).map(|it| clean(it)).unwrap_or_default();
        let bad = |what: &str| BillFault::at(line.number, what.to_owned());
        let amount = |at: usize| match cell(at) {
            "" => Ok(Money { currency, minor: 0 }),
            // The column says the direction; whether a sign stands there too, files differ.
            text => money(text, currency).and_then(size).ok_or_else(|| bad("its amount is no amount")),
        };
        let (came, went) = (amount(income)?, amount(expense)?);
        let is_income = match (came.minor, went.minor) {
            (0, _) => false,
            (_, 0) => true,
            _ => return Err(bad("it is both an income and an expense")),
        };
        let sum = if is_income { came } else { went };
        let word = cell(kind);
        let kind = match (word, is_income) {
            ("在线支付" | "交易付款" | "交易", true) => RowKind::Payment,
            ("收费" | "服务费", _) => RowKind::Fee,
            (word, false) if word.contains("退款") => RowKind::Refund,
            _ => RowKind::Other,
        };
        let signed = Money { currency, minor: if is_income { sum.minor } else { -sum.minor } };
        rows.push((
            BillRow {
                line: line.number,
                kind,
                status: RowStatus::Done,
                order: number(cell(order)),
                refund: None,
                txn: number(cell(txn))
                    .or_else(|| number(cell(own)))
                    .ok_or_else(|| bad("it names no transaction"))?,
                amount: if kind == RowKind::Other { signed } else { sum },
                fee_milli: None,
                rate_ppm: None,
                settled: signed,
                at: moment(format, cell(at)).ok_or_else(|| bad("its 发生时间 is no time"))?,
                word: word.to_owned(),
            },
            sum,
            is_income,
        ));
    }
    Ok(rows)
}
