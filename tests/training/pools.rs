//! Calls while a lock is held that other tasks of a thread pool wait for. Each would wait forever if a
//! thread that waits for its own work ran such a task meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ndarray::{Array2, Array3, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::layer::{Layer, Linear};
use recurrent::model::SequenceTagger;
use recurrent::train::Model;
use recurrent::{Arrays, Float, Lstm, Sequences};

const TASKS: usize = 8;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(2)
}

/// Runs `f`, and fails if it does not end.
fn ends(f: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        f();
        done.send(()).ok();
    });
    let waited = wait.recv_timeout(Duration::from_secs(120));
    assert_ne!(waited, Err(mpsc::RecvTimeoutError::Timeout), "the tasks wait for each other");
    thread.join().unwrap();
}

/// Runs `task` [`TASKS`] times as tasks of pools of several sizes.
fn in_pools(task: impl Fn() + Send + Sync + 'static) {
    ends(move || {
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let count = AtomicUsize::new(0);
            pool.scope(|scope| {
                for _ in 0..TASKS {
                    scope.spawn(|_| {
                        task();
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(count.into_inner(), TASKS);
        }
    });
}

/// Returns a batch that is large enough for several threads, with sequences of several lengths.
fn batch<T: Float>() -> Sequences<T> {
    let lengths = (0..64).map(|b| 8 - b % 3).collect();
    let value = |(t, b, j)| T::from_f64(((t * 31 + b * 7 + j) % 17) as f64 / 17.0 - 0.5);
    Sequences::new(Array3::from_shape_fn((8, 64, 64), value), lengths).unwrap()
}

fn network<T: Float>() -> Lstm<T> {
    Lstm::builder(64, 96).build(&mut rng()).unwrap()
}

fn share_a_workspace<T: Float>() {
    let net: &'static Lstm<T> = Box::leak(Box::new(network()));
    let (x, workspace) = (batch(), Mutex::new(net.workspace()));
    let expected = net.forward(&x, None).unwrap();
    in_pools(move || {
        let mut workspace = workspace.lock().unwrap();
        let (output, last) = workspace.forward(&x, None).unwrap();
        assert!(*output == expected.0 && *last == expected.1);
    });
}

#[test]
fn tasks_of_a_pool_share_a_workspace_behind_a_lock() {
    share_a_workspace::<f32>();
    share_a_workspace::<f64>();
}

#[test]
fn tasks_of_a_pool_train_behind_a_lock() {
    let (net, x) = (network::<f32>(), batch());
    let run = move || {
        let (output, _, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
        let mut grad = net.zeros_like();
        net.backward(tape, &output, None, &mut grad).unwrap();
        grad
    };
    let (expected, lock) = (run().names(), Mutex::new(()));
    in_pools(move || {
        let _held = lock.lock().unwrap();
        assert_eq!(run().names(), expected);
    });
}

#[test]
fn tasks_of_a_pool_share_a_layer_and_a_model_behind_a_lock() {
    let linear = Mutex::new(Linear::<f32>::new(512, 512, &mut rng()).unwrap());
    in_pools(move || {
        let linear = linear.lock().unwrap();
        let (y, tape) = linear.forward_train(&Array2::ones((128, 512)), &mut rng()).unwrap();
        let mut grad = linear.zeros_like();
        Layer::<Array2<f32>>::backward(&*linear, tape, &y, &mut grad).unwrap();
    });
    let builder = SequenceTagger::<LstmCell<f32>>::builder(64, 300).hidden_size(96);
    let tagger = Mutex::new(builder.build(&mut rng()).unwrap());
    let batch = (batch(), Array2::zeros((8, 64)));
    in_pools(move || {
        let tagger = tagger.lock().unwrap();
        tagger.loss_and_grad(&batch, &mut tagger.zeros_like(), &mut rng()).unwrap();
    });
}

#[test]
fn tasks_of_a_pool_share_a_stream_behind_a_lock() {
    let net: &'static Lstm<f32> = Box::leak(Box::new(network()));
    let (x, stream) = (batch(), Mutex::new(net.stream(64).unwrap()));
    in_pools(move || {
        let mut stream = stream.lock().unwrap();
        stream.step(x.values().index_axis(Axis(0), 0)).unwrap();
    });
}

#[test]
fn a_thread_outside_the_global_pool_needs_none_of_its_threads() {
    ends(|| {
        let (net, x, lock) = (network::<f32>(), batch(), Arc::new(Mutex::new(())));
        let held = lock.lock().unwrap();
        let (started, wait) = mpsc::channel();
        for _ in 0..TASKS {
            let (lock, started) = (lock.clone(), started.clone());
            rayon::spawn(move || {
                started.send(()).ok();
                drop(lock.lock().unwrap());
            });
        }
        // Every thread of the global pool waits for the lock.
        (0..TASKS.min(rayon::current_num_threads())).for_each(|_| wait.recv().unwrap());
        net.forward(&x, None).unwrap();
        drop(held);
    });
}

#[test]
fn a_call_within_a_pool_has_the_bits_of_a_call_outside() {
    ends(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let (net, x) = (network::<f32>(), batch());
        let expected = net.forward(&x, None).unwrap().0;
        for _ in 0..3 {
            assert_eq!(pool.install(|| net.forward(&x, None).unwrap().0), expected);
        }
    });
}
