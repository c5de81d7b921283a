//! What `ethtool.rs` does on a real kernel.

use rvs_netlink::{Error, Feature};

use crate::pair::Pair;

#[test]
fn features_are_switched_by_name() {
    let pair = Pair::new();
    let mut ethtool = pair.left.ethtool().unwrap();
    let before = ethtool.features(pair.v0.index).unwrap();
    assert_eq!(before["rx-gro"], Feature { active: false, changeable: true });
    assert_eq!(before["tx-tcp-segmentation"], Feature { active: true, changeable: true });

    ethtool.set_features(pair.v0.index, &[("rx-gro", true), ("tx-tcp-segmentation", false)]).unwrap();
    let after = ethtool.features(pair.v0.index).unwrap();
    assert!(after["rx-gro"].active);
    assert!(!after["tx-tcp-segmentation"].active);
}

#[test]
fn gro_and_checksum_helpers() {
    let pair = Pair::new();
    let index = pair.v0.index;
    let mut ethtool = pair.left.ethtool().unwrap();
    let active = |name: &str| {
        let mut handle = pair.left.ethtool().unwrap();
        handle.features(index).unwrap().get(name).is_some_and(|f| f.active)
    };
    for on in [true, false] {
        ethtool.set_gro(index, on).unwrap();
        assert_eq!(active("rx-gro"), on);
    }
    for on in [false, true] {
        ethtool.set_tx_checksum(index, on).unwrap();
        assert_eq!(active("tx-checksum-ip-generic"), on);
        assert_eq!(active("tx-checksum-sctp"), on);
    }
}

#[test]
fn what_cannot_be_switched_is_an_error() {
    let pair = Pair::new();
    let mut ethtool = pair.left.ethtool().unwrap();
    let error = ethtool.set_features(pair.v0.index, &[("rx-lro", true)]).unwrap_err();
    assert!(
        matches!(&error, Error::FeatureFixed { feature, wanted: true, .. } if feature == "rx-lro"),
        "{error}"
    );
    let error = ethtool.set_features(pair.v0.index, &[("no-such-feature", true)]).unwrap_err();
    let start = format!("set features no-such-feature on of link {}: ", pair.v0.index);
    assert!(error.to_string().starts_with(&start), "{error}");
    let error = ethtool.features(4242).unwrap_err();
    assert!(error.to_string().starts_with("read features of link 4242: No such device"), "{error}");
}
