//! The sections: each key into its type.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ini::{Ini, ParseOption, Properties};
use nix::unistd::{Gid, Uid, getgrouplist};
use stillpoint_contract::manifest::Snapshot;

use super::log_backup;
use super::oratab::{self, Instance};
use super::place::{At, Places};
use super::{Configuration, Credential, OnFailure, Role, User, Workload, key};
use crate::azure;
use crate::fault::{Exit, Fault};
use crate::sys::ownership::{self, Problem};

/// The longest time that can be asked for, in seconds: a day.
const LONGEST: u64 = 86_400;

/// Reads the text of a configuration. `others_read` tells whether others than its owner can read the file.
pub fn read(path: &Path, text: &str, others_read: bool) -> Result<Configuration, Vec<Fault>> {
    let mut reader = Reader {
        path,
        places: Places::of(path, text),
        faults: Vec::new(),
        warnings: Vec::new(),
        log_destination: None,
        others_read,
    };
    let workloads = reader.workloads();
    let timeout = workloads.iter().map(|w| w.timeout).min().unwrap_or_default();
    match workloads.first().map(|w| (w.snapshot, w.keep_records)) {
        Some((snapshot, keep_records)) if reader.faults.is_empty() => {
            let mut filesystems: Vec<PathBuf> = Vec::new();
            for path in workloads.iter().flat_map(|w| &w.filesystems) {
                if !filesystems.contains(path) {
                    filesystems.push(path.clone());
                }
            }
            let path = path.to_owned();
            let (warnings, log_destination) = (reader.warnings, reader.log_destination);
            Ok(Configuration {
                path,
                workloads,
                timeout,
                snapshot,
                filesystems,
                keep_records,
                log_destination,
                warnings,
            })
        }
        _ => Err(reader.faults),
    }
}

/// What reads the sections, and what it has found so far.
pub(super) struct Reader<'a> {
    path: &'a Path,
    places: Places<'a>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    log_destination: Option<PathBuf>,
    others_read: bool,
}

/// The section that is read: its heading, the workload's name, and what it says.
struct Section<'s> {
    heading: &'s str,
    name: &'s str,
    values: BTreeMap<&'static str, &'s str>,
}

/// A server that a section speaks of.
struct Server {
    name: String,
    instance: Option<Instance>,
    linux_user: User,
}

impl Section<'_> {
    /// An empty value is an absent one: Azure's template is full of them.
    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).copied().filter(|v| !v.is_empty())
    }
}

