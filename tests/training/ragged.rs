//! Truncated backpropagation over batches whose array is longer than their longest sequence.

use ndarray::{Array2, Array3, Axis, Slice};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::loss::{Loss, Mse};
use recurrent::{Arrays, Lstm, Sequences};

use crate::common::bits::bits;
use crate::common::random::random;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(4)
}

fn network() -> Lstm<f64> {
    Lstm::builder(3, 5).build(&mut rng()).unwrap()
}

/// Returns the ranges of the windows of a walk, and the bits of the gradient of a loss at each.
fn walk(x: &Sequences<f64>, k1: usize, k2: usize) -> Vec<(usize, usize, Vec<u64>)> {
    let net = network();
    let (mut walk, mut windows) = (net.truncated(x, None, k1, k2).unwrap(), Vec::new());
    while let Some(window) = walk.next(&net, &mut rng()).unwrap() {
        let mut grad = net.zeros_like();
        let target = window.output().zeros_like();
        let (_, d_output) = Mse.loss(window.output(), &target).unwrap();
        let steps = window.steps();
        window.backward(&net, &d_output, &mut grad).unwrap();
        windows.push((steps.start, steps.end, bits(&grad)));
    }
    windows
}

fn ends(x: &Sequences<f64>, k1: usize, k2: usize) -> Vec<(usize, usize)> {
    walk(x, k1, k2).into_iter().map(|(start, end, _)| (start, end)).collect()
}

#[test]
fn a_walk_ends_with_the_longest_sequence() {
    let values = random((20, 2, 3), 1);
    let x = |lengths: [usize; 2]| Sequences::new(values.clone(), lengths.to_vec()).unwrap();
    assert_eq!(ends(&x([10, 5]), 5, 5), [(0, 5), (5, 10)]);
    assert_eq!(ends(&x([5, 10]), 4, 4), [(0, 4), (4, 8), (8, 10)]);
    assert_eq!(ends(&x([11, 1]), 5, 8), [(0, 5), (5, 10), (10, 11)]);
    assert_eq!(ends(&x([7, 0]), 9, 30), [(0, 7)]);
    assert_eq!(ends(&x([7, 7]), usize::MAX, usize::MAX), [(0, 7)]);
    assert_eq!(ends(&x([1, 0]), 1, 1), [(0, 1)]);
    assert_eq!(ends(&x([20, 3]), 10, 10), [(0, 10), (10, 20)]);
    assert_eq!(ends(&x([0, 0]), 1, 1), []);
    assert_eq!(ends(&x([0, 0]), 5, 7), []);
}

#[test]
fn padding_after_the_longest_sequence_changes_no_bit_of_a_walk() {
    let values = random((20, 3, 3), 2);
    let tokens = Array2::from_shape_fn((20, 3), |(t, b)| (3 * t + b) % 3);
    for (k1, k2) in [(5, 5), (4, 7), (1, 3), (30, 40)] {
        let lengths = vec![10, 0, 6];
        let cut = |values: &Array3<f64>| values.slice_axis(Axis(0), Slice::from(..10)).to_owned();
        let long = Sequences::new(values.clone(), lengths.clone()).unwrap();
        let short = Sequences::new(cut(&values), lengths.clone()).unwrap();
        assert_eq!(walk(&long, k1, k2), walk(&short, k1, k2));
        let one_hot = Sequences::one_hot(tokens.view(), 3, lengths.clone()).unwrap();
        let short = Sequences::new(cut(one_hot.values()), lengths).unwrap();
        assert_eq!(walk(&one_hot, k1, k2), walk(&short, k1, k2));
    }
}
