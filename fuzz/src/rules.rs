//! Texts for `ipvsadm-restore`.
//!
//! Promised for any text: it is applied as a whole or refused with one line, and what a director then prints as its rules makes
//! the same rules again. Not always in the same order: that of addresses goes in circles (ipvs.md §10.5), and where it does, the
//! order in which they came decides.

use rvs_config::Command;
use rvs_director::Director;
use rvs_ipvsadm::{Numeric, Rules, restore, save};
use rvs_model::{Capacity, Heap};

fn director() -> Director<Heap> {
    Director::create(Heap::new(&Capacity { services: 8, dests: 64, conns: 64, cpus: 1 })).unwrap()
}

fn commands(text: &str) -> Option<Vec<Command>> {
    let read = restore(text, Rules::Replace, &Numeric);
    if let Err(error) = &read {
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
    Some(read.ok()?.into_iter().map(|(_, command)| command).collect())
}

/// The rules of a text, whatever their order: each names its service.
fn rules(text: &str) -> Vec<&str> {
    let mut rules: Vec<_> = text.lines().collect();
    rules.sort_unstable();
    rules
}

/// Runs an input.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let Some(wanted) = commands(text) else { return };
    let mut first = director();
    if let Err(refusal) = first.apply(&wanted, 0) {
        assert!(first.listing().services.is_empty(), "refused, and something is there: {refusal:?}");
        return;
    }
    let saved = save(&first.listing(), true, &Numeric);
    let mut second = director();
    let again = commands(&saved).unwrap_or_else(|| panic!("what was saved is refused:\n{saved}"));
    second.apply(&again, 0).unwrap_or_else(|e| panic!("what was saved is refused: {e:?}\n{saved}"));
    assert_eq!(rules(&save(&second.listing(), true, &Numeric)), rules(&saved));
}
