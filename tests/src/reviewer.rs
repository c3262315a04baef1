//! People with keys, and what they sign: made here, so that nothing of the host's own is asked to prove itself.

use std::path::Path;

use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{HashAlg, LineEnding, PrivateKey};

/// The namespace of a module's signatures.
pub const MODULE: &str = "stillpoint.module.v1";

/// The namespace of the signatures over a list of revocations.
pub const REVOCATIONS: &str = "stillpoint.revocations.v1";

/// A person with one key.
#[derive(Clone)]
pub struct Reviewer {
    /// As `allowed_signers` names them.
    pub name: String,
    key: PrivateKey,
}

impl Reviewer {
    /// The same name always has the same key.
    ///
    /// # Panics
    /// Never, with a name.
    pub fn new(name: &str) -> Reviewer {
        Reviewer::with_key(name, name)
    }

    /// A person with another of their keys.
    ///
    /// # Panics
    /// Never, with a name.
    pub fn with_key(name: &str, key: &str) -> Reviewer {
        let mut seed = [7; 32];
        key.bytes().take(32).zip(&mut seed).for_each(|(b, s)| *s = b);
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        Reviewer { name: name.into(), key: PrivateKey::new(pair, name).unwrap() }
    }

    /// `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Their line in `allowed_signers`, with further options such as `,valid-before="20200101"`.
    ///
    /// # Panics
    /// Never, with a key of ours.
    pub fn line(&self, options: &str) -> String {
        let key = self.key.public_key().to_openssh().unwrap();
        format!("{} namespaces=\"{MODULE},{REVOCATIONS}\"{options} {key}\n", self.name)
    }

    /// A signature, as `ssh-keygen -Y sign` writes it.
    ///
    /// # Panics
    /// Never, with a key of ours.
    pub fn sign(&self, bytes: &[u8], namespace: &str) -> String {
        self.key.sign(namespace, HashAlg::Sha512, bytes).unwrap().to_pem(LineEnding::LF).unwrap()
    }

    /// Signs `module.toml`, or another file, of this folder.
    ///
    /// # Panics
    /// When it cannot be read, or the signature not written.
    pub fn sign_in(&self, folder: &Path, file: &str, namespace: &str) {
        let signature = self.sign(&std::fs::read(folder.join(file)).unwrap(), namespace);
        std::fs::create_dir_all(folder.join("signatures")).unwrap();
        std::fs::write(folder.join("signatures").join(format!("{}.sig", self.name)), signature).unwrap();
    }
}
