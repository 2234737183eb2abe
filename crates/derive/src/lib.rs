//! `#[derive(Module)]`: walks the fields of a model, so that every parameter and buffer has a
//! name (PyTorch's state-dict path), and train/eval mode reaches every layer.
//!
//! ```text
//! #[derive(Module)]
//! struct Block { norm: LayerNorm, linear: Linear }
//! ```
//! writes
//! ```text
//! impl ::kiln::nn::Module for Block {
//!     fn visit(&self, visitor: &mut ::kiln::nn::Visitor<'_>) {
//!         visitor.leaf(::kiln::nn::Leaf::Layer("Block"));
//!         visitor.field("norm", &self.norm);
//!         visitor.field("linear", &self.linear);
//!     }
//! }
//! ```
//! Fields of a tuple struct are named `0`, `1`, …; a single unnamed field is a wrapper and adds no
//! name. Of an enum the active variant is visited. Three attributes change what a field does:
//! `#[module(skip)]` leaves it out, `#[module(flatten)]` visits it without adding a name,
//! `#[module(name = "…")]` gives it another name.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, LitStr, Result, parse_macro_input, parse_quote};

/// Implements `kiln::nn::Module` by visiting every field; see the crate's page.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(mut input: DeriveInput) -> Result<TokenStream> {
    let body = match &input.data {
        Data::Struct(data) => {
            let (pattern, visits) = fields(&data.fields)?;
            quote! { let Self #pattern = self; #visits }
        }
        Data::Enum(data) if data.variants.is_empty() => quote! { match *self {} },
        Data::Enum(data) => {
            let mut arms = TokenStream::new();
            for variant in &data.variants {
                let name = &variant.ident;
                let (pattern, visits) = fields(&variant.fields)?;
                arms.extend(quote! { Self::#name #pattern => { #visits } });
            }
            quote! { match self { #arms } }
        }
        Data::Union(data) => {
            let why = "Module cannot be derived for a union";
            return Err(Error::new(data.union_token.span(), why));
        }
    };

    let params: Vec<_> = input.generics.type_params().map(|p| p.ident.clone()).collect();
    for param in params {
        input.generics.make_where_clause().predicates.push(parse_quote! { #param: ::kiln::nn::Module });
    }
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let name = &input.ident;
    let text = name.to_string();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::kiln::nn::Module for #name #type_generics #where_clause {
            #[allow(unused_variables)]
            fn visit(&self, visitor: &mut ::kiln::nn::Visitor<'_>) {
                visitor.leaf(::kiln::nn::Leaf::Layer(#text));
                #body
            }
        }
    })
}

/// A pattern that binds the visited fields of one struct or variant, and the visits.
fn fields(fields: &Fields) -> Result<(TokenStream, TokenStream)> {
    let wrapper = matches!(fields, Fields::Unnamed(f) if f.unnamed.len() == 1);
    let (mut pattern, mut visits) = (TokenStream::new(), TokenStream::new());
    for (index, field) in fields.iter().enumerate() {
        let bound = format_ident!("field_{index}");
        let member = match &field.ident {
            Some(ident) => quote! { #ident: },
            None => TokenStream::new(),
        };
        match role(field)? {
            Role::Skip => pattern.extend(quote! { #member _, }),
            role => {
                pattern.extend(quote! { #member #bound, });
                let name = match role {
                    Role::Named(name) => Some(name),
                    Role::Flatten => None,
                    _ if wrapper => None,
                    _ => Some(match &field.ident {
                        Some(ident) => ident.unraw().to_string(),
                        None => index.to_string(),
                    }),
                };
                visits.extend(match name {
                    Some(name) => quote_spanned! { field.ty.span() => visitor.field(#name, #bound); },
                    None => quote_spanned! { field.ty.span() => ::kiln::nn::Module::visit(#bound, visitor); },
                });
            }
        }
    }
    Ok(match fields {
        Fields::Named(_) => (quote! { { #pattern } }, visits),
        Fields::Unnamed(_) => (quote! { ( #pattern ) }, visits),
        Fields::Unit => (TokenStream::new(), visits),
    })
}

/// What the attributes ask of a field.
enum Role {
    Plain,
    Skip,
    Flatten,
    Named(String),
}

fn role(field: &Field) -> Result<Role> {
    let mut role = Role::Plain;
    for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("module")) {
        attr.parse_nested_meta(|meta| {
            role = if meta.path.is_ident("skip") {
                Role::Skip
            } else if meta.path.is_ident("flatten") {
                Role::Flatten
            } else if meta.path.is_ident("name") {
                Role::Named(meta.value()?.parse::<LitStr>()?.value())
            } else {
                return Err(meta.error("expected `skip`, `flatten` or `name = \"…\"`"));
            };
            Ok(())
        })?;
    }
    Ok(role)
}
