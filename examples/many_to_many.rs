//! Many to many: a forecast of tomorrow's weather at every day.
//!
//! An LSTM reads the days one by one and predicts at each the change of the maximum temperature to
//! the next day. The model is defined here, not in the library. Two methods, the gradient and the
//! evaluation of a batch, let the library's training loop train it.

use ndarray::{Array2, Axis, concatenate, s};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::data::{Scaler, Source, Table};
use recurrent::io::{Reader, Writer};
use recurrent::layer::{Layer, Linear};
use recurrent::loss::{Loss, Mse};
use recurrent::optim::AdamW;
use recurrent::train::metrics::RegressionMetrics;
use recurrent::train::{Model, Trainer};
use recurrent::{Float, Lstm, Sequences, arrays};

use common::data::data;
use common::options::{Failure, Options};
use common::training::fit;

mod common {
    pub(crate) mod data;
    pub(crate) mod options;
    pub(crate) mod training;
}

const ABOUT: &str = "\
many_to_many: forecasts of the maximum temperature. An LSTM with 16 units reads the daily weather of
Seattle and predicts at every day of a window the change of the maximum to the next day.
--load FILE --input CSV forecasts the day after the last one of a file with the columns date
(YYYY-MM-DD), precipitation, temp_max, temp_min and wind. The file needs at least two days.";

/// The length of a window in days.
const WINDOW: usize = 30;
/// The number of days at the start of a window whose forecasts are not scored.
const WARM_UP: usize = 10;
/// The number of days at the end of the training file that are held out for validation.
const VALIDATION: usize = 200;
const LEARNING_RATE: f64 = 3e-4;

#[derive(Clone)]
struct Forecast<T: Float> {
    lstm: Lstm<T>,
    head: Linear<T>,
}
arrays!(Forecast { lstm, head });

/// Scaled days [time, batch, 7], and the scaled change of the maximum from each to the next.
type Windows = (Sequences<f32>, Sequences<f32>);

impl Forecast<f32> {
    fn new(rng: &mut dyn Rng) -> Result<Self, Failure> {
        Ok(Self { lstm: Lstm::builder(7, 16).build(rng)?, head: Linear::new(16, 1, rng)? })
    }

    /// Returns the predicted scaled change from each day to the next, [time, batch, 1].
    fn predict(&self, x: &Sequences<f32>) -> recurrent::Result<Sequences<f32>> {
        self.head.forward(&self.lstm.forward(x, None)?.0)
    }
}

impl Model for Forecast<f32> {
    type Batch = Windows;
    type Score = RegressionMetrics;

    fn loss_and_grad(
        &self,
        (x, y): &Windows,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> recurrent::Result<f64> {
        let (h, _, tape) = self.lstm.forward_train(x, None, rng)?;
        let (predicted, head_tape) = self.head.forward_train(&h, rng)?;
        let (loss, d_y) = Mse.loss(&predicted, y)?;
        let d_h: Sequences<f32> = self.head.backward(head_tape, &d_y, &mut grad.head)?;
        self.lstm.backward(tape, &d_h, None, &mut grad.lstm)?;
        Ok(loss)
    }

    fn score_batch(
        &self,
        (x, y): &Windows,
        score: &mut RegressionMetrics,
    ) -> recurrent::Result<()> {
        let said = self.predict(x)?.into_values();
        let scored = said.slice(s![WARM_UP.., .., 0]);
        for (&said, &came) in scored.iter().zip(y.values().slice(s![WARM_UP.., .., 0])) {
            score.add(f64::from(said), f64::from(came));
        }
        Ok(())
    }
}

/// Reads the features of each day, [days, 7], before scaling.
fn read(file: &std::path::Path) -> Result<Array2<f32>, Failure> {
    let table = Table::read(file)?;
    let mut values = table.values::<f32>(&["precipitation", "temp_max", "temp_min", "wind"])?;
    // Rain is skewed, with most of it on few days. The root separates dry days from wet ones better.
    values.column_mut(0).mapv_inplace(f32::sqrt);
    let maximum = values.column(1).to_owned();
    let season = |row: usize| -> Result<f32, Failure> {
        let date = table.text("date", row)?;
        let part = |range| date.get(range).and_then(|part: &str| part.parse::<f32>().ok());
        let (month, day) = part(5..7).zip(part(8..10)).ok_or_else(|| {
            Failure::new(format!("{}: expected a date YYYY-MM-DD, got {date}", file.display()))
        })?;
        Ok(std::f32::consts::TAU * ((month - 1.0) * 30.44 + day) / 365.25)
    };
    let phases = (0..table.rows()).map(season).collect::<Result<Vec<f32>, _>>()?;
    let more = Array2::from_shape_fn((table.rows(), 3), |(day, part)| match part {
        0 => maximum[day] - maximum[day.saturating_sub(1)],
        1 => phases[day].sin(),
        _ => phases[day].cos(),
    });
    Ok(concatenate(Axis(1), &[values.view(), more.view()])?)
}

/// The windows of days that begin at `starts`.
struct Days<'a> {
    x: &'a Array2<f32>,
    /// The scaled change from each day to the next, one entry fewer than days.
    change: &'a [f32],
    starts: Vec<usize>,
}

