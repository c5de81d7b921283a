//! The benchmarks' programs in the kernel.

use anyhow::{Context as _, Result};
use aya::programs::{ProgramFd, Xdp, XdpMode, loaded_programs};
use aya::{Ebpf, EbpfLoader};

/// The object as `cargo xtask ebpf` made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../crates/dataplane/programs/bench.bpf.o");

/// A copy of the object: its maps, and one program, loaded.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) ebpf: Ebpf,
    name: &'static str,
}

impl Programs {
    /// Loads the program `name`; `egress` is what `bench_redirect` sends to.
    pub(crate) fn load(name: &'static str, egress: u32) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        loader.override_global("EGRESS", &egress, true);
        let mut programs = Self { ebpf: loader.load(OBJECT)?, name };
        programs.xdp_mut()?.load()?;
        Ok(programs)
    }

    pub(crate) fn xdp(&self) -> Result<&Xdp> {
        let program =
            self.ebpf.program(self.name).with_context(|| format!("the object lacks {}", self.name))?;
        Ok(program.try_into()?)
    }

    fn xdp_mut(&mut self) -> Result<&mut Xdp> {
        let name = self.name;
        let program = self.ebpf.program_mut(name).with_context(|| format!("the object lacks {name}"))?;
        Ok(program.try_into()?)
    }

    /// Attaches it in the calling thread's network namespace, until this value is dropped.
    pub(crate) fn attach(&mut self, ifindex: u32) -> Result<()> {
        let name = self.name;
        self.xdp_mut()?
            .attach_to_if_index(ifindex, XdpMode::Driver)
            .with_context(|| format!("attach {name} to interface {ifindex}"))?;
        Ok(())
    }
}

/// A descriptor of a loaded program.
pub(crate) fn program_by_id(id: u32) -> Result<ProgramFd> {
    let found = loaded_programs().flatten().find(|program| program.id() == id);
    Ok(found.with_context(|| format!("program {id} is gone"))?.fd()?)
}
