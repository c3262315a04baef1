//! All that a manifest lets a module do, without what it says about itself; and the difference between two of them.
//!
//! What is not known to be less is more: only what is taken away, or a bound that is drawn closer, stays within.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};
use stillpoint_contract::Manifest;
use stillpoint_contract::manifest::{
    Client, Column, Data, Identity, Interface, Limits, Logs, Needed, Parameter, Privileges, Recovery, Role, Session,
    Snapshot, Statement,
};

/// What a module may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The `workload_name`s it serves.
    pub workloads: Vec<String>,
    /// The world it was built for.
    pub world: String,
    /// What it imports of it.
    pub imports: Vec<Interface>,
    /// Under which kinds of snapshot it claims to be consistent.
    pub snapshots: Vec<Snapshot>,
    /// The client program.
    pub client: Client,
    /// How one running server is told from another.
    pub identity: Option<Identity>,
    /// Where the data lies.
    pub data: Data,
    /// Upper bounds, never above the host's own.
    pub limits: Limits,
    /// What a login needs.
    pub privileges: Option<Privileges>,
    /// How a replica is told.
    pub role: Option<Role>,
    /// The logs that are copied.
    pub logs: Option<Logs>,
    /// What it has people run to recover.
    pub recovery: Option<Recovery>,
    /// That it was never tried on a real server.
    pub untried: Option<String>,
    /// The sessions.
    pub sessions: BTreeMap<String, Session>,
    /// Every statement.
    pub statements: BTreeMap<String, Statement>,
}

/// One kind of authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The client's program.
    Program,
    /// The client's arguments, or how its credential reaches it.
    Argument,
    /// How the client is spoken to and understood.
    Client,
    /// An interface.
    Import,
    /// A statement.
    Statement,
    /// What a statement does, and how that is taken back and proved.
    Effect,
    /// A session.
    Session,
    /// A bound.
    Limit,
    /// What a login needs.
    Privilege,
    /// The commands that people are to run to recover.
    Recovery,
    /// What it claims about data, snapshots and servers.
    Claim,
    /// Which workloads it serves.
    Workload,
}

/// One difference between two authorities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Of which kind.
    pub kind: Kind,
    /// The statement, the session, the key in the manifest.
    pub place: String,
    /// What it was; `None` where nothing was.
    pub before: Option<String>,
    /// What it is; `None` where nothing is.
    pub after: Option<String>,
    /// Whether it lets the module do more than before.
    pub wider: bool,
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.wider { "MORE" } else { "less" };
        write!(f, "{sign}  {}", self.place)?;
        for (mark, text) in [('-', &self.before), ('+', &self.after)] {
            if let Some(text) = text {
                write!(f, "\n        {mark} {text}")?;
            }
        }
        Ok(())
    }
}

impl Authority {
    /// What this manifest grants itself.
    pub fn of(manifest: &Manifest) -> Authority {
        let Manifest { workloads, world, snapshots, client, identity, data, sessions, statements, .. } =
            manifest.clone();
        let Manifest { privileges, role, logs, recovery, untried, .. } = manifest.clone();
        let imports = manifest.wasm.as_ref().map(|w| w.imports.clone()).unwrap_or_default();
        let limits = manifest.limits.bounded();
        Authority {
            workloads,
            world,
            imports,
            snapshots,
            client,
            identity,
            data,
            limits,
            privileges,
            role,
            logs,
            recovery,
            untried,
            sessions,
            statements,
        }
    }

