//! Tests of every method at all ranks of an MPI job, and of a training beside that of one process.
//!
//! ```text
//! cargo test --no-run && mpirun -n 3 target/debug/deps/ranks-…
//! ```
//!
//! `cargo test` alone runs it with one rank.
#![allow(missing_docs)]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use recurrent::model::SequenceClassifier;
use recurrent::prelude::*;
use recurrent::train::{Communicator, Event, History, agree};
use recurrent::{Arrays, Error, Result};
use recurrent_mpi::MpiCommunicator;

type Test = (&'static str, fn(&MpiCommunicator));

fn main() -> ExitCode {
    recurrent_mpi::run(|communicator| -> Result<()> {
        let tests: [Test; 8] = [
            ("bytes_of_any_lengths_are_gathered", bytes_of_any_lengths_are_gathered),
            ("a_sum_is_in_the_order_of_the_ranks", a_sum_is_in_the_order_of_the_ranks),
            ("bytes_are_broadcast_from_each_rank", bytes_are_broadcast_from_each_rank),
            ("an_error_of_a_rank_is_that_of_all", an_error_of_a_rank_is_that_of_all),
            ("mpi_is_started_once", mpi_is_started_once),
            ("ranks_train_as_one_process_does", ranks_train_as_one_process_does),
            ("whole_batches_give_the_same_bits", whole_batches_give_the_same_bits),
            ("all_ranks_stop_and_resume_together", all_ranks_stop_and_resume_together),
        ];
        for (name, test) in tests {
            test(communicator);
            communicator.barrier()?;
            if communicator.rank() == 0 {
                println!("test {name} at {} ranks ... ok", communicator.size());
            }
        }
        Ok(())
    })
}

/// Returns the value that rank `rank` has at `place`, whose sums depend on their order.
fn value(rank: usize, place: usize) -> f64 {
    ((rank * 31 + place * 17) % 101) as f64 / 7.0 * 10_f64.powi((place % 9) as i32 - 4)
}

fn bytes_of_any_lengths_are_gathered(communicator: &MpiCommunicator) {
    for length in [0, 1, 63, 64, 65, 1000] {
        let of = |rank: usize| vec![rank as u8; length * (rank + 1)];
        let all = communicator.all_gather(&of(communicator.rank())).unwrap();
        assert_eq!(all, (0..communicator.size()).map(of).collect::<Vec<_>>());
    }
}

fn a_sum_is_in_the_order_of_the_ranks(communicator: &MpiCommunicator) {
    for length in [0, 1, 5, 1024, 1025, 4099, 700_000] {
        let of = |rank| (0..length).map(move |place| value(rank, place));
        let mut wide: Vec<f64> = of(communicator.rank()).collect();
        let mut narrow: Vec<f32> = wide.iter().map(|&value| value as f32).collect();
        communicator.sum_f64(&mut wide).unwrap();
        communicator.sum_f32(&mut narrow).unwrap();
        let ranks = || 0..communicator.size();
        for place in 0..length {
            let sum = ranks().map(|rank| value(rank, place)).reduce(|sum, v| sum + v).unwrap();
            assert_eq!(wide[place].to_bits(), sum.to_bits());
            let sum = ranks().map(|rank| value(rank, place) as f32).reduce(|sum, v| sum + v);
            assert_eq!(narrow[place].to_bits(), sum.unwrap().to_bits());
        }
    }
}

fn bytes_are_broadcast_from_each_rank(communicator: &MpiCommunicator) {
    for root in 0..communicator.size() {
        let mut bytes = vec![communicator.rank() as u8; 100 * communicator.rank()];
        communicator.broadcast(root, &mut bytes).unwrap();
        assert_eq!(bytes, vec![root as u8; 100 * root]);
    }
    assert!(communicator.broadcast(communicator.size(), &mut Vec::new()).is_err());
}

fn an_error_of_a_rank_is_that_of_all(communicator: &MpiCommunicator) {
    let last = communicator.size() - 1;
    let own = match communicator.rank() == last {
        true => Err(Error::argument("rank", "another", last)),
        false => Ok(()),
    };
    let error = agree(communicator, own).unwrap_err().to_string();
    let expected = format!("rank: expected another, got {last}");
    assert!(error == expected || error == format!("rank {last}: {expected}"), "{error}");
}

fn mpi_is_started_once(_: &MpiCommunicator) {
    assert!(matches!(MpiCommunicator::init(), Err(Error::Communication { .. })));
}

type Model = SequenceClassifier<GruCell<f64>>;

fn data() -> Dataset<f64, usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut value = || recurrent::rand::RngExt::random_range(&mut rng, -1.0..1.0);
    let x = (0..29).map(|i| Array2::from_shape_simple_fn((1 + (3 * i) % 5, 2), &mut value));
    Dataset::new(x.collect(), (0..29).map(|i| (i * i) % 3).collect()).unwrap()
}

