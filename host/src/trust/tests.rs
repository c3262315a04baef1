use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use ssh_key::{HashAlg, LineEnding, PrivateKey, SshSig};

use super::*;

const MANIFEST: &str = include_str!("test-manifest.toml");
const COMPONENT: &[u8] = b"a component";

struct Bundle {
    folder: tempfile::TempDir,
    key: PrivateKey,
}

fn new_key() -> PrivateKey {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).unwrap();
    PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&seed))
}

fn allow(principal: &str, options: &str, key: &PrivateKey) -> String {
    allow_public(principal, options, key.public_key())
}

fn packaged(manifest: &str) -> String {
    let digest = hex::encode(Sha256::digest(COMPONENT));
    format!("{manifest}\n[wasm]\nsha256 = \"{digest}\"\nsize = 11\ncompiler = \"test\"\nimports = []\n")
}

/// A module that ana signed.
fn bundle() -> Bundle {
    let made = Bundle { folder: tempfile::tempdir().unwrap(), key: new_key() };
    std::fs::create_dir_all(made.path("signatures")).unwrap();
    std::fs::write(made.path("module.wasm"), COMPONENT).unwrap();
    made.allow(&allow("ana@example.org", "", &made.key));
    made.policy("reviewers = 1");
    made.sign(&packaged(MANIFEST));
    made
}

impl Bundle {
    fn at(&self) -> PathBuf {
        self.folder.path().join("some-1.0.0")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at().join(name)
    }

    fn trust(&self) -> PathBuf {
        self.folder.path().join(".trust")
    }

    fn allowed_signers(&self) -> PathBuf {
        self.trust().join("allowed_signers")
    }

    fn allow(&self, lines: &str) {
        std::fs::create_dir_all(self.trust()).unwrap();
        std::fs::write(self.allowed_signers(), lines).unwrap();
    }

    fn policy(&self, text: &str) {
        std::fs::write(self.trust().join("policy.toml"), text).unwrap();
    }

    fn sign(&self, manifest: &str) {
        std::fs::write(self.path("module.toml"), manifest).unwrap();
        self.sign_as("ana", &self.key, NAMESPACE);
    }

    fn sign_as(&self, name: &str, key: &PrivateKey, namespace: &str) {
        let bytes = std::fs::read(self.path("module.toml")).unwrap();
        let signature = key.sign(namespace, HashAlg::Sha512, &bytes).unwrap();
        let file = self.path(&format!("signatures/{name}.sig"));
        std::fs::write(file, signature.to_pem(LineEnding::LF).unwrap()).unwrap();
    }

    fn verify(&self) -> Result<Verified, Fault> {
        verify(&self.at(), &Root::read(&self.trust(), self.folder.path().join(".floors"))?)
    }

    /// Refused, with this id and these words.
    #[track_caller]
    fn refused(&self, id: &str, words: &str) {
        let fault = self.verify().unwrap_err();
        assert_eq!((fault.exit, fault.next.is_some()), (Exit::Untrusted, true), "{fault}");
        assert!(fault.id == id && fault.to_string().contains(words), "{fault}");
    }
}

#[test]
fn a_signed_module_is_verified() {
    let made = bundle();
    let verified = made.verify().unwrap();
    let fingerprint = made.key.fingerprint(HashAlg::Sha256).to_string();
    assert_eq!(verified.signers(), [Signer { principal: "ana@example.org".into(), fingerprint }]);
    assert_eq!(verified.wasm(), COMPONENT);
    assert_eq!((verified.path(), verified.manifest().name.as_str()), (made.at().as_path(), "some"));
    assert_eq!(verified.manifest_bytes(), packaged(MANIFEST).as_bytes());
}

