//! Medians and ranges, for people and for programs.

use serde_json::{Value, json};

/// What became of one figure over all rounds, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The least.
    pub min: u64,
    /// A tenth was below.
    pub p10: u64,
    /// Half was below.
    pub median: u64,
    /// A tenth was above.
    pub p90: u64,
    /// The most.
    pub max: u64,
}

impl Range {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = u64>) -> Range {
        let mut all: Vec<u64> = values.into_iter().collect();
        all.sort_unstable();
        let at = |tenths: usize| all.get(all.len().saturating_sub(1) * tenths / 10).copied().unwrap_or_default();
        Range { min: at(0), p10: at(1), median: at(5), p90: at(9), max: at(10) }
    }

    /// In milliseconds.
    pub fn json(&self) -> Value {
        let [min, p10, median, p90, max] = self.columns().map(milliseconds);
        json!({ "min": min, "p10": p10, "median": median, "p90": p90, "max": max })
    }

    /// One line of a table.
    pub fn line(&self, name: &str) -> String {
        let columns: String = self.columns().map(|us| format!("{:>9.2}", milliseconds(us))).concat();
        format!("    {name:<24}{columns}")
    }

    fn columns(&self) -> [u64; 5] {
        [self.min, self.p10, self.median, self.p90, self.max]
    }
}

/// What stands above the columns of [`Range::line`].
pub fn heading(name: &str) -> String {
    let columns = ["min", "p10", "median", "p90", "max"].map(|c| format!("{c:>9}")).concat();
    format!("  {name:<26}{columns}")
}

/// Microseconds as milliseconds.
#[allow(clippy::cast_precision_loss)]
pub fn milliseconds(us: u64) -> f64 {
    us as f64 / 1000.0
}
