//! The names of events are not serde's to change or to hide.

use annals::Event;

#[derive(Event)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Hidden {
    #[serde(rename = "a", alias = "b")]
    Renamed,
    #[serde(skip)]
    Skipped,
    #[serde(untagged)]
    Untagged,
}

#[derive(Event)]
#[serde(into = "u8")]
struct Into {
    #[serde(rename = "fine")]
    a: u8,
}

#[derive(Event)]
struct Generic<T>(T);

fn main() {}
