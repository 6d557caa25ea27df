//! `#[aggregate]`: what stands on an impl, and what it becomes.
//!
//! ```text
//! #[aggregate]                                  impl Dog { fn __add_trick(&mut self, trick: String) {..} .. }
//! impl Dog {                                    impl Dog { fn register(id, name) -> Root<Dog> }
//!     #[event(Registered)]                      #[derive(Event, ..)] pub enum DogEvent { Registered {..}, TrickAdded {..} }
//!     fn register(name) -> Self {..}      =>    impl Aggregate for Dog { type Event = DogEvent; .. }
//!     #[event(TrickAdded)]                      trait DogCommands { fn add_trick(..); fn teach(..) -> ..; }
//!     fn add_trick(&mut self, trick) {..}       impl DogCommands for Root<Dog> { .. }
//!     #[command]
//!     fn teach(&mut self, ..) -> .. {..}
//! }
//! ```

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::parse::Parser;
use syn::{
    Attribute, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, LitStr, Path, Token, Type, Visibility,
    parenthesized,
};

use crate::event_options::unraw;
use crate::method::{EventMethod, Field, Marked};
use crate::problems::Problems;

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let read = syn::parse2::<ItemImpl>(item.clone()).and_then(|item| {
        let aggregate = aggregate_of(&item)?.clone();
        Ok((item, aggregate))
    });
    match read {
        Ok((item, aggregate)) => Expansion::read(args, item, aggregate).written(),
        Err(error) => {
            let mut written = error.into_compile_error();
            written.extend(item);
            written
        }
    }
}

struct Expansion {
    problems: Problems,
    options: Options,
    /// The type, as it is written behind `impl`.
    aggregate: Type,
    attributes: Vec<Attribute>,
    events: Vec<EventMethod>,
    commands: Vec<ImplItemFn>,
    /// Everything else in the impl.
    plain: Vec<ImplItem>,
}

/// Options of the attribute.
struct Options {
    /// Before the variant in stored names.
    name: String,
    /// The enum of events.
    events: Ident,
    /// The trait of what can be done.
    commands: Ident,
    /// What the events derive beside the usual.
    derives: Vec<Path>,
}

