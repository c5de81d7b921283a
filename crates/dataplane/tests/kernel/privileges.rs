//! The capabilities that the crate's documentation names are enough.

use std::io;

use rvs_dataplane::{AttachMode, Kernel};

use crate::stage::Stage;

const CAP_NET_ADMIN: u32 = 12;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
const ENOUGH: [u32; 3] = [CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON];
/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

/// Leaves the calling thread these capabilities only.
fn keep(capabilities: &[u32]) {
    let mask = capabilities.iter().fold(0_u64, |mask, capability| mask | 1 << capability);
    let header = [VERSION, 0];
    let (low, high) = ((mask & 0xffff_ffff) as u32, (mask >> 32) as u32);
    // Effective, permitted, inheritable; low halves first.
    let data = [low, low, 0, high, high, 0];
    // SAFETY: header and data are of the layout of this version, and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[test]
fn three_capabilities_are_enough() {
    let stage = Stage::new();
    // Mounts the file system, as root.
    stage.with_kernel(|_| ());
    let options = stage.options();
    let attached = stage.director.enter(|| {
        keep(&ENOUGH);
        let mut kernel = Kernel::open(&options).unwrap();
        for mode in [AttachMode::Tc, AttachMode::Xdp] {
            kernel.attach(stage.d0, mode).unwrap();
        }
        kernel.attachments().unwrap().len()
    });
    assert_eq!(attached.unwrap(), 1);
}

/// `CAP_PERFMON` is not among them: how much the verifier lets pass without it depends on its version.
#[test]
fn two_are_needed_by_every_kernel() {
    let stage = Stage::new();
    stage.with_kernel(|_| ());
    let options = stage.options();
    for missing in [CAP_BPF, CAP_NET_ADMIN] {
        let kept: Vec<_> = ENOUGH.into_iter().filter(|&c| c != missing).collect();
        let refused = stage.director.enter(|| {
            keep(&kept);
            let attached = |mut kernel: Kernel| kernel.attach(stage.d0, AttachMode::Tc);
            Kernel::open(&options).and_then(attached).unwrap_err().to_string()
        });
        let refused = refused.unwrap();
        assert!(refused.contains("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed"), "{refused}");
    }
}
