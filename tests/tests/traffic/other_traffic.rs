//! What has nothing to do with a service passes as if there were no director.

use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use rvs_testkit::{Host, HttpClient, HttpServer};

use crate::method::{Attach, Method};
use crate::stage::Stage;

/// ICMP types (RFC 792).
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Sends an echo request and waits for its reply, which the kernel has checked and which is returned from its type on.
fn ping(host: &Host, to: Ipv4Addr) -> Result<Vec<u8>, Error> {
    // Groups that may open such sockets: root's.
    host.netns().sysctl("net/ipv4/ping_group_range", "0 0").unwrap();
    let exchange = || -> nix::Result<Vec<u8>> {
        let socket =
            socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
        // Checksum and identifier are the kernel's to fill in.
        let mut message = vec![ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 1];
        message.extend(b"traffic test");
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty())?;
        let mut reply = vec![0; 1500];
        let len = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
        reply.truncate(len);
        Ok(reply)
    };
    let reply = host.netns().enter(exchange).unwrap()?;
    if reply.first() == Some(&ECHO_REPLY) { Ok(reply) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Connects to a server by an address that is no service's, and expects that server.
fn reaches(from: &Host, to: SocketAddr, name: &str) {
    let report = HttpClient::new(to).requests(20).requests_per_connection(5).run(from.netns()).unwrap();
    assert_eq!((report.answers_of(name), report.failed()), (20, 0), "{} to {to}: {report:?}", from.name());
}

fn passes(attach: Attach) {
    let stage = Stage::new(Method::Nat, attach);
    let (client, director) = (stage.cluster.client(), stage.cluster.director());
    let (own, vip, server) = (director.address(), stage.cluster.vip(), stage.cluster.servers()[0].address());
    for (from, to) in [(client, own), (client, vip), (client, server), (director, server)] {
        let reply = ping(from, to).unwrap_or_else(|e| panic!("ping from {} to {to}: {e}", from.name()));
        assert!(reply.ends_with(b"traffic test"));
    }

    // A port like ssh's: of the director's own address, and of the virtual one where no service is.
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 22));
    let _shell = HttpServer::start(director.netns(), "director", everywhere).unwrap();
    reaches(client, SocketAddr::from((own, 22)), "director");
    reaches(client, SocketAddr::from((vip, 22)), "director");
    // To a destination, but not through the service: forwarded by the kernel, or from the director itself.
    let direct = SocketAddr::from((server, stage.method.server_port()));
    reaches(client, direct, "s1");
    reaches(director, direct, "s1");
    // And the service works.
    assert_eq!(stage.request(6).answers_of("s1"), 3);
}

#[test]
fn under_tc() {
    passes(Attach::Tc);
}

#[test]
fn under_xdp() {
    passes(Attach::Xdp);
}
