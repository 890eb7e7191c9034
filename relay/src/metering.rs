//! The seam between calls and the ledger's meter.
//!
//! For: what a call asks of a meter, so that calls can be tested against one that is a counter in memory.
//! May not touch: anything else. `ledger::Meter` is the only meter outside tests.

use domain::Credits;
use domain::usage::Usage;
use ledger::{HoldError, HoldRequest, Settled};
use std::future::Future;

/// Reserves credits for calls.
pub trait Metering: Clone + Send + Sync + 'static {
    /// What is reserved.
    type Hold: Holding;

    /// Reserves the worst case of a call, or says why not.
    fn hold(&self, request: HoldRequest) -> impl Future<Output = Result<Self::Hold, HoldError>> + Send;
}

/// Credits reserved for one call. Dropping it releases them.
pub trait Holding: Send + 'static {
    /// Asked right before a provider is called: is the reservation still good? If so the call is noted where a crash
    /// leaves it: `usage` is its record if the process died now.
    fn open(&mut self, usage: Usage) -> impl Future<Output = Result<(), HoldError>> + Send;

    /// Notes how far a stream has come: the record if the process died now.
    fn mark(&self, usage: Usage);

    /// Credits reserved.
    fn held(&self) -> Credits;

    /// Reserves more for a stream that costs more than was foreseen: `wanted` in all, or as much of it as can be had, which may
    /// be nothing. Answers with what is reserved now.
    fn extend(&mut self, wanted: Credits) -> impl Future<Output = Credits> + Send;

    /// Ends the reservation with what the call came to, and records it.
    fn settle(self, usage: Usage) -> impl Future<Output = Settled> + Send;

    /// Ends the reservation with nothing and no record.
    fn release(self);
}

impl Metering for ledger::Meter {
    type Hold = ledger::Hold;

    fn hold(&self, request: HoldRequest) -> impl Future<Output = Result<Self::Hold, HoldError>> + Send {
        Self::hold(self, request)
    }
}

impl Holding for ledger::Hold {
    fn open(&mut self, usage: Usage) -> impl Future<Output = Result<(), HoldError>> + Send {
        Self::open(self, usage)
    }

    fn mark(&self, usage: Usage) {
        Self::mark(self, usage);
    }

    fn held(&self) -> Credits {
        Self::held(self)
    }

    fn extend(&mut self, wanted: Credits) -> impl Future<Output = Credits> + Send {
        Self::extend(self, wanted)
    }

    fn settle(self, usage: Usage) -> impl Future<Output = Settled> + Send {
        Self::settle(self, usage)
    }

    fn release(self) {
        Self::release(self);
    }
}
