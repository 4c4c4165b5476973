//! The transcriber: joined frames, gradients, streams, files, and a training on blurred symbols.

use ndarray::{Array2, Array3, Axis, array, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{GruCell, LstmCell, RnnCell};
use recurrent::check::GradientCheck;
use recurrent::data::{Dataset, Labels, Scaler, Source};
use recurrent::decode::ctc::{PrefixBeam, PrefixSearch};
use recurrent::layer::{Layer, StackFrames};
use recurrent::loss::Ctc;
use recurrent::model::SequenceTranscriber;
use recurrent::optim::Adam;
use recurrent::train::metrics::TranscriptionMetrics;
use recurrent::train::{Model, Score, Trainer};
use recurrent::{Arrays, Sequences};

use crate::common::bits::bits;
use crate::common::random::random;

type Transcriber = SequenceTranscriber<GruCell<f64>>;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(2)
}

/// A transcriber of 3 features into 4 classes, of which class 2 is the blank.
fn model(frames: usize, stride: usize) -> Transcriber {
    let builder = Transcriber::builder(3, 4).loss(Ctc::new(2)).hidden_size(5);
    builder.frames(frames, stride).build(&mut rng()).unwrap()
}

fn batch() -> (Sequences<f64>, Vec<Vec<usize>>) {
    let x = Sequences::new(random((11, 4, 3), 3), vec![9, 11, 4, 7]).unwrap();
    (x, vec![vec![0, 0], vec![1, 3, 0], vec![3], vec![]])
}

#[test]
fn windows_are_joined_frames() {
    let x = Sequences::new(random((7, 3, 2), 1), vec![7, 2, 5]).unwrap();
    for (frames, stride, lengths) in [
        (1, 1, [7, 2, 5]),
        (3, 1, [5, 0, 3]),
        (2, 2, [3, 1, 2]),
        (1, 3, [3, 1, 2]),
        (2, 4, [2, 1, 1]),
    ] {
        let y = StackFrames::new(frames, stride).unwrap().forward(&x).unwrap();
        assert_eq!((y.lengths(), y.features()), (&lengths[..], 2 * frames));
        for (b, &length) in lengths.iter().enumerate() {
            for t in 0..y.time() {
                for j in 0..frames {
                    let got = y.values().slice(s![t, b, 2 * j..2 * j + 2]);
                    if t < length {
                        assert_eq!(got, x.values().slice(s![t * stride + j, b, ..]));
                    } else {
                        assert_eq!(got, array![0.0, 0.0], "padding");
                    }
                }
            }
        }
    }
    let short = StackFrames::new(9, 1).unwrap().forward(&x).unwrap();
    assert_eq!((short.time(), short.lengths()), (1, &[0, 0, 0][..]));
}

#[test]
fn the_gradient_of_joined_frames_matches_finite_differences() {
    for (frames, stride) in [(1, 1), (3, 1), (2, 2), (1, 3), (3, 2), (2, 5)] {
        let stack = StackFrames::new(frames, stride).unwrap();
        let x = Sequences::new(random((7, 3, 2), 1), vec![7, 2, 5]).unwrap();
        let (y, tape) = stack.forward_train(&x, &mut rng()).unwrap();
        let d_x = stack.backward(tape, &y, &mut stack.zeros_like()).unwrap(); // of ½·Σ y²
        let report = GradientCheck::default().run(&x, &d_x, |x| {
            Ok(0.5 * stack.forward(x)?.values().iter().map(|y| y * y).sum::<f64>())
        });
        let report = report.unwrap();
        assert!(report.relative_error <= 1e-6, "{report}");
    }
    let stack = StackFrames::new(2, 2).unwrap();
    let x = Sequences::full(random((4, 1, 3), 1)).unwrap();
    let error = stack.backward(x.clone(), &x, &mut stack.zeros_like()).unwrap_err().to_string();
    let axes = "time, batch, frames × features";
    assert_eq!(error, format!("d_y: expected [2, 1, 6] ({axes}), got [4, 1, 3]"));
}

