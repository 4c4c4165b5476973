//! Tests of losses, scores and pooling where nothing counts, or a value is NaN, infinite or out of range.

use ndarray::{Array2, Array3, array};
use recurrent::Sequences;
use recurrent::loss::{
    BceWithLogits, CrossEntropy, Huber, KlDivergence, Loss, Mae, Mse, Quantile, Sum, Weighted,
};

#[test]
fn a_loss_without_anything_to_count_is_zero_with_zero_gradient_and_count() {
    fn check<P: PartialEq + std::fmt::Debug, L: Loss<P>>(
        loss: &L,
        predicted: &P,
        target: &L::Target,
        zero: &P,
    ) {
        let (value, gradient) = loss.loss(predicted, target).unwrap();
        assert_eq!((value, &gradient), (0.0, zero));
        assert_eq!(loss.count(predicted, target).unwrap(), 0.0);
    }
    fn numbers<L>(loss: L)
    where
        L: Loss<Array2<f64>, Target = Array2<f64>> + Clone,
        L: Loss<Sequences<f64>, Target = Sequences<f64>>,
    {
        let none = Array2::<f64>::zeros((0, 3));
        check(&loss, &none, &none, &none);
        check(&Sum(loss.clone()), &none, &none, &none);
        let nan = Array3::from_elem((2, 2, 3), f64::NAN);
        let empty = Sequences::new(nan, vec![0, 0]).unwrap();
        let zero = Sequences::new(Array3::zeros((2, 2, 3)), vec![0, 0]).unwrap();
        check(&loss, &empty, &empty, &zero);
        check(&Sum(loss), &empty, &empty, &zero);
    }
    numbers(Mse);
    numbers(Mae);
    numbers(Huber::default());
    numbers(Quantile::new(vec![0.3]).unwrap());
    numbers(BceWithLogits::default());
    numbers(KlDivergence);

    let (x, zero) = (array![[1.0, f64::NAN], [f64::INFINITY, 0.0]], Array2::zeros((2, 2)));
    let loss = CrossEntropy::default().ignore_index(7);
    check(&loss, &x, &vec![7, 7], &zero);
    check(&Sum(loss.clone()), &x, &vec![7, 7], &zero);
    let weightless = CrossEntropy::default().class_weights(vec![1.0, 0.0]).unwrap();
    check(&weightless, &x, &vec![1, 1], &zero);
    let pair = Weighted::new((2.0, Mse), (1.0, loss)).unwrap();
    let (none, both) = (Array2::zeros((0, 1)), (Array2::zeros((0, 1)), zero));
    check(&pair, &(none.clone(), x), &(none, vec![7, 7]), &both);
}

#[test]
fn the_mean_over_batches_by_their_counts_is_that_of_one_batch() {
    let x = array![[1.0, -2.0, 0.5], [0.3, 0.1, -0.7], [2.0, 0.0, 1.0], [-1.0, 1.5, 0.2]];
    let y = vec![2, 0, 1, 1];
    let loss = CrossEntropy::default().ignore_index(0).class_weights(vec![1.0, 0.25, 3.0]).unwrap();
    let whole = loss.loss(&x, &y).unwrap();
    let (mut sum, mut count, mut gradient) = (0.0, 0.0, Array2::zeros((4, 3)));
    for (from, to) in [(0, 1), (1, 2), (2, 4)] {
        let rows = ndarray::s![from..to, ..];
        let (part, classes) = (x.slice(rows).to_owned(), y[from..to].to_vec());
        let (value, d) = loss.loss(&part, &classes).unwrap();
        let weight = loss.count(&part, &classes).unwrap();
        (sum, count) = (sum + weight * value, count + weight);
        gradient.slice_mut(rows).assign(&(weight * d));
    }
    assert_eq!(count, 3.0 + 2.0 * 0.25);
    assert!((sum / count - whole.0).abs() < 1e-15);
    assert!((gradient / count - whole.1).iter().all(|d: &f64| d.abs() < 1e-15));
}
