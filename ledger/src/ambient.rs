//! What the surroundings give: ids, chance, the wall clock, threads that may block.
//!
//! For: one place to take them from, so that a simulation can put its own in their stead and every run of a seed is the
//! same. Monotonic time is `tokio::time::Instant`, which a runtime can stand still.
//! May not touch: anything that decides.

use domain::Moment;
use std::ops::Range;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// A new id: a UUID v7.
pub(crate) fn new_id() -> Uuid {
    #[cfg(test)]
    if let Some(id) = simulated::with(|it| {
        let bytes: [u8; 10] = rand::RngExt::random(&mut it.chance);
        let millis =
            it.wall_now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or(0), &bytes).into_uuid()
    }) {
        return id;
    }
    Uuid::now_v7()
}

/// A time within the range, by chance.
pub(crate) fn jitter(range: Range<Duration>) -> Duration {
    let (from, to) = (micros(range.start), micros(range.end));
    let span = from..to.max(from + 1);
    #[cfg(test)]
    if let Some(chosen) = simulated::with(|it| rand::RngExt::random_range(&mut it.chance, span.clone())) {
        return Duration::from_micros(chosen);
    }
    Duration::from_micros(rand::random_range(span))
}

/// The wall clock.
pub(crate) fn wall() -> SystemTime {
    #[cfg(test)]
    if let Some(wall) = simulated::with(|it| it.wall_now()) {
        return wall;
    }
    SystemTime::now()
}

/// The wall clock as a moment.
pub(crate) fn now() -> Moment {
    chrono::DateTime::<chrono::Utc>::from(wall()).into()
}

/// Runs what may block for milliseconds away from the tasks that must not.
pub(crate) async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    #[cfg(test)]
    if simulated::with(|_| ()).is_some() {
        return Some(act());
    }
    tokio::task::spawn_blocking(act).await.ok()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
pub(crate) mod simulated {
    use rand::rngs::StdRng;
    use std::cell::RefCell;
    use std::time::SystemTime;
    use tokio::time::Instant;

    /// What a simulated node sees.
    pub(crate) struct Surroundings {
        pub(crate) chance: StdRng,
        /// Its wall clock at `since`; from there on it goes as its monotonic clock does.
        pub(crate) wall: SystemTime,
        pub(crate) since: Instant,
    }

    impl Surroundings {
        pub(super) fn wall_now(&self) -> SystemTime {
            self.wall + self.since.elapsed()
        }
    }

    thread_local! {
        /// Those of the node that runs on this thread now; `None`: the real ones.
        pub(crate) static NOW: RefCell<Option<Surroundings>> = const { RefCell::new(None) };
    }

    pub(super) fn with<T>(act: impl FnOnce(&mut Surroundings) -> T) -> Option<T> {
        NOW.with(|now| now.borrow_mut().as_mut().map(act))
    }
}
