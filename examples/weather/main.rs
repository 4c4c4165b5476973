//! Forecasting the weather with intervals: days ahead in Seattle, hours ahead in Beijing.
//!
//! An LSTM reads two weeks or two days of observations, and forecasts quantiles of the temperature at
//! several distances at once. Its outputs are corrections to a simple forecast: the usual course of the
//! year (and of the day), plus the part of today's deviation from it that usually remains.

use std::path::Path;
use std::time::Instant;

use ndarray::{Array2, ArrayView1, Axis, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::Sequences;
use recurrent::cell::LstmCell;
use recurrent::data::Scaler;
use recurrent::loss::Quantile;
use recurrent::model::SequenceRegressor;
use recurrent::optim::AdamW;
use recurrent::train::Trainer;
use recurrent::train::metrics::RegressionMetrics;

use common::corpus::find;
use common::options::{Failure, Options};
use common::pictures::{Curve, curves};
use common::report::Report;
use common::training::{fit, loaded_or};
use windows::{BEIJING, Part, Place, SEATTLE, Windows, YEAR};

mod windows;
#[path = "../common"]
mod common {
    pub(crate) mod corpus;
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}

const ABOUT: &str = "\
weather: forecasts of the temperature with an interval of 80 %: Seattle's daily maximum, 1 to 7 days
ahead, and Beijing's temperature, 1 to 24 hours ahead. An LSTM reads 14 days or 48 hours.
--save writes the model of Seattle; --load FILE --input CSV forecasts the days after the last one of a
file with the columns date (YYYY-MM-DD), precipitation, temp_max, temp_min and wind, of at least two
years.";
const PUBLISHED: &str = "\
Published by the NOAA (Seattle: date, precipitation, temp_max, temp_min, wind) and as data set 381 of the
UCI repository (Beijing: time, temp_c, dew_point_c, pressure_hpa, wind_run_m_s): CSV with a row for each
day or hour; *_test.csv follows *_train.csv in time.";

const LEVELS: [f64; 3] = [0.1, 0.5, 0.9];

type Forecast = SequenceRegressor<LstmCell<f32>, Quantile>;

/// Trains a model of a place. Returns `None` if Ctrl-C ended the training.
fn train(options: &Options, windows: &Windows<'_>, seed: u64) -> Result<Option<Forecast>, Failure> {
    let Windows { place, series, .. } = windows;
    let part = |last: std::ops::Range<usize>| Part { windows, last: last.collect() };
    let lesson = part(place.window..series.learnt() - windows.farthest());
    let check = part(windows.held_out());
    let scaler = Scaler::standard(&[windows.inputs.slice(s![..series.learnt(), ..])])?;
    let mut model =
        SequenceRegressor::<LstmCell<f32>>::builder(windows.inputs.ncols(), place.horizons.len())
            .loss(Quantile::new(LEVELS.to_vec())?)
            .non_crossing(true)
            .hidden_size(place.hidden_size)
            .dropout(place.dropout)
            .scaler(scaler)
            .build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let trainer = Trainer::new(AdamW::new(2e-3, place.weight_decay)?)
        .epochs(options.epochs_or(place.epochs / 8 + 1, place.epochs))
        .batch_size(place.batch_size)
        .clip_norm(1.0)
        .early_stopping(6)
        .seed(seed);
    let name = format!("weather_{}_{seed}", place.name);
    Ok(fit(options, &name, trainer, &mut model, &lesson, Some(&check))?.then_some(model))
}

/// A trained model, and the factors by which its intervals are widened at each horizon.
struct Forecaster<'a> {
    model: &'a Forecast,
    windows: &'a Windows<'a>,
    widening: Vec<f64>,
}

