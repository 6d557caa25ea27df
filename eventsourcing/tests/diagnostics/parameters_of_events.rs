//! What is stored is owned, has a name and one type.

use annals::aggregate;

struct Dog;

#[aggregate]
impl Dog {
    #[event(Registered)]
    fn register(name: &str, tags: &[String], other: &Vec<u8>) -> Self {
        Dog
    }

    #[event(Moved)]
    fn move_to(&mut self, (x, y): (u32, u32)) {}

    #[event(Named)]
    fn rename(&mut self, name: impl ToString) {}

    #[event(Fed)]
    fn feed<T>(&mut self, food: T) {}
}

fn main() {}
