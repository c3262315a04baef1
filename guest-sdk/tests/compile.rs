//! What must compile, and what must not: the compiler says so in the words of the design.
//!
//! `TRYBUILD=overwrite cargo test -p stillpoint-sdk --test compile` writes the expected words anew.

use std::fs;
use std::path::Path;

#[test]
fn a_statement_in_a_phase_where_it_is_not_allowed_does_not_compile() {
    // The cases are compiled in a package of their own; `module!` reads from that one's folder.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let package = target.join("tests/trybuild").join(env!("CARGO_PKG_NAME"));
    fs::create_dir_all(&package).expect("a folder for the cases");
    for entry in fs::read_dir("tests/compile").expect("the cases") {
        let path = entry.expect("a case").path();
        if path.extension().is_some_and(|e| e == "toml") {
            fs::copy(&path, package.join(path.file_name().expect("a name"))).expect("a manifest");
        }
    }

    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile/pass/*.rs");
    cases.compile_fail("tests/compile/*.rs");
}