impl Reader<'_> {
    pub(super) fn fault(&self, id: &str, what: String, section: Option<&str>, at: At<'_>, next: &str) -> Fault {
        Fault::new(id, Exit::Usage, what).at(self.places.excerpt(section, at)).next(next)
    }

    fn say(&mut self, id: &str, what: String, section: &Section<'_>, at: At<'_>, next: &str) {
        let fault = self.fault(id, what, Some(section.heading), at, next).of(section.name);
        self.faults.push(fault);
    }

    fn workloads(&mut self) -> Vec<Workload> {
        for (why, excerpt) in self.places.wrong() {
            let fault = Fault::new("SP-CFG-002", Exit::Usage, format!("this line is not understood: {why}."));
            self.faults.push(fault.at(excerpt).next("write  key = value  on one line, under  [workload]"));
        }
        let option = ParseOption { enabled_escape: false, enabled_quote: false, ..ParseOption::default() };
        let ini = match Ini::load_from_str_opt(&self.places.sound(), option) {
            Ok(ini) => ini,
            // Its words are not repeated: they may quote the line.
            Err(e) => {
                let what = format!("{} is no INI file, from line {} on.", self.path.display(), e.line);
                self.faults.push(Fault::new("SP-CFG-002", Exit::Usage, what).next("write  key = value  on one line"));
                return Vec::new();
            }
        };
        let mut seen = BTreeSet::new();
        let mut out: Vec<(String, Workload)> = Vec::new();
        for (heading, properties) in &ini {
            match heading {
                None => self.homeless(properties),
                Some(heading) if !seen.insert(heading) => {
                    let what = format!("[{heading}] is there twice.");
                    let next = "give each its own name:  [workload NAME]";
                    let fault = self.fault("SP-CFG-004", what, Some(heading), At::Heading, next);
                    self.faults.push(fault);
                }
                Some(log_backup::HEADING) => self.log_destination = self.log_destination(properties),
                Some(heading) => match heading.strip_prefix("workload") {
                    Some(name) if name.is_empty() || name.starts_with([' ', '\t']) => {
                        let read = self.workload(heading, name.trim(), properties);
                        out.extend(read.into_iter().map(|w| (heading.to_owned(), w)));
                    }
                    _ => self.strange(heading),
                },
            }
        }
        if out.is_empty() && self.faults.is_empty() {
            let what = format!("there is no workload in {}.", self.path.display());
            self.faults.push(Fault::new("SP-CFG-006", Exit::Usage, what).next("begin with  [workload]"));
        }
        self.agree(&out);
        out.into_iter().map(|(_, workload)| workload).collect()
    }

    /// Keys before any section.
    fn homeless(&mut self, properties: &Properties) {
        for (written, _) in properties.iter() {
            let what = format!("{} stands before any section.", named(written));
            let fault = self.fault("SP-CFG-003", what, None, At::Key(written), "begin with  [workload]");
            self.faults.push(fault);
        }
    }

    /// A section that is none of ours.
    fn strange(&mut self, heading: &str) {
        let next = format!("write  [workload],  [workload NAME]  or  [{}]", log_backup::HEADING);
        let fault = self.fault("SP-CFG-003", format!("[{heading}] is unknown."), Some(heading), At::Heading, &next);
        self.faults.push(fault);
    }

    /// What one cycle can do only in one way.
    fn agree(&mut self, workloads: &[(String, Workload)]) {
        let mut names = BTreeSet::new();
        for (heading, workload) in workloads {
            if !names.insert(&workload.name) {
                let what = format!("two workloads are named {}.", workload.name);
                let next = "name the sections:  [workload NAME]";
                let fault = self.fault("SP-CFG-004", what, Some(heading), At::Heading, next);
                self.faults.push(fault.of(&workload.name));
            }
        }
        let Some((_, first)) = workloads.first() else { return };
        for (heading, other) in workloads.iter().filter(|(_, w)| w.snapshot != first.snapshot) {
            let what = format!("it asks for another kind of snapshot than {}, and the agent takes one.", first.name);
            let next = "write the same  snapshot =  in every section";
            let fault = self.fault("SP-CFG-011", what, Some(heading), At::Value("snapshot"), next);
            self.faults.push(fault.of(&other.name));
        }
        for (heading, other) in workloads.iter().filter(|(_, w)| w.keep_records != first.keep_records) {
            let what = format!("it keeps another number of records than {}, and a cycle's is one.", first.name);
            let next = "write the same  keep_records =  in every section";
            let fault = self.fault("SP-CFG-011", what, Some(heading), At::Value("keep_records"), next);
            self.faults.push(fault.of(&other.name));
        }
    }

    /// The workload of a section, or one for each instance of the list that it names.
    fn workload(&mut self, heading: &str, name: &str, properties: &Properties) -> Vec<Workload> {
        let before = self.faults.len();
        let value = |key: &str| properties.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v.trim());
        let workload_name = value("workload_name").filter(|v| !v.is_empty());
        let own_name = (!name.is_empty()).then_some(name);
        let name = own_name.or(workload_name).unwrap_or("workload");
        let mut section = Section { heading, name, values: BTreeMap::new() };
        self.keys(&mut section, properties);
        let section = &section;
        for (word, at) in [(name, At::Heading), (workload_name.unwrap_or("x"), At::Value("workload_name"))] {
            if word.len() > 64 || !word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
                let what = "a workload's name is 1 to 64 of letters, digits, - and _.".into();
                self.say("SP-CFG-005", what, section, at, "such as  [workload orders]  and  workload_name = mariadb");
            }
        }
        if workload_name.is_none() {
            let next = "name the database, such as  workload_name = mariadb";
            self.say("SP-CFG-006", "workload_name is missing.".into(), section, At::Key("workload_name"), next);
        }
        let timeout = self.seconds(section, "timeout", 90);
        let short = timeout.as_secs() < 60;
        let stall_budget = self.stall_budget(section, timeout);
        let servers = self.servers(section, own_name);
        let mut owners: Vec<u32> = servers.iter().map(|s| s.linux_user.uid).collect();
        owners.dedup();
        let credential = self.credential(section, &owners);
        let command_path = self.path(section, "command_path");
        let module = self.path(section, "module");
        let ipc_folder = self.path(section, "ipc_folder");
        if let Some(folder) = &ipc_folder {
            self.ipc_folder(section, folder, &owners);
        }
        let order = self.order(section);
        let ways = [("abort", OnFailure::Abort), ("continue", OnFailure::Continue)];
        let on_failure = self.word(section, "on_failure", &ways);
        let kinds = [("atomic", Snapshot::Atomic), ("per-volume", Snapshot::PerVolume), ("files", Snapshot::Files)];
        let snapshot = self.word(section, "snapshot", &kinds);
        let (role, only_replica) = self.role(section);
        let databases = self.databases(section);
        let filesystems = self.filesystems(section);
        let keep_records = self.keep_records(section);
        let Some(workload_name) = workload_name.filter(|_| self.faults.len() == before) else { return Vec::new() };
        if short {
            let what = format!("timeout = {} is below 60 seconds: a slow snapshot is cut off.", timeout.as_secs());
            let next = "write  timeout = 90  unless the snapshot is known to be quick";
            let fault = self.fault("SP-CFG-020", what, Some(heading), At::Value("timeout"), next);
            self.warnings.push(fault.of(name));
        }
        let workload = |server: Server| Workload {
            name: server.name,
            workload_name: workload_name.to_owned(),
            command_path: command_path.clone(),
            instance: server.instance,
            linux_user: server.linux_user,
            credential: credential.clone(),
            ipc_folder: ipc_folder.clone(),
            timeout,
            databases: databases.clone(),
            role,
            only_replica,
            on_failure,
            order,
            snapshot,
            stall_budget,
            module: module.clone(),
            filesystems: filesystems.clone(),
            keep_records,
        };
        servers.into_iter().map(workload).collect()
    }

    /// The servers that a section speaks of: its own, or those of its list of instances.
    fn servers(&mut self, section: &Section<'_>, own_name: Option<&str>) -> Vec<Server> {
        let single = (section.get("instance"), section.get("home"));
        let Some(list) = self.path(section, "configuration_path") else {
            let instance = match single {
                (None, None) => None,
                (Some(name), Some(home)) => match oratab::instance(name, Path::new(home)) {
                    Ok(instance) => Some(instance),
                    Err(why) => {
                        let next = "such as  instance = orcl  and  home = /u01/app/oracle/product/19.0.0/dbhome_1";
                        self.say("SP-CFG-005", format!("{why}."), section, At::Value("home"), next);
                        return Vec::new();
                    }
                },
                _ => {
                    let what = "instance and home belong together, and one of them is missing.".into();
                    let next = "write both, or name a list:  configuration_path = /etc/oratab";
                    self.say("SP-CFG-006", what, section, At::Heading, next);
                    return Vec::new();
                }
            };
            let owner = instance.as_ref().map(|i| i.owner).filter(|_| section.get("linux_user").is_none());
            let linux_user = match owner {
                Some(uid) => self.owner(section, uid),
                None => self.user(section),
            };
            let server = |linux_user| Server { name: section.name.to_owned(), instance, linux_user };
            return linux_user.map(server).into_iter().collect();
        };
        if single != (None, None) {
            let what = "configuration_path names a list of instances, and instance or home name one.".into();
            self.say("SP-CFG-004", what, section, At::Value("configuration_path"), "keep one of them");
        }
        let named = section.get("linux_user").is_some();
        let user = if named { self.user(section) } else { None };
        if named && user.is_none() {
            return Vec::new();
        }
        let faults_before = self.faults.len();
        let Some(text) = self.list(section, &list, user.as_ref()) else { return Vec::new() };
        let mut out = Vec::new();
        for line in oratab::lines(&text) {
            let found = line.and_then(|(line, name, home)| {
                oratab::instance(&name, &home).map_err(|why| oratab::Wrong { line, why })
            });
            match found {
                Err(wrong) => {
                    let what =
                        format!("a line of the list of instances {} cannot be used: {}.", list.display(), wrong.why);
                    let fault = Fault::new("SP-CFG-014", Exit::Usage, what).at(wrong.excerpt(&list, &text));
                    let next =
                        "correct the line or put a # before it, or name a list of your own with  configuration_path =";
                    self.faults.push(fault.next(next).of(section.name));
                }
                Ok(instance) => {
                    let linux_user = match &user {
                        Some(user) => Some(user.clone()),
                        None => self.owner(section, instance.owner),
                    };
                    let name = match own_name {
                        Some(section) => format!("{section}-{}", instance.name),
                        None => instance.name.clone(),
                    };
                    out.extend(linux_user.map(|linux_user| Server { name, instance: Some(instance), linux_user }));
                }
            }
        }
        if out.is_empty() && self.faults.len() == faults_before {
            let what = format!("the list of instances {} names no database.", list.display());
            let next = "write a line  SID:HOME:N  for each database";
            self.say("SP-CFG-014", what, section, At::Value("configuration_path"), next);
        }
        out
    }

    /// The text of a list of instances that only root, or `linux_user` where it is named, could have written: it says which
    /// program is started.
    fn list(&mut self, section: &Section<'_>, list: &Path, user: Option<&User>) -> Option<String> {
        let (at, shown) = (At::Value("configuration_path"), list.display().to_string());
        let read = super::slurp(list, super::LARGEST)
            .and_then(|(bytes, _)| String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into()));
        let text = match read {
            Ok(text) => text,
            Err(why) => {
                let what = format!("the list of instances {shown} cannot be read: {why}.");
                self.say("SP-CFG-001", what, section, at, "write it there, a line  SID:HOME:N  for each database");
                return None;
            }
        };
        let owners: Vec<u32> = user.iter().map(|u| u.uid).collect();
        if let Err(problem) = ownership::check(list, &owners) {
            let what = format!(
                "others than root{} could have written the list of instances: {problem}.",
                if user.is_some() { " and linux_user" } else { "" }
            );
            let next = format!(
                "chown root {shown} && chmod 644 {shown}  where Oracle's installer need not write to it, else copy it:  \
                 cp {shown} /etc/stillpoint/oratab  and  configuration_path = /etc/stillpoint/oratab"
            );
            self.say("SP-CFG-010", what, section, at, &next);
            return None;
        }
        Some(text)
    }

    /// Who owns an instance's programs runs its client where nobody is named: never root by accident.
    fn owner(&mut self, section: &Section<'_>, uid: u32) -> Option<User> {
        let name = nix::unistd::User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|u| u.name);
        match name {
            Some(name) if uid != 0 => self.user_named(section, &name, At::Heading),
            _ => {
                let what = format!(
                    "linux_user is missing, and the owner of the server's program (user id {uid}) cannot stand for it."
                );
                self.say("SP-CFG-008", what, section, At::Heading, "write  linux_user =  such as  oracle");
                None
            }
        }
    }

    /// Takes the keys that are honoured, and says what is wrong with the others.
    fn keys<'s>(&mut self, section: &mut Section<'s>, properties: &'s Properties) {
        let mut seen = BTreeSet::new();
        for (written, value) in properties.iter() {
            let (shown, value) = (named(written), value.trim());
            if !seen.insert(written.to_ascii_lowercase()) {
                let what = format!("{shown} is there twice.");
                self.say("SP-CFG-004", what, section, At::Key(written), "keep one of them");
            } else if let Some(known) = key::honoured(written) {
                section.values.insert(known, value);
            } else if let Some(refused) = key::refused(written) {
                if !key::asks_nothing(value) {
                    let what = format!("{shown} is not honoured: {}.", refused.why);
                    self.say("SP-CFG-007", what, section, At::Key(written), refused.instead);
                }
            } else {
                let next = match key::meant(written) {
                    Some(near) => format!("did you mean  {near}  ?"),
                    None => format!("known are {}", key::HONOURED.join(", ")),
                };
                self.say("SP-CFG-003", format!("{shown} is unknown."), section, At::Key(written), &next);
            }
        }
    }

    fn seconds(&mut self, section: &Section<'_>, key: &str, default: u64) -> Duration {
        let seconds = match section.get(key).map(str::parse::<u64>) {
            None => default,
            Some(Ok(n)) if (1..=LONGEST).contains(&n) => n,
            Some(_) => {
                let what = format!("{key} must be a whole number of seconds, from 1 to {LONGEST}.");
                let next = format!("write  {key} = {default}");
                self.say("SP-CFG-005", what, section, At::Value(key), &next);
                default
            }
        };
        Duration::from_secs(seconds)
    }

    fn stall_budget(&mut self, section: &Section<'_>, timeout: Duration) -> Duration {
        let budget = self.seconds(section, "stall_budget", 5);
        if section.get("stall_budget").is_none() {
            return budget.min(timeout / 2);
        }
        if budget >= timeout {
            let what = format!("stall_budget must be below timeout, which is {} seconds.", timeout.as_secs());
            let next = match timeout.as_secs() / 2 {
                0 => "leave it out, or raise timeout".to_owned(),
                half => format!("such as  stall_budget = {}, or raise timeout", half.min(5)),
            };
            self.say("SP-CFG-005", what, section, At::Value("stall_budget"), &next);
        }
        budget
    }

    fn order(&mut self, section: &Section<'_>) -> u32 {
        section.get("order").unwrap_or("0").parse().unwrap_or_else(|_| {
            let what = "order must be a whole number, not below 0.".into();
            self.say("SP-CFG-005", what, section, At::Value("order"), "such as  order = 1");
            0
        })
    }

    /// How many cycles' records are kept.
    fn keep_records(&mut self, section: &Section<'_>) -> u32 {
        match section.get("keep_records").unwrap_or("1000").parse() {
            Ok(n) if (1..=1_000_000).contains(&n) => n,
            _ => {
                let what = "keep_records must be a whole number of cycles, from 1 to 1000000.".into();
                self.say("SP-CFG-005", what, section, At::Value("keep_records"), "such as  keep_records = 1000");
                1000
            }
        }
    }

    /// One of these words; the first is the default.
    fn word<T: Copy, const N: usize>(&mut self, section: &Section<'_>, key: &str, words: &[(&str, T); N]) -> T {
        let value = section.get(key).unwrap_or(words[0].0);
        words.iter().find(|(w, _)| w.eq_ignore_ascii_case(value)).map_or_else(
            || {
                let known: Vec<_> = words.iter().map(|(w, _)| *w).collect();
                let next = format!("write  {key} = {}", known.join("  or  "));
                let what = format!("{key} is none of {}.", known.join(", "));
                self.say("SP-CFG-005", what, section, At::Value(key), &next);
                words[0].1
            },
            |(_, t)| *t,
        )
    }

    /// What the server is taken for, and whether only a replica is frozen. Azure's own number for a mistake in either says
    /// more than that of any mistake in the file.
    fn role(&mut self, section: &Section<'_>) -> (Option<Role>, bool) {
        let before = self.faults.len();
        let role = section
            .get("role")
            .is_some()
            .then(|| self.word(section, "role", &[("master", Role::Primary), ("slave", Role::Replica)]));
        let only_replica = match section.get("enforceSlaveOnly").unwrap_or_default() {
            no if key::asks_nothing(no) => false,
            yes if ["1", "yes", "on", "true"].iter().any(|w| yes.eq_ignore_ascii_case(w)) => true,
            _ => {
                let what = "enforceSlaveOnly is neither 0 nor 1.".into();
                let next = "write  enforceSlaveOnly = 1  to have nothing but a replica frozen";
                self.say("SP-CFG-005", what, section, At::Value("enforceSlaveOnly"), next);
                false
            }
        };
        if only_replica && role == Some(Role::Primary) {
            let what = "enforceSlaveOnly = 1 refuses every server that is what  role = master  says.".into();
            let next = "write  role = slave  or  enforceSlaveOnly = 0";
            self.say("SP-CFG-005", what, section, At::Value("enforceSlaveOnly"), next);
        }
        self.faults.iter_mut().skip(before).for_each(|f| f.azure = Some(azure::ROLE));
        (role, only_replica)
    }

    fn path(&mut self, section: &Section<'_>, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(section.get(key)?);
        if !path.is_absolute() {
            let what = format!("{key} must be an absolute path.");
            self.say("SP-CFG-005", what, section, At::Value(key), "begin it with  /");
            return None;
        }
        Some(path)
    }

    /// The names of `dbnames`, between commas, or semicolons as in Azure's file.
    fn databases(&mut self, section: &Section<'_>) -> Vec<String> {
        let list = section.get("dbnames").unwrap_or_default();
        let names: Vec<&str> = list.split([',', ';']).map(str::trim).filter(|d| !d.is_empty()).collect();
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        if distinct.len() < names.len() {
            let what = "dbnames names a database twice.".into();
            self.say("SP-CFG-004", what, section, At::Value("dbnames"), "name each once");
        }
        names.into_iter().map(str::to_owned).collect()
    }

    /// The mount points, or folders on them, between commas.
    fn filesystems(&mut self, section: &Section<'_>) -> Vec<PathBuf> {
        let list = section.get("filesystems").unwrap_or_default();
        let paths: Vec<PathBuf> = list
            .split([',', ';'])
            .map(str::trim)
            .filter(|p| !p.is_empty())
            .map(|p| Path::new(p).components().collect())
            .collect();
        let at = At::Value("filesystems");
        if paths.iter().any(|p| !p.is_absolute()) {
            let what = "filesystems must be absolute paths.".into();
            self.say("SP-CFG-005", what, section, at, "such as  filesystems = /srv/a, /srv/b");
        }
        let distinct: BTreeSet<&PathBuf> = paths.iter().collect();
        if distinct.len() < paths.len() {
            let what = "filesystems names a path twice.".into();
            self.say("SP-CFG-004", what, section, At::Value("filesystems"), "name each once");
        }
        paths
    }

    /// A real folder, and nobody else can put another one in its place. Who can write into it is the database's affair
    /// (its own group often may): what lies there is opened without following links, and a warning is enough.
    fn ipc_folder(&mut self, section: &Section<'_>, folder: &Path, owners: &[u32]) {
        let plain: PathBuf = folder.components().collect();
        let at = At::Value("ipc_folder");
        let meta = match real_folder(&plain) {
            Ok(meta) => meta,
            Err(why) => {
                let what = format!("ipc_folder {} cannot be used: {why}.", folder.display());
                let next = "make a real folder for it, owned by root or linux_user, and write its real path";
                return self.say("SP-IPC-001", what, section, at, next);
            }
        };
        match ownership::check(&plain, owners) {
            Ok(()) => {}
            // Judged last: all that leads to it is sound.
            Err(Problem::Writable { path }) if path == plain => {
                if meta.mode() & 0o1000 == 0 {
                    let what = "others can replace what is written into ipc_folder.".into();
                    let next = format!("chmod go-w {}", plain.display());
                    let fault = self.fault("SP-IPC-003", what, Some(section.heading), at, &next);
                    self.warnings.push(fault.of(section.name));
                }
            }
            Err(problem) => {
                let what = format!("others could put another folder in the place of ipc_folder: {problem}.");
                let next = "let only root or linux_user own it, and write to the folders above it";
                self.say("SP-IPC-002", what, section, at, next);
            }
        }
    }

    fn credential(&mut self, section: &Section<'_>, owners: &[u32]) -> Credential {
        match (section.get("credString"), self.path(section, "credential_file")) {
            (Some(_), Some(_)) => {
                let what = "credString and credential_file are both there.".into();
                self.say("SP-CFG-004", what, section, At::Key("credential_file"), "keep one of them");
                Credential::default()
            }
            (Some(text), None) => self.login_string(section, text),
            (None, Some(file)) => self.credential_file(section, file, owners),
            (None, None) => Credential::default(),
        }
    }

    fn login_string(&mut self, section: &Section<'_>, text: &str) -> Credential {
        let key = At::Key("credString");
        if text.contains("%%") || text.contains("%(") {
            let what = "credString holds %% or %(, which Azure's own reader replaces.".into();
            self.say("SP-CFG-005", what, section, key, "put the login string as it is into a  credential_file");
            return Credential::default();
        }
        let credential = Credential::parse(text).unwrap_or_else(|why| {
            let next = "such as  credString = -u backup --socket=/run/mysqld/mysqld.sock";
            self.say("SP-CFG-005", format!("credString is not understood: {why}."), section, key, next);
            Credential::default()
        });
        if credential.password.is_some() && self.others_read {
            let what = "credString holds a password, and others can read the file.".into();
            self.say("SP-CFG-009", what, section, key, &format!("chmod 600 {}", self.path.display()));
        }
        credential
    }

    /// The file's content is a login string.
    fn credential_file(&mut self, section: &Section<'_>, file: PathBuf, owners: &[u32]) -> Credential {
        let (at, shown) = (At::Value("credential_file"), file.display().to_string());
        let (bytes, meta) = match super::slurp(&file, super::LARGEST_CREDENTIAL) {
            Ok(read) => read,
            Err(e) => {
                let what = format!("credential_file {shown} cannot be read: {e}.");
                self.say("SP-CFG-001", what, section, at, "write the login string there, as in credString");
                return Credential::default();
            }
        };
        if let Err(problem) = ownership::check(&file, owners) {
            let what = format!("others could have written credential_file: {problem}.");
            self.say("SP-CFG-010", what, section, at, "let only root or linux_user write there");
        }
        // Where linux_user could have made it a link, root must not read for them what is not theirs.
        if ownership::check(&file, &[]).is_err() && !owners.contains(&meta.uid()) {
            let what = "credential_file is not linux_user's own, and linux_user chose which file it is.".into();
            self.say("SP-CFG-010", what, section, at, "put it into a folder of root's, or let linux_user own it");
        }
        if meta.mode() & 0o077 != 0 {
            let what = "others can read credential_file.".into();
            self.say("SP-CFG-009", what, section, at, &format!("chmod 600 {shown}"));
        }
        let parsed = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned());
        match parsed.and_then(|text| Credential::parse(&text)) {
            Ok(credential) => Credential { file: Some(file), ..credential },
            Err(why) => {
                let what = format!("credential_file {shown} is not understood: {why}.");
                self.say("SP-CFG-005", what, section, at, "write there what credString would hold");
                Credential::default()
            }
        }
    }

    fn user(&mut self, section: &Section<'_>) -> Option<User> {
        let name = section.get("linux_user").unwrap_or("root");
        self.user_named(section, name, At::Value("linux_user"))
    }

    fn user_named(&mut self, section: &Section<'_>, name: &str, at: At<'_>) -> Option<User> {
        let Some(user) = nix::unistd::User::from_name(name).ok().flatten() else {
            let what = format!("linux_user {name} does not exist.");
            self.say("SP-CFG-008", what, section, at, "name a user of this machine");
            return None;
        };
        let own = Uid::effective();
        if !own.is_root() && own != user.uid {
            let what = format!("without root, linux_user must be yourself, not {name}.");
            self.say("SP-CFG-008", what, section, at, "name yourself, or run it as root");
            return None;
        }
        let groups = std::ffi::CString::new(name)
            .ok()
            .and_then(|n| getgrouplist(&n, user.gid).ok())
            .map_or_else(|| vec![user.gid.as_raw()], |g| g.into_iter().map(Gid::as_raw).collect());
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        Some(User { name: name.to_owned(), uid, gid, groups, home: user.dir })
    }
}

/// A folder that is no link, and that no link leads to.
fn real_folder(plain: &Path) -> Result<Metadata, String> {
    let meta = plain.symlink_metadata().map_err(|e| e.to_string())?;
    if meta.is_symlink() {
        return Err("it is a symbolic link".into());
    }
    if !meta.is_dir() {
        return Err("it is no folder".into());
    }
    if plain.canonicalize().map_err(|e| e.to_string())? != plain {
        return Err("a symbolic link, or  ..  leads to it".into());
    }
    Ok(meta)
}

/// A key as it may be repeated in a message: what does not look like one may be a part of a secret.
pub(super) fn named(written: &str) -> &str {
    if key::is_word(written) { written } else { "a key" }
}
