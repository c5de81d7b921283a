//! Connections, a page at a time: a table of a million is never in memory as a whole.

use rvs_config::ConnListing;
use serde::{Deserialize, Serialize};

use crate::limits;

/// Which connections are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnQuery {
    /// Where to begin: 0, or [`ConnPage::next`] of the page before.
    pub cursor: u64,
    /// How many at most: 1 to [`limits::CONN_PAGE_MAX`].
    pub limit: u32,
}

impl Default for ConnQuery {
    fn default() -> Self {
        Self { cursor: 0, limit: limits::CONN_PAGE_DEFAULT }
    }
}

/// Some connections, in the order of the table. One that lives from the first page to the last is on exactly one of
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConnPage {
    /// Connections; there may be fewer than asked for, even none, on a page that is not the last.
    pub connections: Vec<ConnListing>,
    /// The cursor of the next page: larger than this page's. Absent on the last page.
    pub next: Option<u64>,
}
