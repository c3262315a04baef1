//! `module!("module.toml")`: one typed function for each statement of the manifest.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use stillpoint_contract::manifest::{self, Column, ColumnKind, Effect, Manifest, Parameter, Statement, Stops};
use syn::{Ident, LitStr};

/// Reads the manifest (relative to the package's folder) and writes the module `sql`: for each statement a function
/// that takes the context of a phase, and where it has columns a struct for its rows.
#[proc_macro]
pub fn module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let path = syn::parse_macro_input!(input as LitStr);
    expand(&path).unwrap_or_else(|e| e.to_compile_error()).into()
}

fn expand(path: &LitStr) -> syn::Result<TokenStream> {
    let fail = |text: String| syn::Error::new(path.span(), text);
    let folder = std::env::var("CARGO_MANIFEST_DIR").map_err(|e| fail(format!("CARGO_MANIFEST_DIR: {e}")))?;
    let file = std::path::Path::new(&folder).join(path.value());
    let text = std::fs::read_to_string(&file).map_err(|e| fail(format!("{}: {e}", path.value())))?;
    let manifest =
        Manifest::parse(&text).map_err(|e| fail(format!("{}:\n{}", path.value(), e.to_string().trim_end())))?;
    let functions = manifest
        .statements
        .iter()
        .filter(|(_, s)| s.effect != Effect::Cancel)
        .map(|(name, statement)| function(&manifest, name, statement));
    let written = path.value();
    Ok(quote! {
        // Built again when the manifest changes.
        const _: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", #written));

        /// One function for each statement of the manifest.
        #[allow(dead_code)]
        mod sql {
            #(#functions)*
        }
    })
}

fn function(manifest: &Manifest, name: &str, statement: &Statement) -> TokenStream {
    let ident = ident(name);
    let phase = phase(statement);
    let doc = format!("`{}`", statement.text);
    // Ours alone: a parameter of the manifest may have the same name.
    let [cx, database] = ["cx", "database"].map(|name| Ident::new(name, Span::mixed_site()));
    let each_database = manifest.sessions.get(&statement.session).and_then(|s| s.each).is_some();
    let (database_parameter, database_argument) = if each_database {
        (quote! { #database: &str, }, quote! { ::std::option::Option::Some(#database) })
    } else {
        (quote! {}, quote! { ::std::option::Option::None })
    };
    let order = manifest::argument_order(statement);
    let parameters = order.iter().map(|p| {
        let ident = self::ident(p);
        let kind = match &statement.parameters[*p] {
            Parameter::Integer { .. } => quote! { i64 },
            Parameter::Bytes { .. } => quote! { &[u8] },
            Parameter::Text { .. } | Parameter::Identifier | Parameter::Session | Parameter::StateFile => {
                quote! { &str }
            }
        };
        quote! { #ident: #kind }
    });
    let arguments = order.iter().map(|p| {
        let ident = self::ident(p);
        quote! { ::stillpoint_sdk::Value::from(#ident) }
    });
    let (row, result, how) = if statement.columns.is_empty() {
        (quote! {}, quote! { () }, quote! { execute })
    } else {
        let row = self::ident(&pascal(name));
        (self::row(&row, &statement.columns), quote! { ::stillpoint_sdk::Rows<#row> }, quote! { call })
    };
    quote! {
        #row

        #[doc = #doc]
        pub fn #ident(
            #cx: &impl ::stillpoint_sdk::phase::#phase,
            #database_parameter
            #(#parameters),*
        ) -> ::stillpoint_sdk::Result<#result> {
            ::stillpoint_sdk::#how(#cx, #name, #database_argument, &[#(#arguments),*])
        }
    }
}

fn phase(statement: &Statement) -> Ident {
    let name = match (statement.effect, statement.stops) {
        (Effect::Read | Effect::Session | Effect::Cancel, _) => "MayRead",
        (Effect::Change, _) => "MayChange",
        (Effect::Flush, _) => "MayFlush",
        (Effect::Freeze, Some(Stops::Nothing | Stops::Ddl)) => "MayHold",
        (Effect::Freeze, _) => "MayStopWrites",
        (Effect::Undo, _) => "MayUndo",
    };
    Ident::new(name, Span::call_site())
}

fn row(name: &Ident, columns: &[Column]) -> TokenStream {
    let idents: Vec<Ident> = columns.iter().map(|c| ident(&c.name)).collect();
    let names: Vec<&String> = columns.iter().map(|c| &c.name).collect();
    let kinds = columns.iter().map(|c| {
        let kind = match c.kind {
            ColumnKind::Integer => quote! { i64 },
            ColumnKind::Text => quote! { ::std::string::String },
            ColumnKind::Bytes => quote! { ::std::vec::Vec<u8> },
        };
        if c.nullable {
            quote! { ::std::option::Option<#kind> }
        } else {
            kind
        }
    });
    quote! {
        /// One row.
        #[derive(Debug, Clone, PartialEq)]
        pub struct #name {
            #(#[allow(missing_docs)] pub #idents: #kinds),*
        }

        impl ::stillpoint_sdk::FromRow for #name {
            fn from_row(
                cells: &mut dyn ::std::iter::Iterator<Item = ::stillpoint_sdk::Value>,
            ) -> ::std::result::Result<Self, ::std::string::String> {
                ::std::result::Result::Ok(#name {
                    #(#idents: {
                        let value = cells.next().ok_or(::std::concat!("column ", #names, " is missing"))?;
                        ::stillpoint_sdk::Cell::from_value(value)
                            .map_err(|e| ::std::format!("column {}: {e}", #names))?
                    }),*
                })
            }
        }
    }
}

/// A name of the manifest as an identifier. `r#name` is `name`, and lets a column be called `type`.
fn ident(name: &str) -> Ident {
    match name {
        "self" | "Self" | "super" | "crate" => format_ident!("{name}_"),
        _ => Ident::new_raw(name, Span::call_site()),
    }
}

/// `long_statements` as `LongStatements`.
fn pascal(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map(|l| l.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
        })
        .collect()
}
