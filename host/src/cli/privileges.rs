//! `privileges`: the statements that make the least login a workload needs. They are printed, never run.

use super::{Context, Output, screen};
use crate::client::credential::known_as;
use crate::fault::{Exit, Fault, plain};
use crate::keeper::{self, Loaded};

pub fn privileges(context: &Context, name: &str) -> Exit {
    match run(context, name) {
        Ok(exit) => exit,
        Err(faults) => screen::faults(context.output, &faults),
    }
}

fn run(context: &Context, name: &str) -> Result<Exit, Vec<Fault>> {
    let Loaded { configuration, modules, .. } =
        keeper::load(&context.places, context.config.as_deref(), context.unsigned)?;
    let mut all = configuration.workloads.iter().zip(&modules);
    let Some((workload, module)) = all.find(|(w, _)| w.name == name) else {
        let names: Vec<&str> = configuration.workloads.iter().map(|w| w.name.as_str()).collect();
        let what = format!("there is no workload {name} in {}.", configuration.path.display());
        return Err(vec![
            Fault::new("SP-CFG-013", Exit::Usage, what).next(format!("name one of: {}", names.join(", "))),
        ]);
    };
    let user = workload.credential.login.user.as_ref().unwrap_or(&workload.linux_user.name);
    if user.contains('\\') || user.chars().any(char::is_control) {
        let what = "the login's name holds a backslash or a control character, which cannot be quoted with certainty.";
        return Err(vec![Fault::new("SP-CFG-005", Exit::Usage, what).of(name).next("choose another name")]);
    }
    let manifest = module.manifest();
    let user = &known_as(manifest.client.login.as_ref().map(|l| l.format), user);
    let quoted = format!("'{}'", user.replace('\'', "''"));
    let privileges = manifest.privileges.as_ref();
    let q = manifest.client.identifier_quote.to_string();
    let role = format!("{q}{}{q}", user.replace(&q, &q.repeat(2)));
    let named = |text: &String| text.replace("{role}", &role).replace("{user}", &quoted);
    let make: Vec<String> = privileges.iter().flat_map(|p| &p.make).map(named).collect();
    let title = format!("{} {}", manifest.name, manifest.version);
    match context.output {
        Output::Json => {
            let needed = privileges.map(|p| &p.needed);
            screen::say(serde_json::json!({
                "workload": name, "module": manifest.name, "user": user, "statements": make, "needed": needed,
            }));
        }
        Output::Text if make.is_empty() => {
            let linux_user = plain(&workload.linux_user.name);
            screen::say(format_args!(
                "{title} names no login. What counts is what linux_user ({linux_user}) may read and write."
            ));
        }
        Output::Text => {
            screen::say(format_args!(
                "-- The least that {title} needs in {name}. For the database's administrator to run."
            ));
            for (privilege, needed) in privileges.iter().flat_map(|p| &p.needed) {
                screen::say(format_args!("-- {}: {}", plain(privilege), plain(&needed.why)));
            }
            let linux_user = &workload.linux_user.name;
            if user != linux_user && make.iter().any(|text| text.contains("_socket")) {
                screen::say(format_args!(
                    "-- Its client runs as linux_user ({}): a login by socket is for a database user of that name. This one \
                     needs a password instead; alter it where it exists already.",
                    plain(linux_user)
                ));
            }
            for text in &make {
                screen::say(format_args!("{}{}", plain(text), manifest.client.end));
            }
        }
    }
    Ok(Exit::Done)
}
