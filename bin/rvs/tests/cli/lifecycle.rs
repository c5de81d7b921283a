//! Start, end, and what stays.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::Ordering::Relaxed;

use nix::sys::signal::Signal;
use rvs_abi::DestConns;
use rvs_abi::map::Region;
use rvs_dataplane::{Kernel, Options};
use rvs_model::Memory as _;

use crate::support::{Director, LIMIT, RVS, Ran, SMALL, namespace};

const RULES: &str = "\
-A -t 203.0.113.1:80 -s wlc
-a -t 203.0.113.1:80 -r 10.0.0.2:80 -m -w 3
";

/// A director with a service and other time-outs than usual.
fn configured(director: &Director<'_>) -> String {
    director.ipvsadm_reading(&["-R"], RULES).success();
    director.ipvsadm(&["--set", "60", "30", "10"]).success();
    what_is_there(director)
}

fn what_is_there(director: &Director<'_>) -> String {
    director.ipvsadm(&["-Ln"]).success() + &director.ipvsadm(&["-L", "--timeout"]).success()
}

#[test]
fn a_killed_director_leaves_everything_to_the_next() {
    let netns = namespace();
    netns.netlink().unwrap().create_veth("v0", "v1", &netns).unwrap();
    let mut director = Director::start(&netns, &SMALL);
    let before = configured(&director);
    let links = director.links();
    assert_eq!(links.len(), Director::links_of(2, 1), "{links:?}");

    for _ in 0..3 {
        director.end(Signal::SIGKILL);
        assert_eq!(director.links(), links, "the programs hang on the interfaces without it");
        assert!(director.ipvsadm(&["-Ln"]).failure(2).contains("Connection refused"));
        director.start_again();
        assert_eq!(what_is_there(&director), before);
        assert!(director.log().contains(": adopted from "), "{}", director.log());
    }
}

/// Killed after it freed the slot of a connection and before it took that off its destination's count.
#[test]
fn a_count_that_a_killed_director_left_wrong_is_put_right_by_the_next() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    let before = configured(&director);
    let bpffs = director.pins().ancestors().nth(2).unwrap().to_owned();
    director.end(Signal::SIGKILL);
    let options = Options { bpffs: Some(bpffs), ..Options::new(director.instance()).unwrap() };
    netns
        .enter(|| {
            let kernel = Kernel::open(&options).unwrap();
            assert!(kernel.adopted());
            kernel.maps().region(Region::DestConns)[0].fetch_add(DestConns::TOTAL, Relaxed);
        })
        .unwrap();
    director.start_again();
    director.wait_for_log(
        "rvs director: service 203.0.113.1:80/tcp: destination 10.0.0.2:80: connections were counted wrong; put right: \
         -1 in all, +0 active\n",
    );
    assert_eq!(what_is_there(&director), before);
}

#[test]
fn sigterm_and_sigint_leave_the_data_plane_and_say_so() {
    let netns = namespace();
    netns.netlink().unwrap().create_veth("v0", "v1", &netns).unwrap();
    let mut director = Director::start(&netns, &SMALL);
    let before = configured(&director);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        assert_eq!(director.end(signal).code(), Some(0));
        let place = director.pins();
        let line = format!(
            "rvs director: {signal}: the programs in the kernel go on balancing packets (pinned in {}); 'rvs director \
             --stop' takes them down\n",
            place.display()
        );
        assert!(director.log().ends_with(&line), "{}", director.log());
        assert!(!director.socket().exists());
        assert_eq!(director.links().len(), Director::links_of(2, 1));
        director.start_again();
        assert_eq!(what_is_there(&director), before);
    }
}

#[test]
fn detach_on_exit_takes_the_programs_off_and_keeps_the_services() {
    let netns = namespace();
    netns.netlink().unwrap().create_veth("v0", "v1", &netns).unwrap();
    let mut director = Director::start(&netns, &[&SMALL[..], &["--detach-on-exit"]].concat());
    let before = configured(&director);
    assert_eq!(director.end(Signal::SIGTERM).code(), Some(0));
    assert!(director.links().is_empty());
    let log = director.log();
    assert!(
        log.contains("SIGTERM: programs taken off 2 interfaces; services and connections stay in "),
        "{log}"
    );
    director.start_again();
    assert_eq!(director.links().len(), Director::links_of(2, 1));
    assert_eq!(what_is_there(&director), before);
}

#[test]
fn stop_takes_everything_down_with_a_living_director() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    configured(&director);
    let (place, instance) = (director.pins(), director.instance());
    let message = format!("instance {instance}: taken down: programs off 0 interfaces, 1 service removed\n");
    assert_eq!(director.stop().success(), message);
    assert_eq!(director.wait().code(), Some(0));
    let lock = director.folder().join("director.sock.lock");
    assert!(!place.exists() && !director.socket().exists() && !lock.exists());

    let message = format!("instance {instance}: nothing to take down");
    let said = director.stop().success();
    assert!(said.starts_with(&message), "once more is no error: {said}");
    director.start_again();
    assert!(director.log().contains(": made in "), "{}", director.log());
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), "");
}

