//! The programs behind the first.

use rvs_abi::Program;

use crate::maps;
use crate::tables::Tables;

/// Goes on in another program; comes back only if that was not loaded.
#[inline(always)]
pub(crate) fn call<const XDP: bool>(tables: &Tables<XDP>, program: Program) {
    // One call for each: with a number that is known, the kernel makes it a jump.
    match program {
        Program::Connect => tail_call(tables, Program::Connect),
        Program::Error => tail_call(tables, Program::Error),
        Program::Fragment => tail_call(tables, Program::Fragment),
        Program::Answer => tail_call(tables, Program::Answer),
        Program::Gather => tail_call(tables, Program::Gather),
        Program::Cut => tail_call(tables, Program::Cut),
        Program::Here => tail_call(tables, Program::Here),
        Program::Translate => tail_call(tables, Program::Translate),
        Program::Ftp => tail_call(tables, Program::Ftp),
        Program::Heard => tail_call(tables, Program::Heard),
        Program::Bypass => tail_call(tables, Program::Bypass),
        Program::Clamp => tail_call(tables, Program::Clamp),
        Program::Head => tail_call(tables, Program::Head),
    }
}

#[inline(always)]
fn tail_call<const XDP: bool>(tables: &Tables<XDP>, program: Program) {
    let programs = if XDP { &maps::PROGRAMS_XDP } else { &maps::PROGRAMS_TC };
    // SAFETY: the context is that of this program, and the map holds programs of its kind.
    let _missing = unsafe { programs.tail_call(tables, program as u32) };
}
