//! What operators ask to be done with credits, and the second person who must agree to what is large.
//!
//! For: the rows: who asked for what, whether one person is enough, who decided, what became of it.
//! May not touch: credits; the ledger moves them ([`crate::approval`]).
//! Claims: whatever one operator moves on a day without a second person stays within their limits, also when acts come at the
//! same moment or in small pieces; a request is decided once, by somebody who neither asked for it nor owns the account; what
//! it makes on the ledger has the request's own id, so making it again is the same act.

use super::{
    Directory, DirectoryError, act, corrupt, digest, now,
    suspense::{End, free_payment, hold_payment},
    user::Role,
    words,
};
use crate::{
    config::AdjustmentsConfig,
    session::{Caller, actor},
};
use domain::{
    AccountId, ActorKind, AdjustmentId, ChannelName, Command, Credits, GrantId, IdempotencyKey, Label,
    Moment, Money, Reason, RefundId, Refusal, account::event::GrantSource,
};
use projections::{Row, Set, Tx, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

words! {
    /// What is asked for.
    ApprovalKind {
        /// A correction of a balance by a difference.
        Adjustment = "adjustment",
        /// A gift of credits.
        Grant = "grant",
        /// Money that goes back to a payer.
        Refund = "refund",
        /// A payment in suspense is a user's.
        Claim = "claim",
        /// A payment in suspense goes back to its payer.
        Return = "return",
        /// A payment in suspense is none.
        Dismiss = "dismiss",
        /// A refund ended so, as an operator found at the channel.
        Settle = "settle",
    }

    /// How far a request got.
    ApprovalState {
        /// It waits for a second person.
        Pending = "pending",
        /// It may be done and is on its way to the ledger.
        Approved = "approved",
        /// It stands on the ledger.
        Done = "done",
        /// The ledger refused it.
        Failed = "failed",
        /// A second person said no, or whoever asked took it back.
        Rejected = "rejected",
        /// Nobody decided in time.
        Expired = "expired",
    }

    /// Why a second person is asked.
    ApprovalNeed {
        /// It is larger than one person of this role may move at once.
        Amount = "amount",
        /// With it, more would be moved on this day than one person of this role may.
        Day = "day",
        /// The account is that of whoever asks.
        Own = "own",
        /// Nobody does such a thing alone.
        Always = "always",
    }

    /// How a refund ended, by an operator's word.
    SettleOutcome {
        /// The money went back.
        Completed = "completed",
        /// It did not, and will not.
        Failed = "failed",
    }

    /// Where a grant comes from.
    GiftFrom {
        /// A welcome gift.
        Signup = "signup",
        /// A redemption code.
        Redemption = "redemption",
        /// A reward for bringing someone.
        Referral = "referral",
        /// A campaign.
        Promotion = "promotion",
        /// A balance brought from another system.
        Import = "import",
        /// An operator's gift.
        Admin = "admin",
    }
}

impl From<GiftFrom> for GrantSource {
    fn from(source: GiftFrom) -> Self {
        match source {
            GiftFrom::Signup => Self::Signup,
            GiftFrom::Redemption => Self::Redemption,
            GiftFrom::Referral => Self::Referral,
            GiftFrom::Promotion => Self::Promotion,
            GiftFrom::Import => Self::Import,
            GiftFrom::Admin => Self::Admin,
        }
    }
}

/// What is to be done, as it is stored. Another kind of act (a claim of a payment that fits no order) is another variant: the
/// compiler then asks everywhere what it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Asked {
    /// A correction of a balance by a difference.
    Adjustment {
        /// The difference.
        credits: Credits,
        /// Why; the account's owner sees it.
        reason: Reason,
    },
    /// A gift of credits.
    Grant {
        /// How much.
        credits: Credits,
        /// Where it comes from.
        source: GiftFrom,
        /// A sentence about it; the account's owner sees it.
        reason: Option<Reason>,
    },
    /// The word that a channel may be asked for a refund, whose credits are set aside already.
    Refund {
        /// Which.
        refund: RefundId,
        /// The credits, below zero.
        credits: Credits,
        /// Why it was asked for.
        reason: Reason,
    },
    /// The word that a refund which was approved has ended so: nobody else can tell.
    Settle {
        /// Which.
        refund: RefundId,
        /// How.
        outcome: SettleOutcome,
        /// The channel's number of it.
        reference: Option<Label>,
        /// The credits that were set aside for it.
        credits: Credits,
        /// How this is known.
        reason: Reason,
    },
    /// The end of a payment in suspense.
    Suspense {
        /// The channel.
        channel: ChannelName,
        /// Where the payment stands on the log.
        payment: u64,
        /// What was paid.
        paid: Money,
        /// What becomes of it.
        end: End,
        /// Why.
        reason: Reason,
    },
}