fn model(dropout: f64) -> Model {
    let builder = Model::builder(2, 3).hidden_size(5).dropout(dropout);
    builder.build(&mut ChaCha8Rng::seed_from_u64(3)).unwrap()
}

fn trainer<'a>() -> Trainer<'a, Model> {
    Trainer::new(Adam::new(0.03).unwrap()).epochs(4).batch_size(6).clip_norm(0.5).seed(5)
}

fn fit(trainer: Trainer<'_, Model>, dropout: f64) -> (Vec<f64>, History) {
    let (data, mut model) = (data(), model(dropout));
    let history = trainer.fit(&mut model, &data, Some(&data)).unwrap();
    let mut values = Vec::new();
    model.for_each(&mut |_, array| values.extend(array.iter().copied()));
    (values, history)
}

fn assert_near(
    (got, got_history): &(Vec<f64>, History),
    (expected, expected_history): &(Vec<f64>, History),
) {
    assert_eq!(got.len(), expected.len());
    let near = |(got, expected): (&f64, &f64)| (got - expected).abs() <= 1e-12;
    assert!(got.iter().zip(expected).all(near));
    assert_eq!(got_history.epochs.len(), 4);
    for (got, expected) in got_history.epochs.iter().zip(&expected_history.epochs) {
        assert!(near((&got.loss, &expected.loss)));
        assert!(near((&got.validation[0].1, &expected.validation[0].1)));
    }
}

fn ranks_train_as_one_process_does(communicator: &MpiCommunicator) {
    assert_near(&fit(trainer().distributed(communicator), 0.0), &fit(trainer(), 0.0));
}

fn whole_batches_give_the_same_bits(communicator: &MpiCommunicator) {
    let batches = communicator.size() + 1;
    let alone = fit(trainer().accumulate(batches), 0.3);
    let together = fit(trainer().accumulate(batches).distributed(communicator), 0.3);
    assert_eq!(together, alone);
}

fn all_ranks_stop_and_resume_together(communicator: &MpiCommunicator) {
    let name = format!("recurrent-mpi-{}", std::process::id());
    let mut path = env::temp_dir().join(name).into_os_string().into_encoded_bytes();
    communicator.broadcast(0, &mut path).unwrap();
    let path = PathBuf::from(String::from_utf8(path).unwrap());
    let mut steps = 0;
    let stopping = trainer().distributed(communicator).checkpoint(&path).callback(|event| {
        steps += usize::from(matches!(event, Event::Step { .. }));
        match communicator.rank() + 1 == communicator.size() && steps == 7 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    assert!(fit(stopping, 0.0).1.stopped);
    assert_eq!(steps, 7);
    let resumed = fit(trainer().distributed(communicator).checkpoint(&path), 0.0);
    assert_eq!(resumed.1.resumed.unwrap().step, 7);
    assert_near(&resumed, &fit(trainer(), 0.0));
    communicator.barrier().unwrap();
    if communicator.rank() == 0 {
        fs::remove_file(&path).unwrap();
    }
}
