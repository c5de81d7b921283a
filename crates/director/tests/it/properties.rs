//! Random command lists, connections and restarts against the reference model.

use proptest::prelude::*;
use rvs_config::*;
use rvs_director::Director;
use rvs_model::{Heap, records};

use crate::support::*;
use crate::{packet, reference};

const VIPS: u8 = 3;
const SERVERS: u8 = 5;

#[derive(Debug, Clone)]
enum Step {
    Commands(Vec<Command>),
    Connect(ServiceKey, u8),
    Disconnect(ServiceKey, DestKey),
    Restart,
}

fn any_vip() -> impl Strategy<Value = ServiceKey> {
    prop::sample::select(keys())
}

/// A server of the service's family, or of the other one.
fn server(service: &ServiceKey, n: u8, other_family: bool) -> DestKey {
    if service.address.is_ipv6() == other_family { rs(n) } else { rs6(n.into()) }
}

/// A service and a key of a destination of it, most often of its family.
fn any_server() -> impl Strategy<Value = (ServiceKey, DestKey)> {
    let other_family = prop::bool::weighted(0.2);
    (any_vip(), 1..=SERVERS, other_family)
        .prop_map(|(service, n, other)| (service, server(&service, n, other)))
}

/// A service and a destination that it may have.
fn any_dest() -> impl Strategy<Value = (ServiceKey, Destination)> {
    let weight = prop::sample::select(vec![0, 1, 1, 2, 3, 4, 6, 300]);
    let (none, csum, remcsum) = (TunnelChecksum::None, TunnelChecksum::Csum, TunnelChecksum::Remcsum);
    let ipip = Tunnel::Ipip;
    let ways = vec![
        (ForwardingMethod::Masq, ipip),
        (ForwardingMethod::Dr, ipip),
        (ForwardingMethod::Tunnel, ipip),
        (ForwardingMethod::Tunnel, Tunnel::Gue { port: 5555, checksum: none }),
        (ForwardingMethod::Tunnel, Tunnel::Gue { port: 6080, checksum: remcsum }),
        (ForwardingMethod::Tunnel, Tunnel::Gre { checksum: csum }),
    ];
    let other_family = prop::bool::weighted(0.2);
    (any_vip(), 1..=SERVERS, weight, prop::sample::select(ways), other_family).prop_map(
        |(service, n, weight, (method, tunnel), other)| {
            // Only tunnels lead to the other family (ipvs.md §3.8).
            let key = server(&service, n, other && method == ForwardingMethod::Tunnel);
            (service, Destination { method, tunnel, ..dest(key, weight) })
        },
    )
}

fn any_service() -> impl Strategy<Value = VirtualService> {
    let scheduler = prop::sample::select(Scheduler::ALL.to_vec());
    let mss = prop::sample::select(vec![0, 0, 536, 1360]);
    let way = prop::sample::select(ClientAddress::ALL.to_vec());
    (any_vip(), scheduler, 0..2_u8, any::<bool>(), mss, way).prop_map(
        |(key, scheduler, flags, one_packet, mss, client_address)| {
            let one_packet = one_packet && key.protocol == Protocol::Udp;
            let mss = if key.protocol == Protocol::Tcp { mss } else { 0 };
            let flags = SchedulerFlags(flags * 4);
            VirtualService { key, scheduler, flags, one_packet, mss, client_address }
        },
    )
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => any_service().prop_map(Command::AddService),
        2 => any_service().prop_map(Command::EditService),
        1 => any_vip().prop_map(delete_service),
        8 => any_dest().prop_map(|(service, destination)| Command::AddDestination { service, destination }),
        4 => any_dest().prop_map(|(service, destination)| Command::EditDestination { service, destination }),
        4 => any_server().prop_map(|(service, dest)| delete(service, dest)),
        1 => prop::option::of(any_vip()).prop_map(|service| Command::Zero { service }),
        1 => (0..3_u32, 0..3_u32, 0..3_u32)
            .prop_map(|(tcp_s, tcp_fin_s, udp_s)| Command::SetTimeouts(TimeoutsUpdate { tcp_s, tcp_fin_s, udp_s })),
        1 => (prop::sample::select(Setting::ALL.to_vec()), any::<u32>())
            .prop_map(|(setting, value)| set(&[(setting.name(), value % (setting.maximum() + 1))])),
    ]
}

/// Mostly short lists, or most would be refused; `-C` now and then.
pub(crate) fn any_commands() -> impl Strategy<Value = Vec<Command>> {
    prop_oneof![
        6 => prop::collection::vec(any_command(), 1..4),
        1 => prop::collection::vec(any_command(), 4..9),
        1 => prop::collection::vec(any_command(), 0..3).prop_map(|mut commands| {
            commands.insert(0, Command::Clear);
            commands
        }),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_commands().prop_map(Step::Commands),
        6 => (any_vip(), any::<u8>()).prop_map(|(service, client)| Step::Connect(service, client)),
        1 => any_server().prop_map(|(service, dest)| Step::Disconnect(service, dest)),
        1 => Just(Step::Restart),
    ]
}