impl Asked {
    /// Its kind.
    pub fn kind(&self) -> ApprovalKind {
        match self {
            Self::Adjustment { .. } => ApprovalKind::Adjustment,
            Self::Grant { .. } => ApprovalKind::Grant,
            Self::Refund { .. } => ApprovalKind::Refund,
            Self::Settle { .. } => ApprovalKind::Settle,
            Self::Suspense { end, .. } => end.kind(),
        }
    }

    /// The credits that it moves; below zero: away from the account.
    pub fn credits(&self) -> Credits {
        match self {
            Self::Adjustment { credits, .. }
            | Self::Grant { credits, .. }
            | Self::Refund { credits, .. }
            | Self::Settle { outcome: SettleOutcome::Failed, credits, .. } => *credits,
            // They were set aside when it was asked for.
            Self::Settle { outcome: SettleOutcome::Completed, .. } => Credits::ZERO,
            Self::Suspense { end, .. } => end.credits(),
        }
    }

    /// Why, as far as anybody said.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Adjustment { reason, .. }
            | Self::Refund { reason, .. }
            | Self::Settle { reason, .. }
            | Self::Suspense { reason, .. } => Some(reason),
            Self::Grant { reason, .. } => reason.as_ref(),
        }
    }

    /// The payment in suspense that it is about.
    pub fn payment(&self) -> Option<u64> {
        match self {
            Self::Suspense { payment, .. } => Some(*payment),
            Self::Adjustment { .. } | Self::Grant { .. } | Self::Refund { .. } | Self::Settle { .. } => None,
        }
    }

    /// Does it take a second person whatever it moves?
    fn is_never_alone(&self) -> bool {
        match self {
            Self::Settle { .. } | Self::Suspense { .. } => true,
            Self::Adjustment { .. } | Self::Grant { .. } | Self::Refund { .. } => false,
        }
    }

    /// What the ledger is asked, under the request's id; a refund has its own. `None`: more than one thing (`payments::suspense`).
    fn command(&self, id: Uuid) -> Option<Command> {
        Some(match self {
            Self::Suspense { .. } => return None,
            Self::Adjustment { credits, reason } => Command::PostAdjustment {
                adjustment: AdjustmentId::from_uuid(id),
                credits: *credits,
                reason: reason.clone(),
            },
            Self::Grant { credits, source, reason } => Command::GrantCredit {
                grant: GrantId::from_uuid(id),
                source: (*source).into(),
                credits: *credits,
                reason: reason.clone(),
            },
            Self::Refund { refund, .. } => Command::ApproveRefund { refund: *refund },
            Self::Settle { refund, outcome: SettleOutcome::Completed, reference, .. } => {
                Command::CompleteRefund { refund: *refund, provider_refund: reference.clone() }
            }
            Self::Settle { refund, outcome: SettleOutcome::Failed, reason, .. } => {
                Command::FailRefund { refund: *refund, reason: reason.clone() }
            }
        })
    }

    /// What the ledger would refuse whatever the account: not worth asking anybody.
    fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Adjustment { credits, .. } if *credits == Credits::ZERO => Err(Refusal::ZeroAdjustment),
            Self::Grant { credits, .. } if !credits.is_positive() => {
                Err(Refusal::NotPositive { what: "a grant" })
            }
            Self::Adjustment { .. }
            | Self::Grant { .. }
            | Self::Refund { .. }
            | Self::Settle { .. }
            | Self::Suspense { .. } => Ok(()),
        }
    }
}

