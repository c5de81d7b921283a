//! The stages of the pipeline as global functions: the kernel verifies each once, by itself, and not anew for each way that
//! leads to it. They take the context and numbers; the rest is in the scratch memory.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use rvs_abi::Outcome;
use rvs_core::pipeline::{self, About, Side};
use rvs_core::{conn, ftp, mark, proxy};
use rvs_ebpf::skb::Skb;
use rvs_ebpf::xdp::Xdp;

use crate::tables::{Tables, outcome};

const INCONSISTENT: u32 = Outcome::Inconsistent as u32;

/// Stage 1b under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_classify(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    mark::classify(&tables) as u32
}

/// Stage 1b under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_classify(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_own(context, look as u8) else { return INCONSISTENT };
    mark::classify(&tables) as u32
}

/// Stage 2a under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_reply(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::reply(&mut Xdp::new(context), &tables) as u32
}

/// Stage 2a under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_reply(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_skb(context, look as u8) else { return INCONSISTENT };
    pipeline::reply(&mut Skb::new(context), &tables) as u32
}

/// Stage 2b under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_request(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::request(&mut Xdp::new(context), &tables) as u32
}

/// Stage 2b under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_request(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_skb(context, look as u8) else { return INCONSISTENT };
    pipeline::request(&mut Skb::new(context), &tables) as u32
}

/// Stage 2c under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_icmp(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::icmp(&mut Xdp::new(context), &tables) as u32
}

/// Stage 2c under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_icmp(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_own(context, look as u8) else { return INCONSISTENT };
    pipeline::icmp(&mut Skb::new(context), &tables) as u32
}

/// Stage 2e under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_fragment(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::fragment(&mut Xdp::new(context), &tables) as u32
}

/// Stage 2e under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_fragment(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_own(context, look as u8) else { return INCONSISTENT };
    pipeline::fragment(&mut Skb::new(context), &tables) as u32
}

/// The stage for fragments that come before the first, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_hold(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::hold(&mut Skb::new(context), &tables) as u32
}

/// The stage for packets that are too large, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_cut(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::cut(&mut Skb::new(context), &tables) as u32
}

/// The stage for packets that are too large in their tunnel, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_cut_outer(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::cut_outer(&mut Skb::new(context), &tables) as u32
}

/// The stage for first fragments.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_keep(about: u32) -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    pipeline::keep(&tables, outcome(about));
    1
}

/// The stage behind that, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_release(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return 0 };
    u32::from(pipeline::release(&mut Skb::new(context), &tables))
}

/// The stage for tunnels under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_tunnel(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::tunnel(&mut Xdp::new(context), &tables) as u32
}

/// The stage for tunnels under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_tunnel(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::tunnel(&mut Skb::new(context), &tables) as u32
}

/// The stage for what goes past the real servers, under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_bypass(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::bypass(&mut Xdp::new(context), &tables) as u32
}

/// The same under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_bypass(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_own(context, look as u8) else { return INCONSISTENT };
    pipeline::bypass(&mut Skb::new(context), &tables) as u32
}

/// Stage 2d under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_tunnel_error(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::tunnel_error(&mut Xdp::new(context), &tables) as u32
}

/// Stage 2d under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_tunnel_error(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::tunnel_error(&mut Skb::new(context), &tables) as u32
}

/// The last stage under XDP: whether an error is sent.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_answer(context: *mut xdp_md, about: u32) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return 0 };
    u32::from(pipeline::answer(&mut Xdp::new(context), &tables, outcome(about)))
}

/// The last stage under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_answer(context: *mut __sk_buff, about: u32, look: u32) -> u32 {
    let Some(tables) = Tables::of_own(context, look as u8) else { return 0 };
    u32::from(pipeline::answer(&mut Skb::new(context), &tables, outcome(about)))
}

/// Stage 2a for what is from or for this host's own stack, which is under TC alone.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_reply_here(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_own(context, look as u8) else { return INCONSISTENT };
    pipeline::reply_here(&tables) as u32
}

/// Stage 2b for that.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_request_here(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_own(context, look as u8) else { return INCONSISTENT };
    pipeline::request_here(&mut Skb::new(context), &tables) as u32
}

/// The stage for datagrams that are scheduled by themselves, for that.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_one_packet_here(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_own(context, look as u8) else { return INCONSISTENT };
    pipeline::one_packet_here(&mut Skb::new(context), &tables) as u32
}

/// The stage that leaves packets to this host's own stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_deliver(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_own(context, look as u8) else { return INCONSISTENT };
    pipeline::deliver(&mut Skb::new(context), &tables) as u32
}

/// Stage 2a for packets to the director's ports, under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_local_reply(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::local_reply(&mut Xdp::new(context), &tables) as u32
}

/// Stage 2a for packets to the director's ports, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_local_reply(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::local_reply(&mut Skb::new(context), &tables) as u32
}

/// The stage for full NAT under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_full_nat(context: *mut xdp_md, step: u32) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::full_nat(&mut Xdp::new(context), &tables, outcome(step)) as u32
}

/// The stage for full NAT under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_full_nat(context: *mut __sk_buff, step: u32) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::full_nat(&mut Skb::new(context), &tables, outcome(step)) as u32
}

/// The stage for what full NAT tells servers, under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_client_option(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::client_option(&mut Xdp::new(context), &tables) as u32
}

/// The stage for what full NAT tells servers, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_client_option(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::client_option(&mut Skb::new(context), &tables) as u32
}

/// The stage for connections whose data begin with a header, under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_proxy(context: *mut xdp_md, step: u32) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    proxy::rewrite(&mut Xdp::new(context), &tables, outcome(step)) as u32
}

