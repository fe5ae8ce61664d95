//! Drawings as inline SVG: curves on linear or logarithmic axes, histograms, and rates with their
//! intervals by category.
//!
//! Series differ in colour (a palette that colour-blind readers can tell apart, taken from the
//! page's style), in dashes, and are named beside their end. Every drawing has a title and a
//! description for those who do not see it.

use std::fmt::Write as _;

use super::html::escape;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 54.0;
/// Most series of one drawing.
const SERIES: usize = 4;

/// An axis: its name and its range. A logarithmic one begins above zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    name: String,
    low: f64,
    high: f64,
    logarithmic: bool,
    percent: bool,
}

impl Axis {
    /// Even steps from `low` to `high`.
    pub fn linear(name: &str, low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { name: name.into(), low, high, logarithmic: false, percent: false }
    }

    /// Powers of ten that enclose `low` to `high`, both made at least 1e-12.
    pub fn logarithmic(name: &str, low: f64, high: f64) -> Self {
        let low = 10f64.powf(low.max(1e-12).log10().floor());
        let high = 10f64.powf(high.max(1e-12).log10().ceil());
        Self {
            name: name.into(),
            low,
            high: high.max(low * 10.0),
            logarithmic: true,
            percent: false,
        }
    }

    /// Labels as percentages.
    pub fn percent(self) -> Self {
        Self { percent: true, ..self }
    }

    /// Where `value` lies, 0 to 1; values outside lie at the ends.
    fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        if self.logarithmic {
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = (self.high / self.low).log10().round() as i32;
            return (0..=decades).map(|k| self.low * 10f64.powi(k)).collect();
        }
        // 1, 2 or 5 times a power of ten, five to ten of them.
        let raw = (self.high - self.low) / 8.0;
        let power = 10f64.powf(raw.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw).unwrap_or(raw);
        let first = (self.low / step).ceil() as i64;
        (first..first + 20)
            .map(|k| k as f64 * step)
            .take_while(|t| *t <= self.high + step * 1e-6)
            .collect()
    }

    /// Unlabelled lines between the ticks of a logarithmic axis, at 2 and 5 of each decade.
    fn minor(&self) -> Vec<f64> {
        if !self.logarithmic {
            return Vec::new();
        }
        self.ticks().iter().flat_map(|t| [t * 2.0, t * 5.0]).filter(|t| *t < self.high).collect()
    }

    fn label(&self, value: f64) -> String {
        let (value, unit) = if self.percent { (value * 100.0, "\u{a0}%") } else { (value, "") };
        if self.logarithmic {
            let exponent = value.abs().log10().round() as i32;
            if (-2..=3).contains(&exponent) {
                format!("{}{unit}", trimmed(value, 2))
            } else {
                format!("10{}{unit}", superscript(exponent))
            }
        } else {
            format!("{}{unit}", trimmed(value, 3))
        }
    }
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    // A true minus sign is as wide as the digits.
    if text == "-0" { "0".into() } else { text.replace('-', "\u{2212}") }
}

fn superscript(n: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digits = n.unsigned_abs().to_string();
    let digits = digits.chars().filter_map(|c| c.to_digit(10)).map(|d| DIGITS[d as usize]);
    n.is_negative().then_some('⁻').into_iter().chain(digits).collect()
}

/// A drawing in the making.
#[derive(Debug, Clone)]
pub struct Plot {
    title: String,
    description: String,
    x: Axis,
    y: Axis,
    body: String,
    legend: Vec<(usize, String)>,
}