    /// What is different in `after`, in the order in which a reviewer reads.
    pub fn changes(&self, after: &Authority) -> Vec<Change> {
        let mut out = Vec::new();
        self.client_changes(after, &mut out);
        sets(Kind::Import, "[wasm] imports", &self.imports, &after.imports, &mut out);
        maps(&self.statements, &after.statements, |name, before, after| statement(name, before, after, &mut out));
        maps(&self.sessions, &after.sessions, |name, before, after| {
            whole(Kind::Session, &format!("session {name}"), before, after, &mut out);
        });
        self.limit_changes(after, &mut out);
        self.privilege_changes(after, &mut out);
        sets(Kind::Claim, "snapshots", &self.snapshots, &after.snapshots, &mut out);
        sets(Kind::Workload, "workloads", &self.workloads, &after.workloads, &mut out);
        changed(Kind::Claim, "world", &self.world, &after.world, true, &mut out);
        // Without it an undo is run also against a server that was restarted since.
        changed(Kind::Claim, "[identity]", &self.identity, &after.identity, true, &mut out);
        changed(Kind::Claim, "[data] paths", &self.data.paths, &after.data.paths, true, &mut out);
        changed(Kind::Claim, "[data] process", &self.data.process, &after.data.process, true, &mut out);
        changed(Kind::Claim, "[data] durable", &self.data.durable, &after.data.durable, true, &mut out);
        // Where nothing is held the agent may snapshot all the same.
        changed(Kind::Claim, "[data.unheld]", &self.data.unheld, &after.data.unheld, true, &mut out);
        changed(Kind::Claim, "[role]", &self.role, &after.role, true, &mut out);
        // Which files the host reads, and copies.
        changed(Kind::Claim, "[logs]", &self.logs, &after.logs, true, &mut out);
        changed(Kind::Claim, "untried", &self.untried, &after.untried, after.untried.is_none(), &mut out);
        let recovery = (&self.recovery, &after.recovery);
        changed(Kind::Recovery, "[recovery]", recovery.0, recovery.1, after.recovery.is_some(), &mut out);
        out
    }

    /// What `after` could do beyond this. Empty: it is within.
    pub fn wider(&self, after: &Authority) -> Vec<Change> {
        self.changes(after).into_iter().filter(|c| c.wider).collect()
    }

    fn client_changes(&self, after: &Authority, out: &mut Vec<Change>) {
        let (a, b) = (&self.client, &after.client);
        // The first program that is found is used, so their order means something.
        let mut left = a.programs.iter();
        let within = b.programs.iter().all(|p| left.any(|q| q == p));
        changed(Kind::Program, "[client] programs", &a.programs, &b.programs, !within, out);
        changed(Kind::Argument, "[client] arguments", &a.arguments, &b.arguments, true, out);
        changed(Kind::Argument, "[client.login]", &a.login, &b.login, true, out);
        // To give it up is more, and another text is another statement: also where there was none.
        changed(Kind::Client, "[client] read_only", &a.read_only, &b.read_only, true, out);
        changed(Kind::Client, "[client] mode", &a.mode, &b.mode, true, out);
        changed(Kind::Client, "[client] end", &a.end, &b.end, true, out);
        changed(Kind::Client, "[client] tag", &a.tag, &b.tag, true, out);
        changed(Kind::Client, "[client] rows", &a.rows, &b.rows, true, out);
        changed(Kind::Client, "[client] error", &a.error, &b.error, true, out);
        changed(Kind::Client, "[client] errors", &a.errors, &b.errors, true, out);
        changed(Kind::Argument, "[client] environment", &a.environment, &b.environment, true, out);
        changed(Kind::Client, "[client] setup", &a.setup, &b.setup, true, out);
        changed(Kind::Client, "[client] lost", &a.lost, &b.lost, true, out);
        let quotes = (&a.identifier_quote, &b.identifier_quote);
        changed(Kind::Client, "[client] identifier_quote", quotes.0, quotes.1, true, out);
    }

    fn limit_changes(&self, after: &Authority, out: &mut Vec<Change>) {
        let Limits { memory_mib, prepare_seconds, thaw_seconds, rows, answer_kib, state_kib, events, log_lines } =
            self.limits;
        let b = &after.limits;
        for (name, before, after) in [
            ("memory_mib", memory_mib, b.memory_mib),
            ("prepare_seconds", prepare_seconds, b.prepare_seconds),
            ("thaw_seconds", thaw_seconds, b.thaw_seconds),
            ("rows", rows, b.rows),
            ("answer_kib", answer_kib, b.answer_kib),
            ("state_kib", state_kib, b.state_kib),
            ("events", events, b.events),
            ("log_lines", log_lines, b.log_lines),
        ] {
            changed(Kind::Limit, &format!("[limits] {name}"), &before, &after, after > before, out);
        }
    }

