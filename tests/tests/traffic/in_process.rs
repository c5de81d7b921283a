//! The data plane and the director's logic, without a daemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use core::sync::atomic::AtomicU64;
use rvs_abi::map::Region;
use rvs_config::{
    Command, DestKey, Destination, ForwardingMethod, Protocol, Scheduler, SchedulerFlags, ServiceKey,
    VirtualService,
};
use rvs_dataplane::{AttachMode, Kernel, Maps, Options};
use rvs_director::{Director, RouteInfo};
use rvs_model::{Memory, MemoryError};
use rvs_testkit::{Cluster, HttpClient, HttpServer, Offloads, Replies, Report};
use std::sync::Arc;

struct Shared(Arc<Maps>);
impl Memory for Shared {
    fn region(&self, region: Region) -> &[AtomicU64] {
        self.0.region(region)
    }
    fn set_service_key(&self, key: &rvs_abi::ServiceKey, id: Option<u32>) -> Result<(), MemoryError> {
        self.0.set_service_key(key, id)
    }
}

struct Stage {
    kernel: Option<Kernel>,
    director: Director<Shared>,
    _servers: Vec<HttpServer>,
    cluster: Cluster,
    bpffs: PathBuf,
}

fn now() -> u64 {
    let t = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(t.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(t.tv_nsec()).unwrap()
}

impl Stage {
    fn new(mut cluster: Cluster, mode: AttachMode, method: ForwardingMethod) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let bpffs = std::env::temp_dir().join(format!("rvs-traffic-{}-{number}", std::process::id()));
        let mut options = Options::new("traffic").unwrap();
        options.bpffs = Some(bpffs.clone());
        options.capacity.conns = 100_000;
        let kernel = cluster
            .director()
            .netns()
            .enter(|| {
                let mut kernel = Kernel::open(&options).unwrap();
                for i in cluster.director().interfaces() {
                    let a = kernel.attach(i.index, mode).unwrap();
                    eprintln!("{a:?}");
                }
                kernel
            })
            .unwrap();
        let mut director = Director::create(Shared(kernel.maps())).unwrap();
        let key = ServiceKey { protocol: Protocol::Tcp, address: cluster.vip().into(), port: 80 };
        let mut commands = vec![Command::AddService(VirtualService {
            key,
            scheduler: Scheduler::Wrr,
            flags: SchedulerFlags::default(),
        })];
        for (server, weight) in cluster.servers().iter().zip([3, 2, 1]) {
            commands.push(Command::AddDestination {
                service: key,
                destination: Destination {
                    key: DestKey { address: server.address().into(), port: 80 },
                    method,
                    weight,
                    upper_threshold: 0,
                    lower_threshold: 0,
                },
            });
        }
        director.apply(&commands, now()).unwrap();
        let needed: Vec<_> = director.routes_needed().collect();
        for (id, address) in needed {
            let l = cluster.director_mut().netlink().route_get(address).unwrap();
            director.set_route(
                id,
                &RouteInfo {
                    ifindex: l.ifindex.unwrap(),
                    gateway: Some(l.gateway.unwrap_or(address)),
                    source: l.source,
                    mtu: l.mtu,
                },
            );
        }
        let servers = cluster.start_servers(80).unwrap();
        Self { kernel: Some(kernel), director, _servers: servers, cluster, bpffs }
    }

    fn run(&self, connections: usize, requests: u64, per: u64) -> Report {
        let target = SocketAddr::from((self.cluster.vip(), 80));
        HttpClient::new(target)
            .connections(connections)
            .requests(requests)
            .requests_per_connection(per)
            .timeout(Duration::from_secs(5))
            .run(self.cluster.client().netns())
            .unwrap()
    }

    fn counters(&self) {
        let words = self.director.memory().region(Region::Counters);
        eprintln!("counters {} words", words.len());
        for (i, w) in words.iter().enumerate() {
            let v = w.load(Ordering::Relaxed);
            if v != 0 {
                eprintln!(
                    "  word {i}: {v} ({:?})",
                    rvs_abi::OUTCOMES.iter().find(|o| **o as usize == i % 128)
                );
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let kernel = self.kernel.take().unwrap();
        self.cluster.director().netns().enter(move || kernel.remove()).unwrap().unwrap();
        nix::mount::umount(&self.bpffs).unwrap();
        std::fs::remove_dir(&self.bpffs).unwrap();
    }
}

fn smoke(offloads: Offloads, mode: AttachMode, method: ForwardingMethod) {
    let replies =
        if method == ForwardingMethod::Masq { Replies::ThroughDirector } else { Replies::PastDirector };
    let cluster = Cluster::switched(3).offloads(offloads).replies(replies).build().unwrap();
    let stage = Stage::new(cluster, mode, method);
    let report = stage.run(1, 12, 1);
    eprintln!("{report:?}");
    stage.counters();
    let report2 = stage.run(16, 6000, 10);
    eprintln!("{report2:?}");
    stage.counters();
    eprintln!("{:#?}", stage.director.listing());
    assert_eq!(report.failed() + report2.failed(), 0);
    assert_eq!(report.answers_of("s1"), 6);
}

#[test]
fn masq_tc() {
    smoke(Offloads::Default, AttachMode::Tc, ForwardingMethod::Masq);
}
#[test]
fn masq_xdp() {
    smoke(Offloads::XdpReady, AttachMode::Xdp, ForwardingMethod::Masq);
}
#[test]
fn dr_tc() {
    smoke(Offloads::Default, AttachMode::Tc, ForwardingMethod::Dr);
}
#[test]
fn dr_xdp() {
    smoke(Offloads::XdpReady, AttachMode::Xdp, ForwardingMethod::Dr);
}
