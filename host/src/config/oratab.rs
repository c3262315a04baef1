//! A list of instances, as Oracle keeps it in `/etc/oratab`: `SID:HOME:Y` or `SID:HOME:N` on a line, one workload for each.
//!
//! Whether the last field says Y or N is about starting at boot, and not about backups: both are taken. What is no
//! database's instance is passed over: `+ASM`, `-MGMTDB`, and `*`, which stands for none.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Which of several instances on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// As its server calls it: `ORACLE_SID`.
    pub name: String,
    /// The folder of its programs: `ORACLE_HOME`.
    pub home: PathBuf,
    /// The user id that owns the server's program there.
    pub owner: u32,
}

/// A line that cannot be used, counted from 1, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which.
    pub line: usize,
    /// In words.
    pub why: String,
}

impl Wrong {
    /// Its place in this text, quoted as a mistake in the configuration is.
    pub fn excerpt(&self, path: &Path, text: &str) -> String {
        let line: String =
            text.lines().nth(self.line.saturating_sub(1)).unwrap_or_default().chars().take(160).collect();
        let margin = " ".repeat(self.line.to_string().len());
        format!("  --> {}:{}:1\n{} | {}\n{margin} | ^", path.display(), self.line, self.line, line.trim_end())
    }
}

/// The name and the home of an instance, each with its line.
pub fn lines(text: &str) -> Vec<Result<(usize, String, PathBuf), Wrong>> {
    let mut out: Vec<Result<(usize, String, PathBuf), Wrong>> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        // Oracle's own tools write remarks behind a line.
        let said = line.split('#').next().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        let mut fields = said.split(':').map(str::trim);
        let (name, home, start) = (fields.next().unwrap_or_default(), fields.next(), fields.next());
        if name.starts_with(['+', '-', '*']) {
            continue;
        }
        let wrong = |why: &str| Err(Wrong { line: number, why: why.to_owned() });
        out.push(match (home.map(PathBuf::from), start) {
            (Some(_), None) | (None, _) => wrong("it is not  SID:HOME:Y  or  SID:HOME:N"),
            (Some(_), Some(start)) if !["Y", "N", "W"].iter().any(|w| start.eq_ignore_ascii_case(w)) => {
                wrong("its last field is none of Y, N and W")
            }
            _ if !is_name(name) => wrong("an instance's name is 1 to 30 of letters, digits and _"),
            (Some(home), _) if !is_plain(&home) => wrong("its home is no whole path of plain letters"),
            (Some(home), _) => {
                let before = out.iter().flatten().find(|(_, n, h)| *n == name && *h == home).map(|(line, ..)| *line);
                match before {
                    Some(line) => Err(Wrong { line: number, why: format!("it is the same as line {line}") }),
                    None => Ok((number, name.to_owned(), home)),
                }
            }
        });
    }
    out
}

/// Of this name in this home.
///
/// # Errors
/// In words.
pub fn instance(name: &str, home: &Path) -> Result<Instance, String> {
    if !is_name(name) {
        return Err("an instance's name is 1 to 30 of letters, digits and _".into());
    }
    if !is_plain(home) {
        return Err("a home is a whole path of plain letters".into());
    }
    let program = home.join("bin/oracle");
    let meta =
        std::fs::metadata(&program).map_err(|e| format!("there is no server's program {}: {e}", program.display()))?;
    Ok(Instance { name: name.to_owned(), home: home.to_owned(), owner: meta.uid() })
}

fn is_name(name: &str) -> bool {
    (1..=30).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// It becomes a variable of an environment, in which Oracle replaces `?`, `@` and `$`.
fn is_plain(home: &Path) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    home.is_absolute() && home.to_str().is_some_and(|h| h.chars().all(plain) && !h.contains("/../"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_an_oratab_are_understood() {
        let text = "#\n# a remark\n\norcl:/u01/db:N\t\t# line added by Agent\n+ASM:/u01/grid:N\n*:/u01/db:N\n hr : /u02/db : Y \n\
                    -MGMTDB:/u01/grid:N\n";
        let all: Vec<_> = lines(text).into_iter().map(Result::unwrap).collect();
        assert_eq!(all, [(4, "orcl".into(), "/u01/db".into()), (7, "hr".into(), "/u02/db".into())]);
    }

    #[test]
    fn what_is_no_line_is_told_with_its_place() {
        for (line, why) in [
            ("orcl", "SID:HOME:Y"),
            ("orcl:/u01/db", "SID:HOME:Y"),
            ("orcl:/u01/db:X", "Y, N and W"),
            ("or cl:/u01/db:N", "instance's name"),
            (":/u01/db:N", "instance's name"),
            ("orcl:u01:N", "whole path"),
            ("orcl:/u01/$(id):N", "whole path"),
            ("orcl:/u01/../x:N", "whole path"),
        ] {
            let text = format!("a:/u:Y\n{line}\n");
            let wrong = lines(&text).remove(1).unwrap_err();
            assert!(wrong.line == 2 && wrong.why.contains(why), "{line}: {wrong:?}");
            assert!(wrong.excerpt(Path::new("/etc/oratab"), &text).contains(&format!("/etc/oratab:2:1\n2 | {line}")));
        }
        let twice = lines("a:/u:Y\n\na:/u:N\n").remove(1).unwrap_err();
        assert!(twice.why.contains("line 1"), "{twice:?}");
    }
}
