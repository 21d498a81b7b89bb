//! How waits grow with the number of events: a drawing, both ways by powers of ten.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Sizes that are measured: the search of ten million goes without its number in the names of its figures.
pub const SIZES: [usize; 4] = [1_000_000, 3_000_000, 10_000_000, 30_000_000];
/// A size that is not measured.
const FAR: f64 = 100_000_000.0;
/// Kinds of questions, as they are named, and their colour, which is seen on light and on dark.
const KINDS: [(&str, &str); 4] = [
    ("first_page", "#3b82c4"),
    ("timeline", "#c2571a"),
    ("facets", "#2e8b57"),
    ("facets_filtered", "#8e5bb5"),
];

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 46.0;
/// Milliseconds at the lower and the upper edge.
const LEAST: f64 = 1.0;
const MOST: f64 = 3_000.0;

/// One kind of question: sizes and milliseconds, the smaller sizes first.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    name: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

impl Line {
    /// Milliseconds at a size by the power law that lies nearest to the points; none of fewer than two.
    fn at(&self, size: f64) -> Option<f64> {
        let count = self.points.len() as f64;
        if count < 2.0 {
            return None;
        }
        let logs: Vec<_> = self.points.iter().map(|(size, ms)| (size.ln(), ms.ln())).collect();
        let (mean_x, mean_y) = (
            logs.iter().map(|at| at.0).sum::<f64>() / count,
            logs.iter().map(|at| at.1).sum::<f64>() / count,
        );
        let over = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>();
        let slope = over / logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
        Some((slope.mul_add(size.ln() - mean_x, mean_y)).exp())
    }
}

/// What begins the names of the figures of a search of so many events of fifty tenants.
pub fn prefix(size: usize) -> String {
    if size == 10_000_000 { "search".to_owned() } else { format!("search.{size}") }
}

/// The lines that figures give.
pub fn lines(figures: &BTreeMap<&str, f64>) -> Vec<Line> {
    let line = |(name, colour): (&'static str, &'static str)| {
        let point = |size: usize| {
            let ms = *figures.get(format!("{}.{name}_p95_ms", prefix(size)).as_str())?;
            Some((size as f64, ms))
        };
        let points = SIZES.into_iter().filter_map(point).collect();
        Line { name, colour, points }
    };
    KINDS.into_iter().map(line).filter(|line| !line.points.is_empty()).collect()
}

/// The drawing, as SVG.
pub fn drawing(lines: &[Line]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#888\">\n<title>95th percentile of the wait for an answer, by the number of events</title>\n"
    );
    for ms in [1.0, 10.0, 100.0, 1_000.0] {
        let y = down(ms);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#888\" stroke-opacity=\".3\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ms} ms</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0
        );
    }
    for size in SIZES.map(|size| size as f64).into_iter().chain([FAR]) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} M</text>",
            across(size),
            HEIGHT - BOTTOM + 18.0,
            size / 1e6
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">events; dashed: not measured, by the power law of what is</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0
    );
    let mut ends: Vec<f64> = Vec::new();
    for line in lines {
        let colour = line.colour;
        let path: Vec<_> =
            line.points.iter().map(|(size, ms)| format!("{:.1} {:.1}", across(*size), down(*ms))).collect();
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join("L")
        );
        for (size, ms) in &line.points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{} of {} M: {ms:.1} ms</title></circle>",
                across(*size),
                down(*ms),
                line.name,
                size / 1e6
            );
        }
        let last = line.points[line.points.len() - 1];
        let (mut end, mut told) = (last, format!("{} {:.0} ms", line.name, last.1));
        if let Some(far) = line.at(FAR) {
            let (x, y, to) = (across(last.0), down(last.1), down(far));
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {y:.1}L{:.1} {to:.1}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"4 4\"/>",
                across(FAR)
            );
            (end, told) = ((FAR, far), format!("{} ~{far:.0} ms", line.name));
        }
        // Names that would lie on one another stand below one another.
        let mut y = down(end.1) + 4.0;
        while ends.iter().any(|other| (other - y).abs() < 13.0) {
            y += 13.0;
        }
        ends.push(y);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{told}</text>",
            across(end.0) + 8.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn across(size: f64) -> f64 {
    let (from, to) = ((SIZES[0] as f64).ln(), FAR.ln());
    LEFT + (size.ln() - from) / (to - from) * (WIDTH - LEFT - RIGHT)
}

fn down(ms: f64) -> f64 {
    let share = (ms.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_ahead_follows_the_power_law_of_what_is_measured() {
        let points = vec![(1e6, 10.0), (3e6, 30.0), (1e7, 100.0), (3e7, 300.0)];
        let line = Line { name: "a", colour: "#000", points };
        assert!((line.at(FAR).expect("points") - 1_000.0).abs() < 1e-6);
        let one = Line { points: vec![(1e6, 10.0)], ..line };
        assert_eq!(one.at(FAR), None);
    }

    #[test]
    fn a_drawing_has_the_points_that_were_measured_and_no_other() {
        let figures = BTreeMap::from([
            ("search.1000000.first_page_p95_ms", 4.0),
            ("search.first_page_p95_ms", 5.0),
            ("search.facets_p95_ms", 25.0),
            ("search.single.first_page_p95_ms", 9.0),
        ]);
        let lines = lines(&figures);
        assert_eq!(lines[0].points, [(1e6, 4.0), (1e7, 5.0)]);
        let svg = drawing(&lines);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("stroke-dasharray").count(), 1, "of one point nothing follows");
    }
}
