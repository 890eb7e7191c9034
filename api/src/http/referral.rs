//! Bringing others: one's code and what came of it, and the operator's view of it.
//!
//! Claims: nobody learns who it was that they brought, or whether an address is known.

use crate::{
    app::App,
    body::{Json, Page, Query, page_before, page_limit},
    directory::{
        now,
        referral::{Referral, ReferralState},
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    referral::month,
    session::{Admin, Caller},
};
use axum::extract::State;
use domain::{AccountId, Moment};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().guarded(Permission::SelfRead, routes!(mine)).guarded(Permission::MoneyRead, routes!(list))
}

/// Whoever brought somebody, by the code that these have named. Where nothing is given for it, a code means nothing.
pub(super) async fn referrer(app: &App, code: Option<&str>) -> Result<Option<AccountId>, Problem> {
    let Some(code) = code.filter(|code| !code.is_empty() && app.live.now().referral.enabled) else {
        return Ok(None);
    };
    let short = code.len() <= 64;
    let found = if short { app.directory.referrer(code).await? } else { None };
    found.map(Some).ok_or_else(|| Problem::invalid("referral", "nobody has this code; leave it out"))
}

/// My referrals.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MyReferrals {
    /// Is anything given for bringing somebody?
    enabled: bool,
    /// My code.
    #[schema(example = "7F3KQ0Z9")]
    code: String,
    /// A link that hands it over.
    link: String,
    /// What I get for each, in credits.
    reward: String,
    /// What they get.
    welcome: String,
    /// The least number of credits that their first top-up must buy.
    min_topup: String,
    /// How often I am rewarded in a month.
    monthly_cap: u32,
    /// People who registered with my code.
    brought: u64,
    /// Of them, those whose top-up is awaited.
    waiting: u64,
    /// Of them, those for whom I was rewarded.
    rewarded: u64,
    /// Of them, those of this month.
    rewarded_this_month: u64,
    /// All that I was given for it, in credits.
    credits: String,
}

/// My code, and what came of it.
#[utoipa::path(operation_id = "get_referrals", get, path = "/api/user/referral", tag = "user",
    responses((status = 200, body = MyReferrals)))]
async fn mine(State(app): State<App>, caller: Caller) -> Result<Json<MyReferrals>, Problem> {
    let live = app.live.now();
    let code = app.directory.referral_code(caller.user).await?;
    let month = month(now(), live.time_zone_offset_minutes);
    let count = app.directory.referral_count(caller.user, &month).await?;
    Ok(Json(MyReferrals {
        enabled: live.referral.enabled,
        link: format!("{}/register?referral={code}", live.public_url),
        code,
        reward: live.referral.reward.to_string(),
        welcome: live.referral.welcome.to_string(),
        min_topup: live.referral.min_topup.to_string(),
        monthly_cap: live.referral.monthly_cap,
        brought: count.brought,
        waiting: count.waiting,
        rewarded: count.rewarded,
        rewarded_this_month: count.this_month,
        credits: count.credits.to_string(),
    }))
}

/// A referral.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReferralView {
    /// Who was brought.
    #[schema(value_type = Uuid)]
    user_id: AccountId,
    /// By whom.
    #[schema(value_type = Uuid)]
    referrer_id: AccountId,
    /// What became of it.
    state: ReferralState,
    /// When they registered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Moment>,
    /// What the referrer gets, in credits.
    reward: String,
    /// What the new user gets, in credits.
    welcome: String,
    /// Where the referrer's grant stands on the log.
    reward_event_seq: Option<i64>,
    /// Where the new user's grant stands on the log.
    welcome_event_seq: Option<i64>,
}

impl From<Referral> for ReferralView {
    fn from(it: Referral) -> Self {
        Self {
            user_id: it.referred,
            referrer_id: it.referrer,
            state: it.state,
            created_at: it.created_at,
            decided_at: it.decided_at,
            reward: it.reward.to_string(),
            welcome: it.welcome.to_string(),
            reward_event_seq: it.reward_seq,
            welcome_event_seq: it.welcome_seq,
        }
    }
}

/// Which referrals are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReferralsQuery {
    /// Only those that this user brought.
    referrer: Option<Uuid>,
    /// Only those that got this far.
    #[param(inline)]
    state: Option<ReferralState>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Who was brought by whom, the newest users first.
#[utoipa::path(operation_id = "list_referrals", get, path = "/api/admin/referrals", tag = "admin: money", params(ReferralsQuery),
    responses((status = 200, body = Page<ReferralView>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<ReferralsQuery>,
) -> Result<Json<Page<ReferralView>>, Problem> {
    let limit = page_limit(query.limit)?;
    let referrer = query.referrer.map(AccountId::from_uuid);
    let before = page_before(query.cursor.as_deref())?;
    let items = app.directory.referrals(referrer, query.state, before, limit + 1).await?;
    Ok(Json(Page::of(items, limit, |it| it.referred.to_string()).map(ReferralView::from)))
}

#[cfg(test)]
mod tests;
