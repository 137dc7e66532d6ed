//! The `#[attest::test]` attribute. Use it through the `attest` crate, which documents it.

use proc_macro::TokenStream;
use proc_macro2::{Span, TokenStream as Tokens};
use quote::quote;
use syn::parse::Parser;
use syn::{Expr, ExprLit, ItemFn, Lit, Meta, parse_macro_input, spanned::Spanned};

/// A test on a lab of its own.
///
/// The function takes an `attest::Lab` (or `&attest::Lab`), may be `async`, and returns `()` or
/// a `Result` whose error converts into `attest::Error` or any `std::error::Error`. The lab is
/// booted before it and shut down after it; a panic fails the test with the consoles' ends.
///
/// Arguments:
/// - `manifest = "path"`: the lab's manifest, relative to the package's directory. Default:
///   `attest.toml` there.
/// - `lab = expression`: an `attest::LabBuilder` instead of a manifest.
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
    let function = parse_macro_input!(item as ItemFn);
    expand(arguments.into(), function)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

fn expand(arguments: Tokens, mut function: ItemFn) -> syn::Result<Tokens> {
    let source = source(arguments)?;
    if function.sig.inputs.len() != 1 {
        let message =
            "a test takes the lab: `fn name(lab: attest::Lab)` or `fn name(lab: &attest::Lab)`";
        return Err(syn::Error::new(function.sig.span(), message));
    }
    let syn::FnArg::Typed(argument) = &function.sig.inputs[0] else {
        return Err(syn::Error::new(
            function.sig.span(),
            "a test is a free function, not a method",
        ));
    };
    let borrowed = matches!(*argument.ty, syn::Type::Reference(_));
    let (attributes, visibility) = (std::mem::take(&mut function.attrs), function.vis.clone());
    let name = function.sig.ident.clone();
    function.vis = syn::Visibility::Inherited;
    let lab = if borrowed { quote!(&lab) } else { quote!(lab) };
    let call = if function.sig.asyncness.is_some() {
        quote!(#name(#lab).await)
    } else {
        quote!(::attest::harness::blocking(move || #name(#lab)).await)
    };
    Ok(quote! {
        #(#attributes)*
        #[::core::prelude::v1::test]
        #visibility fn #name() {
            // What a test takes is the macro's choice as much as its author's.
            #[allow(clippy::needless_pass_by_value)]
            #function
            ::attest::harness::run(
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                #source,
                |lab| ::std::boxed::Box::pin(async move { ::attest::harness::Outcome::outcome(#call) }),
            )
        }
    })
}

fn source(arguments: Tokens) -> syn::Result<Tokens> {
    let metas =
        syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated.parse2(arguments)?;
    let mut source = None;
    for meta in &metas {
        let Meta::NameValue(pair) = meta else {
            return Err(syn::Error::new(
                meta.span(),
                "expected `manifest = \"path\"` or `lab = expression`",
            ));
        };
        if source.is_some() {
            return Err(syn::Error::new(
                meta.span(),
                "a test has one lab: give `manifest` or `lab`, once",
            ));
        }
        source = Some(
            match (
                pair.path.get_ident().map(ToString::to_string).as_deref(),
                &pair.value,
            ) {
                (
                    Some("manifest"),
                    Expr::Lit(ExprLit {
                        lit: Lit::Str(path),
                        ..
                    }),
                ) => manifest(path),
                (Some("lab"), builder) => {
                    quote!(::attest::harness::Source::Builder(::std::boxed::Box::new(#builder)))
                }
                (Some("manifest"), other) => {
                    return Err(syn::Error::new(
                        other.span(),
                        "the manifest's path is a string literal",
                    ));
                }
                _ => {
                    return Err(syn::Error::new(
                        meta.span(),
                        "unknown argument; there are `manifest` and `lab`",
                    ));
                }
            },
        );
    }
    Ok(source.unwrap_or_else(|| manifest(&syn::LitStr::new("attest.toml", Span::call_site()))))
}

fn manifest(path: &syn::LitStr) -> Tokens {
    quote!(::attest::harness::Source::Manifest(
        ::std::path::Path::new(::core::env!("CARGO_MANIFEST_DIR")).join(#path)
    ))
}
