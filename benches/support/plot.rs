//! A plot of lines against a size, with logarithmic axes, as an SVG file.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

const COLOURS: [RGBColor; 4] =
    [RGBColor(25, 70, 160), RGBColor(204, 51, 51), RGBColor(120, 150, 215), RGBColor(230, 145, 20)];

/// A line of the plot: its name, and a value at each size.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(usize, f64)>,
}

impl Line {
    /// Returns the value at `size`.
    pub(crate) fn at(&self, size: usize) -> Option<f64> {
        self.points.iter().find(|&&(at, _)| at == size).map(|&(_, value)| value)
    }

    /// Returns the line with `f` applied to each point.
    pub(crate) fn map(&self, f: impl Fn(usize, f64) -> f64) -> Self {
        let points = self.points.iter().map(|&(size, value)| (size, f(size, value))).collect();
        Self { name: self.name.clone(), points }
    }
}

/// Draws microseconds per step against the size `symbol`.
pub(crate) fn draw(
    file: &Path,
    title: &str,
    symbol: &str,
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let sizes = lines.iter().flat_map(|line| line.points.iter().map(|&(size, _)| size as f64));
    let values = lines.iter().flat_map(|line| line.points.iter().map(|&(_, value)| value));
    let (low, high) = ends(sizes);
    let (lowest, highest) = ends(values);
    // The base of the axis labels: sizes of a sweep double, or grow tenfold.
    let base = if high / low > 100.0 && low % 10.0 == 0.0 { 10.0 } else { 2.0 };
    let decade = |exponent: f64| 10_f64.powf(exponent);
    let area = SVGBackend::new(file, (820, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(66)
        .build_cartesian_2d(
            (low..high).log_scale().base(base),
            (decade(lowest.log10().floor())..decade(highest.log10().ceil())).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(symbol)
        .y_desc("microseconds a step")
        .x_label_formatter(&|size| format!("{size:.0}"))
        .y_label_formatter(&|value| format!("{value}"))
        .label_style(("sans-serif", 13))
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        let points: Vec<_> =
            line.points.iter().map(|&(size, value)| (size as f64, value)).collect();
        let dots = points.iter().map(|&point| Circle::new(point, 3, colour.filled()));
        chart.draw_series(dots)?;
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Returns the smallest and the largest of `values`.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high), value| (low.min(value), high.max(value)))
}
