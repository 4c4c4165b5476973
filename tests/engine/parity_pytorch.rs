//! Tests of parity with PyTorch: outputs, final states and all gradients. `tests/fixtures/generate.py`
//! makes the fixtures and documents their names.

use std::collections::HashMap;
use std::path::Path;

use ndarray::{Array, Array3, ArrayD, Axis, Dimension, Ix1, Ix2, Ix3};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, GruCell, LstmCell, Nonlinearity, ProjectedLstmCell, ProjectedLstmOptions, RnnCell,
};
use recurrent::layer::Linear;
use recurrent::loss::{BceWithLogits, CrossEntropy, Loss, Mse};
use recurrent::optim::{Adam, AdamW, Sgd, clip_global_norm};
use recurrent::{Arrays, Float, Recurrent, Result, Sequences, State};
use safetensors::{Dtype, SafeTensors};

/// Tensors by name. f64 represents every f32 and every small integer exactly.
struct Fixture(HashMap<String, ArrayD<f64>>);

impl Fixture {
    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            let words = view.data().chunks_exact(8).map(|word| word.try_into().unwrap());
            let values = match view.dtype() {
                Dtype::F64 => words.map(f64::from_le_bytes).collect(),
                Dtype::I64 => words.map(|word| i64::from_le_bytes(word) as f64).collect(),
                other => panic!("{name}: dtype {other:?}"),
            };
            (name.to_owned(), ArrayD::from_shape_vec(view.shape(), values).unwrap())
        });
        Self(tensors.collect())
    }

    fn get<T: Float, D: Dimension>(&self, name: &str) -> Array<T, D> {
        let values = self.0.get(name).unwrap_or_else(|| panic!("the fixture has no {name}"));
        values.mapv(T::from_f64).into_dimensionality().unwrap()
    }

    fn indices(&self, name: &str) -> Vec<usize> {
        self.0[name].iter().map(|&value| value as usize).collect()
    }
}

/// Returns max|a − b| / max|b|, or infinity if there is a NaN.
fn relative_error<T: Float>(a: &ArrayD<T>, b: &ArrayD<f64>) -> f64 {
    let largest = b.iter().fold(0.0_f64, |max, b| max.max(b.abs()));
    let errors = a.iter().zip(b).map(|(a, b)| (a.as_f64() - b).abs());
    let error = errors.fold(0.0, |max, e| if e.is_nan() { f64::INFINITY } else { e.max(max) });
    if error == 0.0 { 0.0 } else { error / largest }
}

/// Compares each tensor of the fixture under `prefix` with ours of the same name. Panics with the names
/// and errors of those that differ, or returns the largest error.
fn compare<T: Float>(fixture: &Fixture, prefix: &str, ours: &HashMap<String, ArrayD<T>>) -> f64 {
    let tolerance = if T::NAME == "f64" { 1e-10 } else { 1e-5 };
    let (mut worst, mut failures) = (None, Vec::new());
    for (name, want) in fixture.0.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let have = &ours.get(&name[prefix.len()..]).unwrap_or_else(|| panic!("{name}: missing"));
        assert_eq!(have.shape(), want.shape(), "{name}");
        let error = relative_error(have, want);
        if error > tolerance {
            failures.push(format!("{name}: {error:.1e}"));
        }
        worst = Some(error.max(worst.unwrap_or(0.0)));
    }
    assert!(failures.is_empty(), "relative errors in {}:\n{}", T::NAME, failures.join("\n"));
    worst.unwrap_or_else(|| panic!("the fixture has nothing under {prefix}"))
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(0)
}

fn set<T: Float>(model: &mut impl Arrays<Elem = T>, fixture: &Fixture, prefix: &str) {
    model.for_each_mut(&mut |name, mut values| {
        let given: ArrayD<T> = fixture.get(&format!("{prefix}{name}"));
        assert_eq!(values.shape(), given.shape(), "{prefix}{name}");
        values.assign(&given);
    });
}

