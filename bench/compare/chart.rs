//! Bars, a panel a measure, on a logarithmic scale where the figures are far apart. Plain SVG that follows the
//! reader's light or dark setting.

use std::fmt::Write;

use crate::contenders::Kind;
use crate::results::{Measure, Row, figure};

const WIDTH: f64 = 720.0;
const NAME: f64 = 210.0;
const BAR: f64 = 400.0;
const LINE: f64 = 22.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.title{font-weight:600}.floor{fill:#9aa5b1}\
.ours{fill:#1a7f5a}.peer{fill:#c98a2b}@media(prefers-color-scheme:dark){text{fill:#ddd}}";

pub fn draw(measures: &[Measure]) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for measure in measures {
        y = panel(&mut body, measure, y);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" role=\"img\" \
         aria-label=\"go-overlay beside other supervisors\"><style>{STYLE}</style>\n{body}</svg>\n"
    )
}

fn panel(body: &mut String, measure: &Measure, top: f64) -> f64 {
    let rows: Vec<(&Row, f64)> = measure
        .rows
        .iter()
        .filter_map(|row| Some((row, row.median()?)))
        .collect();
    let most = rows.iter().map(|row| row.1).fold(0.0, f64::max);
    let least = rows
        .iter()
        .map(|row| row.1)
        .filter(|value| *value > 0.0)
        .fold(most, f64::min);
    let logarithmic = least > 0.0 && most / least > 30.0;
    let scale = if logarithmic { " (logarithmic)" } else { "" };
    let mut y = top + LINE;
    let _ = writeln!(
        body,
        "<text class=\"title\" x=\"0\" y=\"{y}\">{}{scale}</text>",
        measure.name
    );
    for (row, value) in rows {
        y += LINE;
        let length = match (logarithmic, value > 0.0) {
            (_, false) => 0.0,
            (true, true) => BAR * (value / least * 2.0).ln() / (most / least * 2.0).ln(),
            (false, true) => BAR * value / most,
        };
        let class = match row.kind {
            Kind::Floor => "floor",
            Kind::Ours => "ours",
            Kind::Peer => "peer",
        };
        let (bar, at) = (y - 12.0, NAME + length + 6.0);
        let _ = writeln!(
            body,
            "<text x=\"0\" y=\"{y}\">{}</text><rect class=\"{class}\" x=\"{NAME}\" y=\"{bar}\" width=\"{length:.1}\" \
             height=\"14\"/><text x=\"{at:.1}\" y=\"{y}\">{}</text>",
            row.contender,
            figure(value)
        );
    }
    y + LINE
}
