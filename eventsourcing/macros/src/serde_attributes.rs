//! serde's attributes on events: which are passed on, and which would take the names of events out of our hands.

use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Token};

use crate::problems::Problems;

/// Where attributes stand.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Place {
    Enum,
    Struct,
    Variant,
    Field,
}

/// The attributes of serde among these, each checked.
pub(crate) fn read<'a>(
    attributes: &'a [Attribute],
    place: Place,
    problems: &mut Problems,
) -> Vec<&'a Attribute> {
    let is_serde = |attribute: &&Attribute| attribute.path().is_ident("serde");
    let found: Vec<_> = attributes.iter().filter(is_serde).collect();
    for attribute in &found {
        let metas = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        for meta in problems.check(metas).into_iter().flatten() {
            if let Some(reason) = refusal(&meta, place) {
                problems.add(meta.path(), reason);
            }
        }
    }
    found
}

fn refusal(meta: &Meta, place: Place) -> Option<&'static str> {
    let name = meta.path().get_ident()?.to_string();
    match (name.as_str(), place) {
        (_, Place::Field) => None,
        ("rename", _) => Some("the stored name of an event is `#[event(name = \"…\")]`"),
        ("alias", _) => Some("an older stored name of an event is `#[event(alias = \"…\")]`"),
        ("rename_all", Place::Enum) => Some(
            "the stored names of events are given one by one, so that none changes by accident: \
             `#[event(name = \"…\")]`",
        ),
        ("tag" | "untagged" | "content" | "transparent", _) => {
            Some("an event is stored under its name, beside its content; this would hide the name")
        }
        ("from" | "into" | "try_from" | "remote" | "crate", _) => Some(
            "`derive(Event)` implements serde's traits itself; implement `Event` by hand instead",
        ),
        ("skip" | "skip_serializing" | "skip_deserializing", _) => {
            Some("an event that is skipped could not be stored; leave the variant out")
        }
        _ => None,
    }
}
