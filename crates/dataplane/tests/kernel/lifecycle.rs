//! Maps: made, adopted, refused, repaired, removed.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::{Region, SERVICE_KEYS};
use rvs_abi::{ABI_VERSION, Addr, ServiceKey, family, proto};
use rvs_dataplane::{AttachMode, Error, Kernel, remove};
use rvs_model::{Memory, records};

use crate::stage::Stage;

fn key(port: u16) -> ServiceKey {
    let vip = Addr::v4([192, 0, 2, 1]);
    ServiceKey { vip, vport: port.to_be(), protocol: proto::TCP, family: family::V4, zero: 0 }
}

#[test]
fn the_first_start_makes_maps_of_the_capacity() {
    let stage = Stage::new();
    let capacity = stage.options().capacity;
    stage.with_kernel(|kernel| {
        assert!(!kernel.adopted());
        assert_eq!(kernel.warnings(), [""; 0]);
        for region in Region::ALL {
            let words = capacity.entries(region) as usize * region.value_words();
            assert_eq!(kernel.region(region).len(), words, "{region:?}");
        }
        let config = records::config(kernel);
        assert_eq!(config, capacity.config(ABI_VERSION, config.hash_seed));
        assert!(config.hash_seed.iter().all(|&word| word != 0));
    });
}

#[test]
fn a_later_start_adopts_what_is_in_the_maps() {
    let stage = Stage::new();
    let before = stage.with_kernel(|kernel| {
        kernel.region(Region::Conns)[77].store(0x1234_5678, Relaxed);
        kernel.set_service_key(&key(80), Some(7)).unwrap();
        records::config(kernel)
    });
    stage.with_kernel(|kernel| {
        assert!(kernel.adopted());
        assert_eq!(records::config(kernel), before);
        assert_eq!(kernel.region(Region::Conns)[77].load(Relaxed), 0x1234_5678);
        assert_eq!(kernel.maps().service_key(&key(80)), Ok(Some(7)));
        assert_eq!(kernel.maps().service_key(&key(81)), Ok(None));
    });
}

#[test]
fn two_first_starts_draw_different_seeds() {
    let seeds = [(); 2].map(|()| Stage::new().with_kernel(|kernel| records::config(kernel).hash_seed));
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn maps_keep_their_size_and_the_user_learns_it() {
    let stage = Stage::new();
    stage.with_kernel(|_| ());
    let mut options = stage.options();
    options.capacity.services = 99;
    let kernel = Kernel::open(&options).unwrap();
    assert_eq!(kernel.region(Region::Services).len(), 16 * Region::Services.value_words());
    let [warning] = kernel.warnings() else { panic!("{:?}", kernel.warnings()) };
    assert!(
        warning.contains("room for 16 services instead of the 99 asked for (--services-max)"),
        "{warning}"
    );
}

#[test]
fn arrays_of_programs_stay_as_long_as_programs_call_by_them() {
    let stage = Stage::new();
    let arrays = || {
        let entries = fs::read_dir(stage.directory().join("programs")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<BTreeSet<_>>()
    };
    let attach = || stage.with_kernel(|kernel| kernel.attach(stage.d0, AttachMode::Tc).map(drop)).unwrap();
    attach();
    let running = arrays();
    assert_eq!(running.len(), 2, "{running:?}");
    // A start that ends before it attaches.
    stage.with_kernel(|kernel| kernel.run_tc(&[0; 64], 0, 1).map(drop)).unwrap();
    assert_eq!((arrays().len(), arrays().is_superset(&running)), (3, true), "{running:?} {:?}", arrays());
    attach();
    assert_eq!((arrays().len(), arrays().is_disjoint(&running)), (2, true), "{running:?} {:?}", arrays());
}

#[test]
fn memory_outlives_kernel_and_pins() {
    let stage = Stage::new();
    let kernel = Kernel::open(&stage.options()).unwrap();
    let maps = kernel.maps();
    kernel.remove().unwrap();
    maps.region(Region::Filter)[5].store(42, Relaxed);
    assert_eq!(maps.region(Region::Filter)[5].load(Relaxed), 42);
}

#[test]
fn a_full_map_of_service_keys_says_so() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        for id in 0..80 {
            kernel.set_service_key(&key(id), Some(id.into())).unwrap();
        }
        let refused = kernel.set_service_key(&key(80), Some(80)).unwrap_err();
        assert_eq!(refused.to_string(), "map SERVICE_KEYS: full: 80 keys");
        kernel.set_service_key(&key(3), Some(33)).unwrap();
        kernel.set_service_key(&key(4), None).unwrap();
        kernel.set_service_key(&key(4), None).unwrap();
        kernel.set_service_key(&key(80), Some(80)).unwrap();
        assert_eq!(kernel.maps().service_key(&key(3)), Ok(Some(33)));
    });
}

#[test]
fn maps_of_another_version_are_refused_and_can_be_removed() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        let mut config = records::config(kernel);
        config.abi_version = 999;
        records::write_config(kernel, &config);
    });
    let refused = Kernel::open(&stage.options()).unwrap_err();
    assert!(matches!(refused, Error::AbiVersion { found: 999, expected: ABI_VERSION, .. }), "{refused:?}");
    assert!(refused.to_string().contains("instance test: its maps have layout version 999"), "{refused}");
    assert!(remove(&stage.options()).unwrap());
    assert!(!Kernel::open(&stage.options()).unwrap().adopted());
}

