//! §3.1, §3.7: the director itself as a real server and as a client.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rvs_netlink::Netns;

use crate::refvm::frames::{self, DIRECTOR, Flow};
use crate::refvm::scene::{Scene, nothing, only, only_to_client};
use crate::refvm::tests_of_both;

tests_of_both![
    s075_the_director_as_a_real_server,
    datagrams_to_the_director_itself,
    one_packet_scheduling_to_the_director_itself,
    clients_on_the_director,
    one_packet_scheduling_of_clients_on_the_director,
    a_client_on_the_director_that_nobody_serves,
];

/// How long a socket waits for a datagram that is there.
const RECEIVE_LIMIT: Duration = Duration::from_secs(5);

/// A destination on the director, where nobody listens.
fn here(scene: &Scene<'_>, port: u16) -> String {
    SocketAddr::new(scene.family.server(DIRECTOR), port).to_string()
}

/// The stack answers, as the service.
fn s075_the_director_as_a_real_server(scene: &mut Scene<'_>) -> Result<()> {
    for (vport, rport, method, shown) in
        [(100, 100, "-g", "Route"), (101, 101, "-i", "Tunnel"), (102, 8080, "-m", "Masq")]
    {
        let here = here(scene, rport);
        scene.rules(&format!("-A -t VIP:{vport} -s rr\n-a -t VIP:{vport} -r {here} {method}"))?;
        let args = format!("-Ln -t VIP:{vport}");
        let is_shown = |text: &str| text.lines().any(|line| line.contains(&here) && line.contains(shown));
        scene.listing(&args, is_shown)?;
        let flow = scene.flow(vport);
        let seen = scene.client(flow.syn())?;
        let reset = frames::packet(only_to_client(&seen)?);
        ensure!(frames::is_reset(reset), "{seen:?}");
        ensure!(frames::addresses(reset) == Some((flow.vip, flow.cip)), "{seen:?}");
        ensure!(frames::ports(reset) == Some((vport, flow.cport)), "{seen:?}");
        scene.conns_to_port(vport)?;
    }
    scene.numbers("-Ln --stats", |line| line.get(..3) == Some(&[1, 1, 1]))
}

/// The stack's error comes from the service, and is about what the client sent.
fn datagrams_to_the_director_itself(scene: &mut Scene<'_>) -> Result<()> {
    for (vport, rport, method) in [(53, 53, "-g"), (54, 5353, "-m")] {
        let here = here(scene, rport);
        scene.rules(&format!("-A -u VIP:{vport} -s rr\n-a -u VIP:{vport} -r {here} {method}"))?;
        let flow = scene.flow(vport);
        let sent = flow.udp(b"question");
        let seen = scene.client(sent.clone())?;
        let out = frames::packet(only_to_client(&seen)?);
        let (_, _, quoted) = frames::error(out).context("no error")?;
        ensure!(frames::addresses(out) == Some((flow.vip, flow.cip)), "{seen:?}");
        ensure!(frames::addresses(quoted) == Some((flow.cip, flow.vip)), "{seen:?}");
        ensure!(frames::ports(quoted) == frames::ports(frames::packet(&sent)), "{seen:?}");
    }
    Ok(())
}

/// A socket on each director, at one of its own addresses.
fn sockets(scene: &Scene<'_>, own: SocketAddr) -> Result<Vec<UdpSocket>> {
    let sockets = std::cell::RefCell::new(Vec::new());
    scene.world.directors(|director: &Netns| {
        let socket = director.enter(|| UdpSocket::bind(own))??;
        socket.set_read_timeout(Some(RECEIVE_LIMIT))?;
        sockets.borrow_mut().push(socket);
        Ok(())
    })?;
    Ok(sockets.into_inner())
}

