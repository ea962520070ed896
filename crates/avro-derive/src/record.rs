//! Structs with named fields: records.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Fields, Ident, Type};

use crate::Functions;
use crate::attributes::{Container, Item};
use crate::shape::{Shape, check_logical, inner};

struct Field<'a> {
    ident: &'a Ident,
    of: &'a Type,
    item: Item,
    default: Option<String>,
    /// Its place.
    at: u32,
    /// Where its value waits until all are there.
    slot: Ident,
}

pub(crate) fn expand(container: &Container, fields: &Fields) -> Result<TokenStream, Error> {
    let mut list: Vec<Field<'_>> = Vec::new();
    for (at, field) in (0..).zip(fields) {
        let Some(ident) = &field.ident else { continue };
        let item = Item::of_field(ident, &field.attrs)?;
        if list.iter().any(|other| other.item.name == item.name) {
            return Err(Error::new_spanned(ident, format!("another field is called {:?} too", item.name)));
        }
        if let Some(logical) = &item.logical {
            check_logical(logical, &field.ty)?;
        }
        let shape = Shape::of(&field.ty);
        let default = match &item.default {
            Some(default) => Some(shape.default(default)?),
            None => (shape == Shape::Optional).then(|| "null".to_owned()),
        };
        list.push(Field { ident, of: &field.ty, item, default, at, slot: format_ident!("field_{at}") });
    }
    let implementation = functions(container, &list).implement(&container.ident);
    let checks = list.iter().filter(|field| Shape::of(field.of) == Shape::Optional).filter_map(check_option);
    Ok(quote!(#(#checks)* #implementation))
}

/// An option is a union, and so takes none: told here, where the compiler shows the field.
fn check_option(field: &Field<'_>) -> Option<TokenStream> {
    let inner = inner(field.of)?;
    Some(quote_spanned! {inner.span()=>
        const _: () = ::std::assert!(
            !<#inner as ::affinity_avro::Datum>::IS_UNION,
            "an Option of a union is a union within a union: give the union a variant without a value, which is null"
        );
    })
}

fn functions(container: &Container, fields: &[Field<'_>]) -> Functions {
    let name = &container.name;
    let named = container.named();
    let described = fields.iter().map(describe);
    let encoded = fields.iter().map(|Field { ident, of, .. }| {
        quote_spanned!(of.span()=> <#of as ::affinity_avro::Datum>::encode(&self.#ident, out);)
    });
    let decoded = fields.iter().map(|Field { ident, of, item, .. }| {
        let name = &item.name;
        quote_spanned! {of.span()=>
            #ident: <#of as ::affinity_avro::Datum>::decode(reader).map_err(|error| error.within(#name))?
        }
    });
    let count = fields.len();
    let describe = quote!(schema.record(#named, &[#(#described),*]););
    Functions {
        consts: quote!(const BRANCH: &'static str = #name;),
        describe,
        encode: quote!(#(#encoded)*),
        decode: quote! {
            reader.enter_record::<Self>(#count)?;
            let value = Self { #(#decoded),* };
            reader.leave_record::<Self>(#count);
            ::std::result::Result::Ok(value)
        },
        resolve: resolve(fields),
        write_json: write_json(fields),
        read_json: read_json(fields),
    }
}

fn describe(field: &Field<'_>) -> TokenStream {
    let optional = |text: Option<&String>| match text {
        Some(text) => quote!(::std::option::Option::Some(#text)),
        None => quote!(::std::option::Option::None),
    };
    let Field { of, item: Item { name, aliases, doc, logical, .. }, default, .. } = field;
    let default = optional(default.as_ref());
    let logical = optional(logical.as_ref().map(syn::LitStr::value).as_ref());
    quote_spanned! {of.span()=>
        ::affinity_avro::derived::FieldOf {
            name: #name,
            aliases: &[#(#aliases),*],
            doc: #doc,
            default: #default,
            logical: #logical,
            describe: <#of as ::affinity_avro::Datum>::describe,
        }
    }
}

fn resolve(fields: &[Field<'_>]) -> TokenStream {
    let (slots, count) = (slots(fields), fields.len());
    let read = fields.iter().map(|Field { at, of, item, slot, .. }| {
        let name = &item.name;
        quote! {
            ::affinity_avro::FieldAt::Read(#at, at) => {
                let value = <#of as ::affinity_avro::Datum>::resolve(reader, at);
                #slot = ::std::option::Option::Some(value.map_err(|error| error.within(#name))?);
            }
        }
    });
    let filled = fields.iter().map(|Field { ident, of, at, item, slot, .. }| {
        let name = &item.name;
        let default = quote_spanned!(of.span()=> at.default::<#of>(reader, #at));
        quote! {
            #ident: match #slot {
                ::std::option::Option::Some(value) => value,
                ::std::option::Option::None => #default.map_err(|error| error.within(#name))?,
            }
        }
    });
    quote! {
        let at = at.settled(reader)?;
        if at.is_same() {
            return <Self as ::affinity_avro::Datum>::decode(reader);
        }
        reader.enter_record::<Self>(#count)?;
        #slots
        for field in at.fields()? {
            match field {
                #(#read)*
                ::affinity_avro::FieldAt::Read(..) => {
                    return ::std::result::Result::Err(::affinity_avro::derived::foreign_plan());
                }
                ::affinity_avro::FieldAt::Skip(skip) => skip.skip(reader)?,
            }
        }
        let value = Self { #(#filled),* };
        reader.leave_record::<Self>(#count);
        ::std::result::Result::Ok(value)
    }
}

fn slots(fields: &[Field<'_>]) -> TokenStream {
    let slots = fields.iter().map(|Field { of, slot, .. }| {
        quote!(let mut #slot: ::std::option::Option<#of> = ::std::option::Option::None;)
    });
    quote!(#(#slots)*)
}

fn write_json(fields: &[Field<'_>]) -> TokenStream {
    let written = fields.iter().map(|Field { ident, of, item, at, .. }| {
        let key = format!("{}\"{}\":", if *at == 0 { "{" } else { "," }, item.name);
        quote! {
            out.raw(#key);
            <#of as ::affinity_avro::Datum>::write_json(&self.#ident, out);
        }
    });
    let end = if fields.is_empty() { "{}" } else { "}" };
    quote! {
        #(#written)*
        out.raw(#end);
    }
}

fn read_json(fields: &[Field<'_>]) -> TokenStream {
    let (slots, count) = (slots(fields), fields.len());
    let read = fields.iter().map(|Field { of, item, slot, .. }| {
        let name = &item.name;
        quote! {
            #name => {
                let value = <#of as ::affinity_avro::Datum>::read_json(reader);
                #slot = ::std::option::Option::Some(value.map_err(|error| error.within(#name))?);
            }
        }
    });
    let filled = fields.iter().map(|Field { ident, of, at, slot, .. }| {
        let at = *at as usize;
        let default = quote_spanned! {of.span()=>
            ::affinity_avro::derived::missing_in_json::<Self, #of>(reader, #at)
        };
        quote! {
            #ident: match #slot {
                ::std::option::Option::Some(value) => value,
                ::std::option::Option::None => #default?,
            }
        }
    });
    quote! {
        #slots
        reader.record::<Self>(#count)?;
        let mut first = true;
        while let ::std::option::Option::Some(key) = reader.key(&mut first)? {
            match &*key {
                #(#read)*
                _ => reader.skip()?,
            }
        }
        let value = Self { #(#filled),* };
        reader.leave_record::<Self>(#count);
        ::std::result::Result::Ok(value)
    }
}
