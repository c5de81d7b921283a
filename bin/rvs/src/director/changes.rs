//! What changed in the network namespace and was not looked at yet. Events come in crowds; one look serves them all, and one that
//! fails is taken again.

use core::fmt::Display;
use std::time::Duration;

use super::limits::{ASK_AGAIN, ROUTES_REFRESH};

/// A pause behind `now_ns`.
pub(super) fn after(now_ns: u64, pause: Duration) -> u64 {
    now_ns.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX))
}

/// What is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) links: Look,
    /// Of all neighbours: events were lost, or the kernel did not tell about new ones.
    pub(super) neighbours: Look,
    routes: bool,
    /// When all routes were asked for again last.
    routes_asked_ns: u64,
}

impl Changes {
    /// Every route may be another one.
    pub(super) const fn routes_changed(&mut self) {
        self.routes = true;
    }

    /// Whether routes are to be asked for again now; if so, they are taken for asked.
    pub(super) fn take_routes(&mut self, now_ns: u64) -> bool {
        let is_due = self.routes_due_ns().is_some_and(|due| due <= now_ns);
        if is_due {
            (self.routes, self.routes_asked_ns) = (false, now_ns);
        }
        is_due
    }

    /// When there is something to look at next.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let times = [self.links.due_ns(), self.neighbours.due_ns(), self.routes_due_ns()];
        times.into_iter().flatten().min()
    }

    fn routes_due_ns(&self) -> Option<u64> {
        self.routes.then(|| after(self.routes_asked_ns, ROUTES_REFRESH))
    }
}

/// A look at something of the kernel's.
#[derive(Debug, Default)]
pub(super) struct Look {
    is_wanted: bool,
    /// Not before this time, after one that failed.
    again_ns: u64,
    /// What the last one failed with.
    error: Option<String>,
}

/// What a look gives an operator to know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It failed, and not so the time before.
    Failed(String),
    /// It succeeded after some that failed.
    Well,
}

impl Look {
    /// It is to be taken.
    pub(super) const fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether it is to be taken some time.
    pub(super) const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Whether it is to be taken now.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.due_ns().is_some_and(|due| due <= now_ns)
    }

    /// It was taken. One that failed is wanted again, after [`ASK_AGAIN`].
    pub(super) fn taken<E: Display>(&mut self, result: Result<(), E>, now_ns: u64) -> Option<News> {
        let error = result.err().map(|error| format!("{error:#}"));
        self.is_wanted = error.is_some();
        self.again_ns = if self.is_wanted { after(now_ns, ASK_AGAIN) } else { 0 };
        let before = core::mem::replace(&mut self.error, error.clone());
        match (error, before) {
            (Some(error), before) => (before.as_ref() != Some(&error)).then_some(News::Failed(error)),
            (None, Some(_)) => Some(News::Well),
            (None, None) => None,
        }
    }

    fn due_ns(&self) -> Option<u64> {
        self.is_wanted.then_some(self.again_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const WELL: Result<(), &str> = Ok(());

    #[test]
    fn a_change_is_looked_at_once() {
        let mut changes = Changes::default();
        assert_eq!(changes.due_ns(), None);
        changes.links.want();
        assert!(changes.links.is_due(0) && changes.due_ns() == Some(0) && !changes.neighbours.is_due(0));
        assert_eq!(changes.links.taken(WELL, 0), None);
        assert!(!changes.links.is_wanted());
        assert_eq!(changes.due_ns(), None);
    }

    #[test]
    fn a_look_that_fails_is_taken_again_after_a_while() {
        let mut changes = Changes::default();
        changes.links.want();
        let news = changes.links.taken(Err("list links: interrupted"), 5);
        assert_eq!(news, Some(News::Failed("list links: interrupted".to_owned())));
        assert_eq!(changes.due_ns(), Some(5 + SECOND), "not at once, and not never");
        assert!(!changes.links.is_due(4 + SECOND));
        // Not even when there are more changes.
        changes.links.want();
        assert!(!changes.links.is_due(4 + SECOND) && changes.links.is_due(5 + SECOND));
        assert_eq!(changes.links.taken(WELL, 5 + SECOND), Some(News::Well));
        assert_eq!(changes.due_ns(), None);
        changes.links.want();
        assert!(changes.links.is_due(6 + SECOND));
    }

    #[test]
    fn the_same_failure_again_is_no_news() {
        let mut look = Look::default();
        look.want();
        let news: Vec<_> = ["a", "a", "b", "b"].map(|error| look.taken(Err(error), 0)).into();
        let said = |error: &str| Some(News::Failed(error.to_owned()));
        assert_eq!(news, [said("a"), None, said("b"), None]);
        assert_eq!(look.taken(WELL, 0), Some(News::Well));
        assert_eq!(look.taken(WELL, 0), None);
    }

    #[test]
    fn routes_that_change_all_the_time_are_asked_for_after_a_pause() {
        let mut changes = Changes::default();
        assert!(!changes.take_routes(SECOND));
        changes.routes_changed();
        assert!(changes.take_routes(SECOND) && !changes.take_routes(SECOND));
        changes.routes_changed();
        let due = after(SECOND, ROUTES_REFRESH);
        assert_eq!(changes.due_ns(), Some(due));
        assert!(!changes.take_routes(due - 1) && changes.take_routes(due));
    }
}
