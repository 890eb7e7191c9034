//! Permissions: what each route asks for, said where the route is declared, and who has it.
//!
//! For: [`Permission`] and the roles that hold it; [`Routes`], the only thing that `/api` is built from; [`Doors`], the
//! one place where a request is let in or turned away.
//! May not touch: whose things they are. Another's key or order is looked up by its owner and is 404.
//! Claims: a route without a word on who may call it does not compile; a request is judged before its handler runs,
//! whatever the handler reads; a method that nobody declared is not reached; what is enforced is what the document and
//! `docs/permissions.md` say.

use crate::{app::App, directory::user::Role, problem::Problem, session::Caller};
use axum::{
    Router,
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::MethodRouter,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::openapi::{OpenApi as Document, path::PathItem, security::SecurityRequirement};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

/// The name of the extension that tells in the document what an operation asks for.
pub const EXTENSION: &str = "x-permission";
/// The name of the extension that tells that an operation asks for a fresh confirmation.
pub const CONFIRMATION: &str = "x-confirmation";
/// What it says where nobody is asked.
pub const OPEN: &str = "open";

macro_rules! permissions {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal for [$($role:ident)+],)+) => {
        /// Something that a route asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Permission {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Permission {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As the document writes it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What it is for, in a sentence.
            pub const fn purpose(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// Who has it.
            pub const fn roles(self) -> &'static [Role] {
                match self { $(Self::$variant => &[$(Role::$role),+],)+ }
            }
        }
    };
}

permissions! {
    /// See one's own account: balance, bills, calls, keys, orders.
    SelfRead = "self:read" for [User Support Finance Auditor Admin Owner],
    /// Look after one's own login: name, password, sessions.
    SelfLogin = "self:login" for [User Support Finance Auditor Admin Owner],
    /// Use one's own account: make keys, top up, redeem codes.
    SelfUse = "self:use" for [User Support Finance Admin Owner],
    /// See users.
    UsersRead = "users:read" for [Support Finance Auditor Admin Owner],
    /// Change users, each only those below oneself; support switches them on and off and no more.
    UsersWrite = "users:write" for [Support Admin Owner],
    /// Take away others' second factors, each only of those below oneself.
    UsersSecondFactor = "users:second-factor" for [Admin Owner],
    /// See providers, their keys' names and their health.
    ProvidersRead = "providers:read" for [Support Auditor Admin Owner],
    /// Change, try and reset providers.
    ProvidersWrite = "providers:write" for [Admin Owner],
    /// See models, prices, groups and rate limits.
    CatalogueRead = "catalogue:read" for [Support Finance Auditor Admin Owner],
    /// Change models, prices, groups and rate limits.
    CatalogueWrite = "catalogue:write" for [Admin Owner],
    /// See what people paid and were given: orders, codes.
    MoneyRead = "money:read" for [Support Finance Auditor Admin Owner],
    /// Move credits: grants, adjustments, codes.
    MoneyWrite = "money:write" for [Finance Admin Owner],
    /// See the books: events, journal, trial balance, margin, the overview.
    BooksRead = "books:read" for [Finance Auditor Admin Owner],
    /// Take the books out: exports of the journal, bills, usage.
    BooksExport = "books:export" for [Finance Auditor Admin Owner],
    /// Close months of the books, for good.
    BooksClose = "books:close" for [Finance Admin Owner],
    /// See the gateway's settings and all announcements.
    SettingsRead = "settings:read" for [Support Auditor Admin Owner],
    /// Change the gateway's settings, announce.
    SettingsWrite = "settings:write" for [Admin Owner],
    /// See who did what.
    AuditRead = "audit:read" for [Auditor Admin Owner],
}

impl Permission {
    /// Is it about one's own account?
    pub const fn is_about_oneself(self) -> bool {
        match self {
            Self::SelfRead | Self::SelfLogin | Self::SelfUse => true,
            Self::UsersRead
            | Self::UsersWrite
            | Self::UsersSecondFactor
            | Self::ProvidersRead
            | Self::ProvidersWrite
            | Self::CatalogueRead
            | Self::CatalogueWrite
            | Self::MoneyRead
            | Self::MoneyWrite
            | Self::BooksRead
            | Self::BooksExport
            | Self::BooksClose
            | Self::SettingsRead
            | Self::SettingsWrite
            | Self::AuditRead => false,
        }
    }

