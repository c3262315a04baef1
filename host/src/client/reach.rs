//! How to reach a database: all that is needed to start its client again, with *where* its secret is and never the
//! secret itself. It stands in the ledger, so that recovery needs neither the module nor, as a rule, the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillpoint_contract::manifest::Client;

use crate::config::{self, Login, Secret, Workload};
use crate::fault::{Exit, Fault};
use crate::sys::launch::Ids;

use super::program;

/// How to start a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Whose: the workload's name in the configuration.
    pub workload: String,
    /// The program, found and checked.
    pub program: PathBuf,
    /// Who may own it, beside root and who runs it.
    #[serde(default)]
    pub owner: Option<u32>,
    /// Who runs it.
    pub user: Ids,
    /// Its environment, with the workload's own instance in it: never what a login or somebody's profile says.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The client as the manifest declared it.
    pub client: Client,
    /// The words of the login that are no secret.
    pub login: Login,
    /// Where the secret is.
    pub secret: Where,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Where {
    /// There is none.
    Nowhere,
    /// In a `credential_file`.
    File(PathBuf),
    /// In the `credString` of this workload, in this configuration.
    Configuration(PathBuf),
}

impl Reach {
    /// Of a workload, by this client.
    ///
    /// # Errors
    /// `SP-CLIENT-001`, `SP-CLIENT-002`: no program that can be trusted. `SP-CLIENT-007`: the configuration does not say
    /// which instance it is.
    pub fn new(workload: &Workload, client: &Client, configuration: PathBuf) -> Result<Reach, Fault> {
        let environment = environment(workload, client)?;
        let program = program::find(workload, &client.programs)?;
        let credential = &workload.credential;
        let user = &workload.linux_user;
        let secret = match (&credential.password, &credential.file) {
            (None, _) => Where::Nowhere,
            (Some(_), Some(file)) => Where::File(file.clone()),
            (Some(_), None) => Where::Configuration(configuration),
        };
        Ok(Reach {
            workload: workload.name.clone(),
            program,
            owner: workload.instance.as_ref().map(|i| i.owner),
            environment,
            user: Ids { uid: user.uid, gid: user.gid, groups: user.groups.clone() },
            client: client.clone(),
            login: credential.login.clone(),
            secret,
        })
    }

    /// Fetches the secret from where it is, and looks at the program again. For who has only this plan.
    ///
    /// # Errors
    /// In words: what is no longer as it was.
    pub fn secret(&self) -> Result<Option<Secret>, String> {
        program::check(&self.program, self.user.uid, self.owner).map_err(|p| p.to_string())?;
        match &self.secret {
            Where::Nowhere => Ok(None),
            Where::File(file) => Ok(config::credential_file(file, self.user.uid)?.password),
            Where::Configuration(path) => {
                let read = config::read(path).map_err(|f| f.first().map_or(String::new(), |f| f.what.clone()))?;
                let workload = read.workloads.into_iter().find(|w| w.name == self.workload);
                let workload = workload.ok_or_else(|| format!("it is no longer in {}", path.display()))?;
                Ok(workload.credential.password)
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Reach {
        use stillpoint_contract::manifest::{Mode, Rows};
        Reach {
            workload: "w".into(),
            program: "/bin/p".into(),
            owner: None,
            environment: BTreeMap::new(),
            user: Ids { uid: 0, gid: 0, groups: vec![] },
            client: Client {
                read_only: None,
                mode: Mode::Session,
                programs: vec!["p".into()],
                login: None,
                arguments: vec![],
                environment: BTreeMap::new(),
                setup: vec![],
                errors: stillpoint_contract::manifest::Printed::StandardError,
                end: ";".into(),
                tag: "{tag}".into(),
                rows: Rows::Quoted,
                error: String::new(),
                lost: vec![],
                identifier_quote: '"',
            },
            login: Login::default(),
            secret: Where::Nowhere,
        }
    }
}

/// The variables that the manifest names, filled from the workload's instance.
fn environment(workload: &Workload, client: &Client) -> Result<BTreeMap<String, String>, Fault> {
    let fault = |what: &str, next: &str| {
        let fault = Fault::new("SP-CLIENT-007", Exit::Usage, what).of(&workload.name).done("Nothing was started.");
        Err(fault.next(next))
    };
    let named = client.environment.values().any(|v| v.contains("{instance}") || v.contains("{home}"));
    let (name, home) = match &workload.instance {
        None if named => {
            return fault(
                "the configuration does not say which instance it is.",
                "name the list of instances, such as  configuration_path = /etc/oratab  , or  instance =  and  home =",
            );
        }
        Some(_) if !named => {
            return fault(
                "its module's client cannot be told which instance it is.",
                "remove  configuration_path, instance  and  home  from the section",
            );
        }
        None => (String::new(), String::new()),
        Some(instance) => (instance.name.clone(), instance.home.display().to_string()),
    };
    let fill = |value: &String| value.replace("{instance}", &name).replace("{home}", &home);
    Ok(client.environment.iter().map(|(key, value)| (key.clone(), fill(value))).collect())
}
