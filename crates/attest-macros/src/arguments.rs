//! What is written in the parentheses of the attributes.

use proc_macro2::Span;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprLit, Lit, LitStr, Meta, Path, Result, Token};

use crate::Tokens;

/// Which attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    Test,
    Setup,
}

impl Attribute {
    /// As one says it.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Setup => "set-up",
        }
    }

    /// The key that names the set-up before it.
    pub(crate) fn before(self) -> &'static str {
        match self {
            Self::Test => "setup",
            Self::Setup => "after",
        }
    }

    fn keys(self) -> &'static str {
        match self {
            Self::Test => "`manifest`, `lab`, `setup` and `snapshots`",
            Self::Setup => "`manifest`, `lab` and `after`",
        }
    }
}

/// What a test or a set-up begins from.
enum Beginning {
    /// A lab of a manifest.
    Manifest(LitStr),
    /// A lab of code.
    Lab(Box<Expr>),
    /// A set-up.
    After(Path),
}

pub(crate) struct Arguments {
    beginning: Beginning,
    never_saved: bool,
}

impl Arguments {
    pub(crate) fn parse(attribute: Attribute, arguments: Tokens) -> Result<Self> {
        let metas = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(arguments)?;
        let mut beginning = None;
        let mut never_saved = false;
        for meta in &metas {
            let key = meta.path().get_ident().map(ToString::to_string);
            let key = key.unwrap_or_default();
            let is_known = match key.as_str() {
                "manifest" | "lab" => true,
                "snapshots" => attribute == Attribute::Test,
                key => key == attribute.before(),
            };
            if !is_known {
                let message = format!("unknown argument; there are {}", attribute.keys());
                return Err(Error::new_spanned(meta.path(), message));
            }
            let Meta::NameValue(pair) = meta else {
                let message = format!("it needs a value: `{key} = …`");
                return Err(Error::new_spanned(meta, message));
            };
            if key == "snapshots" {
                if never_saved {
                    return Err(Error::new_spanned(pair, "it is there already"));
                }
                never(&pair.value)?;
                never_saved = true;
                continue;
            }
            if let Some(first) = &beginning {
                return Err(Error::new_spanned(
                    pair,
                    twice(attribute, first, key == attribute.before()),
                ));
            }
            beginning = Some(match key.as_str() {
                "manifest" => Beginning::Manifest(manifest(&pair.value)?),
                "lab" => Beginning::Lab(Box::new(pair.value.clone())),
                _ => Beginning::After(path(&pair.value)?),
            });
        }
        let default = || Beginning::Manifest(LitStr::new("attest.toml", Span::call_site()));
        Ok(Self {
            beginning: beginning.unwrap_or_else(default),
            never_saved,
        })
    }

    /// The set-up before it.
    pub(crate) fn begins_from(&self) -> Option<&Path> {
        match &self.beginning {
            Beginning::After(path) => Some(path),
            Beginning::Manifest(_) | Beginning::Lab(_) => None,
        }
    }

    /// The `Chain` that leads to where it begins.
    pub(crate) fn chain(&self) -> Tokens {
        let source = match &self.beginning {
            Beginning::After(before) => {
                return quote!(<#before as ::attest::harness::Setup>::chain());
            }
            Beginning::Manifest(path) => quote! {
                Manifest(::std::path::Path::new(::core::env!("CARGO_MANIFEST_DIR")).join(#path))
            },
            Beginning::Lab(builder) => quote!(Builder(::std::boxed::Box::new(#builder))),
        };
        quote!(::attest::harness::Chain::of(::attest::harness::Source::#source))
    }

    /// An `Option<SnapshotUse>`.
    pub(crate) fn snapshots(&self) -> Tokens {
        if self.never_saved {
            quote!(::core::option::Option::Some(::attest::SnapshotUse::Never))
        } else {
            quote!(::core::option::Option::None)
        }
    }
}

fn twice(attribute: Attribute, first: &Beginning, is_setup: bool) -> String {
    let (noun, before) = (attribute.noun(), attribute.before());
    match (first, is_setup) {
        (Beginning::After(_), true) => format!("a {noun} begins from one set-up"),
        (Beginning::Manifest(_) | Beginning::Lab(_), false) => {
            format!("a {noun} has one lab: give `manifest` or `lab`, once")
        }
        _ => format!(
            "a {noun} has the lab of its set-up: leave out `manifest` and `lab` beside `{before}`, and name the lab \
             on the first set-up"
        ),
    }
}

fn manifest(value: &Expr) -> Result<LitStr> {
    text(value).ok_or_else(|| {
        let message = "the manifest's path is a string literal";
        Error::new_spanned(value, message)
    })
}

fn never(value: &Expr) -> Result<()> {
    match text(value) {
        Some(text) if text.value() == "never" => Ok(()),
        _ => Err(Error::new_spanned(
            value,
            "there is only `snapshots = \"never\"`: the test boots a lab of its own",
        )),
    }
}

fn text(value: &Expr) -> Option<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some(text.clone()),
        _ => None,
    }
}

fn path(value: &Expr) -> Result<Path> {
    match value {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path.clone()),
        other => Err(Error::new_spanned(
            other.to_token_stream(),
            "a set-up is named by its path, as `database` or `support::database`",
        )),
    }
}
