//! Texts: what is written can be read, and nothing that is read makes a parser panic.

use super::fixed;
use crate::{
    ChannelName, Credits, Currency, IdempotencyKey, Label, LeaseId, Moment, Money, Prices, Reason, Tokens,
};
use proptest::prelude::*;

/// Text of the shape that the parsers expect, but for a few letters.
fn almost_a_number() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        proptest::sample::select("0123456789.+-e_, ٣".chars().collect::<Vec<_>>()),
        0..40,
    )
    .prop_map(String::from_iter)
}

fn almost_a_moment() -> impl Strategy<Value = String> {
    (0_u32..20_000, 0_u32..15, 0_u32..35, 0_u32..26, 0_u32..62, any::<u64>(), 0_i32..30).prop_map(
        |(year, month, day, hour, minute, fraction, zone)| {
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00.{fraction}{:+03}:00", zone - 15)
        },
    )
}

fn currency() -> impl Strategy<Value = Currency> {
    proptest::sample::select(vec!["CNY", "USD", "JPY", "KWD"]).prop_map(|code| code.parse().unwrap())
}

proptest! {
    #![proptest_config(fixed(1_000))]

    #[test]
    fn credits_are_read_as_they_were_written(nano in any::<i64>()) {
        let credits = Credits::from_nano(nano);
        prop_assert_eq!(credits.to_string().parse(), Ok(credits));
        let json = serde_json::to_string(&credits).unwrap();
        prop_assert_eq!(&json, &format!("\"{credits}\""));
        prop_assert_eq!(serde_json::from_str::<Credits>(&json).unwrap(), credits);
    }

    #[test]
    fn money_is_read_as_it_was_written(minor in any::<i64>(), currency in currency()) {
        let money = Money { currency, minor };
        prop_assert_eq!(Money::parse(&money.amount(), currency), Ok(money));
        let json = serde_json::to_string(&money).unwrap();
        prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
    }

    /// Any of them, also beyond the calendar: an event that could be written and not read would be lost.
    #[test]
    fn moments_are_read_as_they_were_written(
        micros in prop_oneof![any::<i64>(), 0_i64..4_000_000_000_000_000],
        later_ms in any::<i64>(),
    ) {
        for moment in [Moment::from_micros(micros), Moment::from_micros(micros).plus_ms(later_ms)] {
            prop_assert_eq!(moment.to_string().parse(), Ok(moment));
            let json = serde_json::to_string(&moment).unwrap();
            prop_assert_eq!(serde_json::from_str::<Moment>(&json).unwrap(), moment);
            prop_assert_eq!(Moment::from(moment.to_utc()), moment);
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in prop_oneof![any::<String>(), almost_a_number(), almost_a_moment()]) {
        if let Ok(credits) = text.parse::<Credits>() {
            prop_assert_eq!(credits.to_string().parse(), Ok(credits));
        }
        if let Ok(currency) = text.parse::<Currency>() {
            prop_assert_eq!(currency.code(), &text);
        }
        for code in ["CNY", "JPY", "KWD"] {
            let currency = code.parse().unwrap();
            if let Ok(money) = Money::parse(&text, currency) {
                prop_assert_eq!(Money::parse(&money.amount(), currency), Ok(money));
            }
        }
        if let Ok(moment) = text.parse::<Moment>() {
            prop_assert_eq!(moment.to_string().parse(), Ok(moment));
        }
        let _ = text.parse::<LeaseId>();
        let _ = serde_json::from_str::<Prices>(&text);
        let _ = serde_json::from_str::<Tokens>(&text);
    }

    #[test]
    fn an_accepted_text_can_be_stored_anywhere(text in prop_oneof![any::<String>(), ".{0,20}", "[ -~]{0,210}"]) {
        fn check(accepted: Option<&str>, text: &str, max: usize) -> Result<(), TestCaseError> {
            if let Some(accepted) = accepted {
                prop_assert_eq!(accepted, text, "kept as it is");
                prop_assert!(!text.is_empty() && text.len() <= max && text.trim() == text);
                prop_assert!(!text.contains(|c: char| c.is_control()));
            }
            Ok(())
        }
        check(Label::try_new(&*text).ok().as_ref().map(Label::as_str), &text, Label::MAX)?;
        check(Reason::try_new(&*text).ok().as_ref().map(Reason::as_str), &text, Reason::MAX)?;
        check(ChannelName::try_new(&*text).ok().as_ref().map(ChannelName::as_str), &text, ChannelName::MAX)?;
        check(IdempotencyKey::try_new(&*text).ok().as_ref().map(IdempotencyKey::as_str), &text, IdempotencyKey::MAX)?;
    }
}
