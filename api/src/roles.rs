//! Roles: which of the gateway's parts a process runs.
//!
//! One process runs all of them unless told otherwise; a cluster splits them among processes that share a database and a
//! log. For: reading and showing the choice. May not touch: what a role starts (that is [`crate::serve`]'s).
//! Claims: a choice is never empty, and an unknown role is named.

use serde::{Serialize, Serializer};
use std::fmt;

/// One part of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// HTTP for users, operators and payment callbacks.
    Api,
    /// Model calls under `/v1`, and their metering.
    Relay,
    /// The engine that applies the log to the database.
    Projector,
}

/// The roles of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// HTTP for users, operators and payment callbacks.
    pub api: bool,
    /// Model calls and their metering.
    pub relay: bool,
    /// The projections' engine.
    pub projector: bool,
}

impl Role {
    const ALL: [Self; 3] = [Self::Api, Self::Relay, Self::Projector];

    /// As written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Relay => "relay",
            Self::Projector => "projector",
        }
    }
}

impl Roles {
    /// All of them.
    pub const ALL: Self = Self { api: true, relay: true, projector: true };

    /// Reads a list of names; one named twice is there once.
    ///
    /// Errors: what is wrong with the list, in words.
    pub fn try_new<S: AsRef<str>>(names: &[S]) -> Result<Self, String> {
        let mut roles = Self { api: false, relay: false, projector: false };
        for name in names {
            match Role::ALL.into_iter().find(|role| role.as_str() == name.as_ref()) {
                Some(Role::Api) => roles.api = true,
                Some(Role::Relay) => roles.relay = true,
                Some(Role::Projector) => roles.projector = true,
                None => return Err(format!("{:?} is none of api, relay and projector", name.as_ref())),
            }
        }
        match names.is_empty() {
            true => Err("a process needs at least one of api, relay and projector".into()),
            false => Ok(roles),
        }
    }

    /// Those that it has.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| match role {
            Role::Api => self.api,
            Role::Relay => self.relay,
            Role::Projector => self.projector,
        })
    }

    /// Does this process do everything by itself?
    pub fn are_all(self) -> bool {
        self == Self::ALL
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, role) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", role.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Role::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_by_name_and_shown_in_one_order() {
        let roles = Roles::try_new(&["projector", "api", "api"]).unwrap();
        assert_eq!((roles.api, roles.relay, roles.projector), (true, false, true));
        assert_eq!(roles.to_string(), "api,projector");
        assert_eq!(serde_json::to_string(&roles).unwrap(), r#"["api","projector"]"#);
        assert_eq!(Roles::try_new(&["relay", "projector", "api"]).unwrap(), Roles::ALL);
        assert!(Roles::try_new(&["api", "Relay"]).unwrap_err().contains("Relay"));
        assert!(Roles::try_new::<&str>(&[]).is_err());
    }
}