/// A request, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Its id, also that of what it makes on the ledger.
    pub id: Uuid,
    /// Whose account.
    pub account: AccountId,
    /// What is to be done.
    pub asked: Asked,
    /// Who asked.
    pub requester: AccountId,
    /// Why a second person is asked; `None`: nobody is.
    pub needed: Option<ApprovalNeed>,
    /// How far it got.
    pub state: ApprovalState,
    /// When it was asked for.
    pub created_at: Moment,
    /// Until when it can be approved.
    pub expires_at: Moment,
    /// Who decided.
    pub decided_by: Option<AccountId>,
    /// When.
    pub decided_at: Option<Moment>,
    /// What they said.
    pub note: Option<String>,
    /// Why the ledger refused.
    pub failure: Option<String>,
    /// Where it stands on the log.
    pub event_seq: Option<i64>,
    counted_on: Option<String>,
}

impl Approval {
    /// What the ledger is asked; `None`: it is about a payment in suspense.
    pub fn command(&self) -> Option<Command> {
        self.asked.command(self.id)
    }
}

/// Why a request is not taken, or not decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalFault {
    /// The ledger would refuse it in any case.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It does not wait any more.
    #[error("this request does not wait for a decision: it is {0}")]
    NotPending(ApprovalState),
    /// Another request about the same payment may still come true.
    #[error("another request about this payment waits or was done")]
    PaymentHeld,
    /// One's own request, or about one's own account.
    #[error("{0}")]
    Involved(&'static str),
}

/// Which requests are listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApprovalFilter {
    /// How far they got.
    pub state: Option<ApprovalState>,
    /// Whose account.
    pub account: Option<AccountId>,
    /// Who asked.
    pub requester: Option<AccountId>,
    /// Only those before this one.
    pub before: Option<Uuid>,
    /// How many at most.
    pub limit: u32,
}

/// What an operator may move alone, and has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// At once.
    pub at_once: Credits,
    /// On a day.
    pub on_a_day: Credits,
    /// Moved on this day.
    pub moved: Credits,
}

pub(super) const COLUMNS: &str = "id, kind, account, credits, act, requester, needed, counted_on, state, created_at, expires_at, \
                       decided_by, decided_at, note, failure, event_seq";

pub(super) fn approval(row: &Row, at: Moment) -> Result<Approval, DirectoryError> {
    let (state, expires_at) = (row.parsed("state")?, row.moment("expires_at")?);
    let is_over = state == ApprovalState::Pending && expires_at <= at;
    Ok(Approval {
        id: row.parsed("id")?,
        account: row.parsed("account")?,
        asked: row.json("act")?,
        requester: row.parsed("requester")?,
        needed: row.opt_parsed("needed")?,
        state: if is_over { ApprovalState::Expired } else { state },
        created_at: row.moment("created_at")?,
        expires_at,
        decided_by: row.opt_parsed("decided_by")?,
        decided_at: row.opt_moment("decided_at")?,
        note: row.opt_text("note")?,
        failure: row.opt_text("failure")?,
        event_seq: row.opt_int("event_seq")?,
        counted_on: row.opt_text("counted_on")?,
    })
}

/// Credits without their direction.
fn size(credits: Credits) -> Result<Credits, Refusal> {
    if credits.is_positive() { Ok(credits) } else { credits.checked_neg().ok_or(Refusal::Overflow) }
}

