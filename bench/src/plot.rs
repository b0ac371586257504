//! Draws a chart as SVG: lines over a few places, with the spread of each point. It brings its own background, so that it
//! reads on a dark page too.

/// The whole picture.
const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 430.0;

/// The field that the lines are in.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 560.0;

/// Where the list of lines is.
const LIST_LEFT: f64 = 584.0;
const LIST_STEP: f64 = 26.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 366.0;

/// Told apart by who sees colours differently, too (Okabe and Ito).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00"];

/// Lines of two charts' worth of sides are dashed in turn.
const DASHES: [&str; 3] = ["", "7 4", "2 4"];

/// What is drawn.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What stands below the places, and beside the field.
    pub(crate) across: String,
    pub(crate) up: String,
    pub(crate) places: Vec<String>,
    /// Whether each step up is a multiple of the one below.
    pub(crate) is_logarithmic: bool,
    pub(crate) lines: Vec<Line>,
}

/// One side's points.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Which colour and mark; lines of one side have the same.
    pub(crate) colour: usize,
    /// Which kind of dashes.
    pub(crate) dashes: usize,
    /// One a place.
    pub(crate) points: Vec<Option<Point>>,
}

/// The middle of several runs, and their ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Chart {
    /// The picture; `None`: there is nothing to draw.
    pub(crate) fn svg(&self) -> Option<String> {
        let points: Vec<Point> = self.lines.iter().flat_map(|line| &line.points).flatten().copied().collect();
        let drawn = points.iter().filter(|point| !self.is_logarithmic || point.min > 0.0);
        let (min, max) = drawn.fold((f64::INFINITY, 0.0_f64), |(min, max), p| (min.min(p.min), max.max(p.max)));
        if !(min.is_finite() && max > 0.0) {
            return None;
        }
        let scale = if self.is_logarithmic { Scale::logarithmic(min, max) } else { Scale::linear(max) };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\" font-family=\"system-ui, Helvetica, Arial, sans-serif\" font-size=\"14\" \
             fill=\"#1f2328\">\n<title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" \
             fill=\"#ffffff\"/>\n",
            title = escaped(&self.title)
        );
        svg += &text(LEFT, 30.0, "start", "font-size=\"16\" font-weight=\"600\"", &self.title);
        svg += &self.axes(&scale);
        let list_y = |nth: usize| TOP + 8.0 + LIST_STEP * nth as f64;
        for (nth, line) in self.lines.iter().enumerate() {
            svg += &self.line(line, &scale);
            svg += &legend(line, list_y(nth));
        }
        let (below, small) = (list_y(self.lines.len()), "font-size=\"12\" fill=\"#59636e\"");
        svg += &text(LIST_LEFT, below + 10.0, "start", small, "Medians of all runs, with the");
        svg += &text(LIST_LEFT, below + 26.0, "start", small, "smallest and the largest.");
        Some(svg + "</svg>\n")
    }

    fn axes(&self, scale: &Scale) -> String {
        let mut svg = String::new();
        for tick in &scale.ticks {
            let y = scale.y(*tick);
            svg += &format!("<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#d1d9e0\"/>\n");
            svg += &text(LEFT - 8.0, y + 5.0, "end", "", &grouped(*tick));
        }
        svg += &format!("<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" stroke=\"#59636e\" fill=\"none\"/>\n");
        for (nth, place) in self.places.iter().enumerate() {
            svg += &text(self.x(nth), BOTTOM + 21.0, "middle", "", place);
        }
        svg += &text(f64::midpoint(LEFT, RIGHT), BOTTOM + 46.0, "middle", "", &self.across);
        let (x, y) = (20.0, f64::midpoint(TOP, BOTTOM));
        svg + &text(x, y, "middle", &format!("transform=\"rotate(-90 {x} {y})\""), &self.up)
    }

    fn line(&self, line: &Line, scale: &Scale) -> String {
        let colour = COLOURS[line.colour % COLOURS.len()];
        let known = line.points.iter().enumerate().filter_map(|(nth, point)| Some((self.x(nth), (*point)?)));
        let known: Vec<(f64, Point)> = known.filter(|(_, point)| !self.is_logarithmic || point.min > 0.0).collect();
        let path: Vec<String> = known.iter().map(|(x, point)| format!("{x:.1} {:.1}", scale.y(point.median))).collect();
        let mut svg = stroke(&format!("M{}", path.join("L")), colour, line.dashes);
        for (x, point) in known {
            let (low, high) = (scale.y(point.min), scale.y(point.max));
            let (left, right) = (x - 4.0, x + 4.0);
            svg += &format!(
                "<path d=\"M{left:.1} {low:.1}H{right:.1}M{x:.1} {low:.1}V{high:.1}M{left:.1} {high:.1}H{right:.1}\" \
                 stroke=\"{colour}\"/>\n"
            );
            svg += &mark(x, scale.y(point.median), line.colour);
        }
        svg
    }

    /// The middle of a place.
    fn x(&self, nth: usize) -> f64 {
        LEFT + (RIGHT - LEFT) * (nth as f64 + 0.5) / self.places.len() as f64
    }
}

/// How a number becomes a height.
struct Scale {
    from: f64,
    to: f64,
    is_logarithmic: bool,
    ticks: Vec<f64>,
}

