//! `module list`: what is installed, and whether it may run.

use super::{names, root, signed_by};
use crate::cli::{Context, Output, screen};
use crate::fault::{Exit, Fault, plain};
use crate::trust::{self, grant, store};

pub fn list(context: &Context) -> Result<Exit, Fault> {
    let root = root(context)?;
    let look = |path: std::path::PathBuf| {
        let module = trust::verify(&path, &root).and_then(|module| {
            grant::check(&context.places.grants(), &module)?;
            Ok(module)
        });
        (path, module)
    };
    let all: Vec<_> = store::folders(&context.places.modules()).into_iter().map(look).collect();
    match context.output {
        Output::Json => {
            let modules: Vec<_> = all
                .iter()
                .map(|(path, module)| (path.to_string_lossy(), module))
                .map(|(path, module)| match module {
                    Ok(m) => serde_json::json!({
                        "folder": path,
                        "module": m.manifest().name,
                        "version": m.manifest().version,
                        "sequence": m.manifest().sequence,
                        "workloads": m.manifest().workloads,
                        "signed_by": names(m),
                        "warnings": m.warnings(),
                        "fault": null,
                    }),
                    Err(fault) => serde_json::json!({ "folder": path, "fault": fault }),
                })
                .collect();
            screen::say(serde_json::json!({ "modules": modules }));
        }
        Output::Text if all.is_empty() => {
            let modules = context.places.modules();
            screen::say(format_args!("No module is installed in {}.", modules.display()));
        }
        Output::Text => {
            for (path, module) in &all {
                match module {
                    Ok(m) => {
                        let (manifest, by) = (m.manifest(), signed_by(m));
                        let title = format!("{} {}", manifest.name, manifest.version);
                        screen::say(format_args!("✔ {title:<24} {}   {by}, granted", plain(&manifest.summary)));
                        for warning in m.warnings() {
                            screen::say(format_args!("  ! {warning}"));
                        }
                    }
                    Err(fault) => {
                        let name = plain(&path.file_name().unwrap_or_default().to_string_lossy());
                        screen::say(format_args!("✘ {name:<24} {fault}"));
                    }
                }
            }
        }
    }
    Ok(if all.iter().all(|(_, m)| m.is_ok()) { Exit::Done } else { Exit::Untrusted })
}
