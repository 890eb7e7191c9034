//! The configuration as it is now: what was read at the start, and what operators have changed since.
//!
//! For: every place that reads an option which can be changed while the gateway runs. It asks [`Live::now`] each time and keeps
//! nothing.
//! Claims: what is changed passes the checks of the file; options of the database that do not go with the file stop a start, and
//! in a running process leave the last ones that did in force, with an error in the log.

use crate::{
    config::{Config, ConfigError, Overrides},
    directory::{Directory, options::OptionsVersion},
    payments::terms::{Terms, TermsError},
};
use arc_swap::ArcSwap;
use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

/// The options in force at one time.
#[derive(Debug)]
pub struct InForce {
    /// Of which version of the changed options.
    pub version: i64,
    /// The configuration.
    pub config: Arc<Config>,
    /// What may be paid, and what it buys.
    pub terms: Terms,
}

impl Deref for InForce {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// Why changed options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// An option is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The terms of top-ups contradict themselves.
    #[error("topup: {0}")]
    Terms(#[from] TermsError),
}

/// The configuration as it is now. Cloning it clones one pointer.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    start: Arc<Config>,
    directory: Directory,
    now: ArcSwap<InForce>,
    /// The last version that could not be used, told once.
    refused: AtomicI64,
}

impl Live {
    /// What was read at the start, with what the directory holds.
    ///
    /// Errors: options of the database that do not go with it.
    pub fn try_new(start: Arc<Config>, directory: Directory) -> Result<Self, LiveError> {
        let now = in_force(&start, &directory.options())?;
        let now = ArcSwap::from_pointee(now);
        Ok(Self(Arc::new(Inner { start, directory, now, refused: AtomicI64::new(0) })))
    }

    /// The options in force.
    pub fn now(&self) -> Arc<InForce> {
        let (options, now) = (self.0.directory.options(), self.0.now.load_full());
        if now.version == options.version || self.0.refused.load(Ordering::Relaxed) == options.version {
            return now;
        }
        match in_force(&self.0.start, &options) {
            Ok(new) => {
                let new = Arc::new(new);
                self.0.now.store(Arc::clone(&new));
                new
            }
            Err(error) => {
                tracing::error!(
                    version = options.version,
                    %error,
                    "changed settings do not go with this process's configuration; the former ones stay in force"
                );
                self.0.refused.store(options.version, Ordering::Relaxed);
                now
            }
        }
    }

    /// What was read at the start.
    pub fn start(&self) -> &Config {
        &self.0.start
    }

    /// Could these options be in force?
    pub fn check(&self, options: &Overrides) -> Result<(), LiveError> {
        let version = OptionsVersion { options: options.clone(), ..OptionsVersion::default() };
        in_force(&self.0.start, &version).map(|_| ())
    }
}

fn in_force(start: &Config, options: &OptionsVersion) -> Result<InForce, LiveError> {
    let config = start.with(&options.options)?;
    let terms = Terms::try_new(&config.topup)?;
    Ok(InForce { version: options.version, config: Arc::new(config), terms })
}
