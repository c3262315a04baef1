//! What this build knows of a database's language, chosen by the client's program and never by a word of the manifest.
//!
//! A statement is read as tokens, so neither case nor space nor comments nor quotes hide a name. What is in no list is
//! not called harmless: it is said to be unknown. What stays out of sight: views, triggers, operators and functions that
//! somebody defined in the database under the name of one that is known.

mod known;
mod token;

use stillpoint_contract::manifest::{Client, Effect, Manifest, Parameter, Statement, UndoArgument};

use super::finding::Severity;
pub use known::{Freeze, INTERPRETERS, Language};
pub use token::{Token, tokens};

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `sqlite3`.
    Sqlite,
    /// `mariadb`, `mysql`.
    MySql,
    /// `psql`.
    Postgres,
    /// `sqlplus`.
    Oracle,
    /// `redis-cli`, `valkey-cli`.
    Redis,
    /// `isql-fb`.
    Firebird,
    /// Nothing is known of it.
    Unknown,
}

/// What a statement was found to be.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What speaks against what is declared.
    pub doubts: Vec<(Severity, String)>,
}

impl Judgement {
    fn say(&mut self, severity: Severity, words: impl Into<String>) {
        let words = words.into();
        if !self.doubts.iter().any(|(_, w)| *w == words) {
            self.doubts.push((severity, words));
        }
    }

    fn danger(&mut self, words: impl Into<String>) {
        self.say(Severity::Danger, words);
    }

    fn look(&mut self, words: impl Into<String>) {
        self.say(Severity::Look, words);
    }
}

impl Dialect {
    /// Of the programs that a client may be: the one that all of them speak.
    pub fn of(client: &Client) -> Dialect {
        let mut all = client.programs.iter().map(|p| Dialect::of_program(p));
        let first = all.next().unwrap_or(Dialect::Unknown);
        if all.all(|d| d == first) { first } else { Dialect::Unknown }
    }