/// The stage for connections whose data begin with a header, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_proxy(context: *mut __sk_buff, step: u32) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    proxy::rewrite(&mut Skb::new(context), &tables, outcome(step)) as u32
}

/// The stage for errors about their segments, under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_proxy_quoted(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return 0 };
    proxy::quoted(&mut Xdp::new(context), &tables);
    1
}

/// The stage for errors about their segments, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_proxy_quoted(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return 0 };
    proxy::quoted(&mut Skb::new(context), &tables);
    1
}

/// The stage for segments whose size is lowered, under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_clamp(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return 0 };
    u32::from(pipeline::clamp(&mut Xdp::new(context), &tables))
}

/// The stage for segments whose size is lowered, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_clamp(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return 0 };
    u32::from(pipeline::clamp(&mut Skb::new(context), &tables))
}

/// The stage for packets between families under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_translate(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::translate(&mut Xdp::new(context), &tables) as u32
}

/// The stage for packets between families under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_translate(context: *mut __sk_buff, look: u32) -> u32 {
    let Some(tables) = Tables::of_skb(context, look as u8) else { return INCONSISTENT };
    pipeline::translate(&mut Skb::new(context), &tables) as u32
}

/// The stage behind it, in which a packet becomes one of the other family, under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_become_other(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return 0 };
    u32::from(pipeline::become_other(&mut Xdp::new(context), &tables))
}

/// The stage behind it, in which a packet becomes one of the other family, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_become_other(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return 0 };
    u32::from(pipeline::become_other(&mut Skb::new(context), &tables))
}

/// The stage for ICMP errors about such packets under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_translate_error(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::translate_error(&mut Xdp::new(context), &tables) as u32
}

/// The stage for ICMP errors about such packets under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_translate_error(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::translate_error(&mut Skb::new(context), &tables) as u32
}

/// The stage behind that, under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_error_becomes_other(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return 0 };
    u32::from(pipeline::error_becomes_other(&mut Xdp::new(context), &tables))
}

/// The stage behind that, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_error_becomes_other(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return 0 };
    u32::from(pipeline::error_becomes_other(&mut Skb::new(context), &tables))
}

/// The look-up by the director's ports.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_find_local(about: u32) -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    let about = if about == About::Packet as u32 { About::Packet } else { About::Quoted };
    u32::from(pipeline::find_local(&tables, about))
}

/// Between stages 3 and 4.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_reserve() -> u32 {
    let Some(tables) = Tables::without_packet() else { return INCONSISTENT };
    pipeline::reserve(&tables) as u32
}

/// Behind stage 4, for full NAT.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_publish() -> u32 {
    let Some(tables) = Tables::without_packet() else { return INCONSISTENT };
    pipeline::publish(&tables) as u32
}

/// The look-up for stages 2c and 2d.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_find(side: u32) -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    let side = if side == Side::Client as u32 { Side::Client } else { Side::Server };
    u32::from(pipeline::find(&tables, side))
}

/// Stage 3.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_prepare() -> u32 {
    let Some(tables) = Tables::without_packet() else { return INCONSISTENT };
    pipeline::prepare(&tables) as u32
}

/// Stage 4.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_insert() -> u32 {
    let Some(tables) = Tables::without_packet() else { return INCONSISTENT };
    pipeline::insert(&tables) as u32
}

/// The stage for datagrams that are scheduled by themselves, under XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_xdp_one_packet(context: *mut xdp_md) -> u32 {
    let Some(tables) = Tables::of_xdp(context) else { return INCONSISTENT };
    pipeline::one_packet(&mut Xdp::new(context), &tables) as u32
}

/// The same under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_one_packet(context: *mut __sk_buff) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    pipeline::one_packet(&mut Skb::new(context), &tables) as u32
}

/// Before stage 3, for the packet that an ICMP error quotes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_take_quoted() -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    pipeline::take_quoted(&tables);
    1
}

/// Behind stage 3, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_give_quoted_back() -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    pipeline::give_quoted_back(&tables);
    1
}

/// Behind stage 2a, for what may come from a real server of no connection.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_server() -> u32 {
    let Some(tables) = Tables::without_packet() else { return INCONSISTENT };
    pipeline::server(&tables) as u32
}

/// Finds the control connection of an FTP segment.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_ftp_find(step: u32) -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    u32::from(ftp::find(&tables, outcome(step)))
}

/// Reads an FTP segment, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_ftp_look(context: *mut __sk_buff, step: u32) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    ftp::look(&mut Skb::new(context), &tables, outcome(step)) as u32
}

/// Whether the data connection that it announces is there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_ftp_reuse() -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    u32::from(ftp::reuse(&tables))
}

/// Rewrites it, under TC.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_tc_ftp_rewrite(context: *mut __sk_buff, step: u32) -> u32 {
    let Some(tables) = Tables::of_skb(context, 0) else { return INCONSISTENT };
    ftp::rewrite(&mut Skb::new(context), &tables, outcome(step)) as u32
}

/// The look-up for a connection between the same ends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_find_same() -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    u32::from(ftp::find_same(&tables))
}

/// Before stage 3, for data connections of FTP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_expected() -> u32 {
    let Some(tables) = Tables::without_packet() else { return INCONSISTENT };
    ftp::expected(&tables) as u32
}

/// Behind stage 4, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_arrived() -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    ftp::arrived(&tables);
    1
}

/// Behind a connection that moved its deadline: its controller's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rvs_keep_control(name: u32, now: u64, ticks: i64) -> u32 {
    let Some(tables) = Tables::without_packet() else { return 0 };
    conn::control::keep(&tables, name, now, ticks);
    1
}
