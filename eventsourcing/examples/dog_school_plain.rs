//! The school of dogs without a macro but `derive(Event)`: an enum of what can happen, and two functions that say what
//! that changes. It is what `#[aggregate]` writes for `dog_school.rs`; the stored events are the same.

use annals::{Aggregate, Application, Event, Root};

struct Dog {
    name: String,
    tricks: Vec<String>,
}

#[derive(Event)]
enum DogEvent {
    #[event(name = "Dog.Registered")]
    Registered { name: String },
    #[event(name = "Dog.TrickAdded")]
    TrickAdded { trick: String },
}

impl Aggregate for Dog {
    type Event = DogEvent;

    /// Not every event is a first one.
    fn start(event: &DogEvent) -> Option<Self> {
        match event {
            DogEvent::Registered { name } => Some(Dog {
                name: name.clone(),
                tricks: vec![],
            }),
            DogEvent::TrickAdded { .. } => None,
        }
    }

    fn apply(&mut self, event: &DogEvent) {
        match event {
            DogEvent::Registered { .. } => {}
            DogEvent::TrickAdded { trick } => self.tricks.push(trick.clone()),
        }
    }
}

fn main() -> Result<(), annals::Error> {
    let school = Application::in_memory();

    let (name, trick) = ("Fido".into(), "sit".into());
    let mut fido = Root::<Dog>::new(school.new_id(), DogEvent::Registered { name })?;
    fido.trigger(DogEvent::TrickAdded { trick });
    school.save(&mut fido)?;

    let copy = school.repository().get::<Dog>(fido.id())?;
    assert_eq!(copy.name, "Fido");
    assert_eq!(copy.tricks, ["sit"]);
    Ok(())
}

#[test]
fn it_runs_to_its_end() -> Result<(), annals::Error> {
    main()
}