#[test]
fn reviewers_are_counted_not_keys_or_files() {
    let made = bundle();
    let (second, bo, stranger) = (new_key(), new_key(), new_key());
    made.allow(
        &[
            allow("ana@example.org", "", &made.key),
            allow("ana@example.org", "", &second),
            allow("bo@example.org", ",valid-after=\"20200101\"", &bo),
        ]
        .concat(),
    );
    made.sign_as("ana-again", &second, NAMESPACE);
    made.sign_as("ana-twice", &made.key, NAMESPACE);
    made.sign_as("stranger", &stranger, NAMESPACE);
    let who = |v: Verified| v.signers().iter().map(|s| s.principal.clone()).collect::<Vec<_>>();
    assert_eq!(who(made.verify().unwrap()), ["ana@example.org"]);
    made.sign_as("bo", &bo, NAMESPACE);
    assert_eq!(who(made.verify().unwrap()), ["ana@example.org", "bo@example.org"]);
}

#[test]
fn what_is_missing_is_told() {
    let made = bundle();
    std::fs::remove_file(made.path("module.wasm")).unwrap();
    made.refused("SP-TRUST-003", "module.wasm: No such file");
    std::fs::remove_file(made.path("module.toml")).unwrap();
    made.refused("SP-TRUST-003", "module.toml: No such file");
    std::fs::remove_dir_all(made.at()).unwrap();
    made.refused("SP-TRUST-001", "there is no module in");
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let made = bundle();
    std::fs::write(made.path("module.wasm"), b"a component, cut").unwrap();
    made.refused("SP-TRUST-007", "longer, 16 instead of 11");
    std::fs::write(made.path("module.wasm"), b"a compon").unwrap();
    made.refused("SP-TRUST-007", "truncated, 8 of 11 bytes");
    std::fs::write(made.path("module.wasm"), b"A component").unwrap();
    made.refused("SP-TRUST-007", "was changed");
    let made = bundle();
    let text = packaged(MANIFEST);
    for changed in [&text.replace("a test", "a text"), &format!("{text}\n"), &text[..text.len() / 2], ""] {
        std::fs::write(made.path("module.toml"), changed).unwrap();
        made.refused("SP-TRUST-004", "is by ana@example.org over another manifest");
    }
}

#[test]
fn each_reason_why_a_signature_does_not_count_is_told() {
    let made = bundle();
    made.allow(&allow("bo@example.org", "", &new_key()));
    made.refused("SP-TRUST-004", &format!("ana.sig is by an unknown key, {}", made.key.fingerprint(HashAlg::Sha256)));
    made.allow("");
    made.refused("SP-TRUST-004", "unknown key");
    made.allow(&allow("ana@example.org", ",valid-before=\"20200101\"", &made.key));
    made.refused("SP-TRUST-004", "whose key is not valid today");
    made.allow(&allow("ana@example.org", "", &made.key));
    made.sign_as("ana", &made.key, "git");
    made.refused("SP-TRUST-004", "for the namespace \"git\", not stillpoint.module.v1");
    std::fs::write(made.path("signatures/ana.sig"), "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n").unwrap();
    made.refused("SP-TRUST-004", "no signature of ssh-keygen");
    std::fs::rename(made.path("signatures/ana.sig"), made.path("signatures/ana")).unwrap();
    made.refused("SP-TRUST-004", "there is no signature");
    std::fs::remove_dir_all(made.path("signatures")).unwrap();
    made.refused("SP-TRUST-004", "there is no signature");
}

#[test]
fn a_signed_manifest_is_still_read_strictly() {
    let made = bundle();
    made.sign(&packaged(&MANIFEST.replace("sequence = 1", "sequence = 1\nexpires = \"2001-01-01\"")));
    assert_eq!(made.verify().unwrap().warnings()[0].id, "SP-TRUST-022");
    made.policy("reviewers = 1\nexpired = \"refuse\"");
    made.refused("SP-TRUST-006", "some 1.0.0 expired");
    made.sign(&packaged(&MANIFEST.replace("sequence = 1", "sequence = 1\nexpires = \"9998-12-31\"")));
    made.verify().unwrap();
    made.sign(&packaged(&MANIFEST.replace("sequence = 1", "sequence = 1\nunknown = 1")));
    made.refused("SP-TRUST-005", "unknown");
    made.sign(MANIFEST);
    made.refused("SP-TRUST-007", "never packaged");
}

#[test]
fn a_list_of_reviewers_that_cannot_be_used_is_told() {
    let made = bundle();
    made.allow(&allow("*", "", &made.key));
    made.refused("SP-TRUST-008", "line 1: one plain principal");
    std::fs::remove_file(made.allowed_signers()).unwrap();
    made.refused("SP-TRUST-008", "No such file");
}

