//! Offloads of links, through the kernel's ethtool netlink family (no `ioctl`, no `ethtool` program).

use std::collections::BTreeMap;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_F_NESTED, NLA_HEADER_SIZE, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, NlasIterator,
};
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::error::{Error, Result};
use crate::transport::{Failure, Transport};

/// The family that knows the numbers of all others, itself at a fixed one (`GENL_ID_CTRL`).
const CONTROL_FAMILY: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_VERSION: u8 = 2;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const ETHTOOL_VERSION: u8 = 1;
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_HW: u16 = 2;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_BITSET_NOMASK: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;

/// All that `ethtool -K DEV tx on|off` means: the kernel's `NETIF_F_CSUM_MASK` and the two protocols with sums of
/// their own.
const TX_CHECKSUM_FEATURES: [&str; 5] = [
    "tx-checksum-ipv4",
    "tx-checksum-ip-generic",
    "tx-checksum-ipv6",
    "tx-checksum-fcoe-crc",
    "tx-checksum-sctp",
];
/// Receive offload in software, which on veth also turns on NAPI: what XDP's redirect into a veth needs at its peer.
const GRO_FEATURE: &str = "rx-gro";

/// A handle on the offloads of one network namespace: that of the thread that opened it.
#[derive(Debug)]
pub struct Ethtool {
    transport: Transport,
    family: u16,
}

/// State of a device feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feature {
    /// In effect.
    pub active: bool,
    /// May be switched; else the driver fixes it.
    pub changeable: bool,
}

impl Ethtool {
    /// Opens a handle on the calling thread's network namespace.
    pub fn new() -> Result<Self> {
        let mut transport = Transport::open(NETLINK_GENERIC)
            .map_err(|e| Failure::from(e).during("open generic netlink socket"))?;
        let operation = "look up generic netlink family ethtool";
        let name = DefaultNla::new(CTRL_ATTR_FAMILY_NAME, b"ethtool\0".to_vec());
        let request = Message::new(CONTROL_FAMILY, CTRL_CMD_GETFAMILY, CTRL_VERSION, &[name]);
        let answers = transport.request(request, 0).map_err(|e| e.during(operation))?;
        let family = answers
            .iter()
            .find_map(|answer| answer.attribute(CTRL_ATTR_FAMILY_ID))
            .and_then(|bytes| <[u8; 2]>::try_from(bytes).ok())
            .map(u16::from_ne_bytes)
            .ok_or_else(|| Error::Reply {
                operation: operation.to_owned(),
                reason: "no number in it".to_owned(),
            })?;
        Ok(Self { transport, family })
    }

    /// All features that are active or can be switched, by their names (`ethtool -k` shows many of them by others).
    pub fn features(&mut self, ifindex: u32) -> Result<BTreeMap<String, Feature>> {
        let request =
            Message::new(self.family, ETHTOOL_MSG_FEATURES_GET, ETHTOOL_VERSION, &[header(ifindex)]);
        let answers = self
            .transport
            .request(request, 0)
            .map_err(|e| e.during(format!("read features of link {ifindex}")))?;
        let mut features = BTreeMap::<String, Feature>::new();
        for answer in &answers {
            for name in set_bits(answer.attribute(ETHTOOL_A_FEATURES_HW).unwrap_or_default()) {
                features.entry(name).or_default().changeable = true;
            }
            for name in set_bits(answer.attribute(ETHTOOL_A_FEATURES_ACTIVE).unwrap_or_default()) {
                features.entry(name).or_default().active = true;
            }
        }
        Ok(features)
    }

    /// Switches features, named as the kernel names them: `tx-checksum-ip-generic`, `rx-gro`, `tx-tcp-segmentation`.
    ///
    /// What depends on them follows: without transmit checksums there is no segmentation offload. Fails with
    /// [`Error::FeatureFixed`] if one does not take the value asked for.
    pub fn set_features(&mut self, ifindex: u32, wanted: &[(&str, bool)]) -> Result<()> {
        let bits: Vec<DefaultNla> = wanted.iter().map(|(name, on)| bit(name, *on)).collect();
        let bitset = nest(ETHTOOL_A_FEATURES_WANTED, &[nest(ETHTOOL_A_BITSET_BITS, &bits)]);
        let attributes = [header(ifindex), bitset];
        let request = Message::new(self.family, ETHTOOL_MSG_FEATURES_SET, ETHTOOL_VERSION, &attributes);
        self.transport.request(request, 0).map_err(|e| {
            let list: Vec<String> = wanted.iter().map(|(n, on)| format!("{n} {}", on_off(*on))).collect();
            e.during(format!("set features {} of link {ifindex}", list.join(", ")))
        })?;
        let features = self.features(ifindex)?;
        match wanted.iter().find(|(name, on)| features.get(*name).is_some_and(|f| f.active) != *on) {
            None => Ok(()),
            Some((name, on)) => {
                Err(Error::FeatureFixed { feature: (*name).to_owned(), ifindex, wanted: *on })
            }
        }
    }

