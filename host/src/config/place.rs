//! Where in the file a mistake is: the parser does not tell.

use std::path::Path;

/// The lines of a file, to be quoted with a caret.
pub struct Places<'a> {
    path: &'a Path,
    lines: Vec<&'a str>,
}

impl<'a> Places<'a> {
    /// Of this file.
    pub fn of(path: &'a Path, text: &'a str) -> Places<'a> {
        Places { path, lines: text.lines().collect() }
    }

    /// The last line with this key in this section, else the section's own line, with a caret. The value of a key that
    /// may hold a secret is not repeated.
    pub fn excerpt(&self, section: &str, key: Option<&str>) -> String {
        let mut within = section.is_empty();
        let mut at = None;
        for (i, line) in self.lines.iter().enumerate() {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[') {
                within = name.trim_end_matches(']').trim() == section;
                if within {
                    at = Some((i, 0));
                }
            } else if within && let Some(key) = key {
                let name = line.split(['=', ':']).next().unwrap_or_default().trim();
                if name == key {
                    at = Some((i, key.len()));
                }
            }
        }
        match at {
            Some((line, 0)) => self.line(line, self.indent(line)),
            Some((line, _)) => self.line(line, self.indent(line)),
            None => format!("  --> {}", self.path.display()),
        }
    }

    /// This line, counted from 0, with a caret under this column.
    pub fn line(&self, line: usize, column: usize) -> String {
        let text = self.lines.get(line).copied().unwrap_or_default();
        let key = text.split('=').next().unwrap_or_default();
        let shown = if key.trim().eq_ignore_ascii_case("credString") { format!("{key}= …") } else { text.to_owned() };
        let (number, gap) = (line + 1, " ".repeat(column));
        let margin = " ".repeat(number.to_string().len());
        format!("  --> {}:{number}:{}\n{number} | {shown}\n{margin} | {gap}^", self.path.display(), column + 1)
    }

    fn indent(&self, line: usize) -> usize {
        self.lines.get(line).map_or(0, |l| l.len() - l.trim_start().len())
    }
}
