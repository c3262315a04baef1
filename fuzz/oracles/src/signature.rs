//! A signature's file, whatever stands in it, over fixed bytes and for fixed reviewers.

use std::sync::LazyLock;

use pem_rfc7468::LineEnding;
use stillpoint::trust::signature::look;
use stillpoint::trust::signers::{Reviewer, parse};
use stillpoint_contract::NAMESPACE;

const MESSAGE: &[u8] = include_bytes!("signature/message");

/// Each kind of key that is understood: the first three as ssh-keygen makes them, security keys as PROTOCOL.u2f says.
const ALLOWED: &str = include_str!("signature/allowed_signers");

/// Who has signed [`MESSAGE`], with which file, and the order of the curve where there is one.
const SIGNED: [(&str, &[u8], &str); 7] = [
    ("ed25519@example.org", include_bytes!("signature/ed25519.sig"), ""),
    ("p256@example.org", include_bytes!("signature/p256.sig"), P256),
    ("p384@example.org", include_bytes!("signature/p384.sig"), P384),
    ("sk-ed25519@example.org", include_bytes!("signature/sk-ed25519.sig"), ""),
    ("sk-ed25519@example.org", include_bytes!("signature/sk-ed25519-verified.sig"), ""),
    ("sk-ecdsa@example.org", include_bytes!("signature/sk-ecdsa.sig"), P256),
    ("sk-ecdsa@example.org", include_bytes!("signature/sk-ecdsa-verified.sig"), P256),
];

const P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const P384: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

/// What may count: whose it is, and what stands between the first and the last line of its text, without line breaks.
static GOOD: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| {
    let mut good = Vec::new();
    for (who, file, order) in SIGNED {
        good.push((who, between(file).unwrap()));
        if !order.is_empty() {
            let mut bytes = Vec::new();
            pem_rfc7468::Decoder::new_wrapped(file, 70).unwrap().decode_to_end(&mut bytes).unwrap();
            good.push((who, between(text(&twin(&bytes, order)).as_bytes()).unwrap()));
        }
    }
    good
});

static REVIEWERS: LazyLock<Vec<Reviewer>> = LazyLock::new(|| {
    let reviewers = parse(ALLOWED, "2026-06-15T12:00:00Z".parse().unwrap()).unwrap();
    // An oracle that knows of no good signature would call anything right.
    for (who, base64) in GOOD.iter() {
        let looked = look("good", wrapped(base64).as_bytes(), MESSAGE, NAMESPACE, &reviewers);
        assert_eq!((looked.signer.map(|s| s.principal).as_deref(), looked.problem), (Some(*who), None));
    }
    reviewers
});

/// The bytes as a file, and as what a well-written file encodes:
/// - What counts is one of the signatures that were made, written in the one way, and its author is the one who made it.
///   Everything else would be a forgery, or a second way to write one.
/// - It counts for these bytes and this namespace alone.
///
/// Of ECDSA there are two of each: who has seen (r, s) can write (r, n − s), which is a signature of the same key over
/// the same bytes by definition. Both are what ssh-keygen makes, one as often as the other, so neither can be refused.
/// Nothing hangs on the bytes of a signature: people are counted, by their keys.
pub fn check(bytes: &[u8]) {
    for pem in [bytes, text(bytes).as_bytes()] {
        let looked = look("any.sig", pem, MESSAGE, NAMESPACE, &REVIEWERS);
        assert!(looked.signer.is_some() || looked.problem.is_some(), "{looked:?}");
        if looked.problem.is_none() {
            let base64 = between(pem).unwrap();
            let who = looked.signer.unwrap().principal;
            assert!(GOOD.iter().any(|(w, g)| *w == who && *g == base64), "it counts for {who}, who has not made it");
            let one_line = |text: &[u8]| text.iter().filter(|b| !b"\r\n".contains(b)).copied().collect::<Vec<u8>>();
            assert_eq!(one_line(pem), one_line(wrapped(&base64).as_bytes()), "and something else stands there");
        }
        for (message, namespace) in [(&MESSAGE[1..], NAMESPACE), (MESSAGE, "stillpoint.revocations.v1")] {
            assert!(look("any.sig", pem, message, namespace, &REVIEWERS).problem.is_some());
        }
    }
}

/// What stands between the first line and the last, read without the library.
fn between(pem: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(pem);
    let (_, rest) = text.split_once("-----BEGIN SSH SIGNATURE-----")?;
    let (inner, _) = rest.split_once("-----END SSH SIGNATURE-----")?;
    Some(inner.replace(['\r', '\n'], ""))
}

fn wrapped(base64: &str) -> String {
    let lines: Vec<&str> = base64.as_bytes().chunks(70).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

/// As ssh-keygen writes these bytes down.
fn text(bytes: &[u8]) -> String {
    let mut buffer = vec![0; bytes.len() * 2 + 200];
    let mut encoder = pem_rfc7468::Encoder::new_wrapped("SSH SIGNATURE", 70, LineEnding::LF, &mut buffer).unwrap();
    encoder.encode(bytes).unwrap();
    let length = encoder.finish().unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// The other signature: n − s in the place of s. (PROTOCOL.sshsig: it is the last field; in it a kind, then r and s.)
fn twin(signature: &[u8], order: &str) -> Vec<u8> {
    let field = |at: usize| {
        let length = u32::from_be_bytes(signature[at..at + 4].try_into().unwrap()) as usize;
        (at + 4, at + 4 + length)
    };
    // The magic and the version, then the key, the namespace, nothing, the hash.
    let last = (0..4).fold(10, |at, _| field(at).1);
    let (kind, end) = field(last);
    let (numbers, trailer) = field(field(kind).1);
    let (_, behind_r) = field(numbers);
    let (s, _) = field(behind_r);
    let text = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let other = number(&minus(&hex::decode(order).unwrap(), &signature[s..trailer]));
    let numbers = [&signature[numbers..behind_r], &text(&other)].concat();
    let inner = [&signature[kind..field(kind).1], &text(&numbers), &signature[trailer..end]].concat();
    [&signature[..last], &text(&inner)].concat()
}

fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut out = Vec::new();
    let b = b.iter().rev().chain(std::iter::repeat(&0));
    for (a, b) in a.iter().rev().zip(b) {
        let digit = i16::from(*a) - i16::from(*b) - borrow;
        borrow = i16::from(digit < 0);
        out.push(digit.rem_euclid(256) as u8);
    }
    out.reverse();
    out
}

/// As SSH writes a number: no zeros in front, but one where the first bit would make it negative.
fn number(digits: &[u8]) -> Vec<u8> {
    let first = digits.iter().position(|d| *d != 0).unwrap_or(digits.len());
    let zero: &[u8] = if digits.get(first).is_some_and(|d| *d >= 0x80) { &[0] } else { &[] };
    [zero, &digits[first..]].concat()
}
