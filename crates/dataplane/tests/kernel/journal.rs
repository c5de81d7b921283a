//! The journal: written, found by the next process, erased, gone with the maps.

use std::fs;

use rvs_dataplane::{Kernel, remove};

use crate::stage::Stage;

fn text(kernel: &Kernel) -> Option<Vec<u8>> {
    kernel.journal().unwrap().map(|journal| journal.text().unwrap())
}

#[test]
fn it_is_found_by_the_next_process_until_it_is_erased() {
    let stage = Stage::new();
    // Of no whole number of words or pages, and nothing but whole words.
    for written in [vec![b'x'; 3 * 4096 + 5], b"12345678".to_vec(), Vec::new()] {
        stage.with_kernel(|kernel| {
            assert_eq!(text(kernel), None);
            let journal = kernel.write_journal(&written).unwrap();
            assert_eq!(journal.text().unwrap(), written);
        });
        stage.with_kernel(|kernel| {
            assert_eq!(text(kernel).as_deref(), Some(&*written));
            kernel.journal().unwrap().unwrap().erase().unwrap();
            assert_eq!(text(kernel), None);
        });
    }
    assert!(!stage.directory().join("JOURNAL").exists());
}

#[test]
fn it_goes_with_the_maps() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| drop(kernel.write_journal(b"anything").unwrap()));
    assert!(remove(&stage.options()).unwrap());
    stage.with_kernel(|kernel| {
        assert_eq!(text(kernel), None);
        drop(kernel.write_journal(b"anything").unwrap());
    });
    Kernel::open(&stage.options()).unwrap().remove().unwrap();
    stage.with_kernel(|kernel| assert_eq!(text(kernel), None));
}

#[test]
fn what_is_no_journal_is_named_and_in_the_way() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        let pin = stage.directory().join("JOURNAL");
        fs::create_dir(&pin).unwrap();
        let names_it = |error: rvs_dataplane::Error, verb: &str| {
            assert!(error.to_string().starts_with(&format!("{verb} journal {}: ", pin.display())), "{error}");
        };
        names_it(kernel.journal().unwrap_err(), "read");
        names_it(kernel.write_journal(b"anything").unwrap_err(), "write");
        fs::remove_dir(&pin).unwrap();
        kernel.write_journal(b"anything").unwrap().erase().unwrap();
    });
}

/// Erased, but its pin could not be removed: it says nothing, and the next one takes its place.
#[test]
fn an_erased_one_says_nothing() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        let journal = kernel.write_journal(b"anything").unwrap();
        let (pin, aside) = (stage.directory().join("JOURNAL"), stage.directory().join("ASIDE"));
        fs::rename(&pin, &aside).unwrap();
        journal.erase().unwrap();
        fs::rename(&aside, &pin).unwrap();
        assert_eq!(text(kernel), Some(Vec::new()));
        drop(kernel.write_journal(b"another").unwrap());
        assert_eq!(text(kernel).as_deref(), Some(&b"another"[..]));
    });
}
