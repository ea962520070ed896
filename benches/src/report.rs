//! What the benchmarks found, as a table for people or as one JSON object a line for programs.

use serde::Serialize;

use crate::harness::{Pair, median};

/// One comparison, or one figure that has no bare side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Line {
    name: String,
    ours: f64,
    bare: Option<f64>,
    unit: String,
    ratio: Option<f64>,
    goal: Option<f64>,
    /// Least and greatest ratio of the pairs.
    #[serde(skip)]
    noise: Option<(f64, f64)>,
}

impl Line {
    /// The medians of `pairs`: of each side, and of the ratios, which is not the ratio of the medians.
    pub(crate) fn pair(name: &str, unit: &str, goal: f64, pairs: &[Pair]) -> Line {
        let ratios = || pairs.iter().map(|pair| pair.ratio());
        Line {
            name: name.to_owned(),
            ours: median(pairs.iter().map(|pair| pair.ours)),
            bare: Some(median(pairs.iter().map(|pair| pair.bare))),
            unit: unit.to_owned(),
            ratio: Some(median(ratios())),
            goal: Some(goal),
            noise: Some((ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max))),
        }
    }

    /// A figure that is printed and not judged.
    pub(crate) fn figure(name: String, unit: &str, value: f64) -> Line {
        Line { name, ours: value, bare: None, unit: unit.to_owned(), ratio: None, goal: None, noise: None }
    }

    /// Whether the ratio reaches the goal; nothing to say of a figure.
    fn holds(&self) -> Option<bool> {
        Some(self.ratio? >= self.goal?)
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers have a JSON form")
    }

    /// The line as a row of the table, each cell under its heading.
    fn row(&self) -> String {
        let ratio = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.2}"));
        row([
            &self.name,
            &amount(self.ours),
            &self.bare.map_or(String::new(), amount),
            &self.unit,
            &ratio(self.ratio),
            &self.noise.map_or(String::new(), |(least, most)| format!("{least:.2}..{most:.2}")),
            &ratio(self.goal),
            self.holds().map_or("figure", |holds| if holds { "holds" } else { "short" }),
        ])
    }
}

/// Prints lines as they are found.
pub(crate) struct Report {
    json: bool,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Report {
        Report { json, lines: Vec::new() }
    }

    /// Adds what was found. JSON is printed at once; the table waits, so that progress does not tear it.
    pub(crate) fn add(&mut self, line: Line) {
        if self.json {
            println!("{}", line.json());
        }
        self.lines.push(line);
    }

    /// Prints the table.
    pub(crate) fn finish(&self) {
        if self.json || self.lines.is_empty() {
            return;
        }
        println!("{}", row(["name", "ours", "bare", "unit", "ratio", "min..max", "goal", ""]));
        for line in &self.lines {
            println!("{}", line.row());
        }
    }

    /// Whether a ratio fell short of its goal.
    pub(crate) fn any_short(&self) -> bool {
        self.lines.iter().any(|line| line.holds() == Some(false))
    }
}

fn row([name, ours, bare, unit, ratio, noise, goal, verdict]: [&str; 8]) -> String {
    format!("{name:<26} {ours:>14} {bare:>14} {unit:<10} {ratio:>6} {noise:>12} {goal:>5}  {verdict}")
}

/// A number for a person: no decimals where they say nothing, digits in threes.
fn amount(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(goal: f64) -> Line {
        let pair = |ours, bare| Pair { ours, bare };
        Line::pair("log-read", "/s", goal, &[pair(8.0, 10.0), pair(90.0, 100.0), pair(1.0, 1.0)])
    }

    #[test]
    fn the_ratio_is_the_median_of_the_ratios() {
        let json = r#"{"name":"log-read","ours":8.0,"bare":10.0,"unit":"/s","ratio":0.9,"goal":0.8}"#;
        assert_eq!(line(0.8).json(), json);
        assert_eq!(line(0.8).noise, Some((0.8, 1.0)));
    }

    #[test]
    fn a_figure_has_neither_bare_side_nor_verdict() {
        let figure = Line::figure("log-append.p99".into(), "ms", 1.5);
        let json = r#"{"name":"log-append.p99","ours":1.5,"bare":null,"unit":"ms","ratio":null,"goal":null}"#;
        assert_eq!(figure.json(), json);
        assert!(figure.row().ends_with("figure"));
    }

    #[test]
    fn a_report_is_short_when_one_line_is() {
        let mut report = Report { json: false, lines: vec![line(0.8), Line::figure("x".into(), "ms", 0.0)] };
        assert!(!report.any_short());
        report.lines.push(line(0.95));
        assert!(report.any_short());
    }

    #[test]
    fn amounts_read_well() {
        let check = |value, expected| assert_eq!(amount(value), expected);
        check(0.1234, "0.123");
        check(157_000.4, "157 000");
        check(1_234_567.0, "1 234 567");
        check(-1_000.0, "-1 000");
        check(123.0, "123");
    }
}
