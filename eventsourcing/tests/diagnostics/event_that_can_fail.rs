//! An event has happened: it cannot fail. One message a mistake, and none for the code around.

use annals::{Root, aggregate};

pub struct Dog {
    tricks: Vec<String>,
}

#[aggregate]
impl Dog {
    #[event(Registered)]
    pub fn register(name: String) -> Result<Self, String> {
        Ok(Dog { tricks: vec![name] })
    }

    #[event(TrickAdded)]
    pub fn add_trick(&mut self, trick: String) -> Result<(), String> {
        self.tricks.push(trick);
        Ok(())
    }

    #[event(TrickLost)]
    pub fn lose_trick(&mut self) -> Option<String> {
        self.tricks.pop()
    }

    #[event(Counted)]
    pub fn count(&mut self) -> usize {
        self.tricks.len()
    }

    #[command]
    pub fn teach(&mut self, trick: &str) -> Result<(), String> {
        self.add_trick(trick.to_owned())?;
        Err("no".to_owned())
    }
}

fn main() {
    let mut fido: Root<Dog> = Dog::register(annals::AggregateId::text("fido").unwrap(), "Fido".to_owned());
    fido.add_trick("sit".to_owned());
    fido.teach("roll over").unwrap();
}