#[test]
fn stop_takes_everything_down_without_a_director() {
    let netns = namespace();
    netns.netlink().unwrap().create_veth("v0", "v1", &netns).unwrap();
    let mut director = Director::start(&netns, &SMALL);
    let place = director.pins();
    director.end(Signal::SIGKILL);
    let message = format!("instance {}: taken down; no director was running\n", director.instance());
    assert_eq!(director.stop().success(), message);
    let lock = director.folder().join("director.sock.lock");
    assert!(!place.exists() && !director.socket().exists() && !lock.exists());
}

#[test]
fn stop_does_not_take_the_data_plane_from_a_director_with_another_socket() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    let mut stop = director.call(&director.folder().join("other.sock"), &["--stop"]);
    let (instance, pid) = (director.instance(), director.pid());
    let other = director.folder().join("other.sock");
    let message = format!(
        "rvs: instance {instance} is in use by process {pid}, and no director answers at {}: --socket names another \
         socket\n",
        other.display()
    );
    assert_eq!(Ran::of(stop.output().unwrap()).failure(1), message);

    // Arguments go before the variable; it says that the variable was not asked.
    let mut stop = director.client(RVS);
    let ran = Ran::of(stop.args(["director", "--stop", "--instance", &instance]).output().unwrap());
    let message = format!(
        "rvs: instance {instance} is in use by process {pid}, and no director answers at /run/rvs/{instance}.sock: \
         --socket names another socket (--instance goes before RVS_SOCKET)\n",
    );
    assert_eq!(ran.failure(1), message);
    director.rvs(&["status"]).success();
}

#[test]
fn stop_takes_down_no_other_instance_than_the_named_one() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    let socket = director.socket();
    let mut stop = director.client(RVS);
    stop.args(["director", "--stop", "--instance", "another", "--socket"]).arg(&socket);
    let message = format!(
        "rvs: {}: serves instance {}, not another: nothing is taken down\n",
        socket.display(),
        director.instance()
    );
    assert_eq!(Ran::of(stop.output().unwrap()).failure(1), message);
    director.rvs(&["status"]).success();
}

#[test]
fn stop_goes_where_the_variable_says() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    let message = director.rvs(&["director", "--stop"]).success();
    assert!(message.starts_with(&format!("instance {}: taken down: ", director.instance())), "{message}");
    assert_eq!(director.wait().code(), Some(0));
}

#[test]
fn stop_of_what_is_not_there_names_what_is() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    let absent = Director::new(&netns, &SMALL);
    let said = absent.stop().success();
    let nothing =
        format!("instance {}: nothing to take down; --instance names one that exists: ", absent.instance());
    let others = said.strip_prefix(&nothing).unwrap_or_else(|| panic!("{said}"));
    assert!(others.trim_end().split(", ").any(|name| name == director.instance()), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_second_director_is_refused_and_told_who_is_there() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    let (socket, instance, pid) = (director.socket(), director.instance(), director.pid());

    let second = Ran::of(netns.output(&mut director.command()).unwrap());
    let message = format!("rvs: {}: served by another director already (process {pid})\n", socket.display());
    assert_eq!(second.failure(1), message);

    let mut elsewhere = director.call(&director.folder().join("other.sock"), &[]);
    let second = Ran::of(netns.output(&mut elsewhere).unwrap());
    assert_eq!(second.failure(1), format!("rvs: instance {instance} is in use by process {pid}\n"));
    director.rvs(&["status"]).success();
}

#[test]
fn the_service_manager_is_told() {
    let netns = namespace();
    let mut director = Director::new(&netns, &SMALL);
    let path = director.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let told = || {
        let mut buffer = [0; 64];
        let len = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    };
    director.set_environment("NOTIFY_SOCKET", path.to_str().unwrap());
    director.start_again();
    assert_eq!(told(), "READY=1");
    director.end(Signal::SIGTERM);
    assert_eq!(told(), "STOPPING=1");

    // A start that fails never was ready.
    let ran = Ran::of(netns.output(director.command().args(["--interface", "none0"])).unwrap());
    assert_eq!(ran.status, Some(1));
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 64]).is_err());
}

#[test]
fn a_lock_of_a_dead_director_is_no_obstacle() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    director.end(Signal::SIGKILL);
    assert!(director.socket().exists() && director.folder().join("director.sock.lock").exists());
    director.start_again();
    director.rvs(&["status"]).success();
}

#[test]
fn damaged_state_is_named_and_can_be_removed() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    let place = director.pins();
    director.end(Signal::SIGTERM);
    fs::remove_file(place.join("DESTS")).unwrap();
    let ran = Ran::of(netns.output(&mut director.command()).unwrap());
    let message = ran.failure(1);
    assert!(message.contains("map DESTS is missing; remove them with `rvs director --stop`"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    director.stop().success();
    director.start_again();
}
