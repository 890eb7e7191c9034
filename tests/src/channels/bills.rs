//! Bills as payment channels write them: the right encodings, guards, sums and packings, and whatever rows a test plants.

use chrono::{NaiveDate, NaiveDateTime};
use serde_json::{Value, json};
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

/// What a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody paid.
    Payment,
    /// Somebody got money back.
    Refund,
    /// A withdrawal.
    Payout,
}

/// A line of a bill, before it is in anybody's format.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it tells of.
    pub kind: Kind,
    /// The order's number.
    pub order: String,
    /// The refund's number.
    pub refund: String,
    /// The channel's transaction.
    pub txn: String,
    /// Hundredths of the currency.
    pub minor: i64,
    /// What the channel keeps, in hundredths.
    pub fee: i64,
    /// When, by the channel's clock.
    pub at: NaiveDateTime,
    /// Is it held back by the channel?
    pub is_held: bool,
}

impl Line {
    /// A payment, with the fee that the channel was agreed to keep: 0.6%.
    pub fn payment(order: &str, txn: &str, amount: &str, at: NaiveDateTime) -> Self {
        let minor = minor(amount);
        Self {
            kind: Kind::Payment,
            order: order.to_owned(),
            refund: String::new(),
            txn: txn.to_owned(),
            minor,
            fee: (minor * 6 + 500) / 1000,
            at,
            is_held: false,
        }
    }
}

impl Line {
    /// The same payment, of which so much went back now; the fee stays with the channel.
    pub fn refund(&self, number: &str, minor: i64, at: NaiveDateTime) -> Self {
        Self { kind: Kind::Refund, refund: number.to_owned(), minor, fee: 0, at, ..self.clone() }
    }
}

/// The lines of payments, and behind them those of what went back of them.
pub fn with_refunds(
    mut lines: Vec<Line>,
    refunds: &super::refunds::Refunds,
    minor: fn(&str) -> i64,
    at: NaiveDateTime,
) -> Vec<Line> {
    for (number, given) in refunds.done() {
        if let Some(paid) = lines.iter().find(|line| line.txn == given.of) {
            lines.push(paid.refund(&number, minor(&given.amount), at));
        }
    }
    lines
}

/// Hundredths of a decimal.
pub fn minor(amount: &str) -> i64 {
    let (whole, cents) = amount.split_once('.').unwrap_or((amount, "00"));
    format!("{whole}{cents:0<2}").parse().unwrap()
}

/// Hundredths as a decimal.
pub fn amount(minor: i64) -> String {
    format!("{}{}.{:02}", if minor < 0 { "-" } else { "" }, minor.abs() / 100, minor.abs() % 100)
}

fn sum(lines: &[Line], kind: Kind) -> (usize, i64) {
    let of = || lines.iter().filter(|line| line.kind == kind);
    (of().count(), of().map(|line| line.minor).sum())
}

fn gbk(text: &str) -> Vec<u8> {
    encoding_rs::GBK.encode(text).0.into_owned()
}

