//! Cells that are chosen at run time: the same files, bits and states as those of the typed cells.

use ndarray::{Array2, Axis, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LayerNormLstmOptions, LstmCell,
    LstmOptions, Nonlinearity, PeepholeLstmCell, ProjectedLstmCell, ProjectedLstmOptions, Reset,
    RnnCell,
};
use recurrent::check::GradientFlow;
use recurrent::data::{Dataset, Source, Windows};
use recurrent::decode::Sampling;
use recurrent::loss::Huber;
use recurrent::model::{
    BuiltInCell, BuiltInOptions, Forecaster, SequenceClassifier, SequenceGenerator,
    SequenceRegressor, SequenceTagger,
};
use recurrent::optim::Adam;
use recurrent::train::{History, Model, Trainer};
use recurrent::{Arrays, Recurrent, Sequences};
use serde::{Serialize, de::DeserializeOwned};

use crate::common::bits::bits;
use crate::common::random::random;
use crate::common::temporary::File;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(8)
}

fn values() -> Sequences<f64> {
    Sequences::new(random((5, 3, 2), 1), vec![5, 1, 3]).unwrap()
}

/// The text about a model in its file.
fn about(file: &File) -> serde_json::Value {
    let reader = recurrent::io::Reader::open(&file.0).unwrap();
    serde_json::from_str(reader.about().unwrap()).unwrap()
}

/// Saves a model of `C`, loads it without its cell, trains both, and compares all bits.
fn same<C>(options: C::Options, built_in: BuiltInOptions)
where
    C: Cell<Elem = f64, Options: Serialize + DeserializeOwned>,
{
    let (file, again) = (File::new(C::NAME), File::new(&format!("{}-again", C::NAME)));
    let builder = SequenceClassifier::<C>::builder(2, 3).hidden_size(5).num_layers(2);
    let builder = builder.recurrent(|layers| layers.learned_initial_state(true));
    let mut typed = builder.cell_options(options).dropout(0.2).build(&mut rng()).unwrap();
    typed.save(&file.0).unwrap();
    let mut any = SequenceClassifier::<BuiltInCell<f64>>::load(&file.0).unwrap();
    assert_eq!(any.names(), typed.names());
    assert_eq!(bits(&any), bits(&typed));

    let builder = SequenceClassifier::<BuiltInCell<f64>>::builder(2, 3).hidden_size(5);
    let builder = builder.recurrent(|layers| layers.learned_initial_state(true)).num_layers(2);
    let chosen = builder.cell_options(built_in).dropout(0.2).build(&mut rng()).unwrap();
    assert_eq!((chosen.names(), bits(&chosen)), (typed.names(), bits(&typed)));

    let x = (0..6).map(|i| random((1, 4, 2), i).index_axis_move(Axis(0), 0)).collect();
    let data = Dataset::new(x, vec![0, 1, 2, 0, 1, 2]).unwrap();
    assert_eq!(fit(&mut any, &data), fit(&mut typed, &data));
    assert_eq!(bits(&any), bits(&typed));
    assert_eq!(any.probabilities(&values()).unwrap(), typed.probabilities(&values()).unwrap());
    let x_t = array![[0.5, -0.5]];
    let (mut one, mut other) = (any.stream(1).unwrap(), typed.stream(1).unwrap());
    for _ in 0..3 {
        assert_eq!(one.step(x_t.view()).unwrap(), other.step(x_t.view()).unwrap());
    }
    // Its file is that of the typed model.
    typed.save(&file.0).unwrap();
    any.save(&again.0).unwrap();
    assert_eq!(std::fs::read(&file.0).unwrap(), std::fs::read(&again.0).unwrap());
    assert_eq!(bits(&SequenceClassifier::<C>::load(&again.0).unwrap()), bits(&any));
}

fn fit<M: Model<Elem = f64>>(model: &mut M, data: &dyn Source<M::Batch>) -> History {
    let trainer = Trainer::new(Adam::new(0.02).unwrap()).epochs(2).batch_size(4);
    trainer.fit(model, data, Some(data)).unwrap()
}

#[test]
fn a_model_is_loaded_whatever_its_cell_and_has_the_bits_of_the_typed_one() {
    let bias = LstmOptions { forget_bias: Some(0.7) };
    same::<RnnCell<f64>>(Nonlinearity::Relu, BuiltInOptions::Rnn(Nonlinearity::Relu));
    same::<LstmCell<f64>>(bias.clone(), BuiltInOptions::Lstm(bias.clone()));
    let reset = GruOptions::new(Reset::Before);
    same::<GruCell<f64>>(reset.clone(), BuiltInOptions::Gru(reset));
    same::<PeepholeLstmCell<f64>>(bias.clone(), BuiltInOptions::PeepholeLstm(bias.clone()));
    same::<CoupledLstmCell<f64>>(bias.clone(), BuiltInOptions::CoupledLstm(bias.clone()));
    let projected = ProjectedLstmOptions { proj_size: 3, lstm: bias.clone() };
    same::<ProjectedLstmCell<f64>>(projected.clone(), BuiltInOptions::ProjectedLstm(projected));
    let norm = LayerNormLstmOptions { epsilon: 0.01, lstm: bias };
    same::<LayerNormLstmCell<f64>>(norm.clone(), BuiltInOptions::LayerNormLstm(norm));
}

