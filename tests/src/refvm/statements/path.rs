//! §13.2: the packet path.

use anyhow::{Context as _, Result, ensure};
use rvs_config::Setting;
use rvs_netlink::{Prefix, Route};
use rvs_wire::builder::Payload;
use rvs_wire::icmp;

use crate::refvm::differences::VIP_NEED_NOT_BE_LOCAL;
use crate::refvm::frames::{self, FIN_ACK, Family, Flow, SYN_ACK, Trouble};
use crate::refvm::scene::{Scene, nothing, only, only_to_client};
use crate::refvm::{tests, tests_of_both};

tests![s037_an_address_that_is_not_the_directors];

tests_of_both![
    s020_no_service,
    s021_an_ack_without_a_connection,
    s022_a_reset_without_a_connection,
    s023_a_syn_ack_is_a_syn,
    s025_no_destination_for_a_syn,
    s026_no_destination_for_a_datagram,
    s028_a_service_without_destinations,
    s029_source_port_20_is_not_scheduled,
    s030_a_deleted_destination_gets_nothing,
    s032_a_destination_that_comes_back,
    s033_the_last_service_is_deleted,
    s034_one_of_two_services_is_deleted,
    s036_another_protocol,
    s038_a_syn_reuses_time_wait,
    s039_a_syn_reuses_time_wait_without_reuse_mode,
    s040_a_syn_in_fin_wait_goes_to_the_same_destination,
    s041_a_syn_in_established_is_one_more_packet,
    s045_a_datagram_of_a_destination_without_a_connection,
    s047_echo_to_the_virtual_address,
];

/// The director's own stack refuses.
fn resets(scene: &mut Scene<'_>, frame: Vec<u8>) -> Result<()> {
    let seen = scene.client(frame)?;
    let frame = only_to_client(&seen)?;
    ensure!(frames::is_reset(frames::packet(frame)), "expected a reset: {}", frames::describe(frame));
    Ok(())
}

fn s020_no_service(scene: &mut Scene<'_>) -> Result<()> {
    let syn = scene.flow(80).syn();
    resets(scene, syn)
}

fn s021_an_ack_without_a_connection(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let ack = scene.flow(80).ack();
    resets(scene, ack)
}

fn s022_a_reset_without_a_connection(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let seen = scene.client(scene.flow(80).rst())?;
    nothing(&seen)
}

fn s023_a_syn_ack_is_a_syn(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let seen = scene.client(scene.flow(80).tcp(SYN_ACK))?;
    only(&seen, 4)?;
    scene.state("SYN_RECV", 60)
}

/// All are told that nobody serves them.
fn no_destination(scene: &mut Scene<'_>, frame: &[u8]) -> Result<()> {
    let seen = scene.client(frame.to_vec())?;
    let out = frames::packet(only_to_client(&seen)?);
    let (kind, _, quoted) = frames::error(out).context("no error")?;
    ensure!(kind == Trouble::Port.message(scene.family).0 && quoted == frames::packet(frame), "{seen:?}");
    ensure!(frames::addresses(out).map(|(from, _)| from) == Some(scene.vip), "{seen:?}");
    scene.conns(0).map(drop)
}

fn s025_no_destination_for_a_syn(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m -w 0")?;
    no_destination(scene, &scene.flow(80).syn())
}

fn s026_no_destination_for_a_datagram(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-u VIP:53 -s rr", "-m -w 0")?;
    no_destination(scene, &scene.flow(53).udp(b"question"))?;
    // More than an error quotes.
    let long = scene.flow(53).udp(&[7; 1300]);
    let seen = scene.client(long.clone())?;
    let out = frames::packet(only_to_client(&seen)?);
    let (_, _, quoted) = frames::error(out).context("no error")?;
    let len = if scene.family == Family::V4 { 576 } else { 1280 };
    ensure!(out.len() == len && frames::packet(&long).starts_with(quoted), "{seen:?}");
    Ok(())
}

fn s028_a_service_without_destinations(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr\n-A --sctp-service VIP:80 -s rr")?;
    no_destination(scene, &scene.flow(80).syn())?;
    no_destination(scene, &scene.flow(80).sctp(&[rvs_wire::sctp::chunk::INIT]))
}

fn s029_source_port_20_is_not_scheduled(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let syn = scene.flow(80).with_client_port(20).syn();
    resets(scene, syn)
}

/// A NAT connection to .4 that is ESTABLISHED.
fn established(scene: &mut Scene<'_>) -> Result<Flow> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    for frame in [flow.syn(), flow.ack()] {
        let seen = scene.client(frame)?;
        only(&seen, 4)?;
    }
    Ok(flow)
}

fn s030_a_deleted_destination_gets_nothing(scene: &mut Scene<'_>) -> Result<()> {
    let flow = established(scene)?;
    scene.rules("-d -t VIP:80 -r RS4")?;
    let seen = scene.client(flow.ack())?;
    nothing(&seen)?;
    scene.conns(1).map(drop)
}

