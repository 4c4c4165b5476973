//! Tests of memory allocation, counted by an allocator: a streaming step, a time step and a second call
//! through a workspace allocate nothing. One-hot input is never converted to an array.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;

use ndarray::{Array2, Array3, ArrayView2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, ProjectedLstmOptions, Reset, RnnCell,
};
use recurrent::layer::{Embedding, Heads, Layer};
use recurrent::{Arrays, Recompute, Recurrent, Sequences};

thread_local! {
    static COUNT: Counter<usize> = const { Counter::new(0) };
    static LARGEST: Counter<usize> = const { Counter::new(0) };
}

/// The system's allocator, with counts of the requests of the calling thread.
struct Counting;

fn count(bytes: usize) {
    COUNT.with(|count| count.set(count.get() + 1));
    LARGEST.with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: every request is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of allocations of `f`.
fn allocations(f: impl FnOnce()) -> usize {
    let before = COUNT.get();
    f();
    COUNT.get() - before
}

/// Returns the size in bytes of the largest allocation of `f`.
fn largest_allocation(f: impl FnOnce()) -> usize {
    LARGEST.set(0);
    f();
    LARGEST.get()
}

const INPUT: usize = 5;

fn network<C: Cell<Elem = f32>>(options: C::Options, bidirectional: bool) -> Recurrent<C> {
    let builder = Recurrent::builder(INPUT, 19).num_layers(2).options(options);
    builder.bidirectional(bidirectional).build(&mut ChaCha8Rng::seed_from_u64(1)).unwrap()
}

fn values(time: usize, batch: usize, width: usize) -> Array3<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    Array3::from_shape_simple_fn((time, batch, width), || rng.random_range(-1.0..1.0))
}

/// Returns a batch of dense or one-hot vectors.
fn sequences(one_hot: bool, factor: f32, time: usize, lengths: Vec<usize>) -> Sequences<f32> {
    let batch = lengths.len();
    if !one_hot {
        return Sequences::new(values(time, batch, INPUT) * factor, lengths).unwrap();
    }
    let token = |(t, b)| (3 * t + b + usize::from(factor < 0.0)) % INPUT;
    let tokens = Array2::from_shape_fn((time, batch), token);
    Sequences::one_hot(tokens.view(), INPUT, lengths).unwrap()
}

/// Checks streams of batches so small that they run on one thread.
fn check_stream<C: Cell<Elem = f32>>(options: C::Options) {
    let net = network::<C>(options, false);
    for batch in [1, 3] {
        let x = values(4, batch, INPUT);
        let transposed = x.view().permuted_axes([0, 2, 1]).as_standard_layout().into_owned();
        let mut stream = net.stream(batch).unwrap();
        let snapshot = stream.snapshot();
        let mut step = |x_t: ArrayView2<'_, f32>| assert!(stream.step(x_t).is_ok());
        let count = allocations(|| {
            x.outer_iter().for_each(&mut step);
            transposed.outer_iter().for_each(|x_t| step(x_t.reversed_axes()));
        });
        assert_eq!(count, 0, "batch {batch}");
        let tokens = &[4, 0, 2][..batch];
        let count = allocations(|| assert!(stream.step_tokens(tokens).is_ok()));
        assert_eq!(count, 0, "batch {batch}");
        assert_eq!(allocations(|| assert!(stream.restore(&snapshot).is_ok())), 0, "batch {batch}");
    }
}

fn check_time<C: Cell<Elem = f32>>(options: C::Options) {
    for (bidirectional, one_hot) in [(false, false), (true, false), (true, true)] {
        let net = network::<C>(options.clone(), bidirectional);
        let counts = [10, 200].map(|time| {
            let x = sequences(one_hot, 1.0, time, vec![time - 3, 0, time]);
            let d_output = x.with_values(values(time, 3, net.output_size())).unwrap();
            let mut grad = net.zeros_like();
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            // Each runs once before, to fill the memory that the library keeps.
            let mut call = |checkpoint: Option<Recompute>| match checkpoint {
                None => assert!(net.forward(&x, None).is_ok()),
                Some(checkpoint) => {
                    let pass = net.forward_train_with(&x, None, &mut rng, checkpoint);
                    let (_, _, tape) = pass.unwrap();
                    assert!(net.backward(tape, &d_output, None, &mut grad).is_ok());
                }
            };
            [None, Some(Recompute::Store), Some(Recompute::Every(time.div_ceil(3)))].map(
                |checkpoint| {
                    call(checkpoint);
                    allocations(|| call(checkpoint))
                },
            )
        });
        assert!(counts[1][0] > 0);
        assert!((0..3).all(|i| counts[1][i] <= counts[0][i]), "{counts:?}");
    }
}

