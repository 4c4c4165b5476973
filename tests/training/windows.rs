//! Tests of windows of one and of several series, at the ends of their ranges, and of forecasters that are
//! given windows of another rule.

use ndarray::{Array2, array, s};
use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::cell::LstmCell;
use recurrent::data::{Scaler, Source, WindowedSeries, Windows, split};
use recurrent::model::Forecaster;
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};
use recurrent::{Error, Result};

fn says<V>(result: Result<V>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

/// Returns series of the given numbers of rows. The value of row t of series i is 1000·i + t.
fn numbered(rows: &[usize]) -> Vec<Array2<f64>> {
    let one = |(i, &rows): (usize, &usize)| {
        Array2::from_shape_fn((rows, 1), |(t, _)| (1000 * i + t) as f64)
    };
    rows.iter().enumerate().map(one).collect()
}

/// Returns series, first row and forecast rows of each window, and checks that its rows are consecutive.
fn contents(windows: &WindowedSeries<f64>, length: usize) -> Vec<(usize, usize, Vec<usize>)> {
    let all: Vec<usize> = (0..windows.len()).collect();
    let batch = windows.batch(&all).unwrap();
    let content = |b: usize| {
        let first = batch.x.values()[[0, b, 0]] as usize;
        let seen = batch.x.values().slice(s![.., b, 0]).to_vec();
        let rows: Vec<f64> = seen.into_iter().chain(batch.y.row(b).to_vec()).collect();
        assert!(rows.iter().enumerate().all(|(k, &value)| value == (first + k) as f64));
        let start = windows.start(b).unwrap();
        assert_eq!(windows.series()[[start, 0]], first as f64);
        assert_eq!(windows.series_of(b).unwrap(), first / 1000);
        let ahead = rows[length..].iter().map(|&value| value as usize % 1000);
        (first / 1000, first % 1000, ahead.collect())
    };
    all.into_iter().map(content).collect()
}

proptest! {
    #[test]
    fn no_window_spans_two_series(
        extra in prop::collection::vec(0..12_usize, 1..6),
        (length, horizon, stride) in (1..5_usize, 1..4_usize, 1..4_usize),
        cuts in prop::collection::vec(0..20_usize, 6),
    ) {
        let rule = Windows::new(length, horizon).unwrap().stride(stride).unwrap();
        let rows: Vec<usize> = extra.iter().map(|extra| length + horizon + extra).collect();
        let series = numbered(&rows);
        let all = contents(&rule.many(&series).unwrap(), length);
        let one = |i: usize| rule.cut(&series[i]).unwrap().len();
        let expected: Vec<(usize, usize)> =
            (0..rows.len()).flat_map(|i| (0..one(i)).map(move |k| (i, k * stride))).collect();
        let got: Vec<(usize, usize)> = all.iter().map(|(i, first, _)| (*i, *first)).collect();
        prop_assert_eq!(got, expected);

        let boundaries = &cuts[..rows.len()];
        let fits = (0..rows.len()).all(|i| rule.split(&series[i], boundaries[i]).is_ok());
        let parts = rule.split_many(&series, boundaries);
        prop_assert_eq!(parts.is_ok(), fits);
        let Ok((train, test)) = parts else { return Ok(()) };
        for (i, _, ahead) in contents(&train, length) {
            prop_assert!(ahead.iter().all(|&row| row < boundaries[i]));
        }
        for (i, _, ahead) in contents(&test, length) {
            prop_assert!(ahead.iter().all(|&row| row >= boundaries[i]));
        }
        let each = |i: usize| rule.split(&series[i], boundaries[i]).unwrap();
        prop_assert_eq!(train.len(), (0..rows.len()).map(|i| each(i).0.len()).sum::<usize>());
        prop_assert_eq!(test.len(), (0..rows.len()).map(|i| each(i).1.len()).sum::<usize>());
    }
}

#[test]
fn a_series_is_in_one_part_of_a_split_by_series() {
    let series = numbered(&[5, 9, 6, 7, 5, 8]);
    let rule = Windows::new(3, 1).unwrap();
    let parts = split::random(series.len(), 0.34, 3).unwrap();
    let (train, test) = rule.split_series(&series, &parts).unwrap();
    for (part, indices) in [(&train, &parts.0), (&test, &parts.1)] {
        let mut seen: Vec<usize> = contents(part, 3).iter().map(|(i, ..)| *i).collect();
        seen.dedup();
        assert_eq!(&seen, indices);
    }
    assert_eq!(train.len() + test.len(), rule.many(&series).unwrap().len());
    let parts = |train: &[usize], test: &[usize]| {
        says(rule.split_series(&series, &(train.to_vec(), test.to_vec())))
    };
    assert_eq!(parts(&[0, 2], &[2]), "parts: expected each series in one part, got 2 in both");
    assert_eq!(parts(&[0], &[6]), "indices[0]: expected less than 6 (series), got 6");
    assert_eq!(parts(&[0], &[]), "indices: expected at least 1, got 0");
}

#[test]
fn series_that_cannot_be_cut_are_named() {
    let rule = Windows::new(3, 2).unwrap();
    let many = |series: &[Array2<f64>]| says(rule.many(series));
    let short = "expected at least 5 rows (length + horizon), got 4";
    assert_eq!(many(&[]), "series: expected at least 1, got 0");
    assert_eq!(many(&numbered(&[5, 4])), format!("series[1]: {short}"));
    let wide = [numbered(&[6]).remove(0), Array2::zeros((6, 2))];
    assert_eq!(many(&wide), "series[1]: expected [6, 1] (time, features), got [6, 2]");
    let none = [Array2::zeros((6, 0))];
    assert_eq!(many(&none), "series[0] [time, features]: expected sizes of at least 1, got [6, 0]");
    assert_eq!(says(rule.cut(&numbered(&[4])[0])), format!("series: {short}"));
    let series = numbered(&[10, 12]);
    assert_eq!(says(rule.split(&series[0], 4)), format!("series[..4]: {short}"));
    assert_eq!(says(rule.split(&series[0], 9)), format!("series[6..]: {short}"));
    for late in [10, usize::MAX] {
        let got = says(rule.split(&series[0], late));
        assert_eq!(got, "series[7..]: expected at least 5 rows (length + horizon), got 3");
    }
    assert_eq!(says(rule.split_many(&series, &[6, 4])), format!("series[1][..4]: {short}"));
    let few = says(rule.split_many(&series, &[6]));
    assert_eq!(few, "boundaries: expected [2] (series), got [1]");
    let named = rule.clone().columns(&["a", "b"]);
    assert_eq!(says(named.many(&series)), "columns: expected [1] (features), got [2]");
}

#[test]
fn sizes_of_windows_have_no_upper_end() {
    let series = numbered(&[6]).remove(0);
    for (length, horizon) in [(usize::MAX, 1), (1, usize::MAX), (usize::MAX, usize::MAX)] {
        let got = says(Windows::new(length, horizon).unwrap().targets(&[0]).cut(&series));
        assert!(got.starts_with("series: expected at least 18446744073709551615 rows"), "{got}");
    }
    let rare = Windows::new(2, 1).unwrap().stride(usize::MAX).unwrap();
    assert_eq!(rare.many(&[series.clone(), series.clone()]).unwrap().len(), 2);
    let windows = rare.cut(&series).unwrap();
    assert_eq!((windows.len(), windows.start(0).unwrap()), (1, 0));
    for index in [1, usize::MAX] {
        let expected = format!("index: expected less than 1 (windows), got {index}");
        assert_eq!(says(windows.start(index)), expected);
        assert_eq!(says(windows.series_of(index)), expected);
        assert!(windows.batch(&[index]).is_err());
    }
    assert!(windows.batch(&[]).is_err());
    for zero in [Windows::new(0, 1), Windows::new(1, 0), rare.stride(0)] {
        assert!(says(zero).ends_with("expected at least 1, got 0"));
    }
}

#[test]
fn windows_of_several_series_are_scaled_and_learned_like_those_of_one() {
    let series = [
        array![[1.0, 20.0], [3.0, 40.0], [5.0, 60.0]],
        array![[7.0, 80.0], [9.0, 0.0], [1.0, 40.0]],
    ];
    let windows = Windows::new(2, 1).unwrap().targets(&[1]);
    let data = windows.many(&series).unwrap();
    assert_eq!(data.series(), &ndarray::concatenate![ndarray::Axis(0), series[0], series[1]]);
    let scaler = Scaler::standard(&[data.series().view()]).unwrap();
    assert_eq!(scaler, Scaler::standard(&[series[0].view(), series[1].view()]).unwrap());
    let scaled = data.scaled_once(&scaler).unwrap().unwrap().batch(&[1]).unwrap();
    let expected = scaler.transform(&series[1].slice(s![..2, ..])).unwrap();
    assert_eq!(scaled.x.values().slice(s![.., 0, ..]), expected);
    assert_eq!(scaled.y, array![[40.0]]);

    let builder = Forecaster::<LstmCell<f64>>::builder(2, &windows).hidden_size(3).scaler(scaler);
    let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    Trainer::new(Adam::new(0.01).unwrap()).epochs(2).fit(&mut model, &data, None).unwrap();
}

#[test]
fn windows_of_other_targets_are_refused_though_the_sizes_have_one_product() {
    let series = Array2::from_shape_fn((30, 2), |(t, j)| 1.0 + 99.0 * j as f64 + (t % 2) as f64);
    let rule = |horizon, targets: &[usize]| Windows::new(4, horizon).unwrap().targets(targets);
    let mut model = Forecaster::<LstmCell<f64>>::builder(2, &rule(2, &[0]))
        .hidden_size(3)
        .build(&mut ChaCha8Rng::seed_from_u64(1))
        .unwrap();
    let before = model.clone();
    for (other, got) in [
        (rule(1, &[0, 1]), "targets: expected [0], the target features of the model, got [0, 1]"),
        (rule(1, &[0, 0]), "targets: expected [0], the target features of the model, got [0, 0]"),
        (rule(2, &[1]), "targets: expected [0], the target features of the model, got [1]"),
        (rule(1, &[0]), "y: expected [26, 2] (batch, horizon · targets), got [26, 1]"),
    ] {
        let data = other.cut(&series).unwrap();
        assert_eq!(says(model.evaluate(&data, 26)), got);
        let trainer = Trainer::new(Adam::new(0.1).unwrap()).epochs(1);
        assert!(trainer.fit(&mut model, &data, None).is_err());
        let good = rule(2, &[0]).cut(&series).unwrap().batch(&[0]).unwrap();
        assert_eq!(model.predict(&good.x).unwrap(), before.predict(&good.x).unwrap());
    }
}

#[test]
fn a_forecaster_of_an_impossible_size_is_an_error() {
    for (horizon, targets) in
        [(usize::MAX, &[0, 1][..]), (usize::MAX, &[0]), (usize::MAX / 2 + 2, &[0, 1]), (1, &[])]
    {
        let windows = Windows::new(4, horizon).unwrap().targets(targets);
        let builder = Forecaster::<LstmCell<f32>>::builder(2, &windows).hidden_size(3);
        let error = builder.build(&mut ChaCha8Rng::seed_from_u64(1)).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
}
