//! Line charts as SVG: a few series, an axis each way, linear or logarithmic.

use std::fmt::Write;

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from 0.
    Linear,
    /// By their logarithm.
    Log,
    /// Quantiles, by how few are beyond them: each nine takes as much room as the one before.
    Nines,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it is, with its unit.
    pub label: &'static str,
    /// How it is laid out.
    pub scale: Scale,
}

/// A line with a name. One without points is not shown, but keeps its color, so that it is the same in every chart.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Its points, by rising x.
    pub points: Vec<(f64, f64)>,
    /// Whether it is drawn as points that are not connected.
    pub loose: bool,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 34.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 50.0;
const COLORS: [&str; 7] = ["#1668c7", "#d1495b", "#2e8b57", "#b8860b", "#6a4c93", "#555555", "#00868b"];

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.max(1e-9).log10(),
            Self::Nines => -(1.0 - value).max(1e-9).log10(),
        }
    }

    /// Where ticks stand between two places, and what they say.
    fn ticks(self, low: f64, high: f64) -> Vec<(f64, String)> {
        match self {
            Self::Linear => {
                let rough = (high - low).max(1e-9) / 5.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|of| of * power).find(|step| *step >= rough);
                let step = step.unwrap_or(rough);
                (0..=12)
                    .map(|at| (low / step).ceil() * step + f64::from(at) * step)
                    .filter(|at| *at <= high * 1.0001)
                    .map(|at| (at, number(at)))
                    .collect()
            }
            Self::Log => (low.floor() as i32..=high.ceil() as i32)
                .flat_map(|power| [1.0, 2.0, 5.0].map(|of| of * 10f64.powi(power)))
                .filter(|value| (low - 1e-9..=high + 1e-9).contains(&value.log10()))
                .map(|value| (value.log10(), number(value)))
                .collect(),
            Self::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
                .into_iter()
                .map(|quantile| (self.place(quantile), format!("{}%", number(quantile * 100.0))))
                .filter(|(at, _)| (low - 1e-9..=high + 1e-9).contains(at))
                .collect(),
        }
    }
}

/// A number as people write it.
pub fn number(value: f64) -> String {
    if value >= 1000.0 {
        let whole = format!("{value:.0}");
        let mut out = String::new();
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at) % 3 == 0 {
                out.push(' ');
            }
            out.push(digit);
        }
        return out;
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// Text that is safe in a page.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A chart. Without any point: a sentence that says so.
pub fn chart(x: &Axis, y: &Axis, series: &[Series]) -> String {
    let places = |pick: fn(&(f64, f64)) -> f64, scale: Scale| {
        let all = series.iter().flat_map(|one| one.points.iter().map(pick).map(move |value| scale.place(value)));
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
        let low = if scale == Scale::Linear { low.min(0.0) } else { low };
        (low, if high - low < 1e-9 { low + 1.0 } else { high })
    };
    if series.iter().all(|one| one.points.is_empty()) {
        return "<p>Nothing was measured.</p>".into();
    }
    let ((x_low, x_high), (y_low, y_high)) = (places(|point| point.0, x.scale), places(|point| point.1, y.scale));
    let y_high = y_high + 0.04 * (y_high - y_low);
    let at_x = |place: f64| LEFT + (place - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
    let at_y = |place: f64| HEIGHT - BOTTOM - (place - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM);
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} by {}\">", y.label, x.label);
    let mut draw = |text: String| svg.push_str(&text);
    let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
    for (place, text) in x.scale.ticks(x_low, x_high) {
        let at = at_x(place);
        draw(format!("<line class=g x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>"));
        draw(format!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", bottom + 16.0));
    }
    for (place, text) in y.scale.ticks(y_low, y_high) {
        let at = at_y(place);
        draw(format!("<line class=g x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"));
        draw(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", left - 6.0, at + 4.0));
    }
    draw(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        (left + right) / 2.0,
        HEIGHT - 10.0,
        x.label
    ));
    let middle = (top + bottom) / 2.0;
    draw(format!("<text transform=\"translate(14 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>", y.label));
    let shown = || series.iter().enumerate().filter(|(_, one)| !one.points.is_empty());
    for (at, one) in shown() {
        let color = COLORS[at % COLORS.len()];
        let mut line = String::new();
        // Lines that lie on each other are both seen.
        let dash = if at % 2 == 1 { "7 5" } else { "none" };
        for (x_value, y_value) in &one.points {
            let (px, py) = (at_x(x.scale.place(*x_value)), at_y(y.scale.place(*y_value)));
            let _written = write!(line, "{px:.1},{py:.1} ");
            draw(format!(
                "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"{}\" fill=\"{color}\"/>",
                if one.loose { 4.0 } else { 2.2 }
            ));
        }
        if !one.loose {
            draw(format!(
                "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\" points=\"{}\"/>",
                line.trim_end()
            ));
        }
    }
    svg.push_str("</svg><p class=key>");
    for (at, one) in shown() {
        let color = COLORS[at % COLORS.len()];
        let _written = write!(svg, "<span><i style=\"background:{color}\"></i>{}</span>", escape(&one.name));
    }
    svg.push_str("</p>");
    svg
}