/// Compares the gradient of a model with finite differences; dropout draws the same factors each time.
fn check<M: Model<Elem = f64, Batch = (Sequences<f64>, Vec<Vec<usize>>)>>(
    model: &M,
    batch: &M::Batch,
) {
    let mut grad = model.zeros_like();
    model.loss_and_grad(batch, &mut grad, &mut rng()).unwrap();
    let report = GradientCheck::default()
        .run(model, &grad, |model| model.loss_and_grad(batch, &mut model.zeros_like(), &mut rng()));
    let report = report.unwrap();
    assert!(report.relative_error <= 1e-6, "{report}");
}

#[test]
fn gradients_of_whole_models_match_finite_differences() {
    for (frames, stride) in [(1, 1), (2, 1), (3, 2), (1, 2)] {
        check(&model(frames, stride), &(batch().0, vec![vec![0], vec![1, 3], vec![3], vec![]]));
    }
    let loss = Ctc::new(2).divide_by_length(false).zero_infinity();
    let builder = SequenceTranscriber::<LstmCell<f64>>::builder(3, 4).loss(loss).hidden_size(3);
    let builder = builder.num_layers(2).bidirectional(true).dropout(0.3).frames(2, 2);
    let labels = vec![vec![0, 0], vec![1, 3], vec![3, 3, 1, 1], vec![]]; // too many for sequence 2
    check(&builder.build(&mut rng()).unwrap(), &(batch().0, labels));

    let tokens = [vec![0, 4, 4, 1, 2, 3, 0], vec![3, 1, 2, 2], vec![1, 0, 1, 1, 4]];
    let tokens = Sequences::one_hot_from_list(&tokens, 5).unwrap();
    for embedding in [None, Some(3)] {
        let builder =
            SequenceTranscriber::<RnnCell<f64>>::builder(5, 3).hidden_size(4).frames(2, 1);
        let builder = match embedding {
            Some(width) => builder.embedding_dim(width),
            None => builder,
        };
        let labels = vec![vec![1, 1], vec![2], vec![1, 2]];
        check(&builder.build(&mut rng()).unwrap(), &(tokens.clone(), labels));
    }
}

#[test]
fn padding_and_the_other_sequences_do_not_change_a_bit() {
    for (frames, stride) in [(1, 1), (3, 2)] {
        let (model, (x, labels)) = (model(frames, stride), batch());
        let mut filled = x.values().clone();
        for (b, &length) in x.lengths().iter().enumerate() {
            filled.slice_mut(s![length.., b, ..]).fill(f64::NAN);
        }
        let filled = x.with_values(filled).unwrap();
        let logits = model.logits(&x).unwrap();
        assert_eq!(bits(&logits), bits(&model.logits(&filled).unwrap()));
        let (mut grad, mut again) = (model.zeros_like(), model.zeros_like());
        let labels: Vec<Vec<usize>> =
            labels.into_iter().map(|l| l.into_iter().take(1).collect()).collect();
        let loss =
            model.loss_and_grad(&(x.clone(), labels.clone()), &mut grad, &mut rng()).unwrap();
        let same = model.loss_and_grad(&(filled, labels), &mut again, &mut rng()).unwrap();
        assert_eq!((loss.to_bits(), bits(&grad)), (same.to_bits(), bits(&again)));
        for (b, &length) in x.lengths().iter().enumerate() {
            let alone = x.values().slice(s![..length, b..=b, ..]).to_owned();
            let alone = model.logits(&Sequences::full(alone).unwrap()).unwrap();
            let of_batch = logits.values().slice(s![..alone.time(), b..=b, ..]).to_owned();
            assert_eq!(bits(alone.values()), bits(&of_batch));
        }
    }
}

/// Draws large weights.
fn enlarge(model: &mut Transcriber) {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    model.for_each_mut(&mut |_, mut array| array.mapv_inplace(|_| rng.random_range(-2.0..2.0)));
}

