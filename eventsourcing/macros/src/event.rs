//! `derive(Event)`: the trait, its table of types, tags, and serde's two traits under the stored names.
//!
//! serde's traits are derived for a hidden twin of the type that carries the stored names (`serde(remote)` makes the
//! derive build and read the type itself), so that every other attribute of serde keeps its meaning.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Fields, Ident, LitStr, Type};

use crate::event_options::{EventOptions, tag_of_field, unraw};
use crate::problems::Problems;
use crate::serde_attributes::{self, Place};

pub(crate) fn expand(input: &DeriveInput) -> TokenStream {
    let mut problems = Problems::default();
    if !input.generics.params.is_empty() {
        problems.add(
            &input.generics,
            "an event type has no parameters: what is stored is of one type",
        );
    }
    let read = match &input.data {
        Data::Enum(data) => {
            refuse_event_options(&input.attrs, &mut problems);
            let serde = serde_attributes::read(&input.attrs, Place::Enum, &mut problems);
            let kinds = data
                .variants
                .iter()
                .map(|variant| Kind::variant(variant, &mut problems))
                .collect();
            Some((serde, kinds))
        }
        Data::Struct(data) => {
            let serde = serde_attributes::read(&input.attrs, Place::Struct, &mut problems);
            let options = EventOptions::read(&input.attrs, &mut problems);
            let kind = Kind::new(
                &input.ident,
                options,
                Vec::new(),
                &data.fields,
                &mut problems,
            );
            Some((serde, vec![kind]))
        }
        Data::Union(data) => {
            problems.add(data.union_token, "an event is an enum or a struct");
            None
        }
    };
    let written = read.map(|(serde, kinds)| {
        refuse_repeated_names(&kinds, &mut problems);
        let types: Vec<_> = kinds
            .iter()
            .map(|kind| kind.options.event_type(&kind.name, &mut problems))
            .collect();
        problems.is_empty().then(|| {
            let mut written = event_impl(input, &kinds, &types);
            written.extend(serde_impls(input, &serde, &kinds));
            written
        })
    });
    match written.flatten() {
        Some(written) => written,
        None => {
            let mut written = problems.into_tokens();
            if input.generics.params.is_empty() {
                written.extend(stub(&input.ident));
            }
            written
        }
    }
}

/// A variant, or the whole struct.
struct Kind<'a> {
    ident: &'a Ident,
    options: EventOptions,
    /// The stored name.
    name: LitStr,
    serde: Vec<&'a Attribute>,
    shape: &'a Fields,
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    ident: Option<&'a Ident>,
    ty: &'a Type,
    serde: Vec<&'a Attribute>,
    /// Key of its tag.
    tag: Option<String>,
}

impl<'a> Kind<'a> {
    fn variant(variant: &'a syn::Variant, problems: &mut Problems) -> Self {
        let options = EventOptions::read(&variant.attrs, problems);
        let serde = serde_attributes::read(&variant.attrs, Place::Variant, problems);
        Self::new(&variant.ident, options, serde, &variant.fields, problems)
    }

    fn new(
        ident: &'a Ident,
        options: EventOptions,
        serde: Vec<&'a Attribute>,
        shape: &'a Fields,
        problems: &mut Problems,
    ) -> Self {
        let own_name = || LitStr::new(&unraw(ident), ident.span());
        let name = options.name.clone().unwrap_or_else(own_name);
        let fields = shape
            .iter()
            .map(|field| Field {
                ident: field.ident.as_ref(),
                ty: &field.ty,
                serde: serde_attributes::read(&field.attrs, Place::Field, problems),
                tag: tag_of_field(&field.attrs, field.ident.as_ref(), problems),
            })
            .collect();
        Self {
            ident,
            options,
            name,
            serde,
            shape,
            fields,
        }
    }

