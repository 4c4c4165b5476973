//! From texts to answers by name, and the batches, texts and prompts that models refuse.

use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::data::Windows;
use recurrent::model::Forecaster;
use recurrent::train::Model;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(3)
}

#[test]
fn a_forecaster_refuses_windows_of_other_targets() {
    let series = Array2::from_shape_fn((20, 2), |(t, j)| (t + 10 * j) as f64);
    let windows = |horizon, target| Windows::new(1, horizon).unwrap().targets(&[target]);
    let model = Forecaster::<f64>::builder(2, &windows(2, 0)).build(&mut rng()).unwrap();
    let evaluate = |windows: Windows| {
        let data = windows.cut(&series).unwrap();
        model.evaluate(&data, 4).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(evaluate(windows(2, 0)), Ok(()));
    let expected = "targets: expected [0], the target features of the model, got [1]";
    assert_eq!(evaluate(windows(2, 1)), Err(expected.to_owned()));
    let expected = "y: expected [4, 2] (batch, horizon · targets), got [4, 3]";
    assert_eq!(evaluate(windows(3, 0)), Err(expected.to_owned()));
}