#[test]
fn a_stream_gives_the_bits_and_labels_of_the_whole_recording_after_every_frame() {
    let mut found = 0;
    for (frames, stride) in [(1, 1), (2, 1), (3, 2), (1, 3), (2, 5)] {
        let builder = Transcriber::builder(3, 4).loss(Ctc::new(2)).hidden_size(5);
        let x = 4.0 * random((23, 2, 3), 9);
        let views = [x.index_axis(Axis(1), 0)];
        let builder = builder.scaler(Scaler::standard(&views).unwrap()).frames(frames, stride);
        let mut model = builder.build(&mut rng()).unwrap();
        enlarge(&mut model); // so that the labels change
        let mut stream = model.stream(2).unwrap();
        let mut silent = model.stream(2).unwrap();
        let (mut windows, mut so_far) = (0, [Vec::new(), Vec::new()]);
        for (t, frame) in x.outer_iter().enumerate() {
            if t == 11 {
                stream = stream.fork();
            }
            for (labels, label) in so_far.iter_mut().zip(stream.step(frame).unwrap()) {
                labels.extend(label);
            }
            let whole = Sequences::full(x.slice(s![..=t, .., ..]).to_owned()).unwrap();
            assert_eq!(model.transcribe(&whole).unwrap(), so_far);
            if let Some(logits) = silent.step_logits(frame).unwrap() {
                let all = model.logits(&whole).unwrap();
                assert_eq!(
                    bits(&logits),
                    bits(&all.values().index_axis(Axis(0), windows).to_owned())
                );
                windows += 1;
            }
        }
        assert_eq!(windows, (23 - frames) / stride + 1);
        found += so_far.concat().len();
    }
    assert!(found > 20, "{found} labels");
}

#[test]
fn a_stream_of_tokens_gives_the_labels_of_the_whole_text() {
    let mut rng = rng();
    let tokens: Vec<usize> = (0..30).map(|_| rng.random_range(0..5)).collect();
    for embedding in [None, Some(3)] {
        for (frames, stride) in [(1, 1), (3, 2)] {
            let builder = Transcriber::builder(5, 4).hidden_size(5).frames(frames, stride);
            let builder = match embedding {
                Some(width) => builder.embedding_dim(width),
                None => builder,
            };
            let mut model = builder.build(&mut rng).unwrap();
            enlarge(&mut model);
            let x = Sequences::one_hot_from_list(std::slice::from_ref(&tokens), 5).unwrap();
            let (mut stream, mut labels) = (model.stream(1).unwrap(), Vec::new());
            for &token in &tokens {
                labels.extend(stream.step_tokens(&[token]).unwrap()[0]);
            }
            assert_eq!(model.transcribe(&x).unwrap(), [labels]);
        }
    }
}

/// The number of symbols of the toy, beside the blank.
const SYMBOLS: usize = 6;

/// Returns blurred symbols: each is shown for 2 to 4 noisy frames, and a dim mixture with the next one
/// follows.
fn blurred(count: usize, seed: u64) -> Dataset<f32, Labels> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut shapes = ChaCha8Rng::seed_from_u64(77);
    let shapes: Array2<f32> =
        Array2::from_shape_simple_fn((SYMBOLS, 8), || shapes.random_range(-1.0..1.0));
    let (mut recordings, mut targets) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let length = rng.random_range(1..8);
        let labels: Vec<usize> = (0..length).map(|_| rng.random_range(0..SYMBOLS)).collect();
        let mut frames = Array2::<f32>::zeros((0, 8));
        for (i, &label) in labels.iter().enumerate() {
            for _ in 0..rng.random_range(2..5) {
                frames.push_row(shapes.row(label)).unwrap();
            }
            let next = labels.get(i + 1).map_or(0.0, |_| 0.3);
            let next = &shapes.row(*labels.get(i + 1).unwrap_or(&0)) * next;
            frames.push_row((&shapes.row(label) * 0.3 + next).view()).unwrap();
        }
        frames.mapv_inplace(|x| x + rng.random_range(-0.25..0.25));
        recordings.push(frames);
        targets.push(Labels(labels.iter().map(|label| label + 1).collect()));
    }
    Dataset::new(recordings, targets).unwrap()
}

