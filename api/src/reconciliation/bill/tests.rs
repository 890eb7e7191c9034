//! Bills as channels write them, and all that is refused.

use super::*;
use std::io::Write as _;

const DAY: &str = "2026-11-21";
const SELLER: &str = "2088531891668739";
const TXN: &str = "2026112122001465870515233238";

fn day() -> NaiveDate {
    DAY.parse().unwrap()
}

fn alipay_format() -> Format {
    Format::Alipay { seller_id: SELLER.into() }
}

fn wechat_format() -> Format {
    Format::Wechat { mchid: "1230000109".into() }
}

fn epay_format() -> Format {
    Format::Epay { pid: "1001".into(), currency: Currency::try_new("CNY").unwrap() }
}

fn gbk(text: &str) -> Vec<u8> {
    encoding_rs::GBK.encode(text).0.into_owned()
}

/// A zip file whose names are GBK without a word about it, as Alipay writes them.
fn zipped(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for (name, content) in files {
        let name = gbk(name);
        let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(content).unwrap();
        let packed = packed.finish().unwrap();
        let mut sum = flate2::Crc::new();
        sum.update(content);
        let number = |it: usize| u32::try_from(it).unwrap().to_le_bytes();
        let common = [
            &[20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0x5c][..],
            &sum.sum().to_le_bytes(),
            &number(packed.len()),
            &number(content.len()),
            &u16::try_from(name.len()).unwrap().to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        let at = number(bytes.len());
        bytes.extend([b"PK\x03\x04", &common[..], &name, &packed].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &common[..], &[0; 10], &at, &name].concat());
    }
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    let (size, at) = (u32::try_from(directory.len()).unwrap(), u32::try_from(bytes.len()).unwrap());
    bytes.extend(directory);
    bytes.extend(
        [b"PK\x05\x06\0\0\0\0", &count[..], &count, &size.to_le_bytes(), &at.to_le_bytes(), &[0, 0]].concat(),
    );
    bytes
}

fn details() -> String {
    [
        "#支付宝业务明细查询",
        "#账号：[20885318916687390156]",
        "#起始日期：[2026年11月21日 00:00:00]   终止日期：[2026年11月22日 00:00:00]",
        "#-----------------------------------------业务明细列表----------------------------------------",
        "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,\
         支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,\
         服务费（元）,分润（元）,备注",
        "2026112122001465870515233238\t,0190b8b211114000800000000000000a\t,交易\t,额度,2026-11-20 23:59:56,2026-11-21 00:00:01,\t,\t,\t,\t,\
         *先生(136****1234)\t,50.00,48.00,2.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,\t,-0.30,0.00,",
        "2026112122001465870515233239\t,0190b8b211114000800000000000000b\t,交易\t,额度,2026-11-21 14:56:35,2026-11-21 15:00:38,\t,\t,\t,\t,\
         *女士(602***@qq.com)\t,100.00,100.00,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,\t,-0.60,0.00,",
        "2026112122001465870515233238\t,0190b8b211114000800000000000000a\t,退款\t,额度,2026-11-21 16:00:00,2026-11-21 16:00:02,\t,\t,\t,\t,\
         *先生(136****1234)\t,-20.00,-20.00,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,refund1\t,0.12,0.00,",
        "#-----------------------------------------业务明细列表结束------------------------------------",
        "#交易合计：2笔，商家实收共148.00元，商家优惠共0.00元",
        "#退款合计：1笔，商家实收退款共-20.00元，商家优惠退款共0.00元",
        "#导出时间：[2026年11月22日 06:27:37]",
        "",
    ]
    .join("\r\n")
}

const SUMS: &str = "#支付宝业务汇总查询\r\n#账号：[20885318916687390156]\r\n\
    门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）\r\n\
    合计\t,\t,2,1,130.00,128.00,0.00,0.00,0.00,-0.78,0.00,127.22\r\n";

