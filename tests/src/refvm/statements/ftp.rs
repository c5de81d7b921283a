//! §13.11: FTP, beside IPVS with its module `ip_vs_ftp`.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rvs_wire::builder::{Payload, Tcp};
use rvs_wire::tcp::{ACK, SYN};

use crate::refvm::frames::{self, Family, Flow, SYN_ACK};
use crate::refvm::lab::Seen;
use crate::refvm::scene::{Scene, only, only_to_client};
use crate::refvm::{tests, tests_of_both};

tests![
    s168_a_passive_address_becomes_the_services,
    s169_the_data_connection_goes_to_the_same_server,
    s170_numbers_follow_what_became_shorter,
    s171_active_data_come_from_the_service,
    s173_nobody_listens_at_other_ports,
    s174_direct_routing_leaves_what_is_said,
];

tests_of_both![
    s027_other_ports_of_an_ftp_service_without_persistence,
    s172_extended_passive_mode,
    extended_active_mode,
];

/// What IPVS's helper needs of netfilter: connection tracking and NAT, which take these segments as they come.
const NETFILTER: &str = "table inet ftp {
    chain tracked { type filter hook prerouting priority 0; ct state new accept; }
    chain tracked_out { type filter hook output priority 0; ct state new accept; }
    chain translated { type nat hook postrouting priority 100; }
    chain translated_before { type nat hook prerouting priority -100; }
}
";
const LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";

/// Does something while IPVS listens to FTP.
fn listening(scene: &mut Scene<'_>, act: impl FnOnce(&mut Scene<'_>) -> Result<()>) -> Result<()> {
    let modprobe = Command::new("modprobe").args(["-a", "ip_vs_ftp", "nft_ct", "nft_chain_nat"]).status()?;
    ensure!(modprobe.success(), "modprobe -a ip_vs_ftp nft_ct nft_chain_nat: {modprobe}");
    nft(scene, NETFILTER)?;
    scene.world.ipvs.director.sysctl(LIBERAL, "1")?;
    let result = act(scene);
    nft(scene, "delete table inet ftp\n").and(result)
}

