//! The programs of `rvs agent` under this kernel. No IPVS has them; here it is the kernel's verifier that is asked.

use anyhow::{Result, ensure};
use rvs_abi::{Addr, ClientOutcome, DirectorPrefix};
use rvs_dataplane::client_address::{Options, attach};
use rvs_testkit::Cgroup;

use super::super::scene::Scene;
use super::super::tests;

tests![programs_that_show_clients_addresses_load_and_hang_on_a_cgroup];

fn programs_that_show_clients_addresses_load_and_hang_on_a_cgroup(_: &mut Scene<'_>) -> Result<()> {
    let cgroup = Cgroup::create()?;
    let options = Options {
        instance: "refvm".to_owned(),
        bpffs: None,
        cgroup: Some(cgroup.path().to_owned()),
        directors: vec![DirectorPrefix::host(Addr::v4([10, 0, 0, 1]))],
    };
    for adopted in [false, true] {
        let attached = attach(&options)?;
        ensure!(attached.adopted() == adopted && attached.programs().len() == 3, "{attached:?}");
        ensure!(attached.count(ClientOutcome::Shown)? == 0, "something was counted");
        if adopted {
            attached.remove()?;
        }
    }
    Ok(())
}
