//! Results: a table while they come, a JSON file at the end, and whether targets are met.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use nix::sys::utsname::uname;
use serde::Serialize;

use crate::measure::Series;

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    case: &'static str,
    subject: String,
    flows: Option<u32>,
    unit: &'static str,
    median: f64,
    lowest: f64,
    highest: f64,
    rounds: Vec<f64>,
    /// Value by that of another subject in the same round, the median of the rounds.
    ratio: Option<f64>,
    ratio_to: Option<String>,
    remark: Option<String>,
}

/// What must hold.
#[derive(Debug, Serialize)]
struct Target {
    what: String,
    value: f64,
    limit: f64,
    met: bool,
}

/// Everything measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    date: String,
    kernel: String,
    processor: String,
    cpus: usize,
    rounds: u32,
    quick: bool,
    rows: Vec<Row>,
    targets: Vec<Target>,
}

/// A line to be added.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) case: &'static str,
    pub(crate) subject: String,
    pub(crate) flows: Option<u32>,
    pub(crate) unit: &'static str,
    pub(crate) series: &'a Series,
    /// What it is compared with, by name.
    pub(crate) to: Option<(&'a str, &'a Series)>,
    pub(crate) remark: Option<String>,
}

impl Report {
    /// An empty one for this machine.
    pub(crate) fn new(rounds: u32, quick: bool) -> Result<Self> {
        let kernel = uname()?.release().to_string_lossy().into_owned();
        let cpus = std::thread::available_parallelism()?.get();
        let processor = processor().unwrap_or_default();
        Ok(Self {
            date: date()?,
            kernel,
            processor,
            cpus,
            rounds,
            quick,
            rows: Vec::new(),
            targets: Vec::new(),
        })
    }

    /// Adds a line, and prints it.
    pub(crate) fn add(&mut self, line: Line<'_>) {
        let Line { case, subject, flows, unit, series, to, remark } = line;
        let ratio = to.map(|(_, to)| series.ratio(to).median());
        let row = Row {
            case,
            subject,
            flows,
            unit,
            median: series.median(),
            lowest: series.lowest(),
            highest: series.highest(),
            rounds: series.values().to_vec(),
            ratio,
            ratio_to: to.map(|(name, _)| name.to_owned()),
            remark,
        };
        println!("{}", row.text());
        self.rows.push(row);
    }

    /// Adds a target: `value` may be `limit` at most.
    pub(crate) fn at_most(&mut self, what: impl Into<String>, value: f64, limit: f64) {
        self.targets.push(Target { what: what.into(), value, limit, met: value <= limit });
    }

    /// Adds a target: `value` must be `limit` at least.
    pub(crate) fn at_least(&mut self, what: impl Into<String>, value: f64, limit: f64) {
        self.targets.push(Target { what: what.into(), value, limit, met: value >= limit });
    }

    pub(crate) fn print_targets(&self) {
        if self.targets.is_empty() {
            return;
        }
        println!("\ntargets:");
        for Target { what, value, limit, met } in &self.targets {
            let verdict = if *met { "met" } else { "NOT met" };
            println!("  {what:<58} {value:>9.2}  limit {limit:>7.2}  {verdict}");
        }
    }

    /// Writes it as JSON; to `target/bench/DATE.json` if no path is given.
    pub(crate) fn write(&self, path: Option<&Path>) -> Result<PathBuf> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => target().join("bench").join(format!("{}.json", self.date)),
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

impl Row {
    fn text(&self) -> String {
        let flows = self.flows.map(|flows| format!("{flows} flows")).unwrap_or_default();
        let Self { subject, unit, median, lowest, highest, .. } = self;
        let mut text = format!("  {subject:<34} {flows:>13} ");
        if self.rounds.is_empty() {
            text += "not measured";
        } else {
            text += &format!("{median:>10.1} {unit:<9} ({lowest:.1} .. {highest:.1})");
        }
        if let (Some(ratio), Some(to)) = (self.ratio.filter(|ratio| ratio.is_finite()), &self.ratio_to) {
            text += &format!("  {ratio:.2} x {to}");
        }
        if let Some(remark) = &self.remark {
            text += &format!("  [{remark}]");
        }
        text
    }
}

/// Cargo's folder for results.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Now, as `2026-05-01T123000Z`: what a file may be called.
fn date() -> Result<String> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}{minute:02}{second:02}Z"))
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March on, so that the leap day is a year's last; 400 of them have 146 097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let since_march_0 = days + 719_468;
    let (era, day) = (since_march_0 / 146_097, since_march_0 % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_818), (2026, 12, 31));
        assert_eq!(civil(20_819), (2027, 1, 1));
    }
}