impl<'a> Forecaster<'a> {
    /// Chooses the factors so that 80 % of the values of the validation are inside (split conformal
    /// prediction; Romano, Patterson and Candès, *Conformalized Quantile Regression*, 2019).
    fn new(model: &'a Forecast, windows: &'a Windows<'a>) -> Result<Self, Failure> {
        let Windows { place, series, .. } = windows;
        let mut forecaster = Self { model, windows, widening: vec![1.0; place.horizons.len()] };
        let last: Vec<usize> = windows.held_out().collect();
        let quantiles = forecaster.quantiles(&last)?;
        for (k, &horizon) in place.horizons.iter().enumerate() {
            let needed = |(&last, q): (&usize, ArrayView1<'_, f64>)| {
                let off = series.values[[last + horizon, 0]] - q[3 * k + 1];
                let side = if off < 0.0 { q[3 * k] } else { q[3 * k + 2] } - q[3 * k + 1];
                off / side
            };
            let mut needed: Vec<f64> = last.iter().zip(quantiles.rows()).map(needed).collect();
            needed.sort_by(f64::total_cmp);
            let inside = (LEVELS[2] - LEVELS[0]) * needed.len() as f64;
            forecaster.widening[k] = needed[(inside.ceil() as usize).min(needed.len() - 1)];
        }
        Ok(forecaster)
    }

    /// Returns the quantiles [windows, horizons · levels] of the temperatures after the windows that end
    /// with the rows `last`.
    fn quantiles(&self, last: &[usize]) -> Result<Array2<f64>, Failure> {
        let Windows { place, series, climate, deviations, persistence, .. } = self.windows;
        let x: Vec<_> = last.iter().map(|&last| self.windows.window(last).to_owned()).collect();
        let outputs = self.model.predict(&Sequences::from_list(&x)?)?.mapv(f64::from);
        Ok(Array2::from_shape_fn(outputs.dim(), |(i, j)| {
            let (last, k) = (last[i], j / LEVELS.len());
            let median = outputs[[i, LEVELS.len() * k + 1]];
            let output = median + self.widening[k] * (outputs[[i, j]] - median);
            let time = series.times[last] + place.step * place.horizons[k] as f64;
            let (part, scale) = persistence[k];
            climate.at(time) + part * deviations[last] + scale * output
        }))
    }
}

/// The errors at one horizon: of the median, of persistence, and of the climate.
#[derive(Clone, Default)]
struct Errors {
    ours: RegressionMetrics,
    persistence: RegressionMetrics,
    season: RegressionMetrics,
    inside: usize,
    count: usize,
}

/// Tests the forecasts of all rows from `series.train` on, and adds the figures to the report. Returns the
/// observed values with the quantiles at the first horizon, for a picture.
fn test(
    model: &Forecast,
    windows: &Windows<'_>,
    report: &mut Report,
) -> Result<Vec<[f64; 4]>, Failure> {
    let Windows { place, series, climate, .. } = windows;
    let rows = series.times.len();
    let last: Vec<usize> = (series.train - windows.farthest()..rows - 1).collect();
    let quantiles = Forecaster::new(model, windows)?.quantiles(&last)?;
    let mut errors = vec![Errors::default(); place.horizons.len()];
    let mut drawn = Vec::new();
    for (&last, quantiles) in last.iter().zip(quantiles.rows()) {
        for (k, (&horizon, errors)) in place.horizons.iter().zip(&mut errors).enumerate() {
            let row = last + horizon;
            if !(series.train..rows).contains(&row) {
                continue;
            }
            let [low, median, high] = [0, 1, 2].map(|level| quantiles[LEVELS.len() * k + level]);
            let came = series.values[[row, 0]];
            errors.ours.add(median, came);
            errors.persistence.add(series.values[[last, 0]], came);
            errors.season.add(climate.at(series.times[row]), came);
            errors.inside += usize::from((low..=high).contains(&came));
            errors.count += 1;
            if k == 0 {
                drawn.push([came, median, low, high]);
            }
        }
    }
    println!("\n{}: mean absolute error, °C\n", place.name);
    println!("| steps ahead | forecast | persistence | season | in the interval |");
    println!("|---:|---:|---:|---:|---:|");
    for (horizon, Errors { ours, persistence, season, inside, count }) in
        place.horizons.iter().zip(&errors)
    {
        let (ours, persistence, season) = (ours.mae(), persistence.mae(), season.mae());
        let inside = 100.0 * *inside as f64 / *count as f64;
        println!("| {horizon} | {ours:.3} | {persistence:.3} | {season:.3} | {inside:.1} % |");
        let metric = format!("{} {horizon} mae", place.name);
        report.add(&metric, ours);
        if persistence < season {
            report.baseline(&metric, persistence, "persistence");
        } else {
            report.baseline(&metric, season, "season");
        }
    }
    let inside: usize = errors.iter().map(|errors| errors.inside).sum();
    let count: usize = errors.iter().map(|errors| errors.count).sum();
    report.add(&format!("{} coverage", place.name), inside as f64 / count as f64);
    Ok(drawn)
}

