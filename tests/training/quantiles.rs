//! Tests of models whose quantiles do not cross.

use ndarray::{Array2, Axis, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::data::{Scaler, WindowBatch, Windows};
use recurrent::loss::Quantile;
use recurrent::model::{Forecaster, SequenceRegressor};
use recurrent::train::Model;
use recurrent::{Arrays, GruCell, Sequences};

use crate::common::random::random;
use crate::common::temporary::File;

type Regressor = SequenceRegressor<GruCell<f64>, Quantile>;
type Series = Forecaster<GruCell<f64>, Quantile>;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

fn levels() -> Quantile {
    Quantile::new(vec![0.05, 0.5, 0.6, 0.95]).unwrap()
}

fn regressor(non_crossing: bool) -> Regressor {
    let builder = SequenceRegressor::<GruCell<f64>>::builder(3, 2).hidden_size(5);
    let mut model = builder.loss(levels()).non_crossing(non_crossing).build(&mut rng()).unwrap();
    model.for_each_mut(&mut |_, mut weights| weights *= 3.0);
    model
}

fn series(non_crossing: bool) -> Series {
    let windows = Windows::new(5, 3).unwrap().targets(&[2, 0]);
    let builder = Forecaster::<GruCell<f64>>::builder(3, &windows).hidden_size(4);
    let units = random((9, 1, 3), 3).index_axis_move(Axis(1), 0) * 20.0;
    let builder = builder.scaler(Scaler::standard(&[units.view()]).unwrap());
    builder.loss(levels()).non_crossing(non_crossing).build(&mut rng()).unwrap()
}

/// Returns the number of pairs of neighbouring quantiles that cross.
fn crossings(quantiles: &Array2<f64>) -> usize {
    let of_row = |row: ndarray::ArrayView1<'_, f64>| {
        let numbers = row.to_vec();
        numbers.chunks(4).map(|q| q.windows(2).filter(|p| p[0] > p[1]).count()).sum::<usize>()
    };
    quantiles.rows().into_iter().map(of_row).sum()
}

#[test]
fn quantiles_of_a_regressor_ascend_in_predictions_and_streams() {
    let x = Sequences::new(random((6, 8, 3), 2), vec![6, 1, 3, 6, 2, 4, 5, 6]).unwrap();
    let (crossed, ordered) = (regressor(false), regressor(true));
    assert!(crossings(&crossed.predict(&x).unwrap()) > 0);
    let quantiles = ordered.predict(&x).unwrap();
    assert_eq!((quantiles.dim(), crossings(&quantiles)), ((8, 8), 0));
    let full = Sequences::full(random((6, 2, 3), 4)).unwrap();
    let mut stream = ordered.stream(2).unwrap();
    let mut last = Array2::zeros((0, 0));
    for step in full.values().outer_iter() {
        last = stream.step(step).unwrap();
    }
    assert_eq!(last, ordered.predict(&full).unwrap());
}

#[test]
fn quantiles_of_a_forecast_ascend_in_the_units_of_the_data() {
    let recent = random((5, 1, 3), 6).index_axis_move(Axis(1), 0) * 20.0;
    let (crossed, ordered) = (series(false), series(true));
    assert!(crossings(&crossed.forecast(recent.view()).unwrap()) > 0);
    let forecast = ordered.forecast(recent.view()).unwrap();
    assert_eq!((forecast.dim(), crossings(&forecast)), ((3, 8), 0));
    assert!(forecast.iter().any(|value| value.abs() > 2.0), "in units");
}

#[test]
fn their_gradients_match_finite_differences() {
    let model = regressor(true);
    let x = Sequences::new(random((6, 3, 3), 2), vec![6, 1, 3]).unwrap();
    let y = random((1, 3, 2), 9).index_axis_move(Axis(0), 0) * 3.0;
    let batch = (x, y);
    let mut grad = model.zeros_like();
    model.loss_and_grad(&batch, &mut grad, &mut rng()).unwrap();
    let check = GradientCheck { step: 1e-5, ..GradientCheck::default() };
    let loss = |model: &Regressor| model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng());
    let report = check.run(&model, &grad, loss).unwrap();
    assert!(report.relative_error < 1e-6, "{report}");

    let model = series(true);
    let y = random((1, 2, 6), 8).index_axis_move(Axis(0), 0) * 20.0;
    let x = Sequences::full(random((5, 2, 3), 7) * 20.0).unwrap();
    let batch = WindowBatch { x, y, targets: vec![2, 0] };
    let mut grad = model.zeros_like();
    model.loss_and_grad(&batch, &mut grad, &mut rng()).unwrap();
    let loss = |model: &Series| model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng());
    let report = check.run(&model, &grad, loss).unwrap();
    assert!(report.relative_error < 1e-6, "{report}");
}

#[test]
fn a_file_keeps_whether_quantiles_may_cross() {
    let x = Sequences::full(random((4, 6, 3), 1)).unwrap();
    for non_crossing in [false, true] {
        let (file, model) = (File::new("quantiles"), regressor(non_crossing));
        model.save(&file.0).unwrap();
        let again = Regressor::load(&file.0).unwrap();
        assert_eq!(again.predict(&x).unwrap(), model.predict(&x).unwrap());
    }
    let (file, model) = (File::new("series"), series(true));
    model.save(&file.0).unwrap();
    let recent = random((5, 1, 3), 6).index_axis_move(Axis(1), 0);
    let again = Series::load(&file.0).unwrap();
    let recent = recent.slice(s![.., ..]);
    assert_eq!(again.forecast(recent).unwrap(), model.forecast(recent).unwrap());
}
