//! The tagger with a CRF.

use ndarray::{Array2, Axis};
use rand::RngExt;
use recurrent::cell::{GruCell, LstmCell};
use recurrent::check::GradientCheck;
use recurrent::data::{Dataset, Source};
use recurrent::layer::crf::Constraints;
use recurrent::loss::{CrossEntropy, Sum};
use recurrent::model::{Head, ModelBuilder, SequenceTagger};
use recurrent::optim::Adam;
use recurrent::train::{Model, Score, Trainer};
use recurrent::{Arrays, Result, Sequences};

use super::rng;
use crate::common::bits::bits;
use crate::common::temporary::File;

const NAMES: [&str; 5] = ["O", "B-X", "I-X", "B-Y", "I-Y"];

type Tagger = SequenceTagger<LstmCell<f64>>;

fn iob2() -> Constraints {
    Constraints::iob2(&NAMES).unwrap()
}

fn builder() -> ModelBuilder<Tagger> {
    Tagger::builder(12, 5).embedding_dim(3).hidden_size(4).head(Head::Crf)
}

fn batch() -> (Sequences<f64>, Array2<usize>) {
    let tokens = [vec![3, 0, 7, 11, 2], vec![5], vec![1, 1, 9]];
    let tags = [vec![1, 2, 0, 3, 4], vec![0], vec![3, 0, 1]];
    let tags = Array2::from_shape_fn((5, 3), |(t, b)| tags[b].get(t).copied().unwrap_or(77));
    (Sequences::one_hot_from_list(&tokens, 12).unwrap(), tags)
}

fn says<V>(result: Result<V>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn gradients_of_the_whole_model_agree_with_finite_differences() {
    for (constraints, layers) in [(false, 1), (true, 2)] {
        let mut builder = builder().num_layers(layers).bidirectional(constraints).dropout(0.3);
        if constraints {
            builder = builder.constraints(iob2());
        }
        let model = builder.build(&mut rng(1)).unwrap();
        let (mut grad, batch) = (model.zeros_like(), batch());
        model.loss_and_grad(&batch, &mut grad, &mut rng(2)).unwrap();
        let report = GradientCheck::default()
            .run(&model, &grad, |m: &Tagger| {
                m.loss_and_grad(&batch, &mut m.zeros_like(), &mut rng(2))
            })
            .unwrap();
        assert!(report.relative_error <= 1e-6, "{report}");
    }
}

#[test]
fn files_keep_head_and_constraints() {
    let model = builder().constraints(iob2()).labels(&NAMES).build(&mut rng(1)).unwrap();
    let file = File::new("tagger.safetensors");
    model.save(&file.0).unwrap();
    let again = Tagger::load(&file.0).unwrap();
    assert_eq!(bits(&again), bits(&model));
    assert_eq!(again.names(), model.names());
    assert!(model.names().contains(&"crf.transitions".to_owned()));
    assert_eq!(again.crf().unwrap().rules(), Some(&iob2()));
    let (x, _) = batch();
    assert_eq!(again.predict(&x).unwrap(), model.predict(&x).unwrap());
    let softmax = builder().head(Head::Softmax).build(&mut rng(1)).unwrap();
    softmax.save(&file.0).unwrap();
    assert!(Tagger::load(&file.0).unwrap().crf().is_none());
}

#[test]
fn the_tagger_computes_what_its_parts_compute() {
    let model = builder().constraints(iob2()).build(&mut rng(1)).unwrap();
    let ((x, tags), crf) = (batch(), model.crf().unwrap());
    let emissions = model.emissions(&x).unwrap();
    let paths = crf.viterbi(&emissions).unwrap();
    let paths: Vec<Vec<usize>> = paths.into_iter().map(|path| path.tags).collect();
    assert_eq!(model.predict(&x).unwrap(), paths);
    assert_eq!(model.probabilities(&x).unwrap(), crf.marginals(&emissions).unwrap());
    let batch = (x, tags);
    let loss = model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng(2)).unwrap();
    assert_eq!(loss, crf.loss(&emissions, &batch.1).unwrap());
    let mut score = Default::default();
    model.score_batch(&batch, &mut score).unwrap();
    assert!((Score::loss(&score) - loss).abs() < 1e-15);
    assert_eq!(score.count(), 9);
    let right = |(b, path): (usize, &Vec<usize>)| {
        path.iter().enumerate().filter(|&(t, &tag)| batch.1[[t, b]] == tag).count()
    };
    let right: usize = paths.iter().enumerate().map(right).sum();
    assert_eq!(score.accuracy(), right as f64 / 9.0);
}