    /// Switches generic receive offload.
    pub fn set_gro(&mut self, ifindex: u32, on: bool) -> Result<()> {
        self.set_features(ifindex, &[(GRO_FEATURE, on)])
    }

    /// Switches all transmit checksum offloads that the driver lets be switched. Off, packets leave with full
    /// checksums; on, veth leaves them to whoever takes the packet off the machine, and XDP sees partial ones.
    pub fn set_tx_checksum(&mut self, ifindex: u32, on: bool) -> Result<()> {
        let features = self.features(ifindex)?;
        let wanted: Vec<(&str, bool)> = TX_CHECKSUM_FEATURES
            .into_iter()
            .filter(|name| features.get(*name).is_some_and(|f| f.changeable))
            .map(|name| (name, on))
            .collect();
        if wanted.is_empty() {
            let feature = "tx-checksum".to_owned();
            return Err(Error::FeatureFixed { feature, ifindex, wanted: on });
        }
        self.set_features(ifindex, &wanted)
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn header(ifindex: u32) -> DefaultNla {
    let index = DefaultNla::new(ETHTOOL_A_HEADER_DEV_INDEX, ifindex.to_ne_bytes().to_vec());
    nest(ETHTOOL_A_FEATURES_HEADER, &[index])
}

fn bit(name: &str, on: bool) -> DefaultNla {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    let mut attributes = vec![DefaultNla::new(ETHTOOL_A_BITSET_BIT_NAME, text)];
    if on {
        attributes.push(DefaultNla::new(ETHTOOL_A_BITSET_BIT_VALUE, Vec::new()));
    }
    nest(ETHTOOL_A_BITSET_BITS_BIT, &attributes)
}

fn nest(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, emit(attributes))
}

fn emit(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

/// Value of the first attribute of that kind.
fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let attribute = NlasIterator::new(attributes).flatten().find(|a| a.kind() == kind)?;
    let len = usize::from(attribute.length());
    // `value()` would borrow from `attribute`, which ends here.
    attribute.into_inner().get(NLA_HEADER_SIZE..len)
}

/// Names of the bits that are set: those with a value flag, or, in a list that is marked as one, all that are listed.
fn set_bits(bitset: &[u8]) -> Vec<String> {
    let listed_only = find(bitset, ETHTOOL_A_BITSET_NOMASK).is_some();
    let bits = find(bitset, ETHTOOL_A_BITSET_BITS).unwrap_or_default();
    NlasIterator::new(bits)
        .flatten()
        .filter(|bit| listed_only || find(bit.value(), ETHTOOL_A_BITSET_BIT_VALUE).is_some())
        .filter_map(|bit| {
            let name = find(bit.value(), ETHTOOL_A_BITSET_BIT_NAME)?;
            Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
        })
        .collect()
}

/// A generic netlink message: command, version, two reserved bytes, attributes.
#[derive(Debug, Clone)]
struct Message {
    family: u16,
    command: u8,
    version: u8,
    attributes: Vec<u8>,
}

impl Message {
    const HEADER_LEN: usize = 4;

    fn new(family: u16, command: u8, version: u8, attributes: &[DefaultNla]) -> Self {
        Self { family, command, version, attributes: emit(attributes) }
    }

    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        find(&self.attributes, kind)
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        Self::HEADER_LEN + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (header, attributes) = buffer.split_at_mut(Self::HEADER_LEN);
        header.copy_from_slice(&[self.command, self.version, 0, 0]);
        attributes.copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> std::result::Result<Self, DecodeError> {
        let [command, version, _, _, attributes @ ..] = payload else {
            return Err(DecodeError::buffer_too_small(payload.len(), Self::HEADER_LEN));
        };
        Ok(Self {
            family: header.message_type,
            command: *command,
            version: *version,
            attributes: attributes.to_vec(),
        })
    }
}
