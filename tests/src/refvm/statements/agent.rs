//! The programs of `rvs agent` under this kernel. No IPVS has them; here it is the kernel's verifier that is asked.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Result, ensure};
use nix::sys::socket::{getsockopt, sockopt::TcpMaxSeg};
use rvs_abi::{Addr, ClientOutcome, DirectorPrefix};
use rvs_dataplane::client_address::{Options, attach};
use rvs_dataplane::segment_size;
use rvs_testkit::Cgroup;

use super::super::scene::Scene;
use super::super::tests;

tests![
    programs_that_show_clients_addresses_load_and_hang_on_a_cgroup,
    listeners_announce_the_size_that_they_are_told,
];

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

/// Listeners that are older than the program and younger ones, of both families; and others as before.
fn listeners_announce_the_size_that_they_are_told(_: &mut Scene<'_>) -> Result<()> {
    const MSS: u16 = 1234;
    let listen = |address: &str| -> Result<TcpListener> { Ok(TcpListener::bind(address)?) };
    let announces = |listener: &TcpListener| -> Result<u32> { Ok(getsockopt(listener, TcpMaxSeg)?) };
    let [plain_v4, plain_v6] = [announces(&listen("127.0.0.1:0")?)?, announces(&listen("[::1]:0")?)?];
    let older = [listen("127.0.0.1:8080")?, listen("[::]:8081")?, listen("127.0.0.1:8082")?];
    let address = |text: &str| -> Result<SocketAddr> { Ok(text.parse()?) };
    let options = segment_size::Options {
        instance: "refvm".to_owned(),
        bpffs: None,
        cgroup: None,
        mss: MSS,
        addresses: vec![address("127.0.0.1:8080")?, address("192.0.2.9:8081")?, address("[::1]:0")?],
    };
    let attached = segment_size::attach(&options)?;
    ensure!(attached.listeners().kept == 2, "{:?}", attached.listeners());
    let younger = [listen("[::1]:8083")?, listen("127.0.0.2:8080")?];
    let found = [&older[0], &older[1], &older[2], &younger[0], &younger[1]].map(announces);
    let found = found.into_iter().collect::<Result<Vec<_>>>()?;
    let size = u32::from(MSS);
    ensure!(found == [size, size, plain_v4, size, plain_v4], "{found:?}");
    attached.remove()?;
    ensure!(announces(&listen("[::1]:8084")?)? == plain_v6, "taken off, it is still at work");
    Ok(())
}