#[test]
fn what_others_could_have_written_is_refused() {
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let made = bundle();
    for (path, closed, open) in [
        (made.at(), 0o755, 0o777),
        (made.path("module.toml"), 0o644, 0o664),
        (made.path("module.wasm"), 0o644, 0o646),
        (made.path("signatures"), 0o755, 0o775),
        (made.path("signatures/ana.sig"), 0o644, 0o666),
        (made.allowed_signers(), 0o644, 0o666),
    ] {
        mode(&path, open);
        made.refused("SP-TRUST-002", &format!("{} can be written by others", path.display()));
        mode(&path, closed);
    }
    made.verify().unwrap();
    // A link could be turned between two looks.
    std::fs::rename(made.path("module.wasm"), made.path("elsewhere")).unwrap();
    symlink("elsewhere", made.path("module.wasm")).unwrap();
    made.refused("SP-TRUST-003", "is a symbolic link");
}

#[test]
fn the_newest_module_that_serves_the_workload_is_found() {
    let made = bundle();
    let modules = made.folder.path();
    assert_eq!(find("some", modules).unwrap(), made.at());
    for (folder, version, sequence) in [("some-1.10.0", "1.10.0", 3), ("some-1.9.0", "1.9.0", 2)] {
        std::fs::create_dir(modules.join(folder)).unwrap();
        let text = MANIFEST
            .replace("version = \"1.0.0\"", &format!("version = \"{version}\""))
            .replace("sequence = 1", &format!("sequence = {sequence}"));
        std::fs::write(modules.join(folder).join("module.toml"), text).unwrap();
    }
    assert_eq!(find("some", modules).unwrap(), modules.join("some-1.10.0"));
    for (missing, folder) in [("other", modules), ("some", &modules.join("nowhere"))] {
        let fault = find(missing, folder).unwrap_err();
        assert_eq!((fault.id.as_str(), fault.exit), ("SP-TRUST-001", Exit::Untrusted));
    }
    // Two that serve the same are not chosen from.
    std::fs::create_dir(modules.join("same-1.0.0")).unwrap();
    let text = MANIFEST.replace("name = \"some\"", "name = \"same\"");
    std::fs::write(modules.join("same-1.0.0/module.toml"), text).unwrap();
    assert!(find("some", modules).unwrap_err().what.contains("two modules serve"));
    std::fs::remove_dir_all(modules.join("same-1.0.0")).unwrap();
    // A newer one that is broken is not passed over.
    std::fs::create_dir(modules.join("some-2.0.0")).unwrap();
    assert_eq!(find("some", modules).unwrap(), modules.join("some-2.0.0"));
    assert!(find("so", modules).is_err());
}

/// What OpenSSH 9.2 made of this line: `ssh-keygen -Y sign -n stillpoint.module.v1 -f key text`.
#[test]
fn a_signature_that_ssh_keygen_made_holds() {
    let allowed = format!("ana namespaces=\"{NAMESPACE}\" {}", include_str!("test-stock.pub"));
    let reviewers = signers::parse(&allowed, jiff::Timestamp::now()).unwrap();
    let pem = include_bytes!("test-stock.sig");
    let look = |bytes: &[u8]| signature::look("ana.sig", pem, bytes, NAMESPACE, &reviewers);
    let good = look(b"signed with the stock tool\n");
    assert_eq!((good.signer.unwrap().principal.as_str(), good.problem), ("ana", None));
    assert!(look(b"another").problem.unwrap().contains("another manifest"));
}

