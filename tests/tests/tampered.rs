//! Bundles that were tampered with, one way at a time: each is refused with exit code 3 and the reason, nothing is
//! installed or granted, and no byte of its component is parsed. That shows because the component of the bundle is no
//! WebAssembly at all: whoever parsed it would say so, as happens to the one that was left alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use stillpoint_tests::dist;
use stillpoint_tests::program::run;
use stillpoint_tests::reviewer::{MODULE, REVOCATIONS, Reviewer};
use stillpoint_tests::said::Said;

const COMPONENT: &[u8] = b"no WebAssembly: whoever parses this says so";

/// A machine that trusts ana, bo and cy, two of whom must have signed, and a bundle that ana and bo have signed.
struct Scene {
    folder: tempfile::TempDir,
    ana: Reviewer,
    bo: Reviewer,
    cy: Reviewer,
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Scene {
    fn new() -> Scene {
        let [ana, bo, cy] = ["ana@example.org", "bo@example.org", "cy@example.org"].map(Reviewer::new);
        let scene = Scene { folder: tempfile::tempdir().unwrap(), ana, bo, cy };
        fs::create_dir_all(scene.bundle().join("signatures")).unwrap();
        fs::create_dir_all(scene.trust("")).unwrap();
        fs::write(scene.wasm(), COMPONENT).unwrap();
        scene.people([&scene.ana, &scene.bo, &scene.cy].map(|r| r.line("")));
        scene.policy("reviewers = 2\n");
        scene.publish(scene.source());
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bundle(&self) -> PathBuf {
        self.path("bundle/sqlite-1.0.0")
    }

    fn wasm(&self) -> PathBuf {
        self.bundle().join("module.wasm")
    }

    fn manifest(&self) -> PathBuf {
        self.bundle().join("module.toml")
    }

    fn signature(&self, name: &str) -> PathBuf {
        self.bundle().join("signatures").join(name)
    }

    fn trust(&self, name: &str) -> PathBuf {
        self.path("state/etc/trust").join(name)
    }

    fn people(&self, lines: impl AsRef<[String]>) {
        fs::write(self.trust("allowed_signers"), lines.as_ref().concat()).unwrap();
    }

    fn policy(&self, text: &str) {
        fs::write(self.trust("policy.toml"), text).unwrap();
    }

    /// The manifest of the real module, with the component of this bundle.
    fn source(&self) -> String {
        let packaged = fs::read_to_string(dist::bundle("modules", "sqlite").join("module.toml")).unwrap();
        let (written, _) = packaged.split_once("[wasm]").unwrap();
        let digest = sha256(COMPONENT);
        format!(
            "{written}[wasm]\nsha256 = \"{digest}\"\nsize = {}\ncompiler = \"none\"\nimports = [\"database\"]\n",
            COMPONENT.len()
        )
    }

    /// Writes this manifest, and has ana and bo sign it.
    fn publish(&self, manifest: impl AsRef<[u8]>) {
        fs::write(self.manifest(), manifest).unwrap();
        for reviewer in [&self.ana, &self.bo] {
            reviewer.sign_in(&self.bundle(), "module.toml", MODULE);
        }
    }

    /// The same with one word of it changed.
    fn publish_with(&self, from: &str, to: &str) {
        let source = self.source();
        assert!(source.contains(from), "the test replaces what is not there: {from}");
        self.publish(source.replacen(from, to, 1));
    }

    fn revoke(&self, sequence: u64, list: &str, by: &[&Reviewer]) {
        let folder = self.trust("revocations");
        fs::create_dir_all(&folder).unwrap();
        let _ = fs::remove_dir_all(folder.join("signatures"));
        fs::write(folder.join("revocations.toml"), format!("format = 1\nsequence = {sequence}\n{list}")).unwrap();
        by.iter().for_each(|r| r.sign_in(&folder, "revocations.toml", REVOCATIONS));
    }

    fn floor(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path("state/lib/floors")).unwrap();
        fs::set_permissions(self.path("state/lib"), Permissions::from_mode(0o700)).unwrap();
        fs::write(self.path("state/lib/floors").join(name), text).unwrap();
    }

    fn call(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(dist::program("stillpoint"));
        command.args(["--output", "json", "--state-dir"]).arg(self.path("state")).args(arguments);
        Said::of(run(&mut command, ""))
    }

    fn install(&self) -> Said {
        self.call(&["module", "install", "--yes", "--accept-wider", self.bundle().to_str().unwrap()])
    }

    /// A freeze with this bundle, named by its folder.
    fn check(&self) -> Said {
        let config = self.path("workload.conf");
        let text = format!(
            "[workload]\nworkload_name = sqlite\ndbnames = {}\nmodule = {}\n",
            self.path("a.db").display(),
            self.bundle().display()
        );
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
        self.call(&["--config", config.to_str().unwrap(), "check"])
    }

    fn installed(&self) -> bool {
        let any = |folder| fs::read_dir(self.path(folder)).is_ok_and(|mut f| f.next().is_some());
        any("state/lib/modules") || any("state/etc/grants")
    }
}

struct Case {
    name: &'static str,
    tamper: fn(&Scene),
    id: &'static str,
    words: &'static str,
}

fn case(name: &'static str, id: &'static str, words: &'static str, tamper: fn(&Scene)) -> Case {
    Case { name, tamper, id, words }
}

fn mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Turns one bit of the byte at this place; a negative one counts from the end.
fn flip(path: &Path, at: isize) {
    let mut bytes = fs::read(path).unwrap();
    let at = if at < 0 { bytes.len().checked_add_signed(at).unwrap() } else { at.unsigned_abs() };
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Flips within what the signature's text encodes.
fn flip_signature(scene: &Scene, at: isize) {
    let path = scene.signature("ana@example.org.sig");
    let pem = fs::read(&path).unwrap();
    let mut signature = Vec::new();
    pem_rfc7468::Decoder::new_wrapped(&pem, 70).unwrap().decode_to_end(&mut signature).unwrap();
    let at = if at < 0 { signature.len().checked_add_signed(at).unwrap() } else { at.unsigned_abs() };
    signature[at] ^= 1;
    let (mut text, ending) = (vec![0; 1000], pem_rfc7468::LineEnding::LF);
    let mut encoder = pem_rfc7468::Encoder::new_wrapped("SSH SIGNATURE", 70, ending, &mut text).unwrap();
    encoder.encode(&signature).unwrap();
    let length = encoder.finish().unwrap();
    fs::write(path, &text[..length]).unwrap();
}

fn cases() -> Vec<Case> {
    let mut out = signature_cases();
    out.extend(manifest_cases());
    out.extend(component_cases());
    out.extend(people_cases());
    out.extend(history_cases());
    out.extend(ownership_cases());
    out
}

/// The signature's own bytes: magic and version at 0 to 9, the key behind 14, the namespace behind it, and so on.
fn signature_cases() -> Vec<Case> {
    let unreadable = "no signature of ssh-keygen";
    vec![
        case("first byte of the text", "SP-TRUST-004", unreadable, |s| flip(&s.signature("ana@example.org.sig"), 0)),
        case("last line of the text", "SP-TRUST-004", unreadable, |s| flip(&s.signature("ana@example.org.sig"), -4)),
        case("the magic", "SP-TRUST-004", unreadable, |s| flip_signature(s, 0)),
        case("the version", "SP-TRUST-004", "unknown version", |s| flip_signature(s, 9)),
        case("the version's first byte", "SP-TRUST-004", unreadable, |s| flip_signature(s, 6)),
        case("the length of the key", "SP-TRUST-004", unreadable, |s| flip_signature(s, 13)),
        case("the type of the key", "SP-TRUST-004", unreadable, |s| flip_signature(s, 20)),
        case("the key", "SP-TRUST-004", "unknown key", |s| flip_signature(s, 40)),
        case("the namespace", "SP-TRUST-004", "for the namespace", |s| flip_signature(s, 72)),
        case("the hash algorithm", "SP-TRUST-004", unreadable, |s| flip_signature(s, 98)),
        case("the signature, in the middle", "SP-TRUST-004", "another manifest", |s| flip_signature(s, -40)),
        case("the signature, at the end", "SP-TRUST-004", "another manifest", |s| flip_signature(s, -1)),
        case("words stand before it", "SP-TRUST-004", unreadable, |s| {
            let path = s.signature("ana@example.org.sig");
            fs::write(&path, [b"signed by bo, too\n".to_vec(), fs::read(&path).unwrap()].concat()).unwrap();
        }),
        case("it is empty", "SP-TRUST-004", unreadable, |s| fs::write(s.signature("ana@example.org.sig"), "").unwrap()),
        case("it is half", "SP-TRUST-004", unreadable, |s| {
            let path = s.signature("ana@example.org.sig");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, &text[..text.len() / 2]).unwrap();
        }),
        case("it is oversize", "SP-TRUST-003", "longer than", |s| {
            fs::write(s.signature("ana@example.org.sig"), vec![b'A'; 70_000]).unwrap();
        }),
        case("there are too many", "SP-TRUST-003", "more than 64", |s| {
            (0..65).for_each(|i| fs::write(s.signature(&format!("{i}.sig")), "x").unwrap());
        }),
        case("there is none", "SP-TRUST-004", "there is no signature", |s| {
            fs::remove_dir_all(s.bundle().join("signatures")).unwrap();
        }),
        case("there is one of two", "SP-TRUST-004", "1 of 2 reviewers", |s| {
            fs::remove_file(s.signature("bo@example.org.sig")).unwrap();
        }),
        case("it has another ending", "SP-TRUST-004", "1 of 2 reviewers", |s| {
            fs::rename(s.signature("bo@example.org.sig"), s.signature("bo@example.org.txt")).unwrap();
        }),
        case("it is a symbolic link", "SP-TRUST-003", "symbolic link", |s| {
            fs::rename(s.signature("bo@example.org.sig"), s.path("bo")).unwrap();
            symlink(s.path("bo"), s.signature("bo@example.org.sig")).unwrap();
        }),
        case("it is a folder", "SP-TRUST-003", "not what it must be", |s| {
            fs::create_dir(s.signature("folder.sig")).unwrap();
        }),
        case("their folder is a symbolic link", "SP-TRUST-003", "symbolic link", |s| {
            fs::rename(s.bundle().join("signatures"), s.path("signatures")).unwrap();
            symlink(s.path("signatures"), s.bundle().join("signatures")).unwrap();
        }),
        case("their folder is a file", "SP-TRUST-003", "not what it must be", |s| {
            fs::remove_dir_all(s.bundle().join("signatures")).unwrap();
            fs::write(s.bundle().join("signatures"), "").unwrap();
        }),
        case("it was copied from another bundle", "SP-TRUST-004", "another manifest", |s| {
            let other = format!("{}\n", s.source());
            fs::write(s.signature("bo@example.org.sig"), s.bo.sign(other.as_bytes(), MODULE)).unwrap();
        }),
        case("it is over the component", "SP-TRUST-004", "another manifest", |s| {
            fs::write(s.signature("bo@example.org.sig"), s.bo.sign(COMPONENT, MODULE)).unwrap();
        }),
        case("it is for files", "SP-TRUST-004", "by bo@example.org for the namespace", |s| {
            s.bo.sign_in(&s.bundle(), "module.toml", "file");
        }),
        case("it is for revocations", "SP-TRUST-004", "by bo@example.org for the namespace", |s| {
            s.bo.sign_in(&s.bundle(), "module.toml", REVOCATIONS);
        }),
    ]
}

fn manifest_cases() -> Vec<Case> {
    let changed = "another manifest: this one was changed";
    vec![
        case("its first byte", "SP-TRUST-004", changed, |s| flip(&s.manifest(), 0)),
        case("a byte in the middle", "SP-TRUST-004", changed, |s| flip(&s.manifest(), 1500)),
        case("its last byte", "SP-TRUST-004", changed, |s| flip(&s.manifest(), -1)),
        case("a line more", "SP-TRUST-004", changed, |s| {
            fs::write(s.manifest(), format!("{}\n", s.source())).unwrap();
        }),
        case("line ends of another system", "SP-TRUST-004", changed, |s| {
            fs::write(s.manifest(), s.source().replace('\n', "\r\n")).unwrap();
        }),
        case("a mark at its begin", "SP-TRUST-004", changed, |s| {
            fs::write(s.manifest(), format!("\u{feff}{}", s.source())).unwrap();
        }),
        case("another text of a statement", "SP-TRUST-004", changed, |s| {
            fs::write(s.manifest(), s.source().replace("ROLLBACK", "COMMIT")).unwrap();
        }),
        case("it is half", "SP-TRUST-004", changed, |s| {
            fs::write(s.manifest(), &s.source()[..900]).unwrap();
        }),
        case("it is empty", "SP-TRUST-004", changed, |s| fs::write(s.manifest(), "").unwrap()),
        case("it is missing", "SP-TRUST-003", "module.toml", |s| fs::remove_file(s.manifest()).unwrap()),
        case("it is a symbolic link", "SP-TRUST-003", "symbolic link", |s| {
            fs::rename(s.manifest(), s.path("manifest")).unwrap();
            symlink(s.path("manifest"), s.manifest()).unwrap();
        }),
        case("it is a pipe", "SP-TRUST-003", "not what it must be", |s| {
            fs::remove_file(s.manifest()).unwrap();
            nix::unistd::mkfifo(&s.manifest(), nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
        }),
        case("it is oversize", "SP-TRUST-003", "longer than", |s| {
            s.publish(format!("{}\n#{}\n", s.source(), " ".repeat(1 << 20)));
        }),
        // From here on both have signed what stands there.
        case("signed: a key twice", "SP-TRUST-005", "duplicate key", |s| {
            s.publish_with("sequence  = 1\n", "sequence  = 1\nsequence  = 2\n");
        }),
        case("signed: a statement twice", "SP-TRUST-005", "duplicate key", |s| {
            s.publish_with("[wasm]", "[statements.rollback]\nsession = \"main\"\n[wasm]");
        }),
        case("signed: an unknown key", "SP-TRUST-005", "unknown field", |s| {
            s.publish_with("sequence  = 1\n", "sequence  = 1\nsecret    = 1\n");
        }),
        case("signed: an unknown section", "SP-TRUST-005", "unknown field", |s| {
            s.publish_with("[wasm]", "[more]\n[wasm]");
        }),
        case("signed: an unknown import", "SP-TRUST-005", "unknown variant", |s| {
            s.publish_with("\"database\"]", "\"files\"]");
        }),
        case("signed: an import twice", "SP-TRUST-005", "in the order of the world", |s| {
            s.publish_with("[\"database\"]", "[\"database\", \"database\"]");
        }),
        case("signed: a freeze without undo", "SP-TRUST-005", "needs an undo", |s| {
            s.publish_with("undo    = { statement = \"rollback\" }\n", "");
        }),
        case("signed: two statements in one", "SP-TRUST-005", "one statement", |s| {
            s.publish_with("\"ROLLBACK\"", "\"ROLLBACK; DROP TABLE t\"");
        }),
        case("signed: a command of the client", "SP-TRUST-005", "no command of the client", |s| {
            s.publish_with("\"ROLLBACK\"", "\".shell id\"");
        }),
        case("signed: a character that is not seen", "SP-TRUST-005", "not seen", |s| {
            s.publish_with("\"ROLLBACK\"", "\"ROLLBACK\\u202e\"");
        }),
        case("signed: another format", "SP-TRUST-005", "is not known", |s| {
            s.publish_with("format    = 1", "format    = 2");
        }),
        case("signed: another world", "SP-TRUST-005", "not offered", |s| {
            s.publish_with("stillpoint:workload/module@0.1.0", "wasi:cli/command@0.2.0");
        }),
        case("signed: no authors", "SP-TRUST-005", "authors", |s| {
            s.publish_with("[\"contributor@stillpoint.example\"]", "[]");
        }),
        case("signed: not UTF-8", "SP-TRUST-005", "UTF-8", |s| {
            s.publish([s.source().as_bytes(), b"# \xff\n"].concat());
        }),
        case("signed: no date", "SP-TRUST-005", "no date", |s| {
            s.publish_with("sequence  = 1\n", "sequence  = 1\nexpires = \"soon\"\n");
        }),
        case("signed: expired, where that is refused", "SP-TRUST-006", "its last day was 2001-01-31", |s| {
            s.publish_with("sequence  = 1\n", "sequence  = 1\nexpires = \"2001-01-31\"\n");
            s.policy("reviewers = 2\nexpired = \"refuse\"\n");
        }),
    ]
}

fn component_cases() -> Vec<Case> {
    vec![
        case("its first byte", "SP-TRUST-007", "was changed", |s| flip(&s.wasm(), 0)),
        case("a byte in the middle", "SP-TRUST-007", "was changed", |s| flip(&s.wasm(), 20)),
        case("its last byte", "SP-TRUST-007", "was changed", |s| flip(&s.wasm(), -1)),
        case("another module's", "SP-TRUST-007", "longer", |s| {
            fs::copy(dist::bundle("modules", "mariadb").join("module.wasm"), s.wasm()).unwrap();
        }),
        case("it is truncated", "SP-TRUST-007", "truncated", |s| {
            fs::write(s.wasm(), &COMPONENT[..10]).unwrap();
        }),
        case("it is longer", "SP-TRUST-007", "longer", |s| fs::write(s.wasm(), [COMPONENT, b" "].concat()).unwrap()),
        case("it is empty", "SP-TRUST-007", "truncated, 0 of", |s| fs::write(s.wasm(), "").unwrap()),
        case("it is missing", "SP-TRUST-003", "module.wasm", |s| fs::remove_file(s.wasm()).unwrap()),
        case("it is oversize", "SP-TRUST-003", "longer than", |s| {
            File::options().write(true).open(s.wasm()).unwrap().set_len(50 << 20).unwrap();
        }),
        case("it is a symbolic link", "SP-TRUST-003", "symbolic link", |s| {
            fs::rename(s.wasm(), s.path("wasm")).unwrap();
            symlink(s.path("wasm"), s.wasm()).unwrap();
        }),
        case("it is a folder", "SP-TRUST-003", "not what it must be", |s| {
            fs::remove_file(s.wasm()).unwrap();
            fs::create_dir(s.wasm()).unwrap();
        }),
        case("signed: no component", "SP-TRUST-007", "never packaged", |s| {
            let source = s.source();
            s.publish(source.split_once("[wasm]").unwrap().0);
        }),
        case("signed: another digest", "SP-TRUST-007", "was changed", |s| {
            s.publish_with(&sha256(COMPONENT), &sha256(b"another"));
        }),
        case("signed: no digest", "SP-TRUST-005", "64 hexadecimal digits", |s| {
            s.publish_with(&sha256(COMPONENT), "");
        }),
    ]
}

fn people_cases() -> Vec<Case> {
    vec![
        case("the same person twice", "SP-TRUST-004", "1 of 2 reviewers", |s| {
            fs::copy(s.signature("ana@example.org.sig"), s.signature("bo@example.org.sig")).unwrap();
        }),
        case("two keys of one person", "SP-TRUST-004", "1 of 2 reviewers", |s| {
            let second = Reviewer::with_key("ana@example.org", "second");
            s.people([s.ana.line(""), second.line(""), s.bo.line("")]);
            let signature = second.sign(&fs::read(s.manifest()).unwrap(), MODULE);
            fs::write(s.signature("bo@example.org.sig"), signature).unwrap();
        }),
        case("an author in other letters", "SP-TRUST-004", "who wrote it", |s| {
            s.publish_with("[\"contributor@stillpoint.example\"]", "[\"Bo@Example.org\"]");
        }),
        case("an author", "SP-TRUST-004", "who wrote it", |s| {
            s.publish_with("[\"contributor@stillpoint.example\"]", "[\"bo@example.org\"]");
        }),
        case("a stranger", "SP-TRUST-004", "unknown key", |s| s.people([s.ana.line(""), s.cy.line("")])),
        case("a stranger of the same name", "SP-TRUST-004", "unknown key", |s| {
            Reviewer::with_key("bo@example.org", "another").sign_in(&s.bundle(), "module.toml", MODULE);
        }),
        case("a key that is no more valid", "SP-TRUST-004", "not valid today", |s| {
            s.people([s.ana.line(""), s.bo.line(",valid-before=\"20200101\"")]);
        }),
        case("a key that is not yet valid", "SP-TRUST-004", "not valid today", |s| {
            s.people([s.ana.line(""), s.bo.line(",valid-after=\"20990101\"")]);
        }),
        case("a key for something else", "SP-TRUST-004", "who may not sign for", |s| {
            let bo = s.bo.line("").replace("stillpoint.module.v1,", "");
            s.people([s.ana.line(""), bo]);
        }),
        case("nobody with the role", "SP-TRUST-004", "none of them has the role security", |s| {
            s.policy("reviewers = 2\nrole = \"security\"\nroles = { security = [\"cy@example.org\"] }\n");
        }),
        case("two of three", "SP-TRUST-004", "2 of 3 reviewers", |s| s.policy("reviewers = 3\n")),
        case("no list of reviewers", "SP-TRUST-008", "No such file", |s| {
            fs::remove_file(s.trust("allowed_signers")).unwrap();
        }),
        case("a pattern for a person", "SP-TRUST-008", "one plain principal", |s| {
            s.people([s.ana.line("").replace("ana@example.org", "*"), s.bo.line("")]);
        }),
        case("one key for two people", "SP-TRUST-008", "there twice", |s| {
            s.people([s.ana.line(""), s.ana.line("").replace("ana@", "bo@")]);
        }),
        case("a policy that trusts everybody", "SP-TRUST-010", "would trust everybody", |s| {
            s.policy("reviewers = 0\n");
        }),
        case("a policy with a slip of the pen", "SP-TRUST-010", "unknown field", |s| s.policy("reviewer = 3\n")),
        case("a policy with a role for nobody", "SP-TRUST-010", "nobody has the role", |s| {
            s.policy("role = \"security\"\n");
        }),
    ]
}

fn history_cases() -> Vec<Case> {
    vec![
        case("a revoked manifest", "SP-TRUST-012", "is revoked: a door", |s| {
            let digest = sha256(s.source().as_bytes());
            s.revoke(1, &format!("digests = [{{ sha256 = \"{digest}\", why = \"a door\" }}]\n"), &[&s.ana, &s.cy]);
        }),
        case("a revoked component", "SP-TRUST-012", "is revoked: a door", |s| {
            let digest = sha256(COMPONENT);
            s.revoke(1, &format!("digests = [{{ sha256 = \"{digest}\", why = \"a door\" }}]\n"), &[&s.ana, &s.cy]);
        }),
        case("a revoked key", "SP-TRUST-004", "whose key is revoked: stolen", |s| {
            let key = format!("keys = [{{ fingerprint = \"{}\", why = \"stolen\" }}]\n", s.bo.fingerprint());
            s.revoke(1, &key, &[&s.ana, &s.cy]);
        }),
        case("revocations of one person", "SP-TRUST-011", "1 of 2 reviewers", |s| s.revoke(1, "", &[&s.ana])),
        case("revocations of nobody", "SP-TRUST-011", "there is no signature", |s| s.revoke(1, "", &[])),
        case("revocations signed as a module", "SP-TRUST-011", "for the namespace", |s| {
            s.revoke(1, "", &[&s.ana, &s.cy]);
            s.cy.sign_in(&s.trust("revocations"), "revocations.toml", MODULE);
        }),
        case("revocations by a key that they revoke", "SP-TRUST-011", "whose key is revoked", |s| {
            let key = format!("keys = [{{ fingerprint = \"{}\", why = \"stolen\" }}]\n", s.cy.fingerprint());
            s.revoke(1, &key, &[&s.ana, &s.cy]);
        }),
        case("revocations with a slip of the pen", "SP-TRUST-011", "is no SHA-256", |s| {
            s.revoke(1, "digests = [{ sha256 = \"ABC\", why = \"\" }]\n", &[&s.ana, &s.cy]);
        }),
        case("revocations that could be taken away again", "SP-TRUST-011", "sequence = 0", |s| {
            s.revoke(0, "", &[&s.ana, &s.cy]);
        }),
        case("revocations of a key in another spelling", "SP-TRUST-011", "is no fingerprint", |s| {
            let key = format!("keys = [{{ fingerprint = \"{}=\", why = \"stolen\" }}]\n", s.bo.fingerprint());
            s.revoke(1, &key, &[&s.ana, &s.cy]);
        }),
        case("older revocations", "SP-TRUST-011", "list 2 was here before", |s| {
            s.floor("_revocations", "2\n");
            s.revoke(1, "", &[&s.ana, &s.cy]);
        }),
        case("revocations that are gone", "SP-TRUST-011", "it is missing", |s| s.floor("_revocations", "2\n")),
        case("a lower sequence", "SP-TRUST-013", "its sequence is 1, not 5 or more", |s| s.floor("sqlite", "5\n")),
        case("a floor that is no number", "SP-TRUST-014", "no number", |s| s.floor("sqlite", "many\n")),
    ]
}

/// Only root can give something to somebody else.
fn give_away(path: impl AsRef<Path>) {
    chown(path, Some(65534), None).unwrap();
}

fn ownership_cases() -> Vec<Case> {
    let others = "can be written by others";
    let mut out = vec![
        case("the folder: its group writes", "SP-TRUST-002", others, |s| mode(s.bundle(), 0o775)),
        case("the folder: everybody writes", "SP-TRUST-002", others, |s| mode(s.bundle(), 0o757)),
        case("the folder above: its group writes", "SP-TRUST-002", others, |s| mode(s.path("bundle"), 0o775)),
        case("the manifest: its group writes", "SP-TRUST-002", others, |s| mode(s.manifest(), 0o664)),
        case("the component: everybody writes", "SP-TRUST-002", others, |s| mode(s.wasm(), 0o646)),
        case("the signatures: their group writes", "SP-TRUST-002", others, |s| {
            mode(s.bundle().join("signatures"), 0o775);
        }),
        case("a signature: everybody writes", "SP-TRUST-002", others, |s| {
            mode(s.signature("bo@example.org.sig"), 0o666);
        }),
        case("the reviewers: their group writes", "SP-TRUST-002", others, |s| {
            mode(s.trust("allowed_signers"), 0o664);
        }),
        case("the policy: everybody writes", "SP-TRUST-002", others, |s| mode(s.trust("policy.toml"), 0o666)),
        case("the trust root: its group writes", "SP-TRUST-002", others, |s| mode(s.trust(""), 0o775)),
        case("a floor: everybody writes", "SP-TRUST-014", others, |s| {
            s.floor("sqlite", "1\n");
            mode(s.path("state/lib/floors/sqlite"), 0o666);
        }),
    ];
    if nix::unistd::geteuid().is_root() {
        let somebodys = "belongs to user id 65534";
        out.extend([
            case("the folder is somebody's", "SP-TRUST-002", somebodys, |s| give_away(s.bundle())),
            case("the folder above is somebody's", "SP-TRUST-002", somebodys, |s| give_away(s.path("bundle"))),
            case("the manifest is somebody's", "SP-TRUST-002", somebodys, |s| give_away(s.manifest())),
            case("the component is somebody's", "SP-TRUST-002", somebodys, |s| give_away(s.wasm())),
            case("a signature is somebody's", "SP-TRUST-002", somebodys, |s| {
                give_away(s.signature("bo@example.org.sig"));
            }),
            case("the reviewers are somebody's", "SP-TRUST-002", somebodys, |s| give_away(s.trust("allowed_signers"))),
        ]);
    }
    out
}

#[test]
fn each_is_refused_before_its_component_is_parsed() {
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut wrong = Vec::new();
    for Case { name, tamper, id, words } in &cases {
        let scene = Scene::new();
        tamper(&scene);
        for said in [scene.install(), scene.check()] {
            let as_told = said.code == Some(3) && said.faults() == [*id] && said.text.contains(words);
            if !as_told || scene.installed() {
                wrong.push(format!("{name}: not {id} {words:?}, but {:?} {}", said.code, said.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What the cases above could not show if the bundle were refused for another reason.
#[test]
fn the_one_that_was_left_alone_is_trusted_and_then_parsed() {
    let scene = Scene::new();
    let said = scene.install();
    said.assert_fault(3, "SP-ENGINE-002");
    assert!(!scene.installed());
}

/// Somebody who writes there all the time never gets anything in but what was signed.
#[test]
fn what_is_hashed_is_what_is_kept() {
    let scene = Scene::new();
    let real = dist::bundle("modules", "sqlite");
    fs::copy(real.join("module.wasm"), scene.wasm()).unwrap();
    let good = fs::read(scene.wasm()).unwrap();
    let packaged = fs::read_to_string(real.join("module.toml")).unwrap();
    scene.publish(&packaged);
    let bad = {
        let mut bad = good.clone();
        bad[100] ^= 1;
        bad
    };
    let (stop, wasm) = (AtomicBool::new(false), scene.wasm());
    let (mut kept, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = wasm.with_file_name("other");
            while !stop.load(Ordering::Relaxed) {
                for content in [&bad, &good] {
                    fs::write(&other, content).unwrap();
                    mode(&other, 0o644);
                    fs::rename(&other, &wasm).unwrap();
                }
            }
        });
        while (kept < 10 || refused < 10) && kept + refused < 2000 {
            let said = scene.install();
            let at = scene.path("state/lib/modules/sqlite-1.0.0/module.wasm");
            match said.code {
                Some(0) => kept += 1,
                Some(3) => refused += 1,
                _ => panic!("{}", said.text),
            }
            if at.exists() {
                assert!(fs::read(at).unwrap() == good, "what was never signed is installed");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(kept >= 10 && refused >= 10, "kept {kept}, refused {refused}");
}

/// Whatever a folder is called, the answer is JSON, and on a screen it draws nothing.
#[test]
fn a_folder_whose_name_is_no_text_is_listed() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    let name = std::ffi::OsStr::from_bytes(b"od\xffd\x1b[2J-1.0.0");
    fs::create_dir_all(scene.path("state/lib/modules").join(name)).unwrap();
    let said = scene.call(&["module", "list"]);
    assert_eq!(said.code, Some(3), "{}", said.text);
    let listed = &said.json["modules"][0];
    assert_eq!(listed["fault"]["id"], "SP-TRUST-003", "{}", said.text);
    assert!(listed["folder"].as_str().unwrap().ends_with("od\u{fffd}d\u{1b}[2J-1.0.0"), "{}", said.text);
    let mut command = Command::new(dist::program("stillpoint"));
    let text = run(command.arg("--state-dir").arg(scene.path("state")).args(["module", "list"]), "");
    assert!(text.code == Some(3) && text.stdout.contains("od\u{fffd}d") && !text.stdout.contains('\u{1b}'), "{text:?}");
}
