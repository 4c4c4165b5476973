//! Tests of splits and batches at the ends of their ranges.

use recurrent::data::{Batches, split};
use recurrent::{Error, Result};

fn says<V: std::fmt::Debug>(result: Result<V>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_share_that_is_not_between_0_and_1_is_refused() {
    for share in [f64::NAN, 0.0, -0.0, 1.0, -0.1, 1.1, f64::INFINITY, f64::NEG_INFINITY] {
        let expected = format!("test: expected a share between 0 and 1, got {share}");
        assert_eq!(says(split::random(10, share, 1)), expected);
        assert_eq!(says(split::by_time(10, share)), expected);
        assert_eq!(says(split::stratified(&[0, 1, 0, 1], share, 1)), expected);
    }
}

#[test]
fn a_split_that_leaves_a_part_empty_is_refused() {
    for number in [0, 1] {
        assert!(split::random(number, 0.5, 1).is_err() && split::by_time(number, 0.5).is_err());
        assert!(split::stratified(&vec![3; number], 0.5, 1).is_err());
    }
    for share in [f64::MIN_POSITIVE, 0.04, 0.96, 1.0 - f64::EPSILON / 2.0] {
        let got =
            if share < 0.5 { "10 to train and 0 to test" } else { "0 to train and 10 to test" };
        assert!(says(split::random(10, share, 1)).ends_with(got));
        assert!(says(split::by_time(10, share)).ends_with(got));
    }
    assert_eq!(split::by_time(2, 0.5).unwrap(), (vec![0], vec![1]));
}

#[test]
fn more_samples_than_fit_into_memory_are_an_error() {
    for number in [usize::MAX, usize::MAX / 8, usize::MAX / 16] {
        for error in [split::random(number, 0.5, 1), split::by_time(number, 0.9)] {
            let Err(Error::Argument { argument, got, .. }) = error else { panic!("no error") };
            assert_eq!((argument, got), ("number".into(), number.to_string()));
        }
    }
}

#[test]
fn the_training_part_has_a_sample_of_each_class() {
    // The share of one sample, rounded, is 1: without the rule the class would be in the test part alone.
    let classes = [7, 2, 2, 2, 2, usize::MAX, 5, 5];
    for seed in 0..20 {
        for share in [0.2, 0.5, 0.75, 0.99] {
            let (train, test) = split::stratified(&classes, share, seed).unwrap();
            for class in [2, 5, 7, usize::MAX] {
                assert!(train.iter().any(|&i| classes[i] == class), "{share}: {train:?}");
            }
            assert_eq!(train.len() + test.len(), classes.len());
            assert!(!test.contains(&0) && !test.contains(&5));
        }
    }
    assert!(
        says(split::stratified(&[0, 1, 2, 3], 0.5, 1)).ends_with("got 4 to train and 0 to test")
    );
}

#[test]
fn a_batch_may_be_larger_than_the_samples() {
    let lengths = [3, 1, 2];
    for size in [3, 4, usize::MAX / 2, usize::MAX] {
        let batches = Batches::new(size).unwrap();
        assert_eq!(batches.epoch(&lengths, 0), [[0, 1, 2]]);
        for buckets in [1, 2, usize::MAX] {
            let bucketed = batches.clone().bucketed(buckets).unwrap();
            let expected = if buckets == 1 { [0, 1, 2] } else { [1, 2, 0] };
            assert_eq!(bucketed.epoch(&lengths, u64::MAX), [expected]);
            assert!(bucketed.shuffled(u64::MAX).epoch(&[], 0).is_empty());
        }
    }
    let bucketed = Batches::new(2).unwrap().bucketed(usize::MAX).unwrap();
    assert_eq!(bucketed.epoch(&[usize::MAX, 0, usize::MAX, 5], 0), [[1, 3], [0, 2]]);
    assert_eq!(says(Batches::new(0)), "batch_size: expected at least 1, got 0");
    let none = says(Batches::new(usize::MAX).unwrap().bucketed(0));
    assert_eq!(none, "bucketed: expected at least 1, got 0");
}
