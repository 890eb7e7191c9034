//! Disputes: payments that a payer's bank takes back.
//!
//! For: what callbacks tell of them ([`told`]), and booking what follows ([`book`]).
//! May not touch: balances; HTTP.
//! Claims: a dispute takes the order's credits once, however often and in whatever order it is told, and gives them back once if
//! it is won; one that was won does not take them again; one that fits no order of ours calls for a person.

use super::callback::{Ending, Trouble, caught_up, channel_actor};
use super::channel::{DisputeNotice, DisputeStage};
use crate::app::App;
use crate::directory::now;
use crate::directory::refund::{Dispute, DisputeState, dispute_id};
use domain::{Actor, ChannelName, Command, Label, Refusal};
use ledger::LedgerError;
use projections::top_ups;

/// Takes what a callback tells of a dispute. Answers the order's number too, where it is ours.
pub async fn told(
    app: &App,
    channel: &ChannelName,
    notice: DisputeNotice,
    inbox: u64,
) -> (Option<Label>, Result<Ending, Trouble>) {
    match taken(app, channel, &notice, inbox).await {
        Ok((order, ending)) => (order, Ok(ending)),
        Err(trouble) => (None, Err(trouble)),
    }
}

async fn taken(
    app: &App,
    channel: &ChannelName,
    notice: &DisputeNotice,
    inbox: u64,
) -> Result<(Option<Label>, Ending), Trouble> {
    let mut order = top_ups::paid_by(&app.db, channel, &notice.provider_txn).await?;
    if order.is_none() {
        caught_up(app).await?;
        order = top_ups::paid_by(&app.db, channel, &notice.provider_txn).await?;
    }
    let told = Dispute {
        id: dispute_id(channel, &notice.reference),
        channel: channel.clone(),
        reference: notice.reference.clone(),
        order: order.as_ref().map(|it| it.order),
        account: order.as_ref().map(|it| it.account),
        provider_txn: Some(notice.provider_txn.clone()),
        amount: notice.amount,
        state: match notice.stage {
            DisputeStage::Inquiry => DisputeState::Inquiry,
            DisputeStage::Taken => DisputeState::Open,
            DisputeStage::Won => DisputeState::Won,
            DisputeStage::Lost => DisputeState::Lost,
        },
        what: notice.what.to_string(),
        created_at: now(),
        updated_at: now(),
    };
    let dispute = app.directory.note_dispute(&told, None).await?;
    let number = order.map(|it| Label::try_new(it.order.merchant_number())).transpose()?;
    tracing::error!(
        alert = "payment_disputed", %channel, inbox, dispute = %dispute.id, reference = %notice.reference,
        provider_txn = %notice.provider_txn, amount = %notice.amount, what = %notice.what, state = dispute.state.as_str(),
        order = number.as_ref().map(Label::as_str), "a payer's bank disputes a payment"
    );
    let detail = match book(app, &dispute, channel_actor(channel)?).await? {
        Outcome::Booked => format!("the dispute is {}", dispute.state),
        Outcome::NoOrder => {
            "no order of ours was paid by the disputed transaction; a person must look".to_owned()
        }
        Outcome::Refused(why) => format!("the dispute cannot be booked, a person must look: {why}"),
    };
    Ok((number, Ending::Back { verdict: "disputed", detail }))
}

/// What came of booking a dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The log says what follows from the dispute's state.
    Booked,
    /// There is no order that it is about.
    NoOrder,
    /// The ledger said no.
    Refused(String),
}

/// Books what follows from a dispute: while it is open or lost, its credits are taken; when it is won, they come back.
///
/// Events come in any order and by several processes: whoever takes the credits looks afterwards whether the dispute was won in
/// the meantime, and whoever learns that it was won has written so before it gives them back. So one of the two does.
pub async fn book(app: &App, dispute: &Dispute, actor: Actor) -> Result<Outcome, Trouble> {
    let (Some(order), Some(account)) = (dispute.order, dispute.account) else { return Ok(Outcome::NoOrder) };
    let reverse = Command::ReverseChargeback { chargeback: dispute.id };
    let commands = match dispute.state {
        DisputeState::Inquiry => return Ok(Outcome::Booked),
        DisputeState::Won => vec![reverse],
        DisputeState::Open | DisputeState::Lost => vec![
            Command::PostChargeback {
                chargeback: dispute.id,
                order,
                pay: dispute.amount,
                reference: dispute.reference.clone(),
            },
            reverse,
        ],
    };
    for command in commands {
        let is_reversal = matches!(command, Command::ReverseChargeback { .. });
        if is_reversal && app.directory.dispute(dispute.id).await?.state != DisputeState::Won {
            break;
        }
        match app.ledger.execute(account, command, actor.clone(), None).await {
            Ok(receipt) => {
                let sequence = receipt.recorded.sequence;
                tracing::info!(dispute = %dispute.id, %account, sequence, is_reversal, "a dispute was booked");
            }
            // It was won before anything was taken.
            Err(LedgerError::Refused(Refusal::UnknownChargeback(_))) => {}
            Err(LedgerError::Refused(refusal)) => {
                tracing::error!(
                    alert = "dispute_unbooked", dispute = %dispute.id, %account, %order, amount = %dispute.amount,
                    "a dispute cannot be booked: {refusal}"
                );
                return Ok(Outcome::Refused(refusal.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Outcome::Booked)
}