fn alipay_zip(details: &str) -> Vec<u8> {
    zipped(&[
        ("20885318916687390156_20261121_业务明细(汇总).csv", gbk(SUMS)),
        ("20885318916687390156_20261121_业务明细.csv", gbk(details)),
    ])
}

fn read_alipay(bytes: &[u8]) -> Result<ReadBill, BillFault> {
    read(&alipay_format(), BillKind::Trades, day(), bytes)
}

/// What a row says, short.
fn told(row: &BillRow) -> String {
    let text = |it: &Option<String>| it.clone().unwrap_or_else(|| "-".to_owned());
    let (kind, status) = (format!("{:?}", row.kind), format!("{:?}", row.status));
    let fee = row.fee_milli.map_or("-".to_owned(), |it| it.to_string());
    format!(
        "{kind} {status} {} {} {} {} fee {fee} {}",
        text(&row.order),
        text(&row.refund),
        row.txn,
        row.amount,
        row.at
    )
}

fn all_told(bill: &ReadBill) -> Vec<String> {
    bill.rows.iter().map(told).collect()
}

#[test]
fn alipays_zip_file_is_read() {
    let expected = [
        "Payment Done 0190b8b211114000800000000000000a - 2026112122001465870515233238 50.00 CNY fee 30000 2026-11-20T16:00:01.000000Z",
        "Payment Done 0190b8b211114000800000000000000b - 2026112122001465870515233239 100.00 CNY fee 60000 2026-11-21T07:00:38.000000Z",
        "Refund Done 0190b8b211114000800000000000000a refund1 2026112122001465870515233238 20.00 CNY fee -12000 \
         2026-11-21T08:00:02.000000Z",
    ];
    assert_eq!(all_told(&read_alipay(&alipay_zip(&details())).unwrap()), expected);
    // Alone, in UTF-8, with other brackets, and with the commas that newer exports pad lines with.
    let padded = details().replace("元\r\n", "元,,,,\r\n").replace("]\r\n", "],,,,\r\n");
    for text in [details(), details().replace('（', "(").replace('）', ")"), padded] {
        assert_eq!(all_told(&read_alipay(text.as_bytes()).unwrap()), expected);
        assert_eq!(all_told(&read_alipay(&gbk(&text)).unwrap()), expected);
    }
    let rows = read_alipay(details().as_bytes()).unwrap().rows;
    assert_eq!(rows.iter().map(|it| it.line).collect::<Vec<_>>(), [6, 7, 8]);
    assert_eq!(rows.iter().map(|it| it.settled.minor).collect::<Vec<_>>(), [4_800, 10_000, 2_000]);
}

#[test]
fn alipays_bill_of_movements_is_read() {
    let text = [
        "#支付宝账务明细查询",
        "#账号：[20885318916687390156]",
        "#起始日期：[2026年11月21日 00:00:00]   终止日期：[2026年11月22日 00:00:00]",
        "#-----------------------------------------账务明细列表----------------------------------------",
        "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,业务类型,备注",
        "31\t,2026112122001465870515233238\t,0190b8b211114000800000000000000a\t,额度\t,2026-11-21 00:00:01,x\t,50.00,0.00,1050.00,支付宝\t,在线支付\t,",
        "32\t,2026112122001465870515233238\t,0190b8b211114000800000000000000a\t,额度\t,2026-11-21 00:00:02,x\t,0.00,-0.30,1049.70,支付宝\t,收费\t,",
        "33\t,2026112122001465870515233238\t,0190b8b211114000800000000000000a\t,额度\t,2026-11-21 16:00:02,x\t,,20.00,1029.70,支付宝\t,退款（交易退款）\t,",
        "34\t,20261121110070001502\t,\t,\t,2026-11-21 20:00:00,x\t,,1000.00,29.70,支付宝\t,提现\t,",
        "#-----------------------------------------账务明细列表结束------------------------------------",
        "#支出合计：3笔，共1020.30元",
        "#收入合计：1笔，共50.00元",
        "",
    ]
    .join("\r\n");
    let bill = read(&alipay_format(), BillKind::Funds, day(), &gbk(&text)).unwrap();
    let kinds: Vec<(RowKind, i64, i64)> =
        bill.rows.iter().map(|row| (row.kind, row.amount.minor, row.settled.minor)).collect();
    let expected = [
        (RowKind::Payment, 5_000, 5_000),
        (RowKind::Fee, 30, -30),
        (RowKind::Refund, 2_000, -2_000),
        (RowKind::Other, -100_000, -100_000),
    ];
    assert_eq!(kinds, expected);
    let wrong = text.replace("共1020.30元", "共1020.31元");
    let fault = read(&alipay_format(), BillKind::Funds, day(), &gbk(&wrong)).unwrap_err();
    assert!(fault.to_string().contains("line 11"), "{fault}");
}