fn s032_a_destination_that_comes_back(scene: &mut Scene<'_>) -> Result<()> {
    let flow = established(scene)?;
    scene.rules("-d -t VIP:80 -r RS4")?;
    let seen = scene.client(flow.ack())?;
    nothing(&seen)?;
    scene.rules("-a -t VIP:80 -r RS4 -m")?;
    let seen = scene.client(flow.ack())?;
    only(&seen, 4)?;
    scene.counts(&[(4, 1, 0)])
}

fn s033_the_last_service_is_deleted(scene: &mut Scene<'_>) -> Result<()> {
    let flow = established(scene)?;
    scene.rules("-D -t VIP:80")?;
    resets(scene, flow.ack())
}

fn s034_one_of_two_services_is_deleted(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:81 -s rr")?;
    let flow = established(scene)?;
    scene.rules("-D -t VIP:80")?;
    let seen = scene.client(flow.ack())?;
    nothing(&seen)
}

fn s036_another_protocol(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(80);
    let seen = scene.client(flow.frame(&flow.ip(), Payload::Other(47, vec![0; 24])))?;
    let (kind, ..) = frames::error(frames::packet(only_to_client(&seen)?)).context("no error")?;
    ensure!(kind == Trouble::Protocol.message(scene.family).0, "{seen:?}");
    Ok(())
}

fn s037_an_address_that_is_not_the_directors(scene: &mut Scene<'_>) -> Result<()> {
    let elsewhere = std::net::IpAddr::from([203, 0, 113, 5]);
    let route = Route::to(Prefix::host(elsewhere)).via(scene.family.server(5));
    scene.world.directors(|director| Ok(director.netlink()?.add_route(&route)?))?;
    scene.cluster("-t 203.0.113.5:80 -s rr", "-g")?;
    let mut flow = scene.flow(80);
    flow.vip = elsewhere;
    let result = scene.client_differs(flow.syn(), &VIP_NEED_NOT_BE_LOCAL);
    scene.world.directors(|director| Ok(director.netlink()?.delete_route(&route)?))?;
    let seen = result?;
    let out = frames::packet(only(&seen, 5)?);
    ensure!(frames::addresses(out) == Some((flow.cip, elsewhere)), "{seen:?}");
    Ok(())
}

/// A DR connection to .4 in TIME_WAIT.
fn time_wait(scene: &mut Scene<'_>) -> Result<Flow> {
    scene.cluster("-t VIP:80 -s rr", "-g")?;
    let flow = scene.flow(80);
    for frame in [flow.syn(), flow.fin()] {
        let seen = scene.client(frame)?;
        only(&seen, 4)?;
    }
    scene.state("TIME_WAIT", 120)?;
    Ok(flow)
}

fn s038_a_syn_reuses_time_wait(scene: &mut Scene<'_>) -> Result<()> {
    let flow = established(scene)?;
    scene.server(flow.at(4, 80).tcp(FIN_ACK))?;
    scene.client(flow.fin())?;
    scene.state("TIME_WAIT", 120)?;
    let seen = scene.client(flow.syn())?;
    only(&seen, 3)?;
    scene.state("SYN_RECV", 60)?;
    scene.counts(&[(3, 1, 0)])
}

fn s039_a_syn_reuses_time_wait_without_reuse_mode(scene: &mut Scene<'_>) -> Result<()> {
    let flow = time_wait(scene)?;
    let seen = scene.with(Setting::ConnReuseMode, 0, |scene| scene.client(flow.syn()))?;
    only(&seen, 4)?;
    scene.state("SYN_RECV", 60)
}

fn s040_a_syn_in_fin_wait_goes_to_the_same_destination(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-g")?;
    let flow = scene.flow(80);
    for frame in [flow.syn(), flow.ack(), flow.fin()] {
        let seen = scene.client(frame)?;
        only(&seen, 4)?;
    }
    scene.state("FIN_WAIT", 120)?;
    let seen = scene.client(flow.syn())?;
    only(&seen, 4)?;
    scene.state("SYN_RECV", 60)
}

fn s041_a_syn_in_established_is_one_more_packet(scene: &mut Scene<'_>) -> Result<()> {
    let flow = established(scene)?;
    let seen = scene.client(flow.syn())?;
    only(&seen, 4)?;
    scene.state("ESTABLISHED", 900)
}

fn s045_a_datagram_of_a_destination_without_a_connection(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-u VIP:53 -s rr", "-m")?;
    let seen = scene.server(scene.flow(53).at(4, 53).udp(b"answer"))?;
    let out = frames::packet(only_to_client(&seen)?);
    ensure!(frames::addresses(out).map(|(from, _)| from) == Some(scene.family.server(4)), "{seen:?}");
    Ok(())
}

fn s047_echo_to_the_virtual_address(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    let flow = scene.flow(0);
    let rest = b"\0\x07\0\x07hello".to_vec();
    let (echo, reply) = match scene.family {
        Family::V4 => (Payload::Icmp(icmp::v4::ECHO, 0, rest), icmp::v4::ECHO_REPLY),
        Family::V6 => (Payload::Icmp6(icmp::v6::ECHO, 0, rest), icmp::v6::ECHO_REPLY),
    };
    let seen = scene.client(flow.frame(&flow.ip(), echo))?;
    let answer = frames::packet(only_to_client(&seen)?);
    ensure!(frames::payload(answer).first() == Some(&reply), "{seen:?}");
    Ok(())
}