/// A start was cut off: some maps are pinned, the configuration record is not written.
#[test]
fn an_unfinished_start_is_begun_anew() {
    let stage = Stage::new();
    let seed = stage.with_kernel(|kernel| {
        let mut config = records::config(kernel);
        config.abi_version = 0;
        records::write_config(kernel, &config);
        config.hash_seed
    });
    for name in [SERVICE_KEYS, Region::Stats.name()] {
        fs::remove_file(stage.directory().join(name)).unwrap();
    }
    stage.with_kernel(|kernel| {
        assert!(!kernel.adopted());
        assert_ne!(records::config(kernel).hash_seed, seed);
    });
    stage.with_kernel(|kernel| assert!(kernel.adopted()));
}

#[test]
fn a_missing_map_is_named() {
    let stage = Stage::new();
    stage.with_kernel(|_| ());
    fs::remove_file(stage.directory().join("DESTS")).unwrap();
    let refused = Kernel::open(&stage.options()).unwrap_err();
    assert!(refused.to_string().contains("map DESTS is missing"), "{refused}");
}

#[test]
fn a_map_of_another_kind_is_named() {
    let stage = Stage::new();
    stage.with_kernel(|_| ());
    let [dests, stats] = ["DESTS", "STATS"].map(|name| stage.directory().join(name));
    fs::remove_file(&dests).unwrap();
    fs::rename(stats, dests).unwrap();
    let refused = Kernel::open(&stage.options()).unwrap_err();
    assert!(matches!(refused, Error::Inconsistent { .. }), "{refused:?}");
    assert!(
        refused.to_string().contains("map DESTS has type 2 with keys of 4 and values of 64"),
        "{refused}"
    );
}

#[test]
fn an_instance_has_one_owner() {
    let stage = Stage::new();
    let kernel = Kernel::open(&stage.options()).unwrap();
    let expected = format!("instance test is in use by process {}", std::process::id());
    assert_eq!(Kernel::open(&stage.options()).unwrap_err().to_string(), expected);
    assert_eq!(remove(&stage.options()).unwrap_err().to_string(), expected);
    let other = rvs_dataplane::Options { instance: "other".into(), ..stage.options() };
    Kernel::open(&other).unwrap();
    drop(kernel);
    Kernel::open(&stage.options()).unwrap();
}

#[test]
fn instances_are_listed() {
    let stage = Stage::new();
    let list = || rvs_dataplane::instances(Some(&stage.options().bpffs.unwrap())).unwrap();
    assert_eq!(list(), [""; 0]);
    let kernel = Kernel::open(&stage.options()).unwrap();
    let other = rvs_dataplane::Options { instance: "other".into(), ..stage.options() };
    Kernel::open(&other).unwrap();
    assert_eq!(list(), ["other", "test"]);
    kernel.remove().unwrap();
    assert_eq!(list(), ["other"]);
    assert!(remove(&other).unwrap());
    assert_eq!(list(), [""; 0]);
}

#[test]
fn nothing_is_left_after_removal() {
    let stage = Stage::new();
    stage.with_kernel(|_| ());
    assert!(stage.directory().is_dir());
    assert!(remove(&stage.options()).unwrap());
    assert!(!stage.directory().exists() && !stage.directory().parent().unwrap().exists());
    assert!(!remove(&stage.options()).unwrap());
}

#[test]
fn nothing_is_left_of_a_first_start_that_fails() {
    let stage = Stage::new();
    let mut options = stage.options();
    options.capacity.dests = 0;
    let refused = Kernel::open(&options).unwrap_err();
    assert!(refused.to_string().starts_with("capacity: 16 services, 0 destinations"), "{refused}");
    options.capacity.dests = u32::MAX / 4;
    let refused = Kernel::open(&options).unwrap_err();
    assert!(refused.to_string().contains("more than a map of the kernel takes"), "{refused}");
    options.capacity = stage.options().capacity;
    options.capacity.cpus = 0;
    let refused = Kernel::open(&options).unwrap_err();
    assert!(refused.to_string().contains("0 CPUs"), "{refused}");
    // The destinations' maps are too large for this machine, or for any: the kernel says no after some maps
    // are made.
    options.capacity = stage.options().capacity;
    options.capacity.conns = u32::MAX;
    let refused = Kernel::open(&options).unwrap_err();
    assert!(refused.to_string().starts_with("load maps: "), "{refused}");
    assert_eq!(fs::read_dir(stage.directory()).unwrap().count(), 0);
}

#[test]
fn names_of_instances_are_file_names() {
    for name in ["", "a/b", "..", "a b", &"x".repeat(65)] {
        let mut options = Stage::new().options();
        options.instance = name.to_owned();
        let refused = Kernel::open(&options).unwrap_err();
        assert!(matches!(refused, Error::InstanceName { .. }), "{refused:?}");
    }
}
