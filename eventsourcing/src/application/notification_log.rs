//! The sequence of all events, in sections.
//!
//! A section is named by the positions it covers ("1,10") and names the next one, so that a follower in
//! another process can fetch section by section, and a full section never changes.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::{Application, Error};
use crate::persistence::{Notification, SelectNotifications};

/// All events of an application, as others follow them.
#[derive(Clone, Copy, Debug)]
pub struct NotificationLog<'a> {
    application: &'a Application,
}

impl<'a> NotificationLog<'a> {
    pub(super) fn new(application: &'a Application) -> Self {
        Self { application }
    }

    /// The notifications at the positions of a section, at most a section's size of them.
    ///
    /// # Errors
    /// [`Error::Persistence`].
    pub fn section(&self, id: SectionId) -> Result<Section, Error> {
        let first = id.first.max(1);
        let asked = id.last.saturating_add(1).saturating_sub(first);
        let limit = usize::try_from(asked)
            .unwrap_or(usize::MAX)
            .min(self.section_size());
        let items = self.select(&SelectNotifications::first(limit).start(first))?;

        let covered = |items: &[Notification]| {
            let (first, last) = (items.first()?.position, items.last()?.position);
            Some(SectionId { first, last })
        };
        let id = covered(&items);
        let full = id.filter(|_| items.len() == limit);
        let next_id = full.map(|id| SectionId {
            first: id.last + 1,
            last: id.last.saturating_add(limit as u64),
        });
        Ok(Section { id, items, next_id })
    }

    /// Notifications of your choice, at most a section's size of them.
    ///
    /// # Errors
    /// [`Error::SectionSize`], [`Error::Persistence`].
    pub fn select(&self, select: &SelectNotifications) -> Result<Vec<Notification>, Error> {
        if select.limit > self.section_size() {
            return Err(Error::SectionSize {
                found: select.limit,
                max: self.section_size(),
            });
        }
        let doing = "read notifications";
        self.application.check_open(doing)?;
        let found = self.application.recorder.select_notifications(select);
        found.map_err(Error::persistence(doing))
    }

    /// Most notifications in a section.
    pub fn section_size(&self) -> usize {
        self.application.section_size
    }
}

/// Part of a [`NotificationLog`].
///
/// Serializes for a follower in another process: `{"id": "1,10", "items": […], "next_id": "11,20"}`, ids being `null` when
/// there are none.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Section {
    /// The positions found; `None` when there are no notifications at those asked for.
    pub id: Option<SectionId>,
    /// The notifications, ascending.
    pub items: Vec<Notification>,
    /// The section behind this one; `None` when this one is not full, and so the last for now.
    pub next_id: Option<SectionId>,
}

/// Name of a [`Section`]: the positions it covers, written "1,10".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SectionId {
    /// First position, at least 1; 0 is taken as 1.
    pub first: u64,
    /// Last position, included.
    pub last: u64,
}

impl fmt::Display for SectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{},{}", self.first, self.last)
    }
}

impl Serialize for SectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for SectionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = || {
            let (first, last) = text.split_once(',')?;
            Some(Self {
                first: first.trim().parse().ok()?,
                last: last.trim().parse().ok()?,
            })
        };
        parsed().ok_or_else(|| Error::SectionId {
            found: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_id_is_two_positions() {
        let id: SectionId = "11,20".parse().unwrap();
        assert_eq!(
            id,
            SectionId {
                first: 11,
                last: 20
            }
        );
        assert_eq!(id.to_string(), "11,20");
        for wrong in ["", "1", "1,", "a,b", "1,2,3", "-1,2"] {
            assert!(wrong.parse::<SectionId>().is_err(), "{wrong}");
        }
    }
}
