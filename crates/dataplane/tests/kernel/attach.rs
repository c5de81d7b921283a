//! Interfaces: attached, told, changed, detached.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;

use rvs_dataplane::{AttachMode, Error, Kernel, Mode, Options, remove};

use crate::stage::{DIRECTOR, Stage, counted};

const MODES: [(AttachMode, Mode); 3] =
    [(AttachMode::Tc, Mode::Tc), (AttachMode::XdpGeneric, Mode::XdpGeneric), (AttachMode::Xdp, Mode::Xdp)];

/// Sends one datagram from the client to a port that somebody listens on or not.
fn send(stage: &Stage) {
    let sent = stage.client.enter(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"x", (DIRECTOR, 9)).unwrap()
    });
    assert_eq!(sent.unwrap(), 1);
}

#[test]
fn auto_takes_tc_on_a_veth_and_says_why() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        let attached = kernel.attach(stage.d0, AttachMode::Auto).unwrap();
        assert_eq!((attached.ifindex, attached.name.as_str(), attached.mode), (stage.d0, "d0", Mode::Tc));
        assert!(attached.reason.contains("segmentation and checksum offload"), "{}", attached.reason);
        assert_eq!(attached.warnings, [""; 0]);
        assert_eq!(kernel.attach_by_name("d0", AttachMode::Auto).unwrap(), attached);
    });
}

/// From every mode to every mode, under both kinds of TC; each time the one packet sent is counted once.
#[test]
fn any_mode_follows_any_other() {
    let stage = Stage::new();
    for options in [stage.options(), stage.clsact()] {
        let mut kernel = Kernel::open(&options).unwrap();
        for (from, _) in MODES {
            for (to, mode) in MODES {
                stage
                    .director
                    .enter(|| {
                        kernel.attach(stage.d0, from).unwrap();
                        let attached = kernel.attach(stage.d0, to).unwrap();
                        assert_eq!((attached.mode, attached.reason.as_str()), (mode, "as configured"));
                        let [found] = &kernel.attachments().unwrap()[..] else { panic!() };
                        assert_eq!((found.ifindex, found.name.as_str(), found.mode), (stage.d0, "d0", mode));
                    })
                    .unwrap();
                let before = counted(&kernel);
                send(&stage);
                assert_eq!(counted(&kernel) - before, 1, "{from} to {to}, {:?}", options.tc);
            }
        }
    }
}

#[test]
fn xdp_on_a_veth_comes_with_advice() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        let attached = kernel.attach(stage.d0, AttachMode::Xdp).unwrap();
        assert!(attached.warnings[0].contains("gro on"), "{:?}", attached.warnings);
    });
}

#[test]
fn a_large_mtu_is_named_as_the_reason() {
    let stage = Stage::new();
    let mut client = stage.client.netlink().unwrap();
    let c0 = client.link("c0").unwrap().index;
    client.set_mtu(c0, 9000).unwrap();
    stage.director.netlink().unwrap().set_mtu(stage.d0, 9000).unwrap();
    stage.with_kernel(|kernel| {
        kernel.attach(stage.d0, AttachMode::Tc).unwrap();
        let refused = kernel.attach(stage.d0, AttachMode::Xdp).unwrap_err();
        let text = refused.to_string();
        assert!(text.starts_with("interface d0: can't attach XDP: its MTU of 9000 bytes is more"), "{text}");
        assert_eq!(kernel.attachments().unwrap()[0].mode, Mode::Tc);
    });
}

#[test]
fn attachments_outlive_the_process_and_end_with_removal() {
    let stage = Stage::new();
    for options in [stage.options(), stage.clsact()] {
        for (mode, _) in MODES {
            let maps = stage
                .director
                .enter(|| {
                    let mut kernel = Kernel::open(&options).unwrap();
                    kernel.attach(stage.d0, mode).unwrap();
                    kernel.maps()
                })
                .unwrap();
            let before = counted(&*maps);
            send(&stage);
            assert_eq!(counted(&*maps) - before, 1, "{mode}");
            assert!(stage.director.enter(|| remove(&options).unwrap()).unwrap());
            send(&stage);
            assert_eq!(counted(&*maps) - before, 1, "{mode}: still attached");
        }
    }
}

#[test]
fn detaching_takes_everything_off() {
    let stage = Stage::new();
    for options in [stage.options(), stage.clsact()] {
        stage
            .director
            .enter(|| {
                let mut kernel = Kernel::open(&options).unwrap();
                for (mode, _) in MODES {
                    kernel.attach(stage.d0, mode).unwrap();
                    assert!(kernel.detach(stage.d0).unwrap());
                    assert!(!kernel.detach(stage.d0).unwrap());
                    assert_eq!(kernel.attachments().unwrap(), []);
                }
                kernel.attach(stage.d0, AttachMode::Xdp).unwrap();
                kernel.attach_by_name("lo", AttachMode::Tc).unwrap();
                kernel.detach_all().unwrap();
                assert_eq!(kernel.attachments().unwrap(), []);
            })
            .unwrap();
    }
}

