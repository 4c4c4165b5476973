//! The learning curves of a [`History`] as SVG. Needs the feature `plot`.
#![expect(clippy::indexing_slicing, reason = "there are two panels")]

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::train::History;

const COLOURS: [RGBColor; 5] = [
    RGBColor(25, 70, 160),
    RGBColor(204, 51, 51),
    RGBColor(230, 145, 20),
    RGBColor(60, 140, 80),
    RGBColor(120, 80, 160),
];

/// The name of a metric, and its value in each epoch.
type Curve = (String, Vec<f64>);
type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

/// Draws `history` to the file `path`.
pub(super) fn draw(history: &History, path: &Path) -> Result<()> {
    let refuse =
        |problem: String| Error::Format { path: path.to_owned(), format: "curves", problem };
    let names = history.epochs.first().ok_or_else(|| refuse("no epochs".to_owned()))?;
    let of =
        |k: usize| history.epochs.iter().filter_map(|e| e.validation.get(k).map(|v| v.1)).collect();
    let names = names.validation.iter().enumerate();
    let figures: Vec<Curve> = names.map(|(k, (name, _))| (name.clone(), of(k))).collect();
    let (losses, others): (Vec<Curve>, Vec<Curve>) =
        figures.into_iter().partition(|(name, _)| name == "loss");
    let training = history.epochs.iter().map(|epoch| epoch.loss).collect();
    let mut upper = vec![("training".to_owned(), training)];
    upper.extend(losses.into_iter().map(|(_, values)| ("validation".to_owned(), values)));

    let area = SVGBackend::new(path, (800, if others.is_empty() { 360 } else { 720 }));
    let area = area.into_drawing_area();
    let drawn = (|| -> Outcome {
        area.fill(&WHITE)?;
        if others.is_empty() {
            panel(&area, "loss", &upper)?;
        } else {
            let panels = area.split_evenly((2, 1));
            panel(&panels[0], "loss", &upper)?;
            panel(&panels[1], "validation", &others)?;
        }
        Ok(area.present()?)
    })();
    drawn.map_err(|error| refuse(error.to_string()))
}

fn panel(area: &DrawingArea<SVGBackend<'_>, Shift>, title: &str, curves: &[Curve]) -> Outcome {
    let finite = curves.iter().flat_map(|(_, values)| values).filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
        (low.min(value), high.max(value))
    });
    let margin = 0.05 * (high - low).max(f64::MIN_POSITIVE);
    let (low, high) =
        if low < high { (low - margin, high + margin) } else { (low - 0.5, low + 0.5) };
    let epochs = curves.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(60)
        .build_cartesian_2d(1..epochs.max(2), low..high)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("epoch").draw()?;
    for ((name, values), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<(usize, f64)> =
            values.iter().enumerate().map(|(epoch, &value)| (epoch + 1, value)).collect();
        // A value that is not finite is a gap in the line.
        let lines = points.split(|(_, value)| !value.is_finite()).filter(|line| !line.is_empty());
        let lines = lines.map(|line| PathElement::new(line, colour.stroke_width(2)));
        chart
            .draw_series(lines)?
            .label(name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.9)).border_style(BLACK).draw()?;
    Ok(())
}
