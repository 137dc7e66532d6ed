//! The function that an attribute stands on.

use proc_macro2::{Ident, Span};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, Path, Result, ReturnType, Type};

use crate::Tokens;
use crate::arguments::Attribute;

/// A function whose shape is right.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    lab: Passed,
    state: Option<(Passed, Span)>,
}

/// How an argument is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    Value,
    Reference,
}

impl Function {
    pub(crate) fn check(attribute: Attribute, item: ItemFn, before: Option<&Path>) -> Result<Self> {
        let (noun, key) = (attribute.noun(), attribute.before());
        if !item.sig.generics.params.is_empty() {
            let message = format!("a {noun} has no generic parameters");
            return Err(Error::new_spanned(&item.sig.generics, message));
        }
        let mut inputs = item.sig.inputs.iter();
        let Some(lab) = inputs.next() else {
            let message = format!(
                "a {noun} takes the lab: `fn {name}(lab: attest::Lab)` or `fn {name}(lab: &attest::Lab)`",
                name = item.sig.ident
            );
            return Err(Error::new_spanned(&item.sig, message));
        };
        let lab = passed(noun, lab)?;
        let state = match (inputs.next(), before) {
            (None, _) => None,
            (Some(state), Some(_)) => Some((passed(noun, state)?, state.span())),
            (Some(state), None) => {
                let message = format!(
                    "a second argument is what a set-up returned: name the set-up, as `#[attest::{attribute}({key} = \
                     database)]`",
                    attribute = match attribute {
                        Attribute::Test => "test",
                        Attribute::Setup => "setup",
                    }
                );
                return Err(Error::new_spanned(state, message));
            }
        };
        if let Some(more) = inputs.next() {
            let message = format!("a {noun} takes the lab, and what its set-up returned; no more");
            return Err(Error::new_spanned(more, message));
        }
        if attribute == Attribute::Setup
            && let ReturnType::Type(_, returned) = &item.sig.output
            && let Type::ImplTrait(_) = &**returned
        {
            let message = "a set-up names the type that it returns: `()` or a `Result`";
            return Err(Error::new_spanned(returned, message));
        }
        Ok(Self { item, lab, state })
    }

    /// The name for what the set-up before it returned, and the statement that reads it.
    pub(crate) fn state(&self, before: Option<&Path>) -> (Tokens, Tokens) {
        match (self.state, before) {
            (Some((_, place)), Some(before)) => {
                let state = state_at(place);
                (
                    quote!(value),
                    quote!(let #state = ::attest::harness::state::<#before>(value)?;),
                )
            }
            _ => (quote!(_), Tokens::new()),
        }
    }

    /// Its call with `lab` and, if it takes it, `state`.
    pub(crate) fn call(&self) -> Tokens {
        let name = &self.item.sig.ident;
        let lab = self.lab.argument(&quote!(lab));
        let state = self.state.map(|(passed, place)| {
            let state = state_at(place);
            passed.argument(&quote!(#state))
        });
        let arguments = [Some(lab), state].into_iter().flatten();
        let call = quote!(#name(#(#arguments),*));
        if self.item.sig.asyncness.is_some() {
            quote!(#call.await)
        } else {
            quote!(::attest::harness::blocking(move || #call).await)
        }
    }

    /// The type of what it returns when all is well.
    pub(crate) fn returned(&self) -> Tokens {
        match &self.item.sig.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, returned) => quote_spanned! { returned.span() =>
                <#returned as ::attest::harness::Outcome>::Value
            },
        }
    }
}

/// A variable of ours; where its type is wrong, the argument is shown that it is for.
fn state_at(place: Span) -> Ident {
    Ident::new("state", place.resolved_at(Span::call_site()))
}

impl Passed {
    fn argument(self, name: &Tokens) -> Tokens {
        match self {
            Self::Value => name.clone(),
            Self::Reference => quote!(&#name),
        }
    }
}

fn passed(noun: &str, argument: &FnArg) -> Result<Passed> {
    match argument {
        FnArg::Receiver(_) => {
            let message = format!("a {noun} is a free function, not a method");
            Err(Error::new_spanned(argument, message))
        }
        FnArg::Typed(typed) => Ok(match *typed.ty {
            Type::Reference(_) => Passed::Reference,
            _ => Passed::Value,
        }),
    }
}
