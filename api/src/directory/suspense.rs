//! Requests about payments in suspense: which of them may still come true.
//!
//! For: one open request per payment, and whether a channel was asked for its refund before.
//! May not touch: the payments; they stand on the log.
//! Claims: of all requests about a payment at most one waits, is on its way or was done; one that was rejected, refused or left
//! until it was over makes room for another.

use super::approval::{Approval, ApprovalKind, COLUMNS, approval};
use super::{Directory, DirectoryError, now};
use domain::event::ReturnedBy;
use domain::{Credits, Label, Moment};
use projections::{Tx, Value};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use uuid::Uuid;

/// What is to become of a payment in suspense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    /// It is that account's, and buys so much.
    Claim {
        /// By the terms of the moment when it was asked.
        credits: Credits,
    },
    /// It goes back to the payer.
    Return {
        /// How.
        by: ReturnedBy,
        /// What an operator calls what they did by hand.
        reference: Option<Label>,
    },
    /// It is none.
    Dismiss,
}

impl End {
    /// The kind of its request.
    pub fn kind(&self) -> ApprovalKind {
        match self {
            Self::Claim { .. } => ApprovalKind::Claim,
            Self::Return { .. } => ApprovalKind::Return,
            Self::Dismiss => ApprovalKind::Dismiss,
        }
    }

    /// The credits that come of it.
    pub fn credits(&self) -> Credits {
        match self {
            Self::Claim { credits } => *credits,
            Self::Return { .. } | Self::Dismiss => Credits::ZERO,
        }
    }
}

/// Keeps a payment for a request; `false`: another one has it. The transaction must be rolled back then.
pub(super) async fn hold_payment(
    tx: &mut Tx,
    request: Uuid,
    payment: u64,
    at: Moment,
) -> Result<bool, DirectoryError> {
    let payment = Value::count(payment);
    let over = "UPDATE suspense_requests SET open_payment = NULL WHERE open_payment = ? AND request_id IN \
                (SELECT id FROM approvals WHERE state = 'pending' AND expires_at <= ?)";
    tx.execute(over, &[payment.clone(), at.into()]).await?;
    let hold = "INSERT INTO suspense_requests (request_id, payment, open_payment) VALUES (?, ?, ?)";
    match tx.execute(hold, &[request.to_string().into(), payment.clone(), payment]).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes room for another request.
pub(super) async fn free_payment(tx: &mut Tx, request: Uuid) -> Result<(), DirectoryError> {
    let free = "UPDATE suspense_requests SET open_payment = NULL WHERE request_id = ?";
    tx.execute(free, &[request.to_string().into()]).await?;
    Ok(())
}

impl Directory {
    /// Notes that a channel is about to be asked for a refund. `None`: nobody asked before; else when they began.
    pub async fn begin_return(&self, request: Uuid) -> Result<Option<Moment>, DirectoryError> {
        let id: Value = request.to_string().into();
        let begin = "UPDATE suspense_requests SET began_at = ? WHERE request_id = ? AND began_at IS NULL";
        if self.0.db.execute(begin, &[now().into(), id.clone()]).await? == 1 {
            return Ok(None);
        }
        let sql = "SELECT began_at FROM suspense_requests WHERE request_id = ?";
        let row = self.0.db.fetch_optional(sql, &[id]).await?.ok_or(DirectoryError::NotFound("request"))?;
        Ok(row.opt_moment("began_at")?)
    }

    /// The request that each payment waits for, or was ended by.
    pub async fn requests_of_payments(&self) -> Result<HashMap<u64, Uuid>, DirectoryError> {
        let sql = "SELECT s.open_payment AS payment, s.request_id AS id FROM suspense_requests s JOIN approvals a \
                   ON a.id = s.request_id WHERE s.open_payment IS NOT NULL \
                   AND NOT (a.state = 'pending' AND a.expires_at <= ?)";
        let rows = self.0.db.fetch_all(sql, &[now().into()]).await?;
        rows.iter().map(|row| Ok((row.count("payment")?, row.parsed("id")?))).collect()
    }

    /// All requests about a payment, the newest first.
    pub async fn requests_about(&self, payment: u64) -> Result<Vec<Approval>, DirectoryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM approvals WHERE id IN (SELECT request_id FROM suspense_requests WHERE payment = ?) \
             ORDER BY id DESC LIMIT 100"
        );
        let at = now();
        let rows = self.0.db.fetch_all(&sql, &[Value::count(payment)]).await?;
        rows.iter().map(|row| approval(row, at)).collect()
    }
}