#[test]
fn every_kind_of_model_is_loaded_whatever_its_cell() {
    let (file, x) = (File::new("kinds"), values());
    let builder = SequenceRegressor::<GruCell<f64>>::builder(2, 2);
    let typed = builder.loss(Huber::new(0.3).unwrap()).build(&mut rng()).unwrap();
    typed.save(&file.0).unwrap();
    let any = SequenceRegressor::<BuiltInCell<f64>, Huber>::load(&file.0).unwrap();
    assert_eq!((any.predict(&x).unwrap(), any.loss()), (typed.predict(&x).unwrap(), typed.loss()));

    let typed = SequenceTagger::<RnnCell<f64>>::builder(2, 3).bidirectional(true);
    let typed = typed.build(&mut rng()).unwrap();
    typed.save(&file.0).unwrap();
    let any = SequenceTagger::<BuiltInCell<f64>>::load(&file.0).unwrap();
    assert_eq!(any.predict(&x).unwrap(), typed.predict(&x).unwrap());

    let windows = Windows::new(3, 2).unwrap();
    let typed =
        Forecaster::<PeepholeLstmCell<f64>>::builder(2, &windows).build(&mut rng()).unwrap();
    typed.save(&file.0).unwrap();
    let any = Forecaster::<BuiltInCell<f64>>::load(&file.0).unwrap();
    let recent = Array2::from_elem((3, 2), 0.5);
    let long = |forecast: recurrent::Result<Array2<f64>>| forecast.unwrap();
    assert_eq!(
        long(any.forecast_recursively(recent.view(), 5)),
        long(typed.forecast_recursively(recent.view(), 5))
    );

    let typed = SequenceGenerator::<GruCell<f64>>::builder(4).start(0).end(1).condition_size(2);
    let typed = typed.build(&mut rng()).unwrap();
    typed.save(&file.0).unwrap();
    let any = SequenceGenerator::<BuiltInCell<f64>>::load(&file.0).unwrap();
    let (vector, greedy) = (array![[0.5, 1.0]], Sampling::greedy());
    assert_eq!(
        any.generate(Some(vector.view()), &[], 9, &greedy, &mut rng()).unwrap(),
        typed.generate(Some(vector.view()), &[], 9, &greedy, &mut rng()).unwrap()
    );
}

#[test]
fn a_file_of_a_cell_that_is_not_built_in_or_of_another_model_is_refused() {
    let file = File::new("foreign");
    let typed = SequenceTagger::<GruCell<f64>>::builder(2, 3).build(&mut rng()).unwrap();
    typed.save(&file.0).unwrap();
    let says = |result: recurrent::Result<SequenceTagger<BuiltInCell<f64>>>| {
        result.map(|_| ()).unwrap_err().to_string()
    };
    let other = SequenceClassifier::<BuiltInCell<f64>>::load(&file.0).map(|_| ()).unwrap_err();
    let expected =
        ": expected a SequenceClassifier of built-in cells, got a SequenceTagger of gru cells";
    assert!(other.to_string().ends_with(expected), "{other}");

    let mut text = about(&file);
    text["cell"] = "minimal".into();
    let writer = recurrent::io::Writer::default().arrays("", &typed);
    writer.about(text.to_string()).write(&file.0).unwrap();
    let message = says(SequenceTagger::load(&file.0));
    let expected =
        "expected a SequenceTagger of built-in cells, got a SequenceTagger of minimal cells";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn the_options_of_lstms_stay_under_their_names_in_files() {
    let file = File::new("options");
    let options =
        ProjectedLstmOptions { proj_size: 3, lstm: LstmOptions { forget_bias: Some(0.5) } };
    let builder = SequenceTagger::<ProjectedLstmCell<f64>>::builder(2, 3);
    builder.cell_options(options).build(&mut rng()).unwrap().save(&file.0).unwrap();
    let options = about(&file)["config"]["recurrent"]["options"].clone();
    assert_eq!(options, serde_json::json!({ "proj_size": 3, "forget_bias": 0.5 }));
    let builder = SequenceTagger::<LayerNormLstmCell<f64>>::builder(2, 3);
    builder.build(&mut rng()).unwrap().save(&file.0).unwrap();
    let options = about(&file)["config"]["recurrent"]["options"].clone();
    assert_eq!(options, serde_json::json!({ "epsilon": 1e-5, "forget_bias": null }));
}

#[test]
fn a_gradient_of_another_kind_of_cell_with_the_same_shapes_takes_the_gradient() {
    let network = |options: BuiltInOptions| {
        let builder = Recurrent::<BuiltInCell<f64>>::builder(2, 4).options(options);
        builder.build(&mut rng()).unwrap()
    };
    let gru = network(BuiltInOptions::Gru(GruOptions::default()));
    let coupled = network(BuiltInOptions::CoupledLstm(LstmOptions::default()));
    let (mut own, mut other) = (gru.zeros_like(), coupled.zeros_like());
    for grad in [&mut own, &mut other] {
        grad.fill(0.25); // a gradient is added to
        let (y, _, tape) = gru.forward_train(&values(), None, &mut rng()).unwrap();
        gru.backward(tape, &y, None, grad).unwrap();
    }
    assert_eq!(bits(&own), bits(&other));
    assert_ne!(
        bits(&own),
        bits(&{
            let mut same = own.clone();
            same.fill(0.25);
            same
        })
    );
}

#[test]
fn the_states_are_those_of_the_cell_that_was_chosen() {
    let builder = Recurrent::<BuiltInCell<f64>>::builder(2, 4);
    let gru = builder.options(BuiltInOptions::Gru(GruOptions::default()));
    let two = gru.clone().zoneout(&[0.1, 0.2]).build(&mut rng()).unwrap_err();
    assert_eq!(two.to_string(), "zoneout: expected [1] (states), got [2]");
    let gru = gru.zoneout(&[0.1]).build(&mut rng()).unwrap();
    assert_eq!(gru.zero_state(1).unwrap().state_names(), ["h"]);
    let flows = GradientFlow::measure(&gru, &values(), &mut rng(), |y, _| Ok((y.clone(), None)));
    assert_eq!(flows.unwrap().len(), 1);
}
