//! What `netns.rs` does on a real kernel.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use rvs_netlink::{NETNS_DIR, Netns, sysctl};

/// Identity of the calling thread's namespace.
fn identity() -> String {
    fs::read_link("/proc/thread-self/ns/net").unwrap().to_string_lossy().into_owned()
}

#[test]
fn create_enter_and_drop() {
    let outside = identity();
    let namespace = Netns::create_unique("rvs-test").unwrap();
    let path = Path::new(NETNS_DIR).join(namespace.name());
    assert!(path.exists());

    let inside = namespace.enter(identity).unwrap();
    assert_ne!(inside, outside);
    assert_eq!(identity(), outside, "the caller stays where it was");
    assert_eq!(Netns::open(namespace.name()).unwrap().enter(identity).unwrap(), inside);
    assert_eq!(namespace.enter(|| Netns::current().unwrap().enter(identity).unwrap()).unwrap(), inside);

    let links = namespace.netlink().unwrap().links().unwrap();
    assert_eq!(links.len(), 1);
    assert!(links[0].loopback && links[0].up && links[0].name == "lo");

    drop(namespace);
    assert!(!path.exists());
}

#[test]
fn one_that_another_process_left_is_deleted() {
    let namespace = Netns::create_unique("rvs-test").unwrap();
    Netns::delete(namespace.name()).unwrap();
    assert!(!Path::new(NETNS_DIR).join(namespace.name()).exists());
    let error = Netns::delete(namespace.name()).unwrap_err();
    assert_eq!(error.kind(), Some(io::ErrorKind::NotFound));
    let expected = format!("delete network namespace {}: No such file or directory", namespace.name());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn two_get_different_names() {
    let first = Netns::create_unique("rvs-test").unwrap();
    let second = Netns::create_unique("rvs-test").unwrap();
    assert_ne!(first.name(), second.name());
    assert_ne!(first.enter(identity).unwrap(), second.enter(identity).unwrap());
}

#[test]
fn names_taken_and_wrong_names_are_refused() {
    let namespace = Netns::create_unique("rvs-test").unwrap();
    let error = Netns::create(namespace.name()).unwrap_err();
    assert_eq!(error.kind(), Some(io::ErrorKind::AlreadyExists));
    assert_eq!(error.to_string(), format!("create network namespace {}: File exists", namespace.name()));
    assert!(Path::new(NETNS_DIR).join(namespace.name()).exists(), "the first one stays");

    for name in ["", ".", "..", "a/b"] {
        assert_eq!(Netns::create(name).unwrap_err().kind(), Some(io::ErrorKind::InvalidInput), "{name:?}");
    }
    let error = Netns::open("rvs-test-none").unwrap_err();
    assert_eq!(error.to_string(), "open network namespace rvs-test-none: No such file or directory");
}

#[test]
fn opening_does_not_own() {
    let namespace = Netns::create_unique("rvs-test").unwrap();
    drop(Netns::open(namespace.name()).unwrap());
    Netns::open(namespace.name()).unwrap();
}

#[test]
fn programs_run_inside() {
    let namespace = Netns::create_unique("rvs-test").unwrap();
    let inside = namespace.enter(identity).unwrap();
    let output = namespace.output(Command::new("readlink").arg("/proc/self/ns/net")).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), inside);

    let mut child = namespace.spawn(Command::new("cat").stdin(std::process::Stdio::piped())).unwrap();
    let link = fs::read_link(format!("/proc/{}/ns/net", child.id())).unwrap();
    assert_eq!(link.to_string_lossy(), inside);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());

    let error = namespace.spawn(&mut Command::new("/nonexistent")).unwrap_err();
    let expected =
        format!("start /nonexistent in network namespace {}: No such file or directory", namespace.name());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_panic_inside_reaches_the_caller() {
    let namespace = Netns::create_unique("rvs-test").unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| namespace.enter(|| panic!("inside"))));
    assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"inside"));
}

#[test]
fn kernel_parameters_are_those_of_the_namespace() {
    let first = Netns::create_unique("rvs-test").unwrap();
    let second = Netns::create_unique("rvs-test").unwrap();
    first.sysctl("net/ipv4/ip_forward", "1").unwrap();
    second.sysctl("net/ipv4/ip_forward", "0").unwrap();
    let read = |namespace: &Netns| namespace.enter(|| sysctl::read("net/ipv4/ip_forward")).unwrap().unwrap();
    assert_eq!(read(&first), "1");
    assert_eq!(read(&second), "0");
}
