//! The bills that are published as samples.

use super::*;
use sha1::{Digest, Sha1};
use std::io::Read as _;

const ALIPAY: &[u8] = include_bytes!("../../../testdata/payments/alipay/bills/trade_detail_published.csv");
const WECHAT: &[u8] = include_bytes!("../../../testdata/payments/wechat/bills/tradebill_all.csv.gz");

fn told(bill: &ReadBill) -> Vec<String> {
    let row = |it: &BillRow| {
        let refund = it.refund.as_deref().unwrap_or("-");
        let order = it.order.as_deref().unwrap_or("-");
        format!("{:?} {order} {refund} {} {} {}", it.kind, it.txn, it.amount, it.at)
    };
    bill.rows.iter().map(row).collect()
}

#[test]
fn wechats_published_bill_is_read_as_it_comes_and_has_the_published_hash() {
    let format = Format::Wechat { mchid: "1601959334".into() };
    let day = "2021-01-28".parse().unwrap();
    let bill = read(&format, BillKind::Trades, day, WECHAT).unwrap();
    assert_eq!(
        told(&bill)[..2],
        [
            "Payment S20210128170702357723 - 4200000925202101284997714292 0.01 CNY 2021-01-28T09:07:11.000000Z",
            "Payment S20210128153505214586 - 4200000910202101282955148400 0.01 CNY 2021-01-28T07:35:18.000000Z",
        ]
    );
    assert_eq!((bill.rows.len(), bill.rows.iter().map(|it| it.amount.minor).sum::<i64>()), (3, 3));
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(WECHAT).read_to_end(&mut plain).unwrap();
    // Over the text with its mark and its line ends: what the gateway says beside the address of a bill.
    assert_eq!(hex::encode(Sha1::digest(&plain)), "dcd7ceb3d382a1181798368bb15d8437de46c00f");
    assert_eq!(read(&format, BillKind::Trades, day, &plain).unwrap(), bill);
    let other = Format::Wechat { mchid: "1601959335".into() };
    assert!(read(&other, BillKind::Trades, day, WECHAT).is_err(), "another merchant's");
    let text = String::from_utf8(plain).unwrap();
    let changed = text.replacen("`0.01,`0.00,", "`0.02,`0.00,", 1);
    assert_ne!(changed, text);
    assert!(read(&format, BillKind::Trades, day, changed.as_bytes()).is_err(), "the sums do not agree");
}

#[test]
fn alipays_published_bill_is_refused_for_its_foot_and_its_rows_are_read() {
    let format = Format::Alipay { seller_id: "2088722682748354".into() };
    let day = "2026-06-05".parse().unwrap();
    // It counts a refund among the payments, and has no line for refunds.
    let refused = read(&format, BillKind::Trades, day, ALIPAY).unwrap_err();
    assert!(refused.to_string().contains("missing"), "{refused}");
    let (text, _, is_broken) = encoding_rs::GBK.decode(ALIPAY);
    assert!(!is_broken && text.contains("\r\n"));
    let foot = text.lines().find(|line| line.starts_with("#交易合计")).unwrap();
    assert!(foot.starts_with("#交易合计：3笔，商家实收共9.93元"), "{foot}");
    let right = "#交易合计：2笔，商家实收共9.91元，商家优惠共0.00元\r\n#退款合计：1笔，商家实收退款共0.02元，商家优惠退款共0.00元";
    let mended = encoding_rs::GBK.encode(&text.replace(foot, right)).0.into_owned();
    assert_eq!(
        told(&read(&format, BillKind::Trades, day, &mended).unwrap()),
        [
            "Payment USR1NOZM644N1780646479 - 2026060522001419931441931972 0.01 CNY 2026-06-05T08:01:38.000000Z",
            "Payment SUBUSR1NOVLgV0w1780646324 - 2026060522001419931441888001 9.90 CNY 2026-06-05T07:00:05.000000Z",
            "Refund USR1NOABC123456 REF20260605001 2026060522001419931442000000 0.02 CNY 2026-06-05T09:00:05.000000Z",
        ]
    );
    let other = Format::Alipay { seller_id: "2088722682748355".into() };
    assert!(read(&other, BillKind::Trades, day, &mended).is_err(), "another merchant's");
    let other = "2026-06-06".parse().unwrap();
    assert!(read(&format, BillKind::Trades, other, &mended).is_err(), "another day's");
}
