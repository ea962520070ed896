//! What the impl block says: the stores, and which method is what message.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, Ident, ImplItem, ImplItemFn, ItemImpl, Pat,
    PathArguments, ReturnType, Token, Type, Visibility, bracketed,
};

/// The attribute's lists.
#[derive(Default)]
pub(crate) struct Stores {
    pub(crate) stores: Vec<Expr>,
    pub(crate) indices: Vec<Expr>,
    pub(crate) sagas: Vec<Expr>,
}

impl Parse for Stores {
    fn parse(input: ParseStream<'_>) -> Result<Stores, Error> {
        let mut lists = Stores::default();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            let list;
            bracketed!(list in input);
            let list = Punctuated::<Expr, Token![,]>::parse_terminated(&list)?.into_iter().collect();
            match &*name.to_string() {
                "stores" => lists.stores = list,
                "indices" => lists.indices = list,
                "sagas" => lists.sagas = list,
                other => {
                    let what =
                        format!("there is no `{other}` here: `stores`, `indices` and `sagas` are lists");
                    return Err(Error::new(name.span(), what));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if lists.stores.is_empty() && lists.sagas.is_empty() {
            let what = "name the stores, the main store first: `#[partition(stores = [ACCOUNTS])]`";
            return Err(Error::new(Span::call_site(), what));
        }
        Ok(lists)
    }
}

/// What a message may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Command,
    Query,
}

/// A method that is a message.
pub(crate) struct Handler {
    pub(crate) kind: Kind,
    pub(crate) method: Ident,
    pub(crate) docs: Vec<Attribute>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) answer: Type,
}

/// An argument behind `cx`.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    /// As it is written.
    pub(crate) written: Type,
    /// What it borrows, if it does.
    pub(crate) borrowed: Option<Type>,
}

/// All methods that are something.
pub(crate) struct Handlers {
    pub(crate) messages: Vec<Handler>,
    /// Methods of the partition by their own names: which of the partition's it is, and its name here.
    pub(crate) others: Vec<(Ident, Ident)>,
    pub(crate) error: Type,
    pub(crate) visibility: Visibility,
}

const OTHERS: [&str; 4] = ["effect", "answered", "refused", "changed"];

/// Takes the marks off the methods.
pub(crate) fn take(mut block: ItemImpl) -> Result<(ItemImpl, Handlers), Error> {
    if let Some((path, _)) = &block.trait_ {
        return Err(Error::new(path.span(), "the methods of a partition are its own: `impl Bank { .. }`"));
    }
    if !block.generics.params.is_empty() {
        let what = "a partition cannot be generic, since its messages have names: write one for each";
        return Err(Error::new(block.generics.span(), what));
    }
    let (mut messages, mut others) = (Vec::new(), Vec::new());
    let mut shared: Option<(Type, Visibility)> = None;
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else { continue };
        if let Some(other) = take_mark(&mut method.attrs, &OTHERS) {
            others.push((other, method.sig.ident.clone()));
            continue;
        }
        let Some(mark) = take_mark(&mut method.attrs, &["command", "query"]) else { continue };
        let kind = if mark == "command" { Kind::Command } else { Kind::Query };
        let (answer, error) = answer_of(method)?;
        match &shared {
            Some((first, _)) if *first != error => {
                let what = "all messages of a partition have the same error: one enum for all";
                return Err(Error::new(error.span(), what));
            }
            Some(_) => {}
            None => shared = Some((error, method.vis.clone())),
        }
        messages.push(handler(kind, method, answer)?);
    }
    let Some((error, visibility)) = shared else {
        let what = "no method is a message: mark those that are with `#[command]` or `#[query]`";
        return Err(Error::new(block.self_ty.span(), what));
    };
    Ok((block, Handlers { messages, others, error, visibility }))
}

fn take_mark(attributes: &mut Vec<Attribute>, marks: &[&str]) -> Option<Ident> {
    let is_mark = |attribute: &Attribute| marks.iter().any(|mark| attribute.path().is_ident(mark));
    let at = attributes.iter().position(is_mark)?;
    attributes.remove(at).path().get_ident().cloned()
}

fn handler(kind: Kind, method: &ImplItemFn, answer: Type) -> Result<Handler, Error> {
    let mut inputs = method.sig.inputs.iter();
    let what = "a message takes `&self` and the context first: `&self, cx: &mut Master<'_>` or `&self, cx: &View<'_>`";
    let no_context = || Error::new(method.sig.span(), what);
    if !matches!(inputs.next(), Some(FnArg::Receiver(_))) || inputs.next().is_none() {
        return Err(no_context());
    }
    let arguments = inputs.map(argument).collect::<Result<Vec<_>, _>>()?;
    if kind == Kind::Command && arguments.is_empty() {
        let what = "a command has a key, which finds the partition: its first argument after the context";
        return Err(Error::new(method.sig.span(), what));
    }
    let docs = method.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).cloned().collect();
    Ok(Handler { kind, method: method.sig.ident.clone(), docs, arguments, answer })
}

fn argument(input: &FnArg) -> Result<Argument, Error> {
    let FnArg::Typed(typed) = input else {
        return Err(Error::new(input.span(), "an argument of a message has a name and a type"));
    };
    let Pat::Ident(name) = &*typed.pat else {
        return Err(Error::new(typed.pat.span(), "an argument of a message has a plain name"));
    };
    let borrowed = match &*typed.ty {
        Type::Reference(reference) if reference.mutability.is_some() => {
            return Err(Error::new(typed.ty.span(), "a message cannot be changed by its handler"));
        }
        Type::Reference(reference) => Some((*reference.elem).clone()),
        _ => None,
    };
    Ok(Argument { name: name.ident.clone(), written: (*typed.ty).clone(), borrowed })
}

/// The types of `Result<answer, error>`.
fn answer_of(method: &ImplItemFn) -> Result<(Type, Type), Error> {
    let what = "a message answers a `Result` with the answer and the partition's error";
    let no_result = || Error::new(method.sig.output.span(), what);
    let ReturnType::Type(_, of) = &method.sig.output else { return Err(Error::new(method.sig.span(), what)) };
    let Type::Path(path) = &**of else { return Err(no_result()) };
    let last = path.path.segments.last().filter(|last| last.ident == "Result").ok_or_else(no_result)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Err(no_result()) };
    let mut types = arguments.args.iter().map(|argument| match argument {
        GenericArgument::Type(of) => Ok(of.clone()),
        _ => Err(no_result()),
    });
    match (types.next(), types.next(), types.next()) {
        (Some(answer), Some(error), None) => Ok((answer?, error?)),
        _ => Err(no_result()),
    }
}
