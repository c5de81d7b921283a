//! Settings of a director: what IPVS has in `net.ipv4.vs.*` (ipvs.md §8.1), by the same names.

use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::CommandError;

/// Where IPVS has its settings; names may be given with it.
pub const SETTING_PREFIX: &str = "net.ipv4.vs.";

macro_rules! settings {
    ($($variant:ident = $name:literal, $default:literal, $max:literal, $text:literal;)+) => {
        /// A setting.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Setting { $(#[doc = $text] $variant,)+ }

        impl Setting {
            /// Every setting, by name.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name, which is that of IPVS.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Its value until it is set.
            #[must_use]
            pub const fn default(self) -> u32 {
                match self { $(Self::$variant => $default,)+ }
            }

            /// Its largest value; the smallest is 0.
            #[must_use]
            pub const fn maximum(self) -> u32 {
                match self { $(Self::$variant => $max,)+ }
            }

            /// One line that explains it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

settings! {
    CacheBypass = "cache_bypass", 0, 1, "without a destination, packets of services by mark go on to where they were going";
    ConnReuseMode = "conn_reuse_mode", 1, 3, "a SYN or INIT between ends whose connection is over is scheduled anew: 0 no, 1 yes, 2 and 3 in FIN_WAIT too if no reply is seen";
    ExpireNodestConn = "expire_nodest_conn", 0, 1, "connections of removed destinations end at once, and a SYN to a quiesced one is scheduled anew";
    NatIcmpSend = "nat_icmp_send", 0, 1, "a NAT destination that sends a packet of no connection is told port unreachable";
    PmtuDisc = "pmtu_disc", 1, 1, "tunnels take over \"don't fragment\", and clients are told what is too big for them";
    ScheduleIcmp = "schedule_icmp", 0, 1, "an ICMP error about a packet of no connection is scheduled";
    SloppySctp = "sloppy_sctp", 0, 1, "SCTP connections begin with any chunk but ABORT";
    SloppyTcp = "sloppy_tcp", 0, 1, "TCP connections begin with any segment but a reset";
    SnatReroute = "snat_reroute", 1, 1, "replies by NAT are routed as from the virtual address, not as from the real server";
}

/// What IPVS has and this version does not.
const NOT_YET: &[&str] = &[
    "am_droprate",
    "amemthresh",
    "backup_only",
    "conntrack",
    "debug_level",
    "drop_entry",
    "drop_packet",
    "est_cpulist",
    "est_nice",
    "expire_quiescent_template",
    "ignore_tunneled",
    "lblc_expiration",
    "lblcr_expiration",
    "run_estimation",
    "secure_tcp",
    "sync_persist_mode",
    "sync_ports",
    "sync_qlen_max",
    "sync_refresh_period",
    "sync_retries",
    "sync_sock_size",
    "sync_threshold",
    "sync_version",
];

impl Setting {
    /// The setting of that name, with [`SETTING_PREFIX`] or without.
    ///
    /// # Errors
    /// [`CommandError::NotSupported`] for one that only IPVS has, [`CommandError::Invalid`] for any other word.
    pub fn named(name: &str) -> Result<Self, CommandError> {
        let short = name.strip_prefix(SETTING_PREFIX).unwrap_or(name);
        let found = Self::ALL.iter().copied().find(|setting| setting.name() == short);
        found.ok_or_else(|| {
            if NOT_YET.contains(&short) {
                return CommandError::not_supported(format_args!("setting {short}"));
            }
            let names: Vec<&str> = Self::ALL.iter().map(|setting| setting.name()).collect();
            CommandError::invalid(format_args!("setting `{name}': expected one of {}", names.join(", ")))
        })
    }

    /// Checks a value.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] if it is out of range.
    pub fn check(self, value: u32) -> Result<(), CommandError> {
        if value <= self.maximum() { Ok(()) } else { Err(self.out_of_range(value)) }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for what is no number, or out of range.
    pub fn parse_value(self, text: &str) -> Result<u32, CommandError> {
        let value = text.parse().map_err(|_| self.out_of_range(format_args!("`{text}'")))?;
        self.check(value).map(|()| value)
    }

    fn out_of_range(self, value: impl fmt::Display) -> CommandError {
        let (name, max) = (self.name(), self.maximum());
        CommandError::invalid(format_args!("setting {name}: value {value}, expected 0 to {max}"))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The values of all settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings([u32; Setting::ALL.len()]);

impl Settings {
    /// The value of one.
    #[must_use]
    pub const fn get(&self, setting: Setting) -> u32 {
        self.0[setting as usize]
    }

    /// Sets one.
    pub const fn set(&mut self, setting: Setting, value: u32) {
        self.0[setting as usize] = value;
    }

    /// Whether one is not 0.
    #[must_use]
    pub const fn is_on(&self, setting: Setting) -> bool {
        self.get(setting) != 0
    }

    /// All of them with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (Setting, u32)> + use<> {
        let values = self.0;
        Setting::ALL.iter().copied().zip(values)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Self([0; Setting::ALL.len()]);
        Setting::ALL.iter().for_each(|setting| settings.set(*setting, setting.default()));
        settings
    }
}

/// As an object with a field for each.
impl Serialize for Settings {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// With a field for each: one that is missing is an error.
impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = BTreeMap::<Setting, u32>::deserialize(deserializer)?;
        let mut settings = Self::default();
        for setting in Setting::ALL {
            let value = values.get(setting).ok_or_else(|| serde::de::Error::missing_field(setting.name()))?;
            settings.set(*setting, *value);
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use super::*;

    /// ipvs.md §8.1.
    #[test]
    fn defaults_are_those_of_ipvs() {
        let on: Vec<_> = Settings::default().iter().filter(|(_, value)| *value != 0).collect();
        assert_eq!(on, [(Setting::ConnReuseMode, 1), (Setting::PmtuDisc, 1), (Setting::SnatReroute, 1)]);
    }

    #[test]
    fn names_are_read_back_and_sorted() {
        for setting in Setting::ALL {
            assert_eq!(Setting::named(setting.name()).unwrap(), *setting);
            assert_eq!(Setting::named(&format!("net.ipv4.vs.{setting}")).unwrap(), *setting);
            assert_eq!(serde_json::to_value(setting).unwrap(), setting.name());
        }
        assert!(Setting::ALL.is_sorted_by_key(|setting| setting.name()));
        assert!(NOT_YET.iter().all(|name| Setting::ALL.iter().all(|setting| setting.name() != *name)));
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line() {
        let line = |name: &str| Setting::named(name).unwrap_err().to_string();
        assert_eq!(
            line("net.ipv4.vs.drop_entry"),
            "setting drop_entry: not supported by this version of rvs"
        );
        assert_eq!(
            line("sloppy"),
            "setting `sloppy': expected one of cache_bypass, conn_reuse_mode, expire_nodest_conn, nat_icmp_send, \
             pmtu_disc, schedule_icmp, sloppy_sctp, sloppy_tcp, snat_reroute"
        );
        let value = |text: &str| Setting::SloppyTcp.parse_value(text).map_err(|error| error.to_string());
        assert_eq!(value("1"), Ok(1));
        for bad in ["2", "-1", "yes", "", " 1"] {
            let shown = if bad == "2" { "2".to_owned() } else { format!("`{bad}'") };
            assert_eq!(value(bad), Err(format!("setting sloppy_tcp: value {shown}, expected 0 to 1")));
        }
        assert_eq!(Setting::ConnReuseMode.parse_value("3"), Ok(3));
        assert!(Setting::ConnReuseMode.check(4).is_err());
    }

    #[test]
    fn settings_are_an_object() {
        let mut settings = Settings::default();
        settings.set(Setting::SloppySctp, 1);
        let value = serde_json::to_value(settings).unwrap();
        assert_eq!(value["sloppy_sctp"], 1);
        assert_eq!(value["snat_reroute"], 1);
        assert_eq!(serde_json::from_value::<Settings>(value.clone()).unwrap(), settings);
        let mut short = value;
        short.as_object_mut().unwrap().remove("pmtu_disc");
        assert!(serde_json::from_value::<Settings>(short).is_err());
    }
}
