//! The packaged modules: what they can reach, that anybody can build the same bytes, and that stock tools verify them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stillpoint_tests::dist::{bundles, dist, program as ours, target};
use stillpoint_tests::missing;
use stillpoint_tests::program::{run, start};
use wit_component::DecodedWasm;

/// Building every module anew, on a slow machine that does other things too.
const BUILD: Duration = Duration::from_secs(900);

/// A packaged module, and the folder of its source below the root.
struct Packaged {
    bundle: PathBuf,
    source: PathBuf,
    package: String,
}

impl Packaged {
    fn wasm(&self) -> Vec<u8> {
        fs::read(self.bundle.join("module.wasm")).unwrap()
    }

    fn manifest(&self) -> String {
        fs::read_to_string(self.bundle.join("module.toml")).unwrap()
    }

    fn name(&self) -> String {
        self.source.display().to_string()
    }
}

/// All that are packages of their own, those that only tests run too.
fn packaged() -> Vec<Packaged> {
    let mut out = Vec::new();
    for (kind, under, prefix) in [("modules", "modules", ""), ("guests", "tests/guests", "guest-")] {
        for bundle in bundles(kind) {
            let file = bundle.file_name().unwrap().to_string_lossy().into_owned();
            let (name, _version) = file.rsplit_once('-').unwrap();
            let (source, package) = (Path::new(under).join(name), format!("stillpoint-{prefix}{name}"));
            if root().join(&source).join("Cargo.toml").exists() {
                out.push(Packaged { bundle, source, package });
            }
        }
    }
    assert!(out.len() >= 5, "SQLite, MariaDB and three that only tests run are packaged");
    out
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn a_module_can_reach_our_interfaces_and_nothing_else() {
    let offered = ["clock", "database", "events", "log", "state", "types"];
    let offered = offered.map(|interface| format!("stillpoint:workload/{interface}@0.1.0"));
    for module in packaged() {
        let decoded = wit_component::decode(&module.wasm()).unwrap();
        let DecodedWasm::Component(resolve, world) = decoded else { panic!("{} is no component", module.name()) };
        let world = &resolve.worlds[world];
        for import in world.imports.keys().map(|key| resolve.name_world_key(key)) {
            assert!(offered.contains(&import), "{} imports {import}", module.name());
        }
        let exports: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
        assert_eq!(exports, ["stillpoint:workload/lifecycle@0.1.0"], "{}", module.name());
    }
}

#[test]
fn the_same_source_in_another_folder_gives_the_same_bytes() {
    let modules = packaged();
    let elsewhere = tempfile::Builder::new().prefix("stillpoint-elsewhere").tempdir().unwrap();
    let source = elsewhere.path().join("a copy of the source");
    copy(&root(), &source);
    let components = elsewhere.path().join("components");
    let mut package = Command::new(ours("xtask"));
    package.arg("package").arg("--source").arg(&source).arg("--components").arg(&components);
    let built = start(&mut package, "").end_within(BUILD);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    for module in modules {
        let there = components.join(format!("{}.wasm", module.package));
        let there = fs::read(&there).unwrap_or_else(|e| panic!("{}: {e}", there.display()));
        assert!(there == module.wasm(), "{} differs when it is built elsewhere", module.name());
    }
}

/// The source without what was built.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_file() {
            fs::copy(path, copied).unwrap();
        } else if kind.is_dir() && !path.join("CACHEDIR.TAG").exists() && !path.ends_with(".git") {
            copy(&path, &copied);
        }
    }
}

#[test]
fn no_path_of_this_machine_is_in_a_module() {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let private: Vec<PathBuf> = [Some(root()), Some(target()), home, cargo]
        .into_iter()
        .flatten()
        .filter(|path| path.parent().is_some())
        .collect();
    for module in packaged() {
        let wasm = module.wasm();
        for path in &private {
            let path = path.as_os_str().as_encoded_bytes();
            let found = wasm.windows(path.len()).any(|bytes| bytes == path);
            assert!(!found, "{} is in {}", String::from_utf8_lossy(path), module.name());
        }
    }
}

#[test]
fn stock_ssh_keygen_verifies_the_signatures() {
    let test = "stock_ssh_keygen_verifies_the_signatures";
    let Some(keygen) = missing::program(test, &["ssh-keygen"], "openssh-client") else { return };
    let allowed = dist().join("trust/allowed_signers");
    for module in packaged() {
        let signatures: Vec<PathBuf> =
            fs::read_dir(module.bundle.join("signatures")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(signatures.len(), 2, "{} is signed by both reviewers", module.name());
        for signature in signatures {
            let who = signature.file_stem().unwrap().to_string_lossy().into_owned();
            let verify = |namespace: &str, manifest: &str| {
                let mut command = Command::new(&keygen);
                command.args(["-Y", "verify", "-I", &who, "-n", namespace, "-f"]).arg(&allowed);
                run(command.arg("-s").arg(&signature), manifest)
            };
            let manifest = module.manifest();
            let good = verify("stillpoint.module.v1", &manifest);
            assert_eq!(good.code, Some(0), "{}: {}{}", signature.display(), good.stdout, good.stderr);
            // It would not say yes to anything.
            assert_ne!(verify("stillpoint.module.v1", &format!("{manifest}\n")).code, Some(0));
            assert_ne!(verify("file", &manifest).code, Some(0));
        }
    }
}

#[test]
fn packaging_adds_to_the_manifest_and_rewrites_nothing() {
    for module in packaged() {
        let written = fs::read_to_string(root().join(&module.source).join("module.toml")).unwrap();
        let signed = module.manifest();
        let added = signed.strip_prefix(&written).unwrap_or_else(|| panic!("{} was rewritten", module.name()));
        let lines: Vec<&str> = added.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines[0], "[wasm]", "{}", module.name());
        let keys: Vec<&str> = lines[1..].iter().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(keys, ["sha256", "size", "compiler", "imports"], "{}", module.name());
        assert!(added.contains(&format!("= {}\n", module.wasm().len())), "{}", module.name());
    }
}
