//! §13.9: the tool, and the forms of its listings.

use anyhow::{Result, ensure};

use crate::refvm::differences::{
    NO_PERSISTENCE, NO_PERSISTENCE_MASKS, NO_THRESHOLDS, RESTORE_ALL_OR_NOTHING, RESTORE_NAMES_THE_LINE,
};
use crate::refvm::scene::Scene;
use crate::refvm::tests;

tests![
    s146_save_and_restore,
    s148_restore_ends_at_a_comment,
    s149_restore_with_a_refused_line,
    s150_options_that_conflict,
    s151_options_that_do_not_belong,
    s152_port_0,
    s153_deleting_a_dr_server_by_another_port,
    s154_gue_without_a_port,
    usage_errors,
    listings_look_the_same,
    what_this_version_refuses,
];

/// Services of each kind that this version has.
const RULES: &str = "-A -t VIP:80 -s rr\n-a -t VIP:80 -r 192.168.9.2 -m -w 5\n-a -t VIP:80 -r 192.168.9.3:8080 -m\n\
    -A -t VIP:443 -s wlc\n-a -t VIP:443 -r 10.9.0.2 -g -w 0\n-a -t VIP:443 -r 172.16.0.2 -i -w 65535\n\
    -A -u VIP:53 -s sh -b sh-port\n-a -u VIP:53 -r 192.168.9.2:5353 -m\n\
    -A -u VIP:54 -s sh -b sh-fallback,sh-port\n-A -t VIP:81 -s lc\n-A -t 9.9.9.9:1 -s wrr\n\
    -A -t VIP:82 -s rr\n-a -t VIP:82 -r 192.168.9.2 -i --tun-type gue --tun-port 5555\n\
    -a -t VIP:82 -r 192.168.9.3 -i --tun-type gue --tun-port 6080 --tun-remcsum -w 2\n\
    -a -t VIP:82 -r 192.168.9.4 -i --tun-type gre --tun-csum\n-a -t VIP:82 -r [2001:db8:9::2]:82 -i\n\
    -A --sctp-service VIP:3868 -s rr\n-a --sctp-service VIP:3868 -r 192.168.9.2 -m\n\
    -A -t [2001:db8::1]:80 -s wlc\n-a -t [2001:db8::1]:80 -r [2001:db8:9::2]:8080 -m\n\
    -a -t [2001:db8::1]:80 -r 192.168.9.2 -i --tun-type gre\n-a -t [2001:db8::1]:80 -r 2001:db8:9::3\n";

fn s146_save_and_restore(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules(RULES)?;
    let saved = scene.listing("-S -n", |text| text.contains("sh-fallback"))?;
    scene.tool("-C")?;
    scene.listing("-S -n", str::is_empty)?;
    scene.rules(&saved)?;
    scene.listing("-S -n", |text| text == saved).map(drop)
}

fn s148_restore_ends_at_a_comment(scene: &mut Scene<'_>) -> Result<()> {
    let ran = scene.tool_differs("-R", "# a comment\n-A -t VIP:80 -s rr\n", &RESTORE_NAMES_THE_LINE)?;
    ensure!(ran.status == Some(255), "{ran:?}");
    scene.listing("-S -n", str::is_empty).map(drop)
}

fn s149_restore_with_a_refused_line(scene: &mut Scene<'_>) -> Result<()> {
    let rules = "-A -t VIP:80 -s rr\n-A -t VIP:80 -s rr\n-A -t VIP:81 -s rr\n";
    let ran = scene.tool_differs("-R", rules, &RESTORE_ALL_OR_NOTHING)?;
    ensure!(ran.status == Some(0) && ran.stderr == "Service already exists\n", "{ran:?}");
    Ok(())
}

fn s150_options_that_conflict(scene: &mut Scene<'_>) -> Result<()> {
    scene.refused(
        "-L -c -t VIP:80",
        2,
        "The option 'service-address' conflicts with the 'connection' option in the 'list' command",
    )
}

fn s151_options_that_do_not_belong(scene: &mut Scene<'_>) -> Result<()> {
    scene.refused("-A -E", 2, "invalid option `-E'")?;
    scene.refused("-C -n", 2, "Illegal 'numeric' option with the 'flush' command")
}

fn s152_port_0(scene: &mut Scene<'_>) -> Result<()> {
    scene.refused("-A -t VIP", 2, "Zero port specified for non-persistent service")
}

fn s153_deleting_a_dr_server_by_another_port(scene: &mut Scene<'_>) -> Result<()> {
    scene.cluster("-t VIP:80 -s rr", "-g")?;
    scene.refused("-d -t VIP:80 -r 192.168.9.2:8080", 255, "No such destination")
}

fn s154_gue_without_a_port(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr")?;
    scene.refused(
        "-a -t VIP:80 -r 192.168.9.2 -i --tun-type gue",
        2,
        "You need to supply the 'tun-port' option for the 'gue' tunnel type",
    )
}

fn usage_errors(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr")?;
    let calls = [
        "-A",
        "-A -t",
        "-A -t nonsense",
        "-A -t 80",
        "-A -t VIP:99999",
        "-A -t VIP:80 -s",
        "-A -t VIP:81 -w 1",
        "-a -t VIP:80",
        "-a -t VIP:80 -r nonsense",
        "-a -t VIP:80 -r 192.168.9.2 -w x",
        "-a -t VIP:80 -r 192.168.9.2 -w -1",
        "-a -t VIP:80 -r 192.168.9.2 -m -i",
        "-a -t VIP:80 -r 192.168.9.2 -s rr",
        "-L -c --stats",
        "-L --timeout --rate",
        "-L extra",
        "--set 1 2",
        "--set 1 2 x",
        "--set 1 2 9999999",
        "--nonsense",
        "-q",
        "-S -t VIP:80",
        "-Z -n",
        "-D",
        "-E -s rr",
        "-e -t VIP:80",
        "-t VIP:80",
        "-A -t VIP:80 -u VIP:80",
        "-A -f 0",
        "-A -6 -f 1",
        "-A -t VIP:81 -b sh-port -s rr",
        "-A -t VIP:81 -o",
    ];
    let mut wrong = Vec::new();
    for call in calls {
        if let Err(error) = scene.tool(call) {
            wrong.push(format!("{error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn listings_look_the_same(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules(RULES)?;
    scene.client(scene.flow(80).syn())?;
    let forms = [
        "-Ln",
        "-ln",
        "-Ln --stats",
        "-Ln --rate",
        "-Ln --stats --exact",
        "-Ln --rate --exact",
        "-Ln -t VIP:80",
        "-Ln -u VIP:53 --stats",
        "-Ln --thresholds",
        "-Ln --persistent-conn",
        "-Ln --tun-info",
        "-S -n",
        "-L --daemon",
        "-L --timeout",
    ];
    let mut wrong = Vec::new();
    for form in forms {
        if let Err(error) = scene.listing(form, |_| true) {
            wrong.push(format!("{error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn what_this_version_refuses(scene: &mut Scene<'_>) -> Result<()> {
    scene.rules("-A -t VIP:80 -s rr")?;
    scene.tool_differs("-A -t VIP:81 -M 255.0.0.0", "", &NO_PERSISTENCE_MASKS)?;
    scene.tool_differs("-A -t VIP:82 -p", "", &NO_PERSISTENCE)?;
    scene.tool_differs("-a -t VIP:80 -r 192.168.9.2 -x 10", "", &NO_THRESHOLDS)?;
    Ok(())
}
