//! A method of an aggregate that is marked `#[event]` or `#[command]`, read and checked.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::parse::{ParseStream, Parser};
use syn::{
    Attribute, Expr, FnArg, GenericArgument, Ident, ImplItemFn, LitStr, Pat, PatType,
    PathArguments, ReceiverKind, ReturnType, Safety, Token, Type, TypeParamBound,
};

use crate::event_options::{EventOptions, KNOWN, unraw};
use crate::problems::Problems;

/// What an attribute makes of a method.
pub(crate) enum Marked {
    Event(Box<EventMethod>),
    Command(Box<ImplItemFn>),
    /// No attribute: a method of the state.
    Plain(Box<ImplItemFn>),
}

/// A method whose parameters are an event, and whose body is what it changes.
pub(crate) struct EventMethod {
    /// As it was written, without `#[event]` and attributes of parameters.
    pub(crate) function: ImplItemFn,
    pub(crate) variant: Ident,
    pub(crate) options: EventOptions,
    /// How the id of a new aggregate is made of the parameters; `None` when it is given.
    pub(crate) id: Option<Expr>,
    /// Whether an aggregate begins with it.
    pub(crate) is_first: bool,
    pub(crate) fields: Vec<Field>,
}

/// A parameter that is a field of the event.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    /// As it is stored.
    pub(crate) ty: Type,
    /// Whether the parameter is `impl Into` that type.
    pub(crate) is_into: bool,
    /// `#[event(tag)]`, those of serde, and docs.
    pub(crate) attributes: Vec<Attribute>,
}

impl Marked {
    pub(crate) fn read(
        mut function: ImplItemFn,
        aggregate: &Ident,
        problems: &mut Problems,
    ) -> Self {
        let (marks, others): (Vec<_>, _) = function.attrs.into_iter().partition(|attribute| {
            attribute.path().is_ident("event") || attribute.path().is_ident("command")
        });
        function.attrs = others;
        let [mark, more @ ..] = marks.as_slice() else {
            return Self::Plain(Box::new(function));
        };
        for mark in more {
            problems.add(
                mark,
                "a method is one event or one command; write another for the rest",
            );
        }
        refuse_modifiers(&function, problems);
        if mark.path().is_ident("event") {
            Self::Event(Box::new(EventMethod::read(
                function, mark, aggregate, problems,
            )))
        } else {
            if !matches!(mark.meta, syn::Meta::Path(_)) {
                problems.add(mark, "`#[command]` takes no options");
            }
            check_command(&function, aggregate, problems);
            Self::Command(Box::new(function))
        }
    }
}

impl EventMethod {
    fn read(
        mut function: ImplItemFn,
        mark: &Attribute,
        aggregate: &Ident,
        problems: &mut Problems,
    ) -> Self {
        let (variant, options, id) = read_mark(mark, &function.sig.ident, problems);
        let is_first = function.sig.receiver().is_none();
        check_receiver_of_event(&function, problems);
        check_answer_of_event(&function, is_first, aggregate, problems);
        if id.is_some() && !is_first {
            problems.add(
                &id,
                "`id` is for the event an aggregate begins with; this one has an aggregate already",
            );
        }
        let generics = &function.sig.generics;
        if !generics.params.is_empty() {
            problems.add(
                generics,
                "an event has no parameters of type or lifetime: what is stored is of one type",
            );
        }
        let mut fields = Vec::new();
        for argument in &mut function.sig.inputs {
            if let FnArg::Typed(parameter) = argument {
                fields.extend(Field::read(parameter, problems));
            }
        }
        Self {
            function,
            variant,
            options,
            id,
            is_first,
            fields,
        }
    }

    /// The method on the state that holds the body.
    pub(crate) fn body_ident(&self) -> Ident {
        format_ident!(
            "__{}",
            unraw(&self.function.sig.ident),
            span = self.function.sig.ident.span()
        )
    }

