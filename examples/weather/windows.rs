//! The places, their series, the usual course of their temperatures, and windows for training.

use std::path::Path;

use ndarray::{Array2, Array3, ArrayView2, Axis, aview1, concatenate, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use recurrent::Sequences;
use recurrent::data::{Source, Table, TimeSteps};

use crate::common::options::Failure;

const DAY: f64 = 86400.0;
pub(crate) const YEAR: f64 = 365.2425 * DAY;

/// A place, its columns, and the sizes of its model.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) time: &'static str,
    /// The first column is forecast; the one of `skewed` enters as ln(1 + x).
    pub(crate) columns: [&'static str; 4],
    pub(crate) skewed: usize,
    /// The seconds from one row to the next.
    pub(crate) step: f64,
    pub(crate) window: usize,
    /// The distances of the forecasts in rows.
    pub(crate) horizons: &'static [usize],
    pub(crate) hidden_size: usize,
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) dropout: f64,
    pub(crate) weight_decay: f64,
}

pub(crate) const SEATTLE: Place = Place {
    name: "seattle",
    time: "date",
    columns: ["temp_max", "temp_min", "wind", "precipitation"],
    skewed: 3,
    step: DAY,
    window: 14,
    horizons: &[1, 2, 3, 4, 5, 6, 7],
    hidden_size: 16,
    epochs: 40,
    batch_size: 32,
    dropout: 0.5,
    weight_decay: 1.0,
};
pub(crate) const BEIJING: Place = Place {
    name: "beijing",
    time: "time",
    columns: ["temp_c", "dew_point_c", "pressure_hpa", "wind_run_m_s"],
    skewed: 3,
    step: DAY / 24.0,
    window: 48,
    horizons: &[1, 3, 6, 12, 24],
    hidden_size: 64,
    epochs: 12,
    batch_size: 128,
    dropout: 0.1,
    weight_decay: 0.05,
};

/// The rows of a place.
pub(crate) struct Series {
    pub(crate) times: Vec<f64>,
    pub(crate) values: Array2<f64>,
    /// The number of rows before the test.
    pub(crate) train: usize,
}

impl Series {
    /// Returns the number of rows to learn from. Those from there to the test are for validation.
    pub(crate) fn learnt(&self) -> usize {
        self.train * 17 / 20
    }
}

impl Place {
    pub(crate) fn read(&self, files: &[&Path]) -> Result<Series, Failure> {
        let (mut times, mut parts) = (Vec::new(), Vec::new());
        for file in files {
            let table = Table::read(file)?;
            times.extend(table.times(self.time, &TimeSteps::every(self.step, 0.01)?)?);
            parts.push(table.values::<f64>(&self.columns)?);
        }
        let train = parts[0].nrows();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let mut values = concatenate(Axis(0), &views)?;
        values.column_mut(self.skewed).mapv_inplace(f64::ln_1p);
        Ok(Series { times, values, train })
    }

    /// Returns weather with seasons, days and fronts that pass: the wind turns before the temperature does.
    pub(crate) fn generate(&self, rows: usize, seed: u64) -> Series {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let times: Vec<f64> = (0..rows).map(|row| self.step * row as f64).collect();
        let (mut front, mut deviation) = (0.0, 0.0);
        let mut values = Array2::zeros((rows, self.columns.len()));
        for (mut row, time) in values.rows_mut().into_iter().zip(&times) {
            let mut noise = || -> f64 { StandardNormal.sample(&mut rng) };
            deviation = 0.7 * deviation + front + 0.5 * noise();
            front = 0.6 * front + noise();
            let year = 8.0 * (std::f64::consts::TAU * time / YEAR).sin();
            let day = 4.0 * (std::f64::consts::TAU * time / DAY).sin();
            let temperature = 12.0 + year + day + deviation;
            let wind = (3.0 + front).abs();
            row.assign(&aview1(&[temperature, temperature - 8.0, wind, noise().abs()]));
        }
        Series { times, values, train: rows * 4 / 5 }
    }
}

/// The usual course of the first column: means of the rows to learn from, of all years, within 15 days of the
/// day of the year, at the same time of day.
pub(crate) struct Climate {
    /// The number of rows of a day.
    pub(crate) hours: usize,
    /// [366 · hours]
    pub(crate) means: Vec<f64>,
}

impl Climate {
    pub(crate) fn new(series: &Series, place: &Place) -> Self {
        let hours = (DAY / place.step) as usize;
        let (mut sums, mut counts) = (vec![0.0; 366 * hours], vec![0.0; 366 * hours]);
        for row in 0..series.learnt() {
            let slot = slot(series.times[row], hours);
            sums[slot] += series.values[[row, 0]];
            counts[slot] += 1.0;
        }
        let mean = |slot: usize| {
            let around = (366 - 15..=366 + 15).map(|day| (slot + day * hours) % (366 * hours));
            let (sum, count) = around
                .fold((0.0, 0.0), |(sum, count), slot| (sum + sums[slot], count + counts[slot]));
            sum / f64::max(count, 1.0)
        };
        Self { hours, means: (0..366 * hours).map(mean).collect() }
    }