fn told(it: &Approval) -> serde_json::Value {
    json!({
        "kind": it.asked.kind(), "account": it.account, "credits": it.asked.credits(),
        "reason": it.asked.reason(), "needed": it.needed, "state": it.state, "payment": it.asked.payment(),
    })
}

/// Adds to an operator's day, if that stays within the limit.
async fn count(
    tx: &mut Tx,
    operator: AccountId,
    day: &str,
    credits: Credits,
    limit: Credits,
) -> Result<bool, DirectoryError> {
    let Some(room) = limit.checked_sub(credits).filter(|room| room.nano() >= 0) else { return Ok(false) };
    let tail = tx.dialect().upsert("operator_days", &["operator", "day"], &[Set::Add("credits")]);
    let first = format!("INSERT INTO operator_days (operator, day, credits) VALUES (?, ?, 0){tail}");
    tx.execute(&first, &[operator.into(), day.into()]).await?;
    let raise =
        "UPDATE operator_days SET credits = credits + ? WHERE operator = ? AND day = ? AND credits <= ?";
    let values: [Value; 4] = [credits.into(), operator.into(), day.into(), room.into()];
    Ok(tx.execute(raise, &values).await? > 0)
}

impl Directory {
    /// Takes a request. It is approved at once where one person is enough, else it waits. The same key and request again is
    /// the first one as it is now; `day` is the operator's day, by which sums are counted.
    ///
    /// Errors: [`ApprovalFault::Refused`] for what the ledger would refuse in any case, and with
    /// [`Refusal::KeyReused`] where the key stood for another request.
    pub async fn ask_for(
        &self,
        caller: &Caller,
        account: AccountId,
        asked: Asked,
        key: Option<&IdempotencyKey>,
        limits: &AdjustmentsConfig,
        day: &str,
    ) -> Result<Result<Approval, ApprovalFault>, DirectoryError> {
        if let Err(refusal) = asked.check() {
            return Ok(Err(refusal.into()));
        }
        let key = key.map(|key| digest(key.as_str()));
        loop {
            if let Some(key) = &key {
                let sql = format!("SELECT {COLUMNS} FROM approvals WHERE requester = ? AND request_key = ?");
                let row = self.0.db.fetch_optional(&sql, &[caller.user.into(), key.into()]).await?;
                if let Some(row) = row {
                    let before = approval(&row, now())?;
                    let is_same = before.account == account && before.asked == asked;
                    return Ok(if is_same { Ok(before) } else { Err(Refusal::KeyReused.into()) });
                }
            }
            let new = self.write_request(caller, account, &asked, key.as_deref(), limits, day).await;
            match new {
                // Another request with this key came first; the next look finds it.
                Err(DirectoryError::Taken(_)) if key.is_some() => {}
                other => return other,
            }
        }
    }