    /// The event made of the parameters.
    pub(crate) fn construction(&self, events: &Ident) -> TokenStream {
        let variant = &self.variant;
        let fields = self
            .fields
            .iter()
            .map(|Field { ident, is_into, .. }| match is_into {
                true => quote!(#ident: ::core::convert::Into::into(#ident)),
                false => quote!(#ident),
            });
        quote!(#events::#variant { #(#fields),* })
    }
}

impl Field {
    fn read(parameter: &mut PatType, problems: &mut Problems) -> Option<Self> {
        let of_field = |attribute: &Attribute| {
            ["event", "serde", "doc"]
                .iter()
                .any(|name| attribute.path().is_ident(name))
        };
        let (attributes, others) = std::mem::take(&mut parameter.attrs)
            .into_iter()
            .partition(of_field);
        parameter.attrs = others;
        let ident = match &*parameter.pat {
            Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
                pattern.ident.clone()
            }
            pattern => {
                problems.add(
                    pattern,
                    "a parameter of an event is a field of it, and needs a name",
                );
                return None;
            }
        };
        let (ty, is_into) = match &*parameter.ty {
            Type::ImplTrait(bounds) => match into_target(bounds) {
                Some(ty) => (ty, true),
                None => {
                    problems.add(
                        bounds,
                        "the event keeps this: give its type, or `impl Into<Type>`",
                    );
                    return None;
                }
            },
            Type::Reference(reference) => {
                problems.add(
                    reference,
                    format!(
                        "the event keeps this, so it must be owned: `{}`",
                        owned(&reference.elem)
                    ),
                );
                return None;
            }
            ty => (ty.clone(), false),
        };
        Some(Self {
            ident,
            ty,
            is_into,
            attributes,
        })
    }
}

/// `#[event]`, `#[event(Registered, …)]`, `#[event("Registered", …)]`.
fn read_mark(
    mark: &Attribute,
    method: &Ident,
    problems: &mut Problems,
) -> (Ident, EventOptions, Option<Expr>) {
    let mut variant = format_ident!("{}", pascal_case(&unraw(method)), span = method.span());
    let (mut options, mut id) = (EventOptions::default(), None);
    if let syn::Meta::Path(_) = mark.meta {
        return (variant, options, id);
    }
    let read = |input: ParseStream<'_>| {
        if input.peek(LitStr) {
            let name: LitStr = input.parse()?;
            variant = name.parse().map_err(|_| {
                syn::Error::new(
                    name.span(),
                    "this names a variant of the enum of events, as `#[event(TrickAdded)]` does; the stored name is \
                     `name = \"…\"`",
                )
            })?;
        } else if input.peek(syn::Ident)
            && !input.peek2(Token![=])
            && !input.peek2(syn::token::Paren)
        {
            variant = input.parse()?;
        }
        if !input.is_empty() && input.peek(Token![,]) {
            input.parse::<Token![,]>()?;
        }
        syn::meta::parser(|meta| {
            if meta.path.is_ident("id") {
                id = Some(meta.value()?.parse()?);
            } else if !options.option(&meta)? {
                return Err(meta.error(format!(
                    "no option of an event; behind the name of the variant there are {KNOWN}, and `id = expression`"
                )));
            }
            Ok(())
        })
        .parse2(input.parse()?)
    };
    problems.check(mark.parse_args_with(read));
    (variant, options, id)
}

fn check_receiver_of_event(function: &ImplItemFn, problems: &mut Problems) {
    let receiver = function.sig.receiver();
    if let Some(receiver) = receiver.filter(|receiver| !is_exclusive(&receiver.kind)) {
        problems.add(
            receiver,
            "an event changes the state: `&mut self`, or no `self` where an aggregate begins",
        );
    }
}

fn check_answer_of_event(
    function: &ImplItemFn,
    is_first: bool,
    aggregate: &Ident,
    problems: &mut Problems,
) {
    match &function.sig.output {
        ReturnType::Type(_, ty) if is_named(ty, &["Result", "Option"]) => problems.add(ty, FALLIBLE),
        ReturnType::Type(_, ty) if is_first => {
            if !is_named(ty, &["Self", &aggregate.to_string()]) {
                problems.add(ty, "an aggregate begins with this event: it returns `Self`");
            }
        }
        ReturnType::Default if is_first => problems.add(
            &function.sig,
            "an aggregate begins with an event without `self`, which returns `Self`; one that changes it takes `&mut self`",
        ),
        ReturnType::Type(_, ty) => {
            problems.add(ty, "an event returns nothing: whoever replays it has nobody to tell; let a `#[command]` answer");
        }
        ReturnType::Default => {}
    }
    if !is_first && ROOT_METHODS.contains(&function.sig.ident.to_string().as_str()) {
        refuse_name(function, problems);
    }
}

fn check_command(function: &ImplItemFn, aggregate: &Ident, problems: &mut Problems) {
    match function.sig.receiver() {
        None => problems.add(
            &function.sig,
            format!(
                "a command is given to an aggregate that exists, and takes `&mut self`; one that creates one is a function \
                 without an attribute that returns `Root<{aggregate}>`"
            ),
        ),
        Some(receiver) if !is_exclusive(&receiver.kind) => {
            problems.add(receiver, "a command takes `&mut self`; a method that only asks needs no attribute");
        }
        Some(_) => {}
    }
    if ROOT_METHODS.contains(&function.sig.ident.to_string().as_str()) {
        refuse_name(function, problems);
    }
}

fn refuse_name(function: &ImplItemFn, problems: &mut Problems) {
    let name = &function.sig.ident;
    problems.add(name, format!("`Root` has a method `{name}` of its own, which would be called instead; take another name"));
}

fn refuse_modifiers(function: &ImplItemFn, problems: &mut Problems) {
    let signature = &function.sig;
    if let Some(asyncness) = &signature.asyncness {
        problems.add(
            asyncness,
            "nothing is awaited in an aggregate: call services before, and pass in what they answered",
        );
    }
    if let Some(constness) = &signature.constness {
        problems.add(constness, "neither events nor commands are `const`");
    }
    if let Safety::Unsafe(unsafety) = &signature.safety {
        problems.add(unsafety, "neither events nor commands are `unsafe`");
    }
    if let Some(abi) = &signature.abi {
        problems.add(abi, "neither events nor commands are `extern`");
    }
    for attribute in &function.attrs {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            problems.add(
                attribute,
                "what was stored has to be read by every build: no `cfg` here",
            );
        }
    }
}

