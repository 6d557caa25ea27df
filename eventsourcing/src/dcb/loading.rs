//! From models before any event to a perspective.
//!
//! Without snapshots one read of the union of the boundaries feeds all models. With them each model is read by
//! itself, behind its own; the first read says which moment is shown, and what the others find beyond that is left
//! out.

use super::model::sealed::Leaf;
use super::snapshot::Shelf;
use super::{DcbApplication, DcbError, Models, Perspective};
use crate::persistence::{Found, Query, SnapshotRecorder};

impl DcbApplication {
    /// What models see now, all of them at the same moment.
    ///
    /// `models`: one [`DecisionModel`](super::DecisionModel), or a tuple, vector or array of them, before any event.
    ///
    /// # Errors
    /// [`DcbError::Persistence`]: events cannot be read, or a boundary holds events that its model does not know.
    pub fn load<M: Models>(&self, models: M) -> Result<Perspective<M>, DcbError> {
        let mut seen = Perspective::new(models, self.mapper.clone());
        match self.snapshots.as_deref() {
            Some(snapshots) if seen.parts().iter().any(|(leaf, _)| leaf.policy().is_some()) => {
                let mut moment = None;
                for (leaf, boundary) in seen.parts() {
                    self.load_part(leaf, boundary, snapshots, &mut moment)?;
                }
                seen.known(moment.unwrap_or(0));
            }
            _ => self.read_on(&mut seen)?,
        }
        Ok(seen)
    }

    /// Brings a perspective up to date: what was decided elsewhere since it was loaded or saved is applied. Costs what
    /// is new only, so whoever decides in one boundary again and again keeps the perspective.
    ///
    /// # Errors
    /// [`DcbError::CannotAdvance`] when it has events of its own that are not saved. [`DcbError::Persistence`]: let go
    /// of it then, for one model may be ahead of another.
    pub fn advance<M: Models>(&self, perspective: &mut Perspective<M>) -> Result<(), DcbError> {
        perspective.check_advance()?;
        self.read_on(perspective)
    }

    /// Applies what the boundary holds behind the last known position.
    fn read_on<M: Models>(&self, seen: &mut Perspective<M>) -> Result<(), DcbError> {
        if seen.boundary().is_empty() {
            return Ok(());
        }
        let items = seen.boundary().to_vec();
        let known = seen.last_known_position();
        let found = self.read(&Query { items }, known)?;
        seen.fold(&found.notifications)?;
        seen.known(found.head.unwrap_or(0).max(known));
        Ok(())
    }

    /// Loads one model up to `moment`, which it decides upon if it is the first.
    fn load_part(
        &self,
        leaf: &mut (dyn Leaf + '_),
        boundary: &Query,
        snapshots: &dyn SnapshotRecorder,
        moment: &mut Option<u64>,
    ) -> Result<(), DcbError> {
        let shelf = Shelf::of(leaf, boundary, snapshots, &self.mapper);
        let recalled = match &shelf {
            Some(shelf) => self.recall(leaf, boundary, shelf, *moment)?,
            None => None,
        };
        let found = match recalled {
            Some(found) => found,
            None => self.read(boundary, 0)?,
        };
        let moment = *moment.get_or_insert(found.head.unwrap_or(0));
        let shown = found
            .notifications
            .partition_point(|notification| notification.position <= moment);
        let folded = &found.notifications[..shown];
        for notification in folded {
            leaf.apply(&self.mapper, &notification.event, None)
                .map_err(DcbError::persistence("apply an event"))?;
        }
        if let Some(shelf) = shelf {
            shelf.keep_when_due(leaf, folded, moment);
        }
        Ok(())
    }

    /// Restores the newest snapshot of a model, and answers what lies behind it; `None` when there is none, or none to
    /// rely on.
    fn recall(
        &self,
        leaf: &mut (dyn Leaf + '_),
        boundary: &Query,
        shelf: &Shelf<'_>,
        moment: Option<u64>,
    ) -> Result<Option<Found>, DcbError> {
        let Some((position, snapshot)) = shelf.latest(moment) else {
            return Ok(None);
        };
        let found = match self.read(boundary, snapshot.last_position.saturating_sub(1)) {
            Ok(mut found) => match found.notifications.first() {
                Some(first) if snapshot.ends_with(first) => {
                    found.notifications.remove(0);
                    found
                }
                _ => return Ok(None),
            },
            // Dropped: then what lies behind the snapshot can be read, or this fails as well.
            Err(DcbError::Persistence { source, .. }) if source.is_expired() => {
                self.read(boundary, position)?
            }
            Err(error) => return Err(error),
        };
        Ok(leaf.restore(snapshot.state).is_ok().then_some(found))
    }

    fn read(&self, query: &Query, after: u64) -> Result<Found, DcbError> {
        self.recorder
            .read(query, after, None)
            .map_err(DcbError::persistence("read the events of a boundary"))
    }
}