#[test]
fn blurred_symbols_are_learned_to_an_error_of_one_percent() {
    let (train, test) = (blurred(400, 1), blurred(200, 2));
    let builder = SequenceTranscriber::<GruCell<f32>>::builder(8, SYMBOLS + 1).hidden_size(24);
    let mut model = builder.build(&mut rng()).unwrap();
    let before = model.evaluate(&test, 50).unwrap();
    assert!(before.label_error_rate() > 0.5, "{before}");
    let trainer = Trainer::new(Adam::new(0.01).unwrap()).epochs(18).batch_size(16).bucketed(4);
    trainer.fit(&mut model, &train, None).unwrap();
    let after = model.evaluate(&test, 50).unwrap();
    assert!(after.label_error_rate() <= 0.01, "{after}");
    let again = model.evaluate(&test, 7).unwrap(); // in other batches
    assert_eq!(again.label_error_rate(), after.label_error_rate());
    assert!((again.loss() / after.loss() - 1.0).abs() < 1e-6);

    let (x, labels) = test.batch(&[3, 8, 5]).unwrap();
    let beam = model.transcribe_beam(&x, 10).unwrap();
    let mut score = TranscriptionMetrics::default();
    beam.iter().zip(&labels).for_each(|(found, labels)| score.add(found, labels));
    assert!(score.label_error_rate() <= 0.1);
    let alignments = model.align(&x, &labels).unwrap();
    assert!(
        alignments.iter().zip(&labels).all(|(found, labels)| found.steps.len() == labels.len())
    );
}

#[test]
fn joined_frames_are_learned_too() {
    // 3 frames of a symbol are at least one window of stride 2; repeats have a dim window between.
    let (train, test) = (blurred(300, 3), blurred(100, 4));
    let builder = SequenceTranscriber::<GruCell<f32>>::builder(8, SYMBOLS + 1).hidden_size(24);
    let builder = builder.loss(Ctc::new(0).zero_infinity()).frames(3, 1).bidirectional(true);
    let mut model = builder.build(&mut rng()).unwrap();
    let trainer = Trainer::new(Adam::new(0.01).unwrap()).epochs(8).batch_size(16);
    trainer.fit(&mut model, &train, None).unwrap();
    let after = model.evaluate(&test, 50).unwrap();
    assert!(after.label_error_rate() <= 0.1, "{after}");
}