impl Scale {
    /// From 0 to a round number.
    fn linear(max: f64) -> Self {
        let rough = max / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let steps = (max / step).ceil();
        let ticks = (0..=steps as u32).map(|nth| f64::from(nth) * step).collect();
        Self { from: 0.0, to: step * steps, is_logarithmic: false, ticks }
    }

    /// Between 1, 2 or 5 times powers of ten; of more than three powers only these.
    fn logarithmic(min: f64, max: f64) -> Self {
        let powers = min.log10().floor() as i32..=max.log10().ceil() as i32;
        let times: &[f64] = if max / min > 1_000.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let ticks: Vec<f64> =
            powers.flat_map(|power| times.iter().map(move |times| times * 10_f64.powi(power))).collect();
        let from = ticks.iter().rposition(|tick| *tick <= min).unwrap_or(0);
        let to = ticks.iter().position(|tick| *tick >= max && *tick > ticks[from]).unwrap_or(ticks.len() - 1);
        Self {
            from: ticks[from].log10(),
            to: ticks[to].log10(),
            is_logarithmic: true,
            ticks: ticks[from..=to].to_vec(),
        }
    }

    fn y(&self, value: f64) -> f64 {
        let value = if self.is_logarithmic { value.log10() } else { value };
        BOTTOM - (BOTTOM - TOP) * (value - self.from) / (self.to - self.from)
    }
}

/// One line of the list of lines.
fn legend(line: &Line, y: f64) -> String {
    let (from, to) = (LIST_LEFT, LIST_LEFT + 32.0);
    let sample = stroke(&format!("M{from} {y}H{to}"), COLOURS[line.colour % COLOURS.len()], line.dashes);
    sample + &mark(f64::midpoint(from, to), y, line.colour) + &text(to + 8.0, y + 5.0, "start", "", &line.name)
}

fn stroke(path: &str, colour: &str, dashes: usize) -> String {
    let dashes = DASHES[dashes % DASHES.len()];
    format!("<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\" fill=\"none\"/>\n")
}

/// Another shape a colour.
fn mark(x: f64, y: f64, colour: usize) -> String {
    let path = match colour % 4 {
        0 => {
            return format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{}\"/>\n",
                COLOURS[colour % COLOURS.len()]
            );
        }
        1 => format!("M{:.1} {:.1}h8v8h-8z", x - 4.0, y - 4.0),
        2 => format!("M{x:.1} {:.1}l5.2 9h-10.4z", y - 5.5),
        _ => format!("M{x:.1} {:.1}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", y - 5.5),
    };
    format!("<path d=\"{path}\" fill=\"{}\"/>\n", COLOURS[colour % COLOURS.len()])
}

fn text(x: f64, y: f64, anchor: &str, more: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{}</text>\n", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// `1,000`; below 1 as it is.
pub(crate) fn grouped(value: f64) -> String {
    if value.fract().abs() > 1e-9 {
        return format!("{value:.3}").trim_end_matches('0').to_owned();
    }
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(is_logarithmic: bool, values: &[f64]) -> Chart {
        let point = |median: &f64| Some(Point { median: *median, min: median / 2.0, max: median * 2.0 });
        let line = Line { name: "a & b".to_owned(), colour: 0, dashes: 0, points: values.iter().map(point).collect() };
        let places = values.iter().map(ToString::to_string).collect();
        let [title, across, up] = ["<t>", "x", "y"].map(str::to_owned);
        Chart { title, across, up, places, is_logarithmic, lines: vec![line] }
    }

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        assert_eq!(Scale::linear(206.0).ticks, [0.0, 50.0, 100.0, 150.0, 200.0, 250.0]);
        assert_eq!(Scale::logarithmic(4.2, 33.4).ticks, [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(Scale::logarithmic(4.2, 5_431.0).ticks, [1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!(Scale::logarithmic(5.0, 5.0).ticks, [5.0, 10.0]);
    }

    #[test]
    fn greater_values_are_higher() {
        for scale in [Scale::linear(100.0), Scale::logarithmic(1.0, 100.0)] {
            assert_eq!((scale.y(scale.ticks[0]), scale.y(100.0)), (BOTTOM, TOP));
            assert!(scale.y(50.0) > scale.y(60.0));
        }
    }

    #[test]
    fn a_picture_has_a_mark_a_point_and_no_raw_text() {
        let svg = chart(true, &[5.0, 50.0]).svg().unwrap();
        assert_eq!(svg.matches("<circle").count(), 3, "two points and the list of lines");
        assert!(svg.contains("&lt;t&gt;") && svg.contains("a &amp; b") && !svg.contains("NaN"));
    }

    #[test]
    fn nothing_makes_no_picture() {
        assert!(chart(true, &[]).svg().is_none() && chart(true, &[0.0]).svg().is_none());
        assert!(chart(false, &[0.0]).svg().is_none());
    }

    #[test]
    fn numbers_are_grouped() {
        let pairs = [(0.05, "0.05"), (2.0, "2"), (999.0, "999"), (1_000.0, "1,000"), (1_234_567.0, "1,234,567")];
        pairs.into_iter().for_each(|(value, text)| assert_eq!(grouped(value), text));
    }
}
