//! [`BuiltInCell`]: a cell that is chosen at run time, for example by the file of a model.

use ndarray::Array1;
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::arrays::{Arrays, Visit, VisitMut};
use crate::cell::{
    BackwardStep, Cell, CellConfig, CoupledLstmCell, ForwardStep, GateWeights, GruCell, GruOptions,
    LayerNormLstmCell, LayerNormLstmOptions, LstmCell, LstmOptions, Nonlinearity, PeepholeLstmCell,
    ProjectedLstmCell, ProjectedLstmOptions, RnnCell, Steps,
};
use crate::error::Result;
use crate::float::Float;
use crate::tensor::{Level, Packed};

/// One of the cells of this crate, chosen at run time.
///
/// A model of built-in cells loads a file whatever its cell, and its files are those of the typed model.
/// Its results have the same bits. [`BuiltInOptions`] choose the cell of a new model.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-built-in-{}", std::process::id()));
/// use ndarray::array;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::Sequences;
/// use recurrent::cell::GruCell;
/// use recurrent::model::{BuiltInCell, SequenceClassifier};
///
/// let builder = SequenceClassifier::<GruCell<f32>>::builder(1, 2);
/// let gru = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
/// gru.save(&path)?;
///
/// let model = SequenceClassifier::<BuiltInCell<f32>>::load(&path)?;
/// let x = Sequences::from_list(&[array![[0.5], [1.0]]])?;
/// assert_eq!(model.probabilities(&x)?, gru.probabilities(&x)?);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BuiltInCell<T> {
    /// A vanilla RNN.
    Rnn(RnnCell<T>),
    /// An LSTM.
    Lstm(LstmCell<T>),
    /// A GRU.
    Gru(GruCell<T>),
    /// An LSTM with peepholes.
    PeepholeLstm(PeepholeLstmCell<T>),
    /// An LSTM whose input gate is 1 − f.
    CoupledLstm(CoupledLstmCell<T>),
    /// An LSTM with a projected output.
    ProjectedLstm(ProjectedLstmCell<T>),
    /// An LSTM with layer normalisation.
    LayerNormLstm(LayerNormLstmCell<T>),
}

/// The kind of a [`BuiltInCell`], with its options. Default: an LSTM.
///
/// ```
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::model::{BuiltInCell, BuiltInOptions, SequenceTagger};
///
/// let cell = match std::env::args().nth(1).as_deref() {
///     Some("gru") => BuiltInOptions::Gru(Default::default()),
///     _ => BuiltInOptions::default(),
/// };
/// let builder = SequenceTagger::<BuiltInCell<f32>>::builder(3, 2).cell_options(cell);
/// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BuiltInOptions {
    /// A vanilla RNN.
    Rnn(Nonlinearity),
    /// An LSTM.
    Lstm(LstmOptions),
    /// A GRU.
    Gru(GruOptions),
    /// An LSTM with peepholes.
    PeepholeLstm(LstmOptions),
    /// An LSTM whose input gate is 1 − f.
    CoupledLstm(LstmOptions),
    /// An LSTM with a projected output.
    ProjectedLstm(ProjectedLstmOptions),
    /// An LSTM with layer normalisation.
    LayerNormLstm(LayerNormLstmOptions),
}

impl Default for BuiltInOptions {
    fn default() -> Self {
        Self::Lstm(LstmOptions::default())
    }
}

/// Evaluates an expression for a cell of any kind.
macro_rules! each {
    ($built_in:expr, $cell:ident => $value:expr) => {
        match $built_in {
            BuiltInCell::Rnn($cell) => $value,
            BuiltInCell::Lstm($cell) => $value,
            BuiltInCell::Gru($cell) => $value,
            BuiltInCell::PeepholeLstm($cell) => $value,
            BuiltInCell::CoupledLstm($cell) => $value,
            BuiltInCell::ProjectedLstm($cell) => $value,
            BuiltInCell::LayerNormLstm($cell) => $value,
        }
    };
}

impl<T: Float> Arrays for BuiltInCell<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        each!(self, cell => cell.for_each(f));
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        each!(self, cell => cell.for_each_mut(f));
    }
}

impl<T: Float> BuiltInCell<T> {
    /// Makes `grad` a gradient of this kind of cell with the same values.
    ///
    /// A gradient of another kind can have the same names and shapes: those of a GRU are those of an LSTM
    /// with coupled gates.
    #[expect(clippy::expect_used, reason = "the engine has compared names and shapes")]
    fn adopt(&self, grad: &mut Self) {
        if std::mem::discriminant(self) == std::mem::discriminant(grad) {
            return;
        }
        let mut own = self.clone();
        own.zip_mut("grad", grad, &mut |_, mut to, from| to.assign(&from))
            .expect("the engine has compared names and shapes");
        *grad = own;
    }
}

