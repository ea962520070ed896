//! Enums: without values Avro's enums, with values unions.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DataEnum, Error, Fields, Ident, Type, Variant};

use crate::Functions;
use crate::attributes::{Container, Default, Item};

struct Branch<'a> {
    ident: &'a Ident,
    item: Item,
    /// What it holds; nothing for null.
    of: Option<&'a Type>,
    at: u32,
}

pub(crate) fn expand(container: &Container, data: &DataEnum) -> Result<TokenStream, Error> {
    if data.variants.is_empty() {
        return Err(Error::new_spanned(&container.ident, "an enum without variants has no values"));
    }
    let branches =
        (0..).zip(&data.variants).map(|(at, variant)| branch(at, variant)).collect::<Result<Vec<_>, _>>()?;
    if branches.iter().all(|branch| branch.of.is_none()) {
        return Ok(symbols(container, &branches)?.implement(&container.ident));
    }
    let implementation = union(&branches)?.implement(&container.ident);
    let checks = checks(&branches);
    Ok(quote!(#checks #implementation))
}

fn branch(at: u32, variant: &Variant) -> Result<Branch<'_>, Error> {
    let item = Item::of_variant(&variant.ident, &variant.attrs)?;
    let of = match &variant.fields {
        Fields::Unit => None,
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => fields.unnamed.first().map(|field| &field.ty),
        fields => {
            let what = format!(
                "a branch of a union is one value: put the fields into a struct with `#[derive(Record)]`, and write `{0}({0})`",
                variant.ident
            );
            return Err(Error::new_spanned(fields, what));
        }
    };
    Ok(Branch { ident: &variant.ident, item, of, at })
}

fn symbols(container: &Container, branches: &[Branch<'_>]) -> Result<Functions, Error> {
    let defaults: Vec<_> = branches.iter().filter(|branch| branch.item.default.is_some()).collect();
    if let [_, second, ..] = &defaults[..] {
        return Err(Error::new_spanned(second.ident, "only one symbol can be the default"));
    }
    for (index, branch) in branches.iter().enumerate() {
        if branches[..index].iter().any(|other| other.item.name == branch.item.name) {
            return Err(Error::new_spanned(
                branch.ident,
                format!("another symbol is {:?} too", branch.item.name),
            ));
        }
    }
    let default = match defaults.first() {
        Some(branch) => {
            let name = &branch.item.name;
            quote!(::std::option::Option::Some(#name))
        }
        None => quote!(::std::option::Option::None),
    };
    let (name, named) = (&container.name, container.named());
    let idents: Vec<_> = branches.iter().map(|branch| branch.ident).collect();
    let names: Vec<_> = branches.iter().map(|branch| &branch.item.name).collect();
    let numbers: Vec<_> = branches.iter().map(|branch| branch.at).collect();
    let places = branches.iter().map(|branch| branch.at as usize);
    let count = branches.len();
    let unknown = quote!(::std::result::Result::Err(::affinity_avro::derived::foreign_plan()));
    Ok(Functions {
        consts: quote!(const BRANCH: &'static str = #name;),
        describe: quote!(schema.enumeration(#named, &[#(#names),*], #default);),
        encode: quote! {
            ::affinity_avro::derived::put_long(out, match self { #(Self::#idents => #numbers as i64),* });
        },
        decode: quote! {
            match reader.index(#count)? {
                #(#places => ::std::result::Result::Ok(Self::#idents),)*
                _ => #unknown,
            }
        },
        resolve: quote! {
            match at.symbol(reader)? {
                #(#numbers => ::std::result::Result::Ok(Self::#idents),)*
                _ => #unknown,
            }
        },
        write_json: quote!(out.string(match self { #(Self::#idents => #names),* });),
        read_json: quote! {
            match &*reader.string()? {
                #(#names => ::std::result::Result::Ok(Self::#idents),)*
                other => ::std::result::Result::Err(reader.wrong(::std::format_args!("no symbol {other:?}"))),
            }
        },
    })
}

fn union(branches: &[Branch<'_>]) -> Result<Functions, Error> {
    let nulls: Vec<_> = branches.iter().filter(|branch| branch.of.is_none()).collect();
    if let [_, second, ..] = &nulls[..] {
        let what = format!(
            "a variant without a value is null, and a union has one null: give this one a record without fields, `{0}({0})`",
            second.ident
        );
        return Err(Error::new_spanned(second.ident, what));
    }
    if let Some(branch) =
        branches.iter().find(|branch| matches!(branch.item.default, Some(Default::Empty(_))))
    {
        return Err(Error::new_spanned(
            branch.ident,
            "a union has no default of its own; the field that holds it may",
        ));
    }
    let null = quote!(());
    let types: Vec<TokenStream> =
        branches.iter().map(|branch| branch.of.map_or(null.clone(), |of| quote!(#of))).collect();
    let of_two = branches.len() == 2 && nulls.len() == 1;
    let numbers: Vec<_> = branches.iter().map(|branch| i64::from(branch.at)).collect();
    let encoded =
        branches.iter().zip(&types).zip(&numbers).map(|((Branch { ident, of, .. }, of_type), at)| match of {
            None => quote!(Self::#ident => ::affinity_avro::derived::put_long(out, #at)),
            Some(_) => quote! {
                Self::#ident(value) => {
                    ::affinity_avro::derived::put_long(out, #at);
                    <#of_type as ::affinity_avro::Datum>::encode(value, out);
                }
            },
        });
    let places = branches.iter().map(|branch| branch.at as usize);
    let decoded = branches.iter().map(|branch| read(branch, &quote!(decode(reader))));
    let resolved_at = branches.iter().map(|branch| branch.at);
    let resolved = branches.iter().map(|branch| read(branch, &quote!(resolve(reader, at))));
    let count = branches.len();
    let unknown = quote!(::std::result::Result::Err(::affinity_avro::derived::foreign_plan()));
    Ok(Functions {
        consts: quote! {
            const BRANCH: &'static str = "union";
            const IS_UNION: bool = true;
        },
        describe: quote!(schema.union(&[#(<#types as ::affinity_avro::Datum>::describe),*]);),
        encode: quote!(match self { #(#encoded),* }),
        decode: quote! {
            match reader.index(#count)? {
                #(#places => #decoded,)*
                _ => #unknown,
            }
        },
        resolve: quote! {
            let (branch, at) = at.branch(reader)?;
            match branch {
                #(#resolved_at => #resolved,)*
                _ => #unknown,
            }
        },
        write_json: write_json(branches, of_two),
        read_json: read_json(branches, of_two),
    })
}

/// What the compiler has to look at the branches for.
fn checks(branches: &[Branch<'_>]) -> TokenStream {
    let within = branches.iter().filter_map(|branch| branch.of).map(|of| {
        quote_spanned! {of.span()=>
            const _: () = ::std::assert!(
                !<#of as ::affinity_avro::Datum>::IS_UNION,
                "a union within a union: put its branches here, or wrap it in a record"
            );
        }
    });
    let types = branches.iter().map(|branch| branch.of.map_or(quote!(()), |of| quote!(#of)));
    quote! {
        #(#within)*
        const _: () = ::std::assert!(
            ::affinity_avro::derived::all_differ(&[#(<#types as ::affinity_avro::Datum>::BRANCH),*]),
            "two variants have the same Avro type, and could not be told apart: wrap one in a record"
        );
    }
}

fn read(branch: &Branch<'_>, how: &TokenStream) -> TokenStream {
    let ident = branch.ident;
    match branch.of {
        None => quote!(<() as ::affinity_avro::Datum>::#how.map(|()| Self::#ident)),
        Some(of) => quote!(<#of as ::affinity_avro::Datum>::#how.map(Self::#ident)),
    }
}

fn write_json(branches: &[Branch<'_>], of_two: bool) -> TokenStream {
    let put = if of_two { quote!(branch_of_two) } else { quote!(branch) };
    let written = branches.iter().map(|Branch { ident, of, .. }| match of {
        None => quote!(Self::#ident => out.null()),
        Some(of) => quote! {
            Self::#ident(value) => out.#put(<#of as ::affinity_avro::Datum>::BRANCH, |out| {
                <#of as ::affinity_avro::Datum>::write_json(value, out);
            })
        },
    });
    quote!(match self { #(#written),* })
}

fn read_json(branches: &[Branch<'_>], of_two: bool) -> TokenStream {
    let null = branches.iter().find(|branch| branch.of.is_none()).map(|Branch { ident, .. }| {
        quote! {
            if reader.takes_null() {
                return ::std::result::Result::Ok(Self::#ident);
            }
        }
    });
    let values = branches.iter().filter_map(|Branch { ident, of, .. }| Some((ident, of.as_ref()?)));
    if of_two {
        let read = values.map(|(ident, of)| {
            quote! {
                reader
                    .branch_of_two(
                        <#of as ::affinity_avro::Datum>::BRANCH,
                        <#of as ::affinity_avro::Datum>::read_json,
                    )
                    .map(Self::#ident)
            }
        });
        return quote!(#null #(#read)*);
    }
    let read = values.map(|(ident, of)| {
        quote! {
            if *name == *<#of as ::affinity_avro::Datum>::BRANCH {
                let value = <#of as ::affinity_avro::Datum>::read_json(reader)?;
                reader.branch_end()?;
                return ::std::result::Result::Ok(Self::#ident(value));
            }
        }
    });
    quote! {
        #null
        let name = reader.branch()?;
        #(#read)*
        ::std::result::Result::Err(reader.wrong(::std::format_args!("the union has no branch {name:?}")))
    }
}
