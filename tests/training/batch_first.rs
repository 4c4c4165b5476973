//! Tests of arrays [batch, time, features], the order of other libraries.

use ndarray::{Array3, ArrayView3};
use recurrent::Sequences;

#[test]
fn batch_first_arrays_come_back_as_they_were() {
    let values = Array3::from_shape_fn((2, 4, 3), |(b, t, j)| (100 * b + 10 * t + j) as f32);
    let x = Sequences::from_batch_first(values.view(), vec![4, 2]).unwrap();
    let back = x.to_batch_first();
    assert_eq!(back, values); // the padding too
    assert!(back.is_standard_layout());
    assert_eq!(Sequences::from_batch_first(back.view(), vec![4, 2]).unwrap(), x);
    for shape in [(1, 4, 3), (5, 1, 2), (3, 2, 1)] {
        let values = Array3::from_shape_fn(shape, |(b, t, j)| (7 * b + 3 * t + j) as f64);
        let x = Sequences::from_batch_first(values.view(), vec![shape.1; shape.0]).unwrap();
        assert_eq!(x.to_batch_first(), values);
    }
}

#[test]
fn tokens_become_vectors_batch_first() {
    let x = Sequences::<f64>::one_hot_from_list(&[vec![2, 0], vec![1]], 3).unwrap();
    let expected = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    let expected = ArrayView3::from_shape((2, 2, 3), &expected).unwrap();
    assert_eq!(x.to_batch_first(), expected);
}
