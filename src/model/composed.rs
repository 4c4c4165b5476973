//! [`Composed`]: a layer and a loss as a model.

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::path::Path;

use rand::Rng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::{Reader, Writer, about};
use crate::layer::Layer;
use crate::model::file::{described, format_error, no_model};
use crate::model::model_calls;
use crate::model::{Scored, counted};
use crate::tensor::Precision;
use crate::train::Model;

/// A [`Model`] made of a layer, usually a composition of layers, and a loss.
///
/// `X` is the type of the layer's input. A batch is a pair of input and target. The loss implements
/// [`Scored`], which also chooses the metrics.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-composed-{}", std::process::id()));
/// use ndarray::{Array2, array};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::data::Dataset;
/// use recurrent::layer::{Linear, Pooling, TimePooling};
/// use recurrent::loss::CrossEntropy;
/// use recurrent::{Gru, Result, Sequences, model::Composed, optim::Adam, train::{Model, Trainer}};
///
/// type Layers = (Gru<f32>, TimePooling<f32>, Linear<f32>);
/// type Classifier = Composed<Sequences<f32>, Layers, CrossEntropy>;
///
/// fn build(hidden: &usize) -> Result<Classifier> {
///     let mut rng = ChaCha8Rng::seed_from_u64(1);
///     let gru = Gru::builder(1, *hidden).build(&mut rng)?;
///     let pooling = TimePooling::new(Pooling::Mean, *hidden, 1, &mut rng)?;
///     Ok(Composed::new((gru, pooling, Linear::new(*hidden, 2, &mut rng)?), CrossEntropy::default()))
/// }
///
/// // Does it rise or fall?
/// let walk = |i: usize| Array2::from_shape_fn((4 + i % 5, 1), |(t, _)| t as f32 * (1.0 - 2.0 * (i % 2) as f32));
/// let data = Dataset::new((0..40).map(walk).collect(), (0..40).map(|i| i % 2).collect::<Vec<usize>>())?;
/// let hidden = 8;
/// let mut model = build(&hidden)?;
/// Trainer::new(Adam::new(0.02)?).epochs(20).batch_size(8).fit(&mut model, &data, None)?;
/// assert!(model.evaluate(&data, 40)?.accuracy() > 0.9);
///
/// model.save(&hidden, &path)?; // the weights, and the sizes of the layers
/// let again = Classifier::load(&path, build)?;
/// let x = Sequences::from_list(&[array![[0.0], [1.0], [2.0]]])?;
/// assert_eq!(again.predict(&x)?, model.predict(&x)?);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
pub struct Composed<X, L, C> {
    /// The layer.
    pub layer: L,
    /// The loss.
    pub loss: C,
    input: PhantomData<fn(X)>,
}
crate::arrays!([X, L: Layer<X>, C: Clone] Composed<X, L, C>: L::Elem { ..layer });

/// The description of the model in a file.
#[derive(Serialize, Deserialize)]
struct About<S> {
    model: String,
    loss: String,
    config: S,
}

const NAME: &str = "Composed";

impl<X, L: Layer<X>, C: Scored<L::Output>> Composed<X, L, C> {
    /// Creates the model of `layer` and `loss`.
    pub fn new(layer: L, loss: C) -> Self {
        Self { layer, loss, input: PhantomData }
    }

    /// Returns the output of the layer for `x`.
    ///
    /// # Errors
    /// If `x` does not fit the layer.
    pub fn predict(&self, x: &X) -> Result<L::Output> {
        self.layer.forward(x)
    }

    /// Writes the weights, and `config`, from which [`load`](Self::load) builds the model, to the file
    /// `path`. The options of the loss are not written unless they are in `config`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written, [`Error::Format`] if `config` cannot be serialised.
    pub fn save<S: Serialize>(&self, config: &S, path: impl AsRef<Path>) -> Result<()> {
        self.save_with(config, path, Precision::Full)
    }

    /// Writes a smaller file, whose matrices have the given precision, as
    /// [`io::save_with`](crate::io::save_with) does.
    ///
    /// # Errors
    /// As for [`save`](Self::save), and if a weight is not finite or beyond the range of f32, unless the
    /// precision is full.
    pub fn save_with<S: Serialize>(
        &self,
        config: &S,
        path: impl AsRef<Path>,
        precision: Precision,
    ) -> Result<()> {
        let path = path.as_ref();
        let about = About { model: NAME.to_owned(), loss: self.loss.name(), config };
        let about = about::write(&about).map_err(|problem| format_error(path, problem))?;
        Writer::default().arrays_with("", self, precision)?.about(about).write(path)
    }

    /// Reads a model from the file `path`. `build` makes a model from the configuration; its weights are then
    /// replaced by those of the file.
    ///
    /// # Errors
    /// If the file cannot be read, holds another kind of model or loss or an option that `S` does not have,
    /// or its weights are not finite or do not fit the model that `build` makes.
    pub fn load<S: Serialize + DeserializeOwned>(
        path: impl AsRef<Path>,
        build: impl FnOnce(&S) -> Result<Self>,
    ) -> Result<Self> {
        let path = path.as_ref();
        let refuse = |problem: String| format_error(path, problem);
        let file = Reader::open(path)?;
        let about = described(path, &file, NAME, None)?;
        let (about, format): (About<serde_json::Value>, _) =
            about.read_outer().map_err(|error| no_model(path, error))?;
        let mut model = build(&format.read(about.config).map_err(refuse)?)?;
        if about.loss != model.loss.name() {
            return Err(Error::argument("loss", model.loss.name(), about.loss));
        }
        file.arrays("", &mut model)?;
        Ok(model)
    }
}

impl<X, L: Layer<X> + Send, C: Scored<L::Output>> Model for Composed<X, L, C> {
    type Batch = (X, C::Target);
    type Score = C::Score;

    model_calls!();

    fn has_mean_loss(&self) -> bool {
        self.loss.is_mean()
    }

    fn weighted_loss_and_grad(
        &self,
        (x, target): &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        let (y, tape) = self.layer.forward_train(x, rng)?;
        let mut weight = 0.0;
        let (loss, d_y) = counted(&self.loss, (&y, target), &mut weight)?;
        self.layer.backward(tape, &d_y, &mut grad.layer)?;
        Ok((loss, Some(weight)))
    }

    fn score_batch(&self, (x, target): &Self::Batch, score: &mut C::Score) -> Result<()> {
        let y = self.layer.forward(x)?;
        let (loss, _) = self.loss.loss(&y, target)?;
        self.loss.score(loss, &y, target, score)
    }
}

impl<X, L: Clone, C: Clone> Clone for Composed<X, L, C> {
    fn clone(&self) -> Self {
        Self { layer: self.layer.clone(), loss: self.loss.clone(), input: PhantomData }
    }
}

impl<X, L: Debug, C: Debug> Debug for Composed<X, L, C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Composed").field("layer", &self.layer).field("loss", &self.loss).finish()
    }
}
