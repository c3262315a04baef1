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

/// What became of a figure that may be negative, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// The least.
    pub min: i64,
    /// Half was not above.
    pub median: i64,
    /// 99 of 100 were not above; with fewer than 100 values the most.
    pub p99: i64,
    /// The most.
    pub max: i64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = i64>) -> Spread {
        let mut all: Vec<i64> = values.into_iter().collect();
        all.sort_unstable();
        // The nearest rank: a value that was seen, and none that is better than what was.
        let at = |percent: usize| {
            all.get((all.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
        };
        Spread { min: at(0), median: at(50), p99: at(99), max: at(100) }
    }

    /// In milliseconds.
    pub fn json(&self) -> Value {
        let [min, median, p99, max] = [self.min, self.median, self.p99, self.max].map(signed_milliseconds);
        json!({ "min": min, "median": median, "p99": p99, "max": max })
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

/// Microseconds as milliseconds.
#[allow(clippy::cast_precision_loss)]
pub fn signed_milliseconds(us: i64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        assert_eq!(Spread::of([-3]), Spread { min: -3, median: -3, p99: -3, max: -3 });
        assert_eq!(Spread::of((1..=60).rev()), Spread { min: 1, median: 30, p99: 60, max: 60 });
        assert_eq!(Spread::of(1..=200), Spread { min: 1, median: 100, p99: 198, max: 200 });
    }
}