/// Horizontal bars with their names and figures, from 0.
#[cfg(feature = "peers")]
pub fn bars(unit: &str, values: &[(String, f64)]) -> String {
    const NAMES: f64 = 230.0;
    const ROW: f64 = 28.0;
    let most = values.iter().map(|(_, value)| *value).fold(1e-9, f64::max);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{unit}\">",
        ROW * values.len() as f64 + 22.0
    );
    for (at, (name, value)) in values.iter().enumerate() {
        let (top, width) = (ROW * at as f64, (value / most * (WIDTH - NAMES - 90.0)).max(1.0));
        let color = COLORS[at % COLORS.len()];
        let shown = if *value < 100.0 { format!("{value:.2}") } else { number(value.round()) };
        let _written = write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect x=\"{NAMES}\" y=\"{:.1}\" width=\"{width:.1}\" \
             height=\"18\" fill=\"{color}\"/><text x=\"{:.1}\" y=\"{:.1}\">{shown}</text>",
            NAMES - 8.0,
            top + 17.0,
            escape(name),
            top + 4.0,
            NAMES + width + 6.0,
            top + 17.0,
        );
    }
    let _written = write!(svg, "<text x=\"{NAMES}\" y=\"{:.1}\">{unit}</text></svg>", ROW * values.len() as f64 + 14.0);
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ticks_are_what_people_write() {
        assert_eq!([0.5, 12.0, 1234567.0, 99.9].map(number), ["0.5", "12", "1 234 567", "99.9"]);
        let said =
            |scale: Scale, low, high| scale.ticks(low, high).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(said(Scale::Linear, 0.0, 10.0), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(said(Scale::Log, 1.0, 3.0), ["10", "20", "50", "100", "200", "500", "1 000"]);
        assert_eq!(said(Scale::Nines, 0.0, 3.0), ["0%", "50%", "90%", "99%", "99.9%"]);
    }

    #[test]
    fn a_chart_holds_its_points_inside_its_frame() {
        let axis = |label, scale| Axis { label, scale };
        let points = vec![(0.5, 100.0), (0.99, 2_000.0), (0.9999, 90_000.0)];
        let series = [Series { name: "<a&b>".into(), points, loose: false }];
        let svg = chart(&axis("of all", Scale::Nines), &axis("us", Scale::Log), &series);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("&lt;a&amp;b&gt;") && !svg.contains("NaN"));
        let none = Series { name: "left out".into(), points: Vec::new(), loose: false };
        let [one] = series;
        let svg = chart(&axis("of all", Scale::Nines), &axis("us", Scale::Log), &[none, one]);
        assert!(!svg.contains("left out") && svg.contains(COLORS[1]) && !svg.contains(COLORS[0]));
        assert!(chart(&axis("x", Scale::Linear), &axis("y", Scale::Linear), &[]).contains("Nothing"));
    }
}
