//! Pictures with captions: read from files, or generated.

use std::path::Path;

use ndarray::{Array2, Array3, Array4, ArrayView3, Axis};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::data::{Table, read_npy};

use crate::common::options::Failure;

/// The side of a picture, and that of a region, in pixels.
pub(crate) const SIDE: usize = 24;
pub(crate) const REGION: usize = 4;
/// The number of regions in a row of regions.
pub(crate) const ACROSS: usize = SIDE / REGION;

/// Pictures [picture, row, column, colour], from 0 to 255, and their captions.
pub(crate) struct Captioned {
    pub(crate) pictures: Array4<f32>,
    pub(crate) captions: Vec<String>,
}

/// Reads pictures [picture, 24, 24, 3].
pub(crate) fn read_pictures(file: &Path) -> Result<Array4<f32>, Failure> {
    let pictures: Array4<f32> = read_npy(file)?;
    if pictures.shape()[1..] != [SIDE, SIDE, 3] {
        let (file, shape) = (file.display(), pictures.shape());
        return Err(Failure::new(format!(
            "{file}: expected [pictures, {SIDE}, {SIDE}, 3], got {shape:?}"
        )));
    }
    Ok(pictures)
}

/// Reads pictures, and the captions in the column of that name.
pub(crate) fn read(pictures: &Path, captions: &Path) -> Result<Captioned, Failure> {
    let table = Table::reader().delimiter(b'\t').read(captions)?;
    let (pictures, captions) = (read_pictures(pictures)?, table.column::<String>("caption")?);
    if pictures.len_of(Axis(0)) != captions.len() {
        let (pictures, captions) = (pictures.len_of(Axis(0)), captions.len());
        return Err(Failure::new(format!("expected {pictures} captions, got {captions}")));
    }
    Ok(Captioned { pictures, captions })
}

/// Returns scenes of two coloured shapes, one above or to the left of the other.
pub(crate) fn generated(count: usize, seed: u64) -> Captioned {
    const COLOURS: [(&str, [f32; 3]); 4] = [
        ("red", [210.0, 40.0, 40.0]),
        ("green", [40.0, 150.0, 60.0]),
        ("blue", [40.0, 70.0, 200.0]),
        ("yellow", [240.0, 200.0, 40.0]),
    ];
    const SHAPES: [&str; 4] = ["circle", "square", "triangle", "cross"];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pictures = Array4::from_elem((count, SIDE, SIDE, 3), 255.0);
    let mut captions = Vec::new();
    for mut picture in pictures.outer_iter_mut() {
        let (above, mut names) = (rng.random::<bool>(), Vec::new());
        for place in 0..2 {
            let (colour, rgb) = COLOURS.choose(&mut rng).copied().unwrap_or_default();
            let shape = rng.random_range(0..SHAPES.len());
            // The middle of the shape along the axis of the scene, and across it.
            let (along, across) = (5 + 12 * place, rng.random_range(6..17));
            let (y, x) = if above { (along, across) } else { (across, along) };
            for ((row, column), pixel) in
                ndarray::indices((9, 9)).into_iter().map(|cell| (cell, rgb))
            {
                let (dy, dx) = (row as i32 - 4, column as i32 - 4);
                let inside = match SHAPES[shape] {
                    "circle" => dy * dy + dx * dx <= 17,
                    "square" => dy.abs() <= 3 && dx.abs() <= 3,
                    "triangle" => 2 * dx.abs() <= dy + 4,
                    _ => dy.abs().min(dx.abs()) <= 1,
                };
                if inside {
                    let (y, x) = (y + row - 4, x + column - 4);
                    (0..3).for_each(|k| picture[[y, x, k]] = pixel[k]);
                }
            }
            names.push(format!("{colour} {}", SHAPES[shape]));
        }
        captions.push(names.join(if above { " above a " } else { " left of a " }));
    }
    Captioned { pictures, captions: captions.iter().map(|names| format!("a {names}")).collect() }
}

/// Returns the pixels of the regions of a picture, [regions, pixels × colours], with mean near 0.
pub(crate) fn regions(picture: ArrayView3<'_, f32>) -> Array2<f32> {
    let values = REGION * REGION * 3;
    Array2::from_shape_fn((ACROSS * ACROSS, values), |(region, value)| {
        let (pixel, colour) = (value / 3, value % 3);
        let y = region / ACROSS * REGION + pixel / REGION;
        let x = region % ACROSS * REGION + pixel % REGION;
        (picture[[y, x, colour]] - 210.0) / 70.0
    })
}

/// Returns the caption of the picture in `known` whose pixels are nearest to those of each picture.
pub(crate) fn nearest(known: &Captioned, pictures: &Array4<f32>) -> Vec<String> {
    let distance = |a: ArrayView3<'_, f32>, b: &Array3<f32>| -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    };
    let caption_of = |picture: ArrayView3<'_, f32>| {
        let picture = picture.to_owned();
        let distances = known.pictures.outer_iter().map(|other| distance(other, &picture));
        let best = distances.zip(&known.captions).min_by(|a, b| a.0.total_cmp(&b.0));
        best.map_or(String::new(), |(_, caption)| caption.clone())
    };
    pictures.outer_iter().map(caption_of).collect()
}
