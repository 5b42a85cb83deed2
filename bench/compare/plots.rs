//! Two plots: throughput and latency by connections; cost against growth.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::cases::batch::{DECRYPT_ALL, LIMIT};
use crate::cases::calls::DECRYPT_VALUE;
use crate::cases::growth::{GROWTH, STORES};
use crate::figures::number;
use crate::launches::{CLUSTER, ECHO, FSYNC, FSYNC_TWO, NODE, OS, OS_TWO};
use crate::report::{Report, Row};
use crate::setting::Setting;

const SIZE: (u32, u32) = (1500, 520);
/// Width of what names the lines.
const LEGEND: u32 = 210;
const FONT: &str = "sans-serif";

/// What is drawn on one pair of axes, both logarithmic.
struct Panel<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// Writes both, as far as their rows were measured.
pub(crate) fn write(report: &Report, setting: &Setting) -> anyhow::Result<()> {
    let servers = [FSYNC, FSYNC_TWO, OS, OS_TWO, NODE, CLUSTER, ECHO];
    let by_connections = |title, y, figure: fn(&Row) -> f64| Panel {
        title,
        x: "connections",
        y,
        lines: servers.map(|name| (name, points(report, DECRYPT_VALUE, name, figure))).into(),
    };
    let throughput = by_connections("/decrypt-value: throughput", "requests/s", |row| row.figures.median());
    let latency = by_connections("/decrypt-value: latency, p99", "µs", |row| {
        row.p99_us.as_ref().map_or(f64::NAN, |samples| samples.median())
    });
    draw(&setting.out.join("throughput.svg"), &[throughput, latency])?;

    let cost: fn(&Row) -> f64 = |row| 1e6 / row.figures.median();
    let projects = Panel {
        title: "/decrypt-value that must ask the store",
        x: "projects in the store",
        y: "µs of the whole machine for a call",
        lines: STORES.map(|name| (name, points(report, GROWTH, name, cost))).into(),
    };
    let variables = Panel {
        title: "/decrypt-all",
        x: "secrets in a call",
        y: "µs of the whole machine for a call",
        lines: [FSYNC, OS, NODE, CLUSTER, LIMIT].map(|name| (name, points(report, DECRYPT_ALL, name, cost))).into(),
    };
    draw(&setting.out.join("growth.svg"), &[projects, variables])
}

fn points(report: &Report, case: &str, what: &str, figure: fn(&Row) -> f64) -> Vec<(f64, f64)> {
    report.series(case, what).map(|row| (row.at, figure(row))).filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
}

fn draw(path: &Path, panels: &[Panel<'_>; 2]) -> anyhow::Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, panel) in root.split_evenly((1, 2)).iter().zip(panels) {
        draw_panel(area, panel).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: &Panel<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let all = || panel.lines.iter().flat_map(|(_, points)| points);
    if all().next().is_none() {
        area.draw(&Text::new(format!("{}: not measured", panel.title), (20, 20), (FONT, 18)))?;
        return Ok(());
    }
    let ends = |of: fn(&(f64, f64)) -> f64| {
        all().map(of).fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (left, right) = ends(|point| point.0);
    // Whole powers of ten, or an axis might have no label.
    let (low, high) = ends(|point| point.1);
    let (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
    let (plot, legend) = area.split_horizontally(SIZE.0 / 2 - LEGEND);
    let mut chart = ChartBuilder::on(&plot)
        .caption(panel.title, (FONT, 20))
        .margin(12)
        .x_label_area_size(45)
        .y_label_area_size(85)
        .build_cartesian_2d((left / 1.3..right * 1.3).log_scale(), (low..high.max(low * 10.0)).log_scale())?;
    let whole = |value: &f64| number(*value).trim_end_matches(".00").to_owned();
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(panel.x).y_desc(panel.y).label_style((FONT, 13)).light_line_style(WHITE);
    mesh.x_label_formatter(&whole).y_label_formatter(&whole).draw()?;
    for (index, (name, points)) in panel.lines.iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        chart.draw_series(LineSeries::new(points.iter().copied(), style).point_size(4))?;
        let y = 70 + 22 * i32::try_from(index)?;
        legend.draw(&PathElement::new([(0, y), (18, y)], style))?;
        legend.draw(&Text::new((*name).to_owned(), (24, y - 6), (FONT, 13)))?;
    }
    Ok(())
}
