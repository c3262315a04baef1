//! `[logbackup]`: where closed logs are copied to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ini::Properties;

use super::key;
use super::place::At;
use super::section::{Reader, named};

/// The name of the section.
pub const HEADING: &str = "logbackup";

impl Reader<'_> {
    /// Reads the section; what is wrong in it is told.
    pub(super) fn log_destination(&mut self, properties: &Properties) -> Option<PathBuf> {
        let mut values = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (written, value) in properties.iter() {
            let known = key::LOG_BACKUP.into_iter().find(|k| k.eq_ignore_ascii_case(written));
            if !seen.insert(written.to_ascii_lowercase()) {
                let what = format!("{} is there twice.", named(written));
                self.wrong_log_backup("SP-CFG-004", what, At::Key(written), "keep one of them");
            } else if let Some(known) = known {
                values.insert(known, value.trim());
            } else {
                let what = format!("{} is unknown in [{HEADING}].", named(written));
                let next = format!("known are {}", key::LOG_BACKUP.join(", "));
                self.wrong_log_backup("SP-CFG-003", what, At::Key(written), &next);
            }
        }
        let get = |key: &str| values.get(key).copied().filter(|v| !v.is_empty());
        if get("parameterFilePath").is_some() {
            let what = "parameterFilePath is not read: the server itself is asked where its closed logs are.";
            self.otherwise("parameterFilePath", what, "the line can be removed");
        }
        if get("crontabLocation").is_some() {
            let what = "crontabLocation is not read: nothing here is written into a crontab, a systemd timer does it.";
            let next =
                "systemctl enable --now stillpoint-log-backup.timer, and remove OracleLogBackup from the crontab";
            self.otherwise("crontabLocation", what, next);
        }
        let Some(destination) = get("baseLocation").map(PathBuf::from) else {
            let what = "baseLocation is missing: the folder that logs are copied to.".into();
            let next = "such as  baseLocation = /mnt/logs  or remove the section";
            self.wrong_log_backup("SP-CFG-006", what, At::Key("baseLocation"), next);
            return None;
        };
        if !destination.is_absolute() {
            let what = "baseLocation must be an absolute path.".into();
            self.wrong_log_backup("SP-CFG-005", what, At::Value("baseLocation"), "begin it with  /");
            return None;
        }
        if destination.to_str().is_none_or(|path| path.contains(" #") || path.contains(" ;")) {
            let what = "baseLocation goes on to the end of its line.".into();
            self.wrong_log_backup("SP-CFG-005", what, At::Value("baseLocation"), "write a remark on a line of its own");
            return None;
        }
        Some(destination.components().collect())
    }

    fn wrong_log_backup(&mut self, id: &str, what: String, at: At<'_>, next: &str) {
        let fault = self.fault(id, what, Some(HEADING), at, next);
        self.faults.push(fault);
    }

    /// A key that Azure's own log backup needs, and ours does without.
    fn otherwise(&mut self, key: &str, what: &str, next: &str) {
        let fault = self.fault("SP-CFG-022", what.into(), Some(HEADING), At::Key(key), next);
        self.warnings.push(fault);
    }
}
