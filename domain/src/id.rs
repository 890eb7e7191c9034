//! Ids are types, so that an order can never be passed where a lease is meant.
//!
//! Each wraps a UUID made elsewhere: this crate has no randomness.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that the caller made.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID inside.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// A wallet. One per user today; the ledger knows nothing else about its owner.
    AccountId;
    /// A top-up order; a UUID v4, so that it cannot be guessed.
    OrderId;
    /// A refund of an order, or of a part of it; a UUID v4.
    RefundId;
    /// A disputed payment that was taken back.
    ChargebackId;
    /// A gift of credits.
    GrantId;
    /// A manual correction by an operator.
    AdjustmentId;
    /// A slice of an account's credits, lent to one relay node.
    LeaseId;
    /// One run of one relay node.
    EpochId;
    /// An event on the log; a UUID v7, made once, before the first attempt to append.
    EventId;
    /// An API key.
    KeyId;
    /// A published version of a model's prices.
    PriceVersionId;
    /// One call of a client; also the id of its usage record.
    RequestId;
    /// One report of usage records by a node.
    BatchId;
}

impl RefundId {
    /// The refund's number used at every channel: 32 lower-case hexadecimal digits.
    pub fn merchant_number(self) -> String {
        self.0.simple().to_string()
    }
}

impl GrantId {
    /// The bonus that comes beside a paid order: one of that name, so it is given once and the account knows whose it is.
    pub const fn bonus_of(order: OrderId) -> Self {
        Self(order.0)
    }

    /// The order whose bonus this would be; of any other grant there is no such order.
    pub const fn order_of_bonus(self) -> OrderId {
        OrderId(self.0)
    }
}

impl OrderId {
    /// The merchant order number used at every channel: 32 lower-case hexadecimal digits.
    pub fn merchant_number(self) -> String {
        self.0.simple().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merchant_number_is_the_order_in_32_digits_and_back() {
        let order: OrderId = "0190B8B2-1111-4000-8000-00000000000A".parse().unwrap();
        assert_eq!(order.merchant_number(), "0190b8b211114000800000000000000a");
        assert_eq!(order.merchant_number().parse(), Ok(order));
        assert_eq!(order.to_string(), "0190b8b2-1111-4000-8000-00000000000a");
    }

    #[test]
    fn bad_ids_are_refused() {
        for text in ["", "1", "0190b8b2-1111-4000-8000-00000000000", "0190b8b2-1111-4000-8000-00000000000g"] {
            assert!(text.parse::<LeaseId>().is_err(), "{text}");
            assert!(serde_json::from_str::<LeaseId>(&format!("{text:?}")).is_err(), "{text}");
        }
    }
}