/// Reads a window step by step, as a station would, and checks that the forecast is that of the whole window.
fn stream(model: &Forecast, windows: &Windows<'_>, last: usize) -> Result<(), Failure> {
    let window = windows.window(last);
    let whole = model.predict(&Sequences::from_list(&[window.to_owned()])?)?;
    let mut stream = model.stream(1)?;
    let (mut stepped, start) = (Array2::zeros((0, 0)), Instant::now());
    for row in window.rows() {
        stepped = stream.step(row.insert_axis(Axis(0)))?;
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / window.nrows() as f64;
    if stepped != whole {
        return Err(Failure::new("the stream's forecast is not that of the whole window"));
    }
    println!("step by step: the same forecast, {micros:.1} µs a step");
    Ok(())
}

fn draw(file: &Path, place: &Place, days: &[[f64; 4]]) -> Result<(), Failure> {
    let last = &days[days.len().saturating_sub(120)..];
    let points = |k: usize| last.iter().enumerate().map(|(t, day)| (t as f64, day[k])).collect();
    let names = ["observed", "median forecast", "10 % quantile", "90 % quantile"];
    let drawn: Vec<Curve<'_>> =
        (0..4).map(|k| Curve { name: names[k], points: points(k) }).collect();
    let title = format!("{}, forecast one step before", place.name);
    curves(file, &title, ("steps of the test", "°C"), &drawn)
}

/// Prints the forecasts after the last row of a file.
fn foretell(model: &Forecast, file: &Path) -> Result<(), Failure> {
    let series = SEATTLE.read(&[file])?;
    let rows = series.times.len();
    if (rows as f64) < 2.0 * YEAR / SEATTLE.step {
        return Err(Failure::new(format!("--input: expected two years of days, got {rows} days")));
    }
    let windows = Windows::new(&SEATTLE, &series);
    let quantiles = Forecaster::new(model, &windows)?.quantiles(&[rows - 1])?;
    println!("days ahead: maximum in °C, interval of 80 %");
    for (horizon, q) in SEATTLE.horizons.iter().zip(quantiles.row(0).exact_chunks(LEVELS.len())) {
        println!("{horizon}: {:.1}, {:.1} to {:.1}", q[1], q[0], q[2]);
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("weather", ABOUT)? else { return Ok(()) };
    let loaded = options.load.as_ref().map(Forecast::load).transpose()?;
    if let (Some(model), Some(input)) = (&loaded, &options.input) {
        return foretell(model, input);
    }
    let files = ["seattle_train.csv", "seattle_test.csv", "beijing_train.csv", "beijing_test.csv"];
    let files = find(&options, "weather", files, PUBLISHED);
    let mut report = Report::new("weather", files.is_none());
    for (i, place) in [SEATTLE, BEIJING].iter().enumerate() {
        let series = match &files {
            Some(files) => place.read(&[&files[2 * i], &files[2 * i + 1]])?,
            None => place.generate(2000, 1 + i as u64),
        };
        let windows = Windows::new(place, &series);
        for seed in options.seed..options.seed + options.seeds {
            let known = loaded.as_ref().filter(|_| place.name == SEATTLE.name);
            let model = loaded_or(known, || train(&options, &windows, seed))?;
            let Some(model) = model else { return Ok(()) };
            let drawn = test(&model, &windows, &mut report)?;
            if seed == options.seed {
                stream(&model, &windows, series.times.len() - 1)?;
                draw(&options.out.join(format!("weather_{}.svg", place.name)), place, &drawn)?;
                if let (Some(file), "seattle") = (&options.save, place.name) {
                    model.save(file)?;
                }
            }
        }
    }
    let ridge = "ridge regression";
    for (metric, error) in
        [("seattle 1 mae", 2.0425), ("beijing 1 mae", 0.8644), ("beijing 24 mae", 2.2018)]
    {
        report.published_baseline(metric, error, ridge);
    }
    if files.is_some() && report.mean("beijing 24 mae") > report.baseline_of("beijing 24 mae") {
        println!("\nA day ahead, {ridge} forecasts Beijing's temperature better.");
    }
    report.print();
    report.require(&options, "seattle 1 mae", 1.05 * report.baseline_of("seattle 1 mae"), true)
}
