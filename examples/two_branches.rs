//! Two branches and two heads: a forecast of the next day's temperature and whether it will be dry.
//!
//! An LSTM reads the hours of a day, and a linear layer the constant features of the place. Their joined
//! outputs are the input of two heads, each with its own loss. The model is a composition of layers, so
//! no backward pass is written here. The data are synthetic.
use ndarray::{Array2, ArrayView2, Axis, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::data::Source;
use recurrent::layer::{Activation, Branches, Concat, Heads, Layer, Linear, Pooling, TimePooling};
use recurrent::loss::{CrossEntropy, Mse, Weighted};
use recurrent::model::Composed;
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};
use recurrent::{Lstm, Result, Sequences};
use serde::{Deserialize, Serialize};

type Input = (Sequences<f32>, Array2<f32>); // the day [time, batch, 2], the place [batch, 3]
type Target = (Array2<f32>, Vec<usize>); // the temperature [batch, 1], dry or not
type Joined =
    (Branches<(Lstm<f32>, TimePooling<f32>), (Linear<f32>, Activation<f32>)>, Concat<f32>);
type Network = (Joined, Heads<Linear<f32>, Linear<f32>>);
type TwoBranches = Composed<Input, Network, Weighted<Mse, CrossEntropy>>;

/// The configuration that is saved with the weights.
#[derive(Serialize, Deserialize)]
struct Config {
    hidden: usize,
    fixed: usize,
    weights: [f64; 2],
}

fn build(config: &Config) -> Result<TwoBranches> {
    let Config { hidden, fixed, weights } = *config;
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let (pooling, width) = (TimePooling::new(Pooling::Last, hidden, 1, rng)?, hidden + fixed);
    let day = (Lstm::builder(2, hidden).build(rng)?, pooling);
    let place = (Linear::new(3, fixed, rng)?, Activation::tanh());
    let joined = (Branches::new(day, place), Concat::new());
    let heads = Heads::new(Linear::new(width, 1, rng)?, Linear::new(width, 2, rng)?);
    let loss = Weighted::new((weights[0], Mse), (weights[1], CrossEntropy::default()))?;
    Ok(Composed::new((joined, heads), loss))
}

/// Synthetic days of 12 to 24 hours: the hours [time, 2], the place, and the two targets.
struct Days(Vec<(Array2<f32>, [f32; 3], f32, usize)>);

impl Days {
    fn new(count: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let day = |_| {
            let place: [f32; 3] = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
            let hours = (rng.random_range(12..=24), 2); // temperature and humidity of each hour
            let day = Array2::from_shape_simple_fn(hours, || rng.random_range(-1.0..1.0));
            let late = day.slice(s![-6.., ..]).sum_axis(Axis(0)) / 6.0;
            let dry = usize::from(late[1] + 0.3 * place[2] < 0.0);
            (day, place, late[0] + 0.5 * place[0] * place[1], dry)
        };
        Self((0..count).map(day).collect())
    }
}

impl Source<(Input, Target)> for Days {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn batch(&self, samples: &[usize]) -> Result<(Input, Target)> {
        let rows: Vec<_> = samples.iter().map(|&i| &self.0[i]).collect();
        let days: Vec<ArrayView2<'_, f32>> = rows.iter().map(|row| row.0.view()).collect();
        let place = Array2::from_shape_fn((rows.len(), 3), |(b, j)| rows[b].1[j]);
        let warmth = Array2::from_shape_fn((rows.len(), 1), |(b, _)| rows[b].2);
        let dry = rows.iter().map(|row| row.3).collect();
        Ok(((Sequences::from_views(&days)?, place), (warmth, dry)))
    }
}

fn main() -> Result<()> {
    let config = Config { hidden: 16, fixed: 8, weights: [1.0, 0.5] };
    let (train, test) = (Days::new(800, 2), Days::new(200, 3));
    let mut model = build(&config)?;
    Trainer::new(Adam::new(5e-3)?).epochs(15).fit(&mut model, &train, Some(&test))?;
    println!("{}", model.evaluate(&test, 64)?);

    let path = std::env::temp_dir().join("two_branches.safetensors");
    model.save(&config, &path)?;
    let model = TwoBranches::load(&path, build)?;

    // A stream over the hours of a day, with a forecast after each.
    let ((branches, concat), heads) = &model.layer;
    let ((hours, place), _) = test.batch(&[0])?;
    let place = branches.second.forward(&place)?;
    let mut stream = branches.first.0.stream(1)?;
    for hour in hours.values().outer_iter() {
        let day = stream.step(hour)?.to_owned(); // equals the pooled output, which is the last step
        let (warmth, dry) = heads.forward(&concat.forward(&(day, place.clone()))?)?;
        let sky = if dry[[0, 1]] > dry[[0, 0]] { "dry" } else { "wet" };
        println!("{:+.2}, {sky}", warmth[[0, 0]]);
    }
    Ok(())
}
