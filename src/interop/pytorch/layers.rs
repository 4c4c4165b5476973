//! Layers and models of a [`StateDict`], whose sizes are found from names and shapes.
#![expect(clippy::indexing_slicing, reason = "the number of axes of a weight was compared")]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::StateDict;
use crate::cell::{Cell, GruOptions, LstmOptions, Nonlinearity, ProjectedLstmOptions};
use crate::error::{Error, Result, TensorReport};
use crate::float::Float;
use crate::layer::{Conv1d, Embedding, LayerNorm, Linear};
use crate::model::{FileSizes, LayerSizes, ModelBuilder, Shape};
use crate::sequence::{Gru, Lstm, ProjectedLstm, Recurrent, Rnn};
use crate::tensor::Init;

/// Names with their shapes.
type Shapes = Vec<(String, Vec<usize>)>;

impl StateDict {
    /// Returns the network of a `torch.nn.RNN`. The file does not have its `nonlinearity`.
    ///
    /// # Errors
    /// As [`lstm`](Self::lstm).
    pub fn rnn<T: Float>(&self, nonlinearity: Nonlinearity) -> Result<Rnn<T>> {
        self.recurrent(1, |_| nonlinearity)
    }

    /// Returns the network of a `torch.nn.LSTM`. Its sizes, the number of layers, the directions, and whether
    /// there are biases are found from the file.
    ///
    /// Dropout between layers acts in training alone and is not in the file.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-lstm-{}", std::process::id()));
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::interop::pytorch::StateDict;
    /// use recurrent::{Lstm, io::Writer};
    ///
    /// let builder = Lstm::<f64>::builder(3, 8).num_layers(2).bidirectional(true).bias(false);
    /// let lstm = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// Writer::default().arrays("encoder.lstm.", &lstm).write(&path)?;
    ///
    /// let again = StateDict::open(&path)?.prefix("encoder.lstm.").lstm::<f64>()?;
    /// assert_eq!((again.num_layers(), again.bidirectional(), again.output_size()), (2, true, 16));
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Tensors`] if the names and shapes under the prefix are not those of such a network,
    /// [`Error::Dtype`] if values are not exact in `T`, [`Error::NonFinite`] if one is NaN or infinite,
    /// [`Error::Argument`] if a size is zero.
    pub fn lstm<T: Float>(&self) -> Result<Lstm<T>> {
        self.recurrent(4, |_| LstmOptions::default())
    }

    /// Returns the network of a `torch.nn.GRU`.
    ///
    /// # Errors
    /// As [`lstm`](Self::lstm).
    pub fn gru<T: Float>(&self) -> Result<Gru<T>> {
        self.recurrent(3, |_| GruOptions::default())
    }

    /// Returns the network of a `torch.nn.LSTM` with `proj_size`.
    ///
    /// # Errors
    /// As [`lstm`](Self::lstm).
    pub fn projected_lstm<T: Float>(&self) -> Result<ProjectedLstm<T>> {
        self.recurrent(4, |sizes| ProjectedLstmOptions::new(sizes.proj.unwrap_or_default()))
    }

    /// Returns the layer of a `torch.nn.Linear`, with or without bias.
    ///
    /// # Errors
    /// As [`lstm`](Self::lstm).
    pub fn linear<T: Float>(&self) -> Result<Linear<T>> {
        let [output, input] = self.sizes("weight", ["output", "input"])?;
        let bias = self.check_affine(&[output, input])?;
        let bias = bias.then(|| self.finite("bias")).transpose()?;
        Linear::from_weight(self.finite("weight")?, bias).map_err(|error| self.placed(error))
    }

    /// Returns the layer of a `torch.nn.Embedding`. Its `padding_idx` is not in the file; set it by
    /// [`Embedding::padding_index`].
    ///
    /// # Errors
    /// As [`lstm`](Self::lstm).
    pub fn embedding<T: Float>(&self) -> Result<Embedding<T>> {
        let sizes = self.sizes("weight", ["num_embeddings", "embedding_dim"])?;
        self.check(&[("weight".to_owned(), sizes.to_vec())])?;
        Embedding::from_weight(self.finite("weight")?).map_err(|error| self.placed(error))
    }

    /// Returns the layer of a `torch.nn.LayerNorm` of one axis. Its `eps` is not in the file; set another than
    /// 10⁻⁵ by [`LayerNorm::epsilon`].
    ///
    /// # Errors
    /// As [`lstm`](Self::lstm).
    pub fn layer_norm<T: Float>(&self) -> Result<LayerNorm<T>> {
        let [features] = self.sizes("weight", ["features"])?;
        let of_features = |name: &str| (name.to_owned(), vec![features]);
        self.check(&["weight", "bias"].map(of_features))?;
        let mut layer = LayerNorm::new(features).map_err(|error| self.placed(error))?;
        self.load(&mut layer)?;
        Ok(layer)
    }

    /// Returns the layer of a `torch.nn.Conv1d` with stride 1 and one group, with or without bias. Its padding
    /// and dilation are not in the file; set them by [`Conv1d::padding`] and [`Conv1d::dilation`].
    ///
    /// # Errors
    /// As [`lstm`](Self::lstm).
    pub fn conv1d<T: Float>(&self) -> Result<Conv1d<T>> {
        let sizes: [usize; 3] = self.sizes("weight", ["out", "in", "kernel_size"])?;
        let bias = self.check_affine(&sizes)?;
        let bias = bias.then(|| self.finite("bias")).transpose()?;
        Conv1d::from_weight(self.finite("weight")?, bias).map_err(|error| self.placed(error))
    }

    /// Returns the model of a module with the attributes `embedding` (of models of tokens), `recurrent` and
    /// `head`, and those that the options of `builder` add. The widths, the number and the directions of the
    /// recurrent layers, their bias and the width of the embedding are those of the file, whatever `builder`
    /// says.
    ///
    /// The module of a [`Seq2Seq`](crate::model::Seq2Seq) has `encoder.embedding`, `encoder.recurrent`, `bridge`,
    /// `decoder.embedding`, `decoder.recurrent`, `decoder.attention`, `decoder.combine` and `head`. The sizes of both
    /// sides are those of the file. `builder` has the score of the attention with its sizes, the place, the bridge and
    /// what is shared or tied.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-model-{}", std::process::id()));
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::GruCell;
    /// use recurrent::interop::pytorch::StateDict;
    /// use recurrent::layer::Pooling;
    /// use recurrent::model::SequenceClassifier;
    ///
    /// let builder = || SequenceClassifier::<GruCell<f32>>::builder(50, 2).pooling(Pooling::Mean);
    /// let trained = builder().embedding_dim(8).hidden_size(16).bidirectional(true);
    /// trained.build(&mut ChaCha8Rng::seed_from_u64(1))?.save(&path)?; // or a file of PyTorch
    ///
    /// let model = StateDict::open(&path)?.model(builder().labels(&["poor", "fine"]))?;
    /// assert_eq!(model.recurrent().output_size(), 32);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`lstm`](Self::lstm), and as [`ModelBuilder::build`].
    pub fn model<T: Float, M: Shape<Elem = T>>(&self, builder: ModelBuilder<M>) -> Result<M> {
        let builder = M::sized(builder, self)?;
        let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(0))?;
        self.load(&mut model)?;
        Ok(model)
    }

    /// Returns a network of cells with `gates` gates and the options that `options` makes of its sizes.
    fn recurrent<T: Float, C: Cell<Elem = T>>(
        &self,
        gates: usize,
        options: impl FnOnce(&StackSizes) -> C::Options,
    ) -> Result<Recurrent<C>> {
        let sizes = self.layer_sizes()?;
        self.check(&sizes.shapes(gates))?;
        let builder = sizes.layers.set(Recurrent::<C>::builder(sizes.input, 1));
        let builder = builder.weight_ih(Init::Constant(0.0)).weight_hh(Init::Constant(0.0));
        let built = builder.options(options(&sizes)).build(&mut ChaCha8Rng::seed_from_u64(0));
        let mut network = built.map_err(|error| self.placed(error))?;
        self.load(&mut network)?;
        Ok(network)
    }

    /// Fails unless there are `weight` of the given shape and perhaps a `bias` for its first axis, alone.
    /// Returns whether there is one.
    fn check_affine(&self, weight: &[usize]) -> Result<bool> {
        let mut shapes = vec![("weight".to_owned(), weight.to_vec())];
        let bias = self.shape("bias").is_some();
        shapes.extend(bias.then(|| ("bias".to_owned(), vec![weight[0]])));
        self.check(&shapes)?;
        Ok(bias)
    }

    /// Returns the shape of the tensor `name`, whose axes are `axes`.
    fn sizes<const N: usize>(&self, name: &str, axes: [&str; N]) -> Result<[usize; N]> {
        let Some(shape) = self.shape(name) else {
            return Err(self.unfit(self.compare(&[(name.to_owned(), Vec::new())])));
        };
        let expected = || format!("the axes {axes:?}");
        let sizes = shape.try_into();
        sizes.map_err(|_| Error::argument(self.place(name), expected(), format!("{shape:?}")))
    }

    /// Puts the path and the prefix before the name of what `error` is about.
    fn placed(&self, error: Error) -> Error {
        error.prefixed(&format!("{}: ", self.place("")))
    }

    /// Returns the sizes of recurrent layers.
    fn layer_sizes(&self) -> Result<StackSizes> {
        let bidirectional = self.shape("weight_hh_l0_reverse").is_some();
        let bias = self.shape("bias_ih_l0").is_some();
        let [_, input] = self.sizes("weight_ih_l0", ["gates · hidden_size", "input_size"])?;
        let layers = LayerSizes { hidden: Vec::new(), bidirectional, bias };
        let mut sizes = StackSizes { input, layers, proj: None };
        for layer in 0.. {
            let name = format!("weight_hh_l{layer}");
            if layer > 0 && self.shape(&name).is_none() {
                break;
            }
            let [_, output] = self.sizes(&name, ["gates · hidden_size", "hidden_size"])?;
            let projection = format!("weight_hr_l{layer}");
            let hidden = match self.shape(&projection) {
                None => output,
                Some(_) => {
                    let [proj, hidden] = self.sizes(&projection, ["proj_size", "hidden_size"])?;
                    sizes.proj.get_or_insert(proj);
                    hidden
                }
            };
            sizes.layers.hidden.push(hidden);
        }
        Ok(sizes)
    }
}

impl FileSizes for StateDict {
    fn layers(&self, part: &str) -> Result<LayerSizes> {
        let weights = self.prefix(&format!("{part}recurrent."));
        let sizes = weights.layer_sizes()?;
        // The layers are built before the shapes are compared, so they must be within the size of the file.
        sizes.check_rows(&weights)?;
        Ok(sizes.layers)
    }

    fn embedding_dim(&self, part: &str, tokens: usize) -> Result<Option<usize>> {
        let name = format!("{part}embedding.weight");
        if self.shape(&name).is_none() {
            return Ok(None);
        }
        let [rows, width] = self.sizes(&name, ["num_embeddings", "embedding_dim"])?;
        if rows != tokens {
            let expected = [(name, vec![tokens, width])];
            return Err(self.unfit(self.clone().allow_unused(true).compare(&expected)));
        }
        let first = format!("{part}recurrent.weight_ih_l0");
        if self.shape(&first).is_some() {
            self.check_matrix(&first, [1, width])?;
        }
        Ok(Some(width))
    }

    fn check_matrix(&self, name: &str, least: [usize; 2]) -> Result<()> {
        let got = self.sizes(name, ["rows", "columns"])?;
        if got[0] >= least[0] && got[1] >= least[1] {
            return Ok(());
        }
        let expected = format!("a matrix of at least {} rows and {} columns", least[0], least[1]);
        Err(Error::argument(self.place(name), expected, format!("{got:?}")))
    }
}

/// The sizes of a stack of recurrent layers.
struct StackSizes {
    input: usize,
    layers: LayerSizes,
    proj: Option<usize>,
}

impl StackSizes {
    /// Returns the names and shapes of the weights of cells with `gates` gates.
    fn shapes(&self, gates: usize) -> Shapes {
        let mut shapes = Shapes::new();
        let mut input = self.input;
        let directions = 1 + usize::from(self.layers.bidirectional);
        for (layer, &hidden) in self.layers.hidden.iter().enumerate() {
            let (rows, output) = (gates.saturating_mul(hidden), self.proj.unwrap_or(hidden));
            for direction in ["", "_reverse"].into_iter().take(directions) {
                let mut add = |name: &str, shape: &[usize]| {
                    shapes.push((format!("{name}_l{layer}{direction}"), shape.to_vec()));
                };
                add("weight_ih", &[rows, input]);
                add("weight_hh", &[rows, output]);
                if self.layers.bias {
                    add("bias_ih", &[rows]);
                    add("bias_hh", &[rows]);
                }
                if let Some(proj) = self.proj {
                    add("weight_hr", &[proj, hidden]);
                }
            }
            input = output.saturating_mul(directions);
        }
        shapes
    }

    /// Fails unless the weights are those of cells with one to four gates.
    fn check_rows(&self, layers: &StateDict) -> Result<()> {
        let reports = [1, 3, 4].map(|gates| layers.compare(&self.shapes(gates)));
        let fits =
            |report: &TensorReport| report.wrong_shapes.is_empty() && report.missing.is_empty();
        if reports.iter().any(fits) {
            return Ok(());
        }
        let best = reports.into_iter().min_by_key(|report| report.wrong_shapes.len());
        Err(layers.unfit(best.unwrap_or_default()))
    }
}
