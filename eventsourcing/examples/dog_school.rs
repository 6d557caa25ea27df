//! A school of dogs: the smallest whole program.

use annals::{Application, aggregate};

struct Dog {
    name: String,
    tricks: Vec<String>,
}

#[aggregate]
impl Dog {
    #[event(Registered)]
    fn register(name: impl Into<String>) -> Self {
        Dog {
            name: name.into(),
            tricks: vec![],
        }
    }

    #[event(TrickAdded)]
    fn add_trick(&mut self, trick: impl Into<String>) {
        self.tricks.push(trick.into());
    }
}

fn main() -> Result<(), annals::Error> {
    let school = Application::in_memory();

    let mut fido = Dog::register(school.new_id(), "Fido");
    fido.add_trick("sit");
    school.save(&mut fido)?;

    let copy = school.repository().get::<Dog>(fido.id())?;
    assert_eq!(copy.name, "Fido");
    assert_eq!(copy.tricks, ["sit"]);
    Ok(())
}
