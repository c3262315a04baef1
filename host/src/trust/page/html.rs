//! The page for a browser: one file, no script, nothing fetched. Every value is escaped by the macro that places it.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use stillpoint_contract::manifest::{Effect, Mode};

use super::{
    Checked, PARTS, Page, Statement, checked_word, lasts_word, limits_words, needed_words, rows_word, snapshot_word,
    stops_word,
};
use crate::fault::plain;
use crate::trust::finding::Severity;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --bad: light-dark(#b00020, #ff8a8a); --look: light-dark(#8a5a00, #ffc966); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0 } h2 { margin: 2rem 0 .5rem; border-bottom: 2px solid var(--line) }
code, pre { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap }
pre { margin: .3rem 0; padding: .5rem .7rem; background: #8881; border-radius: 4px }
code.word { display: inline-block; background: #8882; border-radius: 4px; padding: 0 .35rem; margin: .1rem 0 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0 }
th { white-space: nowrap; font-weight: 600; width: 9rem }
.warning { border: 2px solid var(--bad); color: var(--bad); padding: .5rem .8rem; margin: .6rem 0; font-weight: 600 }
.danger, .doubted { color: var(--bad); font-weight: 600 } .look, .unknown { color: var(--look) }
article { border-left: 4px solid var(--line); padding-left: .8rem; margin: 1rem 0; break-inside: avoid }
.freeze, .change { border-color: var(--bad) } .quiet { opacity: .7 }
@media print { body { margin: 0; max-width: none } }
";

/// The page.
pub fn html(page: &Page) -> String {
    let title = plain(&format!("{} {}", page.name, page.version));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) " - what it may do" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) " " span.quiet { "sequence " (page.sequence) } }
                p { (plain(&page.summary)) }
                @for warning in page.warnings() { p.warning { (plain(&warning)) } }
                (head(page))
                (findings(page))
                @for (effect, title) in PARTS {
                    @let all: Vec<&Statement> = page.with(effect).collect();
                    @if !all.is_empty() {
                        h2 { (title) " (" (all.len()) ")" }
                        @for s in all { (statement(s)) }
                    }
                }
                @if !page.recovery.is_empty() {
                    h2 { "Recovery, for people to run (" (page.recovery.len()) ")" }
                    @if !page.follows.is_empty() { p { "logs: " (plain(&page.follows.join("; "))) } }
                    @for step in &page.recovery {
                        article {
                            span.quiet { (plain(&step.when)) ": " } (plain(&step.say))
                            @if let Some(run) = &step.run { pre { (plain(run)) } }
                        }
                    }
                }
                h2 { "Bounds" }
                table {
                    (rows("at most", &limits_words(&page.limits)))
                    (rows("cannot", &page.cannot))
                }
                h2 { "Who says so" }
                table {
                    (rows("declared by its author", &page.trusted.declared))
                    (rows("checked by this build", &page.trusted.checked))
                    (rows("not seen", &page.trusted.unseen))
                }
            }
        }
    }
    .into_string()
}

fn rows(label: &str, values: &[String]) -> Markup {
    html! {
        @if !values.is_empty() {
            tr {
                th { (label) }
                td { @for value in values { div { (plain(value)) } } }
            }
        }
    }
}

fn row(label: &str, value: Markup) -> Markup {
    html! { tr { th { (label) } td { (value) } } }
}

/// A value as it stands.
fn code(value: &str) -> Markup {
    html! { code { (plain(value)) } }
}

