//! The school of dogs as two pure functions: `decide` says what a command makes happen, `evolve` what that changes. The
//! stored events are those of `dog_school.rs`.

use annals::{Application, Decider, Event, Pure};

struct Dog {
    name: String,
    tricks: Vec<String>,
}

enum DogCommand {
    Register { name: String },
    Teach { trick: String },
}

#[derive(Debug, PartialEq, Event)]
enum DogEvent {
    #[event(name = "Dog.Registered")]
    Registered { name: String },
    #[event(name = "Dog.TrickAdded")]
    TrickAdded { trick: String },
}

#[derive(Debug, PartialEq)]
enum Refused {
    AlreadyRegistered,
    NotRegistered,
}

impl Decider for Dog {
    type Command = DogCommand;
    type Event = DogEvent;
    type Error = Refused;

    fn decide(dog: Option<&Dog>, command: DogCommand) -> Result<Vec<DogEvent>, Refused> {
        match (dog, command) {
            (None, DogCommand::Register { name }) => Ok(vec![DogEvent::Registered { name }]),
            (None, _) => Err(Refused::NotRegistered),
            (Some(_), DogCommand::Register { .. }) => Err(Refused::AlreadyRegistered),
            // Nothing happens to a dog that knows it already.
            (Some(dog), DogCommand::Teach { trick }) if dog.tricks.contains(&trick) => Ok(vec![]),
            (Some(_), DogCommand::Teach { trick }) => Ok(vec![DogEvent::TrickAdded { trick }]),
        }
    }

    fn evolve(dog: Option<Dog>, event: &DogEvent) -> Option<Dog> {
        match (dog, event) {
            (None, DogEvent::Registered { name }) => Some(Dog {
                name: name.clone(),
                tricks: vec![],
            }),
            (Some(mut dog), DogEvent::TrickAdded { trick }) => {
                dog.tricks.push(trick.clone());
                Some(dog)
            }
            (dog, _) => dog,
        }
    }
}

fn main() -> Result<(), annals::Error> {
    let school = Application::in_memory();
    let (name, trick) = ("Fido".to_owned(), "sit".to_owned());

    let mut fido = Pure::<Dog>::root(school.new_id());
    let sit = || DogCommand::Teach {
        trick: trick.clone(),
    };
    assert_eq!(fido.decide(sit()), Err(Refused::NotRegistered));
    fido.decide(DogCommand::Register { name })
        .expect("it is not registered yet");
    fido.decide(sit()).expect("it is registered");
    fido.decide(sit()).expect("it is registered");
    school.save(&mut fido)?;

    let copy = school.repository().get::<Pure<Dog>>(fido.id())?;
    let dog = copy.state().expect("it was saved");
    assert_eq!(dog.name, "Fido");
    assert_eq!(dog.tricks, ["sit"]);
    assert_eq!(copy.version(), 2);
    Ok(())
}

#[test]
fn a_dog_learns_a_trick_once() {
    use annals::testing::given_pure;

    let sit = || "sit".to_owned();
    let teach = || DogCommand::Teach { trick: sit() };
    let registered = || DogEvent::Registered {
        name: "Fido".to_owned(),
    };
    let added = || DogEvent::TrickAdded { trick: sit() };
    given_pure::<Dog>([registered()])
        .when(teach())
        .then([added()]);
    given_pure::<Dog>([registered(), added()])
        .when(teach())
        .then_nothing();
    given_pure::<Dog>([])
        .when(teach())
        .then_error(Refused::NotRegistered);
}

#[test]
fn it_runs_to_its_end() -> Result<(), annals::Error> {
    main()
}
