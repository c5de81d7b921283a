//! Interfaces: which ones the programs hang on, and why there.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use rvs_control::api::{Attach, Interface};
use rvs_dataplane::{AttachMode, Attached, Kernel, Mode};
use rvs_netlink::{Link, Netlink};

use super::{log, loopback};

/// What became of an interface.
#[derive(Debug, Clone)]
struct Place {
    name: String,
    attach: Attach,
    reason: String,
}

/// The interfaces of this network namespace that matter.
#[derive(Debug)]
pub(super) struct Interfaces {
    /// Names; all but loopback if there are none.
    wanted: Vec<String>,
    mode: AttachMode,
    places: BTreeMap<u32, Place>,
}

impl Interfaces {
    pub(super) fn new(wanted: Vec<String>, mode: AttachMode) -> Self {
        Self { wanted, mode, places: BTreeMap::new() }
    }

    /// Attaches what is wanted, and takes the programs off what an earlier start attached and this one doesn't want.
    ///
    /// # Errors
    /// When an interface that was named does not exist or can't be attached. Without names it is enough to try.
    pub(super) fn start(&mut self, kernel: &mut Kernel, netlink: &mut Netlink) -> Result<()> {
        let links = netlink.links()?;
        if let Some(name) = self.wanted.iter().find(|name| links.iter().all(|link| link.name != **name)) {
            bail!("interface {name}: no such interface in this network namespace");
        }
        for link in links.iter().filter(|link| wants(&self.wanted, link)) {
            let result = kernel.attach(link.index, self.mode);
            if let (Err(error), false) = (&result, self.wanted.is_empty()) {
                bail!("{error}");
            }
            self.places.insert(link.index, place(link, result));
        }
        for attachment in kernel.attachments()? {
            if !self.places.contains_key(&attachment.ifindex) {
                kernel.detach(attachment.ifindex)?;
                log::info(format_args!("interface {}: detached: it is not wanted any more", attachment.name));
            }
        }
        loopback::start(kernel);
        if self.places.is_empty() {
            log::warning("no interface to attach to yet: no packet is balanced");
        }
        Ok(())
    }

    /// Follows changes of links: new ones are attached, and those tried again that could not be; names and addresses are
    /// followed; what is left of those that are gone is removed.
    ///
    /// # Errors
    /// When the kernel doesn't tell which links there are.
    pub(super) fn follow(&mut self, kernel: &mut Kernel, netlink: &mut Netlink) -> Result<()> {
        let links: BTreeMap<u32, Link> =
            netlink.links()?.into_iter().map(|link| (link.index, link)).collect();
        self.forget_gone(kernel, &links);
        for (index, place) in &mut self.places {
            let Some(link) = links.get(index) else { continue };
            if link.name != place.name {
                log::info(format_args!("interface {}: its name is {} now", place.name, link.name));
                place.name.clone_from(&link.name);
            }
            if let (Some(address), false) = (link.mac, place.attach == Attach::None) {
                kernel.follow_address(*index, address.0);
            }
        }
        for link in links.values().filter(|link| wants(&self.wanted, link)) {
            let before = self.places.get(&link.index);
            if before.is_some_and(|place| place.attach != Attach::None) {
                continue;
            }
            let result = kernel.attach(link.index, self.mode);
            // The same refusal again is no news.
            let again = match (before, &result) {
                (Some(place), Err(error)) => place.reason == error.to_string(),
                _ => false,
            };
            if !again {
                self.places.insert(link.index, place(link, result));
            }
        }
        Ok(())
    }

    fn forget_gone(&mut self, kernel: &mut Kernel, links: &BTreeMap<u32, Link>) {
        let gone: Vec<u32> = self.places.keys().filter(|index| !links.contains_key(index)).copied().collect();
        for index in gone {
            let Some(place) = self.places.remove(&index) else { continue };
            match kernel.detach(index) {
                Ok(_) => log::info(format_args!("interface {}: gone", place.name)),
                Err(error) => log::warning(format_args!("interface {}: gone: {error}", place.name)),
            }
        }
    }

    /// How many interfaces the programs hang on.
    pub(super) fn attached(&self) -> u64 {
        self.places.values().filter(|place| place.attach != Attach::None).count() as u64
    }

    /// All of them, by name.
    pub(super) fn list(&self) -> Vec<Interface> {
        let mut list: Vec<Interface> = self
            .places
            .iter()
            .map(|(index, Place { name, attach, reason })| Interface {
                name: name.clone(),
                index: *index,
                attach: *attach,
                reason: reason.clone(),
            })
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// The name of an interface, or its number if it has no program and so no name here.
    pub(super) fn name(&self, index: u32) -> String {
        self.places.get(&index).map_or_else(|| format!("#{index}"), |place| place.name.clone())
    }
}

fn wants(wanted: &[String], link: &Link) -> bool {
    if wanted.is_empty() { !link.loopback } else { wanted.contains(&link.name) }
}

/// What became of an interface; says so.
fn place(link: &Link, result: rvs_dataplane::Result<Attached>) -> Place {
    let name = link.name.clone();
    match result {
        Ok(Attached { mode, reason, warnings, .. }) => {
            log::info(format_args!("interface {name}: attached to {mode}: {reason}"));
            warnings.iter().for_each(|text| log::warning(format_args!("interface {name}: {text}")));
            Place { name, attach: attach(mode), reason }
        }
        Err(error) => {
            log::warning(format_args!("{error}; its packets are not balanced"));
            Place { name, attach: Attach::None, reason: error.to_string() }
        }
    }
}

fn attach(mode: Mode) -> Attach {
    match mode {
        Mode::Xdp => Attach::Xdp,
        Mode::XdpGeneric => Attach::XdpGeneric,
        Mode::Tc => Attach::Tc,
    }
}
