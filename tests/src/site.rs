//! Stillpoint installed under a folder of its own: configuration, modules, reviewers, state.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::comparison::Window;
use crate::dist;
use crate::folder;
use crate::processes;
use crate::program::{Ended, Running, run, start, succeed};
use crate::said::Said;

/// One installation. Dropped, it thaws what a failed test left.
pub struct Site {
    folder: TempDir,
    program: PathBuf,
}

impl Default for Site {
    fn default() -> Site {
        Site::new()
    }
}

impl Site {
    /// Installs all modules, and no configuration.
    ///
    /// # Panics
    /// When it cannot.
    pub fn new() -> Site {
        Site::under(&std::env::temp_dir())
    }

    /// Installs all modules in a folder below this one, and no configuration.
    ///
    /// # Panics
    /// When it cannot.
    pub fn under(parent: &Path) -> Site {
        // Other users' clients look at files that a test puts here.
        let folder = folder::below(parent, 0o755);
        let site = Site { folder, program: dist::program("stillpoint") };
        std::fs::create_dir_all(site.path("etc/grants")).unwrap();
        std::fs::create_dir_all(site.path("lib/modules")).unwrap();
        copy(&dist::dist().join("trust"), &site.path("etc"));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(site.path("lib/compiled")).unwrap();
        for bundle in dist::bundles("modules") {
            site.install(&bundle);
        }
        site
    }

    /// As packaging has installed it once: verified, granted and compiled.
    fn install(&self, bundle: &Path) {
        let folder = bundle.file_name().expect("a bundle has a name").to_string_lossy().into_owned();
        let (name, _version) = folder.rsplit_once('-').expect("NAME-VERSION");
        let installed = dist::dist().join("site");
        let modules = installed.join("lib/modules").join(&folder);
        if !modules.is_dir() {
            return self.put(bundle, name);
        }
        copy(&modules, &self.path("lib/modules"));
        let grant = format!("etc/grants/{name}.toml");
        std::fs::copy(installed.join(&grant), self.path(&grant)).unwrap();
        let manifest = std::fs::read_to_string(modules.join("module.toml")).unwrap();
        let digest = manifest.lines().find_map(|l| l.strip_prefix("sha256   = \"")?.strip_suffix('"')).unwrap();
        let compiled = format!("lib/compiled/{digest}");
        // A test may want nothing to be kept.
        if !self.path("lib/compiled").is_dir() {
            return;
        }
        std::fs::copy(installed.join(&compiled), self.path(&compiled)).unwrap();
    }

    /// A guest that cannot be installed is put there all the same, as if somebody had: its manifest is that of another
    /// guest but for its name and its imports, and so is its grant.
    fn put(&self, bundle: &Path, name: &str) {
        copy(bundle, &self.path("lib/modules"));
        let manifest = std::fs::read_to_string(bundle.join("module.toml")).unwrap();
        let imports = manifest.lines().find_map(|l| l.strip_prefix("imports  = ")).unwrap();
        let other = std::fs::read_to_string(dist::dist().join("site/etc/grants/fails-in-check.toml")).unwrap();
        let (head, rest) = other.split_once("imports = [").unwrap();
        let (_, rest) = rest.split_once(']').unwrap();
        let head = head.replace("fails-in-check", name);
        std::fs::write(self.path(&format!("etc/grants/{name}.toml")), format!("{head}imports = {imports}{rest}"))
            .unwrap();
    }

    /// Installs modules and this configuration.
    pub fn with(configuration: &str) -> Site {
        let site = Site::new();
        site.configure(configuration);
        site
    }

    /// The same, with the programs themselves beside the state.
    ///
    /// # Panics
    /// When they cannot be copied.
    pub fn with_programs_under(parent: &Path) -> Site {
        let mut site = Site::under(parent);
        for name in ["stillpoint", "stillpoint-engine"] {
            std::fs::copy(dist::program(name), site.path(name)).unwrap();
        }
        site.program = site.path("stillpoint");
        site
    }

    /// Installs this guest beside the modules.
    pub fn install_guest(&self, name: &str) {
        self.install(&dist::bundle("guests", name));
    }

