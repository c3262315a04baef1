//! The WIT world in Rust, generated. The only `unsafe` of the SDK is in what the generator writes.
#![allow(unsafe_code, missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

wit_bindgen::generate!({
    path: "../contract/wit/0.1.0",
    world: "module",
    pub_export_macro: true,
    default_bindings_module: "stillpoint_sdk::bindings",
});