    async fn write_request(
        &self,
        caller: &Caller,
        account: AccountId,
        asked: &Asked,
        key: Option<&str>,
        limits: &AdjustmentsConfig,
        day: &str,
    ) -> Result<Result<Approval, ApprovalFault>, DirectoryError> {
        let size = match size(asked.credits()) {
            Ok(size) => size,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let at = now();
        let mut change = self.change_aside().await?;
        let is_own = account == caller.user && caller.role != Role::Owner;
        let needed = if asked.is_never_alone() {
            Some(ApprovalNeed::Always)
        } else if is_own {
            Some(ApprovalNeed::Own)
        } else if size > limits.approval_above.of(caller.role) {
            Some(ApprovalNeed::Amount)
        } else if !count(&mut change.tx, caller.user, day, size, limits.daily.of(caller.role)).await? {
            Some(ApprovalNeed::Day)
        } else {
            None
        };
        let is_enough = needed.is_none();
        let made = Approval {
            id: Uuid::now_v7(),
            account,
            asked: asked.clone(),
            requester: caller.user,
            needed,
            state: if is_enough { ApprovalState::Approved } else { ApprovalState::Pending },
            created_at: at,
            expires_at: at.plus_ms(limits.approval_ms()),
            decided_by: is_enough.then_some(caller.user),
            decided_at: is_enough.then_some(at),
            note: None,
            failure: None,
            event_seq: None,
            counted_on: is_enough.then(|| day.to_owned()),
        };
        let text = serde_json::to_string(asked).map_err(|error| corrupt("an act", error))?;
        let values: [Value; 14] = [
            made.id.to_string().into(),
            asked.kind().as_str().into(),
            account.into(),
            asked.credits().into(),
            text.into(),
            caller.user.into(),
            key.into(),
            needed.map(ApprovalNeed::as_str).into(),
            made.counted_on.clone().into(),
            made.state.as_str().into(),
            at.into(),
            made.expires_at.into(),
            made.decided_by.into(),
            made.decided_at.into(),
        ];
        let insert = "INSERT INTO approvals (id, kind, account, credits, act, requester, request_key, needed, counted_on, \
                      state, created_at, expires_at, decided_by, decided_at) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        change.tx.execute(insert, &values).await.map_err(super::taken("that Idempotency-Key"))?;
        if let Some(payment) = asked.payment()
            && !hold_payment(&mut change.tx, made.id, payment, at).await?
        {
            change.tx.rollback().await?;
            return Ok(Err(ApprovalFault::PaymentHeld));
        }
        if !is_enough {
            let by = actor(ActorKind::Admin, caller.user);
            change.acts.push(act(by, "approval.ask", made.id.to_string(), None, Some(told(&made))));
        }
        self.finish(change).await?;
        Ok(Ok(made))
    }

    /// One request.
    pub async fn approval(&self, id: Uuid) -> Result<Approval, DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM approvals WHERE id = ?");
        let row = self.0.db.fetch_optional(&sql, &[id.to_string().into()]).await?;
        approval(&row.ok_or(DirectoryError::NotFound("request"))?, now())
    }

