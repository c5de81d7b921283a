//! Waiting for a condition, with a limit.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(2);

/// A condition that did not come about in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub limit: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not within {:?}", self.what, self.limit)
    }
}

impl std::error::Error for TimedOut {}

/// Waits until `condition` holds, looking again every 2 ms; at least once, and once more when the limit is over.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<(), TimedOut> {
    let deadline = Instant::now() + limit;
    loop {
        let last = Instant::now() >= deadline;
        if condition() {
            return Ok(());
        }
        if last {
            return Err(TimedOut { what: what.to_owned(), limit });
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_until_it_holds() {
        let mut looks = 0;
        let result = wait_until("three looks", Duration::from_secs(5), || {
            looks += 1;
            looks == 3
        });
        assert_eq!((result, looks), (Ok(()), 3));
    }

    #[test]
    fn says_what_it_waited_for() {
        let limit = Duration::from_millis(10);
        let error = wait_until("the impossible", limit, || false);
        assert_eq!(error.map_err(|e| e.to_string()), Err("the impossible: not within 10ms".to_owned()));
    }
}