/// Has IPVS's netfilter changed.
fn nft(scene: &Scene<'_>, rules: &str) -> Result<()> {
    let ran = scene.world.ipvs.director.output(Command::new("nft").arg(rules))?;
    ensure!(ran.status.success(), "nft: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(())
}

/// A control connection to server .4, up to ESTABLISHED: what the client sent is before 1001, what the server did before 5000.
fn open(scene: &mut Scene<'_>, port: u16) -> Result<Flow> {
    let flow = scene.flow(port);
    only(&scene.client(flow.syn())?, 4)?;
    only_to_client(&server(scene, &flow, SYN_ACK, (4999, 1001), "")?)?;
    only(&client(scene, &flow, ACK, (1001, 5000), "")?, 4)?;
    Ok(flow)
}

/// A segment of the client with these numbers.
fn client(scene: &mut Scene<'_>, flow: &Flow, flags: u8, numbers: (u32, u32), data: &str) -> Result<Seen> {
    let segment = numbered(flow.segment(flags), numbers, data);
    scene.client(flow.frame(&flow.ip(), segment))
}

/// One of server .4.
fn server(scene: &mut Scene<'_>, flow: &Flow, flags: u8, numbers: (u32, u32), data: &str) -> Result<Seen> {
    let replies = flow.at(4, flow.vport);
    let segment = numbered(Tcp::new(flow.vport, flow.cport, flags), numbers, data);
    scene.server(replies.frame(&replies.ip(), segment))
}

fn numbered(segment: Tcp, (sequence, acknowledgement): (u32, u32), data: &str) -> Payload {
    Payload::Tcp(Tcp { sequence, acknowledgement, data: data.into(), ..segment })
}

/// What a segment says.
fn said(frame: &[u8]) -> Result<String> {
    let (_, segment) = frames::transport(frames::packet(frame)).context("no segment")?;
    let header = usize::from(segment.get(12).context("no header")? >> 4) * 4;
    Ok(String::from_utf8_lossy(segment.get(header..).context("no data")?).into_owned())
}

/// The number of a segment, and that which it acknowledges.
fn numbers(frame: &[u8]) -> Result<(u32, u32)> {
    let (_, segment) = frames::transport(frames::packet(frame)).context("no segment")?;
    let word = |at: usize| Some(u32::from_be_bytes(segment.get(at..at + 4)?.try_into().ok()?));
    word(4).zip(word(8)).context("no header")
}

/// A port of .4's that each virtual address has for itself. IPVS asks first whether one client expects that port already,
/// and finds what the test before it left, at another virtual address.
fn announced(flow: &Flow) -> u16 {
    let last = match flow.vip {
        IpAddr::V4(vip) => vip.octets()[3],
        IpAddr::V6(vip) => vip.octets()[15],
    };
    200 << 8 | u16::from(last)
}

/// As it is said in IPv4: address and port.
fn address(ip: IpAddr, port: u16) -> String {
    let [high, low] = port.to_be_bytes();
    format!("{},{high},{low}", ip.to_string().replace('.', ","))
}

/// How .4 says so.
fn answer(flow: &Flow) -> String {
    format!("227 Entering Passive Mode ({}).\r\n", address([192, 168, 9, 4].into(), announced(flow)))
}

/// What becomes of it.
fn rewritten(flow: &Flow) -> String {
    format!("227 Entering Passive Mode ({}).\r\n", address(flow.vip, announced(flow)))
}

/// A client asks for an address, and .4 answers with its own.
fn passive(scene: &mut Scene<'_>) -> Result<Flow> {
    scene.cluster("-t VIP:21 -s rr", "-m")?;
    let flow = open(scene, 21)?;
    only(&client(scene, &flow, ACK, (1001, 5000), "PASV\r\n")?, 4)?;
    let seen = server(scene, &flow, ACK, (5000, 1007), &answer(&flow))?;
    let is = said(only_to_client(&seen)?)?;
    ensure!(is == rewritten(&flow), "{is:?}");
    Ok(flow)
}

fn s168_a_passive_address_becomes_the_services(scene: &mut Scene<'_>) -> Result<()> {
    listening(scene, |scene| {
        let flow = passive(scene)?;
        let conns = scene.conns(2)?;
        let client = format!("{}:0", flow.cip);
        let expected = conns.iter().find(|conn| conn.client == client).context("nothing is expected")?;
        ensure!(
            expected.state == "LISTEN" && expected.vip.ends_with(&format!(":{}", announced(&flow))),
            "{expected:?}"
        );
        scene.counts(&[(4, 1, 1)])
    })
}

fn s169_the_data_connection_goes_to_the_same_server(scene: &mut Scene<'_>) -> Result<()> {
    listening(scene, |scene| {
        let flow = passive(scene)?;
        let data = flow.to_port(announced(&flow)).with_client_port(2000);
        only(&client(scene, &data, SYN, (1, 0), "")?, 4)?;
        let conns = scene.conns(2)?;
        ensure!(
            conns.iter().any(|conn| conn.state == "SYN_RECV" && conn.client.ends_with(":2000")),
            "{conns:?}"
        );
        only_to_client(&server(scene, &data, SYN_ACK, (1, 2), "")?)?;
        only(&client(scene, &data, ACK, (2, 2), "")?, 4)?;
        scene.counts(&[(4, 2, 0)])
    })
}

fn s170_numbers_follow_what_became_shorter(scene: &mut Scene<'_>) -> Result<()> {
    listening(scene, |scene| {
        let flow = passive(scene)?;
        let said = answer(&flow).len();
        let by = u32::try_from(said - rewritten(&flow).len())?;
        let behind = 5000 + u32::try_from(said)?;
        let seen = client(scene, &flow, ACK, (1007, behind - by), "")?;
        ensure!(numbers(only(&seen, 4)?)? == (1007, behind), "{}", seen.describe());
        let seen = server(scene, &flow, ACK, (behind, 1007), "150 Here it comes\r\n")?;
        ensure!(numbers(only_to_client(&seen)?)? == (behind - by, 1007), "{}", seen.describe());
        Ok(())
    })
}

fn s171_active_data_come_from_the_service(scene: &mut Scene<'_>) -> Result<()> {
    listening(scene, |scene| {
        scene.cluster("-t VIP:21 -s rr", "-m")?;
        let flow = open(scene, 21)?;
        let command = format!("PORT {}\r\n", address(flow.cip, 1801));
        active(scene, &flow, &command, 1801)
    })
}

/// A client names its port, to which the server connects. Each test has one of its own: the connection of another to the same one
/// may still be there, and of two with the same ends one is found.
fn active(scene: &mut Scene<'_>, flow: &Flow, command: &str, port: u16) -> Result<()> {
    let seen = client(scene, flow, ACK, (1001, 5000), command)?;
    let is = said(only(&seen, 4)?)?;
    ensure!(is == command, "{is:?}");
    let conns = scene.conns(2)?;
    ensure!(conns.iter().any(|conn| conn.state == "LISTEN" && conn.vip.ends_with(":20")), "{conns:?}");
    let data = flow.to_port(20).with_client_port(port);
    only_to_client(&server(scene, &data, SYN, (1, 0), "")?)?;
    only(&client(scene, &data, SYN_ACK, (1, 2), "")?, 4)?;
    only_to_client(&server(scene, &data, ACK, (2, 2), "data")?)?;
    scene.conns(2).map(drop)
}

fn extended_active_mode(scene: &mut Scene<'_>) -> Result<()> {
    listening(scene, |scene| {
        scene.cluster("-t VIP:21 -s rr", "-m")?;
        let flow = open(scene, 21)?;
        let family = if scene.family == Family::V4 { 1 } else { 2 };
        let command = format!("EPRT |{family}|{}|1802|\r\n", flow.cip);
        active(scene, &flow, &command, 1802)
    })
}

fn s172_extended_passive_mode(scene: &mut Scene<'_>) -> Result<()> {
    listening(scene, |scene| {
        scene.cluster("-t VIP:21 -s rr", "-m")?;
        let flow = open(scene, 21)?;
        only(&client(scene, &flow, ACK, (1001, 5000), "EPSV\r\n")?, 4)?;
        let reply = format!("229 Entering Extended Passive Mode (|||{}|)\r\n", announced(&flow));
        let seen = server(scene, &flow, ACK, (5000, 1007), &reply)?;
        let is = said(only_to_client(&seen)?)?;
        ensure!(is == reply, "{is:?}");
        let data = flow.to_port(announced(&flow)).with_client_port(2000);
        only(&client(scene, &data, SYN, (1, 0), "")?, 4)?;
        scene.conns(2).map(drop)
    })
}

fn s173_nobody_listens_at_other_ports(scene: &mut Scene<'_>) -> Result<()> {
    listening(scene, |scene| {
        scene.cluster("-t VIP:2121 -s rr", "-m")?;
        let flow = open(scene, 2121)?;
        only(&client(scene, &flow, ACK, (1001, 5000), "PASV\r\n")?, 4)?;
        let reply = answer(&flow);
        let is = said(only_to_client(&server(scene, &flow, ACK, (5000, 1007), &reply)?)?)?;
        ensure!(is == reply, "{is:?}");
        scene.conns(1).map(drop)
    })
}

fn s174_direct_routing_leaves_what_is_said(scene: &mut Scene<'_>) -> Result<()> {
    listening(scene, |scene| {
        scene.cluster("-t VIP:21 -s rr", "-g")?;
        let flow = scene.flow(21);
        only(&scene.client(flow.syn())?, 4)?;
        only(&client(scene, &flow, ACK, (1001, 5000), "")?, 4)?;
        for command in ["PASV\r\n".to_owned(), format!("PORT {}\r\n", address(flow.cip, 1801))] {
            let is = said(only(&client(scene, &flow, ACK, (1001, 5000), &command)?, 4)?)?;
            ensure!(is == command, "{is:?}");
        }
        scene.conns(1).map(drop)
    })
}

fn s027_other_ports_of_an_ftp_service_without_persistence(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:21 -s rr", "-m")?;
    for number in 2..=4 {
        scene.tool(&format!("-e -t VIP:21 -r RS{number} -m -w 0"))?;
    }
    // A reset of the director's own.
    only_to_client(&scene.client(scene.flow(5000).syn())?).map(drop)
}
