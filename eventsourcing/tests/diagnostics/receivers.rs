//! Who changes what: events and commands take `&mut self`, an aggregate begins without.

use annals::aggregate;

struct Dog;

#[aggregate]
impl Dog {
    #[event(Registered)]
    fn register(name: String) {}

    #[event(Sold)]
    fn sell(self) {}

    #[event(Seen)]
    fn see(&self) {}

    #[event(Bought)]
    fn buy() -> u32 {
        1
    }

    #[event(Slept, id = 7)]
    fn sleep(&mut self) {}

    #[command]
    fn look(&self) {}

    #[command]
    fn create(name: &str) {}

    #[command]
    async fn fetch(&mut self) {}

    #[event(Both)]
    #[command]
    fn both(&mut self) {}

    #[event(Version)]
    fn version(&mut self) {}
}

fn main() {}
