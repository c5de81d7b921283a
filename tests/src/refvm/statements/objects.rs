//! §13.1: objects and errors.

use anyhow::{Result, ensure};

use crate::refvm::scene::Scene;
use crate::refvm::tests;

tests![
    s001_a_service_twice,
    s002_a_service_twice_with_an_unknown_scheduler,
    s003_an_unknown_scheduler,
    s004_a_missing_service,
    s005_listing_a_missing_service,
    s006_a_destination_of_a_missing_service,
    s007_a_destination_twice,
    s008_a_missing_destination,
    s010_a_destination_that_is_not_unicast,
    s014_nosort_lists_the_newest_first,
    s015_a_listing_is_sorted,
    ipv6_destinations_that_are_not_unicast,
    only_tunnels_lead_to_the_other_family,
    an_edit_replaces_the_tunnel,
    sctp_services,
];

fn s001_a_service_twice(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr")?;
    scene.refused("-A -t VIP:80 -s rr", 255, "Service already exists")
}

fn s002_a_service_twice_with_an_unknown_scheduler(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr")?;
    scene.refused("-A -t VIP:80 -s nonsense", 255, "Service already exists")
}

fn s003_an_unknown_scheduler(scene: &mut Scene<'_>) -> Result<()> {
    scene.refused("-A -t VIP:80 -s nonsense", 255, "Scheduler or persistence engine not found")
}

fn s004_a_missing_service(scene: &mut Scene<'_>) -> Result<()> {
    for command in ["-E -t VIP:80 -s rr", "-D -t VIP:80", "-Z -t VIP:80"] {
        scene.refused(command, 255, "No such service")?;
    }
    Ok(())
}

fn s005_listing_a_missing_service(scene: &mut Scene<'_>) -> Result<()> {
    scene.refused("-L -n -t VIP:80", 1, "No such service")
}

fn s006_a_destination_of_a_missing_service(scene: &mut Scene<'_>) -> Result<()> {
    for command in ["-a", "-e", "-d"] {
        scene.refused(&format!("{command} -t VIP:80 -r 192.168.9.2"), 255, "Service not defined")?;
    }
    Ok(())
}

fn s007_a_destination_twice(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    scene.refused("-a -t VIP:80 -r 192.168.9.2 -m -w 7", 255, "Destination already exists")?;
    scene.listing("-Ln", |text| !text.contains(" 7 ")).map(drop)
}

fn s008_a_missing_destination(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr")?;
    for command in ["-e", "-d"] {
        scene.refused(&format!("{command} -t VIP:80 -r 192.168.9.2"), 255, "No such destination")?;
    }
    Ok(())
}

fn s010_a_destination_that_is_not_unicast(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr")?;
    let text = "Invalid operation.  Possibly wrong module version, address not unicast, ...";
    scene.refused("-a -t VIP:80 -r 224.0.0.1", 255, text)?;
    scene.listing("-S -n", |text| text.lines().count() == 1).map(drop)
}

fn last_bytes(listing: &str) -> Vec<&str> {
    let servers = listing.lines().filter_map(|line| line.strip_prefix("  -> 192.168.9."));
    servers.filter_map(|rest| rest.split(':').next()).collect()
}

fn s014_nosort_lists_the_newest_first(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    scene.listing("-Ln --nosort", |text| last_bytes(text) == ["4", "3", "2"]).map(drop)
}

fn s015_a_listing_is_sorted(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-m")?;
    scene.listing("-Ln", |text| last_bytes(text) == ["2", "3", "4"])?;
    scene.rules("-a -t VIP:80 -r 10.200.0.2 -m")?;
    let listing = scene.listing("-Ln", |text| text.contains("10.200.0.2"))?;
    let position = |text| listing.find(text);
    ensure!(position("192.168.9.2") < position("10.200.0.2"), "{listing}");
    Ok(())
}

fn ipv6_destinations_that_are_not_unicast(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t [2001:db8::1]:80 -s rr")?;
    let message = "Invalid operation.  Possibly wrong module version, address not unicast, ...";
    for address in ["fe80::9", "ff02::9", "::", "::ffff:10.0.0.1"] {
        scene.refused(&format!("-a -t [2001:db8::1]:80 -r {address} -g"), 255, message)?;
    }
    scene.rules("-a -t [2001:db8::1]:80 -r fd00::9 -m\n-a -t [2001:db8::1]:80 -r [2001:db8:9::2]:81 -m")?;
    scene.listing("-Ln", |text| text.contains("[fd00::9]:80")).map(drop)
}

fn only_tunnels_lead_to_the_other_family(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t [2001:db8::1]:80 -s rr\n-A -t VIP:80 -s rr")?;
    let message = "Different address family is allowed only for tunneling servers";
    for service in ["-t [2001:db8::1]:80 -r 192.168.9.2", "-t VIP:80 -r 2001:db8:9::2"] {
        for method in ["-m", "-g", ""] {
            scene.refused(format!("-a {service} {method}").trim_end(), 2, message)?;
        }
        scene.rules(&format!("-a {service} -i"))?;
    }
    scene.listing("-Ln", |text| text.matches("Tunnel").count() == 2)?;
    scene.tool("-d -t VIP:80 -r 2001:db8:9::2")?;
    scene.listing("-S -n", |text| !text.contains("2001:db8:9::2")).map(drop)
}

/// Without options for the tunnel it is IP in IP again, and without `-i` none.
fn an_edit_replaces_the_tunnel(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules(
        "-A -t VIP:80 -s rr\n-a -t VIP:80 -r 192.168.9.2 -i --tun-type gue --tun-port 5555 --tun-csum",
    )?;
    let edits = [
        ("-i --tun-type gue --tun-port 6080 --tun-remcsum", "gue:6080:r+c"),
        ("-i --tun-type gre --tun-csum", "gre:+c"),
        ("-i", "ipip"),
        ("-i --tun-type gre", "gre:-c"),
        ("-m", "n/a"),
    ];
    for (options, expected) in edits {
        scene.tool(&format!("-e -t VIP:80 -r 192.168.9.2 {options}"))?;
        scene.listing("-Ln --tun-info", |text| text.contains(expected))?;
    }
    Ok(())
}

fn sctp_services(scene: &mut Scene<'_>) -> Result<()> {
    scene.refused("-A --sctp-service VIP -s rr", 2, "Zero port specified for non-persistent service")?;
    let message = "One-Packet Scheduling is only for UDP virtual services";
    scene.refused("-A --sctp-service VIP:3868 -o", 2, message)?;
    scene.rules("-A --sctp-service VIP:3868 -s rr\n-a --sctp-service VIP:3868 -r 192.168.9.2 -m")?;
    scene.refused("-A --sctp-service VIP:3868 -s rr", 255, "Service already exists")?;
    scene.listing("-Ln --sctp-service VIP:3868", |text| text.contains("SCTP"))?;
    scene.listing("-L --sctp-service VIP:3868 -n --stats", |text| text.contains("3868")).map(drop)
}
