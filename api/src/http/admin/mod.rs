//! What operators do: providers, models, prices, users, groups, invitations; and what they see of the books, the log and the
//! mails. Which role may do what stands with each route ([`permission`](super::permission)); all writes are acts on AUDIT.

pub mod approvals;
pub mod audit;
pub mod disputes;
pub mod groups;
pub mod invitations;
pub mod ledger;
pub mod mails;
pub mod margin;
pub mod models;
pub mod overview;
pub mod payments;
pub mod price_catalogue;
pub mod prices;
pub mod provider_account;
pub mod providers;
pub mod rate_limits;
pub mod refunds;
pub mod settings;
pub mod suspense;
pub mod users;

use crate::{http::permission::Routes, problem::Problem};
use domain::Label;

/// The routes of these rooms.
pub fn routes() -> Routes {
    Routes::new()
        .merge(providers::routes())
        .merge(models::routes())
        .merge(prices::routes())
        .merge(price_catalogue::routes())
        .merge(margin::routes())
        .merge(users::routes())
        .merge(groups::routes())
        .merge(invitations::routes())
        .merge(mails::routes())
        .merge(rate_limits::routes())
        .merge(ledger::routes())
        .merge(audit::routes())
        .merge(payments::routes())
        .merge(suspense::routes())
        .merge(overview::routes())
        .merge(approvals::routes())
        .merge(provider_account::routes())
        .merge(settings::routes())
        .merge(refunds::routes())
        .merge(disputes::routes())
}

/// A name that goes on the log: 1 to 200 bytes without control characters or spaces around it.
pub(super) fn checked_label(field: &str, text: String) -> Result<String, Problem> {
    if text.trim() != text {
        return Err(Problem::invalid(field, "must not begin or end with a space"));
    }
    let label = Label::try_new(text).map_err(|error| Problem::invalid(field, error))?;
    Ok(label.into())
}
