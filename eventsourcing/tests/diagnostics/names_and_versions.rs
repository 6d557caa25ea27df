//! A stored name belongs to one event, and from every version a way leads to today's.

use annals::{Event, Mapper};

#[derive(Event)]
enum Twice {
    #[event(name = "a", alias = "b")]
    First,
    #[event(name = "b")]
    Second,
}

#[derive(Event)]
enum Versions {
    #[event(version = 3, upcast(1 = same))]
    Gap,
    #[event(version = 0)]
    Zero,
    #[event(upcast(1 = same))]
    NotOlder,
    #[event(version = 2, upcast(1 = same, 1 = same))]
    TwoSteps,
    #[event(version = 2, upcast(1 = 7))]
    NoFunction,
}

#[derive(Event)]
#[event(name = "x")]
enum Options {
    #[event(nmae = "a")]
    Typo,
    #[event(name = "")]
    Empty,
    Tags {
        #[event(tags)]
        a: u8,
    },
    Nameless(#[event(tag)] u8),
}

fn same(old: u8) -> u8 {
    old
}

fn main() {
    let _ = Mapper::default().encode(&Twice::First, uuid::Uuid::nil());
}
