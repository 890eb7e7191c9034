//! The OpenAPI document and its browser.
//!
//! Claims: no route is described here: routes describe themselves as they are registered. What is common to all (who
//! may call, what a problem looks like) is added here, once.

use crate::problem::ProblemBody;
use axum::Router;
use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        OpenApi as Document, RefOr,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_swagger_ui::SwaggerUi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "NexusRoute",
        description = "A self-hosted LLM API gateway with a prepaid wallet.\n\nAmounts are decimal strings. Errors \
                       are `application/problem+json` with a stable `code`. Lists page by cursor: pass \
                       `next_cursor` as `cursor`. Paths without a lock need no session; what the \
                       others ask for stands in `x-permission`, and who has it in docs/permissions.md."
    ),
    components(schemas(ProblemBody))
)]
struct Frame;

/// The document without routes.
pub(super) fn frame() -> Document {
    let mut document = Frame::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let cookie = ApiKeyValue::with_description(crate::session::COOKIE, "Set by login.");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    let either = ["session", "bearer"].map(|name| SecurityRequirement::new(name, Vec::<String>::new()));
    document.security = Some(either.into());
    document
}

/// Adds to every operation that it may answer with a problem.
pub(super) fn finish(mut document: Document) -> Document {
    let problem = RefOr::T(
        utoipa::openapi::ResponseBuilder::new()
            .description("A problem")
            .content(
                "application/problem+json",
                utoipa::openapi::ContentBuilder::new()
                    .schema(Some(utoipa::openapi::Ref::from_schema_name(ProblemBody::name())))
                    .build(),
            )
            .build(),
    );
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.entry("default".to_owned()).or_insert_with(|| problem.clone());
        }
    }
    document
}

/// `/api/openapi.json` and `/api/docs`.
pub(super) fn pages<S: Clone + Send + Sync + 'static>(document: Document) -> Router<S> {
    SwaggerUi::new("/api/docs").url("/api/openapi.json", document).into()
}
