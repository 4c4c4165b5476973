//! Tests that the same seed gives the same bits for any number of threads.

use crate::common::run::{Problem, difference};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, GruCell, LstmCell, RnnCell};
use recurrent::{Arrays, Recurrent};

/// Returns a problem so large that threads split the batch and the rows of the weights' gradients.
fn big_problem<C: Cell<Elem = f32>>(ragged: bool, dropout: f64) -> Problem<C> {
    let (time, batch, input, hidden) = (40, 96, 32, 64);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let net = Recurrent::<C>::builder(input, hidden)
        .num_layers(2)
        .bidirectional(true)
        .dropout(dropout)
        .build(&mut rng)
        .unwrap();
    let length = |b: usize| if ragged { b * 17 % (time + 1) } else { time };
    Problem::random(net, time, (0..batch).map(length).collect(), &mut rng)
}

fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(f)
}

fn check_threads<C: Cell<Elem = f32>>() {
    for (ragged, dropout) in [(false, 0.0), (true, 0.0), (true, 0.3)] {
        let problem = big_problem::<C>(ragged, dropout);
        let one = on_threads(1, || problem.run());
        for threads in 2..=5 {
            let many = on_threads(threads, || problem.run());
            let difference = difference(&many.all(), &one.all());
            assert_eq!(difference, None, "{threads} threads, ragged {ragged}, dropout {dropout}");
        }
    }
}

#[test]
fn the_number_of_threads_never_matters_to_an_rnn() {
    check_threads::<RnnCell<f32>>();
}

#[test]
fn the_number_of_threads_never_matters_to_an_lstm() {
    check_threads::<LstmCell<f32>>();
}

#[test]
fn the_number_of_threads_never_matters_to_a_gru() {
    check_threads::<GruCell<f32>>();
}

#[test]
fn the_same_seed_gives_the_same_network_and_the_same_pass() {
    let (first, second) =
        (big_problem::<LstmCell<f32>>(true, 0.3), big_problem::<LstmCell<f32>>(true, 0.3));
    assert_eq!(difference(&first.net, &second.net), None);
    assert_eq!(difference(&first.run().all(), &second.run().all()), None);
}

#[test]
fn another_seed_of_dropout_gives_another_pass() {
    let Problem { net, x, initial, .. } = big_problem::<RnnCell<f32>>(false, 0.3);
    let output = |seed| {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        net.forward_train(&x, Some(&initial), rng).unwrap().0
    };
    assert_eq!(output(1), output(1));
    assert_ne!(output(1), output(2));
}

#[test]
fn one_network_serves_several_threads_at_once() {
    let problem = big_problem::<LstmCell<f32>>(true, 0.0);
    let expected = problem.run();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| problem.run())).collect();
        for run in runs {
            assert_eq!(difference(&run.join().unwrap().all(), &expected.all()), None);
        }
    });
    assert!(expected.grad.check_finite().is_ok());
}
