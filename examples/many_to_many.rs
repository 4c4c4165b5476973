//! Many to many: tomorrow's weather, every day.
//!
//! An LSTM reads the days one by one and says at each by how much tomorrow's maximum temperature
//! will differ from today's.

use ndarray::{Array2, Array3, Axis, concatenate, s};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::layer::Linear;
use recurrent::loss::Mse;
use recurrent::optim::{Adam, clip_global_norm};
use recurrent::{Arrays, Float, Lstm, Sequences, arrays, io};

use common::options::{Failure, Options};
use common::progress::Progress;
use common::scale::Scale;
use common::table::Table;

mod common {
    pub(crate) mod options;
    pub(crate) mod progress;
    pub(crate) mod scale;
    pub(crate) mod table;
}

const ABOUT: &str = "\
many_to_many: tomorrow's maximum temperature. An LSTM of 16 reads the daily weather of Seattle and
says at every day of a window how much warmer or colder tomorrow will be.";

/// Days of a window.
const WINDOW: usize = 30;
/// Days at a window's start whose forecasts are not scored: the network has seen too little.
const WARM_UP: usize = 10;
/// Days at the end of the training file that choose the epoch.
const VALIDATION: usize = 200;
const BATCH: usize = 32;
const LEARNING_RATE: f64 = 3e-4;

#[derive(Clone)]
struct Model<T: Float> {
    lstm: Lstm<T>,
    head: Linear<T>,
}
arrays!(Model { lstm, head });

impl Model<f32> {
    fn new(features: usize, rng: &mut dyn Rng) -> Result<Self, Failure> {
        let lstm = Lstm::builder(features, 16).build(rng)?;
        Ok(Self { lstm, head: Linear::new(16, 1, rng)? })
    }

    /// The scaled change from each day to the next, [time, batch, 1].
    fn forecast(&self, x: &Sequences<f32>) -> Result<Sequences<f32>, Failure> {
        let (output, _) = self.lstm.forward(x, None)?;
        Ok(self.head.forward_sequences(&output)?)
    }

    /// One step towards the changes `y`.
    fn learn(
        &mut self,
        x: &Sequences<f32>,
        y: &Sequences<f32>,
        adam: &mut Adam<Self>,
        rng: &mut dyn Rng,
    ) -> Result<(), Failure> {
        let (output, _, tape) = self.lstm.forward_train(x, None, rng)?;
        let (_, d_y) = Mse.sequences(&self.head.forward_sequences(&output)?, y)?;
        let mut grad = self.zeros_like();
        let d_output = self.head.backward_sequences(&output, d_y.view(), &mut grad.head)?;
        self.lstm.backward(tape, &d_output, None, &mut grad.lstm)?;
        clip_global_norm(&mut grad, 1.0)?;
        adam.step(self, &grad)?;
        Ok(())
    }
}

/// Days in order: what the network reads, and the change of the maximum to the next day.
struct Days {
    x: Array2<f32>,
    /// In degrees Celsius; one entry less than there are days.
    change: Vec<f32>,
    /// What turns a change into the network's unit.
    unit: f32,
}

impl Days {
    /// All days of both files, and how many of them are for training. Scales come from those.
    fn read() -> Result<(Self, usize), Failure> {
        let train = Table::read("seattle/seattle_train.csv", &["date", "weather"])?;
        let test = Table::read("seattle/seattle_test.csv", &["date", "weather"])?;
        let days = train.values.nrows();
        let maximum = [train.column("temp_max")?, test.column("temp_max")?].map(|c| c.to_vec());
        let maximum = maximum.concat();
        let change: Vec<f32> = maximum.windows(2).map(|pair| pair[1] - pair[0]).collect();

        let mut values = concatenate(Axis(0), &[train.values.view(), test.values.view()])?;
        // Most rain falls on few days: its root tells dry from wet better.
        values.column_mut(0).mapv_inplace(f32::sqrt);
        let season = Array2::from_shape_fn((values.nrows(), 2), |(day, part)| {
            let phase = std::f32::consts::TAU * day as f32 / 365.25;
            if part == 0 { phase.sin() } else { phase.cos() }
        });
        let today = Array2::from_shape_fn((values.nrows(), 1), |(day, _)| {
            if day == 0 { 0.0 } else { change[day - 1] }
        });
        let x = concatenate(Axis(1), &[values.view(), today.view(), season.view()])?;
        let x = Scale::of(&x.slice(s![..days, ..]).to_owned()).apply(&x);
        let unit = rmse(&change[..days - 1], |_| 0.0).recip();
        Ok((Self { x, change, unit }, days))
    }

