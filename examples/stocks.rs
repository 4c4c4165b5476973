//! Forecasting a stock index, honestly: walk-forward tests, intervals, and the price of a leak.
//!
//! An LSTM reads the daily log returns of five indices and forecasts quantiles of the next return of the
//! S&P 500. It is trained anew for each part of the test days, on the days before that part. Prices are
//! close to a random walk, so its median is level with the forecast "as today"; the interval is what the
//! model adds. A second run, with a feature that contains tomorrow's return, shows what a leak looks like.

use std::path::Path;

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use recurrent::cell::LstmCell;
use recurrent::data::{Scaler, Table, Windows};
use recurrent::loss::Quantile;
use recurrent::model::Forecaster;
use recurrent::optim::AdamW;
use recurrent::train::Trainer;
use recurrent::train::metrics::RegressionMetrics;

use common::corpus::find;
use common::options::{Failure, Options};
use common::pictures::{Curve, curves};
use common::report::Report;
use common::training::fit;

mod common {
    pub(crate) mod corpus;
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}

const ABOUT: &str = "\
stocks: the next close of the S&P 500. An LSTM reads 20 daily log returns of five indices and forecasts
the 10 %, 50 % and 90 % quantiles of the next. Tested walk-forward, against the random walk. It does not
beat the random walk: nothing here does but a leak, which is shown too.
--load FILE --input CSV forecasts the close after the last day of a file with the columns sp500, dow,
nasdaq, nyse and russell2000, of at least 21 days.";
const PUBLISHED: &str = "\
Published as data set 554 of the UCI repository (CNNpred; Hoseinzade and Haratizadeh, 2019): CSV with
the columns date, sp500, dow, nasdaq, nyse and russell2000, a row for each trading day; test.csv follows
train.csv in time.";

const INDICES: [&str; 5] = ["sp500", "dow", "nasdaq", "nyse", "russell2000"];
const WINDOW: usize = 20;
/// The number of parts of the test days; each has its own model.
const PARTS: usize = 5;
const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];
/// The number of days in the picture.
const DRAWN: usize = 90;

type Returns = Forecaster<LstmCell<f32>, Quantile>;

fn closes(file: &Path) -> Result<Array2<f32>, Failure> {
    Ok(Table::read(file)?.values(&INDICES)?)
}

/// Returns the closes [days, indices] of random walks with a common part, whose volatility changes slowly.
fn generated(days: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
    let (mut level, mut logs) = (0.0, [7.0_f32, 9.2, 7.7, 8.9, 6.5]);
    let mut closes = Array2::zeros((days, INDICES.len()));
    for mut day in closes.rows_mut() {
        level = 0.97 * level + 0.15 * normal();
        let (deviation, market) = (0.008 * f32::exp(level), normal());
        for (close, log) in day.iter_mut().zip(&mut logs) {
            *log += deviation * (0.9 * market + 0.44 * normal());
            *close = log.exp();
        }
    }
    closes
}

/// Returns the log returns in percent, [days − 1, indices].
fn log_returns(closes: ArrayView2<'_, f32>) -> Array2<f32> {
    let logs = closes.mapv(f32::ln);
    100.0 * (&logs.slice(s![1.., ..]) - &logs.slice(s![..-1, ..]))
}

/// Returns `returns` with a column that no forecaster can know: the mean of the index's return of
/// yesterday, today and tomorrow, as a moving average does that is centred and not trailing.
fn with_leak(returns: &Array2<f32>) -> Result<Array2<f32>, Failure> {
    let days = returns.nrows();
    let centred = Array1::from_shape_fn(days, |day| {
        let around = returns.slice(s![day.saturating_sub(1)..(day + 2).min(days), 0]);
        around.mean().unwrap_or(0.0)
    });
    Ok(concatenate(Axis(1), &[returns.view(), centred.insert_axis(Axis(1)).view()])?)
}

/// Trains a model on `returns`. Returns `None` if Ctrl-C ended the training.
fn train(
    options: &Options,
    returns: &Array2<f32>,
    name: &str,
    seed: u64,
) -> Result<Option<Returns>, Failure> {
    let mut windows = Windows::new(WINDOW, 1)?.targets(&[0]);
    if returns.ncols() == INDICES.len() {
        windows = windows.columns(&INDICES);
    }
    let mut model = Forecaster::<LstmCell<f32>>::builder(returns.ncols(), &windows)
        .hidden_size(16)
        .dropout(0.2)
        .loss(Quantile::new(QUANTILES.to_vec())?)
        .non_crossing(true)
        .scaler(Scaler::standard(&[returns.view()])?)
        .build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let trainer = Trainer::new(AdamW::new(2e-3, 0.1)?)
        .epochs(options.epochs_or(3, 15))
        .batch_size(64)
        .clip_norm(1.0)
        .seed(seed);
    let done = fit(options, name, trainer, &mut model, &windows.cut(returns)?, None)?;
    Ok(done.then_some(model))
}

/// The forecasts of a test: the quantiles of each day's close, and the close that came.
#[derive(Default)]
struct Forecasts {
    quantiles: Vec<[f64; 3]>,
    came: Vec<f64>,
    /// The close of the day before.
    before: Vec<f64>,
}

impl Forecasts {
    /// Adds the forecasts of the closes of `days`, each from the returns before it.
    fn add(
        &mut self,
        model: &Returns,
        returns: &Array2<f32>,
        closes: &Array2<f32>,
        days: std::ops::Range<usize>,
    ) -> Result<(), Failure> {
        for day in days {
            // Row `day − 1` of the returns is the change to `day`, which the forecast does not see.
            let next = model.forecast(returns.slice(s![day - 1 - WINDOW..day - 1, ..]))?;
            let before = f64::from(closes[[day - 1, 0]]);
            let price = |k: usize| before * (f64::from(next[[0, k]]) / 100.0).exp();
            self.quantiles.push([price(0), price(1), price(2)]);
            self.before.push(before);
            self.came.push(f64::from(closes[[day, 0]]));
        }
        Ok(())
    }

