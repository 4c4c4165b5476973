//! Tests of the encoder-decoder.

use ndarray::{Array1, Array2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::data::{Dataset, Labels, Unit, Vocabulary};
use recurrent::decode::{BeamSearch, Decoder, Sampling};
use recurrent::layer::AttentionScore;
use recurrent::loss::{CrossEntropy, Loss};
use recurrent::model::{
    AttentionPlace, Bridge, BuiltInCell, ModelBuilder, ScheduledSampling, Seq2Seq,
};
use recurrent::optim::{Adam, Sgd};
use recurrent::train::{Model, Trainer};
use recurrent::{Arrays, GruCell, LstmCell, RnnCell, Sequences, cell};

use crate::common::bits::bits;
use crate::common::fixture::Fixture;
use crate::common::random::random;
use crate::common::temporary;

type Builder<C> = ModelBuilder<Seq2Seq<C>>;

const START: usize = 0;
const END: usize = 1;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

fn tokens(lengths: &[usize], vocabulary: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    lengths
        .iter()
        .map(|&length| (0..length).map(|_| rng.random_range(2..vocabulary)).collect())
        .collect()
}

/// Sources of tokens and targets, some longer than their sources and one empty.
fn token_batch() -> (Sequences<f64>, Vec<Vec<usize>>) {
    let sources = Sequences::one_hot_from_list(&tokens(&[3, 1, 5], 7, 1), 7).unwrap();
    (sources, tokens(&[2, 4, 0], 6, 2))
}

/// The loss of a model, and its gradient against finite differences.
fn check<C: cell::Cell<Elem = f64>>(
    name: &str,
    builder: Builder<C>,
    batch: &(Sequences<f64>, Vec<Vec<usize>>),
) {
    let model = builder.build(&mut rng()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut grad = model.zeros_like();
    model.loss_and_grad(batch, &mut grad, &mut rng()).unwrap();
    let check = GradientCheck { max_entries: 12, ..GradientCheck::default() };
    let report = check
        .run(&model, &grad, |model| model.loss_and_grad(batch, &mut model.zeros_like(), &mut rng()))
        .unwrap();
    assert!(report.relative_error < 1e-6, "{name}: {report}");
}

fn on_tokens<C: cell::Cell<Elem = f64>>() -> Builder<C> {
    Seq2Seq::builder(7, 6, START, END).embedding_dim(3).hidden_size(4)
}

#[test]
fn gradients_are_those_of_finite_differences_for_all_decoders() {
    let scores = [
        AttentionScore::Dot,
        AttentionScore::ScaledDot,
        AttentionScore::General,
        AttentionScore::Additive { size: 3 },
        AttentionScore::Location { size: 3, filters: 2, kernel_size: 3 },
    ];
    for score in scores {
        for place in [AttentionPlace::Before, AttentionPlace::After] {
            for input_feeding in [false, true] {
                let builder = on_tokens::<LstmCell<f64>>().attention(score);
                let builder = builder.attention_place(place).input_feeding(input_feeding);
                let name = format!("{score:?} {place:?} {input_feeding}");
                check(&name, builder, &token_batch());
            }
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences_for_all_bridges_and_layers() {
    let general = AttentionScore::General;
    for bridge in [Bridge::Same, Bridge::Linear, Bridge::Zeros] {
        let name = format!("{bridge:?}");
        let gru = || on_tokens::<GruCell<f64>>().bridge(bridge);
        if bridge != Bridge::Zeros {
            check(&name, gru(), &token_batch());
        }
        check(&name, gru().num_layers(2).attention(general), &token_batch());
        check(
            &format!("{name}, both directions"),
            gru().num_layers(2).bidirectional(true).decoder_hidden_size(8).attention(general),
            &token_batch(),
        );
    }
    let before = || on_tokens::<GruCell<f64>>().attention_place(AttentionPlace::Before);
    check(
        "other sizes",
        before().attention(general).decoder_hidden_size(5).decoder_num_layers(2).hidden_size(3),
        &token_batch(),
    );
    check(
        "residual",
        before().attention(general).num_layers(2).recurrent(|layers| layers.residual(true)),
        &token_batch(),
    );
    check("rnn", on_tokens::<RnnCell<f64>>().attention(AttentionScore::Dot), &token_batch());
    check(
        "dropout",
        on_tokens::<LstmCell<f64>>().num_layers(2).dropout(0.4).attention(general),
        &token_batch(),
    );
    check("smoothing", on_tokens::<LstmCell<f64>>().label_smoothing(0.2), &token_batch());
}

#[test]
fn gradients_are_those_of_finite_differences_for_shared_embeddings_and_given_memories() {
    let (sources, targets) = token_batch();
    let shared = || {
        let builder = Seq2Seq::<GruCell<f64>>::builder(7, 7, START, END);
        builder.embedding_dim(4).hidden_size(4).attention(AttentionScore::Dot)
    };
    let batch = (sources, targets);
    check("shared", shared().shared_embedding(true), &batch);
    check("tied", shared().tied_output(true), &batch);
    check("shared and tied", shared().shared_embedding(true).tied_output(true), &batch);

    let regions = Sequences::new(random((5, 3, 3), 4), vec![2, 5, 1]).unwrap();
    let batch = (regions, batch.1);
    let pictures = || Seq2Seq::<LstmCell<f64>>::builder(3, 6, START, END).hidden_size(4);
    let additive = AttentionScore::Additive { size: 3 };
    check("no encoder", pictures().without_encoder().attention(additive), &batch);
    check("no encoder, no attention", pictures().without_encoder(), &batch);
    let zeros = pictures().without_encoder().attention(additive).bridge(Bridge::Zeros);
    check("no encoder, zeros", zeros, &batch);
    check("values", pictures().attention(additive).target_embedding_dim(2), &batch);
    let embedded = Seq2Seq::<LstmCell<f64>>::builder(7, 6, START, END).embedding_dim(3);
    let embedded = embedded.hidden_size(4).without_encoder().attention(additive);
    check("embedded memory", embedded, &token_batch());
}

#[test]
fn decoding_step_by_step_equals_teacher_forcing_bit_for_bit() {
    for (place, input_feeding) in [
        (AttentionPlace::Before, false),
        (AttentionPlace::After, true),
        (AttentionPlace::After, false),
    ] {
        let builder = on_tokens::<LstmCell<f64>>().num_layers(2).attention_place(place);
        let builder = builder.attention(AttentionScore::Additive { size: 5 });
        let model = builder.input_feeding(input_feeding).build(&mut rng()).unwrap();
        let (sources, targets) = (token_batch().0, tokens(&[4, 4, 4], 6, 3));
        let mut decoder = model.decoder(&sources).unwrap();
        let mut logits = Vec::new();
        let first = vec![model.start(); 3];
        let steps = (0..4).map(|t| targets.iter().map(|target| target[t]).collect());
        for tokens in std::iter::once(first).chain(steps) {
            logits.push(decoder.step(&tokens).unwrap());
        }
        let views: Vec<_> = logits.iter().map(|logits| logits.view()).collect();
        let logits = Sequences::full(ndarray::stack(Axis(0), &views).unwrap()).unwrap();
        let target =
            Array2::from_shape_fn((5, 3), |(t, b)| targets[b].get(t).copied().unwrap_or(END));
        let (by_steps, _) = CrossEntropy::default().loss(&logits, &target).unwrap();
        let batch = (sources, targets);
        let loss = model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng()).unwrap();
        assert_eq!(loss.to_bits(), by_steps.to_bits());
        let score = model.evaluate(&Whole(batch), 3).unwrap();
        assert!((recurrent::train::Score::loss(&score) - loss).abs() < 1e-14);
    }
}

/// A source of one batch.
struct Whole((Sequences<f64>, Vec<Vec<usize>>));

impl recurrent::data::Source<(Sequences<f64>, Vec<Vec<usize>>)> for Whole {
    fn len(&self) -> usize {
        self.0.1.len()
    }
    fn batch(&self, _: &[usize]) -> recurrent::Result<(Sequences<f64>, Vec<Vec<usize>>)> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_batch_equals_single_sequences_and_padding_changes_nothing() {
    let additive = AttentionScore::Additive { size: 5 };
    let builder = on_tokens::<GruCell<f64>>().bidirectional(true).attention(additive);
    let model = builder.input_feeding(true).build(&mut rng()).unwrap();
    let (sources, _) = token_batch();
    let single = tokens(&[3, 1, 5], 7, 1);
    let search = BeamSearch::new(3).unwrap().n_best(2).unwrap().max_length(6).unwrap();
    let all = model.beam(&sources, &search).unwrap();
    for (b, source) in single.iter().enumerate() {
        let one = Sequences::one_hot_from_list(&[source], 7).unwrap();
        assert_eq!(model.beam(&one, &search).unwrap()[0], all[b]);
    }
    let targets = tokens(&[2, 4, 3], 6, 2);
    let weights = model.align(&sources, &targets).unwrap();
    for (b, target) in targets.iter().enumerate() {
        let one = Sequences::one_hot_from_list(&[&single[b]], 7).unwrap();
        let alone = model.align(&one, std::slice::from_ref(target)).unwrap();
        for t in 0..=target.len() {
            let row = weights.index_axis(Axis(0), b);
            let row: Array1<f64> = row.row(t).iter().take(single[b].len()).copied().collect();
            let right = alone.index_axis(Axis(0), 0).row(t).to_owned();
            assert_eq!(bits(&row), bits(&right));
            assert!((right.sum() - 1.0).abs() < 1e-12);
        }
    }
    assert_eq!(weights[[1, 2, 3]], 0.0);
}

/// Sources and targets of several lengths, enough for several threads.
fn large_batch() -> (Sequences<f64>, Vec<Vec<usize>>) {
    let lengths = [6, 2, 9, 4, 1, 7, 9, 3, 5, 8, 2, 6];
    let sources = Sequences::one_hot_from_list(&tokens(&lengths, 40, 1), 40).unwrap();
    (sources, tokens(&[20, 3, 17, 24, 9, 0, 11, 24, 2, 19, 5, 14], 40, 2))
}

fn large<C: cell::Cell<Elem = f64>>() -> Builder<C> {
    Seq2Seq::builder(40, 40, START, END).embedding_dim(32).hidden_size(96)
}

fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

#[test]
fn the_number_of_threads_never_matters_to_training() {
    fn check<C: cell::Cell<Elem = f64>>(name: &str, builder: Builder<C>) {
        let (mut model, batch) = (builder.build(&mut rng()).unwrap(), large_batch());
        model.begin_step(1);
        let run = |threads| {
            on_threads(threads, || {
                let mut grad = model.zeros_like();
                let loss = model.loss_and_grad(&batch, &mut grad, &mut rng()).unwrap();
                (loss.to_bits(), bits(&grad))
            })
        };
        let one = run(1);
        for threads in 2..=4 {
            assert!(run(threads) == one, "{name}, {threads} threads");
        }
    }
    let location = AttentionScore::Location { size: 16, filters: 3, kernel_size: 3 };
    let noisy = large::<LstmCell<f64>>()
        .num_layers(2)
        .dropout(0.3)
        .recurrent(|layers| layers.zoneout(&[0.2, 0.1]).recurrent_dropout(0.2).residual(true));
    check("noisy", noisy.attention(AttentionScore::Dot).input_feeding(true));
    let before = large::<GruCell<f64>>().attention_place(AttentionPlace::Before);
    check("before", before.attention(AttentionScore::Additive { size: 64 }));
    check("location", large::<LstmCell<f64>>().attention(location).input_feeding(true));
    let schedule = ScheduledSampling::Linear { from: 0.5, to: 0.5, steps: 1 };
    let sampled = large::<LstmCell<f64>>().attention(AttentionScore::General).dropout(0.1);
    check("own tokens", sampled.scheduled_sampling(schedule));
    check("no attention", large::<LstmCell<f64>>().num_layers(2));
}

#[test]
fn the_number_of_threads_never_matters_to_decoding() {
    let builder = large::<LstmCell<f64>>().attention(AttentionScore::General).input_feeding(true);
    let model = builder.build(&mut rng()).unwrap();
    let batch = large_batch();
    let odd = |b: usize, tokens: &[usize], allowed: &mut [bool]| {
        let odd = allowed
            .iter_mut()
            .enumerate()
            .filter(|(token, _)| (token + tokens.len() + b).is_multiple_of(3));
        odd.for_each(|(_, allowed)| *allowed = false);
    };
    let search = BeamSearch::new(3).unwrap().n_best(2).unwrap().max_length(12).unwrap().mask(odd);
    let run = |threads| {
        on_threads(threads, || {
            let found = model.beam(&batch.0, &search).unwrap();
            let score = model.evaluate(&Whole(batch.clone()), batch.1.len()).unwrap();
            (found, recurrent::train::Score::loss(&score).to_bits())
        })
    };
    let one = run(1);
    (2..=4).for_each(|threads| assert!(run(threads) == one, "{threads} threads"));

    // Without an allowed token of the eighth sequence, all threads find the same error.
    let none = |b: usize, tokens: &[usize], allowed: &mut [bool]| {
        allowed.fill(!((b == 7 && tokens.len() == 2) || (b == 1 && tokens.len() == 4)));
    };
    let search = BeamSearch::new(3).unwrap().max_length(12).unwrap().mask(none);
    let error =
        |threads| on_threads(threads, || model.beam(&batch.0, &search).unwrap_err().to_string());
    assert!(error(1).contains("step 2 of sequence 7"), "{}", error(1));
    assert_eq!(error(3), error(1));
}

#[test]
fn greedy_sampling_is_a_beam_of_one() {
    let model =
        on_tokens::<GruCell<f64>>().attention(AttentionScore::General).build(&mut rng()).unwrap();
    let (sources, _) = token_batch();
    let greedy = model.generate(&sources, 8, &Sampling::greedy(), &mut rng()).unwrap();
    let beam = model.beam(&sources, &BeamSearch::new(1).unwrap().max_length(8).unwrap()).unwrap();
    let beam: Vec<_> = beam.into_iter().map(|best| best[0].tokens.clone()).collect();
    assert_eq!(greedy, beam);
    assert!(greedy.iter().flatten().all(|&token| token != START && token != END));
}

#[test]
fn scheduled_sampling_reads_own_tokens_as_its_schedule_says() {
    let schedule = ScheduledSampling::Linear { from: 1.0, to: 0.0, steps: 10 };
    let plain = on_tokens::<GruCell<f64>>();
    let builder = plain.clone().scheduled_sampling(schedule);
    let mut model = builder.build(&mut rng()).unwrap();
    let plain = plain.build(&mut rng()).unwrap();
    let batch = token_batch();
    let loss = |model: &Seq2Seq<GruCell<f64>>| {
        model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng()).unwrap()
    };
    assert_eq!(loss(&model).to_bits(), loss(&plain).to_bits(), "all tokens are correct ones");
    model.begin_step(10);
    let free = loss(&model);
    assert_ne!(free, loss(&plain));

    // By hand: each step reads the likeliest token of the step before.
    let mut decoder = model.decoder(&batch.0).unwrap();
    let (mut tokens, mut sum, mut count) = (vec![START; 3], 0.0, 0.0);
    for t in 0..5 {
        let logits = decoder.step(&tokens).unwrap();
        for (b, row) in logits.rows().into_iter().enumerate() {
            if t <= batch.1[b].len() {
                let target = batch.1[b].get(t).copied().unwrap_or(END);
                let total: f64 = row.iter().map(|x| x.exp()).sum();
                sum += total.ln() - row[target];
                count += 1.0;
            }
            tokens[b] = recurrent::decode::argmax(row).unwrap();
        }
    }
    assert!((free - sum / count).abs() < 1e-12, "{free} {}", sum / count);

    let exponential = ScheduledSampling::Exponential { factor: 0.5 };
    let sigmoid = ScheduledSampling::InverseSigmoid { k: 10.0 };
    assert_eq!(exponential.probability(3), 0.125);
    assert!((sigmoid.probability(0) - 10.0 / 11.0).abs() < 1e-15);
    for bad in [
        ScheduledSampling::Exponential { factor: 0.0 },
        ScheduledSampling::InverseSigmoid { k: f64::NAN },
        ScheduledSampling::Linear { from: 1.5, to: 0.0, steps: 3 },
    ] {
        let error = on_tokens::<GruCell<f64>>().scheduled_sampling(bad).build(&mut rng());
        assert!(error.unwrap_err().to_string().starts_with("scheduled_sampling"));
    }
}

#[test]
fn the_trainer_tells_the_model_its_step() {
    let sources = tokens(&[3, 2, 4, 3], 7, 1);
    let targets =
        sources.iter().cloned().map(|x| Labels(x.into_iter().map(|t| t.min(5)).collect()));
    let data = Dataset::<f64, Labels>::from_tokens(sources.clone(), 7, targets.collect()).unwrap();
    let train = |schedule: Option<ScheduledSampling>| {
        let mut builder = on_tokens::<GruCell<f64>>();
        if let Some(schedule) = schedule {
            builder = builder.scheduled_sampling(schedule);
        }
        let mut model = builder.build(&mut rng()).unwrap();
        let trainer = Trainer::new(Adam::new(0.01).unwrap()).epochs(2).batch_size(2);
        trainer.fit(&mut model, &data, None).unwrap();
        bits(&model)
    };
    // The first three of four steps read correct tokens, so only the last one differs.
    let late = ScheduledSampling::Linear { from: 1.0, to: 1.0, steps: 1 };
    assert_eq!(train(Some(late)), train(None));
    let early = ScheduledSampling::Linear { from: 1.0, to: 0.0, steps: 1 };
    assert_ne!(train(Some(early)), train(None));
}

#[test]
fn a_file_keeps_the_model_with_both_vocabularies() {
    let build = |texts: [&str; 2]| {
        Vocabulary::builder(Unit::Word).special(&["<s>", "</s>"]).fit(texts).unwrap()
    };
    let (source, target) =
        (build(["the red house", "a blue car"]), build(["la maison", "une auto"]));
    let model = Seq2Seq::<LstmCell<f32>>::builder(source.len(), target.len(), START, END)
        .embedding_dim(3)
        .hidden_size(4)
        .bidirectional(true)
        .attention(AttentionScore::Location { size: 3, filters: 2, kernel_size: 5 })
        .input_feeding(true)
        .vocabulary(source)
        .target_vocabulary(target)
        .build(&mut rng())
        .unwrap();
    let path = temporary::File::new("seq2seq");
    model.save(&path.0).unwrap();
    let search = BeamSearch::new(3).unwrap().max_length(5).unwrap();
    let texts = ["the red car", "a house"];
    let right = model.translate(&texts, &search).unwrap();
    let same = Seq2Seq::<LstmCell<f32>>::load(&path.0).unwrap();
    assert_eq!(same.translate(&texts, &search).unwrap(), right);
    let any = Seq2Seq::<BuiltInCell<f32>>::load(&path.0).unwrap();
    assert_eq!(any.translate(&texts, &search).unwrap(), right);
    let error = Seq2Seq::<GruCell<f32>>::load(&path.0).unwrap_err().to_string();
    assert!(error.contains("a Seq2Seq of lstm cells"), "{error}");
}

#[test]
fn wrong_options_and_arguments_are_named() {
    let fails = |builder: Builder<GruCell<f64>>| builder.build(&mut rng()).unwrap_err().to_string();
    let model = || on_tokens::<GruCell<f64>>();
    for (builder, start) in [
        (Seq2Seq::builder(7, 6, 6, 1), "start: expected less than 6"),
        (Seq2Seq::builder(7, 6, 0, 9), "end: expected less than 6"),
        (Seq2Seq::builder(7, 6, 1, 1), "end: expected another token"),
        (model().input_feeding(true), "input_feeding"),
        (model().attention_place(AttentionPlace::Before), "attention_place"),
        (model().bridge(Bridge::Zeros), "bridge: expected attention"),
        (model().without_encoder().bridge(Bridge::Zeros), "bridge: expected attention"),
        (model().bridge(Bridge::Same).decoder_num_layers(2), "bridge"),
        (
            model().bridge(Bridge::Same).num_layers(2).decoder_num_layers(1).decoder_hidden_size(8),
            "bridge",
        ),
        (
            model().without_encoder().recurrent(|r| r.learned_initial_state(true)),
            "learned_initial_state",
        ),
        (model().without_encoder().bridge(Bridge::Same), "bridge"),
        (model().without_encoder().bidirectional(true), "bidirectional"),
        (model().without_encoder().recurrent(|r| r.residual(true)), "residual: expected false"),
        (model().without_encoder().recurrent(|r| r.dropout(0.5)), "dropout: expected 0"),
        (model().bridge(Bridge::Same).decoder_hidden_size(5), "bridge"),
        (model().bridge(Bridge::Same).bidirectional(true), "bridge"),
        (model().shared_embedding(true), "shared_embedding"),
        (Seq2Seq::builder(7, 6, 0, 1).shared_embedding(true), "shared_embedding"),
        (model().tied_output(true), "tied_output"),
        (model().label_smoothing(1.5), "label_smoothing"),
        (model().suppress_tokens(&[8]), "suppress_tokens"),
        (model().labels(&["a"; 6]), "labels"),
        (model().decoder_num_layers(0), "decoder_num_layers"),
        (model().decoder_hidden_size(0), "decoder_hidden_size"),
        (model().attention(AttentionScore::Dot).decoder_hidden_size(5), "memory_size"),
    ] {
        let error = fails(builder);
        assert!(error.starts_with(start), "{start}: {error}");
    }
    let model = model().attention(AttentionScore::Dot).build(&mut rng()).unwrap();
    let (sources, targets) = token_batch();
    let loss = |sources: &Sequences<f64>, targets: Vec<Vec<usize>>| {
        let batch = (sources.clone(), targets);
        let error = model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng()).unwrap_err();
        error.to_string()
    };
    assert!(loss(&sources, vec![vec![2]]).starts_with("targets"));
    assert!(loss(&sources, vec![vec![2], vec![3, 9], vec![]]).starts_with("targets[1][1]"));
    let error = loss(&sources, vec![vec![2], vec![3, END], vec![]]);
    assert!(error.starts_with("targets[1][1]: expected neither the start nor the end"), "{error}");
    let other = Sequences::one_hot_from_list(&tokens(&[3, 1, 5], 7, 1), 8).unwrap();
    assert!(loss(&other, targets.clone()).starts_with("x"));
    let empty = Sequences::one_hot(Array2::zeros((2, 3)).view(), 7, vec![2, 0, 1]).unwrap();
    let error = loss(&empty, targets);
    assert!(error.contains("lengths[1]"), "{error}");
    let mut decoder = model.decoder(&sources).unwrap();
    assert!(decoder.step(&[0, 0]).is_err());
    assert!(decoder.step(&[0, 0, 77]).is_err());
    assert!(model.translate(&["a"], &BeamSearch::new(1).unwrap()).is_err());
    assert!(model.beam(&sources, &BeamSearch::new(1).unwrap().end(3)).is_err());
}

#[test]
fn attention_learns_to_reverse() {
    let strings = |count: usize, seed: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let lengths: Vec<usize> = (0..count).map(|_| rng.random_range(1..7)).collect();
        tokens(&lengths, 8, seed + 1)
    };
    let data = |sources: Vec<Vec<usize>>| {
        let reversed = |source: &Vec<usize>| Labels(source.iter().rev().copied().collect());
        let targets = sources.iter().map(reversed).collect();
        Dataset::<f32, Labels>::from_tokens(sources, 8, targets).unwrap()
    };
    let mut model = Seq2Seq::<GruCell<f32>>::builder(8, 8, START, END)
        .embedding_dim(16)
        .hidden_size(32)
        .bidirectional(true)
        .attention(AttentionScore::Additive { size: 32 })
        .attention_place(AttentionPlace::Before)
        .build(&mut rng())
        .unwrap();
    let trainer = Trainer::new(Adam::new(0.005).unwrap()).epochs(20).batch_size(32).clip_norm(1.0);
    trainer.fit(&mut model, &data(strings(1500, 10)), None).unwrap();
    let test = strings(200, 99);
    let sources = Sequences::one_hot_from_list(&test, 8).unwrap();
    let found = model.generate(&sources, 10, &Sampling::greedy(), &mut rng()).unwrap();
    let right =
        found.iter().zip(&test).filter(|(found, source)| found.iter().rev().eq(source.iter()));
    let right = right.count();
    assert!(right >= 180, "{right} of 200");
}

/// Sets all weights of `model` to those of the fixture under the prefix `at`.
fn set_all(model: &mut Seq2Seq<LstmCell<f64>>, fixture: &Fixture, at: &str) {
    for name in model.names() {
        let values: ndarray::ArrayD<f64> = fixture.get(&format!("{at}.{name}"));
        model.set(&name, values).unwrap();
    }
}

#[test]
fn twenty_training_steps_are_those_of_pytorch() {
    let fixture = Fixture::open("seq2seq");
    for (name, place, input_feeding) in
        [("feeding", AttentionPlace::After, true), ("before", AttentionPlace::Before, false)]
    {
        let mut model = Seq2Seq::<LstmCell<f64>>::builder(9, 8, START, END)
            .embedding_dim(5)
            .hidden_size(6)
            .bidirectional(true)
            .attention(AttentionScore::Additive { size: 7 })
            .attention_place(place)
            .input_feeding(input_feeding)
            .build(&mut rng())
            .unwrap();
        let mut right = model.clone();
        set_all(&mut model, &fixture, &format!("{name}.before"));
        set_all(&mut right, &fixture, &format!("{name}.after"));
        let source: Array2<f64> = fixture.get(&format!("{name}.source"));
        let source = source.mapv(|token| token as usize);
        let source = Sequences::one_hot(source.view(), 9, vec![4, 1, 6]).unwrap();
        let labels: Array2<f64> = fixture.get(&format!("{name}.labels"));
        let target = |b: usize| {
            let tokens = labels.column(b).to_vec().into_iter().filter(|&token| token >= 2.0);
            tokens.map(|token| token as usize).collect()
        };
        let batch = (source, (0..3).map(target).collect());
        let losses: Array1<f64> = fixture.get(&format!("{name}.losses"));
        let mut sgd = Sgd::new(0.2).unwrap().momentum(0.9).unwrap();
        for (step, &loss) in losses.iter().enumerate() {
            let mut grad = model.zeros_like();
            let ours = model.loss_and_grad(&batch, &mut grad, &mut rng()).unwrap();
            assert!((ours - loss).abs() < 1e-9, "{name}, step {step}: {ours} {loss}");
            sgd.step(&mut model, &grad).unwrap();
        }
        let mut worst = 0.0_f64;
        model
            .zip_mut("right", &right, &mut |_, ours, right| {
                let error = (&ours - &right).mapv(f64::abs).into_iter().fold(0.0, f64::max);
                worst = worst.max(error);
            })
            .unwrap();
        assert!(worst < 1e-9, "{name}: {worst}");
    }
}
