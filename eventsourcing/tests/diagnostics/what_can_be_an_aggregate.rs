//! The attribute stands on the methods of a type without parameters.

use annals::aggregate;

struct Herd<T>(Vec<T>);

#[aggregate]
impl<T> Herd<T> {}

struct Dog;

#[aggregate]
impl Clone for Dog {
    fn clone(&self) -> Self {
        Dog
    }
}

#[aggregate(topic = "dog")]
impl Dog {
    #[event(Registered, stored = "x")]
    fn register() -> Self {
        Dog
    }

    #[event("was slept")]
    fn sleep(&mut self) {}

    #[command(now)]
    fn wake(&mut self) {}
}

fn main() {}