impl Source<Windows> for Days<'_> {
    fn len(&self) -> usize {
        self.starts.len()
    }

    fn batch(&self, windows: &[usize]) -> recurrent::Result<Windows> {
        let at = |t: usize, b: usize| self.starts[windows[b]] + t;
        let x = (WINDOW, windows.len(), self.x.ncols());
        let x = ndarray::Array3::from_shape_fn(x, |(t, b, j)| self.x[[at(t, b), j]]);
        let y = (WINDOW, windows.len(), 1);
        let y = ndarray::Array3::from_shape_fn(y, |(t, b, _)| self.change[at(t, b)]);
        Ok((Sequences::full(x)?, Sequences::full(y)?))
    }
}

/// Returns the starts of windows that score the days `from..to`. The last two windows may overlap.
fn scoring(from: usize, to: usize) -> Vec<usize> {
    let starts = (from - WARM_UP..to - WARM_UP).step_by(WINDOW - WARM_UP);
    starts.map(|start| start.min(to - WINDOW)).collect()
}

fn foretell(
    model: &Forecast<f32>,
    scales: &[Scaler; 2],
    input: &Array2<f32>,
) -> Result<(), Failure> {
    let days = input.nrows();
    let x = scales[0].transform(input)?.insert_axis(Axis(1));
    let said = model.predict(&Sequences::full(x)?)?.into_values();
    let change = scales[1].inverse_transform(&said.slice(s![days - 1, .., ..]))?[[0, 0]];
    println!("tomorrow's maximum: {:.1} °C ({change:+.1})", input[[days - 1, 1]] + change);
    Ok(())
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse("many_to_many", ABOUT)? else { return Ok(()) };
    let mut model = Forecast::new(&mut ChaCha8Rng::seed_from_u64(options.seed))?;
    let train = read(&data("seattle/seattle_train.csv"))?;
    let (days, test) = (train.nrows(), read(&data("seattle/seattle_test.csv"))?);
    // The change of the first test day is relative to the last training day.
    let mut all = concatenate(Axis(0), &[train.view(), test.view()])?;
    all[[days, 4]] = all[[days, 1]] - all[[days - 1, 1]];
    let mut scales =
        [Scaler::standard(&[train.view()])?, Scaler::standard(&[train.slice(s![1.., 4..5])])?];
    if let Some(file) = &options.load {
        let file = Reader::open(file)?;
        file.arrays("", &mut model)?;
        scales = serde_json::from_str(file.about().unwrap_or_default())?;
    }
    if let Some(input) = &options.input {
        return foretell(&model, &scales, &read(input)?);
    }
    let x = scales[0].transform(&all)?;
    let change = scales[1].transform(&all.slice(s![1.., 4..5]))?.into_iter().collect::<Vec<f32>>();
    let part = |starts| Days { x: &x, change: &change, starts };
    if options.load.is_none() {
        let cut = days - VALIDATION;
        println!(
            "{days} training days, the last {VALIDATION} for validation; {} test days",
            test.nrows()
        );
        let epochs = options.epochs_or(12, 30);
        let trainer = Trainer::new(AdamW::new(LEARNING_RATE, 0.1)?)
            .epochs(epochs)
            .clip_norm(1.0)
            .early_stopping(epochs)
            .seed(options.seed);
        let (lesson, check) = (part((0..cut - WINDOW).collect()), part(scoring(cut, days - 1)));
        if !fit(&options, "many_to_many", trainer, &mut model, &lesson, Some(&check))? {
            return Ok(());
        }
    }
    if let Some(file) = &options.save {
        Writer::default().arrays("", &model).about(serde_json::to_string(&scales)?).write(file)?;
    }

    // Each test day is forecast from the day before.
    let (from, to) = (days - 1, all.nrows() - 1);
    let tested = part(scoring(from, to));
    let (mut said, mut score) = (vec![0.0; to], RegressionMetrics::default());
    let (x, _) = tested.batch(&(0..tested.len()).collect::<Vec<_>>())?;
    let outputs = scales[1].inverse_transform(model.predict(&x)?.values())?;
    for (b, start) in tested.starts.iter().enumerate() {
        (WARM_UP..WINDOW).for_each(|t| said[start + t] = outputs[[t, b, 0]]);
    }
    let (mut persistence, came) = (RegressionMetrics::default(), all.column(4));
    for day in from..to {
        score.add(f64::from(said[day]), f64::from(came[day + 1]));
        persistence.add(0.0, f64::from(came[day + 1]));
    }
    println!("forecasts of a week (change from the day before, °C):");
    for day in 0..7 {
        let (said, came) = (said[from + day], came[from + day + 1]);
        println!("  day {:>2}: forecast {said:>5.1}, observed {came:>5.1}", day + 1);
    }
    let (error, persistence) = (score.rmse(), persistence.rmse());
    println!("test: RMSE {error:.3} °C; persistence forecast: {persistence:.3} °C");
    let gain = 100.0 * (1.0 - error / persistence);
    println!(
        "result many_to_many rmse={error:.4} baseline={persistence:.4} gain_percent={gain:.1}"
    );
    Ok(())
}
