//! Programs that show clients' addresses: what is attached, pinned, adopted and refused. What they do with real servers is
//! shown by the traffic tests.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rvs_abi::{Addr, ClientOutcome, DirectorPrefix, limits};
use rvs_dataplane::Error;
use rvs_dataplane::client_address::{Options, attach, remove};
use rvs_testkit::Cgroup;

/// A BPF file system of the test's own.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("rvs-client-{}-{number}", std::process::id())))
    }

    fn options(&self, cgroup: &Cgroup) -> Options {
        Options {
            instance: "test".to_owned(),
            bpffs: Some(self.0.clone()),
            cgroup: Some(cgroup.path().to_owned()),
            directors: vec![director(1)],
        }
    }

    fn directory(&self) -> PathBuf {
        self.0.join("rvs/client-address@test")
    }

    fn pins(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory()).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not mounted if the test never attached anything.
        nix::mount::umount(&self.0).ok();
        fs::remove_dir(&self.0).ok();
    }
}

fn director(number: u16) -> DirectorPrefix {
    let [a, b] = number.to_be_bytes();
    DirectorPrefix::host(Addr::v4([10, 0, a, b]))
}

const PINS: [&str; 6] =
    ["CLIENTS", "CLIENT_OUTCOMES", "DIRECTORS", "rvs_client_name4", "rvs_client_name6", "rvs_client_ops"];

#[test]
fn programs_stay_are_adopted_and_removed() {
    let (place, cgroup) = (Place::new(), Cgroup::create().unwrap());
    let options = place.options(&cgroup);
    for round in 0..3 {
        let attached = attach(&options).unwrap();
        assert_eq!(attached.adopted(), round > 0);
        assert_eq!(attached.cgroup(), cgroup.path());
        assert_eq!(attached.directory(), place.directory());
        assert_eq!(attached.programs().len(), 3);
        assert_eq!(ClientOutcome::ALL.map(|outcome| attached.count(outcome).unwrap()), [0; 7]);
        drop(attached);
        assert_eq!(place.pins(), PINS);
    }
    assert!(remove(&options).unwrap());
    assert!(!place.directory().exists());
    assert!(!remove(&options).unwrap());
}

#[test]
fn another_start_may_name_another_cgroup() {
    let (place, first, second) = (Place::new(), Cgroup::create().unwrap(), Cgroup::create().unwrap());
    drop(attach(&place.options(&first)).unwrap());
    let attached = attach(&place.options(&second)).unwrap();
    assert!(attached.adopted());
    drop(attached);
    // And if the one that it hung on is gone.
    drop(second);
    drop(attach(&place.options(&first)).unwrap());
    assert_eq!(place.pins(), PINS);
    assert!(remove(&place.options(&first)).unwrap());
}

#[test]
fn one_process_at_a_time_has_an_instance() {
    let (place, cgroup) = (Place::new(), Cgroup::create().unwrap());
    let options = place.options(&cgroup);
    let attached = attach(&options).unwrap();
    for refused in [attach(&options).map(|_| ()), remove(&options).map(|_| ())] {
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    }
    attached.remove().unwrap();
    assert_eq!(place.pins(), [""; 0]);
}

#[test]
fn there_is_room_for_as_many_directors_as_promised_and_for_as_many_others() {
    let (place, cgroup) = (Place::new(), Cgroup::create().unwrap());
    let max = u16::try_from(limits::DIRECTORS_MAX).unwrap();
    let mut options = place.options(&cgroup);
    for first in [0, max, 0] {
        options.directors = (first..first + max).map(director).collect();
        drop(attach(&options).unwrap());
    }
    options.directors.push(director(max));
    let refused = attach(&options).map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "1025 directors: expected 1024 at most");
    assert!(remove(&options).unwrap());
}

/// What a later version might have left.
#[test]
fn maps_of_another_layout_are_refused_by_name() {
    let (place, cgroup) = (Place::new(), Cgroup::create().unwrap());
    let options = place.options(&cgroup);
    drop(attach(&options).unwrap());
    let pins = place.directory();
    fs::remove_file(pins.join("DIRECTORS")).unwrap();
    fs::rename(pins.join("CLIENT_OUTCOMES"), pins.join("DIRECTORS")).unwrap();
    let refused = attach(&options).map(|_| ()).unwrap_err();
    assert!(matches!(&refused, Error::Outdated { pin } if *pin == pins.join("DIRECTORS")), "{refused:?}");
    assert!(remove(&options).unwrap());
}

/// The name of an instance may be a director's too.
#[test]
fn instances_of_directors_are_others() {
    let (place, cgroup) = (Place::new(), Cgroup::create().unwrap());
    let options = place.options(&cgroup);
    let attached = attach(&options).unwrap();
    assert_eq!(rvs_dataplane::instances(Some(&place.0)).unwrap(), [""; 0]);
    let director = rvs_dataplane::Options {
        bpffs: Some(place.0.clone()),
        ..rvs_dataplane::Options::new("test").unwrap()
    };
    assert!(!rvs_dataplane::remove(&director).unwrap());
    attached.remove().unwrap();
}