impl Expansion {
    fn read(args: TokenStream, item: ItemImpl, ident: Ident) -> Self {
        let mut problems = Problems::default();
        let options = Options::read(args, &ident, &mut problems);
        let (mut events, mut commands, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for item in item.items {
            let ImplItem::Fn(function) = item else {
                plain.push(item);
                continue;
            };
            match Marked::read(function, &ident, &mut problems) {
                Marked::Event(event) => events.push(*event),
                Marked::Command(command) => commands.push(*command),
                Marked::Plain(function) => plain.push(ImplItem::Fn(*function)),
            }
        }
        let expansion = Self {
            problems,
            options,
            aggregate: *item.self_ty,
            attributes: item.attrs,
            events,
            commands,
            plain,
        };
        expansion.checked()
    }

    fn checked(mut self) -> Self {
        if self.problems.is_empty() && !self.events.iter().any(|event| event.is_first) {
            self.problems.add(
                &self.aggregate,
                "an aggregate begins with an event: mark a function that returns `Self`, such as \
                 `#[event(Registered)] fn register(name: String) -> Self`",
            );
        }
        let mut seen: Vec<&Ident> = Vec::new();
        for event in &self.events {
            if seen.contains(&&event.variant) {
                self.problems.add(
                    &event.variant,
                    format!(
                        "a second event {}; each method is an event of its own",
                        event.variant
                    ),
                );
            }
            seen.push(&event.variant);
        }
        self
    }

    fn written(self) -> TokenStream {
        let mut written = if self.problems.is_empty() {
            let mut written = self.enum_of_events();
            written.extend(self.aggregate_impl());
            written
        } else {
            self.stub_of_events()
        };
        written.extend(self.state_impl());
        written.extend(self.constructors());
        written.extend(self.command_traits());
        written.extend(self.problems.into_tokens());
        written
    }

    fn enum_of_events(&self) -> TokenStream {
        let Options {
            name,
            events,
            derives,
            ..
        } = &self.options;
        let doc = format!(
            "What can happen to a [`{}`].",
            self.aggregate.to_token_stream()
        );
        let variants = self.events.iter().map(|event| {
            let variant = &event.variant;
            let docs = event
                .function
                .attrs
                .iter()
                .filter(|attribute| attribute.path().is_ident("doc"));
            let stored = event.options.name.clone().unwrap_or_else(|| {
                LitStr::new(&format!("{name}.{}", unraw(variant)), variant.span())
            });
            let rest = event.options.rest();
            let fields = event.fields.iter().map(|field| {
                let Field {
                    ident,
                    ty,
                    attributes,
                    ..
                } = field;
                quote!(#(#attributes)* #ident: #ty)
            });
            quote!(#(#docs)* #[event(name = #stored #rest)] #variant { #(#fields),* })
        });
        quote! {
            #[doc = #doc]
            #[allow(
                missing_docs, private_interfaces, unreachable_pub,
                reason = "events are as public as the aggregate, which is not known here"
            )]
            #[derive(::core::clone::Clone, ::core::fmt::Debug, ::core::cmp::PartialEq, ::annals::Event #(, #derives)*)]
            pub enum #events { #(#variants),* }
        }
    }

    fn aggregate_impl(&self) -> TokenStream {
        let (aggregate, events) = (&self.aggregate, &self.options.events);
        let arms = |is_first: bool, of_one: &dyn Fn(&EventMethod) -> TokenStream| {
            let mut arms = TokenStream::new();
            for event in self
                .events
                .iter()
                .filter(|event| event.is_first == is_first)
            {
                let variant = &event.variant;
                let idents = event.fields.iter().map(|field| &field.ident);
                let does = of_one(event);
                arms.extend(quote!(#events::#variant { #(#idents),* } => #does,));
            }
            arms
        };
        let cloned = |event: &EventMethod| {
            let idents = event.fields.iter().map(|field| &field.ident);
            quote!(#(::core::clone::Clone::clone(#idents)),*)
        };
        let start = arms(true, &|event| {
            let (body, arguments) = (event.body_ident(), cloned(event));
            quote!(::core::option::Option::Some(Self::#body(#arguments)))
        });
        let apply = arms(false, &|event| {
            let (body, arguments) = (event.body_ident(), cloned(event));
            quote!(Self::#body(self, #arguments))
        });
        let apply_owned = arms(false, &|event| {
            let body = event.body_ident();
            let idents = event.fields.iter().map(|field| &field.ident);
            quote!(Self::#body(self, #(#idents),*))
        });
        let has_later = self.events.iter().any(|event| !event.is_first);
        let no_start = has_later.then(|| quote!(_ => ::core::option::Option::None,));
        quote! {
            #[automatically_derived]
            impl ::annals::Aggregate for #aggregate {
                type Event = #events;

                fn start(event: &#events) -> ::core::option::Option<Self> {
                    match event { #start #no_start }
                }

                fn apply(&mut self, event: &#events) {
                    match event { #apply _ => {} }
                }

                fn apply_owned(&mut self, event: #events) {
                    match event { #apply_owned _ => {} }
                }
            }
        }
    }

    /// The bodies of events, and what has no attribute.
    fn state_impl(&self) -> TokenStream {
        let (aggregate, attributes, plain) = (&self.aggregate, &self.attributes, &self.plain);
        let bodies = self.events.iter().map(|event| {
            let mut function = event.function.clone();
            function.vis = Visibility::Inherited;
            function.sig.ident = event.body_ident();
            function.attrs.retain(|attribute| !attribute.path().is_ident("doc"));
            if !self.problems.is_empty() {
                function.block = syn::parse_quote!({ ::core::unreachable!() });
            }
            quote! {
                #[doc(hidden)]
                #[allow(unused_variables, dead_code, reason = "events keep more than the state needs")]
                #[inline]
                #function
            }
        });
        quote!(#(#attributes)* impl #aggregate { #(#bodies)* #(#plain)* })
    }

    /// Where aggregates begin.
    fn constructors(&self) -> TokenStream {
        let (aggregate, events) = (&self.aggregate, &self.options.events);
        let functions = self.events.iter().filter(|event| event.is_first).map(|event| {
            let ImplItemFn { vis, sig, attrs: attributes, .. } = &event.function;
            let (token, name) = (&sig.fn_token, &sig.ident);
            let inputs = unbound(&event.function.sig.inputs);
            let is_taken = event.fields.iter().any(|field| field.ident == "id");
            let id = format_ident!("{}", if is_taken { "aggregate_id" } else { "id" });
            let (parameter, made) = match &event.id {
                None => (
                    Some(quote!(#id: impl ::core::convert::Into<::annals::AggregateId>,)),
                    quote!(::core::convert::Into::into(#id)),
                ),
                Some(made) => (None, quote!(::core::convert::Into::into(#made))),
            };
            let body = if self.problems.is_empty() {
                let (body, variant) = (event.body_ident(), &event.variant);
                let converted = event.fields.iter().filter(|field| field.is_into).map(|field| {
                    let Field { ident, ty, .. } = field;
                    quote!(let #ident: #ty = ::core::convert::Into::into(#ident);)
                });
                let idents: Vec<_> = event.fields.iter().map(|field| &field.ident).collect();
                quote! {
                    #(#converted)*
                    let __id: ::annals::AggregateId = #made;
                    let __state = Self::#body(#(::core::clone::Clone::clone(&#idents)),*);
                    ::annals::__private::begin(__id, __state, #events::#variant { #(#idents),* })
                }
            } else {
                quote!(::core::unreachable!())
            };
            quote! {
                #(#attributes)*
                #[allow(
                    clippy::new_ret_no_self, clippy::too_many_arguments, unused_variables,
                    reason = "fields of an event are as many as they are"
                )]
                #vis #token #name(#parameter #(#inputs),*) -> ::annals::Root<Self> { #body }
            }
        });
        quote!(impl #aggregate { #(#functions)* })
    }

    /// A trait for each visibility there is, the widest first: what is private stays so.
    fn command_traits(&self) -> TokenStream {
        let mut groups: Vec<(Visibility, Vec<TokenStream>, Vec<TokenStream>)> = Vec::new();
        let mut add = |vis: &Visibility, declared, written| {
            let of_group = |group: &&mut (Visibility, _, _)| group.0 == *vis;
            match groups.iter_mut().find(of_group) {
                Some(group) => {
                    group.1.push(declared);
                    group.2.push(written);
                }
                None => groups.push((vis.clone(), vec![declared], vec![written])),
            }
        };
        let events = &self.options.events;
        for event in self.events.iter().filter(|event| !event.is_first) {
            let signature = &event.function.sig;
            let (name, inputs, made) = (
                &signature.ident,
                unbound(&signature.inputs),
                event.construction(events),
            );
            let attributes = &event.function.attrs;
            let head = quote!(fn #name(#(#inputs),*));
            let body = match self.problems.is_empty() {
                true => quote!(::annals::Root::trigger(self, #made)),
                false => quote!(::core::unreachable!()),
            };
            add(
                &event.function.vis,
                quote!(#(#attributes)* #head;),
                quote!(#head { #body }),
            );
        }
        for command in &self.commands {
            let (signature, attributes) = (&command.sig, &command.attrs);
            let mut declared = signature.clone();
            declared.inputs = unbound(&signature.inputs).into_iter().collect();
            let (generics, name) = (&declared.generics, &declared.ident);
            let (inputs, output, bounds) = (
                &declared.inputs,
                &declared.output,
                &declared.generics.where_clause,
            );
            let of_state = |tokens: TokenStream| self.of_state(tokens);
            let head = of_state(quote!(fn #name #generics (#inputs) #output #bounds;));
            let body = match self.problems.is_empty() {
                true => of_state(command.block.to_token_stream()),
                false => quote!({ ::core::unreachable!() }),
            };
            let written_inputs = &signature.inputs;
            let written_head =
                of_state(quote!(fn #name #generics (#written_inputs) #output #bounds));
            add(
                &command.vis,
                quote!(#(#attributes)* #head),
                quote!(#written_head #body),
            );
        }
        groups.sort_by_key(|group| width(&group.0));
        let mut written = TokenStream::new();
        for (place, (vis, declared, methods)) in groups.iter().enumerate() {
            let aggregate = &self.aggregate;
            let name = match place {
                0 => self.options.commands.clone(),
                _ => format_ident!("{}{}", self.options.commands, place + 1),
            };
            let doc = format!(
                "What can be done with a [`Root`](::annals::Root) of a [`{}`].",
                aggregate.to_token_stream()
            );
            written.extend(quote! {
                #[doc = #doc]
                #[allow(missing_docs, private_interfaces, unreachable_pub, reason = "as the methods are written")]
                #vis trait #name { #(#declared)* }

                #[allow(unused_variables, reason = "as the methods are written")]
                impl #name for ::annals::Root<#aggregate> { #(#methods)* }
            });
        }
        written
    }

    /// What keeps the rest of the program from being blamed for a mistake in the aggregate.
    fn stub_of_events(&self) -> TokenStream {
        let (aggregate, events) = (&self.aggregate, &self.options.events);
        quote! {
            #[allow(missing_docs, reason = "there is a mistake elsewhere")]
            #[derive(::core::clone::Clone, ::core::fmt::Debug, ::core::cmp::PartialEq, ::annals::Event)]
            pub enum #events {}

            impl ::annals::Aggregate for #aggregate {
                type Event = #events;
                fn start(_: &#events) -> ::core::option::Option<Self> { ::core::unreachable!() }
                fn apply(&mut self, _: &#events) {}
            }
        }
    }

    /// In a command `self` is the root; `Self` is the aggregate all the same.
    fn of_state(&self, tokens: TokenStream) -> TokenStream {
        tokens
            .into_iter()
            .flat_map(|token| match token {
                TokenTree::Ident(ident) if ident == "Self" => self.aggregate.to_token_stream(),
                TokenTree::Group(group) => {
                    let mut of_state = Group::new(group.delimiter(), self.of_state(group.stream()));
                    of_state.set_span(group.span());
                    TokenTree::Group(of_state).into()
                }
                token => token.into(),
            })
            .collect()
    }
}

impl Options {
    fn read(args: TokenStream, aggregate: &Ident, problems: &mut Problems) -> Self {
        let name = unraw(aggregate);
        let mut options = Self {
            events: format_ident!("{name}Event"),
            commands: format_ident!("{name}Commands"),
            derives: Vec::new(),
            name,
        };
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                options.name = meta.value()?.parse::<LitStr>()?.value();
            } else if meta.path.is_ident("events") {
                options.events = meta.value()?.parse()?;
            } else if meta.path.is_ident("commands") {
                options.commands = meta.value()?.parse()?;
            } else if meta.path.is_ident("derive") {
                let paths;
                parenthesized!(paths in meta.input);
                options
                    .derives
                    .extend(paths.parse_terminated(Path::parse_mod_style, Token![,])?);
            } else {
                return Err(meta.error(
                    "no option of an aggregate; there are `name = \"dog\"`, `events = DogEvent`, \
                     `commands = DogCommands` and `derive(…)`",
                ));
            }
            Ok(())
        });
        problems.check(parser.parse2(args));
        options
    }
}

/// The type an impl is for, when it is one that can be an aggregate.
fn aggregate_of(item: &ItemImpl) -> syn::Result<&Ident> {
    if let Some((path, _)) = &item.trait_ {
        return Err(syn::Error::new_spanned(
            path,
            "`#[aggregate]` stands on the methods of the type itself: `impl Dog { … }`",
        ));
    }
    if !item.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(
            &item.generics,
            "an aggregate has no parameters; implement `annals::Aggregate` by hand for one that has",
        ));
    }
    let named = match &*item.self_ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .filter(|last| last.arguments.is_none()),
        _ => None,
    };
    named.map(|last| &last.ident).ok_or_else(|| {
        syn::Error::new_spanned(
            &item.self_ty,
            "an aggregate is a struct or an enum without parameters",
        )
    })
}

/// Parameters as others see them: `mut` and patterns are the body's own.
fn unbound(inputs: &syn::punctuated::Punctuated<FnArg, Token![,]>) -> Vec<FnArg> {
    let mut inputs: Vec<_> = inputs.iter().cloned().collect();
    for input in &mut inputs {
        if let FnArg::Typed(parameter) = input {
            match &mut *parameter.pat {
                syn::Pat::Ident(pattern) => pattern.mutability = None,
                pattern => *pattern = syn::parse_quote!(_),
            }
        }
    }
    inputs
}

/// The widest first.
fn width(vis: &Visibility) -> u8 {
    match vis {
        Visibility::Public(_) => 0,
        Visibility::Restricted(_) => 1,
        _ => 2,
    }
}
