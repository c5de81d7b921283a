//! Who may have the machine to himself.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other test is at work that takes all of the machine. Those that don't may run beside.
pub(crate) fn await_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // Another test's failure is not this one's.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
