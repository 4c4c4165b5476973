//! Tests that the same seed gives the same bits for any number of threads.

use crate::common::run::{Problem, difference};
use ndarray::ArrayView2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, ProjectedLstmOptions, Reset, RnnCell,
};
use recurrent::tensor::Precision;
use recurrent::{Arrays, Recurrent, RecurrentBuilder};

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
        for threads in [2, 3, 4, 5, 8, 16] {
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

/// Checks a batch of fewer sequences than threads, of a network so wide that they share the units of a step.
fn check_shared_steps<C: Cell<Elem = f32>>(
    set: impl Fn(RecurrentBuilder<C>) -> RecurrentBuilder<C>,
    lengths: &[usize],
) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let net = set(Recurrent::<C>::builder(65, 509)).build(&mut rng).unwrap();
    let problem = Problem::random(net, 40, lengths.to_vec(), &mut rng);
    let one = on_threads(1, || problem.run());
    for threads in [2, 3, 5, 8, 16] {
        let many = on_threads(threads, || problem.run());
        let difference = difference(&many.all(), &one.all());
        assert_eq!(difference, None, "{threads} threads, {}, lengths {lengths:?}", C::NAME);
    }
}

#[test]
fn threads_that_share_the_units_of_a_step_never_matter_to_any_cell() {
    let few = [40, 17, 0, 31];
    check_shared_steps::<RnnCell<f32>>(|net| net, &few);
    check_shared_steps::<LstmCell<f32>>(
        |net| net.zoneout(&[0.2, 0.1]).recurrent_dropout(0.3),
        &few,
    );
    check_shared_steps::<GruCell<f32>>(|net| net, &few);
    let before = GruOptions::new(Reset::Before);
    check_shared_steps::<GruCell<f32>>(|net| net.options(before.clone()), &few);
    check_shared_steps::<PeepholeLstmCell<f32>>(|net| net, &few);
    check_shared_steps::<CoupledLstmCell<f32>>(|net| net, &few);
    let narrow = ProjectedLstmOptions::new(255);
    check_shared_steps::<ProjectedLstmCell<f32>>(|net| net.options(narrow.clone()), &few);
    check_shared_steps::<LayerNormLstmCell<f32>>(|net| net, &few);
}

#[test]
fn threads_that_share_the_units_of_a_step_never_matter_to_a_batch_of_any_size() {
    for batch in [1, 2, 3, 5, 7, 9, 17] {
        let lengths: Vec<_> = (0..batch).map(|b| 40 - 3 * b % 40).collect();
        check_shared_steps::<LstmCell<f32>>(
            |net| net.bidirectional(true).bias(batch % 2 == 0),
            &lengths,
        );
    }
}

#[test]
fn a_stream_on_several_threads_equals_the_whole_sequence_on_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let net = Recurrent::<LstmCell<f32>>::builder(65, 701).num_layers(2).build(&mut rng).unwrap();
    let problem = Problem::random(net, 6, vec![6; 3], &mut rng);
    let (net, x) = (&problem.net, &problem.x);
    assert!(net.stream(3).unwrap().set_threads(0).is_err());
    for precision in [Precision::Full, Precision::Bf16, Precision::Int8] {
        let mut workspace = net.workspace_with(precision).unwrap();
        let (expected, _) = on_threads(1, || workspace.forward(x, None).unwrap());
        for threads in [2, 3, 5, 16] {
            let outputs = on_threads(threads, || {
                let mut stream = net.stream_with(3, precision).unwrap();
                if threads == 3 {
                    stream.set_threads(7).unwrap();
                }
                let step = |x_t: ArrayView2<'_, f32>| stream.step(x_t).unwrap().to_owned();
                x.values().outer_iter().map(step).collect::<Vec<_>>()
            });
            for (output, expected) in outputs.iter().zip(expected.values().outer_iter()) {
                assert_eq!(difference(output, &expected.to_owned()), None, "{precision:?}");
            }
        }
    }
}

/// Helpers are called, leave, are late, or are not to be had, as the streams rest and compete for the cores.
#[test]
fn threads_that_come_and_go_never_matter_to_a_stream() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let net = Recurrent::<GruCell<f32>>::builder(40, 210).build(&mut rng).unwrap();
    let x = Problem::random(net, 400, vec![400], &mut rng);
    let (net, x) = (&x.net, &x.x);
    let (expected, _) = on_threads(1, || net.forward(x, None).unwrap());
    let run = |leader: u64| {
        let mut stream = net.stream(1).unwrap();
        stream.set_threads(2 + leader as usize % 3).unwrap();
        for (t, (x_t, expected)) in
            x.values().outer_iter().zip(expected.values().outer_iter()).enumerate()
        {
            let output = stream.step(x_t).unwrap().to_owned();
            assert_eq!(difference(&output, &expected.to_owned()), None, "step {t}");
            if t % 50 < 12 {
                std::thread::sleep(std::time::Duration::from_micros(40 * (t as u64 % 7 + leader)));
            }
        }
    };
    std::thread::scope(|scope| (0..6).for_each(|leader| drop(scope.spawn(move || run(leader)))));
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