fn head(page: &Page) -> Markup {
    let client = &page.client;
    let snapshots: Vec<&str> = page.snapshots.iter().map(|s| snapshot_word(*s)).collect();
    let mode = match client.mode {
        Mode::Session => "one process for each session, from prepare to the thaw",
        Mode::Command => "one process for each statement",
    };
    let end = if client.end.is_empty() { "a line break" } else { &client.end };
    html! {
        table {
            @if let Some(digest) = &page.manifest_sha256 { (row("manifest", html! { "sha256 " (code(digest)) })) }
            @if let Some(c) = &page.component {
                (row("component", html! { "sha256 " (code(&c.sha256)) br; (c.size) " bytes, built by " (plain(&c.compiler)) }))
                (row("is given", html! { (super::given(&c.imports)) }))
            }
            (rows("signed by", &page.signatures()))
            (row("authors", html! { (plain(&page.authors.join(", "))) }))
            (row("expires", html! { (plain(&page.expiry())) }))
            @if let Some(standing) = &page.standing {
                @if let Some(floor) = standing.floor {
                    (row("floor", html! { "sequence " (floor) ": nothing older is installed here" }))
                }
                @if let Some(granted) = standing.granted {
                    (row("granted", html! { @if granted { "yes, within what was accepted here" } @else { strong.danger { "NO" } } }))
                }
            }
            (row("world", code(&page.world)))
            (row("serves", html! { "workload_name = " (code(&page.workloads.join(", "))) ", consistent under a snapshot of " (snapshots.join(", or ")) }))
            (row("runs", html! { (code(&client.programs.join(", else "))) " as linux_user, " (mode) br;
                @for argument in &client.arguments { code.word { (plain(argument)) } " " } }))
            @if let Some(words) = client.login_words() { (row("logs in", html! { (words) })) }
            @for (name, value) in &client.environment { (row("knows", code(&format!("{name} = {value}")))) }
            @for (i, line) in client.first().into_iter().enumerate() {
                (row(if i == 0 { "first sends" } else { "then" }, code(line)))
            }
            (row("then sends", html! { "after each statement " (code(end)) " and " (code(&client.tag))
                @if let Some(more) = client.more { br; (more) } }))
            (row("quotes", html! { "a name in " (code(&client.identifier_quote.to_string())) }))
            (row("rows are", html! { (rows_word(client.rows)) }))
            (rows("errors are", &client.error_words()))
            (row("sessions", html! {
                @for s in &page.sessions {
                    div {
                        strong { (plain(&s.name)) }
                        @if s.each { ", once for each database" }
                        @if let Some(id) = &s.id { ", named by " (plain(id)) }
                        @if let Some(cancel) = &s.cancel { ", ended by " (plain(cancel)) }
                    }
                }
            }))
            @if !page.believed.is_empty() {
                (row("believed", html! { @for b in &page.believed { div { (plain(&b.what)) ": " (plain(&b.statement)) @if let Some(a) = &b.answer { ", if it answers " (plain(a)) } } } }))
            }
            (rows("logs", &page.logs))
            @if let Some(privileges) = &page.privileges {
                (row("login needs", html! { @for (name, needed) in &privileges.needed { div { (plain(&needed_words(name, needed))) } } }))
                (rows("no excess", &privileges.usual))
                (row("made by", html! { @for text in &privileges.make { div { (code(text)) } } }))
            }
        }
    }
}

fn findings(page: &Page) -> Markup {
    let [danger, look, note] = [Severity::Danger, Severity::Look, Severity::Note].map(|s| page.count(s));
    html! {
        h2 { "Findings (" (danger) " danger, " (look) " to look at, " (note) " to know)" }
        table {
            @for f in &page.findings {
                tr class=(f.severity.word().to_lowercase()) {
                    th { (f.severity.word()) }
                    td { code { (plain(&f.at)) } ": " (plain(&f.words)) }
                }
            }
        }
    }
}

fn statement(statement: &Statement) -> Markup {
    let class = match statement.effect {
        Effect::Freeze => "freeze",
        Effect::Change | Effect::Flush => "change",
        _ => "other",
    };
    let checked = match statement.checked {
        Checked::AsDeclared => "as-declared",
        Checked::Unknown => "unknown",
        Checked::Doubted => "doubted",
    };
    let kinds: Vec<&str> = statement.snapshots.iter().map(|s| snapshot_word(*s)).collect();
    html! {
        article class=(class) {
            strong { (plain(&statement.name)) } " " span.quiet { "in session " (plain(&statement.session)) }
            pre { (plain(&statement.text)) }
            table {
                @for (name, what) in &statement.parameters { (row("", html! { (code(&format!("{{{name}}}"))) " " (plain(what)) })) }
                @if !statement.answers.is_empty() { (row("answers", html! { (plain(&statement.answers.join("; "))) })) }
                @if statement.effect == Effect::Freeze {
                    (row("declared", html! {
                        "freeze: stops " strong { (stops_word(statement.stops)) } "; lasts " strong { (lasts_word(statement.lasts)) }
                        @if statement.recoverable { "; a copy is made whole by recovery" }
                        @if !kinds.is_empty() { "; counts only under a snapshot of " (kinds.join(", or ")) }
                    }))
                }
                @if let Some(undo) = &statement.undo {
                    (row("undone by", html! {
                        (plain(&undo.statement)) ": " (code(&undo.text))
                        @for (parameter, from) in &undo.arguments { br; (code(&format!("{{{parameter}}}"))) " is " (plain(from)) }
                        @if !undo.nothing.is_empty() { br; "counts as done after " (plain(&undo.nothing.join(", "))) }
                        @if let Some(words) = &undo.by_hand { br; "by hand: " (plain(words)) }
                    }))
                }
                @if let Some(foreign) = &statement.foreign {
                    (row("not undone", html! { "where the database says that it is somebody else's: " (code(foreign)) }))
                }
                @for (i, proof) in statement.proofs.iter().enumerate() {
                    (row(if i == 0 { "proved by" } else { "or by" }, html! { (plain(&proof.statement)) ": " (code(&proof.text)) " must answer " (plain(&proof.answer)) }))
                }
                (row("checked", html! { span class=(checked) { (checked_word(statement.checked)) } }))
            }
        }
    }
}
