//! Lists of commands in JSON, as `POST /v1/commands` takes them.
//!
//! Promised for any bytes: a list is carried out as a whole or refused; a refused one changes nothing; and the next director finds
//! in the maps what this one has.

use rvs_config::{Command, Listing};
use rvs_director::Director;
use rvs_model::{Capacity, Heap};

/// A director with a service, for commands that change one.
const BEGINNING: &str = r#"[
    {"command": "add-service", "key": {"protocol": "tcp", "address": "10.0.0.1", "port": 80}, "scheduler": "rr"}
]"#;

/// What there is; rates and counters change by themselves.
fn seen(director: &Director<Heap>) -> String {
    let Listing { services, .. } = director.listing();
    let keys: Vec<_> = services.iter().map(|service| format!("{service:?}")).collect();
    format!("{keys:?} {:?}", director.mark_rules())
}

/// Runs an input.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let Ok(commands) = serde_json::from_slice::<Vec<Command>>(data) else { return };
    let heap = Heap::new(&Capacity { services: 8, dests: 64, conns: 64, cpus: 1 });
    let mut director = Director::create(heap).unwrap();
    let beginning: Vec<Command> = serde_json::from_str(BEGINNING).unwrap();
    director.apply(&beginning, 0).unwrap();
    let before = seen(&director);
    let applied = director.apply(&commands, 0);
    let after = seen(&director);
    if applied.is_err() {
        assert_eq!(after, before, "refused: {applied:?}");
    }
    let adopted = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(seen(&adopted), after);
}
