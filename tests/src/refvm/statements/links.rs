//! VLANs and bonds, beyond §13: packets come in and leave by devices on top of others. They are here, and not among the tests
//! of traffic, because this kernel has such devices.

use anyhow::{Result, ensure};

use super::super::links::{BOND_PORTS, Family, Layer, Method, Rig, Tags, Uplink, Way};
use super::super::scene::Scene;
use super::super::tests;

tests![vlans_under_tc, vlans_under_xdp, vlans_whose_tags_xdp_does_not_see, bonds_under_tc];

/// From each layer to each, by each method; in IPv6 from each to the same.
fn all_ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for family in Family::ALL {
        for method in Method::ALL {
            for client in Layer::ALL {
                let ways_from = Layer::ALL.map(|server| Way { family, method, client, server });
                ways.extend(ways_from.into_iter().filter(|way| family == Family::V4 || way.server == client));
            }
        }
    }
    ways
}

/// Connections by each way; then whether a program below the VLANs' devices saw tags.
fn vlans(attach: &str, tags: Tags) -> Result<bool> {
    let rig = Rig::new(attach, Uplink::Cable, tags)?;
    for device in ["clients", "servers"] {
        ensure!(rig.attached(device)? == attach, "{device} {}", rig.attached(device)?);
        for tagged in [".100", ".200", ".200.7"] {
            let device = format!("{device}{tagged}");
            ensure!(rig.attached(&device)? == "tc", "{device} {}", rig.attached(&device)?);
        }
    }
    let ways = all_ways();
    rig.add(&ways)?;
    ways.into_iter().try_for_each(|way| rig.exchange(way))?;
    Ok(rig.tagged()? > 0)
}

fn vlans_under_tc(_: &mut Scene<'_>) -> Result<()> {
    ensure!(vlans("tc", Tags::Aside)?, "TC sees no tags that are beside frames");
    Ok(())
}

fn vlans_under_xdp(_: &mut Scene<'_>) -> Result<()> {
    ensure!(vlans("xdp", Tags::InFrames)?, "no tags were in frames");
    Ok(())
}

/// XDP takes those frames for untagged ones; where they go is the same. What goes out by a VLAN does so by TC.
fn vlans_whose_tags_xdp_does_not_see(_: &mut Scene<'_>) -> Result<()> {
    vlans("xdp", Tags::Aside).map(drop)
}

/// Whichever of its cables a bond uses, and in a VLAN on top of it.
fn bonds_under_tc(_: &mut Scene<'_>) -> Result<()> {
    let rig = Rig::new("tc", Uplink::Bond, Tags::Aside)?;
    let mut ways = Vec::new();
    for family in Family::ALL {
        for method in [Method::Nat, Method::Dr] {
            let way = |client| Way { family, method, client, server: Layer::Untagged };
            ways.extend([way(Layer::Untagged), way(Layer::Vlan)]);
        }
    }
    rig.add(&ways)?;
    for gone in BOND_PORTS {
        rig.set_port(gone, "down")?;
        for way in &ways {
            rig.exchange(*way)?;
        }
        rig.set_port(gone, "up")?;
    }
    Ok(())
}
