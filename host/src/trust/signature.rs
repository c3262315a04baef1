//! Whose signature this is: one file of `ssh-keygen -Y sign`, and the people whom the trust root knows.

use pem_rfc7468::PemLabel;
use ssh_key::{Algorithm, HashAlg, SshSig};

use super::signers::Reviewer;

/// The flag of a security key's signature that says that somebody touched it (PROTOCOL.u2f of OpenSSH).
const PRESENT: u8 = 0x01;

/// The flags and the counter behind a security key's signature, in bytes.
const TRAILER: usize = 5;

/// What a signature's text begins with.
const FIRST: &[u8] = b"-----BEGIN SSH SIGNATURE-----";

/// The characters on one line of a signature's text.
const WIDTH: usize = 70;

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
    // The library passes over what stands before; ssh-keygen does not.
    if !pem.starts_with(FIRST) {
        return none("is no signature of ssh-keygen");
    }
    let mut raw = Vec::new();
    let decoded = pem_rfc7468::Decoder::new_wrapped(pem, WIDTH).and_then(|mut d| d.decode_to_end(&mut raw).map(drop));
    let (Ok(()), Ok(signature)) = (decoded, SshSig::from_pem(pem)) else {
        return none("is no signature of ssh-keygen");
    };
    // What stands there is not signed itself, so another number would be another file with the same meaning.
    if signature.version() != SshSig::VERSION {
        return none("is of an unknown version");
    }
    let text = written(&signature).filter(|bytes| *bytes == raw).and_then(|bytes| text_of(&bytes));
    if !signature.reserved().is_empty() || text.is_none_or(|text| text.trim_ascii_end() != pem.trim_ascii_end()) {
        return none("is written in another way than ssh-keygen writes it");
    }
    if signature.algorithm() != signature.public_key().algorithm() {
        return none("is of another kind than its key");
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

/// A security key can sign by itself, when its user is not there. The key says of which kind it is: what a signature
/// says of itself is not signed.
fn is_untouched(signature: &SshSig) -> bool {
    let bytes = signature.signature_bytes();
    let flags = bytes.len().checked_sub(TRAILER).and_then(|at| bytes.get(at));
    is_of_security_key(&signature.public_key().algorithm()) && flags.is_none_or(|f| f & PRESENT == 0)
}

/// The bytes of a signature with these fields (PROTOCOL.sshsig of OpenSSH). The library that reads it overlooks a length
/// that does not fit.
fn written(signature: &SshSig) -> Option<Vec<u8>> {
    let text = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).ok()?;
        Some([&length.to_be_bytes(), bytes].concat())
    };
    let key = ssh_key::PublicKey::from(signature.public_key().clone());
    let trailer = if is_of_security_key(&key.algorithm()) { TRAILER } else { 0 };
    let bytes = signature.signature_bytes();
    let (own, behind) = bytes.split_at_checked(bytes.len().checked_sub(trailer)?)?;
    let inner = [&text(signature.algorithm().as_str().as_bytes())?, &text(own)?, behind].concat();
    let fields = [
        text(&key.to_bytes().ok()?)?,
        text(signature.namespace().as_bytes())?,
        text(signature.reserved())?,
        text(signature.hash_alg().as_str().as_bytes())?,
        text(&inner)?,
    ];
    Some([&b"SSHSIG"[..], &signature.version().to_be_bytes(), &fields.concat()].concat())
}

/// The text that holds these bytes.
fn text_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = vec![0; bytes.len() * 2 + 200];
    let ending = pem_rfc7468::LineEnding::LF;
    let mut encoder = pem_rfc7468::Encoder::new_wrapped(SshSig::PEM_LABEL, WIDTH, ending, &mut text).ok()?;
    encoder.encode(bytes).ok()?;
    let length = encoder.finish().ok()?;
    text.truncate(length);
    Some(text)
}

fn is_of_security_key(kind: &Algorithm) -> bool {
    matches!(kind, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
}
