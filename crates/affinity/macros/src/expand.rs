//! What is written for a partition.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, ItemImpl, Type};

use crate::handlers::{Argument, Handler, Handlers, Kind, Stores};

/// The names of what stands beside the impl block.
struct Names<'a> {
    of: &'a Type,
    calls: Ident,
    command: Ident,
    query: Ident,
    answer: Ident,
    base: String,
}

impl<'a> Names<'a> {
    fn new(of: &'a Type) -> Names<'a> {
        let base = match of {
            Type::Path(path) => {
                path.path.segments.last().map_or_else(String::new, |last| last.ident.to_string())
            }
            _ => String::new(),
        };
        Names {
            of,
            calls: format_ident!("{base}Calls"),
            command: format_ident!("{base}Command"),
            query: format_ident!("{base}Query"),
            answer: format_ident!("{base}Answer"),
            base,
        }
    }

    /// The message enum of a kind.
    fn message(&self, kind: Kind) -> &Ident {
        match kind {
            Kind::Command => &self.command,
            Kind::Query => &self.query,
        }
    }

    /// The record of a message.
    fn record(&self, handler: &Handler) -> Ident {
        format_ident!("{}{}", self.base, variant(handler))
    }

    /// The record of its answer.
    fn answer_record(&self, handler: &Handler) -> Ident {
        format_ident!("{}{}Answer", self.base, variant(handler))
    }
}

/// A method's name as that of a variant.
fn variant(handler: &Handler) -> Ident {
    let name = handler.method.to_string();
    let words = name.trim_start_matches("r#").split('_').filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    format_ident!("{}", words.map(capital).collect::<String>(), span = handler.method.span())
}

pub(crate) fn partition(block: &ItemImpl, stores: &Stores, handlers: &Handlers) -> TokenStream {
    let names = Names::new(&block.self_ty);
    let messages = messages(&names, handlers);
    let implementation = implementation(&names, stores, handlers);
    let calls = calls(&names, handlers);
    quote! {
        #block
        #messages
        #implementation
        #calls
    }
}

/// The messages, their records, and those of their answers.
fn messages(names: &Names<'_>, handlers: &Handlers) -> TokenStream {
    let visibility = &handlers.visibility;
    let records = handlers.messages.iter().map(|handler| {
        let (record, answer_record) = (names.record(handler), names.answer_record(handler));
        let doc = format!("The message `{}`.", handler.method);
        let answer_doc = format!("The answer to `{}`.", handler.method);
        let fields = handler.arguments.iter().map(|argument| {
            let (name, owned) = (&argument.name, owned(argument));
            quote!(#[doc = "An argument."] #visibility #name: #owned)
        });
        let answer = &handler.answer;
        quote! {
            #[doc = #doc]
            #[derive(Clone, Debug, ::affinity::Record)]
            #[avro(crate = "::affinity::avro")]
            #visibility struct #record { #(#fields),* }

            #[doc = #answer_doc]
            #[derive(Clone, Debug, ::affinity::Record)]
            #[avro(crate = "::affinity::avro")]
            #visibility struct #answer_record {
                #[doc = "The answer."]
                #visibility answer: #answer,
            }
        }
    });
    let all = [Kind::Command, Kind::Query].map(|kind| {
        let of_kind: Vec<_> = handlers.messages.iter().filter(|handler| handler.kind == kind).collect();
        let variants = of_kind.iter().map(|handler| (variant(handler), names.record(handler)));
        union(visibility, names.message(kind), variants)
    });
    let answers = handlers.messages.iter().map(|handler| (variant(handler), names.answer_record(handler)));
    let answer = union(visibility, &names.answer, answers);
    quote!(#(#records)* #(#all)* #answer)
}

/// An enum of records; one that nobody can make, if there are none.
fn union(
    visibility: &syn::Visibility,
    name: &Ident,
    variants: impl Iterator<Item = (Ident, Ident)>,
) -> TokenStream {
    let (variants, records): (Vec<_>, Vec<_>) = variants.unzip();
    let doc = format!("The messages of `{name}`.");
    if variants.is_empty() {
        return quote! {
            #[doc = #doc]
            #[derive(Clone, Debug)]
            #visibility enum #name {}

            impl ::affinity::Encode for #name {
                fn encode(&self, _: &mut ::std::vec::Vec<u8>) {
                    match *self {}
                }
            }
        };
    }
    quote! {
        #[doc = #doc]
        #[derive(Clone, Debug, ::affinity::Record)]
        #[avro(crate = "::affinity::avro")]
        #visibility enum #name { #(#[doc = "One of them."] #variants(#records)),* }
    }
}

fn implementation(names: &Names<'_>, lists: &Stores, handlers: &Handlers) -> TokenStream {
    let Names { of, command, query, answer, .. } = names;
    let Stores { stores, indices, sagas } = lists;
    let error = &handlers.error;
    let [commands, queries] = [Kind::Command, Kind::Query].map(|kind| arms(names, handlers, kind));
    let others = handlers.others.iter().map(|(which, method)| other(of, which, method));
    let listens = handlers.others.iter().any(|(which, _)| which == "changed");
    quote! {
        impl ::affinity::Partition for #of {
            const STORES: &'static [&'static str] = &[#(#stores.name(),)* #(#sagas.store().name()),*];
            const RECORDS: &'static [&'static dyn ::affinity::AnyStore] = &[#(&#stores),*];
            const INDICES: &'static [&'static dyn ::affinity::Indexed] = &[#(&#indices),*];
            const SAGAS: &'static [&'static dyn ::affinity::AnySaga] = &[#(&#sagas),*];
            const LISTENS: bool = #listens;
            type Command = #command;
            type Query = #query;
            type Answer = #answer;
            type Error = #error;

            fn command(
                &self,
                cx: &mut ::affinity::Master<'_>,
                command: &#command,
            ) -> ::std::result::Result<#answer, #error> {
                match *command { #commands }
            }

            fn query(
                &self,
                cx: &::affinity::View<'_>,
                query: &#query,
            ) -> ::std::result::Result<#answer, #error> {
                match *query { #queries }
            }

            #(#others)*
        }
    }
}

