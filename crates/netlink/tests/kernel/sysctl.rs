//! What `sysctl.rs` does on a real kernel.

use rvs_netlink::{Netns, sysctl};

#[test]
fn unknown_parameters_and_wrong_values_are_refused() {
    let namespace = Netns::create_unique("rvs-test").unwrap();
    namespace
        .enter(|| {
            assert!(sysctl::exists("net/ipv4/ip_forward"));
            assert!(!sysctl::exists("net/ipv4/nothing"));
            let error = sysctl::write("net/ipv4/nothing", "1").unwrap_err();
            assert_eq!(error.to_string(), "sysctl net/ipv4/nothing: set to 1: No such file or directory");
            let error = sysctl::write("net/ipv4/ip_forward", "much").unwrap_err();
            assert_eq!(error.to_string(), "sysctl net/ipv4/ip_forward: set to much: Invalid argument");
            assert_eq!(
                sysctl::read("net/ipv4/nothing").unwrap_err().to_string(),
                "sysctl net/ipv4/nothing: read: No such file or directory"
            );
        })
        .unwrap();
}
