//! Models of Keras that are run step by step.

use ndarray::{Array2, Axis, array};
use recurrent::Sequences;
use recurrent::interop::keras::{KerasModel, KerasOutput};

use super::{fixture, input, path};

fn model(name: &str) -> KerasModel {
    KerasModel::open(path(&format!("{name}.keras"))).unwrap()
}

/// Returns the last output of `model` for the first `steps` steps of `x`, which has them in each sequence.
fn predicted(model: &KerasModel, x: &Sequences<f32>, steps: usize) -> Array2<f32> {
    let first = match x.tokens() {
        Some(tokens) => {
            let tokens: Vec<Vec<usize>> =
                (0..x.batch()).map(|b| (0..steps).map(|t| tokens[[t, b]]).collect()).collect();
            Sequences::one_hot_from_list(&tokens, x.features()).unwrap()
        }
        None => {
            let values = x.values().slice_axis(Axis(0), (..steps).into()).to_owned();
            Sequences::full(values).unwrap()
        }
    };
    match model.predict(&first).unwrap() {
        KerasOutput::Rows(y) => y,
        KerasOutput::Steps(y) => y.values().index_axis(Axis(0), steps - 1).to_owned(),
    }
}

#[test]
fn each_step_of_a_stream_is_the_prediction_for_the_steps_so_far() {
    for (name, steps) in [
        ("tokens", 2), // the shortest sequence before its padding
        ("masked", 2),
        ("regressor", 6),
        ("forecaster", 6),
        ("generator", 6),
        ("compiled", 6),
    ] {
        let (model, x) = (model(name), input(&fixture(), name));
        let mut stream = model.stream(x.batch()).unwrap();
        for t in 0..steps {
            let y = match x.tokens() {
                Some(tokens) => stream.step_tokens(&tokens.row(t).to_vec()).unwrap(),
                None => stream.step(x.values().index_axis(Axis(0), t)).unwrap(),
            };
            assert_eq!(y, predicted(&model, &x, t + 1), "{name}, step {t}");
        }
    }
}

#[test]
fn a_fork_continues_from_the_same_state() {
    let model = model("forecaster");
    let mut stream = model.stream(1).unwrap();
    let x_t = array![[0.5_f32, -1.0, 2.0]];
    stream.step(x_t.view()).unwrap();
    let mut fork = stream.fork();
    assert_eq!(fork.step(x_t.view()).unwrap(), stream.step(x_t.view()).unwrap());
}

#[test]
fn layers_that_read_the_future_are_refused_by_name() {
    for (name, named) in [
        ("sequential", "bidirectional"),
        ("backwards", "go_backwards"),
        ("reversed", "go_backwards"),
    ] {
        let model = model(name);
        let message = model.stream(1).err().unwrap().to_string();
        let layer = model.names()[1];
        assert!(message.starts_with(layer) && message.contains(named), "{name}: {message}");
    }
    let message = model("branches").stream(1).err().unwrap().to_string();
    assert!(message.starts_with("gru") && message.contains("the layer before"), "{message}");
}

#[test]
fn an_error_leaves_the_state_as_it_was() {
    let model = model("tokens");
    let (mut stream, mut other) = (model.stream(2).unwrap(), model.stream(2).unwrap());
    for tokens in [&[1][..], &[1, 7], &[0, 1]] {
        let message = stream.step_tokens(tokens).unwrap_err().to_string();
        assert!(message.contains("tokens"), "{message}");
    }
    assert!(stream.step(Array2::zeros((2, 4)).view()).unwrap_err().to_string().contains("tokens"));
    assert_eq!(stream.step_tokens(&[1, 2]).unwrap(), other.step_tokens(&[1, 2]).unwrap());

    let model = self::model("masked");
    let (mut stream, mut other) = (model.stream(2).unwrap(), model.stream(2).unwrap());
    let masked = array![[1.0, 2.0, 3.0], [-1.0, -1.0, -1.0_f32]];
    let message = stream.step(masked.view()).unwrap_err().to_string();
    assert!(message.contains("masking") && message.contains("row 1"), "{message}");
    assert!(stream.step(Array2::zeros((2, 4)).view()).is_err());
    assert!(stream.step(Array2::zeros((1, 3)).view()).is_err());
    assert!(stream.step_tokens(&[1, 2]).is_err());
    let x_t = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0_f32]];
    assert_eq!(stream.step(x_t.view()).unwrap(), other.step(x_t.view()).unwrap());
}
