//! A report as one page that needs nothing else: what was measured, in words and plots, and every figure.

use serde_json::Value;

use super::{
    Filed, Findings, Machine,
    plot::{Axis, Scale, Series, chart, escape, number},
};
use crate::{Failure, drive::timeline::Second, report::ms};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:860px;margin:2rem auto;padding:0 1rem;color:#1c1c1c;\
background:#fff}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse;width:100%}\
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}\
svg{width:100%;height:auto}svg text{font-size:12px;fill:#444}.g{stroke:#e4e4e4}.key span{margin-right:1.4rem}\
.key i{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem;border-radius:2px}.n{color:#555}\
.big{display:flex;gap:2.5rem;flex-wrap:wrap}.big b{display:block;font-size:1.7rem}.words td{text-align:left;vertical-align:top}";

/// The page of a report.
///
/// # Errors
/// Never: what was found can be written down.
pub fn page<F: Findings>(report: &Filed<F>) -> Result<String, Failure> {
    let figures = figures(&serde_json::to_value(&report.found)?);
    Ok(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>tidings-bench: {workload}</title><style>{STYLE}</style><h1>{workload}</h1>{}{}\
         <details><summary>Figures</summary>{figures}</details></html>\n",
        machine(&report.machine),
        report.found.body(),
        workload = escape(&report.workload),
    ))
}

fn machine(machine: &Machine) -> String {
    let Machine { processor, kernel, memory_bytes, commit } = machine;
    let gib = *memory_bytes as f64 / f64::from(1 << 30);
    format!("<p class=n>{}, {gib:.0} GiB, Linux {}, commit {}</p>", escape(processor), escape(kernel), escape(commit))
}

/// Sentences, a paragraph each line; a table as it is.
pub fn paragraphs(text: &str) -> String {
    let is_table = text.lines().filter(|line| line.trim_start().contains("   ")).count() > 1;
    if is_table {
        return format!("<pre>{}</pre>", escape(text));
    }
    text.lines().map(|line| format!("<p>{}</p>", escape(line))).collect()
}

/// Lines by second, each with its name.
pub fn by_second(name: &'static str, scale: Scale, lines: &[(&str, Vec<f64>)]) -> String {
    let series = lines.iter().map(|(name, values)| {
        let points = values.iter().enumerate().map(|(at, value)| (at as f64 + 1.0, *value)).collect();
        Series { name: (*name).into(), points, loose: false }
    });
    let x = Axis { label: "second", scale: Scale::Linear };
    chart(&x, &Axis { label: name, scale }, &series.collect::<Vec<_>>())
}

/// What a run was like second by second.
pub fn seconds(timeline: &[Second]) -> String {
    // A part of a second would look like a fall.
    let whole = || timeline.iter().filter(|second| second.ms == 1000);
    let of = |pick: fn(&Second) -> f64| whole().map(pick).collect();
    let latencies = [
        ("SENT, half", of(|second| ms(second.sent_p50_us))),
        ("SENT, 99 of 100", of(|second| ms(second.sent_p99_us))),
        ("SENT, longest", of(|second| ms(second.sent_max_us))),
    ];
    let rate = [("answered", of(|second| second.acked as f64))];
    by_second("milliseconds", Scale::Log, &latencies) + &by_second("messages a second", Scale::Linear, &rate)
}

/// Figures: what belongs together in a table of names, what repeats in one with columns. Of lists in lists only their lengths.
fn figures(value: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    let (tables, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, value)| is_table(value));
    let rows = rows.iter().map(|(name, value)| format!("<tr><td>{}<td>{}", escape(name), cell(value)));
    let mut out = format!("<table>{}</table>", rows.collect::<String>());
    for (name, value) in tables {
        out += &format!("<h3>{}</h3>{}", escape(&name), table(value));
    }
    out
}

/// Whether this is a list of things that have the same figures.
fn is_table(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.first().is_some_and(Value::is_object))
}

fn flatten<'v>(name: &str, value: &'v Value, rows: &mut Vec<(String, &'v Value)>) {
    match value.as_object() {
        None => rows.push((name.into(), value)),
        Some(of) => {
            let dot = if name.is_empty() { "" } else { "." };
            of.iter().for_each(|(key, value)| flatten(&format!("{name}{dot}{key}"), value, rows));
        }
    }
}

fn table(value: &Value) -> String {
    let rows: Vec<Vec<(String, &Value)>> = value.as_array().into_iter().flatten().map(row).collect();
    let Some(first) = rows.first() else { return String::new() };
    let mut out = String::from("<table><tr>");
    first.iter().for_each(|(name, _)| out += &format!("<th>{}", escape(name)));
    for row in &rows {
        out += "<tr>";
        row.iter().for_each(|(_, value)| out += &format!("<td>{}", cell(value)));
    }
    out + "</table>"
}

fn row(value: &Value) -> Vec<(String, &Value)> {
    let mut row = Vec::new();
    flatten("", value, &mut row);
    row
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Number(value) => number(value.as_f64().unwrap_or(0.0)),
        Value::String(text) => escape(text),
        Value::Array(list) if is_table(value) => format!("{} entries", list.len()),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => escape(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_on_the_page_and_nothing_in_it_is_markup() {
        let found = json!({"rate": 1235, "side": {"p50": 7, "who": "<b>"}, "none": null, "curve": [[0.5, 3], [0.9, 4]],
            "rounds": [{"a": 1, "in": {"b": 2}}, {"a": 3, "in": {"b": 4}}]});
        let page = figures(&found);
        for wanted in
            ["<td>rate<td>1 235", "<td>side.p50<td>7", "&lt;b&gt;", "0.5, 3, 0.9, 4", "<th>in.b", "<td>3<td>4"]
        {
            assert!(page.contains(wanted), "{wanted} is missing in {page}");
        }
    }
}