    pub(crate) fn at(&self, time: f64) -> f64 {
        self.means[slot(time, self.hours)]
    }
}

/// Returns the day of the year, divided into so many `hours`, of a time in seconds from 1970.
fn slot(time: f64, hours: usize) -> usize {
    let day = (time.rem_euclid(YEAR) / DAY) as usize;
    let hour = (time.rem_euclid(DAY) / DAY * hours as f64).round() as usize % hours;
    day.min(365) * hours + hour
}

/// The inputs of all rows, and windows of them with scaled corrections as targets.
pub(crate) struct Windows<'a> {
    pub(crate) place: &'a Place,
    pub(crate) series: &'a Series,
    pub(crate) climate: Climate,
    /// [rows, features]
    pub(crate) inputs: Array2<f32>,
    /// The deviation of the first column from the climate.
    pub(crate) deviations: Vec<f64>,
    /// The part of a deviation that remains at each horizon, by least squares, and the standard deviation
    /// of the rest.
    pub(crate) persistence: Vec<(f64, f64)>,
}

impl<'a> Windows<'a> {
    pub(crate) fn new(place: &'a Place, series: &'a Series) -> Self {
        let climate = Climate::new(series, place);
        let rows = series.times.len();
        let deviations: Vec<f64> =
            (0..rows).map(|row| series.values[[row, 0]] - climate.at(series.times[row])).collect();
        // Six that are computed here, and all columns but the first.
        let features = 6 + place.columns.len() - 1;
        let inputs = Array2::from_shape_fn((rows, features), |(row, j)| {
            let angle = |period: f64| std::f64::consts::TAU * series.times[row] / period;
            let value = match j {
                0 => deviations[row],
                1 => deviations[row] - deviations[row.saturating_sub(1)],
                2 => angle(YEAR).sin(),
                3 => angle(YEAR).cos(),
                4 if climate.hours > 1 => angle(DAY).sin(),
                5 if climate.hours > 1 => angle(DAY).cos(),
                4 | 5 => 0.0,
                _ => series.values[[row, j - 5]],
            };
            value as f32
        });
        let remaining = |&horizon: &usize| {
            let pairs =
                || deviations[..series.learnt() - horizon].iter().zip(&deviations[horizon..]);
            let squares: f64 = pairs().map(|(now, _)| now * now).sum();
            let part = pairs().map(|(now, then)| now * then).sum::<f64>() / squares;
            let rest: f64 = pairs().map(|(now, then)| (then - part * now).powi(2)).sum();
            (part, (rest / (series.learnt() - horizon) as f64).sqrt())
        };
        let persistence = place.horizons.iter().map(remaining).collect();
        Self { place, series, climate, inputs, deviations, persistence }
    }

    pub(crate) fn farthest(&self) -> usize {
        self.place.horizons.iter().copied().max().unwrap_or(0)
    }

    /// Returns the last rows of the windows of the validation.
    pub(crate) fn held_out(&self) -> std::ops::Range<usize> {
        self.series.learnt()..self.series.train - self.farthest()
    }

    /// Returns the window of inputs that ends with row `last`.
    pub(crate) fn window(&self, last: usize) -> ArrayView2<'_, f32> {
        self.inputs.slice(s![last + 1 - self.place.window..=last, ..])
    }
}

/// The windows whose last rows are given.
pub(crate) struct Part<'a> {
    pub(crate) windows: &'a Windows<'a>,
    pub(crate) last: Vec<usize>,
}

impl Source<(Sequences<f32>, Array2<f32>)> for Part<'_> {
    fn len(&self) -> usize {
        self.last.len()
    }

    fn batch(&self, samples: &[usize]) -> recurrent::Result<(Sequences<f32>, Array2<f32>)> {
        let Windows { place, inputs, deviations, persistence, .. } = self.windows;
        let shape = (place.window, samples.len(), inputs.ncols());
        let x = Array3::from_shape_fn(shape, |(t, b, j)| {
            inputs[[self.last[samples[b]] + 1 + t - place.window, j]]
        });
        let y = Array2::from_shape_fn((samples.len(), place.horizons.len()), |(b, k)| {
            let last = self.last[samples[b]];
            let (part, scale) = persistence[k];
            ((deviations[last + place.horizons[k]] - part * deviations[last]) / scale) as f32
        });
        Ok((Sequences::full(x)?, y))
    }
}