    /// Returns the errors of the median, those of the random walk, and the share of closes in the interval.
    fn scores(&self) -> (RegressionMetrics, RegressionMetrics, f64) {
        let (mut ours, mut walk) = (RegressionMetrics::default(), RegressionMetrics::default());
        let mut inside = 0;
        for ((&[low, median, high], &came), &before) in
            self.quantiles.iter().zip(&self.came).zip(&self.before)
        {
            ours.add(median, came);
            walk.add(before, came);
            inside += usize::from((low..=high).contains(&came));
        }
        (ours, walk, inside as f64 / self.came.len() as f64)
    }

    fn draw(&self, file: &Path) -> Result<(), Failure> {
        let from = self.came.len().saturating_sub(DRAWN);
        let points = |value: &dyn Fn(usize) -> f64| {
            (from..self.came.len()).map(|day| (day as f64, value(day))).collect()
        };
        let quantile = |k: usize| points(&|day| self.quantiles[day][k]);
        let drawn = [
            Curve { name: "close", points: points(&|day| self.came[day]) },
            Curve { name: "median forecast", points: quantile(1) },
            Curve { name: "90 % quantile", points: quantile(2) },
            Curve { name: "10 % quantile", points: quantile(0) },
        ];
        curves(file, "S&P 500, forecast each day before", ("test day", "points"), &drawn)
    }
}

/// Tests walk-forward: each part of the days from `first` is forecast by a model that is trained on the
/// days before the part. Returns the last model too, or `None` if Ctrl-C ended a training.
fn walk_forward(
    options: &Options,
    closes: &Array2<f32>,
    returns: &Array2<f32>,
    first: usize,
    name: &str,
    seed: u64,
) -> Result<Option<(Forecasts, Returns)>, Failure> {
    let parts = if options.quick { 1 } else { PARTS };
    let boundary = |part: usize| first + (closes.nrows() - first) * part / parts;
    let mut forecasts = Forecasts::default();
    let mut last = None;
    for part in 0..parts {
        let (from, to) = (boundary(part), boundary(part + 1));
        let known = returns.slice(s![..from - 1, ..]).to_owned();
        let name = format!("stocks_{name}_{seed}_{part}");
        let Some(model) = train(options, &known, &name, seed)? else { return Ok(None) };
        forecasts.add(&model, returns, closes, from..to)?;
        last = Some(model);
    }
    Ok(last.map(|model| (forecasts, model)))
}

fn foretell(model: &Returns, closes: &Array2<f32>) -> Result<(), Failure> {
    let days = closes.nrows();
    if days <= WINDOW {
        return Err(Failure::new(format!(
            "--input: expected {} days or more, got {days}",
            WINDOW + 1
        )));
    }
    let returns = log_returns(closes.slice(s![days - 1 - WINDOW.., ..]));
    let next = model
        .forecast(returns.view())?
        .mapv(|percent| closes[[days - 1, 0]] * (percent / 100.0).exp());
    println!("last close {:.2}", closes[[days - 1, 0]]);
    println!(
        "next close {:.2}, 80 % interval {:.2} to {:.2}",
        next[[0, 1]],
        next[[0, 0]],
        next[[0, 2]]
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("stocks", ABOUT)? else { return Ok(()) };
    let loaded = options.load.as_ref().map(Returns::load).transpose()?;
    if let (Some(model), Some(input)) = (&loaded, &options.input) {
        return foretell(model, &closes(input)?);
    }
    let files = find(&options, "stocks", ["train.csv", "test.csv"], PUBLISHED);
    let real = files.is_some();
    let (closes, first) = match files {
        Some([train, test]) => {
            let (train, test) = (closes(&train)?, closes(&test)?);
            (concatenate(Axis(0), &[train.view(), test.view()])?, train.nrows())
        }
        None => (generated(1000, 1), 800),
    };
    let returns = log_returns(closes.view());
    let leaked = with_leak(&returns)?;

    let mut report = Report::new("stocks", !real);
    for seed in options.seed..options.seed + options.seeds {
        let tested = match &loaded {
            Some(model) => {
                let mut forecasts = Forecasts::default();
                forecasts.add(model, &returns, &closes, first..closes.nrows())?;
                Some((forecasts, model.clone()))
            }
            None => walk_forward(&options, &closes, &returns, first, "honest", seed)?,
        };
        let Some((forecasts, model)) = tested else { return Ok(()) };
        let (ours, walk, inside) = forecasts.scores();
        report.add("mae", ours.mae());
        report.baseline("mae", walk.mae(), "random walk");
        report.add("mae over random walk", ours.mae() / walk.mae());
        report.add("interval coverage", inside);
        if loaded.is_none() {
            let Some((cheat, _)) = walk_forward(&options, &closes, &leaked, first, "leak", seed)?
            else {
                return Ok(());
            };
            report.add("mae with a leak", cheat.scores().0.mae());
            report.baseline("mae with a leak", walk.mae(), "random walk");
        }
        if seed == options.seed {
            forecasts.draw(&options.out.join("stocks_forecast.svg"))?;
            if let Some(file) = &options.save {
                model.save(file)?;
            }
        }
    }
    println!(
        "\nThe forecast does not beat the random walk, and is not expected to. With a leak (a centred\n\
         average contains tomorrow's return) the same model seems to: an error far below the random\n\
         walk's is a reason to look for the future in the inputs."
    );
    report.print();
    report.require(&options, "mae over random walk", 1.05, true)
}