fn check_workspace<C: Cell<Elem = f32>>(options: C::Options) {
    for (bidirectional, one_hot) in [(false, false), (true, false), (true, true)] {
        let net = network::<C>(options.clone(), bidirectional);
        for lengths in [vec![9; 3], vec![4, 9, 0]] {
            let batches = [1.0, -0.5].map(|factor| sequences(one_hot, factor, 9, lengths.clone()));
            let mut initial = net.zero_state(3).unwrap();
            initial.fill(0.25);
            let calls = [(0, None), (1, None), (0, Some(&initial)), (1, Some(&initial)), (0, None)];
            let expected = calls.map(|(x, initial)| net.forward(&batches[x], initial).unwrap());
            let mut workspace = net.workspace();
            let mut counts = Vec::with_capacity(calls.len());
            for ((x, initial), expected) in calls.into_iter().zip(expected) {
                counts.push(allocations(|| {
                    let (output, last) = workspace.forward(&batches[x], initial).unwrap();
                    assert!((output, last) == (&expected.0, &expected.1));
                }));
            }
            assert!(counts[0] > 0);
            let case = format!("{lengths:?}, bidirectional {bidirectional}, one-hot {one_hot}");
            assert_eq!(counts[1..], [0; 4], "{case}");
        }
    }
}

/// Runs a check for each cell.
macro_rules! every_cell {
    ($check:ident) => {
        $check::<RnnCell<f32>>(Default::default());
        $check::<LstmCell<f32>>(Default::default());
        $check::<GruCell<f32>>(GruOptions::new(Reset::After));
        $check::<GruCell<f32>>(GruOptions::new(Reset::Before));
        $check::<PeepholeLstmCell<f32>>(Default::default());
        $check::<CoupledLstmCell<f32>>(Default::default());
        $check::<ProjectedLstmCell<f32>>(ProjectedLstmOptions::new(7));
        $check::<LayerNormLstmCell<f32>>(Default::default());
    };
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![0_u8; 100]))), 1);
    let grown = allocations(|| {
        let mut bytes = Vec::with_capacity(1);
        bytes.extend(std::hint::black_box([0_u8; 100]));
        std::hint::black_box(bytes);
    });
    assert_eq!(grown, 2);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn a_streaming_step_allocates_nothing() {
    every_cell!(check_stream);
}

#[test]
fn a_time_step_of_a_sequence_call_allocates_nothing() {
    every_cell!(check_time);
}

#[test]
fn a_second_call_through_a_workspace_allocates_nothing() {
    every_cell!(check_workspace);
}

/// No vector with a value for each class is allocated.
#[test]
fn one_hot_input_is_never_an_array() {
    let classes = 1 << 16;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let builder = Recurrent::<LstmCell<f32>>::builder(classes, 1).bidirectional(true);
    let net = builder.build(&mut rng).unwrap();
    let mut grad = net.zeros_like();
    let heads = Heads::new(Embedding::new(classes, 1, &mut rng).unwrap(), net.clone());
    let mut heads_grad = heads.zeros_like();
    let largest = largest_allocation(|| {
        let tokens = Array2::from_shape_fn((9, 13), |(t, b)| classes - 1 - 7 * t - b);
        let x = Sequences::one_hot(tokens.view(), classes, vec![9; 13]).unwrap();
        assert!(net.forward(&x, None).is_ok());
        for checkpoint in [Recompute::Store, Recompute::Every(4)] {
            let pass = net.forward_train_with(&x, None, &mut rng, checkpoint);
            let (output, _, tape) = pass.unwrap();
            assert!(net.backward(tape, &output, None, &mut grad).is_ok());
        }
        let (y, tape) = heads.forward_train(&x, &mut rng).unwrap();
        assert!(heads.backward(tape, &y, &mut heads_grad).is_ok());
    });
    assert!(0 < largest && largest < classes, "{largest} bytes");
}

#[test]
fn a_workspace_serves_calls_of_other_shapes_in_between() {
    let net = network::<LstmCell<f32>>(Default::default(), true);
    let mut workspace = net.workspace();
    for (time, lengths) in [(4, vec![4, 4]), (9, vec![2, 9, 5]), (9, vec![9, 2, 5]), (4, vec![4])] {
        let x = Sequences::new(values(time, lengths.len(), INPUT), lengths).unwrap();
        assert!(workspace.forward(&Sequences::full(values(2, 1, 3)).unwrap(), None).is_err());
        let (output, last) = workspace.forward(&x, None).unwrap();
        let expected = net.forward(&x, None).unwrap();
        assert!((output, last) == (&expected.0, &expected.1));
        assert_eq!(output.values().len_of(Axis(0)), time);
    }
}