impl Plot {
    /// An empty one. `title` and `description` are for those who do not see it.
    pub fn new(title: &str, description: &str, x: Axis, y: Axis) -> Self {
        Self {
            title: title.into(),
            description: description.into(),
            x,
            y,
            body: String::new(),
            legend: Vec::new(),
        }
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            LEFT + self.x.at(x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - self.y.at(y) * (HEIGHT - TOP - BOTTOM),
        )
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (i, point) in points.enumerate() {
            let (x, y) = self.place(point);
            write!(path, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" })
                .expect("writing to a string does not fail");
        }
        path
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        self.body.write_fmt(element).expect("writing to a string does not fail");
        self.body.push('\n');
    }

    /// A curve through `points`, as series `series`, named in the legend.
    pub fn line(mut self, series: usize, name: &str, points: &[(f64, f64)]) -> Self {
        let d = self.path(points.iter().copied());
        let series = series % SERIES;
        self.add(format_args!("<path class=\"line s{series}\" d=\"{d}\"/>"));
        self.legend.push((series, name.into()));
        self
    }

    /// The area between two curves, as (x, lower, upper).
    pub fn band(mut self, series: usize, points: &[(f64, f64, f64)]) -> Self {
        let outline =
            points.iter().map(|p| (p.0, p.2)).chain(points.iter().rev().map(|p| (p.0, p.1)));
        let d = self.path(outline);
        self.add(format_args!("<path class=\"band s{}\" d=\"{d}Z\"/>", series % SERIES));
        self
    }

    /// Adjoining bars of width `width` that begin at each x, as an outline filled down to the axis.
    pub fn steps(mut self, series: usize, name: &str, width: f64, points: &[(f64, f64)]) -> Self {
        let series = series % SERIES;
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return self };
        let top = points.iter().flat_map(|(x, y)| [(*x, *y), (x + width, *y)]);
        let floor = self.y.low;
        let outline = [(first.0, floor)].into_iter().chain(top).chain([(last.0 + width, floor)]);
        let d = self.path(outline);
        self.add(format_args!(
            "<path class=\"band s{series}\" d=\"{d}Z\"/><path class=\"line s{series}\" d=\"{d}\"/>"
        ));
        self.legend.push((series, name.into()));
        self
    }

    /// A dashed vertical line at `x` with its name along it.
    pub fn mark(mut self, x: f64, name: &str) -> Self {
        let (px, top) = self.place((x, f64::INFINITY));
        let bottom = HEIGHT - BOTTOM;
        self.add(format_args!(
            "<path class=\"mark\" d=\"M{px:.1} {top:.1}V{bottom:.1}\"/><text class=\"note\" \
             transform=\"translate({:.1} {:.1}) rotate(-90)\" text-anchor=\"end\">{}</text>",
            px - 4.0,
            top + 4.0,
            escape(name)
        ));
        self
    }

    /// The `<svg>` element.
    pub fn finish(self) -> String {
        let mut frame = String::new();
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut add = |element: std::fmt::Arguments<'_>| {
            frame.write_fmt(element).expect("writing to a string does not fail");
            frame.push('\n');
        };
        for tick in self.x.minor() {
            add(format_args!(
                "<path class=\"minor\" d=\"M{:.1} {TOP}V{bottom}\"/>",
                self.place((tick, 0.0)).0
            ));
        }
        for tick in self.y.minor() {
            add(format_args!(
                "<path class=\"minor\" d=\"M{LEFT} {:.1}H{right}\"/>",
                self.place((0.0, tick)).1
            ));
        }
        for tick in self.x.ticks() {
            let x = self.place((tick, 0.0)).0;
            add(format_args!("<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>"));
            add(format_args!(
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                self.x.label(tick)
            ));
        }
        for tick in self.y.ticks() {
            let y = self.place((0.0, tick)).1;
            add(format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
            add(format_args!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                self.y.label(tick)
            ));
        }
        add(format_args!("<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"));
        add(format_args!(
            "<text class=\"name\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 12.0,
            escape(&self.x.name)
        ));
        add(format_args!(
            "<text class=\"name\" transform=\"translate(16 {:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            (TOP + bottom) / 2.0,
            escape(&self.y.name)
        ));
        let mut x = LEFT;
        let mut legend = String::new();
        for (series, name) in &self.legend {
            write!(
                legend,
                "<path class=\"line s{series}\" d=\"M{x:.1} 16h26\"/><text x=\"{:.1}\" \
                 y=\"20\">{}</text>",
                x + 32.0,
                escape(name)
            )
            .expect("writing to a string does not fail");
            // About the width of the text at this size.
            x += 32.0 + 7.0 * name.chars().count() as f64 + 22.0;
        }
        element(
            WIDTH,
            HEIGHT,
            &self.title,
            &self.description,
            &format!("{frame}{}{legend}", self.body),
        )
    }
}

/// A rate with its interval, by category.
#[derive(Debug, Clone, PartialEq)]
pub struct Category {
    /// Name.
    pub name: String,
    /// The rate; `None` where it is not known.
    pub rate: Option<f64>,
    /// Lower end of its interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Shown at the right.
    pub note: String,
}

