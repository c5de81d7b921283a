//! Settings: a row for each.

use rvs_config::Settings;
use serde::{Deserialize, Serialize};

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingListing {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: u32,
    /// Its value until it is set.
    pub default: u32,
    /// Its largest value; the smallest is 0.
    pub maximum: u32,
    /// One line that explains it.
    pub text: String,
}

/// Every setting there is, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingTable {
    /// A row each.
    pub settings: Vec<SettingListing>,
}

impl From<Settings> for SettingTable {
    fn from(settings: Settings) -> Self {
        let rows = settings.iter().map(|(setting, value)| SettingListing {
            name: setting.name().to_owned(),
            value,
            default: setting.default(),
            maximum: setting.maximum(),
            text: setting.text().to_owned(),
        });
        Self { settings: rows.collect() }
    }
}
