//! The mode `char_lm`: training steps of a language model over characters.

use ndarray::{Array, Array2, Axis, Ix2};
use peer_protocol::{Array as Tensor, Case, Result, Tensors, Work};
use recurrent::layer::{Embedding, Layer, Linear};
use recurrent::loss::{CrossEntropy, Loss};
use recurrent::optim::{Adam, clip_global_norm};
use recurrent::{Arrays, Float, Lstm, Sequences, arrays};

use crate::sequence::rng;
use crate::tensors::{array, named, set};

#[derive(Clone)]
struct Model<T: Float> {
    embedding: Embedding<T>,
    lstm: Lstm<T>,
    linear: Linear<T>,
}
arrays!(Model { embedding, lstm, linear });

/// The model, its training data, and its optimiser.
pub struct CharLm<T: Float> {
    model: Model<T>,
    adam: Adam<Model<T>>,
    tokens: Array2<usize>,
    targets: Array2<usize>,
}

impl<T: Float> CharLm<T> {
    pub fn new(case: &Case, tensors: &Tensors) -> Result<Self> {
        let tokens: Array<f64, Ix2> = array(tensors, "tokens")?;
        let tokens = tokens.mapv(|token| token as usize);
        let (symbols, _) = array::<T, Ix2>(tensors, "embedding.weight")?.dim();
        let mut model = Model {
            embedding: Embedding::new(symbols, case.input_size, &mut rng())?,
            lstm: Lstm::builder(case.input_size, case.hidden_size)
                .num_layers(case.num_layers)
                .build(&mut rng())?,
            linear: Linear::new(case.hidden_size, symbols, &mut rng())?,
        };
        set(&mut model, tensors, "")?;
        let inputs = tokens.view().split_at(Axis(0), case.time).0.to_owned();
        let targets = tokens.view().split_at(Axis(0), 1).1.to_owned();
        Ok(Self { model, adam: Adam::new(1e-3)?, tokens: inputs, targets })
    }

    /// Makes a training step. Returns the loss, and the norm of the gradient before clipping.
    fn step(&mut self) -> Result<(f64, f64)> {
        let Self { model, adam, tokens, targets } = self;
        let lengths = vec![tokens.nrows(); tokens.ncols()];
        let symbols = model.embedding.num_embeddings();
        let tokens = Sequences::one_hot(tokens.view(), symbols, lengths)?;
        let (x, words) = model.embedding.forward_train(&tokens, &mut rng())?;
        let (output, _, tape) = model.lstm.forward_train(&x, None, &mut rng())?;
        let (logits, rows) = model.linear.forward_train(&output, &mut rng())?;
        let (loss, d_logits) = CrossEntropy::default().loss(&logits, targets)?;

        let mut grad = model.zeros_like();
        let d_output: Sequences<T> = model.linear.backward(rows, &d_logits, &mut grad.linear)?;
        let (d_x, _) = model.lstm.backward(tape, &d_output, None, &mut grad.lstm)?;
        model.embedding.backward(words, &d_x, &mut grad.embedding)?;
        let norm = clip_global_norm(&mut grad, 1.0)?;
        adam.step(model, &grad)?;
        Ok((loss, norm))
    }
}

impl<T: Float> Work for CharLm<T> {
    fn run(&mut self) -> Result<()> {
        std::hint::black_box(self.step()?);
        Ok(())
    }

    fn check(&mut self) -> Result<Vec<(String, Tensor)>> {
        let steps = (0..3).map(|_| self.step()).collect::<Result<Vec<_>>>()?;
        let loss: Vec<_> = steps.iter().map(|(loss, _)| *loss).collect();
        let norm: Vec<_> = steps.iter().map(|(_, norm)| *norm).collect();
        Ok(vec![named("loss", ndarray::aview1(&loss)), named("grad_norm", ndarray::aview1(&norm))])
    }
}