fn is_exclusive(kind: &ReceiverKind) -> bool {
    matches!(kind, ReceiverKind::Reference(_, None, Some(_)))
}

fn is_named(ty: &Type, names: &[&str]) -> bool {
    let Type::Path(path) = ty else { return false };
    let last = path.path.segments.last();
    last.is_some_and(|last| names.iter().any(|name| last.ident == name))
}

/// `T` of `impl Into<T>`.
fn into_target(bounds: &syn::TypeImplTrait) -> Option<Type> {
    let mut all = bounds.bounds.iter();
    let (Some(TypeParamBound::Trait(bound)), None) = (all.next(), all.next()) else {
        return None;
    };
    let last = bound
        .path
        .segments
        .last()
        .filter(|last| last.ident == "Into")?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(ty) => Some(ty.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// What to write instead of a reference to this.
fn owned(ty: &Type) -> String {
    match ty {
        Type::Slice(slice) => format!("Vec<{}>", spelled(&slice.elem)),
        Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
        ty => spelled(ty),
    }
}

fn spelled(ty: &Type) -> String {
    ty.to_token_stream().to_string().replace(' ', "")
}

fn pascal_case(snake: &str) -> String {
    let capitalized = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        first.chain(letters).collect::<String>()
    };
    snake.split('_').map(capitalized).collect()
}

const FALLIBLE: &str = "an event has happened and cannot fail: this body runs again whenever the aggregate is loaded, \
                        and a rule that changed would refuse what was stored long ago; check in a `#[command]` that \
                        calls this, and return the `Result` there";

/// What `Root` calls before any trait is asked.
const ROOT_METHODS: [&str; 8] = [
    "advance",
    "created_at",
    "id",
    "modified_at",
    "pending",
    "trigger",
    "trigger_with",
    "version",
];