    /// Requests, newest first.
    pub async fn approvals(&self, filter: &ApprovalFilter) -> Result<Vec<Approval>, DirectoryError> {
        let at = now();
        let mut sql = format!("SELECT {COLUMNS} FROM approvals WHERE 1 = 1");
        let mut values: Vec<Value> = Vec::new();
        match filter.state {
            Some(ApprovalState::Pending) => {
                sql.push_str(" AND state = 'pending' AND expires_at > ?");
                values.push(at.into());
            }
            Some(ApprovalState::Expired) => {
                sql.push_str(" AND state = 'pending' AND expires_at <= ?");
                values.push(at.into());
            }
            Some(state) => {
                sql.push_str(" AND state = ?");
                values.push(state.as_str().into());
            }
            None => {}
        }
        for (column, whose) in [("account", filter.account), ("requester", filter.requester)] {
            if let Some(whose) = whose {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(whose.into());
            }
        }
        if let Some(before) = filter.before {
            sql.push_str(" AND id < ?");
            values.push(before.to_string().into());
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        values.push(i64::from(filter.limit).into());
        self.0.db.fetch_all(&sql, &values).await?.iter().map(|row| approval(row, at)).collect()
    }

    /// Approves a request, as a second person. The answer is on its way to the ledger.
    pub async fn approve(
        &self,
        id: Uuid,
        by: &Caller,
        note: Option<&str>,
    ) -> Result<Result<Approval, ApprovalFault>, DirectoryError> {
        self.approve_at(id, by, note, now()).await
    }

    pub(crate) async fn approve_at(
        &self,
        id: Uuid,
        by: &Caller,
        note: Option<&str>,
        at: Moment,
    ) -> Result<Result<Approval, ApprovalFault>, DirectoryError> {
        let before = self.approval(id).await?;
        if before.requester == by.user {
            return Ok(Err(ApprovalFault::Involved(
                "whoever asks for something does not approve it; another person must",
            )));
        }
        if before.account == by.user {
            return Ok(Err(ApprovalFault::Involved(
                "nobody approves what is done to their own account; another person must",
            )));
        }
        self.decide(before, ApprovalState::Approved, by, note, at).await
    }

    /// Approves a request as whoever is the only operator, one's own too. Not one about one's own account, nor while another
    /// active user has one of `roles`.
    pub async fn approve_alone(
        &self,
        id: Uuid,
        by: &Caller,
        note: &str,
        roles: &[Role],
    ) -> Result<Result<Approval, ApprovalFault>, DirectoryError> {
        let before = self.approval(id).await?;
        if before.requester != by.user
            || before.account == by.user
            || self.others_of(roles, by.user).await? > 0
        {
            return self.approve(id, by, Some(note)).await;
        }
        self.decide(before, ApprovalState::Approved, by, Some(note), now()).await
    }

    /// How many active users have one of these roles, besides one.
    pub async fn others_of(&self, roles: &[Role], but: AccountId) -> Result<u64, DirectoryError> {
        let places = vec!["?"; roles.len()].join(", ");
        let sql = format!(
            "SELECT COUNT(*) AS n FROM users WHERE status = 'active' AND id <> ? AND role IN ({places})"
        );
        let mut values: Vec<Value> = vec![but.into()];
        values.extend(roles.iter().map(|role| role.as_str().into()));
        Ok(self.0.db.fetch_one(&sql, &values).await?.count("n")?)
    }

    /// Rejects a request, or takes one's own back.
    pub async fn reject(
        &self,
        id: Uuid,
        by: &Caller,
        note: Option<&str>,
    ) -> Result<Result<Approval, ApprovalFault>, DirectoryError> {
        let before = self.approval(id).await?;
        self.decide(before, ApprovalState::Rejected, by, note, now()).await
    }

    async fn decide(
        &self,
        before: Approval,
        state: ApprovalState,
        by: &Caller,
        note: Option<&str>,
        at: Moment,
    ) -> Result<Result<Approval, ApprovalFault>, DirectoryError> {
        let mut change = self.change_aside().await?;
        let update = "UPDATE approvals SET state = ?, decided_by = ?, decided_at = ?, note = ? \
                      WHERE id = ? AND state = 'pending' AND expires_at > ?";
        let values: [Value; 6] = [
            state.as_str().into(),
            by.user.into(),
            at.into(),
            note.into(),
            before.id.to_string().into(),
            at.into(),
        ];
        if change.tx.execute(update, &values).await? == 0 {
            // Let go first: SQLite has one writer.
            change.tx.rollback().await?;
            let found = self.approval(before.id).await?;
            let state =
                if found.state == ApprovalState::Pending { ApprovalState::Expired } else { found.state };
            return Ok(Err(ApprovalFault::NotPending(state)));
        }
        let after = Approval {
            state,
            decided_by: Some(by.user),
            decided_at: Some(at),
            note: note.map(str::to_owned),
            ..before.clone()
        };
        if state == ApprovalState::Rejected && before.asked.payment().is_some() {
            free_payment(&mut change.tx, before.id).await?;
        }
        let verb = if state == ApprovalState::Approved { "approval.approve" } else { "approval.reject" };
        let is_alone = state == ApprovalState::Approved && before.requester == by.user;
        let actor = actor(ActorKind::Admin, by.user);
        change.acts.push(act(
            actor,
            verb,
            before.id.to_string(),
            Some(told(&before)),
            Some(json!({"state": state, "note": note, "alone": is_alone})),
        ));
        self.finish(change).await?;
        Ok(Ok(after))
    }

    /// Notes where an approved request stands on the log. The ledger is right, whatever was noted before.
    pub async fn request_done(&self, it: &Approval, event_seq: u64) -> Result<(), DirectoryError> {
        let position = i64::try_from(event_seq).unwrap_or(i64::MAX);
        let mut change = self.change_aside().await?;
        let update = "UPDATE approvals SET state = 'done', event_seq = ?, failure = NULL \
                      WHERE id = ? AND state IN ('approved', 'failed')";
        if change.tx.execute(update, &[position.into(), it.id.to_string().into()]).await? > 0 {
            let verb = match it.asked.kind() {
                ApprovalKind::Adjustment => "adjustment.post",
                ApprovalKind::Grant => "grant.post",
                ApprovalKind::Refund => "refund.approve",
                ApprovalKind::Claim => "suspense.claim",
                ApprovalKind::Return => "suspense.return",
                ApprovalKind::Dismiss => "suspense.dismiss",
                ApprovalKind::Settle => "refund.settled",
            };
            let after = json!({
                "id": it.id, "credits": it.asked.credits(), "reason": it.asked.reason(), "event_seq": event_seq,
                "approved_by": it.decided_by, "payment": it.asked.payment(),
            });
            let by = actor(ActorKind::Admin, it.requester);
            change.acts.push(act(by, verb, it.account.to_string(), None, Some(after)));
        }
        self.finish(change).await
    }

    /// Notes that the ledger refused: nothing was moved, so it does not count, and the key may be used again.
    pub async fn request_failed(&self, it: &Approval, failure: &str) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        let update = "UPDATE approvals SET state = 'failed', failure = ?, request_key = NULL \
                      WHERE id = ? AND state = 'approved'";
        let values: [Value; 2] = [failure.into(), it.id.to_string().into()];
        if change.tx.execute(update, &values).await? > 0
            && let Some(day) = &it.counted_on
        {
            let size = size(it.asked.credits()).map_err(|error| corrupt("an act", error))?;
            let lower = "UPDATE operator_days SET credits = credits - ? WHERE operator = ? AND day = ?";
            change.tx.execute(lower, &[size.into(), it.requester.into(), day.as_str().into()]).await?;
        }
        if it.asked.payment().is_some() {
            free_payment(&mut change.tx, it.id).await?;
        }
        self.finish(change).await
    }

