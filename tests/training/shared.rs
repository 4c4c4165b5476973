//! One model on many threads: results have the bits of one thread, and no call waits for another.

use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use ndarray::{Array2, Array3};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use recurrent::data::Dataset;
use recurrent::model::SequenceClassifier;
use recurrent::optim::Adam;
use recurrent::train::Trainer;
use recurrent::{Arrays, Lstm, LstmCell, Sequences};

const THREADS: usize = 64;
const WIDTH: usize = 32;

/// A model, a network and inputs that the threads share. The batch is large enough for several threads each.
struct Shared {
    model: SequenceClassifier<LstmCell<f32>>,
    network: Lstm<f32>,
    x: Sequences<f32>,
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

fn value(t: usize, b: usize, j: usize) -> f32 {
    ((t * 31 + b * 7 + j) % 17) as f32 / 17.0 - 0.5
}

impl Shared {
    fn new() -> Arc<Self> {
        let builder = SequenceClassifier::builder(WIDTH, 3).hidden_size(48);
        let model = builder.build(&mut rng()).unwrap();
        let network = Lstm::builder(WIDTH, 64).num_layers(2).build(&mut rng()).unwrap();
        let values = Array3::from_shape_fn((6, 64, WIDTH), |(t, b, j)| value(t, b, j));
        let x = Sequences::new(values, (0..64).map(|b| 6 - b % 3).collect()).unwrap();
        Arc::new(Self { model, network, x })
    }

    /// Returns the bits of every kind of call.
    fn all(&self) -> Vec<u32> {
        let mut bits: Vec<u32> =
            self.model.probabilities(&self.x).unwrap().iter().map(|x| x.to_bits()).collect();
        let mut stream = self.network.stream(2).unwrap();
        for t in 0..3 {
            let x_t = Array2::from_shape_fn((2, WIDTH), |(b, j)| value(t, b, j));
            bits.extend(stream.step(x_t.view()).unwrap().iter().map(|x| x.to_bits()));
        }
        let mut workspace = self.network.workspace();
        let (y, _) = workspace.forward(&self.x, None).unwrap();
        bits.extend(y.values().iter().map(|x| x.to_bits()));
        let mut clone = self.model.clone();
        let sequences = (0..6).map(|b| Array2::from_shape_fn((4, WIDTH), |(t, j)| value(t, b, j)));
        let data = Dataset::new(sequences.collect(), vec![0, 1, 2, 0, 1, 2]).unwrap();
        let trainer = Trainer::new(Adam::new(1e-2).unwrap()).epochs(2).batch_size(3);
        trainer.fit(&mut clone, &data, None).unwrap();
        clone.for_each(&mut |_, array| bits.extend(array.iter().map(|x| x.to_bits())));
        bits
    }
}

/// Runs `f`, and fails if it does not end.
fn ends<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || done.send(f()).ok());
    let result =
        wait.recv_timeout(Duration::from_secs(300)).expect("the calls wait for each other");
    thread.join().unwrap();
    result
}

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

#[test]
fn a_model_that_64_threads_share_gives_the_bits_of_one() {
    let shared = Shared::new();
    let expected = pool(1).install(|| shared.all());
    // All begin at once.
    let barrier = Arc::new(Barrier::new(THREADS));
    let all: Vec<Vec<u32>> = ends(move || {
        let run = |_| {
            let (shared, barrier) = (shared.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                shared.all()
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(all.len(), THREADS);
    assert!(all.iter().all(|bits| *bits == expected));
}

/// As the threads for blocking calls of an asynchronous runtime: each takes calls from a queue.
#[test]
fn threads_that_take_calls_from_a_queue_give_the_bits_of_one() {
    let shared = Shared::new();
    let expected = pool(1).install(|| shared.all());
    let all: Vec<Vec<u32>> = ends(move || {
        let (queue, calls) = mpsc::channel::<()>();
        let calls = Arc::new(std::sync::Mutex::new(calls));
        let run = |_| {
            let (shared, calls) = (shared.clone(), calls.clone());
            thread::spawn(move || {
                let mut results = Vec::new();
                while calls.lock().unwrap().recv().is_ok() {
                    results.push(shared.all());
                }
                results
            })
        };
        let threads: Vec<_> = (0..8).map(run).collect();
        (0..32).for_each(|_| queue.send(()).unwrap());
        drop(queue);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(all.len(), 32);
    assert!(all.iter().all(|bits| *bits == expected));
}

#[test]
fn calls_in_the_tasks_of_pools_within_pools_give_the_bits_of_one() {
    let shared = Shared::new();
    let expected = pool(1).install(|| shared.all());
    let all: Vec<Vec<u32>> = ends(move || {
        let (outer, inner) = (pool(4), pool(3));
        let nested = |_| inner.install(|| (0..2).into_par_iter().map(|_| shared.all()).collect());
        outer.install(|| {
            let each: Vec<Vec<Vec<u32>>> = (0..6).into_par_iter().map(nested).collect();
            each.into_iter().flatten().collect()
        })
    });
    assert_eq!(all.len(), 12);
    assert!(all.iter().all(|bits| *bits == expected));
}