#[test]
fn options_that_cannot_act_are_refused() {
    let build = |b: ModelBuilder<Tagger>| says(b.build(&mut rng(1)));
    assert_eq!(
        build(builder().head(Head::Softmax).constraints(iob2())),
        "constraints: expected none: only Head::Crf keeps them, got some"
    );
    let smooth = CrossEntropy::default().label_smoothing(0.1).unwrap();
    let weights = CrossEntropy::default().class_weights(vec![1.0; 5]).unwrap();
    for loss in [smooth, weights, CrossEntropy::default().ignore_index(0)] {
        let expected = "loss: expected cross entropy without options: Head::Crf has its own loss";
        let error = build(builder().loss(loss.clone()));
        assert!(error.starts_with(expected), "{error}");
        // The order of the options does not matter.
        let plain = Tagger::builder(12, 5).loss(loss).head(Head::Crf);
        assert!(build(plain).starts_with(expected));
    }
    assert!(says(builder().loss(Sum(CrossEntropy::default())).build(&mut rng(1))).contains("loss"));
    let three = Constraints::iob2(&NAMES[..3]).unwrap();
    assert_eq!(build(builder().constraints(three)), "constraints: expected [5] (tags), got [3]");
    let model = builder().build(&mut rng(1)).unwrap();
    assert_eq!(
        says(model.stream(1)),
        "head: expected Softmax: the classes of a CRF depend on the steps that follow, got Crf"
    );
    // A checkpoint tells the heads apart.
    let other = builder().head(Head::Softmax).build(&mut rng(1)).unwrap();
    assert_ne!(model.options(), other.options());
}

#[test]
fn data_that_break_the_constraints_are_refused() {
    let model = builder().constraints(iob2()).build(&mut rng(1)).unwrap();
    let (x, mut tags) = batch();
    tags[[1, 2]] = 2; // I-X after B-Y
    let mut grad = model.zeros_like();
    let error = says(model.loss_and_grad(&(x, tags), &mut grad, &mut rng(2)));
    assert_eq!(error, "tags[1, 2]: expected a tag that may follow 3, got 2");
    assert_eq!(bits(&grad), bits(&model.zeros_like()));
}

#[test]
fn batching_and_padding_change_no_bit_of_a_prediction() {
    let model = builder().bidirectional(true).build(&mut rng(1)).unwrap();
    let (x, _) = batch();
    let all = model.probabilities(&x).unwrap();
    for (b, &length) in x.lengths().iter().enumerate() {
        let tokens = x.tokens().unwrap().column(b).to_vec();
        let one = Sequences::one_hot_from_list(&[&tokens[..length]], 12).unwrap();
        let alone = model.probabilities(&one).unwrap();
        let part = all.values().index_axis(Axis(1), b).split_at(Axis(0), length).0.to_owned();
        assert_eq!(bits(&alone.values().index_axis(Axis(1), 0).to_owned()), bits(&part));
        assert_eq!(model.predict(&one).unwrap()[0], model.predict(&x).unwrap()[b]);
    }
}

/// Names of two words, among others. The second word is evidence of the type. Every third of the first words
/// is unreadable, and a network that reads forward in time does not know the second word yet: it guesses
/// the type, and a softmax may decide otherwise at the second word.
fn names(count: usize, seed: u64) -> Dataset<f64, Vec<usize>> {
    let mut rng = rng(seed);
    let (mut texts, mut tags) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (mut text, mut tag) = (Vec::new(), Vec::new());
        for _ in 0..rng.random_range(2..6) {
            let kind = rng.random_range(0..3);
            if kind == 2 {
                text.push(5 + rng.random_range(0..2));
                tag.push(0);
                continue;
            }
            let first = if rng.random_bool(1.0 / 3.0) { 4 } else { kind };
            text.extend([
                first,
                2 + usize::from(rng.random_bool(if kind == 0 { 0.7 } else { 0.3 })),
            ]);
            tag.extend([1 + 2 * kind, 2 + 2 * kind]);
        }
        texts.push(text);
        tags.push(tag);
    }
    Dataset::from_tokens(texts, 12, tags).unwrap()
}

#[test]
fn a_crf_keeps_constraints_that_a_softmax_breaks_and_scores_better() {
    let (train, test) = (names(150, 1), names(150, 2));
    let rules = iob2();
    let run = |head: Head| {
        let base = SequenceTagger::<GruCell<f64>>::builder(12, 5).embedding_dim(6).hidden_size(8);
        let base = base.head(head);
        let base = if head == Head::Crf { base.constraints(rules.clone()) } else { base };
        let mut model = base.build(&mut rng(3)).unwrap();
        let trainer = Trainer::new(Adam::new(0.02).unwrap()).epochs(15).batch_size(16);
        trainer.fit(&mut model, &train, None).unwrap();
        let (x, tags) = test.batch(&(0..150).collect::<Vec<_>>()).unwrap();
        let predicted = model.predict(&x).unwrap();
        let broken = |path: &&Vec<usize>| {
            !rules.may_start(path[0])
                || !path.windows(2).all(|pair| rules.may_follow(pair[0], pair[1]))
        };
        let exact = predicted
            .iter()
            .enumerate()
            .filter(|(b, path)| path.iter().enumerate().all(|(t, &tag)| tags[[t, *b]] == tag));
        (predicted.iter().filter(broken).count(), exact.count())
    };
    let (softmax, crf) = (run(Head::Softmax), run(Head::Crf));
    assert!(softmax.0 > 0, "softmax {softmax:?}, CRF {crf:?}");
    assert_eq!(crf.0, 0);
    assert!(crf.1 > softmax.1, "softmax {softmax:?}, CRF {crf:?}");
}