    /// Has this role got it?
    pub fn is_held_by(self, role: Role) -> bool {
        self.roles().contains(&role)
    }
}

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// Nothing.
    Open,
    /// A session of a role that has this permission.
    Guarded(Permission),
    /// The same, and a fresh proof that it is the session's owner who asks.
    Confirmed(Permission),
}

impl Door {
    const fn permission(self) -> Option<Permission> {
        match self {
            Self::Open => None,
            Self::Guarded(permission) | Self::Confirmed(permission) => Some(permission),
        }
    }
}

/// What each path and method asks for.
type Table = BTreeMap<String, BTreeMap<String, Door>>;

/// Described routes, each with what it asks for. There is no other way into `/api`.
#[derive(Default)]
pub struct Routes {
    router: OpenApiRouter<App>,
    table: Table,
}

impl Routes {
    /// No routes.
    pub fn new() -> Self {
        Self::with_document(Document::default())
    }

    /// No routes, and the frame of a document.
    pub fn with_document(document: Document) -> Self {
        Self { router: OpenApiRouter::with_openapi(document), table: Table::new() }
    }

    /// Adds routes that need a session, and a role that has this permission.
    #[must_use]
    pub fn guarded(self, permission: Permission, routes: UtoipaMethodRouter<App>) -> Self {
        self.add(Door::Guarded(permission), routes)
    }

    /// Adds routes that move money or change secrets: they need what [`Self::guarded`] ones do, and a session whose owner has
    /// proven within the last minutes to be who they are ([`super::confirm`]).
    #[must_use]
    pub fn confirmed(self, permission: Permission, routes: UtoipaMethodRouter<App>) -> Self {
        self.add(Door::Confirmed(permission), routes)
    }

    /// Adds routes that are there for everybody.
    #[must_use]
    pub fn open(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.add(Door::Open, routes)
    }

    /// Adds a path that is there for everybody and that the document tells of under another one.
    #[must_use]
    pub fn open_alias(mut self, path: &str, methods: &[Method], handlers: MethodRouter<App>) -> Self {
        let methods = methods.iter().map(|method| (method.to_string(), Door::Open));
        self.table.entry(path.to_owned()).or_default().extend(methods);
        self.router = self.router.route(path, handlers);
        self
    }

    /// Adds all routes of another room.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for (path, methods) in other.table {
            self.table.entry(path).or_default().extend(methods);
        }
        self.router = self.router.merge(other.router);
        self
    }

    /// What is described so far.
    pub fn document(&self) -> &Document {
        self.router.get_openapi()
    }

    fn add(mut self, door: Door, routes: UtoipaMethodRouter<App>) -> Self {
        let (schemas, mut paths, handlers) = routes;
        for (path, item) in &mut paths.paths {
            let methods = self.table.entry(path.clone()).or_default();
            for (method, operation) in operations(item) {
                methods.insert(method.to_string(), door);
                let permission = door.permission();
                let word = permission.map_or(OPEN, Permission::as_str);
                let extensions = operation.extensions.get_or_insert_default();
                extensions.insert(EXTENSION.to_owned(), word.into());
                if matches!(door, Door::Confirmed(_)) {
                    extensions.insert(CONFIRMATION.to_owned(), true.into());
                }
                // An open operation says so; a guarded one takes what the document says for all.
                operation.security = permission.is_none().then(|| vec![SecurityRequirement::default()]);
            }
        }
        self.router = self.router.routes((schemas, paths, handlers));
        self
    }

    /// The routes behind their doors, and the document.
    pub fn into_parts(self, app: &App) -> (Router<App>, Document) {
        let (router, document) = self.router.split_for_parts();
        let doors = Doors { app: app.clone(), table: Arc::new(self.table) };
        (router.route_layer(middleware::from_fn_with_state(doors, admit)), document)
    }
}

/// The operations of a path by their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut utoipa::openapi::path::Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
        (Method::OPTIONS, &mut item.options),
        (Method::HEAD, &mut item.head),
        (Method::PATCH, &mut item.patch),
        (Method::TRACE, &mut item.trace),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Who is let in where.
#[derive(Clone)]
struct Doors {
    app: App,
    table: Arc<Table>,
}

