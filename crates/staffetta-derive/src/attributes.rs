//! `#[message(..)]` and `#[repr(..)]`, read and checked.

use syn::{Attribute, DeriveInput, Error, LitInt, LitStr, Path, Result};

/// The longest explicit identity, in bytes. Schemas nest identities, and their text is bounded.
const IDENTITY_LENGTH_MAX: usize = 256;

/// What `#[message(..)]` says.
pub struct Options {
    /// `id`
    pub identity: Option<String>,
    /// `version`
    pub version: u32,
    /// `crate`
    pub library: Path,
}

impl Options {
    pub fn read(input: &DeriveInput) -> Result<Options> {
        let mut identity = None;
        let mut version = None;
        let mut library = None;
        for attribute in message_attributes(&input.attrs) {
            attribute.parse_nested_meta(|meta| {
                let twice = || meta.error("this is given twice");
                if meta.path.is_ident("id") {
                    let text: LitStr = meta.value()?.parse()?;
                    if identity.replace(checked_identity(&text)?).is_some() {
                        return Err(twice());
                    }
                } else if meta.path.is_ident("version") {
                    let number: LitInt = meta.value()?.parse()?;
                    if version.replace(number.base10_parse::<u32>()?).is_some() {
                        return Err(twice());
                    }
                } else if meta.path.is_ident("crate") {
                    let text: LitStr = meta.value()?.parse()?;
                    if library.replace(text.parse::<Path>()?).is_some() {
                        return Err(twice());
                    }
                } else {
                    return Err(meta
                        .error("unknown option: `id = \"..\"`, `version = ..` and `crate = \"..\"` exist"));
                }
                Ok(())
            })?;
        }
        Ok(Options {
            identity,
            version: version.unwrap_or(1),
            library: library.unwrap_or_else(|| syn::parse_quote!(::staffetta)),
        })
    }
}

/// An explicit identity has no character with a meaning in identities, nor one that hides.
fn checked_identity(text: &LitStr) -> Result<String> {
    let identity = text.value();
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    if identity.is_empty() || !identity.chars().all(allowed) {
        return Err(Error::new(
            text.span(),
            "an id consists of letters, digits and `_`, `-`, `.`, `:`, `/`, such as \"com.acme.Frame\"",
        ));
    }
    if identity.len() > IDENTITY_LENGTH_MAX {
        return Err(Error::new(text.span(), format!("an id has at most {IDENTITY_LENGTH_MAX} bytes")));
    }
    Ok(identity)
}

fn message_attributes(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("message"))
}

/// `#[message(..)]` belongs on the type.
pub fn refuse_on_part(attributes: &[Attribute]) -> Result<()> {
    match message_attributes(attributes).next() {
        None => Ok(()),
        Some(attribute) => {
            Err(Error::new_spanned(attribute, "`#[message(..)]` belongs on the type, not on its parts"))
        }
    }
}

/// What `#[repr(..)]` says.
#[derive(Default)]
pub struct Repr {
    pub c: bool,
    pub transparent: bool,
    pub packed: bool,
    pub integer: Option<syn::Ident>,
    /// The whole of each `align(..)`.
    pub aligns: Vec<proc_macro2::TokenStream>,
}

impl Repr {
    pub fn read(attributes: &[Attribute]) -> Result<Repr> {
        let mut repr = Repr::default();
        for attribute in attributes {
            if !attribute.path().is_ident("repr") {
                continue;
            }
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("C") {
                    repr.c = true;
                } else if meta.path.is_ident("transparent") {
                    repr.transparent = true;
                } else if meta.path.is_ident("align") {
                    let content;
                    syn::parenthesized!(content in meta.input);
                    let bytes: LitInt = content.parse()?;
                    repr.aligns.push(quote::quote!(align(#bytes)));
                } else if meta.path.is_ident("packed") {
                    repr.packed = true;
                    if meta.input.peek(syn::token::Paren) {
                        let content;
                        syn::parenthesized!(content in meta.input);
                        content.parse::<LitInt>()?;
                    }
                } else if let Some(ident) = meta.path.get_ident() {
                    // Anything else is an integer, `Rust`, or an error that the compiler reports.
                    if ident != "Rust" {
                        repr.integer = Some(ident.clone());
                    }
                }
                Ok(())
            })?;
        }
        Ok(repr)
    }
}
