//! Decisions without aggregates: each has a boundary of its own, drawn by a query over event types and tags.
//!
//! A [`DecisionModel`] says which events it rests on and what they add up to. [Loading](DcbApplication::load) one, or
//! several at once, answers a [`Perspective`]: their state, and the position up to which it is known. Events
//! triggered on it are [saved](DcbApplication::save) on the condition that nothing new has come into the boundary
//! since; otherwise somebody else was faster, and the decision is made [again](DcbApplication::decide). Two decisions
//! that do not look at the same events never disturb each other.
//!
//! | what | how |
//! |---|---|
//! | a rule over any events | a [`DecisionModel`] |
//! | several rules, one decision | a tuple, vector or array of models: each sees its own events, the boundary is the union |
//! | a use case by itself, its command, models and rule in one place | a [`Slice`] |
//! | a thing with an identity, its events found by its tag | an [`Object`] of an [`Aggregate`](crate::Aggregate) |
//! | a fact about several things | a tuple of objects: an event triggered on it carries the tags of all of them |
//!
//! What holds here:
//! - The models of a perspective show one moment, and change by events only.
//! - What a save rests on is checked in the very commit that stores its events.
//! - Any [`DcbRecorder`](crate::DcbRecorder) will do; events of aggregates in the same store can be looked at too.
//! - [Snapshots](SnapshotPolicy) are a cache: each is proved by the event it ends with, or passed over.
//!
//! Wider boundaries meet more often: an object looks at all of its events, a slice at those its rule needs.
//!
//! Source: <https://dcb.events>, the specification and its examples.

mod application;
mod builder;
mod error;
mod loading;
mod model;
mod object;
mod perspective;
mod slice;
mod snapshot;
mod subscription;

pub use application::{DcbApplication, Decided};
pub use builder::DcbApplicationBuilder;
pub use error::DcbError;
pub use model::{DecisionModel, Models};
pub use object::{EnduringObject, Object};
pub use perspective::{Perspective, Perspectives};
pub use slice::Slice;
pub use snapshot::SnapshotPolicy;
pub use subscription::{DecisionSubscription, Happened};
