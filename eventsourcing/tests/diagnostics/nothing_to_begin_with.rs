//! An aggregate begins with an event, and each event is one.

use annals::aggregate;

struct Dog;

#[aggregate]
impl Dog {
    #[event(Slept)]
    fn sleep(&mut self) {}
}

struct Cat;

#[aggregate]
impl Cat {
    #[event(Found)]
    fn find() -> Self {
        Cat
    }

    #[event(Found)]
    fn find_again(&mut self) {}
}

fn main() {}
