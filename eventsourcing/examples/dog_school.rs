//! A school of dogs: the smallest whole program.

use annals::{Aggregate, Application, Event, Root};

// State holds what rules ask for. The dog's name is in its history, and no rule asks for it yet.
struct Dog {
    tricks: Vec<String>,
}

#[derive(serde::Serialize, serde::Deserialize)]
enum DogEvent {
    Registered { name: String },
    TrickAdded { trick: String },
}

impl Event for DogEvent {}

impl Aggregate for Dog {
    type Event = DogEvent;

    fn start(event: &DogEvent) -> Option<Self> {
        matches!(event, DogEvent::Registered { .. }).then(|| Dog { tricks: vec![] })
    }

    fn apply(&mut self, event: &DogEvent) {
        if let DogEvent::TrickAdded { trick } = event {
            self.tricks.push(trick.clone());
        }
    }
}

fn main() -> Result<(), annals::Error> {
    let school = Application::in_memory();

    let (name, trick) = ("Fido".into(), "sit".into());
    let mut fido = Root::<Dog>::new(school.new_id(), DogEvent::Registered { name })?;
    fido.trigger(DogEvent::TrickAdded { trick });
    school.save(&mut fido)?;

    assert_eq!(school.repository().get::<Dog>(fido.id())?.tricks, ["sit"]);
    Ok(())
}