    /// Of one program.
    pub fn of_program(program: &str) -> Dialect {
        known::CLIENTS.iter().find(|(name, _)| *name == program).map_or(Dialect::Unknown, |(_, d)| *d)
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Sqlite => "SQLite",
            Dialect::MySql => "MariaDB and MySQL",
            Dialect::Postgres => "PostgreSQL",
            Dialect::Oracle => "Oracle",
            Dialect::Redis => "Redis",
            Dialect::Firebird => "Firebird",
            Dialect::Unknown => "unknown",
        }
    }

    /// What is known of it.
    pub fn language(self) -> &'static Language {
        match self {
            Dialect::Sqlite => &known::SQLITE,
            Dialect::MySql => &known::MYSQL,
            Dialect::Postgres => &known::POSTGRES,
            Dialect::Oracle => &known::ORACLE,
            Dialect::Redis => &known::REDIS,
            Dialect::Firebird => &known::FIREBIRD,
            Dialect::Unknown => &known::UNKNOWN,
        }
    }

    /// Whether the text is one of these forms, token by token.
    pub fn is_one_of(self, text: &str, forms: &[&str]) -> bool {
        tokens(self, text).is_ok_and(|t| is_one_of(&t, forms))
    }

    /// The freeze that this text is known to be.
    pub fn freeze(self, text: &str) -> Option<&'static Freeze> {
        self.language().freezes.iter().find(|f| self.is_one_of(text, &[f.form]))
    }

    /// Whether the answer to this text comes without asking the database for anything of its own.
    pub fn is_constant(self, text: &str) -> bool {
        let Ok(tokens) = tokens(self, text) else { return false };
        let tokens: Vec<Token> = tokens.into_iter().filter(|t| !matches!(t, Token::Comment { .. })).collect();
        let begins = tokens.first().is_some_and(|t| ["select", "values", "do"].iter().any(|w| t.is(w)));
        // Tables of one row, for databases that want one.
        let rest = match tokens.as_slice() {
            [rest @ .., from, table] if from.is("from") && (table.is("dual") || table.is("rdb$database")) => rest,
            all => all,
        };
        let mut named = false;
        begins
            && rest.iter().skip(1).all(|t| {
                let alias = std::mem::replace(&mut named, t.is("as"));
                match t {
                    Token::Word(w) => {
                        alias || ["as", "null", "true", "false", "and", "or", "not", "is", "distinct"].contains(&&**w)
                    }
                    Token::Name(_) => alias,
                    _ => true,
                }
            })
    }

    /// What speaks against a declared statement.
    pub fn judge(self, manifest: &Manifest, statement: &Statement) -> Judgement {
        let mut out = self.judge_text(&statement.text, statement.effect);
        if statement.effect == Effect::Freeze {
            self.judge_freeze(manifest, statement, &mut out);
        }
        // What Redis calls by name in a form that is known is a login.
        let named = self == Dialect::Redis && self.is_one_of(&statement.text, self.language().read_forms);
        for (name, parameter) in &statement.parameters {
            if *parameter == Parameter::Identifier && !named {
                out.look(format!(
                    "{{{name}}} is a name: the module chooses, while it runs, which table or setting it is"
                ));
            }
        }
        out
    }

    /// What speaks against a text of this effect.
    pub fn judge_text(self, text: &str, effect: Effect) -> Judgement {
        let mut out = Judgement::default();
        if !text.is_ascii() {
            out.danger("letters beyond ASCII: they can look like others");
        }
        if text.contains('\\') {
            out.danger(
                "a backslash: clients take it for a command (\\! runs a shell), and not every server reads it alike",
            );
        }
        if self == Dialect::Unknown {
            return out;
        }
        let all = match tokens(self, text) {
            Ok(all) => all,
            Err(why) => {
                out.danger(format!("it cannot be read to its end: {why}"));
                return out;
            }
        };
        if all.contains(&Token::Comment { runs: true }) {
            out.danger("a comment whose content is run");
        }
        if all.contains(&Token::Comment { runs: false }) {
            out.look("a comment within the text: a reviewer's place for words is above the statement");
        }
        let all: Vec<Token> = all.into_iter().filter(|t| !matches!(t, Token::Comment { .. })).collect();
        if all.contains(&Token::Mark(';')) {
            out.danger("it is more than one statement");
        }
        self.judge_verb(&all, effect, &mut out);
        out
    }

    fn judge_verb(self, all: &[Token], effect: Effect, out: &mut Judgement) {
        let language = self.language();
        let verb = match all.first() {
            Some(Token::Word(verb)) => verb.as_str(),
            _ => "",
        };
        let shown = verb.to_uppercase();
        if language.client.contains(&verb) {
            out.danger(format!("{shown} is a command of the client, and no statement"));
            return;
        }
        let known = |forms: &[&str]| is_one_of(all, forms);
        let freezes = || language.freezes.iter().any(|f| known(&[f.form]));
        match effect {
            Effect::Freeze if freezes() => return,
            Effect::Undo if language.freezes.iter().any(|f| known(f.undo)) => return,
            Effect::Change if known(language.changes) => return,
            Effect::Flush if known(language.flushes) => return,
            Effect::Cancel if known(language.cancels) => return,
            Effect::Session if known(language.session_forms) => return,
            Effect::Read if known(language.read_forms) => return,
            Effect::Session if self == Dialect::Sqlite && verb == "pragma" => {
                return self.judge_pragma(all, effect, out);
            }
            Effect::Session if verb == "set" => return self.judge_settings(all, out),
            _ => {}
        }
        if self == Dialect::Sqlite && verb == "pragma" {
            return self.judge_pragma(all, effect, out);
        }
        self.judge_names(all, out);
        if freezes() {
            out.danger(format!("declared {}, and it freezes", word(effect)));
        } else if language.broad.contains(&verb) {
            out.danger(format!("{shown} does more than a backup needs, and more than {} says", word(effect)));
        } else if effect == Effect::Read {
            if language.reads.contains(&verb) {
                self.judge_read(all, out);
            } else {
                out.danger(format!("declared read, and {shown} is not known as one"));
            }
        } else if verb == "set" {
            self.judge_settings(all, out);
        } else if language.reads.contains(&verb) {
            self.judge_read(all, out);
            if effect == Effect::Undo {
                out.danger(format!("declared undo, and {shown} undoes nothing that this build knows"));
            } else {
                out.look(format!("declared {}, and {shown} looks like a read", word(effect)));
            }
        } else if effect != Effect::Freeze {
            // Of a freeze more is said where its undo and its proof are looked at.
            out.look(format!("declared {}, and this build does not know it", word(effect)));
        }
    }

    /// Names of functions with effects anywhere, and functions that are not known.
    fn judge_names(self, all: &[Token], out: &mut Judgement) {
        let language = self.language();
        for (i, token) in all.iter().enumerate() {
            let called = all.get(i + 1) == Some(&Token::Mark('('));
            if called && let Token::Parameter(name) = token {
                out.danger(format!("calls whichever function the module names as {{{name}}}"));
            }
            let Some(name) = token.name() else { continue };
            let shown = name.to_uppercase();
            if let Some((_, does, severity)) = language.effects.iter().find(|(f, ..)| *f == name) {
                out.say(*severity, format!("{shown} {does}"));
            } else if self == Dialect::Oracle && ["dbms_", "utl_", "owa_"].iter().any(|p| name.starts_with(p)) {
                out.danger(format!("{shown} is a package that can reach files, machines or rights"));
            } else if name.starts_with("dblink") || name.starts_with("sys_") && self == Dialect::MySql {
                out.danger(format!("{shown} is of a family that reaches out of the database"));
            } else if let Some(pragma) = name.strip_prefix("pragma_").filter(|_| self == Dialect::Sqlite) {
                if !known::PRAGMAS.contains(&pragma) && !known::PRAGMAS_OF_A_TABLE.contains(&pragma) {
                    out.danger(format!(
                        "PRAGMA {}, read as a table, is not known to answer and no more",
                        pragma.to_uppercase()
                    ));
                }
            } else if called {
                let qualified = i > 0 && all[i - 1] == Token::Mark('.');
                let keyword = matches!(token, Token::Word(w) if BEFORE_PARENTHESIS.contains(&w.as_str()));
                // A table's name and its alias are followed by columns in WITH and AS alone.
                let own = !qualified && (keyword || language.harmless.contains(&name));
                if qualified && all.get(i.wrapping_sub(2)).and_then(Token::name) != Some("pg_catalog") {
                    out.look(format!("calls {shown} of a schema, which this build does not know"));
                } else if !own && !language.harmless.contains(&name) {
                    out.look(format!("calls {shown}, which this build does not know"));
                }
            }
        }
    }

    /// Clauses that make a read write, lock or execute, and what it reads.
    fn judge_read(self, all: &[Token], out: &mut Judgement) {
        for (i, token) in all.iter().enumerate() {
            let Token::Word(word) = token else { continue };
            let next = all.get(i + 1);
            let after_name = i > 0 && all[i - 1] == Token::Mark('.');
            let followed = |w: &str| next.is_some_and(|t| t.is(w));
            let is_call = next == Some(&Token::Mark('('));
            let words = match word.as_str() {
                _ if after_name && word != "nextval" => continue,
                "into" => "INTO writes what it reads: into a file, a table or a variable".to_owned(),
                "outfile" | "dumpfile" => format!("{} writes a file of the server's machine", word.to_uppercase()),
                "for" if ["update", "share", "no", "key"].iter().any(|w| followed(w)) => {
                    "FOR UPDATE and FOR SHARE lock what they read".into()
                }
                "lock" if followed("in") => "LOCK IN SHARE MODE locks what it reads".into(),
                "replace" | "insert" | "set" if is_call => continue,
                "insert" | "update" | "delete" | "merge" | "replace" | "truncate" | "drop" | "create" | "alter" => {
                    format!("{} within a read", word.to_uppercase())
                }
                "analyze" | "analyse" if i > 0 => "EXPLAIN ANALYZE runs what it explains".into(),
                "call" | "execute" | "prepare" | "procedure" | "handler" | "immediate" | "copy" | "grant" => {
                    format!("{} within a read", word.to_uppercase())
                }
                "next" | "previous" if followed("value") => "NEXT VALUE moves a sequence".into(),
                "nextval" => "NEXTVAL moves a sequence".into(),
                "uescape" => "UESCAPE: letters are written as numbers".into(),
                _ if word.starts_with(|c: char| c.is_ascii_digit()) => {
                    out.look(format!("{} is no number that this build can read", word.to_uppercase()));
                    continue;
                }
                _ => continue,
            };
            out.danger(words);
        }
        if all.windows(2).any(|w| w == [Token::Mark(':'), Token::Mark('=')]) {
            out.look(":= sets a variable of the session");
        }
        self.judge_tables(all, out);
    }

    /// Tables that are not the server's own, and where digests of passwords lie.
    fn judge_tables(self, all: &[Token], out: &mut Judgement) {
        // For each open parenthesis whether we are in a FROM, and whether a table comes next.
        let mut open = vec![(false, false)];
        let mut ctes: Vec<&str> = Vec::new();
        for (i, token) in all.iter().enumerate() {
            if let (Some(name), Some(Token::Word(_as)), Some(Token::Mark('('))) =
                (token.name(), all.get(i + 1).filter(|t| t.is("as")), all.get(i + 2))
            {
                ctes.push(name);
            }
        }
        for (i, token) in all.iter().enumerate() {
            let Some((in_from, next)) = open.last_mut() else { return };
            match token {
                Token::Mark('(') => {
                    let nested = (*next, *next);
                    *next = false;
                    open.push(nested);
                }
                Token::Mark(')') => drop(open.pop()),
                Token::Mark(',') if *in_from => *next = true,
                Token::Word(w) if w == "from" || w == "join" || w == "straight_join" || (w == "table" && i == 0) => {
                    // Within a call FROM is a part of it: EXTRACT, SUBSTRING, TRIM.
                    (*in_from, *next) = (true, true);
                }
                Token::Word(w)
                    if [
                        "select",
                        "where",
                        "group",
                        "order",
                        "having",
                        "limit",
                        "union",
                        "on",
                        "using",
                        "window",
                        "except",
                        "intersect",
                        "fetch",
                        "offset",
                    ]
                    .contains(&&**w) =>
                {
                    // USING and ON are within the FROM still: another table may follow behind a comma.
                    *next = false;
                    if !["on", "using"].contains(&&**w) {
                        *in_from = false;
                    }
                }
                Token::Word(w) if *next && ["lateral", "only", "as"].contains(&&**w) => {}
                Token::Parameter(_) if *next => {
                    *next = false;
                    out.look("reads whichever table the module names");
                }
                Token::Number(_) | Token::Text(_) => *next = false,
                _ if *next => {
                    let Some(name) = token.name() else { continue };
                    *next = false;
                    let part = |n: usize| all.get(i + n).and_then(Token::name);
                    let full = match (all.get(i + 1), part(2)) {
                        (Some(Token::Mark('.')), Some(table)) => format!("{name}.{table}"),
                        _ => name.to_owned(),
                    };
                    let called = all.get(i + 1) == Some(&Token::Mark('('));
                    let own = self.language().catalogue.iter().any(|c| full.starts_with(c));
                    if !own && !called && !ctes.contains(&name) {
                        out.look(format!("reads {full}, which is none of the server's own tables"));
                    }
                }
                _ => {}
            }
        }
        let flat = all.iter().filter_map(Token::name).collect::<Vec<_>>().join(" ");
        for secret in self.language().secrets {
            let bare = secret.replace('.', " ");
            if format!(" {flat} ").contains(&format!(" {bare} ")) {
                out.danger(format!("reads {}, where digests of passwords lie", secret.to_uppercase()));
            }
        }
    }

    /// `SET …`: whose settings, and which.
    fn judge_settings(self, all: &[Token], out: &mut Judgement) {
        let language = self.language();
        self.judge_names(all, out);
        let Some(settings) = settings(all) else {
            out.danger("a SET that this build cannot read: it may change rights, another one's password or everybody's settings");
            return;
        };
        for setting in settings {
            let (name, shown) = (setting.name.as_str(), setting.name.to_uppercase());
            if setting.everybody {
                out.danger(format!("sets {shown} for everybody, not for our session alone"));
            } else if let Some((_, does)) = language.bad_settings.iter().find(|(s, _)| *s == name) {
                out.danger(format!("sets {shown}, which {does}"));
            } else if name.starts_with('@') {
                out.look(format!("sets {shown}, a variable that other statements may read"));
            } else if !language.settings.contains(&name) {
                out.look(format!("sets {shown}, which this build does not know"));
            }
            if !setting.plain {
                out.look(format!("computes what it sets {shown} to"));
            }
        }
    }

    /// `PRAGMA …`: whether it asks or sets, and what.
    fn judge_pragma(self, all: &[Token], effect: Effect, out: &mut Judgement) {
        let body = match all {
            [_, schema, Token::Mark('.'), rest @ ..] if schema.name().is_some() => rest,
            [_, rest @ ..] => rest,
            [] => &[],
        };
        let Some(name) = body.first().and_then(Token::name) else {
            return out.danger("a PRAGMA that this build cannot read");
        };
        let shown = name.to_uppercase();
        match &body[1..] {
            [] if known::PRAGMAS.contains(&name) => {
                if effect != Effect::Read {
                    out.look(format!("declared {}, and PRAGMA {shown} only answers", word(effect)));
                }
            }
            [] => out.danger(format!("PRAGMA {shown} is not known to answer and no more")),
            [Token::Mark('='), _value] | [Token::Mark('('), _value, Token::Mark(')')] if effect != Effect::Read => {
                if let Some((_, does)) = self.language().bad_settings.iter().find(|(s, _)| *s == name) {
                    out.danger(format!("PRAGMA {shown} {does}"));
                } else if name == "wal_checkpoint" {
                    out.look("this checkpoint makes writers wait for readers");
                } else if !self.language().settings.contains(&name) {
                    out.look(format!("sets {shown}, which this build does not know"));
                } else if effect != Effect::Session {
                    out.look(format!("declared {}, and it touches our session alone", word(effect)));
                }
            }
            [Token::Mark('('), _, Token::Mark(')')] if known::PRAGMAS_OF_A_TABLE.contains(&name) => {}
            _ => out.danger(format!("PRAGMA {shown} with a value sets it, or does it")),
        }
    }

    /// Whether it is the freeze that it says, and whether its undo and its proof are that freeze's.
    fn judge_freeze(self, manifest: &Manifest, statement: &Statement, out: &mut Judgement) {
        let text = |name: &str| manifest.statements.get(name).map(|s| s.text.as_str()).unwrap_or_default();
        let undo = statement.undo.as_ref().map(|u| (u.statement.as_str(), text(&u.statement)));
        let proofs = || statement.proofs().map(|p| (p.statement.as_str(), text(&p.statement)));
        if let Some((name, undo)) = undo
            && self.is_constant(undo)
        {
            out.danger(format!("its undo {name} undoes nothing: it only answers"));
        }
        for (name, _) in proofs().filter(|(_, proof)| self.is_constant(proof)) {
            out.danger(format!("its proof {name} proves nothing: the answer is always the same"));
        }
        if self == Dialect::Unknown {
            return;
        }
        let Some(freeze) = self.freeze(&statement.text) else {
            if statement.recoverable {
                out.danger(
                    "recoverable is the author's word alone: this build does not know that a copy would be whole",
                );
            }
            self.judge_frozen_settings(manifest, statement, out);
            return out
                .look("this build does not know it as a freeze: what it stops, and how long, is the author's word");
        };
        if statement.stops != Some(freeze.stops) && !(statement.recoverable && freeze.recoverable) {
            out.danger(format!(
                "declared to stop {}, and it stops {}",
                said(&statement.stops),
                said(&Some(freeze.stops))
            ));
        }
        if statement.lasts != Some(freeze.lasts) {
            out.danger(format!(
                "declared to last by {}, and it lasts by {}",
                said(&statement.lasts),
                said(&Some(freeze.lasts))
            ));
        }
        if statement.recoverable && !freeze.recoverable {
            out.danger("declared recoverable, and a copy made while it holds is not");
        }
        if let Some((name, undo)) = undo
            && !self.is_one_of(undo, freeze.undo)
        {
            out.danger(format!("its undo {name} is not what takes this freeze back ({})", shown(freeze.undo)));
        }
        for (name, _) in proofs().filter(|(_, proof)| !self.is_one_of(proof, freeze.proof)) {
            out.look(format!("its proof {name} is not known to prove this freeze ({} is)", shown(freeze.proof)));
        }
        for proof in statement.proofs() {
            let asks = manifest.statements.get(&proof.statement).map(|s| s.columns.as_slice()).unwrap_or_default();
            let all = freeze.asked.iter().filter(|(form, _)| self.is_one_of(text(&proof.statement), &[*form]));
            let missing =
                all.flat_map(|(_, names)| *names).find(|name| asks.iter().all(|column| column.name != **name));
            if let Some(name) = missing {
                out.danger(format!("its proof {} proves nothing without {name}", proof.statement));
            }
        }
        self.judge_frozen_settings(manifest, statement, out);
    }

    /// What a freeze sets, its undo sets back, to what was there before.
    fn judge_frozen_settings(self, manifest: &Manifest, statement: &Statement, out: &mut Judgement) {
        let read = |text: &str| tokens(self, text).ok().and_then(|t| settings(&t));
        let (Some(set), Some(undo)) = (read(&statement.text), &statement.undo) else { return };
        let text = |name: &str| manifest.statements.get(name).map(|s| s.text.as_str()).unwrap_or_default();
        let name = &undo.statement;
        let back = read(text(name)).unwrap_or_default();
        for setting in set {
            let shown = setting.name.to_uppercase();
            let Some(back) = back.iter().find(|b| b.name == setting.name) else {
                out.danger(format!("its undo {name} leaves {shown} as the freeze set it"));
                continue;
            };
            match back.parameter.as_ref().and_then(|p| undo.arguments.get(p)) {
                Some(UndoArgument::Previous(asked)) => {
                    let asks = tokens(self, text(asked)).unwrap_or_default();
                    if !asks.iter().filter_map(Token::name).any(|n| n.trim_start_matches('@') == setting.name) {
                        out.danger(format!(
                            "its undo {name} sets {shown} to what {asked} answers, which is not what it was"
                        ));
                    }
                }
                _ => out.look(format!("its undo {name} does not set {shown} to what was there before")),
            }
        }
    }
}

