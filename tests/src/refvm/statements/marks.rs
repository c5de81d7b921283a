//! Services by firewall mark. IPVS's packets get theirs from the kernel's firewall, rvs's from the classifier.

use anyhow::{Result, ensure};
use rvs_wire::builder::{Payload, Udp};
use rvs_wire::tcp;

use crate::refvm::frames::{self, Family, SYN_ACK};
use crate::refvm::scene::{Scene, only, only_to_client};
use crate::refvm::{tests, tests_of_both};

tests![s016_marks_of_both_families, marks_are_listed_behind_addresses];

tests_of_both![
    s071_a_mark_maps_ports_without_persistence,
    a_mark_comes_before_the_address,
    a_mark_of_no_service_falls_through,
    a_connection_outlives_its_mark,
    a_mark_covers_ports_and_protocols,
    direct_routing_by_mark,
    fragments_by_mark_in_any_order,
];

/// The mark of a test's packets: its own.
fn mark(scene: &Scene<'_>) -> u32 {
    1000 + u32::from(scene.flow(0).cport)
}

/// The service of that mark, as `ipvsadm` has it.
pub(super) fn service(scene: &Scene<'_>) -> String {
    format!("-f {}{}", mark(scene), if scene.family == Family::V4 { "" } else { " -6" })
}

/// A service by mark with server .4 at that port, and packets to the virtual address that have it.
fn marked(scene: &Scene<'_>, port: u16, method: &str) -> Result<()> {
    let name = service(scene);
    scene.rules(&format!("-A {name} -s rr\n-a {name} -r RS4:{port} {method}"))?;
    scene.world.mark(scene.vip, mark(scene))
}

fn end(scene: &Scene<'_>) -> Result<()> {
    scene.world.mark(scene.vip, 0)
}

/// A first packet arrives at that port of a server.
fn arrives(scene: &mut Scene<'_>, vport: u16, server: u8, port: u16) -> Result<()> {
    let flow = scene.flow(vport);
    let seen = scene.client(flow.syn())?;
    let out = frames::packet(only(&seen, server)?);
    ensure!(frames::ports(out) == Some((flow.cport, port)), "{seen:?}");
    Ok(())
}

fn s016_marks_of_both_families(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -f 7 -s rr\n-A -f 7 -6 -s rr")?;
    let listed = scene.listing("-Ln", |text| text.contains("FWM  7 IPv6 rr"))?;
    ensure!(listed.contains("FWM  7 rr"), "{listed}");
    scene.refused("-A -f 7", 255, "Service already exists")?;
    scene.tool("-D -f 7 -6").map(drop)
}

fn marks_are_listed_behind_addresses(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules(
        "-A -f 9 -s rr\n-A -f 8 -6 -s wlc\n-A -t VIP:80 -s rr\n-A -f 8 -s wrr\n-a -f 8 -r RS4:80 -g\n\
         -a -f 9 -r RS4:80 -m -w 3\n-a -f 9 -r RS3 -i",
    )?;
    for form in
        ["-Ln", "-L", "-Ln --stats", "-Ln --rate", "-Ln --tun-info", "-S -n", "-S", "-Ln -f 8", "-Ln -f 8 -6"]
    {
        scene.listing(form, |_| true)?;
    }
    Ok(())
}

fn s071_a_mark_maps_ports_without_persistence(scene: &mut Scene<'_>) -> Result<()> {
    marked(scene, 99, "-m")?;
    arrives(scene, 6001, 4, 99)?;
    let name = service(scene);
    scene.rules(&format!("-d {name} -r RS4:99\n-a {name} -r RS4:0 -m"))?;
    arrives(scene, 6002, 4, 6002)?;
    end(scene)
}

fn a_mark_comes_before_the_address(scene: &mut Scene<'_>) -> Result<()> {
    marked(scene, 99, "-m")?;
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS3:80 -m")?;
    arrives(scene, 80, 4, 99)?;
    end(scene)
}

fn a_mark_of_no_service_falls_through(scene: &mut Scene<'_>) -> Result<()> {
    marked(scene, 99, "-m")?;
    scene.rules("-A -t VIP:80 -s rr\n-a -t VIP:80 -r RS3:81 -m")?;
    scene.world.mark(scene.vip, mark(scene) + 1_000_000)?;
    arrives(scene, 80, 3, 81)?;
    end(scene)
}

fn a_connection_outlives_its_mark(scene: &mut Scene<'_>) -> Result<()> {
    marked(scene, 99, "-m")?;
    arrives(scene, 6001, 4, 99)?;
    end(scene)?;
    let flow = scene.flow(6001);
    let seen = scene.server(flow.at(4, 99).tcp(SYN_ACK))?;
    let out = frames::packet(only_to_client(&seen)?);
    ensure!(frames::ports(out) == Some((6001, flow.cport)), "{seen:?}");
    let seen = scene.client(flow.tcp(tcp::ACK))?;
    ensure!(frames::ports(frames::packet(only(&seen, 4)?)) == Some((flow.cport, 99)), "{seen:?}");
    Ok(())
}

fn a_mark_covers_ports_and_protocols(scene: &mut Scene<'_>) -> Result<()> {
    marked(scene, 0, "-m")?;
    arrives(scene, 80, 4, 80)?;
    arrives(scene, 443, 4, 443)?;
    let flow = scene.flow(53);
    let seen = scene.client(flow.udp(b"a question"))?;
    let out = frames::packet(only(&seen, 4)?);
    ensure!(frames::ports(out) == Some((flow.cport, 53)), "{seen:?}");
    scene.counts(&[(4, 2, 1)])?;
    end(scene)
}

fn direct_routing_by_mark(scene: &mut Scene<'_>) -> Result<()> {
    marked(scene, 0, "-g")?;
    arrives(scene, 8080, 4, 8080)?;
    end(scene)
}

/// Before there is a connection nothing but the mark tells that fragments behind the first are for a service.
fn fragments_by_mark_in_any_order(scene: &mut Scene<'_>) -> Result<()> {
    marked(scene, 0, "-m")?;
    for (id, order) in [(0x400, [2, 1, 0]), (0x401, [1, 0, 2])] {
        let flow = scene.flow(6000 + id);
        let payload = Payload::Udp(Udp::new(flow.cport, flow.vport, &[7; 1200]));
        let frames = flow.in_frames(&flow.ip().fragments(&payload, 480, id));
        let sent: Vec<_> = order.iter().filter_map(|index| frames.get(*index).cloned()).collect();
        let seen = scene.clients(&sent)?;
        ensure!(seen.to_servers.len() == 3 && seen.to_clients.is_empty(), "{order:?}: {seen:?}");
    }
    end(scene)
}
