//! What an administrator lets a module do: one plain file for each, in `grants`, to be read, compared and kept under
//! version control. An update of the module that stays within it needs nobody's leave; one that does not is stopped.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::authority::{Authority, Change};
use super::{Verified, fault, sha256};
use crate::fault::Fault;
use crate::sys::{disk, ownership};

const LARGEST: u64 = 1024 * 1024;

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The version of this schema: 1.
    pub format: u32,
    /// The module's name.
    pub module: String,
    /// With what it was accepted: for people.
    pub accepted: Accepted,
    /// What it may do.
    pub authority: Authority,
}

/// With what a grant was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The version of the module.
    pub version: String,
    /// The SHA-256 of its manifest.
    pub manifest: String,
    /// The day.
    pub on: String,
}

impl Grant {
    /// All that this module asks for.
    pub fn of(module: &Verified) -> Grant {
        let accepted = Accepted {
            version: module.manifest().version.clone(),
            manifest: sha256(module.manifest_bytes()),
            on: jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date().to_string(),
        };
        let authority = Authority::of(module.manifest());
        Grant { format: 1, module: module.manifest().name.clone(), accepted, authority }
    }

    /// Reads a grant's text.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Grant, String> {
        let grant: Grant = toml::from_str(text).map_err(|e| e.to_string())?;
        if grant.format != 1 {
            return Err(format!("format = {} is not known", grant.format));
        }
        if !grant.module.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
            return Err(format!("{:?} is no name of a module", grant.module));
        }
        Ok(grant)
    }

    /// Its text.
    ///
    /// # Errors
    /// In words.
    pub fn text(&self) -> Result<String, String> {
        let head = format!("# All that this machine lets the module {} do.\n", self.module);
        toml::to_string_pretty(self).map(|text| head + &text).map_err(|e| e.to_string())
    }
}

/// Where the grant of this module lies.
pub fn path(grants: &Path, module: &str) -> PathBuf {
    grants.join(format!("{module}.toml"))
}

/// The grant of this module; `None` when it was never granted anything.
///
/// # Errors
/// `SP-TRUST-016`.
pub fn read(grants: &Path, module: &str) -> Result<Option<Grant>, Fault> {
    let path = path(grants, module);
    let refused = |why: String| {
        fault("SP-TRUST-016", format!("the grant {} cannot be used: {why}.", path.display()))
            .next("mend it, or remove it and install the module again")
    };
    let Some(bytes) = ownership::read(&path, LARGEST).map_err(|p| refused(p.to_string()))? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".into()))?;
    let grant = Grant::parse(&text).map_err(&refused)?;
    if grant.module == module { Ok(Some(grant)) } else { Err(refused(format!("it is for {}", grant.module))) }
}

/// What a module would be allowed beyond its grant; `None` when there is no grant.
///
/// # Errors
/// `SP-TRUST-016`.
pub fn wider(grants: &Path, module: &Verified) -> Result<Option<Vec<Change>>, Fault> {
    let grant = read(grants, &module.manifest().name)?;
    Ok(grant.map(|g| g.authority.wider(&Authority::of(module.manifest()))))
}

/// Whether a module may run here.
///
/// # Errors
/// `SP-TRUST-015`, `SP-TRUST-016`.
pub fn check(grants: &Path, module: &Verified) -> Result<(), Fault> {
    let (name, folder) = (&module.manifest().name, module.path().display());
    let install = format!("look at what it may do, and accept it:  stillpoint module install {folder}");
    match wider(grants, module)? {
        Some(wider) if wider.is_empty() => Ok(()),
        Some(wider) => {
            let places: Vec<&str> = wider.iter().map(|c| c.place.as_str()).collect();
            let what = format!("{name} wants more than it was granted: {}.", places.join("; "));
            Err(fault("SP-TRUST-015", what).next(install))
        }
        None => Err(fault("SP-TRUST-015", format!("nobody has granted {name} anything.")).next(install)),
    }
}

/// Writes the grant.
///
/// # Errors
/// `SP-TRUST-016`.
pub fn write(grants: &Path, grant: &Grant) -> Result<(), Fault> {
    let path = path(grants, &grant.module);
    let refused = |why: String| {
        fault("SP-TRUST-016", format!("the grant {} cannot be written: {why}.", path.display()))
            .next("see whether the folder can be written")
    };
    let text = grant.text().map_err(refused)?;
    std::fs::create_dir_all(grants).map_err(|e| refused(e.to_string()))?;
    disk::replace(&path, text.as_bytes()).map_err(|e| refused(e.to_string()))
}