/// Keywords that may stand before a parenthesis without calling anything.
const BEFORE_PARENTHESIS: &[&str] = &[
    "all",
    "and",
    "any",
    "as",
    "between",
    "by",
    "case",
    "distinct",
    "else",
    "end",
    "except",
    "exists",
    "filter",
    "from",
    "group",
    "having",
    "in",
    "intersect",
    "is",
    "join",
    "like",
    "limit",
    "materialized",
    "not",
    "offset",
    "on",
    "or",
    "order",
    "over",
    "select",
    "set",
    "some",
    "table",
    "then",
    "union",
    "using",
    "values",
    "when",
    "where",
    "with",
    "xor",
    "lateral",
    "div",
    "mod",
    "interval",
    "regexp",
    "rlike",
    "explain",
    "returning",
    "within",
];

/// As the manifest says it.
pub fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "read",
        Effect::Session => "session",
        Effect::Change => "change",
        Effect::Flush => "flush",
        Effect::Freeze => "freeze",
        Effect::Undo => "undo",
        Effect::Cancel => "cancel",
    }
}

/// As the manifest says it.
fn said<T: serde::Serialize>(value: &Option<T>) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_else(|| "nothing".into())
}

/// The first of these forms, for people.
fn shown(forms: &[&str]) -> String {
    forms
        .first()
        .map(|f| f.to_uppercase().replace(" ( ", "(").replace(" )", ")").replace(" . ", "."))
        .unwrap_or_default()
}