    fn privilege_changes(&self, after: &Authority, out: &mut Vec<Change>) {
        let none = Privileges { make: Vec::new(), needed: BTreeMap::new(), usual: Vec::new(), held: None };
        let (a, b) = (self.privileges.as_ref().unwrap_or(&none), after.privileges.as_ref().unwrap_or(&none));
        sets(Kind::Privilege, "[privileges] make", &a.make, &b.make, out);
        maps(&a.needed, &b.needed, |name, before, after| {
            // The rest is words for people. What older servers call it is no excess there, so it counts.
            let names = |n: Option<&Needed>| n.map(|n| n.before.clone());
            if names(before) != names(after) {
                whole(Kind::Privilege, &format!("privilege {name}"), before, after, out);
            }
        });
        sets(Kind::Privilege, "[privileges] usual", &a.usual, &b.usual, out);
        changed(Kind::Privilege, "[privileges] held", &a.held, &b.held, true, out);
    }
}

/// One statement that differs, is new or is gone.
fn statement(name: &str, before: Option<&Statement>, after: Option<&Statement>, out: &mut Vec<Change>) {
    let place = format!("statement {name}");
    let (Some(a), Some(b)) = (before, after) else {
        return whole(Kind::Statement, &place, before, after, out);
    };
    let of = |what: &str| format!("{place}: {what}");
    changed(Kind::Statement, &of("text"), &a.text, &b.text, true, out);
    changed(Kind::Statement, &of("session"), &a.session, &b.session, true, out);
    maps(&a.parameters, &b.parameters, |parameter, before, after| {
        let within = matches!((before, after), (Some(a), Some(b)) if is_within(a, b));
        changed(Kind::Statement, &of(&format!("parameter {parameter}")), &before, &after, !within, out);
    });
    // What it gives back stands in its text, and this is only how it is read; but rows of another number of columns were
    // refused before, and now reach the module; what is kept leaves the machine with the record; and of a reply a column's name
    // is what is asked for.
    let is_kept = |(a, b): (&Column, &Column)| b.keep && !a.keep;
    let is_new = |column: &Column| a.columns.iter().all(|before| before.name != column.name);
    let more = a.columns.len() != b.columns.len()
        || a.columns.iter().zip(&b.columns).any(is_kept)
        || b.columns.iter().any(is_new);
    changed(Kind::Statement, &of("columns"), &a.columns, &b.columns, more, out);
    // Whatever it was: a read may be run at any time, by the module, and has no undo.
    changed(Kind::Effect, &of("effect"), &a.effect, &b.effect, true, out);
    changed(Kind::Effect, &of("stops"), &a.stops, &b.stops, true, out);
    changed(Kind::Effect, &of("lasts"), &a.lasts, &b.lasts, true, out);
    changed(Kind::Effect, &of("undo"), &a.undo, &b.undo, true, out);
    changed(Kind::Effect, &of("holds"), &a.holds, &b.holds, true, out);
    changed(Kind::Effect, &of("or_holds"), &a.or_holds, &b.or_holds, b.or_holds.is_some(), out);
    changed(Kind::Effect, &of("recoverable"), &a.recoverable, &b.recoverable, b.recoverable, out);
    // Without, it counts under all kinds.
    let more = b.snapshots.is_empty() || b.snapshots.iter().any(|kind| !a.snapshots.contains(kind));
    let more = more && !a.snapshots.is_empty();
    changed(Kind::Effect, &of("snapshots"), &a.snapshots, &b.snapshots, more, out);
    // Of what is said to be somebody else's nothing is taken back.
    changed(Kind::Effect, &of("foreign"), &a.foreign, &b.foreign, b.foreign.is_some(), out);
}

/// Whether every argument that `b` takes is one that `a` takes.
fn is_within(a: &Parameter, b: &Parameter) -> bool {
    match (a, b) {
        (Parameter::Integer { from, to }, Parameter::Integer { from: f, to: t }) => f >= from && t <= to,
        (Parameter::Text { most }, Parameter::Text { most: m })
        | (Parameter::Bytes { most }, Parameter::Bytes { most: m }) => m <= most,
        _ => a == b,
    }
}

