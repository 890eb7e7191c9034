//! The road of a referral: noted when somebody registers, decided by their first sufficient top-up that has stood for a while,
//! granted on the ledger.
//!
//! May not touch: balances; what decides: that is a top-up that the projections hold as completed, and of whose money enough has
//! not gone back.
//! Claims: any number of processes may do this at once, and die anywhere: a referral is decided by one of them, in one
//! transaction, and its grants have ids of their own. Nothing is kept beside the referral's own row, so that tables that were
//! rebuilt, or trail, change nothing but the time.

use crate::session::gateway;
use crate::{
    directory::{
        Directory, DirectoryError, now,
        referral::{Earning, Referral, ReferralState, Share},
    },
    live::Live,
};
use domain::{Command, Credits, Moment, Reason, account::event::GrantSource};
use ledger::{Ledger, LedgerError};
use projections::{Database, top_ups, top_ups::TopUpOrder};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often referrals are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How old a decision is at least whose grants nobody has noted, before another process grants them.
const OLD_MS: i64 = 10_000;
/// How long the tables may trail before a referral lapses whose top-up came in time.
const GRACE_MS: i64 = 86_400_000;
/// Referrals looked at together.
const PAGE: u32 = 200;

/// What looking after referrals takes.
#[derive(Clone)]
pub struct Road {
    /// Grants.
    pub ledger: Ledger,
    /// The referrals.
    pub directory: Directory,
    /// The top-ups.
    pub db: Database,
    /// The terms.
    pub live: Live,
}

/// The operator's month of a moment: `2026-11`.
pub fn month(at: Moment, zone_minutes: i32) -> String {
    crate::approval::day(at, zone_minutes).chars().take(7).collect()
}

impl Road {
    /// Looks after referrals until told to stop. Run it as a task of its own, in as many processes as you like.
    pub async fn keep_rewarding(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if let Err(error) = self.reward().await {
                tracing::warn!(%error, "referrals could not be looked after");
            }
        }
    }

    /// Decides what can be decided, and grants what was decided and not granted.
    pub async fn reward(&self) -> Result<(), DirectoryError> {
        let mut after = None;
        loop {
            let page = self.directory.waiting_referrals(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.referred);
            let people: Vec<_> = page.iter().map(|it| it.referred).collect();
            let paid = top_ups::standing(&self.db, &people).await?;
            for it in &page {
                let of_theirs = |(order, _): &&(TopUpOrder, Credits)| order.account == it.referred;
                if let Some(decided) = self.decide(it, paid.iter().filter(of_theirs)).await? {
                    self.grant(&decided).await;
                }
            }
        }
        self.finish(now().plus_ms(-OLD_MS)).await
    }

    /// Grants what was decided before a moment and of which nobody has noted that it was granted.
    pub(crate) async fn finish(&self, before: Moment) -> Result<(), DirectoryError> {
        for it in self.directory.ungranted_referrals(before).await? {
            self.grant(&it).await;
        }
        Ok(())
    }

    async fn decide(
        &self,
        it: &Referral,
        paid: impl Iterator<Item = &(TopUpOrder, Credits)>,
    ) -> Result<Option<Referral>, DirectoryError> {
        let live = self.live.now();
        let terms = &live.referral;
        let end = it.created_at.plus_ms(terms.life_ms());
        let mut is_held = false;
        for (order, left) in paid {
            let Some(at) = order.completed_at.filter(|at| *at <= end && *left >= terms.min_topup) else {
                continue;
            };
            if !terms.enabled {
                self.directory.end_referral(it, ReferralState::Missed).await?;
                return Ok(None);
            }
            if at.plus_ms(terms.hold_ms()) > now() || self.directory.is_disputed(order.order).await? {
                is_held = true;
                continue;
            }
            let earning = Earning {
                order: order.order,
                reward: terms.reward,
                welcome: terms.welcome,
                monthly_cap: terms.monthly_cap,
                month: month(now(), live.time_zone_offset_minutes),
            };
            return self.directory.earn_referral(it, &earning).await;
        }
        if !is_held && end.plus_ms(GRACE_MS) < now() {
            self.directory.end_referral(it, ReferralState::Lapsed).await?;
        }
        Ok(None)
    }

    /// Grants the open shares of a referral.
    async fn grant(&self, it: &Referral) {
        for share in it.open_shares() {
            match self.grant_share(it, share).await {
                Ok(event_seq) => {
                    if let Err(error) = self.directory.share_granted(it, share, event_seq).await {
                        tracing::warn!(account = %it.referred, %error, "a referral's grant could not be noted; it is tried again");
                    }
                }
                Err(error) => {
                    tracing::warn!(account = %it.share(share).0, %error, "a referral's grant is not made yet");
                }
            }
        }
    }

    async fn grant_share(&self, it: &Referral, share: Share) -> Result<u64, LedgerError> {
        let (account, credits) = it.share(share);
        let reason = match share {
            Share::Reward => "for bringing somebody",
            Share::Welcome => "welcome, on a recommendation",
        };
        let command = Command::GrantCredit {
            grant: it.grant(share),
            source: GrantSource::Referral,
            credits,
            reason: Reason::try_new(reason).ok(),
        };
        Ok(self.ledger.execute(account, command, gateway("referrals"), None).await?.recorded.sequence)
    }
}