    /// Its fields as they are declared, with serde's attributes only.
    fn declared_fields(&self) -> TokenStream {
        let fields = self.fields.iter().map(|field| {
            let Field {
                ident, ty, serde, ..
            } = field;
            let colon = ident.map(|_| quote!(:));
            quote!(#(#serde)* #ident #colon #ty)
        });
        match self.shape {
            Fields::Named(_) => quote!({ #(#fields),* }),
            Fields::Unnamed(_) => quote!((#(#fields),*)),
            Fields::Unit => quote!(),
        }
    }

    /// The arm of `tags` for it; nothing when no field is a tag.
    fn tags_arm(&self, path: &TokenStream) -> Option<TokenStream> {
        let (mut bound, mut pushed) = (Vec::new(), Vec::new());
        for (place, field) in self.fields.iter().enumerate() {
            let Some(key) = &field.tag else { continue };
            let value = format_ident!("field_{place}");
            let member = match field.ident {
                Some(ident) => ident.to_token_stream(),
                None => syn::Index::from(place).to_token_stream(),
            };
            bound.push(quote!(#member: #value));
            let push = quote!(tags.push(::std::format!("{}:{}", #key, #value)););
            pushed.push(match outer_type(field.ty).as_deref() {
                Some("Option" | "Vec" | "BTreeSet" | "HashSet") => {
                    quote!(for #value in #value.iter() { #push })
                }
                _ => push,
            });
        }
        (!bound.is_empty()).then(|| {
            quote!(#path { #(#bound,)* .. } => {
                let mut tags = ::std::vec::Vec::new();
                #(#pushed)*
                tags
            })
        })
    }
}

fn event_impl(input: &DeriveInput, kinds: &[Kind<'_>], types: &[TokenStream]) -> TokenStream {
    let ident = &input.ident;
    let is_enum = matches!(input.data, Data::Enum(_));
    let arms: Vec<_> = kinds
        .iter()
        .filter_map(|kind| {
            let variant = kind.ident;
            kind.tags_arm(&if is_enum {
                quote!(Self::#variant)
            } else {
                quote!(Self)
            })
        })
        .collect();
    let rest = (arms.len() < kinds.len()).then(|| quote!(_ => ::std::vec::Vec::new(),));
    let tags = (!arms.is_empty()).then(|| {
        quote! {
            fn tags(&self) -> ::std::vec::Vec<::std::string::String> {
                match self { #(#arms)* #rest }
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl ::annals::Event for #ident {
            const TYPES: &'static [::annals::EventType] = &[#(#types),*];
            #tags
        }
    }
}

fn serde_impls(input: &DeriveInput, serde: &[&Attribute], kinds: &[Kind<'_>]) -> TokenStream {
    let ident = &input.ident;
    let remote = ident.to_string();
    let twin = format_ident!("Stored{}", unraw(ident));
    let declared =
        match &input.data {
            Data::Enum(_) => {
                let variants = kinds.iter().map(|kind| {
                let Kind { ident, name, serde, .. } = kind;
                let (aliases, fields) = (&kind.options.aliases, kind.declared_fields());
                quote!(#[serde(rename = #name #(, alias = #aliases)*)] #(#serde)* #ident #fields)
            });
                quote!(#[serde(rename = #remote)] enum #twin { #(#variants),* })
            }
            _ => {
                let kind = &kinds[0];
                let (name, fields) = (&kind.name, kind.declared_fields());
                let end = (!matches!(kind.shape, Fields::Named(_))).then(|| quote!(;));
                quote!(#[serde(rename = #name)] struct #twin #fields #end)
            }
        };
    quote! {
        const _: () = {
            #[allow(dead_code, unreachable_pub, reason = "serde's derive reads it, nothing is ever made of it")]
            #[derive(::annals::__private::serde::Serialize, ::annals::__private::serde::Deserialize)]
            #[serde(crate = "::annals::__private::serde", remote = #remote)]
            #(#serde)*
            #declared

            #[automatically_derived]
            impl ::annals::__private::serde::Serialize for #ident {
                #[inline]
                fn serialize<S: ::annals::__private::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    #twin::serialize(self, serializer)
                }
            }

            #[automatically_derived]
            impl<'de> ::annals::__private::serde::Deserialize<'de> for #ident {
                #[inline]
                fn deserialize<D: ::annals::__private::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    #twin::deserialize(deserializer)
                }
            }
        };
    }
}

/// What keeps the rest of the program from being blamed for a mistake in the event.
fn stub(ident: &Ident) -> TokenStream {
    quote! {
        impl ::annals::Event for #ident {}
        impl ::annals::__private::serde::Serialize for #ident {
            fn serialize<S: ::annals::__private::serde::Serializer>(
                &self,
                _: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                ::core::unreachable!()
            }
        }
        impl<'de> ::annals::__private::serde::Deserialize<'de> for #ident {
            fn deserialize<D: ::annals::__private::serde::Deserializer<'de>>(
                _: D,
            ) -> ::core::result::Result<Self, D::Error> {
                ::core::unreachable!()
            }
        }
    }
}

fn refuse_event_options(attributes: &[Attribute], problems: &mut Problems) {
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("event"))
    {
        problems.add(
            attribute,
            "`#[event(…)]` stands on the variants of an enum, each of which is a kind of event",
        );
    }
}

fn refuse_repeated_names(kinds: &[Kind<'_>], problems: &mut Problems) {
    let mut seen = Vec::new();
    for kind in kinds {
        for name in std::iter::once(&kind.name).chain(&kind.options.aliases) {
            let text = name.value();
            if seen.contains(&text) {
                problems.add(
                    name,
                    format!("a second kind of event under the stored name {text:?}"),
                );
            }
            seen.push(text);
        }
    }
}

/// `Option` of `std::option::Option<u8>`.
fn outer_type(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}
