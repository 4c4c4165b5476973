//! The plots: gradient norms by word, and the gates of an LSTM over a sentence.

use std::path::Path;

use ndarray::{Array3, ArrayView1, Axis, s};
use plotters::prelude::*;

use crate::Figures;
use crate::common::options::Failure;
use crate::common::pictures::{Curve, curves, key};
use crate::reader::cell_state;

const COLOURS: [RGBColor; 4] =
    [RGBColor(204, 51, 51), RGBColor(230, 145, 20), RGBColor(120, 150, 215), RGBColor(25, 70, 160)];
/// The lower edge of the plot. Smaller norms are drawn there.
const LOWEST: f64 = 1e-14;

/// Plots ‖∂L/∂h_t‖ at each word of the sentence, before and after training.
pub(crate) fn flow(file: &Path, figures: &[Figures]) -> Result<(), Failure> {
    let area = SVGBackend::new(file, (1100, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((1, 2));
    for (k, (panel, title)) in panels.iter().zip(["before training", "after training"]).enumerate()
    {
        let words = figures.iter().map(|f| f.flows[k].len()).max().unwrap_or(1);
        let highest = figures.iter().flat_map(|f| &f.flows[k]).fold(1.0, |a: f64, &b| a.max(b));
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("Gradient reaching each word, {title}"), ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(66)
            .build_cartesian_2d(0..words, (LOWEST..10.0 * highest).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("word of the sentence (the question is at the right)")
            .y_desc("norm of dL/dh, log scale")
            .y_label_formatter(&|norm| format!("{norm:.0e}"))
            .label_style(("sans-serif", 13))
            .draw()?;
        for (Figures { name, flows, .. }, colour) in figures.iter().zip(COLOURS) {
            let points = flows[k].iter().enumerate().map(|(t, norm)| (t, norm.max(LOWEST)));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(*name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        key(&mut chart, SeriesLabelPosition::LowerRight)?;
    }
    area.present()?;
    Ok(())
}

/// Plots the accuracy of each network against the number of words after the city's name.
pub(crate) fn accuracy(file: &Path, figures: &[Figures], gaps: &[usize]) -> Result<(), Failure> {
    let points = |figures: &Figures| {
        let at = gaps.iter().map(|&gap| (gap as f64).log10());
        at.zip(figures.accuracies.iter().copied()).collect()
    };
    let drawn: Vec<Curve<'_>> =
        figures.iter().map(|f| Curve { name: f.name, points: points(f) }).collect();
    let axes = ("log10 of the words between the city and the blank", "accuracy");
    curves(file, "Is the city remembered?", axes, &drawn)
}

/// Plots the cell state of an LSTM with one unit under fixed gates i and f.
pub(crate) fn cell_states(file: &Path) -> Result<(), Failure> {
    let inputs: Vec<f32> = (0..12).map(|t| if t % 4 == 2 { 0.5 } else { 0.0 }).collect();
    let gates = [
        ("i = 1, f = 1: adds to what it keeps", [true, true]),
        ("i = 0, f = 1: keeps, reads nothing", [false, true]),
        ("i = 1, f = 0: only the last input", [true, false]),
        ("i = 0, f = 0: empty", [false, false]),
    ];
    let mut drawn = Vec::new();
    for (name, gates) in gates {
        let states = cell_state(&inputs, gates)?.into_iter().enumerate();
        let points = states.map(|(t, c)| ((t + 1) as f64, f64::from(c))).collect();
        drawn.push(Curve { name, points });
    }
    let title = "Cell state c from c = 1; the input is 0.5 at steps 3, 7 and 11";
    curves(file, title, ("step", "c"), &drawn)
}

/// Plots the forget and the input gates, both [time, 1, hidden], for a sentence of `words`. Each word is
/// a column and each unit a row, in the order of the mean forget gate. Dark cells are open gates.
pub(crate) fn gates(
    file: &Path,
    words: &[String],
    forget: &Array3<f32>,
    input: &Array3<f32>,
) -> Result<(), Failure> {
    let area = SVGBackend::new(file, (1100, 760)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((2, 1));
    let mean = |unit: usize| forget.slice(s![.., 0, unit]).sum();
    let mut order: Vec<usize> = (0..forget.dim().2).collect();
    order.sort_by(|&a, &b| mean(a).total_cmp(&mean(b)));
    let titles =
        ["Forget gate f (dark: keeps the cell)", "Input gate i (dark: writes to the cell)"];
    for ((panel, title), gate) in panels.iter().zip(titles).zip([forget, input]) {
        let gate = gate.slice(s![.., 0, ..]);
        let units = gate.ncols();
        let mut chart = ChartBuilder::on(panel)
            .caption(title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(82)
            .y_label_area_size(50)
            .build_cartesian_2d(0..words.len(), 0..units)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .disable_x_axis()
            .y_desc("units, by mean forget gate")
            .draw()?;
        let cell = |t: usize, row: usize, open: f32| {
            let paper = |ink: u8| (255.0 - open * f32::from(255 - ink)) as u8;
            let colour = RGBColor(paper(20), paper(50), paper(120));
            Rectangle::new([(t, row), (t + 1, row + 1)], colour.filled())
        };
        let column = |(t, gates): (usize, ArrayView1<'_, f32>)| {
            let cells = order.iter().enumerate().map(|(row, &unit)| cell(t, row, gates[unit]));
            cells.collect::<Vec<_>>()
        };
        chart.draw_series(gate.axis_iter(Axis(0)).enumerate().flat_map(column))?;
        let style = ("sans-serif", 13).into_font().transform(FontTransform::Rotate90);
        for (t, word) in words.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(t, 0));
            let (right, _) = chart.backend_coord(&(t + 1, 0));
            let origin = panel.get_base_pixel();
            let at = ((x + right) / 2 + 6 - origin.0, y + 6 - origin.1);
            panel.draw(&Text::new(word.as_str(), at, style.clone()))?;
        }
    }
    area.present()?;
    Ok(())
}
