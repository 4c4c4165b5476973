//! The models of `tests/fixtures/pytorch_models.py`, equal in their outputs, and the same file again.

use ndarray::{Array2, ArrayD, Axis, Ix2, Ix3};
use recurrent::cell::{Cell, GruCell, LstmCell, ProjectedLstmCell, ProjectedLstmOptions, RnnCell};
use recurrent::data::Windows;
use recurrent::decode::Decoder;
use recurrent::interop::pytorch::StateDict;
use recurrent::layer::Pooling;
use recurrent::model::{
    Forecaster, ModelBuilder, SequenceClassifier, SequenceGenerator, SequenceRegressor,
    SequenceTagger,
};
use recurrent::{Error, Float};
use serde::Serialize;

use super::layers::same;
use super::{compare, fixture, input};
use crate::common::temporary::File;

/// Returns the softmax of each row.
fn softmax<T: Float>(logits: &ArrayD<T>) -> ArrayD<T> {
    let mut p = logits.clone();
    for mut row in p.lanes_mut(Axis(1)) {
        let largest = row.fold(T::neg_infinity(), |a, &b| a.max(b));
        row.mapv_inplace(|x| (x - largest).exp());
        let sum = row.sum();
        row /= sum;
    }
    p
}

/// Checks that the file that `save` writes has the tensors of `file`.
pub(super) fn back<T: Float>(file: &StateDict, save: impl FnOnce(&File)) {
    let again = File::new("model.safetensors");
    save(&again);
    same::<T>(&StateDict::open(&again.0).unwrap(), &file.prefix("model."));
}

fn classifier<T: Float, C: Cell<Elem = T>>(
    name: &str,
    file: &StateDict,
    builder: ModelBuilder<SequenceClassifier<C>>,
    tokens: usize,
) where
    C::Options: Serialize,
{
    let file = file.prefix(name);
    let model = file.prefix("model.").model(builder).unwrap();
    let p = model.probabilities(&input(&file, "x", tokens).unwrap()).unwrap();
    compare(name, &p, &softmax(&file.array("y").unwrap()));
    back::<T>(&file, |again| model.save(&again.0).unwrap());
}

/// Compares the logits after each token with those of PyTorch.
fn generator<T: Float, C: Cell<Elem = T>>(
    name: &str,
    file: &StateDict,
    builder: ModelBuilder<SequenceGenerator<C>>,
) where
    C::Options: Serialize,
{
    let file = file.prefix(name);
    let model = file.prefix("model.").model(builder).unwrap();
    let tokens = file.integers::<Ix2>("x").unwrap().mapv(|token| token as usize);
    let condition: Option<Array2<T>> = file.array("condition").ok();
    let mut stream =
        model.stream(condition.as_ref().map(|rows| rows.view()), tokens.ncols()).unwrap();
    let mut logits = file.array::<T, Ix3>("y").unwrap();
    let (expected, lengths) = (logits.clone().into_dyn(), super::lengths(&file));
    for (t, row) in tokens.rows().into_iter().enumerate() {
        let step = stream.step(&row.to_vec()).unwrap();
        for (b, _) in lengths.iter().enumerate().filter(|&(_, &length)| t < length) {
            logits.slice_mut(ndarray::s![t, b, ..]).assign(&step.row(b));
        }
    }
    compare(name, &logits, &expected);
    back::<T>(&file, |again| model.save(&again.0).unwrap());
}

fn each_model<T: Float>(name: &str) {
    let file = fixture(name);
    let builder = SequenceClassifier::<LstmCell<T>>::builder(4, 3).labels(&["a", "b", "c"]);
    classifier("classifier.", &file, builder, 0);
    let builder = SequenceClassifier::<GruCell<T>>::builder(6, 3).pooling(Pooling::Mean);
    classifier("words.", &file, builder, 6);
    let builder = SequenceClassifier::<RnnCell<T>>::builder(4, 3).pooling(Pooling::Attention);
    classifier("attention.", &file, builder, 0);

    let of = file.prefix("tagger.");
    let builder = SequenceTagger::<LstmCell<T>>::builder(6, 4);
    let tagger = of.prefix("model.").model(builder).unwrap();
    let y = tagger.emissions(&input(&of, "x", 6).unwrap()).unwrap();
    let mut expected: ArrayD<T> = of.array("y").unwrap();
    // The module has the bias of its head in the padding.
    ndarray::Zip::from(&mut expected).and(&y.values().view().into_dyn()).for_each(|e, &y| {
        *e = if y == T::zero() { y } else { *e };
    });
    compare("tagger", y.values(), &expected);
    back::<T>(&of, |again| tagger.save(&again.0).unwrap());

    let of = file.prefix("regressor.");
    let builder = SequenceRegressor::<ProjectedLstmCell<T>>::builder(4, 2).pooling(Pooling::Max);
    let builder = builder.cell_options(ProjectedLstmOptions::new(2));
    let regressor = of.prefix("model.").model(builder).unwrap();
    let y = regressor.predict(&input(&of, "x", 0).unwrap()).unwrap();
    compare("regressor", &y, &of.array("y").unwrap());
    back::<T>(&of, |again| regressor.save(&again.0).unwrap());

    let of = file.prefix("forecaster.");
    let windows = Windows::new(5, 3).unwrap().targets(&[0, 1]);
    let builder = Forecaster::<GruCell<T>>::builder(4, &windows);
    let forecaster = of.prefix("model.").model(builder).unwrap();
    let y = forecaster.predict(&input(&of, "x", 0).unwrap()).unwrap();
    compare("forecaster", &y, &of.array("y").unwrap());
    back::<T>(&of, |again| forecaster.save(&again.0).unwrap());

    let builder = SequenceGenerator::<LstmCell<T>>::builder(6).condition_size(2);
    generator("generator.", &file, builder);
    generator("language.", &file, SequenceGenerator::<GruCell<T>>::builder(6));
}

#[test]
fn models_of_f32_are_those_of_pytorch() {
    each_model::<f32>("models_f32.pt");
}

#[test]
fn models_of_f64_are_those_of_pytorch() {
    each_model::<f64>("models_f64.pt");
}

#[test]
fn a_model_of_other_sizes_or_another_cell_is_refused() {
    let file = fixture("models_f32.pt").prefix("words.model.");
    let refused = |result: Result<(), Error>, problem: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    };
    let lstm = SequenceClassifier::<LstmCell<f32>>::builder(6, 3);
    refused(
        file.model(lstm).map(|_| ()),
        "words.model.recurrent.weight_ih_l0: expected [20, 2], got [15, 2]",
    );
    let words = SequenceClassifier::<GruCell<f32>>::builder(7, 3);
    refused(
        file.model(words).map(|_| ()),
        "words.model.embedding.weight: expected [7, 2], got [6, 2]",
    );
    let classes = SequenceClassifier::<GruCell<f32>>::builder(6, 4);
    refused(
        file.model(classes).map(|_| ()),
        "words.model.head.weight: expected [4, 5], got [3, 5]",
    );
    let attention = SequenceClassifier::<GruCell<f32>>::builder(6, 3).pooling(Pooling::Attention);
    refused(file.model(attention).map(|_| ()), r#"missing ["words.model.pooling.query"]"#);
    let whole = fixture("models_f32.pt").model(SequenceClassifier::<GruCell<f32>>::builder(6, 3));
    refused(whole.map(|_| ()), r#"missing ["recurrent.weight_ih_l0"]"#);
}
