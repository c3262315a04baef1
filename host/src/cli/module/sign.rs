//! `module sign`: the stock ssh-keygen signs the very bytes that were looked at. It knows agents and hardware keys.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use stillpoint_contract::NAMESPACE;

use crate::cli::{Context, Output, screen};
use crate::fault::{Exit, Fault};
use crate::trust::{self, bundle::Bundle};

pub fn sign(context: &Context, path: &Path, key: &Path, name: Option<&str>) -> Result<Exit, Fault> {
    let bundle = Bundle::open(path)?;
    let manifest = trust::parse(&bundle.manifest)?;
    // Nobody puts their name to a component that is not the one named.
    trust::component(&bundle, &manifest)
        .map_err(|fault| fault.done("It was not signed.").next("package it anew, and look at it again"))?;
    let stem = key.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.unwrap_or(&stem);
    let failed = |what: String| {
        Fault::new("SP-TRUST-019", Exit::Usage, what)
            .done("It was not signed.")
            .next("see whether  ssh-keygen -Y sign  works with this key")
    };
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(failed(format!("{name} is no name for a file.")));
    }
    let signature = signature(key, &bundle.manifest).map_err(|e| failed(format!("ssh-keygen did not sign: {e}.")))?;
    let file = path.join("signatures").join(format!("{name}.sig"));
    let write = || {
        std::fs::create_dir_all(path.join("signatures"))?;
        crate::sys::disk::replace(&file, &signature)?;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644))
    };
    write().map_err(|e| failed(format!("{} cannot be written: {e}.", file.display())))?;
    let digest = trust::sha256(&bundle.manifest);
    match context.output {
        Output::Json => screen::say(serde_json::json!({ "signed": file.to_string_lossy(), "manifest_sha256": digest })),
        Output::Text => screen::say(format_args!(
            "✔ {} {} is signed: {}\n  its manifest has the SHA-256 {digest}",
            manifest.name,
            manifest.version,
            file.display()
        )),
    };
    Ok(Exit::Done)
}

fn signature(key: &Path, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key);
    let mut child = keygen.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Whoever ends before it has read this says why.
    let given = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(bytes));
    let ended = child.wait_with_output()?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(std::io::Error::other(if said.is_empty() { ended.status.to_string() } else { said }));
    }
    given.map(|()| ended.stdout)
}
