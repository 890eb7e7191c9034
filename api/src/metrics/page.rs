//! The page: Prometheus' text format, version 0.0.4.
//!
//! Claims: numbers are written as decimals of integers, never by way of a float; a value of a label may hold anything.

use super::families::{Family, Kind};
use relay::figures::{BUCKETS_MS, Durations};
use std::fmt::{Display, Write};

/// The content type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page being written. A family that gets no sample is not on it.
#[derive(Default)]
pub(super) struct Page {
    text: String,
    /// The family of the last sample: its samples stand together.
    last: &'static str,
}

impl Page {
    /// The text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn head(&mut self, family: &Family) {
        if self.last != family.name {
            self.last = family.name;
            // Writing to a String cannot fail.
            let help = family.help.replace('\\', "\\\\");
            writeln!(self.text, "# HELP {} {help}\n# TYPE {0} {}", family.name, family.kind.as_str()).ok();
        }
    }

    /// One value. `labels`: as many as the family names.
    pub(super) fn put(&mut self, family: &Family, labels: &[&str], value: impl Display) {
        self.head(family);
        self.sample(family, "", labels, None, value);
    }

    /// A value of a family without labels, if there is one.
    pub(super) fn put_some(&mut self, family: &Family, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(family, &[], value);
        }
    }

    /// A histogram.
    pub(super) fn put_durations(&mut self, family: &Family, labels: &[&str], durations: &Durations) {
        debug_assert_eq!(family.kind, Kind::Histogram);
        self.head(family);
        let mut total: u64 = 0;
        for (place, count) in durations.counts.iter().enumerate() {
            total += count;
            let bound = BUCKETS_MS.get(place).map_or_else(|| "+Inf".to_owned(), |bound| thousandths(*bound));
            self.sample(family, "_bucket", labels, Some(&bound), total);
        }
        self.sample(family, "_sum", labels, None, thousandths(durations.sum_ms));
        self.sample(family, "_count", labels, None, total);
    }

    fn sample(
        &mut self,
        family: &Family,
        suffix: &str,
        labels: &[&str],
        bound: Option<&str>,
        value: impl Display,
    ) {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        write!(self.text, "{}{suffix}", family.name).ok();
        let pairs = family.labels.iter().copied().zip(labels.iter().copied());
        let mut open = '{';
        for (name, value) in pairs.chain(bound.map(|bound| ("le", bound))) {
            write!(self.text, "{open}{name}=\"{}\"", escaped(value)).ok();
            open = ',';
        }
        if open == ',' {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").ok();
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Milliseconds as seconds, seconds as they are, and so on: a whole number of thousandths.
pub(super) fn thousandths(number: u64) -> String {
    decimal(i128::from(number), 3)
}

/// A whole number of 10^-places as a decimal without needless zeros.
pub(super) fn decimal(number: i128, places: u32) -> String {
    let one = 10u128.pow(places);
    let (whole, rest) = (number.unsigned_abs() / one, number.unsigned_abs() % one);
    let sign = if number < 0 { "-" } else { "" };
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let rest = format!("{rest:0width$}", width = usize::try_from(places).unwrap_or_default());
    format!("{sign}{whole}.{}", rest.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families;

    #[test]
    fn a_page_reads_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.put(&families::ALERTS, &["a \"b\"\\\n"], 3);
        page.put(&families::ALERTS, &["c"], 4);
        let mut durations = Durations::default();
        [10, 60_000, 400_000].into_iter().for_each(|took| durations.add_ms(took));
        page.put_durations(&families::FIRST_BYTE, &["p"], &durations);
        page.put_some(&families::TASKS, None::<u64>);
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], r#"nexusroute_alerts_total{alert="a \"b\"\\\n"} 3"#);
        assert_eq!(lines[3], r#"nexusroute_alerts_total{alert="c"} 4"#);
        assert_eq!(lines[5], "# TYPE nexusroute_call_first_byte_seconds histogram");
        for line in [
            r#"nexusroute_call_first_byte_seconds_bucket{provider="p",le="0.025"} 1"#,
            r#"nexusroute_call_first_byte_seconds_bucket{provider="p",le="60"} 2"#,
            r#"nexusroute_call_first_byte_seconds_bucket{provider="p",le="+Inf"} 3"#,
            r#"nexusroute_call_first_byte_seconds_sum{provider="p"} 460.01"#,
            r#"nexusroute_call_first_byte_seconds_count{provider="p"} 3"#,
        ] {
            assert!(lines.contains(&line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("tasks"));
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn decimals_are_exact() {
        for (number, places, text) in [
            (0, 9, "0"),
            (1, 9, "0.000000001"),
            (-1_500_000_000, 9, "-1.5"),
            (12_000, 3, "12"),
            (i128::from(u64::MAX), 9, "18446744073.709551615"),
        ] {
            assert_eq!(decimal(number, places), text);
        }
    }
}