/// Lets a request in to its handler, or turns it away.
async fn admit(
    State(doors): State<Doors>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(methods) = doors.table.get(path.as_str()) else {
        return Err(Problem::forbidden("nobody said who may call this"));
    };
    // A handler of GET answers HEAD too.
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let Some(door) = methods.get(method.as_str()) else {
        return Err(super::wrong_method(request.method().clone(), request.uri().clone()).await);
    };
    let Some(permission) = door.permission() else { return Ok(next.run(request).await) };
    let (mut parts, body) = request.into_parts();
    // The handler finds the caller in the extensions and does not ask the database again.
    let caller = Caller::from_request_parts(&mut parts, &doors.app).await?;
    if !permission.is_held_by(caller.role) {
        let (needed, role) = (permission.as_str(), caller.role);
        return Err(Problem::forbidden(format!("this needs the permission {needed}, which {role} has not")));
    }
    let required = &doors.app.config.security.require_second_factor_for;
    if !permission.is_about_oneself()
        && required.contains(&caller.role)
        && !doors.app.directory.second_factors(caller.user).await?.any()
    {
        let detail = format!("{} need a second factor here: set one up, under /api/user/totp", caller.role);
        return Err(Problem::new(StatusCode::FORBIDDEN, "second_factor_required", detail));
    }
    match door {
        Door::Open | Door::Guarded(_) => {}
        Door::Confirmed(_) => super::confirm::require(&doors.app, &caller)?,
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// The table of `docs/permissions.md`: roles, permissions, and the routes of the document.
pub fn written(document: &serde_json::Value) -> String {
    let mut routes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let word = operation[EXTENSION].as_str().unwrap_or("?");
            let fresh = if operation[CONFIRMATION] == true { ", with a fresh confirmation" } else { "" };
            routes.entry(word).or_default().push(format!("`{} {path}`{fresh}", method.to_uppercase()));
        }
    }
    let mut text = String::from(HEAD);
    let mark = |permission: Permission, role: Role| if permission.is_held_by(role) { " yes |" } else { " |" };
    text.push_str("| permission |");
    Role::ALL.iter().for_each(|role| text.push_str(&format!(" {role} |")));
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(Role::ALL.len()));
    for permission in Permission::ALL {
        text.push_str(&format!("\n| `{}` |", permission.as_str()));
        Role::ALL.iter().for_each(|role| text.push_str(mark(*permission, *role)));
    }
    text.push_str("\n\n## Routes\n");
    for permission in Permission::ALL {
        text.push_str(&format!("\n### `{}`\n\n{}\n\n", permission.as_str(), permission.purpose().trim()));
        let routes = routes.remove(permission.as_str()).unwrap_or_default();
        routes.iter().for_each(|route| text.push_str(&format!("- {route}\n")));
    }
    text.push_str("\n### Open to everybody\n\nNo session is asked for. Payment gateways come without one: what they send is \
                   signed.\nLimits on guessing are each route's own.\n\n");
    let open = routes.remove(OPEN).unwrap_or_default();
    open.iter().for_each(|route| text.push_str(&format!("- {route}\n")));
    text
}

const HEAD: &str = "# Who may do what

Made from the routes by `make golden`; a test compares it with them, and another tries every route with every role.

Every person has one role. `user` is what one has after registering; the others act for the gateway and have an account of
their own as well. Without a session a guarded route answers 401, with a role that lacks the permission 403. A permission is
never a way to another's things under `/api/user`: what is not the caller's own is 404 there, whoever asks.

- An **owner** may do everything, and is the only one who makes or changes owners and admins. There is always an active owner:
  the last one can be neither switched off nor given another role. The user that the first start makes is one.
- An **admin** may do everything else, and changes people of the roles user, support, finance and auditor.
- **Finance** moves credits and sees the books. **Support** sees people, orders and providers, and switches users on and off.
- An **auditor** sees everything and changes nothing, of their own account nothing but the login.

`nexusroute admin create <name> <address> --role <role>` makes people from the command line, where no role is asked for: whoever
may run it owns the machine. The first operator is always an owner.

What is marked so below asks for a *fresh confirmation* too: a login, or `POST /api/user/confirm`, within the last
`security.confirmation_minutes`; else it answers `403 confirmation_required` (docs/accounts.md). Model calls under `/v1` and `/v1beta` are made with API keys
and know no roles.

";

#[cfg(test)]
mod tests;
