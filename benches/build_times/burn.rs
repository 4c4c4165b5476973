//! A minimal training program for an LSTM in burn, on its ndarray backend. It classifies sequences of
//! noise.

use burn::nn::{Linear, LinearConfig, Lstm, LstmConfig, loss::CrossEntropyLossConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::Distribution;

#[derive(Module, Debug)]
struct Classifier {
    lstm: Lstm,
    head: Linear,
}

#[allow(deprecated)] // in favour of the flex backend, whose build takes as many crates
fn main() {
    let (batch, time, input, hidden, classes) = (16, 20, 6, 32, 4);
    let device = Device::ndarray().autodiff();
    let mut model = Classifier {
        lstm: LstmConfig::new(input, hidden, true).init(&device),
        head: LinearConfig::new(hidden, classes).init(&device),
    };
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut optimiser = AdamConfig::new().init();

    let x = Tensor::<3>::random([batch, time, input], Distribution::Normal(0.0, 1.0), &device);
    let y = Tensor::<1, Int>::arange(0..batch as i64, &device).remainder_scalar(classes as i64);
    for step in 1..=20 {
        let (_, last) = model.lstm.forward(x.clone(), None);
        let error = loss.forward(model.head.forward(last.hidden), y.clone());
        println!("{step} {:.4}", error.clone().into_scalar::<f32>());
        let grads = GradientsParams::from_grads(error.backward(), &model);
        model = optimiser.step(1e-2, model, grads);
    }
}
