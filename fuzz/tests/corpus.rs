//! The inputs that fuzzing found worth keeping hold, each of them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

#[test]
fn kept_inputs_hold() {
    for (name, run) in rvs_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() >= 10, "{}: {} inputs", folder.display(), inputs.len());
        for input in inputs {
            // What panics names itself.
            println!("{}", input.display());
            run(&fs::read(&input).unwrap());
        }
    }
}
