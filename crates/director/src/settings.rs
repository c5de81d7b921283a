//! Settings: the word in which the programs find them.

use std::collections::BTreeMap;

use rvs_abi::Settings as Bits;
use rvs_config::{CommandError, Setting, Settings};
use rvs_model::{Memory, records};

use crate::director::Director;

/// The settings that are one bit each.
const BITS: [(Setting, u32); 8] = [
    (Setting::ExpireNodestConn, Bits::EXPIRE_NODEST_CONN),
    (Setting::NatIcmpSend, Bits::NAT_ICMP_SEND),
    (Setting::CacheBypass, Bits::CACHE_BYPASS),
    (Setting::PmtuDisc, Bits::PMTU_DISC),
    (Setting::ScheduleIcmp, Bits::SCHEDULE_ICMP),
    (Setting::SloppySctp, Bits::SLOPPY_SCTP),
    (Setting::SloppyTcp, Bits::SLOPPY_TCP),
    (Setting::SnatReroute, Bits::SNAT_REROUTE),
];
/// Where the two bits of `conn_reuse_mode` are.
const REUSE_SHIFT: u32 = Bits::REUSE.trailing_zeros();
const _: () = assert!(Bits::REUSE_FIN_WAIT == 2 << REUSE_SHIFT);
// Every setting has its place.
const _: () = assert!(BITS.len() + 1 == Setting::ALL.len());

/// The word.
pub(crate) fn to_word(settings: &Settings) -> u32 {
    let bits = BITS.iter().filter(|(setting, _)| settings.is_on(*setting));
    bits.fold(settings.get(Setting::ConnReuseMode) << REUSE_SHIFT, |word, (_, bit)| word | bit)
}

/// From the word; `None` if bits are set that have no meaning.
pub(crate) fn from_word(word: u32) -> Option<Settings> {
    if word & !Bits::ALL != 0 {
        return None;
    }
    let mut settings = Settings::default();
    BITS.iter().for_each(|(setting, bit)| settings.set(*setting, u32::from(word & bit != 0)));
    settings.set(Setting::ConnReuseMode, word >> REUSE_SHIFT & 3);
    Some(settings)
}

/// Sets some, all or none.
pub(crate) fn change(settings: &mut Settings, values: &BTreeMap<String, u32>) -> Result<(), CommandError> {
    let mut changed = *settings;
    for (name, value) in values {
        let setting = Setting::named(name)?;
        setting.check(*value)?;
        changed.set(setting, *value);
    }
    *settings = changed;
    Ok(())
}

/// Writes the word.
pub(crate) fn write<M: Memory>(memory: &M, settings: &Settings) {
    let mut config = records::config(memory);
    config.settings = to_word(settings);
    records::write_config(memory, &config);
}

impl<M: Memory> Director<M> {
    /// The settings in force.
    pub const fn settings(&self) -> Settings {
        self.state.settings
    }

    /// Whether destinations were removed under `expire_nodest_conn` since this was asked last: their connections are to end
    /// (ipvs.md §1.3).
    pub const fn take_purge(&mut self) -> bool {
        core::mem::replace(&mut self.purge, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_says_every_setting() {
        assert_eq!(to_word(&Settings::default()), Bits::DEFAULT);
        for setting in Setting::ALL {
            for value in 0..=setting.maximum() {
                let mut settings = Settings::default();
                settings.set(*setting, value);
                assert_eq!(from_word(to_word(&settings)), Some(settings), "{setting} {value}");
            }
        }
        assert_eq!(from_word(1 << 31), None);
        assert_eq!(from_word(Bits::ALL).map(|all| to_word(&all)), Some(Bits::ALL));
    }
}
