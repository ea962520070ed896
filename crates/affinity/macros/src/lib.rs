//! The macro `#[partition]` of `affinity`, which re-exports it.
//!
//! It is no place for decisions: it spells out messages, answers and their ways for methods that say what they are.

mod expand;
mod handlers;

use proc_macro2::TokenStream;
use syn::{Error, ItemImpl, parse_macro_input};

/// Makes a partition's handlers of an impl block whose methods are its messages.
///
/// ```text
/// #[partition(stores = [ACCOUNTS], indices = [BY_OWNER], sagas = [TRANSFERS])]
/// impl Bank {
///     /// Exclusive: may write.
///     #[command]
///     pub fn deposit(&self, cx: &mut Master<'_>, to: &AccountId, cents: i64) -> Result<Account, BankError> { .. }
///
///     /// Shared: cannot write.
///     #[query]
///     pub fn account(&self, cx: &View<'_>, id: &AccountId) -> Result<Option<Account>, BankError> { .. }
/// }
///
/// let account = bank.deposit(&to, 500).ask_with_retry().await?;
/// ```
///
/// The first store is the main store. The first argument after `cx` is the key that finds the partition; a query without arguments
/// goes to all partitions. Arguments and answers have Avro types (`affinity::Datum`), so that messages may cross a wire and a version;
/// arguments may be borrowed. All methods have the same error, a typed enum.
///
/// Beside the impl block stand, named after its type: the trait with the typed calls (`BankCalls`, for `Router<Bank>`), and the
/// messages (`BankCommand`, `BankQuery`, `BankAnswer`). One method each may be marked `#[effect]`, `#[answered]`, `#[refused]` and
/// `#[changed]`: it is the partition's method of that name.
#[proc_macro_attribute]
pub fn partition(
    attributes: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    let item = parse_macro_input!(item as ItemImpl);
    expand(attributes.into(), item).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(attributes: TokenStream, item: ItemImpl) -> Result<TokenStream, Error> {
    let stores = syn::parse2(attributes)?;
    let (block, handlers) = handlers::take(item)?;
    Ok(expand::partition(&block, &stores, &handlers))
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn refused(attributes: TokenStream, block: TokenStream) -> String {
        expand(attributes, syn::parse2(block).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_method_that_is_no_message_is_told_so() {
        let cases = [
            (
                quote!(
                    #[command]
                    fn add(&self, cx: &mut Master<'_>) -> Result<i64, E> {}
                ),
                "a command has a key",
            ),
            (
                quote!(
                    #[command]
                    fn add(&self) -> Result<i64, E> {}
                ),
                "the context first",
            ),
            (
                quote!(
                    #[query]
                    fn count(&self, cx: &View<'_>, key: &str) -> i64 {}
                ),
                "answers a `Result`",
            ),
            (
                quote!(
                    #[query]
                    fn count(&self, cx: &View<'_>, key: &str) {}
                ),
                "answers a `Result`",
            ),
            (
                quote!(
                    #[query]
                    fn count(&self, cx: &View<'_>, (a, b): Pair) -> Result<i64, E> {}
                ),
                "a plain name",
            ),
            (
                quote!(
                    #[query]
                    fn count(&self, cx: &View<'_>, key: &mut String) -> Result<i64, E> {}
                ),
                "cannot be changed",
            ),
            (
                quote!(
                    fn add(&self, cx: &mut Master<'_>, key: &str) -> Result<i64, E> {}
                ),
                "no method is a message",
            ),
            (
                quote! {
                    #[command]
                    fn add(&self, cx: &mut Master<'_>, key: &str) -> Result<i64, E> {}
                    #[query]
                    fn count(&self, cx: &View<'_>, key: &str) -> Result<i64, F> {}
                },
                "one enum for all",
            ),
        ];
        for (methods, expected) in cases {
            let told = refused(quote!(stores = [COUNTS]), quote!(impl Counter { #methods }));
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn a_block_that_is_no_partition_is_told_so() {
        let good = quote!(
            #[query]
            fn count(&self, cx: &View<'_>) -> Result<i64, E> {}
        );
        let check = |attributes, block, expected: &str| {
            let told = refused(attributes, block);
            assert!(told.contains(expected), "{told}");
        };
        check(quote!(), quote!(impl Counter { #good }), "name the stores");
        check(quote!(store = [COUNTS]), quote!(impl Counter { #good }), "there is no `store` here");
        check(quote!(stores = [COUNTS]), quote!(impl Count for Counter { #good }), "are its own");
        check(quote!(stores = [COUNTS]), quote!(impl<T> Counter<T> { #good }), "cannot be generic");
    }
}