/// [`STATE`](Cell::STATE) and [`GATES`](Cell::GATES) are those of an LSTM, which has the most;
/// [`states`](Cell::states) and [`gates`](Cell::gates) are those of the cell.
impl<T: Float> Cell for BuiltInCell<T> {
    type Options = BuiltInOptions;
    const NAME: &'static str = NAME;
    const STATE: &'static [&'static str] = LstmCell::<T>::STATE;
    const GATES: &'static [&'static str] = LstmCell::<T>::GATES;

    fn new(config: &CellConfig, options: &BuiltInOptions, rng: &mut dyn Rng) -> Result<Self> {
        use BuiltInOptions as Of;
        Ok(match options {
            Of::Rnn(options) => Self::Rnn(Cell::new(config, options, rng)?),
            Of::Lstm(options) => Self::Lstm(Cell::new(config, options, rng)?),
            Of::Gru(options) => Self::Gru(Cell::new(config, options, rng)?),
            Of::PeepholeLstm(options) => Self::PeepholeLstm(Cell::new(config, options, rng)?),
            Of::CoupledLstm(options) => Self::CoupledLstm(Cell::new(config, options, rng)?),
            Of::ProjectedLstm(options) => Self::ProjectedLstm(Cell::new(config, options, rng)?),
            Of::LayerNormLstm(options) => Self::LayerNormLstm(Cell::new(config, options, rng)?),
        })
    }

    fn states(&self) -> &'static [&'static str] {
        each!(self, cell => cell.states())
    }

    fn gates(&self) -> &'static [&'static str] {
        each!(self, cell => cell.gates())
    }

    fn weights(&self) -> &GateWeights<T> {
        each!(self, cell => cell.weights())
    }

    fn weights_mut(&mut self) -> &mut GateWeights<T> {
        each!(self, cell => cell.weights_mut())
    }

    fn hidden_size(&self) -> usize {
        each!(self, cell => cell.hidden_size())
    }

    fn state_size(&self, index: usize) -> usize {
        each!(self, cell => cell.state_size(index))
    }

    fn saved_size(&self) -> usize {
        each!(self, cell => cell.saved_size())
    }

    fn input_bias(&self) -> Option<Array1<T>> {
        each!(self, cell => cell.input_bias())
    }

    fn pack_forward(&self, level: Level) -> Vec<Packed<T>> {
        each!(self, cell => cell.pack_forward(level))
    }

    fn pack_backward(&self, level: Level) -> Vec<Packed<T>> {
        each!(self, cell => cell.pack_backward(level))
    }

    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        each!(self, cell => cell.forward(packed, step));
    }

    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        each!(self, cell => cell.backward(packed, step));
    }

    #[expect(clippy::unreachable, reason = "`adopt` makes the gradient one of this kind")]
    fn accumulate(&self, steps: &Steps<'_, T>, grad: &mut Self) {
        self.adopt(grad);
        match (self, grad) {
            (Self::Rnn(cell), Self::Rnn(grad)) => cell.accumulate(steps, grad),
            (Self::Lstm(cell), Self::Lstm(grad)) => cell.accumulate(steps, grad),
            (Self::Gru(cell), Self::Gru(grad)) => cell.accumulate(steps, grad),
            (Self::PeepholeLstm(cell), Self::PeepholeLstm(grad)) => cell.accumulate(steps, grad),
            (Self::CoupledLstm(cell), Self::CoupledLstm(grad)) => cell.accumulate(steps, grad),
            (Self::ProjectedLstm(cell), Self::ProjectedLstm(grad)) => cell.accumulate(steps, grad),
            (Self::LayerNormLstm(cell), Self::LayerNormLstm(grad)) => cell.accumulate(steps, grad),
            _ => unreachable!("the gradient was made one of this kind"),
        }
    }
}

/// The name of this type of cell in errors. Files have the name of the cell itself.
const NAME: &str = "built-in";

/// The names of the cells in files.
const NAMES: [&str; 7] = [
    RnnCell::<f32>::NAME,
    LstmCell::<f32>::NAME,
    GruCell::<f32>::NAME,
    PeepholeLstmCell::<f32>::NAME,
    CoupledLstmCell::<f32>::NAME,
    ProjectedLstmCell::<f32>::NAME,
    LayerNormLstmCell::<f32>::NAME,
];

/// Returns whether a model of `C` loads a file of the cell `name`.
pub(super) fn loads<C: Cell>(name: &str) -> bool {
    C::NAME == name || (C::NAME == NAME && is_built_in(name))
}

/// Returns whether `name` is that of a cell of this crate.
pub(super) fn is_built_in(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Returns the options of the cells within the configuration of a model.
fn options_of(config: &mut Value) -> Option<&mut Value> {
    config.get_mut("recurrent")?.get_mut("options")
}

/// Changes a model's configuration from that of a file of the cell `name` to that of a model of `C`.
pub(super) fn from_file<C: Cell>(mut config: Value, name: &str) -> Value {
    if let (NAME, Some(options)) = (C::NAME, options_of(&mut config)) {
        *options = Value::Object([(name.to_owned(), options.take())].into_iter().collect());
    }
    config
}

/// Undoes [`from_file`]. Returns the name of the cell beside the configuration.
pub(super) fn to_file<C: Cell>(mut config: Value) -> (Value, String) {
    let mut name = C::NAME.to_owned();
    if let (NAME, Some(place)) = (C::NAME, options_of(&mut config)) {
        let tagged = place.as_object().and_then(|tagged| tagged.iter().next());
        if let Some((kind, options)) = tagged.map(|(kind, options)| (kind.clone(), options.clone()))
        {
            (name, *place) = (kind, options);
        }
    }
    (config, name)
}
