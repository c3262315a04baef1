//! The error numbers of Azure Backup's enhanced pre-post scripts, 500 to 512: who has rules for them keeps them.
//!
//! A number says less than our ids: it is told beside them, never instead. What has no counterpart there (trust, records,
//! filesystems, another cycle) has none here.

/// A phase before the freeze failed.
pub const PRE: u16 = 500;
/// The configuration is not understood.
pub const CONFIGURATION: u16 = 501;
/// The server is not what `role` or `enforceSlaveOnly` demands, or they contradict each other.
pub const ROLE: u16 = 502;
/// Nothing here serves this `workload_name`.
pub const WORKLOAD: u16 = 503;
/// A thaw failed.
pub const POST: u16 = 504;
/// The login may not do what is needed.
pub const AUTHORIZATION: u16 = 505;
/// The database was not reached.
pub const CONNECTION: u16 = 506;
/// `ipc_folder` cannot be used.
pub const IPC_FOLDER: u16 = 507;
/// The database did not come to a standstill.
pub const QUIESCE: u16 = 509;
/// It did not stand still until the snapshot was cut.
pub const NOT_HELD: u16 = 510;

/// The number that corresponds to a fault's stable id, whatever happened besides.
pub fn number(id: &str) -> Option<u16> {
    let (area, n) = id.strip_prefix("SP-")?.rsplit_once('-')?;
    Some(match (area, n.parse::<u16>().ok()?) {
        ("CFG", 8) | ("DB", 11) => AUTHORIZATION,
        ("CFG", 1..=19) => CONFIGURATION,
        ("ROLE", _) => ROLE,
        ("TRUST", 1) => WORKLOAD,
        ("DB", 1 | 2) | ("CLIENT", 1..=5) => CONNECTION,
        ("IPC", 1 | 2 | 10) => IPC_FOLDER,
        ("DB", 20) | ("MODULE", 3 | 5) | ("CYCLE", 12) => QUIESCE,
        ("CYCLE", 5 | 6) => POST,
        ("CYCLE", 3 | 11) => NOT_HELD,
        ("DB" | "MODULE" | "ENGINE", _) | ("IPC", 11) | ("GUARD", 2) | ("CYCLE", 1) => PRE,
        _ => return None,
    })
}

/// Takes the number off the end of what a module says, as in `the database is in NOARCHIVELOG mode (Azure: 511)`: only it
/// knows what 508, 511 and 512 mean in its database.
pub fn take(text: &mut String) -> Option<u16> {
    let said = text.trim_end_matches('.').strip_suffix(')')?;
    let (words, number) = said.rsplit_once("(Azure: ")?;
    let number = number.parse().ok().filter(|n| (500..=512).contains(n))?;
    text.truncate(words.trim_end().len());
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_may_name_the_number() {
        for (said, words, number) in [
            ("in NOARCHIVELOG mode (Azure: 511)", "in NOARCHIVELOG mode", Some(511)),
            ("in NOARCHIVELOG mode (Azure: 511).", "in NOARCHIVELOG mode", Some(511)),
            ("(Azure: 500)", "", Some(500)),
            ("it is so (Azure: 513)", "it is so (Azure: 513)", None),
            ("it is so (Azure: x)", "it is so (Azure: x)", None),
            ("(Azure: 511) or so", "(Azure: 511) or so", None),
            ("é)", "é)", None),
        ] {
            let mut text = said.to_owned();
            assert_eq!((take(&mut text), text.as_str()), (number, words), "{said}");
        }
    }

    /// One of each row of docs/coming-from-azure.md.
    #[test]
    fn an_id_stands_for_its_number() {
        for (id, expected) in [
            ("SP-DB-010", 500),
            ("SP-MODULE-001", 500),
            ("SP-IPC-011", 500),
            ("SP-CFG-001", 501),
            ("SP-CFG-012", 501),
            ("SP-ROLE-002", 502),
            ("SP-ROLE-003", 502),
            ("SP-TRUST-001", 503),
            ("SP-CYCLE-006", 504),
            ("SP-CFG-008", 505),
            ("SP-DB-011", 505),
            ("SP-DB-001", 506),
            ("SP-CLIENT-003", 506),
            ("SP-IPC-001", 507),
            ("SP-DB-020", 509),
            ("SP-MODULE-003", 509),
            ("SP-CYCLE-003", 510),
        ] {
            assert_eq!(number(id), Some(expected), "{id}");
        }
    }

    #[test]
    fn what_is_only_ours_has_no_number() {
        for id in ["SP-TRUST-004", "SP-CYCLE-007", "SP-FS-001", "SP-CFG-020", "SP-AUDIT-001", "nonsense", "SP-DB-"] {
            assert_eq!(number(id), None, "{id}");
        }
    }
}
