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
