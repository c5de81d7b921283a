//! Servers that are told by the PROXY protocol who the client is, behind full NAT: nginx says whom it sees, data arrive whole
//! both ways, and a server that speaks first is told too.

use std::io::{Read, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use rvs_netlink::Netns;
use rvs_testkit::{Cgroup, Replies, content};

use crate::client_address::server::Nginx;
use crate::method::Attach;
use crate::stage::LIMIT;
use crate::turn::await_turn;
use crate::world::{FAMILIES, Way, World, output};

/// Of the services, and of the server.
const PORT: u16 = 8000;
/// Bytes that go each way.
const LEN: u64 = 20 << 20;
/// What a server that speaks first says.
const BANNER: &[u8] = b"220 ready\r\n";

/// It says whom the header names, and refuses connections without one.
const SERVERS: &str = "\
  server {
    listen 8000 proxy_protocol;
    listen [::]:8000 proxy_protocol;
    location / {
      return 200 '$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port';
    }
  }
";

const WAYS: [Way; 2] = [Way::FULL_NAT, Way::TRANSLATED];

/// A service of each family and way that asks for the header; all go to one port of the server.
fn services(world: &World) -> Vec<SocketAddr> {
    let mut services = Vec::new();
    for (family, way) in FAMILIES.into_iter().flat_map(|family| WAYS.map(|way| (family, way))) {
        let port = PORT + u16::try_from(services.len()).unwrap();
        let service = SocketAddr::new(world.cluster.vip_in(family), port);
        world.daemon.ipvsadm(&format!("-A -t {service} -s rr --client-address proxy"));
        let server = SocketAddr::new(world.server_address(family, way), PORT);
        world.daemon.ipvsadm(&format!("-a -t {service} -r {server} {}", way.options));
        services.push(service);
    }
    services
}

fn nginx_says_who_the_client_is(attach: Attach) {
    let _turn = await_turn();
    let world = World::new(Replies::PastDirector, attach);
    let cgroup = Cgroup::create().unwrap();
    let _nginx = Nginx::with_servers(world.server().netns(), &cgroup, SERVERS);
    for service in services(&world) {
        let url = format!("http://{service}/");
        // Twice over one connection: the header is there once.
        let args = ["-sS", "--max-time", "10", "--write-out", " %{local_ip} %{local_port}\n", &url, &url];
        let said = output(world.client(), "curl", &args);
        let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split(' ').collect()).collect();
        assert_eq!(lines.len(), 2, "{service}: {said}");
        for line in lines {
            let [address, port, vip, vport, local, local_port] = line[..] else {
                panic!("{service}: {said}")
            };
            assert_eq!((address, port), (local, local_port), "{service}");
            let called = SocketAddr::new(vip.parse::<IpAddr>().unwrap(), vport.parse().unwrap());
            assert_eq!(called, service);
        }
    }
    assert_eq!(world.daemon.counted("proxy_sent"), 4);
}

/// Takes one connection, whose first bytes are a header; what that is, when all is over.
fn server(world: &World, speaks_first: bool) -> JoinHandle<Vec<u8>> {
    let listen = SocketAddr::from(([0_u16; 8], PORT));
    let listener = world.server().netns().enter(|| TcpListener::bind(listen).unwrap()).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        if speaks_first {
            stream.write_all(BANNER).unwrap();
        }
        let mut header = vec![0; 16];
        stream.read_exact(&mut header).unwrap();
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        header.resize(16 + rest, 0);
        stream.read_exact(&mut header[16..]).unwrap();
        assert!(content::is_same((&stream).take(LEN), LEN).unwrap());
        content::write(&mut stream, LEN).unwrap();
        header
    })
}

/// A client's connection to a service: sends, and compares what comes back.
fn talk(netns: &Netns, service: SocketAddr, speaks_first: bool) -> SocketAddr {
    let connect = || TcpStream::connect_timeout(&service, LIMIT);
    let mut stream = netns.enter(connect).unwrap().unwrap_or_else(|e| panic!("{service}: {e}"));
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    if speaks_first {
        let mut banner = vec![0; BANNER.len()];
        stream.read_exact(&mut banner).unwrap();
        assert_eq!(banner, BANNER);
    }
    content::write(&mut stream, LEN).unwrap();
    assert!(content::is_same((&stream).take(LEN), LEN).unwrap(), "{service}");
    stream.local_addr().unwrap()
}

fn data_arrive_whole(attach: Attach) {
    let _turn = await_turn();
    let world = World::new(Replies::PastDirector, attach);
    for service in services(&world) {
        for speaks_first in [false, true] {
            let server = server(&world, speaks_first);
            let client = talk(world.client().netns(), service, speaks_first);
            let header = server.join().unwrap();
            assert_eq!(header[..13], *b"\r\n\r\n\0\r\nQUIT\n\x21");
            let ends: Vec<u8> = match (client.ip(), service.ip()) {
                (IpAddr::V4(client), IpAddr::V4(vip)) => [client.octets(), vip.octets()].concat(),
                (IpAddr::V6(client), IpAddr::V6(vip)) => [client.octets(), vip.octets()].concat(),
                ends => panic!("{ends:?}"),
            };
            let ports = [client.port().to_be_bytes(), service.port().to_be_bytes()].concat();
            assert_eq!(header[16..], [ends, ports].concat());
        }
    }
}

#[test]
fn nginx_says_who_the_client_is_under_tc() {
    nginx_says_who_the_client_is(Attach::Tc);
}

#[test]
fn nginx_says_who_the_client_is_under_xdp() {
    nginx_says_who_the_client_is(Attach::Xdp);
}

#[test]
fn data_arrive_whole_under_tc() {
    data_arrive_whole(Attach::Tc);
}

#[test]
fn data_arrive_whole_under_xdp() {
    data_arrive_whole(Attach::Xdp);
}
