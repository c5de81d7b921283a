//! Servers that are told by the PROXY protocol who the client is, behind full NAT: nginx says whom it sees, data arrive whole
//! both ways, whatever is lost at first, and a server that speaks first is told too.

use std::io::{Read, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use rvs_testkit::{Cgroup, Replies, content, wait_until};

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

/// It says whom the header names, logs it as the client, takes files, and refuses connections without a header.
const SERVERS: &str = "\
  set_real_ip_from 0.0.0.0/0;
  set_real_ip_from ::/0;
  real_ip_header proxy_protocol;
  client_max_body_size 2m;
  server {
    listen 8000 proxy_protocol;
    listen [::]:8000 proxy_protocol;
    location /files/ {
      root tmp;
      dav_methods PUT;
      create_full_put_path on;
    }
    location = / {
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

/// Seconds that requests may take of which some segments are lost: the handshake's are sent again after one, and two.
const LOSSES_S: &str = "15";

/// A director, its services, and nginx behind them.
struct Site {
    nginx: Nginx,
    services: Vec<SocketAddr>,
    _cgroup: Cgroup,
    world: World,
}

impl Site {
    fn new(attach: Attach) -> Self {
        let world = World::new(Replies::PastDirector, attach);
        let cgroup = Cgroup::create().unwrap();
        let nginx = Nginx::with_servers(world.server().netns(), &cgroup, SERVERS);
        Self { nginx, services: services(&world), _cgroup: cgroup, world }
    }

    /// Asks a service over one connection whom it sees, after as many bytes have been sent to it: nginx says in its answers and
    /// in its log that it is the client.
    fn asks(&self, service: SocketAddr, body: Option<&[u8]>) {
        let (url, file) = (format!("http://{service}/"), format!("http://{service}/files/it"));
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail", "--max-time", LOSSES_S, "--header", "Expect:"]);
        command.args(["--write-out", " %{local_ip} %{local_port}\n"]);
        if body.is_some() {
            command.args(["--upload-file", "-", &file, "--next", "-sS", "--fail", "--max-time", LOSSES_S]);
            command.args(["--write-out", " %{local_ip} %{local_port}\n"]);
        }
        command.args([&url, &url]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.world.client().spawn(&mut command).unwrap();
        let mut input = child.stdin.take().unwrap();
        // What it doesn't read, it says why.
        body.map(|body| input.write_all(body).ok());
        drop(input);
        let answer = child.wait_with_output().unwrap();
        let (said, error) =
            (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
        assert!(answer.status.success(), "{service}: {error} {said}");
        let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split(' ').collect()).collect();
        let requests = if body.is_some() { 3 } else { 2 };
        assert_eq!(lines.len(), requests, "{service}: {said}");
        for line in &lines[requests - 2..] {
            let [address, port, vip, vport, local, local_port] = line[..] else {
                panic!("{service}: {said}")
            };
            assert_eq!((address, port), (local, local_port), "{service}");
            let called = SocketAddr::new(vip.parse::<IpAddr>().unwrap(), vport.parse().unwrap());
            assert_eq!(called, service);
        }
        // All of it over one connection.
        let ends: Vec<String> = lines.iter().map(|line| line[line.len() - 2..].join(" ")).collect();
        assert_eq!(ends, vec![ends[0].clone(); requests]);
        // It is written behind the answer.
        let is_logged = || self.nginx.log().lines().filter(|line| *line == ends[0]).count() == requests;
        wait_until("nginx's log", LIMIT, is_logged)
            .unwrap_or_else(|e| panic!("{e}: {ends:?}\n{}", self.nginx.log()));
        if let Some(body) = body {
            assert!(self.nginx.take("tmp/files/it") == body, "{service}: another file arrived");
        }
    }
}

/// 1 MiB, of which no two parts are alike.
fn body() -> Vec<u8> {
    let mut body = Vec::new();
    content::write(&mut body, 1 << 20).unwrap();
    body
}

fn nginx_says_who_the_client_is(attach: Attach) {
    let _turn = await_turn();
    let site = Site::new(attach);
    let body = body();
    for (&service, n) in site.services.iter().zip(0..) {
        site.asks(service, None);
        site.asks(service, Some(&body));
        // Twice and three times over one connection: the header is there once.
        assert_eq!(site.world.daemon.noted("proxy_sent"), 2 * (n + 1));
    }
    assert_eq!(site.world.daemon.noted("proxy_alone"), 0);
}

/// Segments that are lost, the first of them, after the SYNs.
#[derive(Debug, Clone, Copy)]
struct Loss {
    /// By the client: the director doesn't see them. Else by the server.
    by_client: bool,
    /// Which, to `nft`.
    which: &'static str,
    count: u32,
}

/// More than an acknowledgement with a header, with or without options.
const DATA: &str = "meta length > 130";

/// The handshake's last: the data come without it.
const ACKNOWLEDGEMENT: Loss = Loss { by_client: true, which: "", count: 1 };
const HEADER: Loss = Loss { by_client: false, which: "", count: 1 };

const LOSSES: [Loss; 6] = [
    ACKNOWLEDGEMENT,
    HEADER,
    // And the data behind it.
    Loss { by_client: false, which: "", count: 2 },
    Loss { by_client: true, which: DATA, count: 1 },
    Loss { by_client: false, which: DATA, count: 1 },
    Loss { by_client: false, which: DATA, count: 2 },
];

impl Loss {
    fn begin(&self, world: &World) {
        let (host, hook) =
            if self.by_client { (world.client(), "output") } else { (world.server(), "input") };
        let chain = format!("add chain inet lost c {{ type filter hook {hook} priority 0; }}");
        let (which, count) = (self.which, self.count);
        let limit = format!("limit rate 1/day burst {count} packets");
        let rule = format!(
            "add rule inet lost c tcp dport 8000-8003 tcp flags & (syn | ack) == ack {which} {limit} drop"
        );
        for line in ["add table inet lost", &chain, &rule] {
            output(host, "nft", &[line]);
        }
    }

    fn end(&self, world: &World) {
        let host = if self.by_client { world.client() } else { world.server() };
        output(host, "nft", &["delete table inet lost"]);
    }
}

fn losses_do_no_harm(attach: Attach) {
    let _turn = await_turn();
    let site = Site::new(attach);
    let body = body();
    for loss in LOSSES {
        for &service in &site.services {
            for body in [None, Some(&body[..])] {
                let start = Instant::now();
                loss.begin(&site.world);
                site.asks(service, body);
                loss.end(&site.world);
                let (which, len) = (loss.which, body.map_or(0, <[u8]>::len));
                println!(
                    "{} {which} {}, {service}, {len}: {:?}",
                    loss.by_client,
                    loss.count,
                    start.elapsed()
                );
            }
        }
    }
}

/// Takes so many connections, whose first bytes are a header; what these are, when all is over.
fn server(world: &World, connections: usize, speaks_first: bool) -> JoinHandle<Vec<Vec<u8>>> {
    let listen = SocketAddr::from(([0_u16; 8], PORT));
    let listener = world.server().netns().enter(|| TcpListener::bind(listen).unwrap()).unwrap();
    std::thread::spawn(move || {
        let take = |_| {
            let (stream, _) = listener.accept().unwrap();
            std::thread::spawn(move || answer(stream, speaks_first))
        };
        let taken: Vec<_> = (0..connections).map(take).collect();
        taken.into_iter().map(|answer| answer.join().unwrap()).collect()
    })
}

/// The server's end of one of them.
fn answer(mut stream: TcpStream, speaks_first: bool) -> Vec<u8> {
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
}

/// A client's connection to a service.
fn connect(world: &World, service: SocketAddr) -> TcpStream {
    let connect = || TcpStream::connect_timeout(&service, LIMIT);
    let stream = world.client().netns().enter(connect).unwrap().unwrap_or_else(|e| panic!("{service}: {e}"));
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends, and compares what comes back.
fn talk(stream: &mut TcpStream, speaks_first: bool) {
    if speaks_first {
        let mut banner = vec![0; BANNER.len()];
        stream.read_exact(&mut banner).unwrap();
        assert_eq!(banner, BANNER);
    }
    content::write(&mut *stream, LEN).unwrap();
    assert!(content::is_same((&*stream).take(LEN), LEN).unwrap(), "{stream:?}");
}

/// The header that names a client's connection.
fn header_of(stream: &TcpStream) -> Vec<u8> {
    let (client, service) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let ends: Vec<u8> = match (client.ip(), service.ip()) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            [&[0x11, 0, 12], &client.octets()[..], &vip.octets()].concat()
        }
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            [&[0x21, 0, 36], &client.octets()[..], &vip.octets()].concat()
        }
        ends => panic!("{ends:?}"),
    };
    let ports = [client.port().to_be_bytes(), service.port().to_be_bytes()].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &ends[..], &ports].concat()
}

fn data_arrive_whole(attach: Attach) {
    let _turn = await_turn();
    let world = World::new(Replies::PastDirector, attach);
    for service in services(&world) {
        for (speaks_first, is_late) in [(false, false), (true, false), (false, true)] {
            let server = server(&world, 1, speaks_first);
            // Without its first acknowledgement, a client's first segment has data, and as many as there is room for.
            is_late.then(|| ACKNOWLEDGEMENT.begin(&world));
            let mut stream = connect(&world, service);
            talk(&mut stream, speaks_first);
            is_late.then(|| ACKNOWLEDGEMENT.end(&world));
            assert_eq!(server.join().unwrap(), [header_of(&stream)]);
        }
    }
    assert_ne!(world.daemon.noted("proxy_alone"), 0);
    let bundles = world.daemon.dropped("proxy_bundle");
    assert!(attach == Attach::Tc || bundles == 0, "{bundles}");
}

/// The director is killed when a header is due, and when one has been sent but has not arrived; another goes on with it.
fn another_director_goes_on(attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(Replies::PastDirector, attach);
    let services = services(&world);
    let server = server(&world, 2 * services.len(), false);
    let mut streams = Vec::new();
    for loss in [ACKNOWLEDGEMENT, HEADER] {
        // Until the director is gone.
        let loss = Loss { count: 1000, ..loss };
        loss.begin(&world);
        for &service in &services {
            let before = world.daemon.noted("proxy_sent");
            streams.push(connect(&world, service));
            let is_sent = || loss.by_client || world.daemon.noted("proxy_sent") > before;
            wait_until("the header", LIMIT, is_sent).unwrap();
        }
        if loss.by_client {
            loss.end(&world);
        }
    }
    world.daemon.kill();
    HEADER.end(&world);
    world.daemon.restart();
    streams.iter_mut().for_each(|stream| talk(stream, false));
    let mut headers = server.join().unwrap();
    let mut expected: Vec<_> = streams.iter().map(header_of).collect();
    headers.sort();
    expected.sort();
    assert_eq!(headers, expected);
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

#[test]
fn losses_do_no_harm_under_tc() {
    losses_do_no_harm(Attach::Tc);
}

#[test]
fn losses_do_no_harm_under_xdp() {
    losses_do_no_harm(Attach::Xdp);
}

#[test]
fn another_director_goes_on_under_tc() {
    another_director_goes_on(Attach::Tc);
}

#[test]
fn another_director_goes_on_under_xdp() {
    another_director_goes_on(Attach::Xdp);
}
