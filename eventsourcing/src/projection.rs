//! Following a sequence of events: projections into views, and what all followers have in common.
//!
//! What holds here:
//! - What an event leads to, and that it has been processed, are stored in one transaction. So each event takes effect
//!   exactly once, whatever crashes.
//! - No event is passed over in silence: it is processed, or kept as a dead letter, or the follower stops in front of
//!   it.
//! - Followers are woken by what they follow; nothing polls.
//!
//! `application`, `persistence` and `domain` are imported here. What a store must do to be projected into is
//! [`View`](crate::View).

mod beginning;
mod effects;
mod error;
mod event_sourced;
mod follower;
mod incoming;
mod live;
mod options;
mod policy;
mod process_application;
mod runner;
mod steps;
pub(crate) mod timer;
mod work;

pub(crate) use effects::{Effects, Share, Stored};
pub use error::{Failure, Panicked, ProjectionError};
pub use event_sourced::{EventSourcedProjection, EventSourcedProjectionBuilder};
pub use follower::{Follower, Lag, Replayed};
pub use incoming::{Incoming, Notified};
pub use live::LiveProjection;
pub use options::{FollowOptions, OnFailure, Retry};
pub(crate) use policy::SharedPolicy;
pub use policy::{Policy, PolicyFn, policy};
pub use process_application::ProcessApplication;
pub use runner::{Projection, ProjectionBuilder, ProjectionRunner};
pub(crate) use steps::Steps;
pub use work::Work;
