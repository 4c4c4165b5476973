//! Pictures as SVG: heat maps, curves and marked words.
#![allow(dead_code, reason = "an example uses a part of it")]

use std::path::Path;

use ndarray::ArrayView2;
use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;

use super::options::Failure;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(crate) const COLOURS: [RGBColor; 6] = [
    RGBColor(25, 70, 160),
    RGBColor(204, 51, 51),
    RGBColor(230, 145, 20),
    RGBColor(40, 130, 80),
    RGBColor(120, 150, 215),
    RGBColor(130, 80, 150),
];
const CHARACTER: i32 = 8;

/// Returns white for 0 and dark blue for 1.
fn shade(value: f64) -> RGBColor {
    let mix = |dark: f64| (255.0 + (dark - 255.0) * value.clamp(0.0, 1.0)) as u8;
    RGBColor(mix(25.0), mix(70.0), mix(160.0))
}

/// Returns the width of `text` in pixels; wide characters such as Hangul count twice.
fn width(text: &str) -> i32 {
    text.chars().map(|c| if c >= '\u{1100}' { 2 * CHARACTER } else { CHARACTER }).sum()
}

/// A matrix with the labels of its rows and columns.
pub(crate) struct HeatMap<'a> {
    pub(crate) title: String,
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    pub(crate) values: ArrayView2<'a, f32>,
    /// Whether each cell shows its value.
    pub(crate) numbers: bool,
}

/// Draws heat maps one below the other. White is the smallest value of a map and dark blue the largest.
pub(crate) fn heat_maps(file: &Path, maps: &[HeatMap<'_>]) -> Result<(), Failure> {
    let widest = maps.iter().map(|map| map.columns.len()).max().unwrap_or(0);
    let side = if widest > 32 { 13 } else { 26 };
    let longest = |labels: &[String]| labels.iter().map(|label| width(label)).max().unwrap_or(0);
    let size = |map: &HeatMap<'_>| {
        let (left, top) = (longest(&map.rows) + 16, longest(&map.columns) + 48);
        let wide = left + side * map.columns.len() as i32 + 16;
        (left, top, wide.max(width(&map.title) + 32), top + side * map.rows.len() as i32 + 12)
    };
    let sizes: Vec<_> = maps.iter().map(size).collect();
    let wide = sizes.iter().map(|size| size.2).max().unwrap_or(0) as u32;
    let area = SVGBackend::new(file, (wide, sizes.iter().map(|size| size.3).sum::<i32>() as u32))
        .into_drawing_area();
    area.fill(&WHITE)?;
    let mut offset = 0;
    for (map, &(left, top, _, high)) in maps.iter().zip(&sizes) {
        write(&area, &map.title, (12, offset + 8), 16)?;
        let least = map.values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = map.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let vertical = ("monospace", 13).into_font().transform(FontTransform::Rotate270);
        for (j, label) in map.columns.iter().enumerate() {
            let place = (left + side * j as i32 + 6, offset + top - 6);
            area.draw(&Text::new(label.as_str(), place, vertical.clone()))?;
        }
        for (i, label) in map.rows.iter().enumerate() {
            let y = offset + top + side * i as i32;
            write(&area, label, (left - width(label) - 8, y + 6), 13)?;
            for (j, &value) in map.values.row(i).iter().enumerate() {
                let x = left + side * j as i32;
                let level = f64::from((value - least) / (most - least).max(f32::MIN_POSITIVE));
                let cell = [(x, y), (x + side - 1, y + side - 1)];
                area.draw(&Rectangle::new(cell, shade(level).filled()))?;
                if map.numbers {
                    let ink = if level > 0.5 { WHITE } else { BLACK };
                    let number = format!("{value:.0}");
                    let x = x + (side - 6 * number.len() as i32) / 2;
                    area.draw(&Text::new(
                        number,
                        (x, y + 8),
                        ("monospace", 10).into_font().color(&ink),
                    ))?;
                }
            }
        }
        offset += high;
    }
    area.present()?;
    Ok(())
}

/// Returns `value` with three digits or more.
fn number(value: &f64) -> String {
    let decimals = if value.abs() < 10.0 { 2 } else { usize::from(value.abs() < 100.0) };
    format!("{value:.decimals$}")
}

fn write(area: &Area<'_>, text: &str, place: (i32, i32), size: i32) -> Result<(), Failure> {
    area.draw(&Text::new(text, place, ("monospace", size)))?;
    Ok(())
}

/// A curve with its name.
pub(crate) struct Curve<'a> {
    pub(crate) name: &'a str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws curves in one chart, with the descriptions of its axes.
pub(crate) fn curves(
    file: &Path,
    title: &str,
    (x, y): (&str, &str),
    curves: &[Curve<'_>],
) -> Result<(), Failure> {
    let area = SVGBackend::new(file, (820, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let points = || curves.iter().flat_map(|curve| &curve.points).filter(|p| p.1.is_finite());
    let range = |of: fn(&(f64, f64)) -> f64| {
        let low = points().map(of).fold(f64::INFINITY, f64::min);
        let high = points().map(of).fold(f64::NEG_INFINITY, f64::max);
        if low < high { low..high } else { low - 0.5..low + 0.5 }
    };
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(66)
        .build_cartesian_2d(range(|p| p.0), range(|p| p.1))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .label_style(("sans-serif", 13))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    key(&mut chart, SeriesLabelPosition::MiddleRight)?;
    area.present()?;
    Ok(())
}

/// Draws the names of the series of a chart.
pub(crate) fn key<'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, C>,
    position: SeriesLabelPosition,
) -> Result<(), Failure> {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}

/// A word with a background colour and its strength from 0 to 1, and a note below it.
pub(crate) struct Marked {
    pub(crate) word: String,
    pub(crate) colour: RGBColor,
    pub(crate) strength: f64,
    pub(crate) note: String,
}

/// A row of the picture: the title of a line or, without one, words with their places.
type Words<'a> = (Option<&'a str>, Vec<(i32, &'a Marked)>);

/// Draws lines of marked words, each line below its title.
pub(crate) fn marked_words(file: &Path, lines: &[(String, Vec<Marked>)]) -> Result<(), Failure> {
    const WIDE: i32 = 980;
    const ROW: i32 = 44;
    let step = |mark: &Marked| width(&mark.word).max(width(&mark.note)) + 10;
    // The words of each line by rows, so that none passes the right edge.
    let mut rows: Vec<Words<'_>> = Vec::new();
    for (title, words) in lines {
        rows.push((Some(title), Vec::new()));
        let mut x = WIDE;
        for mark in words {
            if x + step(mark) > WIDE - 12 {
                x = 12;
                rows.push((None, Vec::new()));
            }
            if let Some((_, row)) = rows.last_mut() {
                row.push((x, mark));
            }
            x += step(mark);
        }
    }
    let area = SVGBackend::new(file, (WIDE as u32, (ROW * rows.len() as i32 + 12) as u32))
        .into_drawing_area();
    area.fill(&WHITE)?;
    for (i, (title, words)) in rows.iter().enumerate() {
        let y = ROW * i as i32 + 8;
        if let Some(title) = title {
            write(&area, title, (12, y + 14), 15)?;
        }
        for &(x, mark) in words {
            let corners = [(x - 3, y), (x + width(&mark.word) + 3, y + 20)];
            let back = mark.colour.mix(mark.strength.clamp(0.0, 1.0));
            area.draw(&Rectangle::new(corners, back.filled()))?;
            write(&area, &mark.word, (x, y + 4), 13)?;
            write(&area, &mark.note, (x, y + 24), 11)?;
        }
    }
    area.present()?;
    Ok(())
}