    /// Requests that were approved before a moment and of which nobody knows whether they stand on the log: a process may
    /// have died in between.
    pub async fn unfinished_requests(&self, before: Moment) -> Result<Vec<Approval>, DirectoryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM approvals WHERE state = 'approved' AND decided_at < ? ORDER BY decided_at LIMIT 100"
        );
        let at = now();
        self.0.db.fetch_all(&sql, &[before.into()]).await?.iter().map(|row| approval(row, at)).collect()
    }

    /// Counts credits that somebody hands out alone, if their limits allow it.
    pub async fn move_alone(
        &self,
        caller: &Caller,
        credits: Credits,
        limits: &AdjustmentsConfig,
        day: &str,
    ) -> Result<bool, DirectoryError> {
        if credits > limits.approval_above.of(caller.role) {
            return Ok(false);
        }
        let mut change = self.change_aside().await?;
        let is_within =
            count(&mut change.tx, caller.user, day, credits, limits.daily.of(caller.role)).await?;
        if is_within {
            self.finish(change).await?;
        }
        Ok(is_within)
    }

    /// What somebody may move alone, and has moved on a day.
    pub async fn allowance(
        &self,
        caller: &Caller,
        limits: &AdjustmentsConfig,
        day: &str,
    ) -> Result<Allowance, DirectoryError> {
        let sql = "SELECT credits FROM operator_days WHERE operator = ? AND day = ?";
        let row = self.0.db.fetch_optional(sql, &[caller.user.into(), day.into()]).await?;
        Ok(Allowance {
            at_once: limits.approval_above.of(caller.role),
            on_a_day: limits.daily.of(caller.role),
            moved: row.map(|row| row.credits("credits")).transpose()?.unwrap_or(Credits::ZERO),
        })
    }
}