/// Both ways with the `ssh-keygen` of this machine; the test above needs none.
#[test]
fn the_stock_tool_signs_and_verifies() {
    if Command::new("ssh-keygen").arg("-?").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return stillpoint_tests::missing::missing("the_stock_tool_signs_and_verifies", "there is no ssh-keygen");
    }
    let made = bundle();
    let mut people = vec![("ana", made.key.public_key().clone())];
    for (who, kind) in [("bo", &["-t", "ed25519"][..]), ("cy", &["-t", "ecdsa"]), ("di", &["-t", "ecdsa", "-b", "384"])]
    {
        let key = stock_key(&made, who, kind);
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(&key).arg(made.path("module.toml"));
        assert!(ended_well(&mut sign, Stdio::null()));
        std::fs::rename(made.path("module.toml.sig"), made.path(&format!("signatures/{who}.sig"))).unwrap();
        people.push((who, PrivateKey::read_openssh_file(&key).unwrap().public_key().clone()));
        // What ssh-keygen has not signed itself.
        if who != "bo" {
            let key = PrivateKey::read_openssh_file(&key).unwrap();
            made.sign_as(&format!("{who}-by-us"), &key, NAMESPACE);
            assert!(stock_verifies(&made, who, key.public_key(), &format!("{who}-by-us")));
        }
    }
    made.allow(&people.iter().map(|(who, key)| allow_public(who, "", key)).collect::<String>());
    made.policy("reviewers = 4");
    let signers = made.verify().unwrap().signers().to_vec();
    assert_eq!(signers.iter().map(|s| s.principal.as_str()).collect::<Vec<_>>(), ["ana", "bo", "cy", "di"]);
    for (who, key) in &people {
        assert!(stock_verifies(&made, who, key, who), "{who}");
    }
}

/// Signed as a security key does (PROTOCOL.u2f of OpenSSH) by a key in memory. The stock tool says that this is what
/// such keys sign; that nobody touched the key, it leaves to who asks.
#[test]
fn a_security_key_must_have_been_touched() {
    if Command::new("ssh-keygen").arg("-?").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return stillpoint_tests::missing::missing("a_security_key_must_have_been_touched", "there is no ssh-keygen");
    }
    use ssh_encoding::Encode;
    use ssh_key::public::{KeyData, SkEcdsaSha2NistP256, SkEd25519};
    let made = bundle();
    let ecdsa = PrivateKey::read_openssh_file(&stock_key(&made, "ecdsa", &["-t", "ecdsa"])).unwrap();
    let KeyData::Ecdsa(ssh_key::public::EcdsaPublicKey::NistP256(point)) = ecdsa.public_key().key_data() else {
        panic!("it is of another type")
    };
    let ed25519 = made.key.public_key().key_data().ed25519().copied().unwrap();
    for (who, key, public) in [
        ("sk-ed25519", &made.key, KeyData::SkEd25519(SkEd25519::new(ed25519, "ssh:"))),
        ("sk-ecdsa", &ecdsa, KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(*point, "ssh:"))),
    ] {
        let public = ssh_key::PublicKey::new(public, "");
        made.allow(&allow_public(who, "", &public));
        for (flags, touched) in [(0x01, true), (0x05, true), (0x00, false), (0x04, false)] {
            let bytes = std::fs::read(made.path("module.toml")).unwrap();
            let data = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, &bytes).unwrap();
            let trailer = [flags, 0, 0, 0, 9];
            let message = [&Sha256::digest("ssh:")[..], &trailer, &Sha256::digest(data)[..]].concat();
            let signed: ssh_key::Signature = ::signature::Signer::try_sign(key, &message).unwrap();
            // PROTOCOL.sshsig: the flags and the counter stand behind the signature's own bytes.
            let with = |kind: &str| {
                let text = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
                let mut blob = Vec::new();
                public.key_data().encode(&mut blob).unwrap();
                let signature = [text(kind.as_bytes()), text(signed.as_bytes()), trailer.to_vec()].concat();
                let fields = [&blob[..], NAMESPACE.as_bytes(), b"", b"sha512", &signature].map(text).concat();
                let whole = [&b"SSHSIG"[..], &1_u32.to_be_bytes(), &fields].concat();
                std::fs::write(made.path("signatures/ana.sig"), pem(&whole)).unwrap();
            };
            with(public.algorithm().as_str());
            assert!(stock_verifies(&made, who, &public, "ana"), "{who} {flags}: it is no such signature");
            match touched {
                true => assert_eq!(made.verify().unwrap().signers()[0].principal, who),
                false => made.refused("SP-TRUST-004", "nobody touched the security key"),
            }
            // A signature that calls itself something else is not let past.
            with("x@example.org");
            made.refused("SP-TRUST-004", "ana.sig");
        }
    }
}