const HIDDEN: usize = 5;

/// The options by which the fixtures of a network differ.
struct Variant {
    layers: usize,
    bidirectional: bool,
    bias: bool,
    ragged: bool,
    given_state: bool,
}

impl Variant {
    fn all() -> Vec<Self> {
        let mut variants = Vec::new();
        for layers in [1, 2] {
            for options in 0..16 {
                let [bidirectional, bias, ragged, given_state] =
                    [1, 2, 4, 8].map(|bit| options & bit != 0);
                variants.push(Self { layers, bidirectional, bias, ragged, given_state });
            }
        }
        variants
    }

    /// Returns the prefix of the inputs of the network.
    fn inputs(&self) -> String {
        format!("l{}.{}/", self.layers, if self.bidirectional { "bi" } else { "uni" })
    }

    /// Returns the prefix of the results of the network.
    fn results(&self) -> String {
        let bias = if self.bias { "bias" } else { "nobias" };
        let lengths = if self.ragged { "ragged" } else { "full" };
        let state = if self.given_state { "given" } else { "zero" };
        format!("{}.{bias}.{lengths}.{state}/", self.inputs().trim_end_matches('/'))
    }

    fn check<T: Float, C: Cell<Elem = T>>(
        &self,
        fixture: &Fixture,
        options: C::Options,
    ) -> Result<f64> {
        let (inputs, x) = (self.inputs(), fixture.get::<T, Ix3>("x"));
        let mut network = Recurrent::<C>::builder(x.dim().2, HIDDEN)
            .num_layers(self.layers)
            .bidirectional(self.bidirectional)
            .bias(self.bias)
            .options(options)
            .build(&mut rng())?;
        set(&mut network, fixture, &inputs);
        let x = if self.ragged {
            Sequences::new(x, fixture.indices("lengths"))?
        } else {
            Sequences::full(x)?
        };
        let state = |before: &str, after: &str| -> Result<State<T>> {
            let mut state = network.zero_state(x.batch())?;
            for name in C::STATE {
                state.set(name, fixture.get(&format!("{inputs}{before}{name}{after}")))?;
            }
            Ok(state)
        };
        let (initial, d_final) = (state("", "_0")?, state("d_", "_n")?);
        let initial = self.given_state.then_some(&initial);
        let d_output = x.with_values(fixture.get(&format!("{inputs}d_output")))?;

        let (plain, plain_last) = network.forward(&x, initial)?;
        let (output, last, tape) = network.forward_train(&x, initial, &mut rng())?;
        assert_eq!(plain, output, "inference and training differ");
        assert_eq!(plain_last, last, "inference and training differ");
        let mut grad = network.zeros_like();
        let (d_x, d_initial) = network.backward(tape, &d_output, Some(&d_final), &mut grad)?;

        let mut ours = HashMap::from([
            ("output".to_owned(), output.into_values().into_dyn()),
            ("d_x".to_owned(), d_x.into_values().into_dyn()),
        ]);
        for name in C::STATE {
            ours.insert(format!("{name}_n"), last.get(name)?.into_dyn());
            ours.insert(format!("d_{name}_0"), d_initial.get(name)?.into_dyn());
        }
        grad.for_each(&mut |name, values| {
            ours.insert(format!("d_{name}"), values.to_owned());
        });
        Ok(compare(fixture, &self.results(), &ours))
    }
}

fn check_network<T: Float, C: Cell<Elem = T>>(file: &str, options: C::Options) {
    let fixture = Fixture::read(file);
    let errors = Variant::all().into_iter().map(|v| v.check::<T, C>(&fixture, options.clone()));
    let worst = errors.map(Result::unwrap).fold(0.0, f64::max);
    println!("{file} in {}: largest relative error {worst:.1e}", T::NAME);
}

#[test]
fn tanh_rnn_agrees() {
    check_network::<f64, RnnCell<f64>>("rnn_tanh", Nonlinearity::Tanh);
    check_network::<f32, RnnCell<f32>>("rnn_tanh", Nonlinearity::Tanh);
}