#[test]
fn an_alipay_bill_that_does_not_add_up_is_refused_with_its_line() {
    let whole = details();
    let without_end = &whole[..whole.find("#交易合计").unwrap()];
    for (text, fault) in [
        (
            whole.replace("商家实收共148.00", "商家实收共148.01"),
            "line 10: this says 2 rows with a sum of 148.01",
        ),
        (whole.replace("#交易合计：2笔", "#交易合计：3笔"), "line 10: this says 3 rows"),
        (whole.replace("退款共-20.00", "退款共-20.10"), "line 11: "),
        (without_end.to_owned(), "the sums at its end are missing"),
        (whole.replace("退款\t", "分账\t"), "line 8: its 业务类型"),
        (whole.replace("50.00,48.00", "5e1,48.00"), "line 6: its amount is no amount"),
        (whole.replace("50.00,48.00", "50.001,48.00"), "line 6: its amount is no amount"),
        (whole.replace("2026-11-21 15:00:38", "2026-11-22 00:00:00"), "line 7: this is of 2026-11-22"),
        (whole.replace("2026-11-21 15:00:38", "yesterday"), "line 7: its 完成时间"),
        (
            whole.replace("[2026年11月21日 00", "[2026年11月20日 00"),
            "line 3: this is the bill of another day",
        ),
        (
            whole.replace("#账号：[2088531891668739", "#账号：[2088531891668730"),
            "line 2: this is the bill of another merchant",
        ),
        (whole.replace("2026112122001465870515233238\t,", "\t,"), "line 6: it names no transaction"),
        (whole.replace("商家实收（元）", "商家实收"), "no column 商家实收（元）"),
        (whole.replace("支付宝红包（元）", "集分宝（元）"), "line 5: there are two columns"),
        (whole.replace(TXN, &"1".repeat(200)), "line 6: one of its numbers is longer"),
        ("a,b\r\n".to_owned(), "no line tells whose bill it is"),
        (String::new(), "no line tells whose bill it is"),
    ] {
        let refused = read_alipay(&gbk(&text)).unwrap_err().to_string();
        assert!(refused.contains(fault), "{fault}: {refused}");
    }
    // Cut in the middle of a row.
    let row = whole.find("*女士").unwrap();
    let refused = read_alipay(&gbk(&whole[..row])).unwrap_err().to_string();
    assert!(refused.contains("line 7: it has 10 cells of 25: the file is cut off here"), "{refused}");
    // Big-5 is no GB18030, and says something else where it is.
    let other = encoding_rs::UTF_16LE.decode(whole.as_bytes()).0.into_owned();
    assert!(read_alipay(other.as_bytes()).is_err());
    let sums = SUMS.replace("2,1,130.00", "2,2,130.00");
    let files = [("业务明细.csv", gbk(&whole)), ("业务明细(汇总).csv", gbk(&sums))];
    let refused = read_alipay(&zipped(&files)).unwrap_err().to_string();
    assert!(refused.contains("line 4: the file of sums says another 退款订单总笔数 than the 1"), "{refused}");
}

