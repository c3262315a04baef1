//! `module install`: look, ask, keep.

use std::io::{IsTerminal, Write};
use std::path::Path;

use super::{names, not_stored, root, signed_by, title};
use crate::cli::{Context, Output, runtime, screen};
use crate::compiled::Store;
use crate::cycle::engine::{self, Component};
use crate::fault::{Exit, Fault};
use crate::trust::authority::Change;
use crate::trust::grant::{self, Grant};
use crate::trust::{self, Verified, store};

pub fn install(context: &Context, bundle: &Path, yes: bool, accept_wider: bool) -> Result<Exit, Fault> {
    let root = root(context)?;
    let module = trust::verify(bundle, &root)?;
    let places = &context.places;
    let wider = grant::wider(&places.grants(), &module)?;
    if context.output == Output::Text {
        for warning in module.warnings() {
            screen::say_beside(format_args!("! {warning}"));
        }
    }
    let accepted = match &wider {
        None => {
            if context.output == Output::Text {
                screen::say(super::inspect::of(context, &module).text());
            }
            yes || ask(context, &module, || true)
        }
        Some(wider) if wider.is_empty() => true,
        Some(wider) => accept_wider || ask(context, &module, || show(wider)),
    };
    if !accepted {
        return Err(refused(context, &module, wider));
    }
    places.make().map_err(|e| not_stored(&e))?;
    let not_kept = compile(context, &module)?;
    let _lock = store::lock(&places.modules()).map_err(|e| not_stored(&e))?;
    // First: what is installed and not granted would not run.
    let new_grant = wider.as_ref().is_none_or(|w| !w.is_empty());
    if new_grant {
        grant::write(&places.grants(), &Grant::of(&module))?;
    }
    let folder = store::keep(&places.modules(), &module).map_err(|e| not_stored(&e))?;
    root.raise(&module).write()?;
    let grant = grant::path(&places.grants(), &module.manifest().name);
    match context.output {
        Output::Json => screen::say(serde_json::json!({
            "installed": folder.to_string_lossy(),
            "module": module.manifest().name,
            "version": module.manifest().version,
            "sequence": module.manifest().sequence,
            "signed_by": names(&module),
            "grant": grant.to_string_lossy(),
            "newly_granted": new_grant,
            "wider": wider,
            "warnings": module.warnings(),
            "not_kept": not_kept,
        })),
        Output::Text => {
            if let Some(why) = not_kept {
                screen::say_beside(format_args!("! {why}"));
            }
            screen::say(format_args!("✔ {} is installed, {}.", title(&module), signed_by(&module)));
            let granted = if new_grant { "What it may do is written down in" } else { "It is within its grant," };
            screen::say(format_args!("  {granted} {}", grant.display()))
        }
    };
    Ok(Exit::Done)
}

/// Compiles it, in an engine that ends, so that no cycle needs to. In words: why that is not kept, if it is not.
fn compile(context: &Context, module: &Verified) -> Result<Option<String>, Fault> {
    let signed = module.manifest().wasm.as_ref();
    let component = Component {
        bytes: module.wasm(),
        digest: signed.map(|w| w.sha256.as_str()).unwrap_or_default(),
        imports: signed.map(|w| w.imports.as_slice()).unwrap_or_default(),
    };
    let store = Store::new(context.places.compiled());
    let compiling = engine::compile(&module.manifest().name, component, &store);
    let compiled = tokio::task::LocalSet::new().block_on(&runtime()?, compiling);
    Ok(compiled.map_err(|fault| fault.done("It was not installed."))?.1)
}

/// Asks whoever sits at the terminal. Nobody there says no.
fn ask(context: &Context, module: &Verified, show: impl FnOnce() -> bool) -> bool {
    if context.output == Output::Json || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    show();
    let _ = write!(std::io::stderr(), "\nInstall {} and let it do this? [y/N] ", title(module));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn show(wider: &[Change]) -> bool {
    wider.iter().all(|change| screen::say(crate::fault::plain_lines(&change.to_string())))
}

fn refused(context: &Context, module: &Verified, wider: Option<Vec<Change>>) -> Fault {
    let title = title(module);
    match wider {
        None => Fault::new("SP-TRUST-015", Exit::Untrusted, format!("nobody has accepted what {title} may do."))
            .done("It was not installed.")
            .next("read it above, then add  --yes"),
        Some(wider) => {
            if context.output == Output::Text {
                show(&wider);
            }
            let places: Vec<&str> = wider.iter().map(|c| c.place.as_str()).collect();
            let what = format!("{title} wants more than it was granted: {}.", places.join("; "));
            let fault = Fault::new("SP-TRUST-015", Exit::Untrusted, what);
            fault
                .done("It was not installed; what was installed stays.")
                .next("read what is new, then add  --accept-wider")
        }
    }
}
