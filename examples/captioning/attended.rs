//! A picture of pictures: each with the weights of attention to its regions, word by word.

use std::path::Path;

use ndarray::{Array2, Array3};
use plotters::prelude::*;

use crate::common::options::Failure;
use crate::scenes::{ACROSS, REGION, SIDE};

/// A picture [row, column, colour], the words of its caption and the weights of its regions for each
/// word, [words, regions].
pub(crate) struct Attended {
    pub(crate) picture: Array3<f32>,
    pub(crate) words: Vec<String>,
    pub(crate) weights: Array2<f32>,
}

/// Draws pictures one below the other. Right of each are its words, in order; below each word the regions, the darker
/// the more the decoder attended to them before it wrote the word.
pub(crate) fn draw(file: &Path, all: &[Attended]) -> Result<(), Failure> {
    const PIXEL: i32 = 4;
    const WIDE: i32 = PIXEL * SIDE as i32;
    const GAP: i32 = 24;
    let columns = all.iter().map(|one| one.words.len()).max().unwrap_or(0) as i32 + 1;
    let size = (columns * (WIDE + GAP) + GAP, all.len() as i32 * (WIDE + 2 * GAP));
    let area = SVGBackend::new(file, (size.0 as u32, size.1 as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let square = |(x, y): (i32, i32), side: i32, colour: RGBColor| {
        area.draw(&Rectangle::new([(x, y), (x + side, y + side)], colour.filled()))
    };
    for (i, one) in all.iter().enumerate() {
        let top = i as i32 * (WIDE + 2 * GAP) + GAP;
        for y in 0..SIDE {
            for x in 0..SIDE {
                let colour = [0, 1, 2].map(|k| one.picture[[y, x, k]] as u8);
                let place = (GAP + PIXEL * x as i32, top + PIXEL * y as i32);
                // The ground is white already.
                if colour == [255; 3] {
                    continue;
                }
                square(place, PIXEL, RGBColor(colour[0], colour[1], colour[2]))?;
            }
        }
        for (j, (word, weights)) in one.words.iter().zip(one.weights.rows()).enumerate() {
            let left = GAP + (j as i32 + 1) * (WIDE + GAP);
            area.draw(&Text::new(word.as_str(), (left, top - 16), ("monospace", 14)))?;
            let most = weights.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            for (region, weight) in weights.iter().enumerate() {
                let side = PIXEL * REGION as i32;
                let (row, column) = (region / ACROSS, region % ACROSS);
                let light = (245.0 * (1.0 - weight / most)) as u8;
                let place = (left + side * column as i32, top + side * row as i32);
                square(place, side, RGBColor(light, light, 245))?;
            }
        }
    }
    area.present()?;
    Ok(())
}