    /// The windows that begin at `starts`: what to read, and the changes in the network's unit.
    fn windows(&self, starts: &[usize]) -> Result<(Sequences<f32>, Sequences<f32>), Failure> {
        let shape = (WINDOW, starts.len(), self.x.ncols());
        let x = Array3::from_shape_fn(shape, |(t, b, f)| self.x[[starts[b] + t, f]]);
        let y = Array3::from_shape_fn((WINDOW, starts.len(), 1), |(t, b, _)| {
            self.unit * self.change[starts[b] + t]
        });
        Ok((Sequences::full(x)?, Sequences::full(y)?))
    }

    /// The forecast changes, in degrees, made on the days `from..to`. Windows overlap so that
    /// each of these days has `WARM_UP` days before it in its window.
    fn forecasts(&self, model: &Model<f32>, from: usize, to: usize) -> Result<Vec<f32>, Failure> {
        let scored = WINDOW - WARM_UP;
        let last = to - WINDOW;
        let starts: Vec<usize> =
            (from - WARM_UP..to - WARM_UP).step_by(scored).map(|start| start.min(last)).collect();
        let y = model.forecast(&self.windows(&starts)?.0)?;
        let mut forecasts = vec![0.0; to - from];
        for (b, &start) in starts.iter().enumerate() {
            for t in WARM_UP..WINDOW {
                if start + t >= from {
                    forecasts[start + t - from] = y.values()[[t, b, 0]] / self.unit;
                }
            }
        }
        Ok(forecasts)
    }

    /// The error of the forecasts made on the days `from..to`.
    fn error(&self, model: &Model<f32>, from: usize, to: usize) -> Result<f32, Failure> {
        let forecasts = self.forecasts(model, from, to)?;
        Ok(rmse(&self.change[from..to], |day| forecasts[day]))
    }
}

/// The root of the mean squared error of `forecast`.
fn rmse(actual: &[f32], forecast: impl Fn(usize) -> f32) -> f32 {
    let squares = actual.iter().enumerate().map(|(day, value)| (value - forecast(day)).powi(2));
    (squares.sum::<f32>() / actual.len() as f32).sqrt()
}

/// Trains on the days before the last `VALIDATION` ones of `days`, and keeps the epoch that
/// forecasts those best.
fn train(
    model: &mut Model<f32>,
    data: &Days,
    days: usize,
    epochs: usize,
    rng: &mut ChaCha8Rng,
) -> Result<(), Failure> {
    let cut = days - VALIDATION;
    let mut starts: Vec<usize> = (0..cut - WINDOW).collect();
    let mut adam = Adam::decoupled(LEARNING_RATE, 0.1)?;
    let (mut best, mut least) = (model.clone(), f32::INFINITY);
    let mut progress = Progress::new("epoch", epochs)?;
    for _ in 0..epochs {
        starts.shuffle(rng);
        for batch in starts.chunks(BATCH) {
            let (x, y) = data.windows(batch)?;
            model.learn(&x, &y, &mut adam, rng)?;
        }
        // The last training day's change is the first test day's; it is not known yet.
        let error = data.error(model, cut, days - 1)?;
        if error < least {
            (best, least) = (model.clone(), error);
        }
        progress.step(format!("validation {error:.3} °C, best {least:.3}"));
    }
    *model = best;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse("many_to_many", ABOUT)? else { return Ok(()) };
    let (data, days) = Days::read()?;
    let all = data.x.nrows();
    println!(
        "{days} days to train, of which {VALIDATION} choose the epoch; {} to test",
        all - days
    );

    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut model = Model::new(data.x.ncols(), &mut rng)?;
    match &options.load {
        Some(file) => io::load(file, &mut model)?,
        None => train(&mut model, &data, days, options.epochs_or(12, 30), &mut rng)?,
    }
    if let Some(file) = &options.save {
        io::save(file, &model)?;
    }

    // A forecast made on the day before counts for each test day.
    let (from, to) = (days - 1, all - 1);
    let error = data.error(&model, from, to)?;
    let persistence = rmse(&data.change[from..to], |_| 0.0);
    println!("a week of forecasts (change from today, °C):");
    let forecasts = data.forecasts(&model, from, to)?;
    for (day, (forecast, actual)) in forecasts.iter().zip(&data.change[from..]).take(7).enumerate()
    {
        println!("  day {:>2}: forecast {forecast:>5.1}, came {actual:>5.1}", day + 1);
    }
    println!("test: RMSE {error:.3} °C; as today (persistence): {persistence:.3} °C");
    let gain = 100.0 * (1.0 - error / persistence);
    println!(
        "result many_to_many rmse={error:.4} baseline={persistence:.4} gain_percent={gain:.1}"
    );
    Ok(())
}
