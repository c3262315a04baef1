//! Where in the file a mistake is: the parser does not tell. It never repeats what may be a secret.

use std::path::Path;

use super::key;

/// The longest line that is quoted, in characters.
const WIDEST: usize = 160;

/// What stands at a place.
#[derive(Debug, Clone, Copy)]
pub enum At<'k> {
    /// The heading of the section.
    Heading,
    /// This key.
    Key(&'k str),
    /// The value of this key.
    Value(&'k str),
}

/// What a line is.
enum Shape<'a> {
    /// Empty, or a comment.
    Blank,
    /// `[name]`.
    Section(&'a str),
    /// `key = value`.
    Pair(&'a str),
    /// None of these: why.
    Wrong(&'static str),
}

struct Line<'a> {
    text: &'a str,
    shape: Shape<'a>,
}

/// The lines of a file, to be quoted with a caret.
pub struct Places<'a> {
    path: &'a Path,
    lines: Vec<Line<'a>>,
}

impl<'a> Places<'a> {
    /// Of this file.
    pub fn of(path: &'a Path, text: &'a str) -> Places<'a> {
        Places { path, lines: text.lines().map(|text| Line { text, shape: shape(text.trim()) }).collect() }
    }

    /// The text for the parser: what it would read across line ends is left out, and told by [`Places::wrong`].
    pub fn sound(&self) -> String {
        let sound = |line: &Line<'a>| match line.shape {
            Shape::Section(_) | Shape::Pair(_) => line.text.trim(),
            Shape::Blank | Shape::Wrong(_) => "",
        };
        self.lines.iter().map(sound).collect::<Vec<_>>().join("\n")
    }

    /// Why a line is none, and its place.
    pub fn wrong(&self) -> Vec<(&'static str, String)> {
        let wrong = |(number, line): (usize, &Line<'a>)| match line.shape {
            Shape::Wrong(why) => Some((why, self.quote(number, indent(line.text)))),
            _ => None,
        };
        self.lines.iter().enumerate().filter_map(wrong).collect()
    }

    /// The last such place in this section (`None`: before any), else the section's heading.
    pub fn excerpt(&self, section: Option<&str>, at: At<'_>) -> String {
        let mut within = section.is_none();
        let mut found = None;
        for (number, line) in self.lines.iter().enumerate() {
            match (&line.shape, at) {
                (Shape::Section(name), _) => {
                    within = section == Some(name);
                    if within {
                        found = Some((number, indent(line.text)));
                    }
                }
                (Shape::Pair(key), At::Key(wanted)) if within && key.eq_ignore_ascii_case(wanted) => {
                    found = Some((number, indent(line.text)));
                }
                (Shape::Pair(key), At::Value(wanted)) if within && key.eq_ignore_ascii_case(wanted) => {
                    found = Some((number, value_at(line.text)));
                }
                _ => {}
            }
        }
        match found {
            Some((number, column)) => self.quote(number, column),
            None => format!("  --> {}", self.path.display()),
        }
    }

    /// This line, counted from 0, with a caret under this column, counted in characters.
    fn quote(&self, number: usize, column: usize) -> String {
        let Some(line) = self.lines.get(number) else { return format!("  --> {}", self.path.display()) };
        let shown: String = shown(line).chars().map(|c| if c.is_control() { ' ' } else { c }).take(WIDEST).collect();
        let (number, gap) = (number + 1, " ".repeat(column.min(WIDEST)));
        let margin = " ".repeat(number.to_string().len());
        let path = self.path.display();
        format!("  --> {path}:{number}:{}\n{number} | {}\n{margin} | {gap}^", column + 1, shown.trim_end())
    }
}

fn shape(line: &str) -> Shape<'_> {
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Shape::Blank;
    }
    if line.ends_with('\\') {
        return Shape::Wrong("a line must not end with a backslash: the next one would be part of it");
    }
    if let Some(heading) = line.strip_prefix('[') {
        return match heading.split_once(']') {
            None => Shape::Wrong("the ] is missing"),
            Some((_, rest)) if !rest.is_empty() => Shape::Wrong("something stands behind the ]"),
            Some((name, _)) if name.contains('\\') => Shape::Wrong("a section's name holds no backslash"),
            Some((name, _)) => Shape::Section(name.trim()),
        };
    }
    match line.split_once(['=', ':']) {
        None => Shape::Wrong("there is no = in it"),
        Some((key, _)) if key.trim().is_empty() => Shape::Wrong("there is no key before the ="),
        Some((key, _)) if key.contains('\\') => Shape::Wrong("a key holds no backslash"),
        Some((key, _)) => Shape::Pair(key.trim()),
    }
}

/// The line as it may be shown. A value is shown only where its key is known to hold no secret; a line that is none,
/// which may be the rest of a login string, only by a first word that is such a key.
fn shown(line: &Line<'_>) -> String {
    match line.shape {
        Shape::Blank | Shape::Section(_) => line.text.to_owned(),
        Shape::Pair(key) if key::tells_no_secret(key) => line.text.to_owned(),
        Shape::Pair(key) if key::is_word(key) => {
            line.text.chars().take(value_at(line.text)).collect::<String>().trim_end().to_owned() + " …"
        }
        Shape::Pair(_) => " ".repeat(indent(line.text)) + "…",
        Shape::Wrong(_) => {
            let first = line.text.split_whitespace().next().unwrap_or_default();
            let first = if key::tells_no_secret(first) || first.starts_with("[workload") { first } else { "" };
            format!("{}{first} …", " ".repeat(indent(line.text)))
        }
    }
}

/// The column of the first character that is no space.
fn indent(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

/// The column of the value.
fn value_at(line: &str) -> usize {
    let key = line.chars().take_while(|c| !['=', ':'].contains(c)).count();
    let gap = line.chars().skip(key + 1).take_while(|c| c.is_whitespace()).count();
    key + 1 + gap
}