/// Whether these are the tokens of one of the forms.
fn is_one_of(tokens: &[Token], forms: &[&str]) -> bool {
    let meets = |token: &Token, part: &str| match token {
        Token::Word(word) => word == part,
        Token::Number(number) => part == "*" || number == part,
        Token::Text(_) | Token::Parameter(_) => part == "*",
        Token::Mark(mark) => part.len() == 1 && part.starts_with(*mark) && (part != "*" || *mark == '*'),
        _ => false,
    };
    forms.iter().any(|form| {
        let mut parts = form.split(' ');
        tokens.iter().all(|t| parts.next().is_some_and(|p| meets(t, p))) && parts.next().is_none()
    })
}

/// One assignment of a `SET`.
struct Setting {
    everybody: bool,
    name: String,
    /// The value is written out, or a parameter.
    plain: bool,
    /// The parameter that is the value.
    parameter: Option<String>,
}

/// The assignments of a `SET`; `None` where it is of another kind.
fn settings(all: &[Token]) -> Option<Vec<Setting>> {
    let (first, rest) = all.split_first()?;
    if !first.is("set") {
        return None;
    }
    let mut out = Vec::new();
    let mut everybody = false;
    let mut depth = 0;
    let parts = rest.split(|t| {
        depth += match t {
            Token::Mark('(') => 1,
            Token::Mark(')') => -1,
            _ => 0,
        };
        depth == 0 && *t == Token::Mark(',')
    });
    for part in parts {
        let scope = |t: &Token| ["global", "persist", "persist_only", "session", "local"].iter().position(|s| t.is(s));
        let mut part = part;
        if let [first, after, ..] = part
            && let Some(at) = scope(first)
            && after.name().is_some()
        {
            everybody = at < 3;
            part = &part[1..];
        }
        let mut own = everybody;
        let at = part.iter().position(|t| *t == Token::Mark('=') || t.is("to"))?;
        let value = &part[at + 1..];
        let mut left = &part[..at];
        if let [before @ .., Token::Mark(':')] = left {
            left = before;
        }
        let name = match left {
            [one] => one.name()?.strip_prefix("@@").unwrap_or(one.name()?).to_owned(),
            [first, Token::Mark('.'), name] => {
                let first = first.name()?;
                own |= ["@@global", "@@persist", "@@persist_only"].contains(&first);
                let named = name.name()?.to_owned();
                if first.starts_with("@@") { named } else { format!("{first}.{named}") }
            }
            _ => return None,
        };
        let plain = match value {
            [Token::Number(_) | Token::Text(_) | Token::Parameter(_) | Token::Word(_)] => true,
            [Token::Mark('-'), Token::Number(_)] => true,
            [] => return None,
            _ => false,
        };
        let parameter = match value {
            [Token::Parameter(name)] => Some(name.clone()),
            _ => None,
        };
        out.push(Setting { everybody: own, name, plain, parameter });
    }
    Some(out)
}

#[cfg(test)]
mod tests;