/// Dots with whiskers, a category a row. `reference`, if any, is drawn as a vertical line with its
/// name.
pub fn forest(
    title: &str,
    description: &str,
    x: Axis,
    rows: &[Category],
    reference: Option<(f64, &str)>,
) -> String {
    const ROW: f64 = 26.0;
    const NAMES: f64 = 170.0;
    const NOTES: f64 = 130.0;
    let bottom = TOP + ROW * rows.len() as f64 + 6.0;
    let (left, right) = (NAMES, WIDTH - NOTES);
    let place = |value: f64| left + x.at(value) * (right - left);
    let mut body = String::new();
    let mut add = |element: std::fmt::Arguments<'_>| {
        body.write_fmt(element).expect("writing to a string does not fail");
        body.push('\n');
    };
    for tick in x.minor() {
        add(format_args!("<path class=\"minor\" d=\"M{:.1} {TOP}V{bottom:.1}\"/>", place(tick)));
    }
    for tick in x.ticks() {
        let at = place(tick);
        add(format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom:.1}\"/>"));
        add(format_args!(
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            x.label(tick)
        ));
    }
    add(format_args!("<path class=\"axis\" d=\"M{left} {bottom:.1}H{right}\"/>"));
    if let Some((value, name)) = reference {
        let at = place(value);
        add(format_args!("<path class=\"mark\" d=\"M{at:.1} {TOP}V{bottom:.1}\"/>"));
        add(format_args!(
            "<text class=\"note\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            TOP - 8.0,
            escape(name)
        ));
    }
    for (i, row) in rows.iter().enumerate() {
        let y = TOP + ROW * (i as f64 + 0.5) + 3.0;
        // Long names would run into the drawing.
        let name: String = if row.name.chars().count() > 24 {
            row.name.chars().take(23).chain(['…']).collect()
        } else {
            row.name.clone()
        };
        add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 12.0,
            y + 4.0,
            escape(&name)
        ));
        if let Some(rate) = row.rate {
            let (low, high) = (place(row.lower), place(row.upper));
            add(format_args!(
                "<path class=\"whisker\" d=\"M{low:.1} {y:.1}H{high:.1}M{low:.1} \
                 {0:.1}V{1:.1}M{high:.1} {0:.1}V{1:.1}\"/>",
                y - 4.0,
                y + 4.0
            ));
            add(format_args!(
                "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>",
                place(rate)
            ));
        }
        add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            right + 12.0,
            y + 4.0,
            escape(&row.note)
        ));
    }
    add(format_args!(
        "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (left + right) / 2.0,
        bottom + 40.0,
        escape(&x.name)
    ));
    element(WIDTH, bottom + 50.0, title, description, &body)
}

fn element(width: f64, height: f64, title: &str, description: &str, body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width} {height:.0}\" role=\"img\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n<title>{}</title>\n<desc>{}</desc>\n{body}</svg>",
        escape(title),
        escape(description)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_axis() {
        assert_eq!(Axis::linear("x", 0.0, 1.0).ticks().len(), 6);
        let log = Axis::logarithmic("x", 3e-5, 0.2);
        assert_eq!(
            log.ticks().iter().map(|t| log.label(*t)).collect::<Vec<_>>(),
            ["10⁻⁵", "10⁻⁴", "10⁻³", "0.01", "0.1", "1"]
        );
        let log = log.percent();
        assert_eq!(log.label(1e-3), "0.1\u{a0}%");
        assert_eq!(Axis::linear("x", -0.4, 0.4).label(-0.2), "\u{2212}0.2");
    }

    #[test]
    fn names_cannot_break_out_of_the_drawing() {
        let row = Category {
            name: "<script>".into(),
            rate: Some(0.1),
            lower: 0.0,
            upper: 0.2,
            note: "\"&".into(),
        };
        let svg = forest("t", "d", Axis::logarithmic("x", 1e-3, 1.0), &[row], Some((0.1, "<b>")));
        assert!(!svg.contains("<script") && !svg.contains("<b>") && svg.contains("&lt;script&gt;"));
    }

    proptest! {
        #[test]
        fn any_data_give_finite_coordinates(
            points in prop::collection::vec((prop::num::f64::ANY, prop::num::f64::ANY), 0..20),
            low: f64,
            high: f64,
        ) {
            for log in [false, true] {
                let finite = |v: f64| if v.is_finite() { v.clamp(-1e6, 1e6) } else { 0.0 };
                let axis = |n| {
                    if log {
                        Axis::logarithmic(n, finite(low).abs(), finite(high).abs())
                    } else {
                        Axis::linear(n, finite(low), finite(high))
                    }
                };
                let points: Vec<(f64, f64)> =
                    points.iter().map(|p| (finite(p.0), finite(p.1))).collect();
                let svg = Plot::new("t", "d", axis("x"), axis("y"))
                    .line(0, "a", &points)
                    .steps(1, "b", 0.1, &points)
                    .mark(finite(low), "m")
                    .finish();
                prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
            }
        }
    }
}
