//! Scenes of two handwritten digits, with their captions.

use ndarray::{Array2, ArrayView1};
use rand::{Rng, RngExt};
use recurrent::data::Table;

use crate::common::data::data;
use crate::common::options::Failure;

/// The sides in pixels of a digit and of a scene.
const DIGIT: usize = 8;
pub(crate) const CANVAS: usize = 17;

/// The vocabulary of captions. The first word ends a caption and is also the input before its first word.
pub(crate) const WORDS: [&str; 18] = [
    ".", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "a", "an",
    "above", "below", "left", "right", "of",
];
pub(crate) const END: usize = 0;
/// The number of words of the longest caption, with its end: "a three left of a seven .".
pub(crate) const LONGEST: usize = 7;

/// The digits of a file.
pub(crate) struct Digits {
    /// Pixels from 0 to 1, one digit a row.
    pixels: Array2<f32>,
    /// The rows of each digit from 0 to 9.
    rows: Vec<Vec<usize>>,
}

impl Digits {
    pub(crate) fn read(file: &str) -> Result<Self, Failure> {
        let table = Table::read(data(file))?;
        let mut rows = vec![Vec::new(); 10];
        for (row, label) in table.column::<usize>("label")?.into_iter().enumerate() {
            rows[label].push(row);
        }
        let pixels: Vec<&str> = table.names().iter().skip(1).map(String::as_str).collect();
        Ok(Self { pixels: table.values(&pixels)? / 16.0, rows })
    }

    /// Returns the pixels of a random image of `digit`, row by row.
    fn draw(&self, digit: usize, rng: &mut dyn Rng) -> ArrayView1<'_, f32> {
        let rows = &self.rows[digit];
        self.pixels.row(rows[rng.random_range(0..rows.len())])
    }
}

/// The arrangement of a scene: `first` is above `second`, or left of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrangement {
    first: usize,
    second: usize,
    vertical: bool,
}

impl Arrangement {
    pub(crate) fn all() -> Vec<Self> {
        let of = |k: usize| Self {
            first: k / 2 / 10,
            second: k / 2 % 10,
            vertical: k.is_multiple_of(2),
        };
        (0..200).map(of).collect()
    }

    /// Returns whether the arrangement is held out of training. One in ten is, and among the vertical
    /// and among the horizontal ones each digit occurs once in each place.
    pub(crate) fn held_out(self) -> bool {
        (self.first + 3 * self.second + 5 * usize::from(self.vertical)).is_multiple_of(10)
    }

    /// Returns the two correct captions, with the first and with the second digit as subject.
    pub(crate) fn captions(self) -> [Vec<usize>; 2] {
        let Self { first, second, vertical } = self;
        let tell = |subject: usize, relation: &[&str], object: usize| {
            let article = |digit| if digit == 8 { "an" } else { "a" };
            let mut words = vec![article(subject), WORDS[subject + 1]];
            words.extend(relation);
            words.extend([article(object), WORDS[object + 1], WORDS[END]]);
            words.iter().filter_map(|word| WORDS.iter().position(|w| w == word)).collect()
        };
        let [there, back]: [&[&str]; 2] =
            if vertical { [&["above"], &["below"]] } else { [&["left", "of"], &["right", "of"]] };
        [tell(first, there, second), tell(second, back, first)]
    }
}

/// Images of scenes, one a row, with their arrangements.
pub(crate) struct Scenes {
    pub(crate) pixels: Array2<f32>,
    pub(crate) arrangements: Vec<Arrangement>,
}

impl Scenes {
    /// Returns a scene of each of `arrangements`, with random images and small random shifts.
    pub(crate) fn compose(
        digits: &Digits,
        arrangements: Vec<Arrangement>,
        rng: &mut dyn Rng,
    ) -> Self {
        let mut pixels = Array2::zeros((arrangements.len(), CANVAS * CANVAS));
        for (mut row, arrangement) in pixels.rows_mut().into_iter().zip(&arrangements) {
            let middle = (CANVAS - DIGIT) / 2;
            for (digit, far) in [(arrangement.first, 0), (arrangement.second, CANVAS - DIGIT)] {
                let shift = rng.random_range(0..=1);
                let (top, left) = if arrangement.vertical {
                    (far, middle + shift)
                } else {
                    (middle + shift, far)
                };
                for (pixel, &ink) in digits.draw(digit, rng).indexed_iter() {
                    let (r, c) = (pixel / DIGIT, pixel % DIGIT);
                    row[(top + r) * CANVAS + left + c] = ink;
                }
            }
        }
        Self { pixels, arrangements }
    }

    /// Returns `count` scenes of arrangements drawn from `among`.
    pub(crate) fn random(
        digits: &Digits,
        among: &[Arrangement],
        count: usize,
        rng: &mut dyn Rng,
    ) -> Self {
        let draw = |_| among[rng.random_range(0..among.len())];
        let arrangements = (0..count).map(draw).collect();
        Self::compose(digits, arrangements, rng)
    }

    /// Reads the image in the CSV file `path`: a header line, then 17 rows of 17 pixels from 0 to 16.
    pub(crate) fn read(path: &std::path::Path) -> Result<Array2<f32>, Failure> {
        let table = Table::read(path)?;
        let columns: Vec<&str> = table.names().iter().map(String::as_str).collect();
        let pixels = table.values::<f32>(&columns)? / 16.0;
        if pixels.dim() != (CANVAS, CANVAS) {
            let got = format!("{:?}", pixels.dim());
            return Err(Failure::new(format!(
                "{}: expected {CANVAS} × {CANVAS} pixels, got {got}",
                path.display()
            )));
        }
        Ok(pixels.into_shape_with_order((1, CANVAS * CANVAS))?)
    }

    /// Returns the share of `captions` that are correct.
    pub(crate) fn exact(&self, captions: &[Vec<usize>]) -> f64 {
        let pairs = self.arrangements.iter().zip(captions);
        let right = pairs.filter(|(arrangement, caption)| arrangement.captions().contains(caption));
        right.count() as f64 / captions.len() as f64
    }
}

/// Returns the text of a caption, without its end.
pub(crate) fn text(caption: &[usize]) -> String {
    let words: Vec<&str> = caption.iter().filter(|&&w| w != END).map(|&w| WORDS[w]).collect();
    words.join(" ")
}

/// Draws images side by side, with two characters for each pixel.
pub(crate) fn drawing(pictures: &[ArrayView1<'_, f32>]) -> String {
    let mut lines = String::new();
    for r in 0..CANVAS {
        for picture in pictures {
            for c in 0..CANVAS {
                let shade = (picture[r * CANVAS + c] * 4.0).round() as usize;
                lines.push_str(["  ", "░░", "▒▒", "▓▓", "██"][shade.min(4)]);
            }
            lines.push_str(" │ ");
        }
        lines.push('\n');
    }
    lines
}