#[test]
fn a_model_comes_back_from_its_file() {
    let (x, labels) = batch();
    let loss = Ctc::new(2).divide_by_length(false).zero_infinity();
    let builder = Transcriber::builder(3, 4).loss(loss).hidden_size(5).frames(3, 2);
    let model = builder.labels(&["a", "b", "_", "c"]).build(&mut rng()).unwrap();
    let name = format!("recurrent-transcriber-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    model.save(&path).unwrap();
    let again = Transcriber::load(&path).unwrap();
    let other = SequenceTranscriber::<LstmCell<f64>>::load(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(other.contains("SequenceTranscriber"), "{other}");
    assert_eq!((again.loss(), again.blank(), again.classes()), (&loss, 2, 4));
    assert_eq!(bits(&again.logits(&x).unwrap()), bits(&model.logits(&x).unwrap()));
    let evaluate = |model: &Transcriber| {
        let mut score = TranscriptionMetrics::default();
        model.score_batch(&(x.clone(), labels.clone()), &mut score).unwrap();
        score
    };
    assert_eq!(evaluate(&again), evaluate(&model));
    assert_eq!(again.labels(), ["a", "b", "_", "c"]);
    let named = again.transcribe_labels(&x).unwrap();
    assert_eq!(named.len(), 4);
    assert!(named.concat().iter().all(|&label| label != "_"));
}

#[test]
fn a_file_whose_windows_need_more_weights_than_it_has_is_refused() {
    let name = format!("recurrent-transcriber-windows-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    model(10, 1).save(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|part| part == b":10,").unwrap();
    bytes[at..at + 4].copy_from_slice(b":99,");
    std::fs::write(&path, bytes).unwrap();
    let error = Transcriber::load(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(error.contains("its sizes need at least"), "{error}");
}

#[test]
fn a_stream_of_logits_feeds_a_prefix_search() {
    let model = model(2, 2);
    let x = random((10, 1, 3), 5);
    let beam: PrefixBeam = model.beam(5).unwrap().n_best(3).unwrap();
    let (mut stream, mut search) = (model.stream(1).unwrap(), PrefixSearch::new(beam));
    for frame in x.outer_iter() {
        if let Some(logits) = stream.step_logits(frame).unwrap() {
            search.step(logits.row(0), None).unwrap();
        }
    }
    let logits = model.logits(&Sequences::full(x).unwrap()).unwrap();
    assert_eq!(search.transcripts(None).unwrap(), beam.decode(&logits).unwrap()[0]);
}

#[test]
fn metrics_count_edits() {
    let mut score = TranscriptionMetrics::default();
    assert!(score.label_error_rate().is_nan() && score.exact_match().is_nan());
    for (predicted, labels) in [
        (&[1, 2, 3][..], &[1, 2, 3][..]),
        (&[], &[4, 5]),
        (&[4, 5], &[]),
        (&[1, 2, 3, 4], &[2, 3, 4, 1]),
        (&[1, 1, 1], &[1]),
        (&[5, 6, 7], &[5, 7]),
    ] {
        score.add(predicted, labels);
    }
    let (labels, edits) = (3 + 2 + 4 + 1 + 2, 2 + 2 + 2 + 2 + 1);
    assert_eq!(score.label_error_rate(), f64::from(edits) / f64::from(labels));
    assert_eq!(score.exact_match(), 1.0 / 6.0);
    let mut twice = score;
    twice.merge(score);
    assert_eq!(twice.label_error_rate(), score.label_error_rate());
    let names: Vec<&str> = score.metrics().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["label_error_rate", "exact_match"]);
}

#[test]
fn bad_options_and_input_are_refused_and_named() {
    let build = |loss, frames, stride| {
        let builder = Transcriber::builder(3, 4).loss(loss).frames(frames, stride);
        builder.build(&mut rng()).unwrap_err().to_string()
    };
    assert_eq!(build(Ctc::new(4), 1, 1), "blank: expected less than 4 (classes), got 4");
    assert_eq!(build(Ctc::new(0), 0, 1), "frames: expected at least 1, got 0");
    assert_eq!(build(Ctc::new(0), 1, 0), "stride: expected at least 1, got 0");
    assert!(build(Ctc::new(0), usize::MAX, 1).starts_with("frames × features: expected sizes"));
    assert!(StackFrames::<f64>::new(0, 1).is_err());

    let (model, (x, _)) = (model(3, 2), batch());
    let labels = vec![vec![0, 0], vec![1], vec![3, 1], vec![]];
    let error = model.loss_and_grad(&(x.clone(), labels), &mut model.zeros_like(), &mut rng());
    let most = "labels that need at most 1 steps (the length of the sequence)";
    let expected = format!("labels[2]: expected {most}, got 2 labels that need 2");
    assert_eq!(error.unwrap_err().to_string(), expected);
    let error = model.transcribe_labels(&x).unwrap_err().to_string();
    assert_eq!(
        error,
        "labels: expected the names of the classes, given to the model's builder, got none"
    );
    assert!(model.beam(0).is_err());

    let mut stream = model.stream(2).unwrap();
    let error = stream.step(Array2::zeros((2, 4)).view()).unwrap_err().to_string();
    assert_eq!(error, "x_t: expected [2, 3] (batch, input), got [2, 4]");
    let error = stream.step(Array2::zeros((1, 3)).view()).unwrap_err().to_string();
    assert_eq!(error, "x_t: expected [2, 3] (batch, input), got [1, 3]");
    let error = stream.step_tokens(&[0, 3]).unwrap_err().to_string();
    assert_eq!(error, "tokens[1]: expected less than 3 (input_size), got 3");
    let frames: Array3<f64> = random((3, 2, 3), 1);
    let steps: Vec<_> = frames.outer_iter().map(|x| stream.step(x).unwrap()).collect();
    assert_eq!(steps[1], [None, None]);

    let both = Transcriber::builder(3, 4).bidirectional(true).build(&mut rng()).unwrap();
    assert!(both.stream(1).is_err());
    let short = Sequences::full(random((2, 1, 3), 1)).unwrap(); // shorter than a window
    assert_eq!(model.transcribe(&short).unwrap(), [[0_usize; 0]]);
}
