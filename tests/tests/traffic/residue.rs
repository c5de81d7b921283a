//! What tests, demo and directors leave behind: nothing.

use rvs_testkit::Residue;

use crate::method::{Attach, Method};
use crate::stage::Stage;

/// Namespaces, pins, cgroups and processes with one of these words in their names, by anybody.
pub(crate) fn left(words: &[&str]) -> Vec<String> {
    let Residue { namespaces, pins, cgroups, processes } = Residue::scan();
    let pins = pins.iter().chain(&cgroups).map(|path| path.display().to_string());
    let all = namespaces.into_iter().chain(pins).chain(processes.into_iter().map(|(_, command)| command));
    all.filter(|name| words.iter().any(|word| name.contains(word))).collect()
}

fn is_taken_down(kill: bool, attach: Attach) {
    let mut stage = Stage::new(Method::Tun, attach);
    let (instance, folder) = (stage.daemon.instance().to_owned(), stage.daemon.folder().clone());
    let name = stage.cluster.client().netns().name().to_owned();
    let cluster = name.strip_suffix("client").unwrap();
    // There is something to be found.
    assert_eq!(left(&[cluster]).len(), 6, "client, director, fabric and three servers");
    assert!(left(&[&instance]).len() > 10, "maps, links and a process: {:?}", left(&[&instance]));
    stage.request(12);
    if kill {
        stage.daemon.kill();
    }
    drop(stage);
    assert_eq!(left(&[cluster, &instance]), [""; 0]);
    assert!(!folder.exists());
}

#[test]
fn a_living_director_is_taken_down() {
    is_taken_down(false, Attach::Tc);
}

#[test]
fn what_a_killed_director_left_is_taken_down() {
    is_taken_down(true, Attach::Tc);
    is_taken_down(true, Attach::Xdp);
}
