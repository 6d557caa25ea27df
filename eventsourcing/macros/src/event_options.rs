//! What stands in `#[event(…)]` on a kind of event, and on a field.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, LitInt, LitStr, Token, parenthesized};

use crate::problems::Problems;

/// Options of a kind of event.
#[derive(Default)]
pub(crate) struct EventOptions {
    pub(crate) name: Option<LitStr>,
    pub(crate) aliases: Vec<LitStr>,
    version: Option<LitInt>,
    /// From which version, and how.
    upcasters: Vec<(LitInt, Expr)>,
}

impl EventOptions {
    /// Those of all `#[event(…)]` among the attributes.
    pub(crate) fn read(attributes: &[Attribute], problems: &mut Problems) -> Self {
        let mut options = Self::default();
        for attribute in attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("event"))
        {
            problems.check(
                attribute.parse_nested_meta(|meta| match options.option(&meta)? {
                    true => Ok(()),
                    false => Err(meta.error(format!("no option of an event; there are {KNOWN}"))),
                }),
            );
        }
        options
    }

    /// Reads one option; `false` when it is none of a kind of event.
    pub(crate) fn option(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<bool> {
        if meta.path.is_ident("name") {
            let name = stored_name(meta)?;
            if self.name.replace(name).is_some() {
                return Err(
                    meta.error("an event is stored under one name; older ones are `alias`es")
                );
            }
        } else if meta.path.is_ident("alias") {
            self.aliases.push(stored_name(meta)?);
        } else if meta.path.is_ident("version") {
            self.version = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("upcast") {
            let steps;
            parenthesized!(steps in meta.input);
            while !steps.is_empty() {
                let from = steps.parse()?;
                steps.parse::<Token![=]>()?;
                self.upcasters.push((from, steps.parse()?));
                if !steps.is_empty() {
                    steps.parse::<Token![,]>()?;
                }
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The options as they are written, without the name.
    pub(crate) fn rest(&self) -> TokenStream {
        let aliases = &self.aliases;
        let version = self.version.iter();
        let steps = self
            .upcasters
            .iter()
            .map(|(from, step)| quote!(#from = #step));
        quote!(#(, alias = #aliases)* #(, version = #version)* , upcast(#(#steps),*))
    }

    /// `EventType` under this name.
    pub(crate) fn event_type(&self, name: &LitStr, problems: &mut Problems) -> TokenStream {
        let mut written = quote!(::annals::EventType::new(#name));
        if !self.aliases.is_empty() {
            let aliases = &self.aliases;
            written.extend(quote!(.aliases(&[#(#aliases),*])));
        }
        let version = match &self.version {
            None => 1,
            Some(version) => match version.base10_parse::<u32>() {
                Ok(number) if number > 0 => number,
                _ => {
                    problems.add(version, "schema versions are whole numbers from 1");
                    return written;
                }
            },
        };
        let mut steps = Vec::new();
        for (from, step) in &self.upcasters {
            match from.base10_parse::<u32>() {
                Ok(number) if (1..version).contains(&number) => {
                    if steps.contains(&number) {
                        problems.add(from, format!("a second upcaster from version {number}; one is enough"));
                    }
                    steps.push(number);
                }
                _ => problems.add(
                    from,
                    format!(
                        "an upcaster from a version that is not older than the event's, which is {version}; \
                         give the event a later `version`"
                    ),
                ),
            }
            if let Expr::Path(_) | Expr::Closure(_) = step {
                continue;
            }
            problems.add(step, "an upcaster is a function or a closure");
        }
        if let Some(missing) = (1..version).find(|from| !steps.contains(from)) {
            problems.add(
                &self.version,
                format!(
                    "events of version {missing} may be stored, and nothing leads on from there; add \
                     `upcast({missing} = …)`, a function from what version {missing} was to what version {next} is",
                    next = missing + 1
                ),
            );
        }
        if version > 1 {
            let steps = self.upcasters.iter().map(|(from, step)| {
                quote_spanned!(step.span()=>
                    ::annals::Upcaster::new(#from, |old| ::annals::Upcaster::typed(old, #step)))
            });
            written.extend(quote!(.version(#version, &[#(#steps),*])));
        }
        written
    }
}

/// Reads `#[event(tag)]` and `#[event(tag = "course")]` on a field: the key of its tag.
pub(crate) fn tag_of_field(
    attributes: &[Attribute],
    field: Option<&syn::Ident>,
    problems: &mut Problems,
) -> Option<String> {
    let mut key = None;
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("event"))
    {
        problems.check(attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("tag") {
                return Err(meta.error("no option of a field; there are `tag` and `tag = \"key\"`"));
            }
            key = Some(match (meta.input.peek(Token![=]), field) {
                (true, _) => meta.value()?.parse::<LitStr>()?.value(),
                (false, Some(field)) => unraw(field),
                (false, None) => {
                    return Err(
                        meta.error("a field without a name needs a key: `tag = \"course\"`")
                    );
                }
            });
            Ok(())
        }));
    }
    key
}

pub(crate) fn unraw(ident: &syn::Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").unwrap_or(&text).to_owned()
}

fn stored_name(meta: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    let name: LitStr = meta.value()?.parse()?;
    match name.value().len() {
        1..=TOPIC_LEN_MAX => Ok(name),
        len => Err(syn::Error::new(
            name.span(),
            format!("a stored name of {len} bytes, expected 1..={TOPIC_LEN_MAX}"),
        )),
    }
}

pub(crate) const KNOWN: &str =
    "`name = \"…\"`, `alias = \"…\"`, `version = 2` and `upcast(1 = function)`";

/// As `annals::Limit::Topic` has it.
const TOPIC_LEN_MAX: usize = 1024;
