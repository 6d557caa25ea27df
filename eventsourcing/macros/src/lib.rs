//! The macros of Annals. Both write what can be written by hand: `derive(Event)` an implementation of `annals::Event` and
//! of serde's traits, `#[aggregate]` an enum that derives `Event`, an implementation of `annals::Aggregate`, and a trait of
//! what can be done with one. Use them through the crate `annals`, which documents them.
//!
//! What is refused is refused where it is written, with what to write instead; around it stubs are written, so that one
//! mistake is one message.

mod aggregate;
mod event;
mod event_options;
mod method;
mod problems;
mod serde_attributes;

use proc_macro::TokenStream;

/// Documented where it is re-exported, as `annals::Event`.
#[proc_macro_derive(Event, attributes(event, serde))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    match syn::parse(input) {
        Ok(input) => event::expand(&input).into(),
        Err(error) => error.into_compile_error().into(),
    }
}

/// Documented where it is re-exported, as `annals::aggregate`.
#[proc_macro_attribute]
pub fn aggregate(args: TokenStream, item: TokenStream) -> TokenStream {
    aggregate::expand(args.into(), item.into()).into()
}
