//! Groups: what their users' charges are multiplied with.

use crate::{
    app::App,
    body::{Json, Path},
    directory::group::Group,
    http::permission::{Permission, Routes},
    http::prices::decimal,
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use domain::{Tokens, price::PriceList};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::CatalogueRead, routes!(list))
        .confirmed(Permission::CatalogueWrite, routes!(put))
}

/// A group.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GroupView {
    /// Its name.
    name: String,
    /// What its users' charges are multiplied with.
    #[schema(value_type = String, example = "1")]
    multiplier: Decimal,
}

/// All groups.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Groups {
    /// By name.
    items: Vec<GroupView>,
}

/// All groups.
#[utoipa::path(operation_id = "list_groups", get, path = "/api/admin/groups", tag = "admin: users", responses((status = 200, body = Groups)))]
async fn list(State(app): State<App>, _: Admin) -> Result<Json<Groups>, Problem> {
    let view = |group: Group| GroupView { name: group.name, multiplier: group.multiplier };
    Ok(Json(Groups { items: app.directory.groups().await?.into_iter().map(view).collect() }))
}

/// What a group is.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutGroup {
    /// 0 to 1000, with at most six decimals.
    #[serde(deserialize_with = "decimal")]
    #[schema(value_type = String, example = "0.9")]
    multiplier: Decimal,
}

/// Makes a group, or changes its multiplier; calls see it at once.
#[utoipa::path(operation_id = "put_group", put, path = "/api/admin/groups/{name}", tag = "admin: users", params(("name" = String, Path)),
    request_body = PutGroup, responses((status = 200, body = GroupView)))]
async fn put(
    State(app): State<App>,
    admin: Admin,
    Path(name): Path<String>,
    Json(body): Json<PutGroup>,
) -> Result<Json<GroupView>, Problem> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !fits {
        return Err(Problem::invalid("name", "must be 1 to 64 letters, digits, \"_\" or \"-\""));
    }
    // The domain knows which multipliers a charge can be taken times.
    let nothing = PriceList::plain(Decimal::ZERO, Decimal::ZERO).resolve();
    nothing
        .charge(&Tokens::default(), body.multiplier)
        .map_err(|error| Problem::invalid("multiplier", error))?;
    let group = Group { name, multiplier: body.multiplier.normalize() };
    app.directory.put_group(&group, admin.actor()).await?;
    Ok(Json(GroupView { name: group.name, multiplier: group.multiplier }))
}
