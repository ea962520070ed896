//! The derive macro of `affinity-avro`, which re-exports it and documents the traits that it writes.
//!
//! It is no place for decisions: what a type means is settled in `affinity-avro`, here it is only spelled out, so that reading and
//! writing are straight code. What can be told from the text of a type is checked here, and said with what to do instead.

mod attributes;
mod choice;
mod record;
mod shape;
mod wrapper;

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, Error, Fields, parse_macro_input, spanned::Spanned};

use attributes::Container;

/// Makes a struct or an enum an Avro type.
///
/// | Rust | Avro |
/// |---|---|
/// | struct with named fields, or none | record |
/// | `struct Id(String);` | what is inside |
/// | `struct Hash([u8; 32]);` | fixed |
/// | enum without values | enum |
/// | enum of variants with one value | union; a variant without a value is null |
///
/// Doc comments become `doc`. Attributes, all in `#[avro(..)]`:
///
/// | on | attribute | meaning |
/// |---|---|---|
/// | type | `namespace = "shop"` | the namespace of its name |
/// | type | `crate = "affinity::avro"` | where `affinity-avro` is, if not under its own name |
/// | type, field, variant | `name = "Order"` | its name, if not that in Rust |
/// | type, field | `alias = "Purchase"` | a name it had before; may stand several times |
/// | field | `default = 1` | its default: a number, a text or a boolean |
/// | field | `default` | its default is empty, zero or false |
/// | field | `default_json = "[1, 2]"` | its default as JSON |
/// | field | `logical = "timestamp-millis"` | the logical type of the number or text in it |
/// | variant | `default` | what an unknown symbol of an enum is read as |
///
/// An `Option` without a default has null: it can be added to a record that others have written.
#[proc_macro_derive(Record, attributes(avro))]
pub fn derive_record(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    derive(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn derive(input: &DeriveInput) -> Result<TokenStream, Error> {
    if !input.generics.params.is_empty() {
        let what = "a record cannot be generic, since its schema has one name: write a type for each";
        return Err(Error::new(input.generics.span(), what));
    }
    let container = Container::of(input)?;
    let body = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Unnamed(fields) => wrapper::expand(&container, fields)?,
            fields => record::expand(&container, fields)?,
        },
        Data::Enum(data) => choice::expand(&container, data)?,
        Data::Union(data) => {
            let what = "Avro's unions are Rust's enums: make it an enum whose variants hold one value each";
            return Err(Error::new(data.union_token.span, what));
        }
    };
    let ident = &container.ident;
    let code = quote! {
        #body

        #[automatically_derived]
        impl ::affinity_avro::Record for #ident {
            fn schema() -> &'static ::affinity_avro::Schema {
                static SCHEMA: ::std::sync::LazyLock<::affinity_avro::Schema> =
                    ::std::sync::LazyLock::new(::affinity_avro::derived::schema_of::<#ident>);
                &SCHEMA
            }
        }

        #[automatically_derived]
        impl ::affinity_avro::derived::Encode for #ident {
            const FRAMES: ::std::option::Option<::affinity_avro::derived::FrameType> =
                ::std::option::Option::Some(::affinity_avro::derived::frame_type::<#ident>());

            fn encode(&self, out: &mut ::std::vec::Vec<u8>) {
                ::affinity_avro::derived::put_single_object(self, out);
            }

            #[inline]
            fn encode_body(&self, out: &mut ::std::vec::Vec<u8>) {
                ::affinity_avro::Datum::encode(self, out);
            }
        }

        #[automatically_derived]
        impl ::affinity_avro::derived::Decode for #ident {
            fn decode(
                bytes: &[u8],
            ) -> ::std::result::Result<Self, ::affinity_avro::derived::CodecError> {
                ::affinity_avro::derived::take_single_object(bytes)
            }

            #[inline]
            fn decode_body(
                body: &[u8],
                schema: ::std::option::Option<::affinity_avro::derived::OtherSchema<'_>>,
            ) -> ::std::result::Result<Self, ::affinity_avro::derived::CodecError> {
                ::affinity_avro::derived::take_body(body, schema)
            }
        }
    };
    Ok(match &container.room {
        Some(room) => moved(code, &room.to_token_stream()),
        None => code,
    })
}

/// The same code, where `::affinity_avro` is somewhere else.
fn moved(code: TokenStream, room: &TokenStream) -> TokenStream {
    let mut out = Vec::new();
    for token in code {
        match token {
            TokenTree::Ident(ident) if ident == "affinity_avro" => {
                // The two colons before it.
                out.truncate(out.len().saturating_sub(2));
                out.extend(room.clone());
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), moved(group.stream(), room));
                inner.set_span(group.span());
                out.push(TokenTree::Group(inner));
            }
            other => out.push(other),
        }
    }
    out.into_iter().collect()
}

/// The functions of a `Datum`, each from its body.
pub(crate) struct Functions {
    pub(crate) consts: TokenStream,
    pub(crate) describe: TokenStream,
    pub(crate) encode: TokenStream,
    pub(crate) decode: TokenStream,
    pub(crate) resolve: TokenStream,
    pub(crate) write_json: TokenStream,
    pub(crate) read_json: TokenStream,
}

impl Functions {
    pub(crate) fn implement(self, ident: &syn::Ident) -> TokenStream {
        let Functions { consts, describe, encode, decode, resolve, write_json, read_json } = self;
        quote! {
            #[automatically_derived]
            impl ::affinity_avro::Datum for #ident {
                #consts

                fn describe(schema: &mut ::affinity_avro::derived::SchemaWriter) {
                    #describe
                }

                #[inline]
                fn encode(&self, out: &mut ::std::vec::Vec<u8>) {
                    #encode
                }

                #[inline]
                fn decode(
                    reader: &mut ::affinity_avro::Reader<'_>,
                ) -> ::std::result::Result<Self, ::affinity_avro::Error> {
                    #decode
                }

                fn resolve(
                    reader: &mut ::affinity_avro::Reader<'_>,
                    at: ::affinity_avro::At<'_>,
                ) -> ::std::result::Result<Self, ::affinity_avro::Error> {
                    #resolve
                }

                fn write_json(&self, out: &mut ::affinity_avro::derived::JsonWriter) {
                    #write_json
                }

                fn read_json(
                    reader: &mut ::affinity_avro::derived::JsonReader<'_>,
                ) -> ::std::result::Result<Self, ::affinity_avro::Error> {
                    #read_json
                }
            }
        }
    }
}
