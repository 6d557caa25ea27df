//! The engines that are compared, each used as somebody would who knows it well.

mod aggregate_tag;
mod annals;
mod fjall;
mod heed;
mod redb;
mod rusqlite;
mod stored_event;
mod tephra;
mod umadb;

use crate::engine::Kind;

/// Every engine, Annals first.
pub(crate) static ALL: [Kind; 7] = [
    annals::KIND,
    tephra::KIND,
    umadb::KIND,
    rusqlite::KIND,
    redb::KIND,
    fjall::KIND,
    heed::KIND,
];

/// Cache of those engines that have one of their own: the others have all of the system's.
const CACHE_LEN: usize = 1 << 30;

/// The engine of this name.
pub(crate) fn named(name: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name)
}
