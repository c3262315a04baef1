//! Whose signature this is: one file of `ssh-keygen -Y sign`, and the people whom the trust root knows.

use ssh_key::{Algorithm, HashAlg, SshSig};

use super::signers::Reviewer;

/// The flag of a security key's signature that says that somebody touched it (PROTOCOL.u2f of OpenSSH).
const PRESENT: u8 = 0x01;

/// The flags and the counter behind a security key's signature, in bytes.
const TRAILER: usize = 5;

/// A person whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Who.
    pub principal: String,
    /// The key, as `ssh-keygen -l` prints it: `SHA256:…`.
    pub fingerprint: String,
}

/// One signature file, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The file's name.
    pub file: String,
    /// Whose it is, as far as it says so.
    pub signer: Option<Signer>,
    /// Why it does not count; `None` when it does.
    pub problem: Option<String>,
}

/// Looks at one signature over these bytes.
pub fn look(file: &str, pem: &[u8], bytes: &[u8], namespace: &str, reviewers: &[Reviewer]) -> Signature {
    let none = |problem: &str| Signature { file: file.into(), signer: None, problem: Some(problem.into()) };
    let Ok(signature) = SshSig::from_pem(pem) else { return none("is no signature of ssh-keygen") };
    // What stands there is not signed itself, so another number would be another file with the same meaning.
    if signature.version() != SshSig::VERSION {
        return none("is of an unknown version");
    }
    let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256).to_string();
    let Some(reviewer) = reviewers.iter().find(|r| r.key.key_data() == signature.public_key()) else {
        return none(&format!("is by an unknown key, {fingerprint}"));
    };
    let who = &reviewer.principal;
    let problem = if signature.namespace() != namespace {
        Some(format!("is by {who} for the namespace {:?}, not {namespace}", signature.namespace()))
    } else if reviewer.key.verify(namespace, bytes, &signature).is_err() {
        Some(format!("is by {who} over another manifest: this one was changed"))
    } else if !reviewer.namespaces.iter().any(|n| n == namespace) {
        Some(format!("is by {who}, who may not sign for {namespace}"))
    } else if let Some(when) = &reviewer.not_valid {
        Some(format!("is by {who}, whose key is not valid today: {when}"))
    } else if is_untouched(&signature) {
        Some(format!("is by {who}, but nobody touched the security key"))
    } else {
        None
    };
    Signature { file: file.into(), signer: Some(Signer { principal: who.clone(), fingerprint }), problem }
}

/// A security key can sign by itself, when its user is not there.
fn is_untouched(signature: &SshSig) -> bool {
    let of_security_key = matches!(signature.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256);
    let bytes = signature.signature_bytes();
    let flags = bytes.len().checked_sub(TRAILER).and_then(|at| bytes.get(at));
    of_security_key && flags.is_none_or(|f| f & PRESENT == 0)
}