#[test]
fn archives_that_are_odd_are_refused() {
    let whole = alipay_zip(&details());
    let names: [String; 17] = std::array::from_fn(|n| n.to_string());
    for (bytes, fault) in [
        (whole[..whole.len() / 2].to_vec(), "the zip file is damaged"),
        (zipped(&[("../业务明细.csv", gbk(&details()))]), "leads elsewhere"),
        (zipped(&[("..\\业务明细.csv", gbk(&details()))]), "leads elsewhere"),
        (zipped(&[("/etc/业务明细.csv", gbk(&details()))]), "leads elsewhere"),
        (zipped(&[("账务明细.csv", gbk(&details()))]), "holds 0 files of 业务明细"),
        (zipped(&[("1业务明细.csv", gbk(&details())), ("2业务明细.csv", gbk(&details()))]), "holds 2 files"),
        (zipped(&[("业务明细.csv", vec![b' '; MOST_BYTES + 1])]), "larger than"),
        (
            zipped(&[("a", vec![b' '; MOST_BYTES / 2 + 1]), ("b", vec![b' '; MOST_BYTES / 2 + 1])]),
            "larger than",
        ),
        (zipped(&names.each_ref().map(|name| (name.as_str(), Vec::new()))), "more than 16 files"),
    ] {
        let refused = read_alipay(&bytes).unwrap_err().to_string();
        assert!(refused.contains(fault), "{fault}: {refused}");
    }
    let mut changed = whole.clone();
    let at = changed.len() / 3;
    changed[at] ^= 0xff;
    assert!(read_alipay(&changed).is_err(), "a bit that turned over");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b','; MOST_BYTES + 1]).unwrap();
    let bomb = bomb.finish().unwrap();
    let refused = read(&wechat_format(), BillKind::Trades, day(), &bomb).unwrap_err().to_string();
    assert!(refused.contains("larger than"), "{refused}");
}

const WECHAT: &str = "\u{feff}交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,\
    微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注\r\n\
    `2026-11-21 00:00:00,`wxd678efh567hg6787,`1230000109,`0,`,`4200000914202101195554393855,`0190b8b211114000800000000000000a,`oUpF8u,`NATIVE,\
    `SUCCESS,`OTHERS,`CNY,`48.00,`2.00,`0,`0,`0.00,`0.00,`,`,`额度\\ 100%\\n一,`,`0.28800,`0.60%,`50.00,`0.00,`\r\n\
    `2026-11-21 23:59:59,`wxd678efh567hg6787,`1230000109,`0,`,`4200000914202101195554393855,`0190b8b211114000800000000000000a,`oUpF8u,`NATIVE,\
    `REFUND,`OTHERS,`CNY,`0.00,`0.00,`50300806962021020105978994968,`refund1,`20.00,`0.00,`ORIGINAL,`PROCESSING,`额度,`,`-0.12000,`0.60%,`0.00,`20.00,`\r\n\
    总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额\r\n\
    `2,`48.00,`20.00,`0.00,`0.16800,`50.00,`20.00\r\n";

