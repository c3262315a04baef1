//! How a command with `--output json` ended, and what it said of the cycle. What it says of a workload is that of the first:
//! most tests have one.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::program::Ended;

/// How a command with `--output json` ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub json: Value,
    /// All that it wrote.
    pub text: String,
}

impl Said {
    /// From how the program ended.
    ///
    /// # Panics
    /// When its standard output is no JSON.
    pub fn of(ended: Ended) -> Said {
        let text = ended.text();
        assert!(!ended.stderr.contains("panicked"), "it panicked: {text}");
        let json = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {text}"));
        Said { code: ended.code, json, text }
    }

    /// The ids of all faults in it, wherever they stand.
    pub fn faults(&self) -> Vec<String> {
        let mut out = Vec::new();
        collect(&self.json, &mut out);
        out
    }

    /// It ended with this exit code, and one fault in all, this one.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn assert_fault(&self, code: i32, id: &str) {
        assert_eq!((self.code, self.faults()), (Some(code), vec![id.to_owned()]), "{}", self.text);
    }

    /// The cycle is consistent: writers had stopped.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_still(&self) {
        self.assert_consistent();
        assert_eq!(self.json["kind"], "still", "{}", self.text);
    }

    /// The cycle is consistent: writers went on, and the database's own recovery makes a copy whole.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_recoverable(&self) {
        self.assert_consistent();
        assert_eq!(self.json["kind"], "recoverable", "{}", self.text);
    }

    /// The cycle is consistent, of whatever kind.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_consistent(&self) {
        self.assert_verdict(0, "application-consistent");
    }

    /// It was thawed, and the cycle is no more than what a crash leaves.
    ///
    /// # Panics
    /// When it is more, or less.
    #[track_caller]
    pub fn assert_crash_consistent(&self) {
        self.assert_verdict(5, "crash-consistent");
    }

    /// Nothing was frozen in the end.
    ///
    /// # Panics
    /// When something was.
    #[track_caller]
    pub fn assert_failed(&self) {
        self.assert_verdict(4, "failed");
    }

    #[track_caller]
    fn assert_verdict(&self, code: i32, verdict: &str) {
        assert_eq!((self.code, &self.json["verdict"]), (Some(code), &verdict.into()), "{}", self.text);
    }

    /// What was found of the workload, each as `level: text`.
    ///
    /// # Panics
    /// When one has no level or no text.
    pub fn findings(&self) -> Vec<String> {
        let all = self.json["workloads"][0]["findings"].as_array().into_iter().flatten();
        all.map(|f| format!("{}: {}", text_of(f, "level"), text_of(f, "text"))).collect()
    }

    /// The workload's recovery point, by name.
    ///
    /// # Panics
    /// When there is none.
    pub fn point(&self) -> BTreeMap<String, String> {
        let all = self.json["workloads"][0]["point"].as_array().unwrap_or_else(|| panic!("no point: {}", self.text));
        all.iter().map(|c| (text_of(c, "name"), text_of(c, "value"))).collect()
    }

    /// What was kept of the workload under this name when it was thawed, byte for byte.
    ///
    /// # Panics
    /// When nothing was.
    pub fn kept(&self, name: &str) -> String {
        let mut all = self.json["workloads"][0]["kept"].as_array().into_iter().flatten();
        let kept = all.find(|k| k["name"] == name).unwrap_or_else(|| panic!("no {name} was kept: {}", self.text));
        text_of(kept, "value")
    }

    /// The id of the cycle.
    ///
    /// # Panics
    /// When it names none.
    pub fn cycle(&self) -> &str {
        self.json["cycle"].as_str().unwrap_or_else(|| panic!("no cycle: {}", self.text))
    }

    /// The workload of this name.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn workload(&self, name: &str) -> &Value {
        let mut all = self.json["workloads"].as_array().into_iter().flatten();
        all.find(|w| w["name"] == name).unwrap_or_else(|| panic!("no {name}: {}", self.text))
    }

    /// Why the workload's verdict is no better. Empty where no reason is given.
    pub fn reason(&self) -> &str {
        self.json["workloads"][0]["reason"].as_str().unwrap_or_default()
    }

    /// The lines that the workload's module wrote to its log.
    ///
    /// # Panics
    /// When one is no text.
    pub fn log(&self) -> Vec<String> {
        let lines = self.json["workloads"][0]["log"].as_array().into_iter().flatten();
        lines.map(|line| line.as_str().expect("a line of text").to_owned()).collect()
    }
}

fn text_of(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned()
}

fn collect(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let (Some(Value::String(id)), true) = (map.get("id"), map.contains_key("what")) {
                out.push(id.clone());
            }
            map.values().for_each(|v| collect(v, out));
        }
        Value::Array(all) => all.iter().for_each(|v| collect(v, out)),
        _ => {}
    }
}
