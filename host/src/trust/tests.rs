use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};

use super::*;

const MANIFEST: &str = include_str!("test-manifest.toml");

struct Bundle {
    folder: tempfile::TempDir,
    key: PrivateKey,
}

fn bundle() -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let mut seed = [7u8; 32];
    getrandom::fill(&mut seed).unwrap();
    let key = PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&seed));
    assert_eq!(key.algorithm(), Algorithm::Ed25519);
    let line = format!("ana@example.org namespaces=\"{NAMESPACE}\" {}\n", key.public_key().to_openssh().unwrap());
    std::fs::write(folder.path().join("allowed_signers"), line).unwrap();
    let module = folder.path().join("some-1.0.0");
    std::fs::create_dir_all(module.join("signatures")).unwrap();
    std::fs::write(module.join("module.wasm"), b"a component").unwrap();
    let made = Bundle { folder, key };
    made.sign(&made.manifest(), NAMESPACE);
    made
}

impl Bundle {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("some-1.0.0").join(name)
    }

    fn manifest(&self) -> String {
        let digest = hex::encode(Sha256::digest(b"a component"));
        format!("{MANIFEST}\n[wasm]\nsha256 = \"{digest}\"\nsize = 11\ncompiler = \"test\"\n")
    }

    fn sign(&self, manifest: &str, namespace: &str) {
        std::fs::write(self.path("module.toml"), manifest).unwrap();
        let signature = self.key.sign(namespace, HashAlg::Sha512, manifest.as_bytes()).unwrap();
        std::fs::write(self.path("signatures/ana.sig"), signature.to_pem(LineEnding::LF).unwrap()).unwrap();
    }

    fn verify(&self) -> Result<Verified, Fault> {
        verify(&self.folder.path().join("some-1.0.0"), &self.folder.path().join("allowed_signers"))
    }

    fn refused(&self) -> String {
        let fault = self.verify().unwrap_err();
        assert_eq!(fault.exit, Exit::Untrusted);
        fault.id
    }
}

#[test]
fn a_signed_module_is_verified_and_found() {
    let made = bundle();
    let verified = made.verify().unwrap();
    assert_eq!(verified.signers(), ["ana@example.org"]);
    assert_eq!(verified.wasm(), b"a component");
    assert_eq!(find("some", made.folder.path()).unwrap(), made.folder.path().join("some-1.0.0"));
    assert_eq!(find("other", made.folder.path()).unwrap_err().id, "SP-TRUST-001");
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let made = bundle();
    std::fs::write(made.path("module.wasm"), b"a component, cut").unwrap();
    assert_eq!(made.refused(), "SP-TRUST-007");
    std::fs::write(made.path("module.wasm"), b"a compon").unwrap();
    assert_eq!(made.refused(), "SP-TRUST-007");
    let made = bundle();
    std::fs::write(made.path("module.toml"), made.manifest().replace("a test", "a text")).unwrap();
    assert_eq!(made.refused(), "SP-TRUST-004");
}

#[test]
fn unsigned_misplaced_and_expired_modules_are_refused() {
    let made = bundle();
    std::fs::remove_file(made.path("signatures/ana.sig")).unwrap();
    assert_eq!(made.refused(), "SP-TRUST-004");
    made.sign(&made.manifest(), "another.namespace");
    assert_eq!(made.refused(), "SP-TRUST-004");
    made.sign(&made.manifest().replace("sequence = 1", "sequence = 1\nexpires = \"2001-01-01\""), NAMESPACE);
    assert_eq!(made.refused(), "SP-TRUST-006");
    made.sign(MANIFEST, NAMESPACE);
    assert_eq!(made.refused(), "SP-TRUST-007");
    std::fs::remove_dir_all(made.folder.path().join("some-1.0.0")).unwrap();
    assert_eq!(made.refused(), "SP-TRUST-001");
}