#[test]
fn wechats_bill_is_read() {
    let expected = [
        "Payment Done 0190b8b211114000800000000000000a - 4200000914202101195554393855 50.00 CNY fee 28800 2026-11-20T16:00:00.000000Z",
        "Refund Pending 0190b8b211114000800000000000000a refund1 4200000914202101195554393855 20.00 CNY fee -12000 \
         2026-11-21T15:59:59.000000Z",
    ];
    let bill = read(&wechat_format(), BillKind::Trades, day(), WECHAT.as_bytes()).unwrap();
    assert_eq!(all_told(&bill), expected);
    assert_eq!(bill.rows[0].rate_ppm, Some(6_000));
    assert_eq!(bill.rows.iter().map(|it| it.settled.minor).collect::<Vec<_>>(), [4_800, 2_000]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(WECHAT.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    assert_eq!(read(&wechat_format(), BillKind::Trades, day(), &packed).unwrap(), bill);
    // A day without trades still has its header and its summary.
    let (header, rest) = WECHAT.split_once("\r\n").unwrap();
    let sums = rest.find("总交易单数").unwrap();
    let empty = format!(
        "{header}\r\n{}",
        rest[sums..].replace(
            "`2,`48.00,`20.00,`0.00,`0.16800,`50.00,`20.00",
            "`0,`0.00,`0.00,`0.00,`0.00000,`0.00,`0.00"
        )
    );
    assert!(read(&wechat_format(), BillKind::Trades, day(), empty.as_bytes()).unwrap().rows.is_empty());
    // Very old accounts: 24 columns, and the published sample's way of writing sums.
    let old = "交易时间,公众账号ID,商户号,子商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,总金额,代金券或立减优惠金额,\
        微信退款单号,商户退款单号,退款金额,代金券或立减优惠退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率\n\
        `2026-11-21 16:33:45,`wx2421b1c4370ec43b,`1230000109,`0,`1000,`1001690740201411100005734289,`1415640626,`085e,`MICROPAY,`SUCCESS,`CFT,\
        `CNY,`0.01,`0.0,`0,`0,`0,`0,`,`,`被扫支付测试,`订单额外描述,`0,`0.60%\n\
        总交易单数,总交易额,总退款金额,总代金券或立减优惠退款金额,手续费总金额\n`1,`0.01,`0.0,`0.0,`0\n";
    let bill = read(&wechat_format(), BillKind::Trades, day(), old.as_bytes()).unwrap();
    assert_eq!((bill.rows[0].amount.minor, bill.rows[0].fee_milli), (1, Some(0)));
}

#[test]
fn wechats_bill_of_movements_is_read() {
    let text = "\u{feff}记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额（元）,账户结余（元）,资金变更提交申请人,备注,业务凭证号\r\n\
        `2026-11-21 10:00:00,`4200000920202101197964319284,`1900001,`交易,`交易,`收入,`50.00,`150.00,`system,`,`a\r\n\
        `2026-11-21 10:00:00,`4200000920202101197964319284,`1900002,`交易,`扣除交易手续费,`支出,`0.30,`149.70,`system,`,`a\r\n\
        `2026-11-21 13:54:01,`50300806962021020105978994968,`1900003,`退款,`退款,`支出,`19.88,`129.82,`API,`退款总金额20.00元;含手续费0.12元,`b\r\n\
        `2026-11-21 14:00:00,`1900004,`1900004,`提现,`提现,`支出,`100.00,`29.82,`system,`,`c\r\n\
        资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额\r\n`4.0,`1.0,`50.00,`3.0,`120.18\r\n";
    let bill = read(&wechat_format(), BillKind::Funds, day(), text.as_bytes()).unwrap();
    let kinds: Vec<(RowKind, i64)> = bill.rows.iter().map(|row| (row.kind, row.settled.minor)).collect();
    let expected = [
        (RowKind::Payment, 5_000),
        (RowKind::Fee, -30),
        (RowKind::Refund, -1_988),
        (RowKind::Other, -10_000),
    ];
    assert_eq!(kinds, expected);
    for (from, to) in [("`4.0,", "`5.0,"), ("`120.18", "`120.19"), ("`3.0,", "`2.0,"), ("`收入", "`其他")]
    {
        assert!(
            read(&wechat_format(), BillKind::Funds, day(), text.replace(from, to).as_bytes()).is_err(),
            "{from}"
        );
    }
}

#[test]
fn a_wechat_bill_that_does_not_add_up_is_refused_with_its_line() {
    let cut = &WECHAT[..WECHAT.find("总交易单数").unwrap()];
    for (text, fault) in [
        (WECHAT.replace("`2,`48.00", "`3,`48.00"), "line 5: 总交易单数 is not what the rows come to"),
        (WECHAT.replace("`2,`48.00", "`2,`48.01"), "line 5: 应结订单总金额"),
        (WECHAT.replace("`0.16800,`50.00,`20.00\r\n", "`0.16801,`50.00,`20.00\r\n"), "line 5: 手续费总金额"),
        (WECHAT.replace("`0.16800,`50.00,`20.00\r\n", "`0.16800,`50.01,`20.00\r\n"), "line 5: 订单总金额"),
        (
            WECHAT.replace("`0.16800,`50.00,`20.00\r\n", "`0.16800,`50.00,`20.01\r\n"),
            "line 5: 申请退款总金额",
        ),
        (WECHAT.replace("`1230000109", "`1230000108"), "line 2: this row is another merchant's"),
        (WECHAT.replace("`SUCCESS,`OTHERS", "`CLOSED,`OTHERS"), "line 2: its 交易状态"),
        (WECHAT.replace("`2026-11-21 23:59:59", "`2026-11-22 00:00:00"), "line 3: this is of 2026-11-22"),
        (WECHAT.replace("订单总金额,申请", "订单总金额,订单总金额,申请"), "two columns named 订单总金额"),
        (cut.to_owned(), "the summary at its end is missing"),
        (cut[..cut.find("REFUND").unwrap()].to_owned(), "the summary at its end is missing"),
        (String::new(), "the file is empty"),
    ] {
        let refused =
            read(&wechat_format(), BillKind::Trades, day(), text.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(fault), "{fault}: {refused}");
    }
    let refused = read(&wechat_format(), BillKind::Trades, day(), &gbk(WECHAT)).unwrap_err().to_string();
    assert!(refused.contains("its text is not UTF-8"), "{refused}");
}

const STRIPE: &str = "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,description,customer_facing_amount,\
    customer_facing_currency,charge_id,payment_intent_id,payment_metadata[order_no],refund_metadata[refund_no]\n\
    txn_1,2026-11-21 00:00:00,usd,10.00,0.59,9.41,charge,ch_1,\"Credits, \"\"100%\"\"\",10.00,usd,ch_1,pi_1,0190b8b211114000800000000000000a,\n\
    txn_2,2026-11-21 12:00:00,usd,3.25,0.39,2.86,charge,ch_2,,500,jpy,ch_2,pi_2,0190b8b211114000800000000000000b,\n\
    txn_3,2026-11-21 23:59:59,usd,-4.00,0.00,-4.00,refund,re_1,,-4.00,usd,ch_1,pi_1,0190b8b211114000800000000000000a,refund1\n\
    txn_4,2026-11-21 23:59:59,usd,-5.47,0.00,-5.47,payout,po_1,STRIPE PAYOUT,,,,,,\n";

#[test]
fn stripes_report_is_read_in_the_currency_that_payers_saw() {
    let bill = read(&Format::Stripe, BillKind::Trades, day(), STRIPE.as_bytes()).unwrap();
    let expected = [
        "Payment Done 0190b8b211114000800000000000000a - pi_1 10.00 USD fee 59000 2026-11-21T00:00:00.000000Z",
        "Payment Done 0190b8b211114000800000000000000b - pi_2 500 JPY fee 39000 2026-11-21T12:00:00.000000Z",
        "Refund Done 0190b8b211114000800000000000000a refund1 pi_1 4.00 USD fee 0 2026-11-21T23:59:59.000000Z",
        "Other Done - - po_1 -5.47 USD fee 0 2026-11-21T23:59:59.000000Z",
    ];
    assert_eq!(all_told(&bill), expected);
    assert_eq!(bill.rows[1].settled.to_string(), "3.25 USD");
    for (text, fault) in [
        (STRIPE.replace("0.59,9.41", "0.59,9.42"), "line 2: its gross less its fee is not its net"),
        (STRIPE.replace("500,jpy", "500.5,jpy"), "line 3: its customer_facing_amount"),
        (STRIPE.replace("2026-11-21 00:00:00", "2026-11-20 23:59:59"), "line 2: this is of 2026-11-20"),
        (
            STRIPE.replace("payment_metadata[order_no]", "payment_metadata[x]"),
            "no column payment_metadata[order_no]",
        ),
        (STRIPE[..STRIPE.len() - 10].to_owned(), "the file is cut off"),
        (format!("{}\n", &STRIPE[..STRIPE.find("re_1").unwrap()]), "line 4: it has 8 cells of 15"),
    ] {
        let refused =
            read(&Format::Stripe, BillKind::Trades, day(), text.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(fault), "{fault}: {refused}");
    }
}

#[test]
fn an_epay_sites_list_is_read() {
    let text = r#"[
        {"pid":1001,"trade_no":"2026112200000000001","out_trade_no":"0190b8b211114000800000000000000a","type":"alipay",
         "addtime":"2026-11-21 10:00:00","endtime":"2026-11-21 10:01:00","money":"50","status":1},
        {"pid":"1001","trade_no":"2026112200000000002","out_trade_no":"b","addtime":"2026-11-21 10:00:00","endtime":null,"money":"1.0","status":"0"},
        {"trade_no":"2026112200000000003","out_trade_no":"c","addtime":"2026-11-21 10:00:00","money":1.50,"status":2}]"#;
    let expected = [
        "Payment Done 0190b8b211114000800000000000000a - 2026112200000000001 50.00 CNY fee - 2026-11-21T02:01:00.000000Z",
        "Payment Reversed c - 2026112200000000003 1.50 CNY fee - 2026-11-21T02:00:00.000000Z",
    ];
    for text in [text.to_owned(), format!("{{\"code\":1,\"data\":{text}}}")] {
        assert_eq!(
            all_told(&read(&epay_format(), BillKind::Trades, day(), text.as_bytes()).unwrap()),
            expected
        );
    }
    for (from, to, fault) in [
        ("\"pid\":1001", "\"pid\":1002", "line 1: this row is another merchant's"),
        ("\"status\":1", "\"status\":9", "line 1: its status"),
        ("\"money\":\"50\"", "\"money\":\"5e1\"", "line 1: its amount"),
        ("\"money\":1.50", "\"money\":1.505", "line 3: its amount"),
        ("2026-11-21 10:01:00", "2026-11-20 10:01:00", "line 1: this is of 2026-11-20"),
        ("\"status\":2}]", "\"status\":2}", "no list of orders"),
    ] {
        let text = text.replace(from, to);
        let refused = read(&epay_format(), BillKind::Trades, day(), text.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(fault), "{fault}: {refused}");
    }
    assert!(read(&epay_format(), BillKind::Funds, day(), b"[]").is_err());
}

#[test]
fn decimals_are_read_exactly() {
    for (text, decimals, expected) in [
        ("0", 2, Some(0)),
        ("1", 2, Some(100)),
        ("-1.50", 2, Some(-150)),
        ("1.5000", 2, Some(150)),
        ("0.00600", 5, Some(600)),
        ("1.005", 2, None),
        ("1.", 2, Some(100)),
        (".5", 2, None),
        ("", 2, None),
        ("-", 2, None),
        ("1e2", 2, None),
        ("1,000.00", 2, None),
        ("٣", 2, None),
        ("92233720368547758.07", 2, Some(i64::MAX)),
        ("92233720368547758.08", 2, None),
    ] {
        assert_eq!(scaled(text, decimals), expected, "{text}");
    }
    assert_eq!(
        (percent_ppm("0.60%"), percent_ppm("1%"), percent_ppm("0.6")),
        (Some(6_000), Some(10_000), None)
    );
}
