//! Structs around one value without a name: what is inside, or a fixed.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, FieldsUnnamed, Type};

use crate::Functions;
use crate::attributes::Container;
use crate::shape::is_byte;

pub(crate) fn expand(container: &Container, fields: &FieldsUnnamed) -> Result<TokenStream, Error> {
    let mut list = fields.unnamed.iter();
    let (Some(field), None) = (list.next(), list.next()) else {
        return Err(Error::new(
            fields.span(),
            "the fields of a record have names: `struct Point { x: i32, y: i32 }`",
        ));
    };
    if let Some(attribute) = field.attrs.iter().find(|attribute| attribute.path().is_ident("avro")) {
        let what =
            "a wrapper is what it holds: attributes belong on the field of a record that holds the wrapper";
        return Err(Error::new_spanned(attribute, what));
    }
    let functions = match &field.ty {
        Type::Array(array) if is_byte(&array.elem) => fixed(container, &array.len),
        of => transparent(of),
    };
    Ok(functions.implement(&container.ident))
}

fn fixed(container: &Container, size: &Expr) -> Functions {
    let (name, named) = (&container.name, container.named());
    Functions {
        consts: quote!(const BRANCH: &'static str = #name;),
        describe: quote!(schema.fixed(#named, #size, ::std::option::Option::None);),
        encode: quote!(out.extend_from_slice(&self.0);),
        decode: quote!(reader.fixed().map(Self)),
        resolve: quote!(at.fixed(reader).map(Self)),
        write_json: quote!(out.bytes(&self.0);),
        read_json: quote! {
            match reader.bytes()?.try_into() {
                ::std::result::Result::Ok(bytes) => ::std::result::Result::Ok(Self(bytes)),
                ::std::result::Result::Err(_) => ::std::result::Result::Err(reader.wrong(
                    ::std::format_args!("{} bytes belong here", #size),
                )),
            }
        },
    }
}

fn transparent(of: &Type) -> Functions {
    let inner = quote_spanned!(of.span()=> <#of as ::affinity_avro::Datum>);
    Functions {
        consts: quote! {
            const BRANCH: &'static str = #inner::BRANCH;
            const IS_UNION: bool = #inner::IS_UNION;
        },
        describe: quote!(#inner::describe(schema);),
        encode: quote!(#inner::encode(&self.0, out);),
        decode: quote!(#inner::decode(reader).map(Self)),
        resolve: quote!(#inner::resolve(reader, at).map(Self)),
        write_json: quote!(#inner::write_json(&self.0, out);),
        read_json: quote!(#inner::read_json(reader).map(Self)),
    }
}