/// One arm for each message of a kind.
fn arms(names: &Names<'_>, handlers: &Handlers, kind: Kind) -> TokenStream {
    let (message, answer) = (names.message(kind), &names.answer);
    let arms = handlers.messages.iter().filter(|handler| handler.kind == kind).map(|handler| {
        let (variant, method, answer_record) =
            (variant(handler), &handler.method, names.answer_record(handler));
        let arguments = handler.arguments.iter().map(|argument| {
            let name = &argument.name;
            match argument.borrowed {
                Some(_) => quote!(&message.#name),
                None => quote!(::std::clone::Clone::clone(&message.#name)),
            }
        });
        quote! {
            #message::#variant(ref message) => {
                let _ = message;
                let answer = #answer_record { answer: Self::#method(self, cx, #(#arguments),*)? };
                ::std::result::Result::Ok(#answer::#variant(answer))
            }
        }
    });
    quote!(#(#arms)*)
}

/// A method of the partition that is another of the block.
fn other(of: &Type, which: &Ident, method: &Ident) -> TokenStream {
    let (takes, gives) = match &*which.to_string() {
        "changed" => {
            return quote! {
                fn changed(&self, applied: &::affinity::Applied<'_>) {
                    <#of>::#method(self, applied)
                }
            };
        }
        "effect" => (quote!(effect), quote!(::affinity::Bytes)),
        _ => (quote!(effect), quote!(())),
    };
    quote! {
        fn #which(
            &self,
            cx: &mut ::affinity::Master<'_>,
            #takes: &::affinity::Incoming<'_>,
        ) -> ::std::result::Result<#gives, ::affinity::Refused> {
            <#of>::#method(self, cx, #takes)
        }
    }
}

/// The trait of typed calls.
fn calls(names: &Names<'_>, handlers: &Handlers) -> TokenStream {
    let Names { of, calls, answer, .. } = names;
    let visibility = &handlers.visibility;
    let doc = format!("What may be asked of a keyspace of `{}`.", names.base);
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for handler in &handlers.messages {
        let Handler { kind, method, docs, arguments, answer: of_answer } = handler;
        let (variant, record, message) = (variant(handler), names.record(handler), names.message(*kind));
        let (call, begin) = match (kind, arguments.is_empty()) {
            (Kind::Command, _) => (quote!(CommandCall), quote!(command_call)),
            (Kind::Query, false) => (quote!(QueryCall), quote!(query_call)),
            (Kind::Query, true) => (quote!(ScatterCall), quote!(scatter_call)),
        };
        let takes: Vec<_> =
            arguments.iter().map(|Argument { name, written, .. }| quote!(#name: #written)).collect();
        let fields = arguments.iter().map(|argument| {
            let name = &argument.name;
            match argument.borrowed {
                Some(_) => quote!(#name: ::std::borrow::ToOwned::to_owned(#name)),
                None => quote!(#name: ::std::clone::Clone::clone(&#name)),
            }
        });
        let key = arguments.first().map(|Argument { name, borrowed, .. }| match borrowed {
            Some(_) => quote!(#name,),
            None => quote!(&#name,),
        });
        let head = quote!(fn #method(&self, #(#takes),*) -> ::affinity::#call<'_, #of, #of_answer>);
        heads.push(quote!(#(#docs)* #head;));
        bodies.push(quote! {
            #head {
                let message = #message::#variant(#record { #(#fields),* });
                self.#begin(#key message, |answer| match answer {
                    #answer::#variant(answer) => ::std::option::Option::Some(answer.answer),
                    #[allow(unreachable_patterns, reason = "there may be no other")]
                    _ => ::std::option::Option::None,
                })
            }
        });
    }
    quote! {
        #[doc = #doc]
        #visibility trait #calls { #(#heads)* }

        impl #calls for ::affinity::Router<#of> { #(#bodies)* }
    }
}

/// What a message keeps of an argument.
fn owned(argument: &Argument) -> TokenStream {
    match &argument.borrowed {
        Some(of) => quote!(<#of as ::std::borrow::ToOwned>::Owned),
        None => {
            let of = &argument.written;
            quote!(#of)
        }
    }
}
