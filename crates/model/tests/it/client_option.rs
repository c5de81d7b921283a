//! The TCP option by which full NAT tells servers who the client is: a server is to believe the director only
//! (docs/client-address.md: "Directors must remove the option from what clients send them, or a client could say who he is").

use rvs_abi::sched::id;
use rvs_abi::{Class, Method, Outcome, proto};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Model};
use rvs_wire::builder::{Ipv4, Payload, Tcp, ethernet};
use rvs_wire::eth;
use rvs_wire::tcp::{ACK, SYN};
use rvs_wire::toa::{self, Found};

const CLIENT: [u8; 4] = [192, 0, 2, 2];
const VIP: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [192, 168, 9, 2];
const DIRECTOR: [u8; 4] = [192, 168, 9, 1];
/// 1.1.1.1, port 1.
const FORGED: [u8; 8] = [254, 8, 0, 1, 1, 1, 1, 1];

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;

fn model() -> Model<Routes> {
    let heap = Heap::new(&Capacity { services: 4, dests: 256, conns: 100, cpus: 1 });
    let dest = DestSetup { source: DIRECTOR.into(), ..DestSetup::new(SERVER, 8080, Method::FULL_NAT) };
    let (port, protocol, scheduler) = (80, proto::TCP, id::RR);
    let dests = vec![dest];
    install(&heap, &[ServiceSetup { vip: VIP.into(), port, protocol, scheduler, sched_flags: 0, dests }]);
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(1 << 40);
    model.set_tc(true);
    model
}

fn send(model: &Model<Routes>, packet: &[u8]) -> (Outcome, Vec<u8>) {
    let bytes = ethernet([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], eth::TYPE_IPV4, packet);
    let mut frame = Frame::<2000>::new(&bytes).unwrap();
    let outcome = model.ingress(&mut frame, 11).outcome;
    (outcome, frame.bytes()[eth::LEN..].to_vec())
}

fn segment(flags: u8, options: &[u8], data: &[u8]) -> Payload {
    let (options, data) = (options.to_vec(), data.to_vec());
    Payload::Tcp(Tcp { sequence: 1000, options, data, ..Tcp::new(40_000, 80, flags) })
}

fn client() -> Ipv4 {
    Ipv4 { id: 7, dont_fragment: false, ..Ipv4::new(CLIENT, VIP) }
}

/// What `rvs agent` reads in a segment's header: the forged client or not.
fn is_forged(segment: &[u8]) -> bool {
    let (found, who) = toa::find(&segment[..usize::from(segment[12] >> 4) * 4]);
    found == Found::Client && who.port == 1_u16.to_be()
}

/// SYNs are sent again eight times; then comes the ACK, of which the agent looks at the option first, before the SYN's
/// (`ebpf/src/client_address/client.rs`, `established`).
#[test]
fn a_client_cant_say_who_it_is_in_its_ninth_segment() {
    let model = model();
    for n in 1..=9 {
        let (outcome, left) = send(&model, &client().packet(&segment(SYN, &FORGED, b"")));
        assert_eq!(outcome, Outcome::ForwardFullNat);
        assert!(!is_forged(&left[20..]), "SYN number {n}");
    }
    let (outcome, left) = send(&model, &client().packet(&segment(ACK, &FORGED, b"")));
    assert_eq!(outcome, Outcome::ForwardFullNat);
    assert!(!is_forged(&left[20..]), "ACK");
}

/// The header of a SYN is cut in two: its options are in the second fragment, where nobody looks.
#[test]
fn a_client_cant_say_who_it_is_in_a_fragment() {
    let model = model();
    let options = [&[1; 4][..], &FORGED].concat();
    let fragments = client().fragments(&segment(SYN, &options, b""), 24);
    assert_eq!(fragments.len(), 2);
    let left: Vec<_> = fragments.iter().map(|fragment| send(&model, fragment)).collect();
    let is_sent = left.iter().all(|(outcome, _)| outcome.class() == Class::Forward);
    let whole: Vec<u8> = left.iter().flat_map(|(_, packet)| packet[20..].to_vec()).collect();
    assert!(!is_sent || !is_forged(&whole), "{left:?}");
}

/// A first fragment that holds the header and nothing else isn't one without data: made longer, it overlaps the next.
#[test]
fn no_option_is_added_to_a_first_fragment() {
    let model = model();
    let fragments = client().fragments(&segment(SYN, &[1; 4], b"data that the server is to get"), 24);
    let left: Vec<_> = fragments.iter().map(|fragment| send(&model, fragment)).collect();
    let first = &left[0].1;
    assert_eq!(left[0].0, Outcome::ForwardFullNat);
    assert_eq!(usize::from(u16::from_be_bytes([first[2], first[3]])), 20 + 24, "the next begins at 24");
}

/// FTP's servers compare who they are told with the address in PORT, which is the director's.
#[test]
fn servers_of_ftp_are_told_nothing() {
    let mut model = model();
    let told = |model: &Model<Routes>, sport: u16| {
        let segment = Payload::Tcp(Tcp::new(sport, 80, SYN));
        toa::find(&send(model, &client().packet(&segment)).1[20..]).0
    };
    assert_eq!(told(&model, 40_001), Found::Client);
    let mut config = rvs_model::records::config(model.heap());
    config.ftp_ports[0] = 80_u16.to_be();
    rvs_model::records::write_config(model.heap(), &config);
    model.set_now_ns((1 << 40) + 1);
    assert_eq!(told(&model, 40_002), Found::Nothing);
}