#[test]
fn relu_rnn_agrees() {
    check_network::<f64, RnnCell<f64>>("rnn_relu", Nonlinearity::Relu);
    check_network::<f32, RnnCell<f32>>("rnn_relu", Nonlinearity::Relu);
}

#[test]
fn lstm_agrees() {
    check_network::<f64, LstmCell<f64>>("lstm", Default::default());
    check_network::<f32, LstmCell<f32>>("lstm", Default::default());
}

#[test]
fn projected_lstm_agrees() {
    let options = ProjectedLstmOptions::new(2);
    check_network::<f64, ProjectedLstmCell<f64>>("lstm_proj", options.clone());
    check_network::<f32, ProjectedLstmCell<f32>>("lstm_proj", options);
}

#[test]
fn gru_agrees() {
    check_network::<f64, GruCell<f64>>("gru", Default::default());
    check_network::<f32, GruCell<f32>>("gru", Default::default());
}

/// Compares a loss and its gradient with those under `prefix`.
fn compare_loss<T: Float>(fixture: &Fixture, prefix: &str, (value, d): (f64, Sequences<T>)) {
    let value = ArrayD::from_elem(vec![1], T::from_f64(value));
    let ours =
        HashMap::from([("value".into(), value), ("d_input".into(), d.into_values().into_dyn())]);
    compare(fixture, prefix, &ours);
}

fn check_cross_entropy<T: Float>(fixture: &Fixture) -> Result<()> {
    let logits = Sequences::<T>::new(fixture.get("logits"), fixture.indices("lengths"))?;
    let targets = fixture.get::<f64, Ix2>("targets").mapv(|class| class as usize);
    let weights = fixture.get::<f64, Ix1>("class_weights").to_vec();
    for options in 0..8 {
        let [ignore, smoothing, weighted] = [1, 2, 4].map(|bit| options & bit != 0);
        let (mut loss, mut name) = (CrossEntropy::default(), "cross_entropy".to_owned());
        if ignore {
            (loss, name) = (loss.ignore_index(2), name + ".ignore");
        }
        if smoothing {
            (loss, name) = (loss.label_smoothing(0.1)?, name + ".smoothing");
        }
        if weighted {
            (loss, name) = (loss.class_weights(weights.clone())?, name + ".weights");
        }
        let plain = if options == 0 { ".plain" } else { "" };
        let result = loss.loss(&logits, &targets)?;
        compare_loss(fixture, &format!("{name}{plain}/"), result);
    }
    Ok(())
}

#[test]
fn cross_entropy_agrees() {
    let fixture = Fixture::read("losses");
    check_cross_entropy::<f64>(&fixture).unwrap();
    check_cross_entropy::<f32>(&fixture).unwrap();
}

fn check_elementwise_losses<T: Float>(fixture: &Fixture) -> Result<()> {
    let input: Array3<T> = fixture.get("input");
    let full = vec![input.dim().0; input.dim().1];
    for (kind, lengths) in [("full", full), ("ragged", fixture.indices("lengths"))] {
        let input = Sequences::new(input.clone(), lengths)?;
        let target = |name: &str| input.with_values(fixture.get(name));
        let mse = Mse.loss(&input, &target("values")?)?;
        compare_loss(fixture, &format!("mse.{kind}/"), mse);
        for name in ["labels", "probabilities"] {
            let bce = BceWithLogits::default().loss(&input, &target(name)?)?;
            compare_loss(fixture, &format!("bce_{name}.{kind}/"), bce);
        }
    }
    Ok(())
}

#[test]
fn squared_error_and_binary_cross_entropy_agree() {
    let fixture = Fixture::read("losses");
    check_elementwise_losses::<f64>(&fixture).unwrap();
    check_elementwise_losses::<f32>(&fixture).unwrap();
}