    /// The processes of this installation that run as `keeper` or `guard`.
    pub fn processes(&self, role: &str) -> Vec<Pid> {
        let folder = self.folder.path().display().to_string();
        let ours = |pid: &i32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let text = String::from_utf8_lossy(&words);
            text.split('\0').nth(1) == Some(role) && text.contains(&folder)
        };
        processes::ids().filter(ours).map(Pid::from_raw).collect()
    }

    /// Kills the keeper. Its guard thaws.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_keeper(&self) {
        kill(self.process("keeper"), Signal::SIGKILL).unwrap();
    }

    /// Kills keeper and guard, so that neither replaces the other and nobody is left who thaws.
    ///
    /// # Panics
    /// When one of them does not run.
    pub fn kill_keeper_and_guard(&self) {
        let (keeper, guard) = (self.process("keeper"), self.process("guard"));
        for (pid, signal) in [(keeper, Signal::SIGSTOP), (guard, Signal::SIGKILL), (keeper, Signal::SIGKILL)] {
            kill(pid, signal).unwrap();
        }
        self.wait_for_the_end();
    }

    /// Waits until keeper and guard are gone.
    pub fn wait_for_the_end(&self) {
        for role in ["keeper", "guard"] {
            crate::wait_until(&format!("the {role} is gone"), || self.processes(role).is_empty());
        }
    }

    /// Waits until the guard has done what its keeper left to it.
    pub fn wait_for_the_guard(&self) {
        crate::wait_until("the guard is done", || self.json(&["status"]).code == Some(0));
    }

    /// No cycle is under way, and none has left anything to be taken back.
    ///
    /// # Panics
    /// When one is, or has.
    #[track_caller]
    pub fn assert_nothing_is_frozen(&self) {
        let status = self.json(&["status"]);
        assert_eq!((status.code, &status.json["under_way"]), (Some(0), &Value::Null), "{}", status.text);
    }

    /// The only process in this role: one of the cycle before may be about to end.
    ///
    /// # Panics
    /// When there is none, or several stay.
    pub fn process(&self, role: &str) -> Pid {
        let mut found = Vec::new();
        crate::wait_until("there is one process in this role", || {
            found = self.processes(role);
            found.len() == 1
        });
        found[0]
    }

    /// From here on the command with crash points is called.
    #[must_use]
    pub fn breakable(mut self) -> Site {
        self.program = dist::crash_program().to_owned();
        self
    }

    /// Replaces the configuration.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, configuration: &str) {
        let file = self.configuration();
        std::fs::write(&file, configuration).unwrap();
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Adds lines to the configuration.
    ///
    /// # Panics
    /// When there is none.
    pub fn add_to_configuration(&self, lines: &str) {
        let text = std::fs::read_to_string(self.configuration()).unwrap();
        self.configure(&format!("{text}{lines}"));
    }

    /// Writes this login into a file that nobody else can read, for `credential_file`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn credential(&self, login: &str) -> PathBuf {
        let file = self.path("credential");
        std::fs::write(&file, format!("{login}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        file
    }

    /// A path under the state folder.
    pub fn path(&self, under: &str) -> PathBuf {
        self.folder.path().join(under)
    }

    /// The file of the configuration.
    pub fn configuration(&self) -> PathBuf {
        self.path("etc/workload.conf")
    }

    /// The installed bundle of this module.
    ///
    /// # Panics
    /// When there is none.
    pub fn module(&self, name: &str) -> PathBuf {
        let bundle = dist::bundle("modules", name);
        self.path("lib/modules").join(bundle.file_name().expect("a bundle has a name"))
    }

    /// The records of past cycles, in no order.
    ///
    /// # Panics
    /// When one is no JSON.
    pub fn records(&self) -> Vec<Value> {
        let all = std::fs::read_dir(self.path("lib/records")).into_iter().flatten().map(|e| e.unwrap().path());
        let records = all.filter(|p| p.extension().is_some_and(|e| e == "json"));
        records.map(|p| serde_json::from_slice(&std::fs::read(p).unwrap()).unwrap()).collect()
    }

    /// The file of the audit record of this cycle.
    pub fn chain(&self, of: &Said) -> PathBuf {
        self.path("lib/records").join(format!("{}.chain", of.cycle()))
    }

    /// The entries of the audit record of this cycle.
    ///
    /// # Panics
    /// When there is none, or one is no JSON.
    pub fn entries(&self, of: &Said) -> Vec<Value> {
        let text = std::fs::read_to_string(self.chain(of)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The command, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--state-dir").arg(self.folder.path()).args(arguments);
        command
    }

    /// Runs the command to its end, with its text for people.
    pub fn call(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments), "")
    }

    /// Runs the command to its end, with `--output json`.
    pub fn json(&self, arguments: &[&str]) -> Said {
        let mut all = vec!["--output", "json"];
        all.extend_from_slice(arguments);
        Said::of(run(&mut self.command(&all), ""))
    }

    /// Starts the command, with `--output json`.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut all = vec!["--output", "json"];
        all.extend_from_slice(arguments);
        start(&mut self.command(&all), "")
    }

    /// Freezes.
    ///
    /// # Panics
    /// When that fails.
    pub fn freeze(&self) -> Said {
        let said = self.json(&["freeze"]);
        assert_eq!(said.code, Some(0), "freeze: {said:?}");
        said
    }

    /// Freezes, takes a copy, and thaws. Gives the answer to the thaw, when everything stood still, and the copy.
    ///
    /// # Panics
    /// When it does not freeze.
    pub fn while_frozen<T>(&self, copy: impl FnOnce() -> T) -> (Said, Window, T) {
        self.freeze();
        let frozen = Instant::now();
        let copied = copy();
        let window = Window { frozen, thaw_asked: Instant::now() };
        (self.json(&["thaw"]), window, copied)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.path("run/control.sock").exists() {
            self.call(&["thaw"]);
        }
    }
}

/// The recovery point that a workload left in its `ipc_folder`, or in a copy of that.
///
/// # Panics
/// When there is none.
pub fn recovery_point(ipc: &Path, workload: &str) -> Value {
    let file = ipc.join(format!("stillpoint.{workload}.recovery-point.json"));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn copy(bundle: &Path, to: &Path) {
    succeed(Command::new("cp").args(["--recursive", "--no-preserve=ownership"]).arg(bundle).arg(to), "");
}