#[test]
fn an_interface_that_does_not_exist_is_named() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        for name in ["nosuch", "", "a-name-that-is-far-too-long"] {
            let refused = kernel.attach_by_name(name, AttachMode::Auto).unwrap_err();
            assert!(matches!(refused, Error::NoSuchInterface { .. }), "{refused:?}");
            assert_eq!(refused.to_string(), format!("interface {name}: there is none"));
        }
        let refused = kernel.attach(9999, AttachMode::Auto).unwrap_err();
        assert_eq!(refused.to_string(), "interface 9999: there is none");
    });
}

/// Makes an interface without link-layer header, which lives as long as the file.
fn tun(name: &str) -> File {
    const TUNSETIFF: u64 = 0x4004_54ca;
    const IFF_TUN: u16 = 1;
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    let mut request = [0_u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&IFF_TUN.to_ne_bytes());
    // SAFETY: the request is a `struct ifreq` of 40 bytes that outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, request.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    file
}

#[test]
fn interfaces_without_ethernet_are_refused() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        let _tun = tun("t0");
        let refused = kernel.attach_by_name("t0", AttachMode::Auto).unwrap_err();
        assert!(matches!(refused, Error::NotEthernet { .. }), "{refused:?}");
    });
}

#[test]
fn programs_of_others_stay() {
    let stage = Stage::new();
    let mut other = Kernel::open(&Options { instance: "other".into(), ..stage.clsact() }).unwrap();
    let mut kernel = Kernel::open(&stage.clsact()).unwrap();
    let mut tcx = Kernel::open(&Options { instance: "third".into(), ..stage.options() }).unwrap();
    stage
        .director
        .enter(|| {
            other.attach(stage.d0, AttachMode::Xdp).unwrap();
            let text = kernel.attach(stage.d0, AttachMode::Xdp).unwrap_err().to_string();
            assert!(text.contains("another XDP program is attached"), "{text}");
            let text = kernel.attach(stage.d0, AttachMode::Tc).unwrap_err().to_string();
            assert!(text.contains(r#"filter "rvs:other" of somebody else has the place"#), "{text}");
            assert!(!kernel.detach(stage.d0).unwrap());
            kernel.detach_all().unwrap();
            assert_eq!(other.attachments().unwrap().len(), 1);
            assert!(other.attachments().unwrap()[0].clsact);

            // Where the kernel has links, any number of instances are there side by side.
            match tcx.attach(stage.d0, AttachMode::Tc) {
                Ok(_) => assert!(!tcx.attachments().unwrap()[0].clsact),
                Err(e) => assert!(e.to_string().contains("somebody else has the place"), "{e}"),
            }
            tcx.detach_all().unwrap();
            assert_eq!(other.attachments().unwrap().len(), 1);
        })
        .unwrap();
}

#[test]
fn pins_of_interfaces_that_are_gone_are_removed() {
    let stage = Stage::new();
    stage.with_kernel(|kernel| {
        kernel.attach(stage.d0, AttachMode::Xdp).unwrap();
    });
    let pins = stage.links();
    assert!(pins.iter().any(|pin| pin.ends_with("-xdp")), "{pins:?}");
    stage.director.netlink().unwrap().delete_link(stage.d0).unwrap();
    stage.with_kernel(|kernel| assert_eq!(kernel.attachments().unwrap(), []));
    assert_eq!(stage.links(), [""; 0]);
}

/// An instance that moves to another network namespace: interfaces there have the same numbers.
#[test]
fn interfaces_of_another_namespace_are_told_apart() {
    let stage = Stage::new();
    let c0 = stage.client.netlink().unwrap().link("c0").unwrap().index;
    stage.with_kernel(|kernel| {
        kernel.attach(stage.d0, AttachMode::XdpGeneric).unwrap();
    });
    let options = stage.options();
    let mut kernel = stage.client.enter(|| Kernel::open(&options).unwrap()).unwrap();
    let [warning] = kernel.warnings() else { panic!("{:?}", kernel.warnings()) };
    assert!(warning.contains("in other network namespaces"), "{warning}");
    stage
        .client
        .enter(|| {
            assert_eq!(kernel.attachments().unwrap(), []);
            kernel.attach(c0, AttachMode::XdpGeneric).unwrap();
            assert_eq!(kernel.attachments().unwrap().len(), 1);
        })
        .unwrap();
    let found = stage.director.enter(|| kernel.attachments().unwrap()).unwrap();
    assert_eq!((found.len(), found[0].ifindex), (1, stage.d0));
}
