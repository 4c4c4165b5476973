//! A minimal training program for an LSTM in candle. It classifies sequences of noise.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::rnn::{LSTMConfig, RNN, lstm};
use candle_nn::{AdamW, Module, Optimizer, VarBuilder, VarMap, linear, loss};

fn main() -> Result<()> {
    let (batch, time, input, hidden, classes) = (16, 20, 6, 32, 4);
    let device = Device::Cpu;
    let variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &device);
    let cell = lstm(input, hidden, LSTMConfig::default(), builder.pp("lstm"))?;
    let head = linear(hidden, classes, builder.pp("head"))?;
    let mut optimiser = AdamW::new_lr(variables.all_vars(), 1e-2)?;

    let x = Tensor::randn(0f32, 1f32, (batch, time, input), &device)?;
    let y = Tensor::from_iter((0..batch).map(|i| (i % classes) as u32), &device)?;
    for step in 1..=20 {
        let states = cell.seq(&x)?;
        let scores = head.forward(states[time - 1].h())?;
        let error = loss::cross_entropy(&scores, &y)?;
        optimiser.backward_step(&error)?;
        println!("{step} {:.4}", error.to_scalar::<f32>()?);
    }
    Ok(())
}
