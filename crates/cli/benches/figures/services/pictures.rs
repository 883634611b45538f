//! The pictures of docs/scaling.md: cost against size, both axes logarithmic, one line for each proxy.

use std::{fmt::Write as _, fs};

use super::{
    results::{Results, Value, path},
    size::Size,
};

/// One picture.
struct Picture {
    file: &'static str,
    title: &'static str,
    unit: &'static str,
    what: &'static str,
    /// A line across, and what it says.
    goal: Option<(f64, &'static str)>,
}

const PICTURES: [Picture; 6] = [
    Picture { file: "cold-start", title: "Cold start", unit: "s", what: "cold start s", goal: None },
    Picture {
        file: "change",
        title: "An endpoint swapped: API write to first packet, p99",
        unit: "ms",
        what: "endpoint swapped p99 ms",
        goal: Some((15.0, "15 ms")),
    },
    Picture {
        file: "cpu",
        title: "Processor time of one change",
        unit: "ms",
        what: "CPU of a change ms",
        goal: Some((1.0, "1 ms")),
    },
    Picture { file: "memory", title: "Peak memory of the proxy", unit: "MiB", what: "peak memory MiB", goal: None },
    Picture {
        file: "kernel",
        title: "Memory of the kernel's tables",
        unit: "MiB",
        what: "kernel memory MiB",
        goal: None,
    },
    Picture { file: "restart", title: "Restart with nothing changed", unit: "s", what: "restart s", goal: None },
];

/// By name, with the line's colour.
const PROXIES: [(&str, &str); 3] =
    [("stead", "#0b6e4f"), ("kube-proxy nftables", "#c0392b"), ("kube-proxy iptables", "#7f6a93")];

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 76.0;

/// Draws every picture that there are values for.
pub(crate) fn draw(results: &Results) {
    let folder = path("scaling");
    fs::create_dir_all(&folder).expect("a folder for the pictures");
    for picture in &PICTURES {
        if let Some(text) = picture.render(results) {
            fs::write(folder.join(format!("{}.svg", picture.file)), text).expect("a picture");
        }
    }
}

/// From values to places on the picture.
struct Scale {
    x: (f64, f64),
    y: (f64, f64),
}

impl Scale {
    /// Whole powers of ten around all values.
    fn around(points: &[(f64, f64)]) -> Self {
        let reach = |values: &mut dyn Iterator<Item = f64>| {
            let (least, most) = values.fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(value), b.max(value)));
            (least.log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0))
        };
        Self { x: reach(&mut points.iter().map(|point| point.0)), y: reach(&mut points.iter().map(|point| point.1)) }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value.log10() - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value.log10() - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }
}

fn number(value: Value) -> f64 {
    /// What is less cannot be told from nothing here.
    const LEAST: f64 = 1e-3;
    match value {
        Value::Exactly(value) | Value::MoreThan(value) => value.max(LEAST),
    }
}

impl Picture {
    fn render(&self, results: &Results) -> Option<String> {
        let lines = PROXIES.map(|(proxy, colour)| (proxy, colour, results.line(self.what, proxy)));
        let points = lines.iter().flat_map(|(.., line)| line);
        let mut points: Vec<_> = points.map(|(size, value)| (size.objects() as f64, number(*value))).collect();
        let first = *points.first()?;
        points.extend(self.goal.map(|(goal, _)| (first.0, goal)));
        let scale = Scale::around(&points);
        let mut svg = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
<text x="{LEFT}" y="22" font-size="16">{} ({})</text>
"##,
            self.title, self.unit
        );
        axes(&mut svg, &scale);
        if let Some((goal, words)) = self.goal {
            let y = scale.y(goal);
            let _ = writeln!(
                svg,
                r##"<path d="M{LEFT} {y:.1}H{}" stroke="#888" stroke-dasharray="6 4"/><text x="{}" y="{:.1}" text-anchor="end">goal {words}</text>"##,
                WIDTH - RIGHT,
                WIDTH - RIGHT,
                y - 4.0
            );
        }
        let mut legend = LEFT;
        for (proxy, colour, line) in lines.iter().filter(|(.., line)| !line.is_empty()) {
            let _ = writeln!(
                svg,
                r##"<path d="M{legend} 40h20" stroke="{colour}" stroke-width="3"/><text x="{}" y="44">{proxy}</text>"##,
                legend + 26.0
            );
            legend += 60.0 + 7.0 * proxy.len() as f64;
            draw_line(&mut svg, &scale, colour, line);
        }
        name_sizes(&mut svg, &scale, &lines.each_ref().map(|(.., line)| line.as_slice()));
        svg += "</svg>\n";
        Some(svg)
    }
}

fn axes(svg: &mut String, scale: &Scale) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for power in scale.y.0 as i32..=scale.y.1 as i32 {
        let y = scale.y(10f64.powi(power));
        let words = if power < 0 {
            format!("{:.*}", power.unsigned_abs() as usize, 10f64.powi(power))
        } else {
            format!("{}", 10f64.powi(power))
        };
        let _ = writeln!(
            svg,
            r##"<path d="M{LEFT} {y:.1}H{right}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{words}</text>"##,
            LEFT - 6.0,
            y + 4.0
        );
    }
    for power in scale.x.0 as i32..=scale.x.1 as i32 {
        let x = scale.x(10f64.powi(power));
        let _ = writeln!(svg, r##"<path d="M{x:.1} {TOP}V{bottom}" stroke="#eee"/>"##);
    }
    let _ = writeln!(
        svg,
        r##"<text x="{}" y="{}" text-anchor="middle">Services × endpoints of each, by Services and endpoints together</text>"##,
        (LEFT + right) / 2.0,
        HEIGHT - 10.0
    );
}

fn draw_line(svg: &mut String, scale: &Scale, colour: &str, line: &[(Size, Value)]) {
    let place = |(size, value): &(Size, Value)| (scale.x(size.objects() as f64), scale.y(number(*value)));
    let points: Vec<_> = line.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ =
        writeln!(svg, r##"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"##, points.join(" "));
    for point in line {
        let (x, y) = place(point);
        let _ = match point.1 {
            Value::Exactly(_) => writeln!(svg, r##"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"##),
            // It would be further up.
            Value::MoreThan(_) => {
                writeln!(svg, r##"<path d="M{x:.1} {:.1}l-6 12h12z" fill="{colour}"/>"##, y - 8.0)
            }
        };
    }
}

/// Below the axis, each size once; those that are close to each other a line apart.
fn name_sizes(svg: &mut String, scale: &Scale, lines: &[&[(Size, Value)]]) {
    let mut sizes: Vec<Size> = lines.iter().copied().flatten().map(|(size, _)| *size).collect();
    sizes.sort_by_key(|size| size.objects());
    sizes.dedup();
    for (place, size) in sizes.iter().enumerate() {
        let (x, y) = (scale.x(size.objects() as f64), HEIGHT - BOTTOM + 16.0 + 15.0 * (place % 3) as f64);
        let words = format!("{} × {}", size.services, size.endpoints);
        let _ = writeln!(svg, r##"<text x="{x:.1}" y="{y:.1}" text-anchor="middle" font-size="11">{words}</text>"##);
    }
}