/// Whatever bit is turned in what a signature says, it is none.
#[test]
fn no_bit_of_a_signature_can_be_turned() {
    let made = bundle();
    let reviewers = Root::read(&made.trust(), made.folder.path().join(".floors")).unwrap().reviewers;
    let bytes = std::fs::read(made.path("module.toml")).unwrap();
    let look = |sig: &[u8]| signature::look("ana.sig", pem(sig).as_bytes(), &bytes, NAMESPACE, &reviewers).problem;
    let written = std::fs::read(made.path("signatures/ana.sig")).unwrap();
    let mut decoder = pem_rfc7468::Decoder::new_wrapped(&written, 70).unwrap();
    let mut whole = Vec::new();
    decoder.decode_to_end(&mut whole).unwrap();
    assert_eq!(look(&whole), None);
    for bit in 0..whole.len() * 8 {
        let mut turned = whole.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        assert!(look(&turned).is_some(), "bit {bit}");
    }
}

/// As ssh-keygen writes a signature down.
fn pem(bytes: &[u8]) -> String {
    let mut buffer = vec![0; bytes.len() * 2 + 200];
    let ending = pem_rfc7468::LineEnding::LF;
    let mut encoder = pem_rfc7468::Encoder::new_wrapped("SSH SIGNATURE", 70, ending, &mut buffer).unwrap();
    encoder.encode(bytes).unwrap();
    let length = encoder.finish().unwrap();
    buffer.truncate(length);
    String::from_utf8(buffer).unwrap()
}

/// What ssh-keygen refuses, or writes otherwise.
#[test]
fn a_signature_is_written_in_one_way() {
    let made = bundle();
    let file = made.path("signatures/ana.sig");
    let text = std::fs::read_to_string(&file).unwrap();
    for other in [
        format!("Hello\n{text}"),
        text.replace('\n', "\r\n"),
        text.replacen("\nU1NI", "\n U1NI", 1),
        format!("\n{text}"),
    ] {
        assert_ne!(text, other);
        std::fs::write(&file, other).unwrap();
        made.refused("SP-TRUST-004", "ana.sig is");
    }
    for same in [text.trim_end().to_owned(), text] {
        std::fs::write(&file, same).unwrap();
        made.verify().unwrap();
    }
}

fn allow_public(who: &str, options: &str, key: &ssh_key::PublicKey) -> String {
    format!("{who} namespaces=\"{NAMESPACE}\"{options} {}\n", key.to_openssh().unwrap())
}

fn stock_key(made: &Bundle, who: &str, kind: &[&str]) -> PathBuf {
    let key = made.folder.path().join(format!(".{who}"));
    // One private number in 256 is a byte shorter, and then the library cannot read it. Only tests read private keys.
    for _ in 0..8 {
        let mut make = Command::new("ssh-keygen");
        assert!(ended_well(make.args(["-q", "-N", "", "-C", who]).args(kind).arg("-f").arg(&key), Stdio::null()));
        if PrivateKey::read_openssh_file(&key).is_ok() {
            return key;
        }
        std::fs::remove_file(&key).unwrap();
    }
    panic!("ssh-keygen makes no key that can be read")
}

fn stock_verifies(made: &Bundle, who: &str, key: &ssh_key::PublicKey, file: &str) -> bool {
    let allowed = made.folder.path().join(".allowed");
    std::fs::write(&allowed, allow_public(who, "", key)).unwrap();
    let mut verify = Command::new("ssh-keygen");
    verify.args(["-Y", "verify", "-n", NAMESPACE, "-I", who, "-f"]).arg(allowed);
    verify.arg("-s").arg(made.path(&format!("signatures/{file}.sig")));
    ended_well(&mut verify, std::fs::File::open(made.path("module.toml")).unwrap().into())
}

fn ended_well(command: &mut Command, input: Stdio) -> bool {
    let ended = command.stdin(input).output().unwrap();
    if !ended.status.success() {
        eprintln!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    }
    ended.status.success()
}
