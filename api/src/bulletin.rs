//! Bulletins: looks whether there is something that everybody who chose so is told of.
//!
//! For: looking again and again. What is told, to whom and that it is told once is [`crate::directory::bulletin`]'s.
//! May not touch: sending; notices go into the queues of mails and webhooks.

use crate::directory::{Directory, DirectoryError, now};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked.
const PAUSE: Duration = Duration::from_secs(30);

/// Looks until told to stop. Run it as a task of its own, in as many processes as you like.
pub async fn keep_telling(directory: Directory, stop: CancellationToken) {
    loop {
        match look(&directory).await {
            Ok((0, 0)) => {}
            Ok((announcements, statements)) => tracing::info!(announcements, statements, "users were told"),
            Err(error) => tracing::warn!(%error, "bulletins wait for the database"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn look(directory: &Directory) -> Result<(usize, usize), DirectoryError> {
    let at = now();
    Ok((directory.tell_announcements(at).await?, directory.tell_statements(at).await?))
}
