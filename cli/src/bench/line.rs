//! One result: a figure with its unit, its raw limit where there is one, and what else was counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench::measure::Measured;

/// A result, printed as one JSON object with the fields in this order. `None` is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What was run, such as `W1`.
    pub workload: String,
    /// The figure.
    pub value: f64,
    /// Of what, such as `commits/s`.
    pub unit: String,
    /// Median latency of one operation, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// 99th percentile of the latency of one operation, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    /// What the machine does at most, measured in the same run between the slices of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<f64>,
    /// `value / raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_to_raw: Option<f64>,
    /// Whether a greater value is a better one.
    pub higher_is_better: bool,
    /// What else was counted; `base` and `ratio_to_base` name and compare another workload of the same run.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

impl Line {
    /// A figure of which more is better.
    pub fn more_is_better(workload: &str, value: f64, unit: &str) -> Self {
        Self::new(workload, value, unit, true)
    }

    /// A figure of which less is better.
    pub fn less_is_better(workload: &str, value: f64, unit: &str) -> Self {
        Self::new(workload, value, unit, false)
    }

    fn new(workload: &str, value: f64, unit: &str, higher_is_better: bool) -> Self {
        Self {
            workload: workload.to_owned(),
            value: rounded(value),
            unit: unit.to_owned(),
            p50_us: None,
            p99_us: None,
            raw: None,
            ratio_to_raw: None,
            higher_is_better,
            more: BTreeMap::new(),
        }
    }

    /// With the latencies of what was measured.
    #[must_use]
    pub fn latency(mut self, measured: &Measured) -> Self {
        self.p50_us = Some(rounded(measured.p50_us()));
        self.p99_us = Some(rounded(measured.p99_us()));
        self
    }

    /// With the raw limit, its latencies and its comparison. `own` is what the value was made of: round by round
    /// it was measured beside `raw`, and `ratio_paired` is the median of the rounds' own ratios, which a
    /// neighbour on the machine disturbs less than the ratio of the medians.
    #[must_use]
    pub fn beside_raw(mut self, own: &Measured, raw: &Measured) -> Self {
        self.raw = Some(rounded(raw.rate()));
        self.ratio_to_raw = Some(rounded(self.value / raw.rate()));
        self.with("raw_p50_us", rounded(raw.p50_us()))
            .with("raw_p99_us", rounded(raw.p99_us()))
            .with("ratio_paired", rounded(own.paired_ratio(raw)))
    }

    /// With another workload that was measured beside it.
    #[must_use]
    pub fn beside(self, base: &str, own: &Measured, other: &Measured) -> Self {
        let ratio = self.value / other.rate();
        self.with("base", base)
            .with("base_value", rounded(other.rate()))
            .with("base_p99_us", rounded(other.p99_us()))
            .with("ratio_to_base", rounded(ratio))
            .with("ratio_paired", rounded(own.paired_ratio(other)))
    }

    /// With another field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

/// To six significant digits: the seventh is noise, and a table is easier to read without it.
pub(crate) fn rounded(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(5 - number.abs().log10().floor() as i32);
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_fields_in_order_and_leaves_out_what_is_not_there() {
        let line = Line::less_is_better("W6clean", 2.5, "ms").with("events", 7);
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(
            text,
            r#"{"workload":"W6clean","value":2.5,"unit":"ms","higher_is_better":false,"events":7}"#
        );
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }

    #[test]
    fn numbers_keep_six_digits() {
        assert_eq!(rounded(123_456_789.0), 123_457_000.0);
        assert_eq!(rounded(0.012_345_678), 0.012_345_7);
        assert_eq!(rounded(0.0), 0.0);
    }
}