fn changed<T: Serialize + PartialEq>(
    kind: Kind,
    place: &str,
    before: &T,
    after: &T,
    wider: bool,
    out: &mut Vec<Change>,
) {
    if before != after {
        let (before, after) = (Some(words(before)), Some(words(after)));
        out.push(Change { kind, place: place.into(), before, after, wider });
    }
}

/// Something that is more when it is there, and more when it is another.
fn whole<T: Serialize + PartialEq>(
    kind: Kind,
    place: &str,
    before: Option<&T>,
    after: Option<&T>,
    out: &mut Vec<Change>,
) {
    if before != after {
        let wider = after.is_some();
        out.push(Change { kind, place: place.into(), before: before.map(words), after: after.map(words), wider });
    }
}

/// What came is more, what went is less.
fn sets<T: Serialize + PartialEq>(kind: Kind, place: &str, before: &[T], after: &[T], out: &mut Vec<Change>) {
    for gone in before.iter().filter(|v| !after.contains(v)) {
        out.push(Change { kind, place: place.into(), before: Some(words(gone)), after: None, wider: false });
    }
    for new in after.iter().filter(|v| !before.contains(v)) {
        out.push(Change { kind, place: place.into(), before: None, after: Some(words(new)), wider: true });
    }
}

/// Each name that is in either.
fn maps<T>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    mut each: impl FnMut(&str, Option<&T>, Option<&T>),
) {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        each(name, before.get(name), after.get(name));
    }
}

