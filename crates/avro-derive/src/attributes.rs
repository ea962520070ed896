//! What stands in `#[avro(..)]` and in doc comments.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, DeriveInput, Error, Expr, ExprLit, ExprUnary, Ident, Lit, LitStr, Meta, Path, UnOp};

/// A type.
pub(crate) struct Container {
    pub(crate) ident: Ident,
    /// Its full name.
    pub(crate) name: String,
    aliases: Vec<String>,
    doc: String,
    /// Where `affinity-avro` is, if not under its own name.
    pub(crate) room: Option<Path>,
}

impl Container {
    pub(crate) fn of(input: &DeriveInput) -> Result<Container, Error> {
        let (mut name, mut namespace, mut aliases, mut room) = (None, None, Vec::new(), None);
        each(&input.attrs, |meta| {
            if meta.path.is_ident("name") {
                name = Some(checked(&text(meta)?, false)?);
            } else if meta.path.is_ident("namespace") {
                namespace = Some(checked(&text(meta)?, true)?);
            } else if meta.path.is_ident("alias") {
                aliases.push(checked(&text(meta)?, true)?);
            } else if meta.path.is_ident("crate") {
                room = Some(text(meta)?.parse()?);
            } else {
                return Err(meta.error("a type can have `name`, `namespace`, `alias` and `crate`"));
            }
            Ok(())
        })?;
        let name = name.unwrap_or_else(|| plain(&input.ident));
        let name = namespace.map_or(name.clone(), |namespace| format!("{namespace}.{name}"));
        Ok(Container { ident: input.ident.clone(), name, aliases, doc: doc(&input.attrs), room })
    }

    /// What the type says of itself.
    pub(crate) fn named(&self) -> TokenStream {
        let Container { ident, name, aliases, doc, .. } = self;
        quote! {
            &::affinity_avro::derived::Named {
                name: #name,
                aliases: &[#(#aliases),*],
                doc: #doc,
                rust: ::std::concat!(::std::module_path!(), "::", ::std::stringify!(#ident)),
            }
        }
    }
}

/// A default, as it is written.
pub(crate) enum Default {
    /// `default`
    Empty(Span),
    /// `default = ..`
    Literal(Literal, Span),
    /// `default_json = ".."`
    Json(String),
}

/// A literal.
pub(crate) enum Literal {
    Boolean(bool),
    Integer(String),
    Float(String),
    Text(String),
}

/// The attributes of a field or a variant.
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) doc: String,
    pub(crate) default: Option<Default>,
    pub(crate) logical: Option<LitStr>,
}

impl Item {
    pub(crate) fn of_field(ident: &Ident, attributes: &[Attribute]) -> Result<Item, Error> {
        let mut item = Item::new(ident, attributes);
        each(attributes, |meta| {
            if meta.path.is_ident("name") {
                item.name = checked(&text(meta)?, false)?;
            } else if meta.path.is_ident("alias") {
                item.aliases.push(checked(&text(meta)?, false)?);
            } else if meta.path.is_ident("logical") {
                item.logical = Some(text(meta)?);
            } else if meta.path.is_ident("default_json") {
                item.default = Some(Default::Json(text(meta)?.value()));
            } else if meta.path.is_ident("default") {
                item.default = Some(default(meta)?);
            } else {
                let known = "a field can have `name`, `alias`, `default`, `default_json` and `logical`";
                return Err(meta.error(known));
            }
            Ok(())
        })?;
        Ok(item)
    }

    pub(crate) fn of_variant(ident: &Ident, attributes: &[Attribute]) -> Result<Item, Error> {
        let mut item = Item::new(ident, attributes);
        each(attributes, |meta| {
            if meta.path.is_ident("name") {
                item.name = checked(&text(meta)?, false)?;
            } else if meta.path.is_ident("default") && !meta.input.peek(syn::Token![=]) {
                item.default =
                    Some(Default::Empty(meta.path.get_ident().map_or_else(Span::call_site, Ident::span)));
            } else {
                return Err(meta.error("a variant can have `name`, and one of an enum `default`"));
            }
            Ok(())
        })?;
        Ok(item)
    }

    fn new(ident: &Ident, attributes: &[Attribute]) -> Item {
        Item { name: plain(ident), aliases: Vec::new(), doc: doc(attributes), default: None, logical: None }
    }
}

/// Calls `take` for each thing in `#[avro(..)]`.
fn each(
    attributes: &[Attribute],
    mut take: impl FnMut(&ParseNestedMeta<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let ours = attributes.iter().filter(|attribute| attribute.path().is_ident("avro"));
    ours.into_iter().try_for_each(|attribute| attribute.parse_nested_meta(|meta| take(&meta)))
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr, Error> {
    meta.value()?.parse()
}

fn default(meta: &ParseNestedMeta<'_>) -> Result<Default, Error> {
    let span = meta.path.get_ident().map_or_else(Span::call_site, Ident::span);
    if !meta.input.peek(syn::Token![=]) {
        return Ok(Default::Empty(span));
    }
    let value: Expr = meta.value()?.parse()?;
    let what = "a default is a number, a text or a boolean; give others as JSON: `default_json = \"..\"`";
    let literal = literal(&value, "").ok_or_else(|| Error::new_spanned(&value, what))?;
    Ok(Default::Literal(literal, span))
}

fn literal(value: &Expr, sign: &str) -> Option<Literal> {
    Some(match value {
        Expr::Lit(ExprLit { lit: Lit::Bool(value), .. }) => Literal::Boolean(value.value),
        Expr::Lit(ExprLit { lit: Lit::Int(value), .. }) => {
            Literal::Integer(format!("{sign}{}", value.base10_digits()))
        }
        Expr::Lit(ExprLit { lit: Lit::Float(value), .. }) => {
            Literal::Float(format!("{sign}{}", value.base10_digits()))
        }
        Expr::Lit(ExprLit { lit: Lit::Str(value), .. }) => Literal::Text(value.value()),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) if sign.is_empty() => literal(expr, "-")?,
        _ => return None,
    })
}

/// A name as Avro has them; with dots where it is a full one.
fn checked(text: &LitStr, with_dots: bool) -> Result<String, Error> {
    let value = text.value();
    let is_simple = |part: &str| {
        let letter = |char: char| char.is_ascii_alphabetic() || char == '_';
        part.starts_with(letter) && part.chars().all(|char| letter(char) || char.is_ascii_digit())
    };
    let fits = if with_dots { value.split('.').all(is_simple) } else { is_simple(&value) };
    if fits {
        return Ok(value);
    }
    Err(Error::new(text.span(), "Avro's names are letters, digits and _, and do not begin with a digit"))
}

fn plain(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map_or(name.clone(), str::to_owned)
}

/// The lines of the doc comment.
fn doc(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join("\n").trim().to_owned()
}
