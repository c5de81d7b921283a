//! ipvs.md §2.1 and §2.7: fragments. IPVS reassembles a packet before it looks at it, and sends it in fragments of the same
//! sizes; rvs sends each on. What leaves is the same, in whatever order the fragments come.

use anyhow::{Result, ensure};
use rvs_wire::builder::{Payload, Udp};

use crate::refvm::scene::Scene;
use crate::refvm::tests_of_both;

tests_of_both![fragments_in_any_order, fragments_of_replies_in_any_order, fragments_without_the_first];

/// Bytes of the transport part in a fragment.
const SIZE: usize = 480;
/// Bytes of data: three fragments.
const LEN: usize = 1200;
/// Orders in which they come.
const ORDERS: [[usize; 3]; 4] = [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]];

fn picked(frames: &[Vec<u8>], order: &[usize]) -> Vec<Vec<u8>> {
    order.iter().filter_map(|index| frames.get(*index).cloned()).collect()
}

fn services(scene: &Scene<'_>) -> Result<()> {
    scene.rules(
        "-A -u VIP:53 -s rr\n-a -u VIP:53 -r RS4:5353 -m\n-A -u VIP:54 -s rr\n-a -u VIP:54 -r RS4:54 -g\n",
    )
}

fn fragments_in_any_order(scene: &mut Scene<'_>) -> Result<()> {
    services(scene)?;
    let mut id = 0x100;
    for port in [53, 54] {
        let flow = scene.flow(port);
        for order in ORDERS {
            id += 1;
            let payload = Payload::Udp(Udp::new(flow.cport, flow.vport, &[7; LEN]));
            let frames = flow.ip().fragments(&payload, SIZE, id);
            let frames = flow.in_frames(&frames);
            let seen = scene.clients(&picked(&frames, &order))?;
            ensure!(seen.to_servers.len() == 3 && seen.to_clients.is_empty(), "{order:?}: {seen:?}");
        }
    }
    Ok(())
}

fn fragments_of_replies_in_any_order(scene: &mut Scene<'_>) -> Result<()> {
    services(scene)?;
    let flow = scene.flow(53);
    scene.client(flow.udp(b"question"))?;
    let replies = flow.at(4, 5353);
    for (id, order) in (0x200..).zip(ORDERS) {
        let payload = Payload::Udp(Udp::new(5353, flow.cport, &[7; LEN]));
        let frames = replies.in_frames(&replies.ip().fragments(&payload, SIZE, id));
        let seen = scene.servers_send(&picked(&frames, &order))?;
        ensure!(seen.to_clients.len() == 3 && seen.to_servers.is_empty(), "{order:?}: {seen:?}");
    }
    Ok(())
}

fn fragments_without_the_first(scene: &mut Scene<'_>) -> Result<()> {
    services(scene)?;
    let flow = scene.flow(53);
    let payload = Payload::Udp(Udp::new(flow.cport, flow.vport, &[7; LEN]));
    let frames = flow.in_frames(&flow.ip().fragments(&payload, SIZE, 0x300));
    let seen = scene.clients(&picked(&frames, &[1, 2]))?;
    ensure!(seen.to_clients.is_empty() && seen.to_servers.is_empty(), "{seen:?}");
    Ok(())
}