/// Returns the bundle of `weight` and `bias` that optimisers are tested on, with the values under `prefix`:
/// those of step `step` if the fixture has a row for each step.
fn bundle<T: Float>(fixture: &Fixture, prefix: &str, step: Option<usize>) -> Linear<T> {
    let mut bundle = Linear::new(4, 3, &mut rng()).unwrap();
    bundle.for_each_mut(&mut |name, mut values| {
        let given: ArrayD<T> = fixture.get(&format!("{prefix}{name}"));
        match step {
            Some(step) => values.assign(&given.index_axis(Axis(0), step)),
            None => values.assign(&given),
        }
    });
    bundle
}

/// Compares ten steps of an optimiser with those under `rule`.
fn check_path<T: Float>(
    fixture: &Fixture,
    rule: &str,
    mut step: impl FnMut(&mut Linear<T>, &Linear<T>) -> Result<()>,
) {
    let mut parameters: Linear<T> = bundle(fixture, "", None);
    let mut path: HashMap<String, Vec<ArrayD<T>>> = HashMap::new();
    for t in 0..10 {
        step(&mut parameters, &bundle(fixture, "gradients.", Some(t))).unwrap();
        parameters.for_each(&mut |name, values| {
            path.entry(name.to_owned()).or_default().push(values.to_owned());
        });
    }
    let stacked = path.into_iter().map(|(name, steps)| {
        let views: Vec<_> = steps.iter().map(|step| step.view()).collect();
        (name, ndarray::stack(Axis(0), &views).unwrap())
    });
    compare(fixture, &format!("{rule}/"), &stacked.collect());
}

fn check_optimizers<T: Float>(fixture: &Fixture) -> Result<()> {
    let sgd: [(&str, Sgd<Linear<T>>); 3] = [
        ("sgd.plain", Sgd::new(0.1)?),
        ("sgd.momentum", Sgd::new(0.1)?.momentum(0.9)?),
        ("sgd.decay", Sgd::new(0.1)?.momentum(0.9)?.weight_decay(0.05)?),
    ];
    for (rule, mut sgd) in sgd {
        check_path(fixture, rule, |parameters, grad| sgd.step(parameters, grad));
    }
    let adam: [(&str, Adam<Linear<T>>); 3] = [
        ("adam.plain", Adam::new(0.01)?),
        ("adam.betas", Adam::new(0.01)?.betas(0.8, 0.95)?.eps(1e-6)?),
        ("adam.decay", Adam::new(0.01)?.weight_decay(0.05)?),
    ];
    for (rule, mut adam) in adam {
        check_path(fixture, rule, |parameters, grad| adam.step(parameters, grad));
    }
    let mut adam_w: AdamW<Linear<T>> = AdamW::new(0.01, 0.05)?;
    check_path(fixture, "adamw.decay", |parameters, grad| adam_w.step(parameters, grad));
    Ok(())
}

#[test]
fn ten_steps_of_sgd_and_adam_agree() {
    let fixture = Fixture::read("optimizers");
    check_optimizers::<f64>(&fixture).unwrap();
    check_optimizers::<f32>(&fixture).unwrap();
}

fn check_clipping<T: Float>(fixture: &Fixture) {
    for max_norm in [1.0, 100.0] {
        let mut grad: Linear<T> = bundle(fixture, "gradients.", Some(0));
        let norm = clip_global_norm(&mut grad, max_norm).unwrap();
        let mut ours =
            HashMap::from([("norm".to_owned(), ArrayD::from_elem(vec![1], T::from_f64(norm)))]);
        grad.for_each(&mut |name, values| {
            ours.insert(name.to_owned(), values.to_owned());
        });
        compare(fixture, &format!("clip.{max_norm}/"), &ours);
    }
}

#[test]
fn clipping_agrees() {
    let fixture = Fixture::read("optimizers");
    check_clipping::<f64>(&fixture);
    check_clipping::<f32>(&fixture);
}
