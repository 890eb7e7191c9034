//! Chores: what commands that run beside the gateway, by a timer, leave behind for it to show.
//!
//! For: when the ledger was last verified and what was found, when the last backup was made. Each is a small JSON file in the
//! data folder.
//! Claims: a note is whole or not there; a note that cannot be written fails no command, for what the command did is done.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `ledger verify` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When it ended, in Unix seconds.
    pub at: i64,
    /// How much it found, log and tables together.
    pub findings: u64,
}

/// The last backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    /// When it was whole, in Unix seconds.
    pub at: i64,
    /// Its size in bytes.
    pub bytes: u64,
    /// The last sequence of LEDGER in it.
    pub position: u64,
}

/// A kind of note.
pub trait Note: Serialize + for<'de> Deserialize<'de> {
    /// Its file's name.
    const FILE: &'static str;

    /// Leaves it in a data folder.
    fn leave(&self, data_dir: &Path) {
        let path = place(data_dir, Self::FILE);
        let written = || -> std::io::Result<()> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let partial = path.with_extension("partial");
            std::fs::write(&partial, serde_json::to_vec(self)?)?;
            std::fs::rename(&partial, &path)
        };
        if let Err(error) = written() {
            tracing::warn!(path = %path.display(), %error, "what this command did is not shown among the metrics");
        }
    }

    /// Reads it; `None`: it was never left, or cannot be read.
    fn left(data_dir: &Path) -> Option<Self>
    where
        Self: Sized,
    {
        serde_json::from_slice(&std::fs::read(place(data_dir, Self::FILE)).ok()?).ok()
    }
}

impl Note for Verified {
    const FILE: &'static str = "verified.json";
}

impl Note for BackedUp {
    const FILE: &'static str = "backed-up.json";
}

fn place(data_dir: &Path, file: &str) -> PathBuf {
    data_dir.join("chores").join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_left_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Verified::left(folder.path()), None);
        let note = Verified { at: 17, findings: 2 };
        note.leave(folder.path());
        assert_eq!((Verified::left(folder.path()), BackedUp::left(folder.path())), (Some(note), None));
        std::fs::write(place(folder.path(), Verified::FILE), "{").unwrap();
        assert_eq!(Verified::left(folder.path()), None);
        // A folder that cannot be written is no error.
        note.leave(Path::new("/proc/nothing"));
    }
}