/// Datagrams that the directors send to a service are sent on, and answers come back.
fn clients_on_the_director(scene: &mut Scene<'_>) -> Result<()> {
    let (vip, family) = (scene.vip, scene.family);
    let from_vip = (60, "-m", 5353, vip);
    let mut from_own = vec![(61, "-m", 5353), (62, "-g", 62)];
    if family == frames::Family::V6 {
        // Of IPv4, the identification inside is the sender's, and random.
        from_own.push((63, "-i", 63));
    }
    let from_own =
        from_own.into_iter().map(|(vport, method, rport)| (vport, method, rport, family.server(DIRECTOR)));
    for (vport, method, rport, cip) in from_own.chain([from_vip]) {
        scene.rules(&format!("-A -u VIP:{vport} -s rr\n-a -u VIP:{vport} -r RS4:{rport} {method}"))?;
        let flow = Flow { cip, ..scene.flow(vport) };
        let sockets = sockets(scene, SocketAddr::new(cip, flow.cport))?;
        for socket in &sockets {
            socket.send_to(b"question", SocketAddr::new(vip, vport))?;
        }
        let seen = scene.clients(&[]).with_context(|| format!("{method} from {cip}"))?;
        let out = frames::innermost(frames::packet(only(&seen, 4)?));
        ensure!(frames::addresses(out).map(|(from, _)| from) == Some(cip), "{seen:?}");
        let conns = scene.conns_to_port(vport)?;
        ensure!(conns.len() == 1, "{conns:?}");
        if method == "-m" {
            let seen = scene.server(flow.at(4, rport).udp(b"answer"))?;
            nothing(&seen)?;
            for socket in &sockets {
                let mut data = [0; 64];
                let (len, from) = socket.recv_from(&mut data).context("no answer")?;
                ensure!(&data[..len] == b"answer" && from == SocketAddr::new(vip, vport), "{from}");
            }
            scene.numbers(&format!("-Ln --stats -u VIP:{vport}"), |line| {
                line == [1, 1, 1, frames_len(family, 8), frames_len(family, 6)]
            })?;
        }
    }
    Ok(())
}

/// Bytes of a datagram with that many bytes of data.
fn frames_len(family: frames::Family, data: usize) -> u64 {
    (family.header_len() + 8 + data) as u64
}

/// Each datagram arrives; what is sent back is as the socket sends it.
fn one_packet_scheduling_to_the_director_itself(scene: &mut Scene<'_>) -> Result<()> {
    for (vport, rport, method) in [(55, 55, "-g"), (56, 5656, "-m")] {
        let here = SocketAddr::new(scene.family.server(DIRECTOR), rport);
        scene.rules(&format!("-A -u VIP:{vport} -s rr -o\n-a -u VIP:{vport} -r {here} {method}"))?;
        let flow = scene.flow(vport);
        let at = if method == "-g" { SocketAddr::new(flow.vip, vport) } else { here };
        let sockets = sockets(scene, at)?;
        for _ in 0..2 {
            nothing(&scene.client(flow.udp(b"question"))?)?;
            for socket in &sockets {
                let mut data = [0; 64];
                let (len, from) = socket.recv_from(&mut data).with_context(|| method.to_owned())?;
                ensure!(
                    &data[..len] == b"question" && from == SocketAddr::new(flow.cip, flow.cport),
                    "{from}"
                );
            }
        }
        for socket in &sockets {
            socket.send_to(b"answer", SocketAddr::new(flow.cip, flow.cport))?;
        }
        let seen = scene.clients(&[])?;
        let out = frames::packet(only_to_client(&seen)?);
        ensure!(frames::addresses(out) == Some((at.ip(), flow.cip)), "{method}: {seen:?}");
        ensure!(frames::ports(out) == Some((at.port(), flow.cport)), "{method}: {seen:?}");
        ensure!(scene.conns_to_port(vport)?.is_empty(), "{method}: a connection is kept");
        scene.numbers(&format!("-Ln --stats -u VIP:{vport}"), |line| line.get(..3) == Some(&[2, 2, 0]))?;
    }
    Ok(())
}

/// They are sent on, each by itself.
fn one_packet_scheduling_of_clients_on_the_director(scene: &mut Scene<'_>) -> Result<()> {
    let own = scene.family.server(DIRECTOR);
    for (vport, rport, method) in [(57, 5757, "-m"), (58, 58, "-g")] {
        scene.rules(&format!(
            "-A -u VIP:{vport} -s rr -o\n-a -u VIP:{vport} -r RS3:{rport} {method}\n-a -u VIP:{vport} -r RS4:{rport} {method}"
        ))?;
        let flow = Flow { cip: own, ..scene.flow(vport) };
        let sockets = sockets(scene, SocketAddr::new(own, flow.cport))?;
        for number in [4, 3] {
            for socket in &sockets {
                socket.send_to(b"question", SocketAddr::new(flow.vip, vport))?;
            }
            only(&scene.clients(&[])?, number).with_context(|| method.to_owned())?;
        }
        ensure!(scene.conns_to_port(vport)?.is_empty(), "{method}: a connection is kept");
    }
    Ok(())
}

/// The client is told by its own stack.
fn a_client_on_the_director_that_nobody_serves(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -u VIP:53 -s rr")?;
    let (own, vip) = (scene.family.server(DIRECTOR), SocketAddr::new(scene.vip, 53));
    for socket in sockets(scene, SocketAddr::new(own, scene.flow(53).cport))? {
        socket.connect(vip)?;
        // IPVS says at once that it was dropped, and then why.
        drop(socket.send(b"question"));
        let error = socket.recv(&mut [0; 64]).err().context("an answer")?;
        ensure!(error.kind() == std::io::ErrorKind::ConnectionRefused, "{error}");
    }
    nothing(&scene.clients(&[])?)
}
