//! `rvs sysctl`: the settings of a director, as `sysctl` shows and changes those of IPVS.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use rvs_config::{Command, SETTING_PREFIX, Setting};
use rvs_control::api::{SettingListing, SettingTable};

use crate::{output, socket};

/// What to show or change.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    socket: socket::Which,
    /// Settings to show, or to change with =VALUE, all or none; without any, all are shown. Names may begin with net.ipv4.vs.
    #[arg(value_name = "NAME[=VALUE]")]
    settings: Vec<String>,
    /// Print JSON, with defaults, ranges and explanations
    #[arg(long)]
    json: bool,
}

/// What the words ask for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// In the order given.
    shown: Vec<Setting>,
    changed: BTreeMap<String, u32>,
}

/// Asks the director, has it change what is to be changed, and prints the settings that were named.
///
/// # Errors
/// When a word is wrong, there is no director, or it refuses.
pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = wanted(&args.settings)?;
    let mut client = args.socket.connect()?;
    if !wanted.changed.is_empty() {
        client.apply(&[Command::SetSettings { settings: wanted.changed }])?;
    }
    let table = chosen(client.settings()?, &wanted.shown);
    if args.json { output::print_json(&table) } else { output::print(&text(&table)) }
}

fn wanted(words: &[String]) -> Result<Wanted> {
    let mut wanted = Wanted { shown: Vec::new(), changed: BTreeMap::new() };
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        let setting = Setting::named(name.trim())?;
        if wanted.shown.contains(&setting) {
            bail!("setting {setting}: given twice");
        }
        wanted.shown.push(setting);
        if let Some(value) = value {
            wanted.changed.insert(setting.name().to_owned(), setting.parse_value(value.trim())?);
        }
    }
    Ok(wanted)
}

/// The rows of some settings in their order; all of them if none is named.
fn chosen(table: SettingTable, shown: &[Setting]) -> SettingTable {
    if shown.is_empty() {
        return table;
    }
    let row = |setting: &Setting| table.settings.iter().find(|row| row.name == setting.name()).cloned();
    SettingTable { settings: shown.iter().filter_map(row).collect() }
}

/// As `sysctl` prints them, so that it can be read back.
fn text(table: &SettingTable) -> String {
    let line = |row: &SettingListing| format!("{SETTING_PREFIX}{} = {}\n", row.name, row.value);
    table.settings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use rvs_config::Settings;

    use super::*;

    fn words(words: &[&str]) -> Result<Wanted> {
        wanted(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_show_and_change() {
        let read = words(&["sloppy_tcp", "net.ipv4.vs.conn_reuse_mode=3", "snat_reroute = 0"]).unwrap();
        let shown = vec![Setting::SloppyTcp, Setting::ConnReuseMode, Setting::SnatReroute];
        let changed = [("conn_reuse_mode".to_owned(), 3), ("snat_reroute".to_owned(), 0)].into();
        assert_eq!(read, Wanted { shown, changed });
        let line = |list: &[&str]| words(list).unwrap_err().to_string();
        assert_eq!(line(&["sloppy_tcp", "sloppy_tcp=1"]), "setting sloppy_tcp: given twice");
        assert_eq!(line(&["sloppy_tcp="]), "setting sloppy_tcp: value `', expected 0 to 1");
        assert_eq!(line(&["backup_only=1"]), "setting backup_only: not supported by this version of rvs");
    }

    #[test]
    fn settings_are_shown_as_sysctl_shows_them() {
        let all = SettingTable::from(Settings::default());
        let expected = "\
net.ipv4.vs.cache_bypass = 0
net.ipv4.vs.conn_reuse_mode = 1
net.ipv4.vs.expire_nodest_conn = 0
net.ipv4.vs.nat_icmp_send = 0
net.ipv4.vs.pmtu_disc = 1
net.ipv4.vs.schedule_icmp = 0
net.ipv4.vs.sloppy_sctp = 0
net.ipv4.vs.sloppy_tcp = 0
net.ipv4.vs.snat_reroute = 1
";
        assert_eq!(text(&chosen(all.clone(), &[])), expected);
        let two = chosen(all, &[Setting::SnatReroute, Setting::SloppyTcp]);
        assert_eq!(text(&two), "net.ipv4.vs.snat_reroute = 1\nnet.ipv4.vs.sloppy_tcp = 0\n");
    }
}