/// A zip file whose names are GBK without the flag that would say UTF-8. The library writes names as UTF-8, so a name of the same
/// length stands there first.
fn zipped(files: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (at, (name, content)) in files.iter().enumerate() {
        let place = format!("{at:a<width$}", width = name.len());
        writer.start_file(place, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    let mut bytes = writer.finish().unwrap().into_inner();
    for (at, (name, _)) in files.iter().enumerate() {
        let place = format!("{at:a<width$}", width = name.len()).into_bytes();
        for from in 0..bytes.len() - place.len() {
            if bytes[from..].starts_with(&place) {
                bytes[from..from + place.len()].copy_from_slice(name);
            }
        }
    }
    bytes
}

const ALIPAY_TRADES: &str = "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,\
    商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,\
    退款批次号/请求号,服务费（元）,分润（元）,备注";

/// Alipay's 业务明细 with its 汇总, zipped.
pub fn alipay(seller: &str, day: NaiveDate, lines: &[Line]) -> Vec<u8> {
    let ((payments, paid), (refunds, back)) = (sum(lines, Kind::Payment), sum(lines, Kind::Refund));
    let next = day.succ_opt().unwrap();
    let mut rows = vec![
        "#支付宝业务明细查询".to_owned(),
        format!("#账号：[{seller}0156]"),
        format!(
            "#起始日期：[{}]   终止日期：[{}]",
            day.format("%Y年%m月%d日 00:00:00"),
            next.format("%Y年%m月%d日 00:00:00")
        ),
        format!("#{}业务明细列表{}", "-".repeat(41), "-".repeat(40)),
        ALIPAY_TRADES.to_owned(),
    ];
    for line in lines.iter().filter(|line| line.kind != Kind::Payout) {
        let (word, sign) = if line.kind == Kind::Refund { ("退款", -1) } else { ("交易", 1) };
        let (sum, fee) = (amount(sign * line.minor), amount(-sign * line.fee));
        rows.push(format!(
            "{}\t,{}\t,{word}\t,额度,{at},{at},\t,\t,\t,\t,*先生(136****1234)\t,{sum},{sum},0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,{}\t,{fee},0.00,",
            line.txn, line.order, line.refund, at = line.at.format("%Y-%m-%d %H:%M:%S"),
        ));
    }
    rows.push(format!("#{}业务明细列表结束{}", "-".repeat(41), "-".repeat(36)));
    rows.push(format!("#交易合计：{payments}笔，商家实收共{}元，商家优惠共0.00元", amount(paid)));
    rows.push(format!("#退款合计：{refunds}笔，商家实收退款共{}元，商家优惠退款共0.00元", amount(-back)));
    rows.push(format!("#导出时间：[{}]\r\n", next.format("%Y年%m月%d日 06:27:37")));
    let sums = format!(
        "#支付宝业务汇总查询\r\n#账号：[{seller}0156]\r\n门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,\
         商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）\r\n合计\t,\t,{payments},{refunds},{net},{net},0.00,0.00,0.00,0.00,0.00,{net}\r\n",
        net = amount(paid - back)
    );
    let name = |kind: &str| gbk(&format!("{seller}0156_{}_{kind}.csv", day.format("%Y%m%d")));
    zipped(&[(name("业务明细(汇总)"), gbk(&sums)), (name("业务明细"), gbk(&rows.join("\r\n")))])
}

/// Alipay's 账务明细, zipped: each payment with its fee behind it, refunds, withdrawals.
pub fn alipay_funds(seller: &str, day: NaiveDate, lines: &[Line]) -> Vec<u8> {
    let mut rows = vec![
        "#支付宝账务明细查询".to_owned(),
        format!("#账号：[{seller}0156]"),
        format!("#起始日期：[{}]", day.format("%Y年%m月%d日 00:00:00")),
        "#-----账务明细列表-----".to_owned(),
        "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,业务类型,备注".to_owned(),
    ];
    let (mut income, mut expense) = ((0, 0), (0, 0));
    for (at, line) in lines.iter().enumerate() {
        let (word, sign) = match line.kind {
            Kind::Payment => ("在线支付", 1),
            Kind::Refund => ("退款（交易退款）", -1),
            Kind::Payout => ("提现", -1),
        };
        let mut moves = |minor: i64, word: &str| {
            let (side, cells) = match minor > 0 {
                true => (&mut income, format!("{},", amount(minor))),
                false => (&mut expense, format!(",{}", amount(minor))),
            };
            side.0 += 1;
            side.1 += minor.abs();
            rows.push(format!(
                "{at}\t,{}\t,{}\t,额度\t,{},x\t,{cells},0.00,支付宝\t,{word}\t,",
                line.txn,
                line.order,
                line.at.format("%Y-%m-%d %H:%M:%S"),
            ));
        };
        moves(sign * line.minor, word);
        if line.fee != 0 {
            moves(-sign * line.fee, "收费");
        }
    }
    rows.push("#-----账务明细列表结束-----".to_owned());
    rows.push(format!("#支出合计：{}笔，共{}元", expense.0, amount(expense.1)));
    rows.push(format!("#收入合计：{}笔，共{}元\r\n", income.0, amount(income.1)));
    let name = gbk(&format!("{seller}0156_{}_账务明细.csv", day.format("%Y%m%d")));
    zipped(&[(name, gbk(&rows.join("\r\n")))])
}

/// WeChat Pay's 交易账单.
pub fn wechat(mchid: &str, lines: &[Line]) -> Vec<u8> {
    let mut text = String::from(
        "\u{feff}交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,\
         微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注\r\n",
    );
    let (mut count, mut fees) = (0, 0);
    for line in lines.iter().filter(|line| line.kind != Kind::Payout) {
        let is_refund = line.kind == Kind::Refund;
        let (state, back_state) = match (is_refund, line.is_held) {
            (true, _) => ("REFUND", "SUCCESS"),
            (false, true) => ("REVOKED", ""),
            (false, false) => ("SUCCESS", ""),
        };
        let (paid, back) = if is_refund { (0, line.minor) } else { (line.minor, 0) };
        let fee = if is_refund { -line.fee } else { line.fee };
        count += 1;
        fees += fee;
        text.push_str(&format!(
            "`{},`wxd678efh567hg6787,`{mchid},`0,`,`{},`{},`oUpF8u,`NATIVE,`{state},`OTHERS,`CNY,`{},`0.00,`{},`{},`{},`0.00,`ORIGINAL,`{back_state},\
             `额度\\ 一,`,`{}000,`0.60%,`{},`{},`\r\n",
            line.at.format("%Y-%m-%d %H:%M:%S"),
            line.txn,
            line.order,
            amount(paid),
            if is_refund { "50300806962021020105978994968" } else { "0" },
            if is_refund { &line.refund } else { "0" },
            amount(back),
            amount(fee),
            amount(paid),
            amount(back),
        ));
    }
    let ((_, paid), (_, back)) = (sum(lines, Kind::Payment), sum(lines, Kind::Refund));
    text.push_str(&format!(
        "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额\r\n`{count},`{},`{},`0.00,`{}000,`{},`{}\r\n",
        amount(paid), amount(back), amount(fees), amount(paid), amount(back),
    ));
    text.into_bytes()
}

/// WeChat Pay's 资金账单.
pub fn wechat_funds(lines: &[Line]) -> Vec<u8> {
    let mut text = String::from(
        "\u{feff}记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),资金变更提交申请人,备注,业务凭证号\r\n",
    );
    let (mut income, mut expense) = ((0, 0), (0, 0));
    for (at, line) in lines.iter().enumerate() {
        let mut moves = |minor: i64, name: &str, kind: &str| {
            let (side, way) = if minor > 0 { (&mut income, "收入") } else { (&mut expense, "支出") };
            side.0 += 1;
            side.1 += minor.abs();
            text.push_str(&format!(
                "`{},`{},`19000{at},`{name},`{kind},`{way},`{},`0.00,`system,`,`{}\r\n",
                line.at.format("%Y-%m-%d %H:%M:%S"),
                line.txn,
                amount(minor.abs()),
                line.order,
            ));
        };
        match line.kind {
            Kind::Payment => {
                moves(line.minor, "交易", "交易");
                moves(-line.fee, "交易", "扣除交易手续费");
            }
            // The fee that comes back is taken off what goes out.
            Kind::Refund => moves(-(line.minor - line.fee), "退款", "退款"),
            Kind::Payout => moves(-line.minor, "提现", "提现"),
        }
    }
    text.push_str(&format!(
        "资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额\r\n`{}.0,`{}.0,`{},`{}.0,`{}\r\n",
        income.0 + expense.0,
        income.0,
        amount(income.1),
        expense.0,
        amount(expense.1),
    ));
    text.into_bytes()
}

/// Stripe's itemised report of payments in dollars, settled in dollars.
pub fn stripe(lines: &[Line]) -> Vec<u8> {
    let mut text = String::from(
        "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,description,customer_facing_amount,\
         customer_facing_currency,charge_id,payment_intent_id,automatic_payout_id,payment_metadata[order_no],refund_metadata[refund_no]\n",
    );
    for (at, line) in lines.iter().enumerate() {
        let (word, sign, facing) = match line.kind {
            Kind::Payment => ("charge", 1, "usd"),
            Kind::Refund => ("refund", -1, "usd"),
            Kind::Payout => ("payout", -1, ""),
        };
        let (gross, fee) = (sign * line.minor, if line.kind == Kind::Payment { line.fee } else { 0 });
        text.push_str(&format!(
            "txn_{at},{},usd,{},{},{},{word},src_{at},\"Credits, \"\"all\"\"\",{},{facing},ch_{at},{},,{},{}\n",
            line.at.format("%Y-%m-%d %H:%M:%S"),
            amount(gross),
            amount(fee),
            amount(gross - fee),
            if facing.is_empty() { String::new() } else { amount(gross) },
            line.txn,
            line.order,
            line.refund,
        ));
    }
    text.into_bytes()
}

/// An Epay site's rows. It knows no refunds and no fees.
pub fn epay(pid: &str, lines: &[Line]) -> Vec<Value> {
    let paid = lines.iter().filter(|line| line.kind == Kind::Payment);
    paid.map(|line| {
        let time = line.at.format("%Y-%m-%d %H:%M:%S").to_string();
        json!({
            "pid": pid, "trade_no": line.txn, "out_trade_no": line.order, "type": "alipay", "addtime": time, "endtime": time,
            "name": "额度", "money": amount(line.minor), "status": if line.is_held { 3 } else { 1 },
        })
    })
    .collect()
}
