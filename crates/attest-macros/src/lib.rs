//! The `#[attest::test]` and `#[attest::setup]` attributes. Use them through the `attest` crate.

use proc_macro::TokenStream;
use quote::quote;
use syn::ItemFn;

mod arguments;
mod function;

use arguments::{Arguments, Attribute};
use function::Function;

/// A test on a lab of its own.
///
/// The function takes an `attest::Lab` (or `&attest::Lab`), may be `async`, and returns `()` or a `Result` whose error
/// converts into a boxed `std::error::Error`. The lab goes on from where an equal one had booted (see
/// `attest::SnapshotUse`), or boots, and is shut down after the test; a panic fails the test with the consoles' ends.
/// With `ATTEST_KEEP=failed`, the lab of a test that fails is kept as it was, for `attest shell --snapshot`.
///
/// Arguments:
/// - `manifest = "path"`: the lab's manifest, relative to the package's directory. Default: `attest.toml` there.
/// - `lab = expression`: an `attest::LabBuilder` instead of a manifest.
/// - `setup = path`: the set-up that the test begins from, and whose lab it has; see [`macro@setup`]. The function may
///   take what the set-up returned as its second argument.
/// - `snapshots = "never"`: the lab boots for this test alone, and all its set-ups run.
///
/// ```ignore
/// #[attest::test(lab = attest::Lab::builder().network("lan").machine("a").machine("b"))]
/// async fn a_reaches_b(lab: &attest::Lab) -> attest::Result<()> {
///     lab.machine("a")?.shell("ping -c1 b").await?;
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(Attribute::Test, arguments.into(), item.into()).into()
}

/// What several tests begin with: it runs once, and each of them goes on from there on a lab of its own.
///
/// The function takes an `attest::Lab` (or `&attest::Lab`), may be `async` (its future is `Send` then), and returns
/// `()` or a `Result`. What it returns is kept as JSON beside the lab: it is `serde::Serialize` and
/// `serde::de::DeserializeOwned`, and what comes next gets it as its second argument. It may take as long as a test
/// (`timeouts.test`).
///
/// Where the lab can be saved, the state is kept for all tests of this program, in whichever process, and for later
/// runs of it: as long as the program is the same to the byte. Any rebuild that changes it makes the set-ups run anew.
/// What else a set-up reads, as files of the host, is not looked at: take it in by `include_str!`, or run with
/// `ATTEST_SNAPSHOTS=rebuild`. With `ATTEST_SNAPSHOTS=never`, every test boots its lab and runs its set-ups.
///
/// Arguments:
/// - `manifest = "path"` or `lab = expression`: as for [`macro@test`].
/// - `after = path`: the set-up that it goes on from, and whose lab it has.
///
/// A set-up in another module is named by its path.
///
/// ```ignore
/// #[attest::setup(lab = attest::Lab::builder().machine("db"))]
/// async fn database(lab: &attest::Lab) -> attest::Result<u32> {
///     lab.machine("db")?.shell("load-the-data").await?;
///     Ok(7)
/// }
///
/// #[attest::setup(after = database)]
/// async fn indexed(lab: &attest::Lab, rows: u32) -> attest::Result<()> {
///     lab.machine("db")?.shell(format!("make-index {rows}")).await?;
///     Ok(())
/// }
///
/// #[attest::test(setup = database)]
/// async fn all_rows_are_there(lab: &attest::Lab, rows: u32) -> attest::Result<()> {
///     let counted = lab.machine("db")?.shell("count-rows").await?;
///     assert_eq!(counted.text(), format!("{rows}\n"));
///     Ok(())
/// }
///
/// #[attest::test(setup = indexed)]
/// async fn the_index_is_used(lab: &attest::Lab) -> attest::Result<()> {
///     lab.machine("db")?.shell("explain | grep index").await?;
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn setup(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(Attribute::Setup, arguments.into(), item.into()).into()
}

type Tokens = proc_macro2::TokenStream;

/// A mistake becomes an error of the compiler, in its place.
fn expand(attribute: Attribute, arguments: Tokens, item: Tokens) -> Tokens {
    expanded(attribute, arguments, item).unwrap_or_else(|error| error.to_compile_error())
}

fn expanded(attribute: Attribute, arguments: Tokens, item: Tokens) -> syn::Result<Tokens> {
    let function: ItemFn = syn::parse2(item)?;
    let arguments = Arguments::parse(attribute, arguments)?;
    let function = Function::check(attribute, function, arguments.begins_from())?;
    Ok(match attribute {
        Attribute::Test => test_of(&arguments, function),
        Attribute::Setup => setup_of(&arguments, &function),
    })
}

fn test_of(arguments: &Arguments, mut function: Function) -> Tokens {
    let attributes = std::mem::take(&mut function.item.attrs);
    let visibility = std::mem::replace(&mut function.item.vis, syn::Visibility::Inherited);
    let name = &function.item.sig.ident;
    let (chain, snapshots) = (arguments.chain(), arguments.snapshots());
    let (value, state) = function.state(arguments.begins_from());
    let call = function.call();
    let item = &function.item;
    quote! {
        #(#attributes)*
        #[::core::prelude::v1::test]
        #visibility fn #name() {
            // What a test takes is the macro's choice as much as its author's.
            #[allow(clippy::needless_pass_by_value)]
            #item
            ::attest::harness::run(
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                #chain,
                #snapshots,
                |lab, #value| ::std::boxed::Box::pin(async move {
                    #state
                    ::attest::harness::Outcome::outcome(#call)
                }),
            )
        }
    }
}

/// Functions and types of one name do not meet: the set-up is both.
fn setup_of(arguments: &Arguments, function: &Function) -> Tokens {
    let (visibility, name) = (&function.item.vis, &function.item.sig.ident);
    let returned = function.returned();
    let chain = arguments.chain();
    let depth = arguments.begins_from().map_or_else(
        || quote!(1),
        |before| quote!(1 + <#before as ::attest::harness::Setup>::DEPTH),
    );
    let (value, state) = function.state(arguments.begins_from());
    let call = function.call();
    let item = &function.item;
    quote! {
        // What a set-up takes is the macro's choice as much as its author's.
        #[allow(clippy::needless_pass_by_value)]
        #item
        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code)]
        #visibility enum #name {}
        impl ::attest::harness::Setup for #name {
            type State = #returned;
            const NAME: &'static str =
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name));
            const DEPTH: usize = #depth;
            fn chain() -> ::attest::harness::Chain {
                // A circle ends here, when this is compiled.
                const _: usize = <#name as ::attest::harness::Setup>::DEPTH;
                #chain.then(Self::NAME, |lab, #value| ::std::boxed::Box::pin(async move {
                    #state
                    ::attest::harness::kept(#call)
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