/// Commands that make the services, so that most random ones after them are accepted.
pub(crate) fn beginning() -> Vec<Command> {
    let services = keys().into_iter().zip(1..);
    let mut commands: Vec<Command> =
        services.map(|(key, n)| add_service(key, Scheduler::ALL[n % 2])).collect();
    let dests = |key: ServiceKey| (1..=3).map(move |n| add(key, server(&key, n, false), n.into()));
    commands.extend(keys().into_iter().flat_map(dests));
    commands
}

pub(crate) fn keys() -> Vec<ServiceKey> {
    (1..=VIPS).map(vip).chain([vip6(1)]).collect()
}

fn assert_same(director: &Director<Heap>, reference: &reference::Reference) {
    let listing = director.listing();
    assert_eq!(listing.timeouts, reference.timeouts);
    assert_eq!(director.settings(), reference.settings);
    assert_eq!(director.total().0.conns, reference.counted, "the total");
    assert_eq!(listing.services.len(), reference.services.len());
    for service in &reference.services {
        let listed = director.service_listing(&service.key).unwrap();
        assert_eq!((listed.service.scheduler, listed.service.flags), (service.scheduler, service.flags));
        assert_eq!(listed.counters.conns, service.counted, "{}", service.key);
        let dests = listed.destinations.iter().map(|dest| reference::Dest {
            key: dest.destination.key,
            method: dest.destination.method,
            tunnel: dest.destination.tunnel,
            weight: dest.destination.weight,
            conns: dest.active_conns + dest.inactive_conns,
            counted: dest.counters.conns,
        });
        assert_eq!(dests.collect::<Vec<_>>(), service.list, "{}", service.key);
    }
}

/// A new director over a copy of the memory knows the same and changes nothing that packets see.
fn assert_adoptable(director: &Director<Heap>) {
    let memory = copy(director.memory(), &SMALL, &keys());
    let adopted = Director::adopt(memory).unwrap();
    assert_eq!(adopted.listing(), director.listing());
    assert_eq!(adopted.status().trash, director.status().trash);
    assert_eq!(adopted.status().dests, director.status().dests);
    assert_eq!(packet::filter_bits(adopted.memory()), packet::filter_bits(director.memory()), "filter");
    for key in keys() {
        assert_eq!(packet::find(adopted.memory(), &key), packet::find(director.memory(), &key));
    }
}

fn connect(director: &Director<Heap>, key: &ServiceKey, client: u8) -> Option<DestKey> {
    let heap = director.memory();
    let chosen = packet::pick(heap, key, [192, 0, 2, client])?;
    let (service, _) = packet::find(heap, key).unwrap();
    open_conns(heap, chosen, 1);
    count(heap, u32::from(client % 2), service, chosen, 40);
    Some(packet::dest_key(heap, chosen))
}

/// Ends all connections of a destination, also if it was removed.
fn disconnect(director: &Director<Heap>, key: &ServiceKey, dest: &DestKey) {
    let heap = director.memory();
    for (id, record) in
        (0..).map_while(|id| Some((id, records::dest(heap, id)?))).filter(|(_, r)| r.flags != 0)
    {
        let service = records::service(heap, record.service).unwrap();
        if service.vip.to_ip() == key.address && packet::dest_key(heap, id) == *dest {
            open_conns(heap, id, -i64::from(records::dest_conns(heap, id).total));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn director_does_what_ipvs_does(steps in prop::collection::vec(any_step(), 1..50)) {
        let mut director = director(&SMALL);
        let mut reference = reference::Reference::default();
        let mut now = SECOND;
        director.apply(&beginning(), now).unwrap();
        reference.apply(&beginning()).unwrap();
        for step in &steps {
            now += SECOND;
            match step {
                Step::Commands(commands) => {
                    let expected = reference.apply(commands);
                    let result = director.apply(commands, now).map_err(|refusal| (refusal.index, refusal.error));
                    prop_assert_eq!(result, expected);
                }
                Step::Connect(service, client) => {
                    let expected = reference.connect(service, [192, 0, 2, *client]);
                    prop_assert_eq!(connect(&director, service, *client), expected);
                }
                Step::Disconnect(service, dest) => {
                    reference.disconnect(service, dest);
                    disconnect(&director, service, dest);
                }
                Step::Restart => director = Director::adopt(director.into_memory()).unwrap(),
            }
            packet::check(director.memory(), &keys());
            assert_same(&director, &reference);
            assert_adoptable(&director);
        }
    }
}