/// A value for people: text as it is, everything else as JSON, without what is not set.
fn words<T: Serialize>(value: &T) -> String {
    fn bare(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(map) => {
                map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, bare(v))).collect()
            }
            other => other,
        }
    }
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Null) => "nothing".into(),
        Ok(other) => bare(other).to_string(),
        Err(e) => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = include_str!("test-manifest.toml");

    fn of(text: &str) -> Authority {
        let imports = "\n[wasm]\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\nsize = 1\n\
                       compiler = \"\"\nimports = [\"database\", \"log\"]\n";
        let text = if text.contains("[wasm]") { text.into() } else { format!("{text}{imports}") };
        Authority::of(&Manifest::parse(&text).unwrap())
    }

    fn changes(from: &str, to: &str) -> Vec<Change> {
        assert!(MANIFEST.contains(from), "the test replaces what is not there: {from}");
        of(MANIFEST).changes(&of(&MANIFEST.replacen(from, to, 1)))
    }

    #[test]
    fn what_is_more_is_told_and_what_is_less_is_within() {
        for (from, to, wider, kind, place) in [
            ("version = \"1.0.0\"", "version = \"1.0.1\"", None, Kind::Claim, ""),
            ("programs = [\"some\"]", "programs = [\"some\", \"sh\"]", Some(true), Kind::Program, "programs"),
            ("arguments = []", "arguments = [\"-v\"]", Some(true), Kind::Argument, "arguments"),
            ("SELECT @@datadir", "SELECT @@tmpdir", Some(true), Kind::Statement, "statement datadir: text"),
            ("from = 1, to = 60", "from = 2, to = 59", Some(false), Kind::Statement, "parameter seconds"),
            ("from = 1, to = 60", "from = 1, to = 61", Some(true), Kind::Statement, "parameter seconds"),
            ("from = 1, to = 60", "from = 0, to = 60", Some(true), Kind::Statement, "parameter seconds"),
            ("stops = \"writes\"", "stops = \"ddl\"", Some(true), Kind::Effect, "stops"),
            ("lasts = \"session\"", "lasts = \"disk\"", Some(true), Kind::Effect, "lasts"),
            ("[\"atomic\"]", "[\"atomic\", \"files\"]", Some(true), Kind::Claim, "snapshots"),
            ("[\"atomic\"]", "[]", Some(false), Kind::Claim, "snapshots"),
            ("[data]", "[limits]\nmemory_mib = 17\n[data]", Some(true), Kind::Limit, "memory_mib"),
            ("[data]", "[limits]\nmemory_mib = 8\n[data]", Some(false), Kind::Limit, "memory_mib"),
            ("[sessions.main]", "[sessions.main]\n[sessions.other]", Some(true), Kind::Session, "session other"),
            (
                "[data]",
                "[privileges]\nmake = [\"GRANT ALL\"]\nneeded = {}\n[data]",
                Some(true),
                Kind::Privilege,
                "make",
            ),
        ] {
            let changes = changes(from, to);
            assert_eq!(changes.len(), usize::from(wider.is_some()), "{from} → {to}: {changes:?}");
            for change in changes {
                assert_eq!((Some(change.wider), change.kind), (wider, kind), "{from} → {to}: {change}");
                assert!(change.place.contains(place), "{change}");
            }
        }
    }

    /// What looks like less, and lets the module do what it could not.
    #[test]
    fn what_only_looks_like_less_is_more() {
        let both = |from: &str, a: &str, b: &str| {
            assert!(MANIFEST.contains(from), "the test replaces what is not there: {from}");
            let with = |text: &str| of(&MANIFEST.replacen(from, text, 1));
            with(a).wider(&with(b)).into_iter().map(|c| c.place).collect::<Vec<_>>()
        };
        // A text that is sent before all others.
        let read_only = "end = \";\"\nread_only = \"DROP DATABASE app\"";
        assert_eq!(both("end = \";\"", "end = \";\"", read_only), ["[client] read_only"]);
        assert_eq!(both("end = \";\"", read_only, "end = \";\""), ["[client] read_only"]);
        // A read may be run at any time, and not by the host alone.
        for effect in ["change", "undo", "session"] {
            let with = |effect| {
                format!("[statements.x]\nsession = \"main\"\ntext = \"X\"\neffect = \"{effect}\"\n[statements.datadir]")
            };
            assert_eq!(both("[statements.datadir]", &with(effect), &with("read")), ["statement x: effect"]);
        }
        // Rows that were refused.
        let columns = "type = \"text\" }";
        let two = format!("{columns}, {{ name = \"b\", type = \"text\" }}");
        assert_eq!(both(columns, columns, &two), ["statement datadir: columns"]);
        let own = |kind| {
            let columns = format!("columns = [{{ name = \"a\", type = \"{kind}\" }}]");
            format!(
                "[statements.x]\nsession = \"main\"\ntext = \"X\"\n{columns}\neffect = \"read\"\n[statements.datadir]"
            )
        };
        assert_eq!(both("[statements.datadir]", &own("text"), &own("integer")), [""; 0]);
        // Of a reply that is another question.
        let other = own("text").replace("name = \"a\"", "name = \"b\"");
        assert_eq!(both("[statements.datadir]", &own("text"), &other), ["statement x: columns"]);
        let kept = own("text").replace("\"text\"", "\"text\", keep = true");
        assert_eq!(both("[statements.datadir]", &own("text"), &kept), ["statement x: columns"]);
        assert_eq!(both("[statements.datadir]", &kept, &own("text")), [""; 0]);
        // The proof that it is still the same server.
        let identity = "[identity]\nstatement = \"datadir\"\n[data]";
        assert_eq!(both("[data]", identity, "[data]"), ["[identity]"]);
        // Another name for what is no excess.
        let needed = |before| {
            format!("[privileges]\nmake = []\nheld = \"datadir\"\nneeded = {{ A = {{ why = \"b\"{before} }} }}\n[data]")
        };
        assert_eq!(both("[data]", &needed(""), &needed(", before = \"SUPER\"")), ["privilege A"]);
    }

    #[test]
    fn a_limit_above_the_hosts_own_is_no_more() {
        let (a, b) = ("[data]", "[limits]\nrows = 100000\n[data]");
        let at = of(&MANIFEST.replacen(a, b, 1));
        let above = of(&MANIFEST.replacen(a, "[limits]\nrows = 100001\n[data]", 1));
        assert!(at.changes(&above).is_empty());
    }

    #[test]
    fn a_grant_can_be_written_and_read() {
        let authority = of(MANIFEST);
        let text = toml::to_string_pretty(&authority).unwrap();
        assert_eq!(toml::from_str::<Authority>(&text).unwrap(), authority, "{text}");
    }
}
