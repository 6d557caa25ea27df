//! Who follows whom.

use std::fmt;
use std::sync::Arc;

use super::{Saga, SagaPolicy, SystemError};
use crate::projection::{Policy, SharedPolicy};

/// Applications by name, their policies, and the pipes between them. It can be run any number of times, by any runner,
/// on any recorders.
///
/// ```
/// # use annals::{Event, Notified, System, policy};
/// # #[derive(serde::Serialize, serde::Deserialize)] enum DogEvent { Registered { name: String } }
/// # impl Event for DogEvent {}
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Greeted { name: String }
/// # impl Event for Greeted {}
/// let system = System::builder()
///     .leader("school")
///     .process("greeter", policy(|event: &Notified<DogEvent>, work| {
///         let DogEvent::Registered { name } = &event.event;
///         Ok(work.record(&Greeted { name: name.clone() })?)
///     }))
///     .pipe(["school", "greeter"])
///     .build()?;
/// assert_eq!(system.followers().collect::<Vec<_>>(), ["greeter"]);
/// # Ok::<(), annals::SystemError>(())
/// ```
#[derive(Clone, Debug)]
pub struct System {
    pub(super) nodes: Vec<Node>,
    /// Places of leader and follower, in the order of the pipes, each once.
    pub(super) edges: Vec<(usize, usize)>,
}

impl System {
    /// A system to be put together.
    pub fn builder() -> SystemBuilder {
        SystemBuilder::default()
    }

    /// Names of all applications, in the order they were defined.
    pub fn applications(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| &*node.name)
    }

    /// Names of those that others follow.
    pub fn leaders(&self) -> impl Iterator<Item = &str> {
        self.named(|edge, place| edge.0 == place)
    }

    /// Names of those that follow others.
    pub fn followers(&self) -> impl Iterator<Item = &str> {
        self.named(|edge, place| edge.1 == place)
    }

    /// Names of leader and follower, of each pair that a pipe connects.
    pub fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        let name = |place: usize| &*self.nodes[place].name;
        (self.edges.iter()).map(move |(leader, follower)| (name(*leader), name(*follower)))
    }

    fn named(&self, is_chosen: fn(&(usize, usize), usize) -> bool) -> impl Iterator<Item = &str> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(move |(place, _)| self.edges.iter().any(|edge| is_chosen(edge, *place)))
            .map(|(_, node)| &*node.name)
    }

    pub(super) fn place(&self, name: &str) -> Result<usize, SystemError> {
        place_of(&self.nodes, name)
    }
}

/// What an application is to a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is followed, and follows nobody.
    Leader,
    /// It follows others, and nobody follows it.
    Follower,
    /// It follows others and is followed.
    Process,
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Process => "process application",
        })
    }
}

#[derive(Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) policy: Option<SharedPolicy>,
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?}", self.role, self.name)
    }
}

/// A [`System`] being put together; [`SystemBuilder::build`] checks it.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct SystemBuilder {
    nodes: Vec<Node>,
    pipes: Vec<Vec<String>>,
}

impl SystemBuilder {
    /// An application that others follow. Names are 1..=100 bytes without `#` and `/`, and stay the same for good: what a
    /// follower has processed is recorded under its leader's name.
    pub fn leader(self, name: impl Into<String>) -> Self {
        self.node(name.into(), Role::Leader, None)
    }

    /// An application that follows others, and that nobody follows.
    pub fn follower(self, name: impl Into<String>, policy: impl Policy) -> Self {
        self.node(name.into(), Role::Follower, Some(Arc::new(policy)))
    }

    /// An application that follows others, and that others may follow.
    pub fn process(self, name: impl Into<String>, policy: impl Policy) -> Self {
        self.node(name.into(), Role::Process, Some(Arc::new(policy)))
    }

    /// An application that runs a [`Saga`]: it follows itself too, so that the events of its timers reach it.
    pub fn saga<S: Saga>(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.process(name.clone(), SagaPolicy::<S>::new())
            .pipe([name.clone(), name])
    }

    /// Each of these is followed by the next. A name may come again: loops are legal.
    pub fn pipe<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.pipes.push(names.into_iter().map(Into::into).collect());
        self
    }

    /// The system.
    ///
    /// # Errors
    /// [`SystemError::Name`], [`SystemError::DefinedTwice`], [`SystemError::NoPipes`], [`SystemError::ShortPipe`],
    /// [`SystemError::Unknown`], [`SystemError::NotALeader`], [`SystemError::NotAFollower`],
    /// [`SystemError::Unconnected`].
    pub fn build(self) -> Result<System, SystemError> {
        let Self { nodes, pipes } = self;
        for (place, node) in nodes.iter().enumerate() {
            let name = node.name.clone();
            if !(1..=NAME_LEN_MAX).contains(&name.len()) || name.contains(['#', '/']) {
                return Err(SystemError::Name { name });
            }
            if place_of(&nodes, &name)? != place {
                return Err(SystemError::DefinedTwice { name });
            }
        }
        if pipes.is_empty() {
            return Err(SystemError::NoPipes);
        }
        let mut edges = Vec::new();
        for pipe in pipes {
            if pipe.len() < 2 {
                return Err(SystemError::ShortPipe { found: pipe.len() });
            }
            for pair in pipe.windows(2) {
                let edge = (place_of(&nodes, &pair[0])?, place_of(&nodes, &pair[1])?);
                let (leader, follower) = (&nodes[edge.0], &nodes[edge.1]);
                if leader.role == Role::Follower {
                    let (name, role) = (leader.name.clone(), leader.role);
                    return Err(SystemError::NotALeader { name, role });
                }
                if follower.policy.is_none() {
                    let (name, role) = (follower.name.clone(), follower.role);
                    return Err(SystemError::NotAFollower { name, role });
                }
                if !edges.contains(&edge) {
                    edges.push(edge);
                }
            }
        }
        let is_connected =
            |place: usize| edges.iter().any(|edge| edge.0 == place || edge.1 == place);
        match (0..nodes.len()).find(|place| !is_connected(*place)) {
            Some(place) => Err(SystemError::Unconnected {
                name: nodes[place].name.clone(),
            }),
            None => Ok(System { nodes, edges }),
        }
    }

    fn node(mut self, name: String, role: Role, policy: Option<SharedPolicy>) -> Self {
        self.nodes.push(Node { name, role, policy });
        self
    }
}

fn place_of(nodes: &[Node], name: &str) -> Result<usize, SystemError> {
    (nodes.iter().position(|node| node.name == name)).ok_or_else(|| SystemError::Unknown {
        name: name.to_owned(),
    })
}

/// Longest name of an application: with a partition behind it, it still fits what a tracking name may have.
const NAME_LEN_MAX: usize = 100;
