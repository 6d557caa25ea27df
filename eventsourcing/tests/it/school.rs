//! Two aggregates to save and load.

use annals::{Aggregate, Event};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dog {
    pub(crate) name: String,
    pub(crate) tricks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum DogEvent {
    Registered {
        name: String,
    },
    #[serde(rename = "dog.trick-added")]
    TrickAdded {
        trick: String,
    },
}

impl DogEvent {
    pub(crate) fn registered(name: &str) -> Self {
        Self::Registered {
            name: name.to_owned(),
        }
    }

    pub(crate) fn trick_added(trick: &str) -> Self {
        Self::TrickAdded {
            trick: trick.to_owned(),
        }
    }
}

impl Event for DogEvent {
    fn tags(&self) -> Vec<String> {
        match self {
            Self::Registered { name } => vec![format!("name:{name}")],
            Self::TrickAdded { .. } => vec![],
        }
    }
}

impl Aggregate for Dog {
    type Event = DogEvent;

    fn start(event: &DogEvent) -> Option<Self> {
        match event {
            DogEvent::Registered { name } => Some(Self {
                name: name.clone(),
                tricks: vec![],
            }),
            DogEvent::TrickAdded { .. } => None,
        }
    }

    fn apply(&mut self, event: &DogEvent) {
        if let DogEvent::TrickAdded { trick } = event {
            self.tricks.push(trick.clone());
        }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Course {
    pub(crate) dogs: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum CourseEvent {
    Opened,
    DogJoined,
}

impl Event for CourseEvent {}

impl Aggregate for Course {
    type Event = CourseEvent;

    fn start(event: &CourseEvent) -> Option<Self> {
        (*event == CourseEvent::Opened).then_some(Self { dogs: 0 })
    }

    fn apply(&mut self, event: &CourseEvent) {
        if *event == CourseEvent::DogJoined {
            self.dogs += 1;
        }
    }
}
