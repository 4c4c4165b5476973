//! Tests of words from characters.

use ndarray::{Array3, Axis, array, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::check::GradientCheck;
use recurrent::data::{Dataset, Source, Unit, Vocabulary};
use recurrent::layer::Pooling;
use recurrent::layer::{
    CharacterEncoder, CharacterEncoding, Concat, Conv1d, Embedding, Heads, Layer,
};
use recurrent::model::{Head, ModelBuilder, SequenceClassifier, SequenceRegressor, SequenceTagger};
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};
use recurrent::{Arrays, Lstm, Result, Sequences};

use crate::common::bits::bits;
use crate::common::distance::distance;
use crate::common::random::random;
use crate::common::temporary::File;

type Tagger = SequenceTagger<LstmCell<f64>>;

const KINDS: [CharacterEncoding; 3] = [
    CharacterEncoding::Lstm { hidden_size: 3 },
    CharacterEncoding::Conv { out_channels: 5, kernel_size: 3 },
    CharacterEncoding::Conv { out_channels: 4, kernel_size: 2 },
];

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn says<V>(result: Result<V>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

/// The letters of each word of three texts; one word is empty.
fn letters() -> [Vec<Vec<usize>>; 3] {
    [vec![vec![1, 2, 3, 4, 1], vec![6], vec![2, 2]], vec![vec![]], vec![vec![5, 0], vec![1, 2, 3]]]
}

fn words() -> Sequences<f64> {
    let tokens = [vec![3, 1, 0], vec![4], vec![2, 2]];
    let x = Sequences::one_hot_from_list(&tokens, 5).unwrap();
    x.with_characters(&letters(), 7).unwrap()
}

fn encoder(kind: CharacterEncoding) -> CharacterEncoder<f64> {
    CharacterEncoder::new(7, 3, kind, &mut rng(1)).unwrap()
}

#[test]
fn an_encoding_is_what_its_layers_compute_for_the_word() {
    let x = words();
    for kind in KINDS {
        let encoder = encoder(kind);
        let y = encoder.forward(&x).unwrap();
        assert_eq!(y.values().dim(), (3, 3, encoder.output_size()));
        let mut parts = std::collections::HashMap::new();
        encoder.for_each(&mut |name, array| {
            parts.insert(name.to_owned(), array.to_owned());
        });
        let weight = parts["embedding.weight"].clone().into_dimensionality().unwrap();
        let embedding = Embedding::from_weight(weight).unwrap();
        for (b, text) in letters().iter().enumerate() {
            for (t, word) in text.iter().enumerate() {
                let got = y.values().slice(s![t, b, ..]);
                if word.is_empty() {
                    assert!(got.iter().all(|&value| value == 0.0));
                    continue;
                }
                let one = Sequences::one_hot_from_list(&[word], 7).unwrap();
                let e = embedding.forward(&one).unwrap();
                let expected: Vec<f64> = match kind {
                    CharacterEncoding::Lstm { hidden_size } => {
                        let builder = Lstm::builder(3, hidden_size).bidirectional(true);
                        let mut lstm = builder.build(&mut rng(2)).unwrap();
                        for name in lstm.names() {
                            lstm.set(&name, parts[&format!("lstm.{name}")].view()).unwrap();
                        }
                        // The state h after the last step of each direction, [layers · directions, batch, h].
                        let (h, last) = (lstm.forward(&e, None).unwrap(), word.len() - 1);
                        let h = h.0.into_values();
                        let forward = h.slice(s![last, 0, ..hidden_size]).to_vec();
                        [forward, h.slice(s![0, 0, hidden_size..]).to_vec()].concat()
                    }
                    CharacterEncoding::Conv { out_channels, kernel_size } => {
                        let conv = Conv1d::new(3, out_channels, kernel_size, &mut rng(2));
                        let mut conv = conv.unwrap();
                        for name in conv.names() {
                            conv.set(&name, parts[&format!("conv.{name}")].view()).unwrap();
                        }
                        let y = conv.forward(&e).unwrap().into_values();
                        let most =
                            |j| y.slice(s![.., 0, j]).iter().copied().fold(f64::MIN, f64::max);
                        (0..out_channels).map(most).collect()
                    }
                    _ => unreachable!("the kinds above"),
                };
                assert_eq!(got.to_vec(), expected, "word {t} of text {b}");
            }
        }
        assert!(y.values().slice(s![1.., 1, ..]).iter().all(|&value| value == 0.0), "padding");
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for kind in KINDS {
        let layer =
            (Heads::new(Embedding::new(5, 2, &mut rng(3)).unwrap(), encoder(kind)), Concat::new());
        let x = words();
        let (y, tape) = layer.forward_train(&x, &mut rng(4)).unwrap();
        assert_eq!(y, layer.forward(&x).unwrap());
        let weights = random(y.values().dim(), 5);
        let mut grad = layer.zeros_like();
        layer.backward(tape, &y.with_values(weights.clone()).unwrap(), &mut grad).unwrap();
        let loss = |layer: &(Heads<Embedding<f64>, CharacterEncoder<f64>>, Concat<f64>)| {
            let y = layer.forward(&x)?.into_values();
            let real = y.indexed_iter().filter(|((t, b, _), _)| *t < x.lengths()[*b]);
            Ok(real.map(|(place, y)| y * weights[place]).sum::<f64>())
        };
        let report = GradientCheck::default().run(&layer, &grad, loss).unwrap();
        assert!(report.relative_error <= 1e-6, "{kind:?}: {report}");
    }
}

#[test]
fn batching_and_padding_change_no_bit() {
    let x = words();
    for kind in KINDS {
        let encoder = encoder(kind);
        let all = encoder.forward(&x).unwrap();
        for (b, text) in letters().iter().enumerate() {
            let tokens = vec![0; text.len()];
            let one = Sequences::one_hot_from_list(&[tokens], 5).unwrap();
            let one = one.with_characters(std::slice::from_ref(text), 7).unwrap();
            let part = all.values().index_axis(Axis(1), b).slice(s![..text.len(), ..]).to_owned();
            let alone = encoder.forward(&one).unwrap().into_values();
            assert_eq!(bits(&alone.index_axis(Axis(1), 0).to_owned()), bits(&part));
        }
    }
}

#[test]
fn a_batch_of_empty_words_has_zeros_and_no_gradient() {
    let x = Sequences::<f64>::one_hot_from_list(&[vec![1, 2]], 5).unwrap();
    let x = x.with_characters(&[vec![vec![], vec![]]], 7).unwrap();
    for kind in KINDS {
        let encoder = encoder(kind);
        let (y, tape) = encoder.forward_train(&x, &mut rng(1)).unwrap();
        assert!(y.values().iter().all(|&value| value == 0.0));
        let mut grad = encoder.zeros_like();
        encoder.backward(tape, &y, &mut grad).unwrap();
        assert_eq!(bits(&grad), bits(&encoder.zeros_like()));
    }
}

#[test]
fn characters_that_do_not_fit_are_refused() {
    let x = || Sequences::<f64>::one_hot_from_list(&[vec![1, 2], vec![3]], 5).unwrap();
    let with = |letters: &[Vec<Vec<usize>>], size| says(x().with_characters(letters, size));
    let good = [vec![vec![1], vec![2]], vec![vec![]]];
    assert_eq!(with(&good[..1], 7), "characters: expected [2] (batch), got [1]");
    assert_eq!(with(&good, 0), "vocabulary_size: expected at least 1, got 0");
    let short = [vec![vec![1]], vec![vec![]]];
    assert_eq!(with(&short, 7), "characters[0]: expected [2] (time), got [1]");
    let expected = "characters[0][1][0]: expected less than 2 (vocabulary_size), got 2";
    assert_eq!(with(&good, 2), expected);
    let encoder = encoder(KINDS[0]);
    assert_eq!(
        says(encoder.forward(&x())),
        "x: expected tokens with characters (Sequences::with_characters), got none"
    );
    let other = x().with_characters(&good, 9).unwrap();
    assert_eq!(
        says(encoder.forward(&other)),
        "characters of x: expected [7] (vocabulary_size), got [9]"
    );
    let (_, tape) = encoder.forward_train(&words(), &mut rng(1)).unwrap();
    let wide = Sequences::full(Array3::zeros((3, 3, 2))).unwrap();
    let error = says(encoder.backward(tape, &wide, &mut encoder.zeros_like()));
    assert_eq!(error, "d_y: expected [3, 3, 6] (time, batch, features), got [3, 3, 2]");
    for (size, kind) in [
        (0, KINDS[0]),
        (4, CharacterEncoding::Lstm { hidden_size: 0 }),
        (4, CharacterEncoding::Conv { out_channels: 0, kernel_size: 2 }),
        (4, CharacterEncoding::Conv { out_channels: 2, kernel_size: 0 }),
    ] {
        assert!(CharacterEncoder::<f64>::new(size, 3, kind, &mut rng(1)).is_err());
    }
    assert!(CharacterEncoder::<f64>::new(4, 0, KINDS[0], &mut rng(1)).is_err());
}

#[test]
fn a_data_set_carries_characters_into_its_batches() {
    let tokens = vec![vec![3, 1, 0], vec![4], vec![2, 2]];
    let tags = vec![vec![0, 1, 1], vec![0], vec![1, 0]];
    let data = || Dataset::<f64, _>::from_tokens(tokens.clone(), 5, tags.clone()).unwrap();
    let spelled = data().with_characters(letters().to_vec(), 7).unwrap();
    assert_eq!(spelled.all().unwrap().0, words());
    assert_ne!(data().all().unwrap().0, words());
    let part = spelled.select(&[2, 0]).unwrap();
    assert_eq!(part.batch(&[1, 0]).unwrap().0, spelled.batch(&[0, 2]).unwrap().0);
    let error = says(data().with_characters(letters()[..2].to_vec(), 7));
    assert_eq!(error, "characters: expected [3] (sequences), got [2]");
    let error = says(data().with_characters(letters().to_vec(), 6));
    assert_eq!(error, "characters[0][1][0]: expected less than 6 (vocabulary_size), got 6");
    let values = Dataset::new(vec![array![[1.0]]], vec![0]).unwrap();
    let error = says(values.with_characters(vec![vec![vec![0]]], 1));
    assert_eq!(error, "characters: expected none: values have no characters, got some");
}

const NAMES: [&str; 2] = ["O", "B-NAME"];

fn vocabularies() -> (Vocabulary, Vocabulary) {
    let words = Vocabulary::builder(Unit::Word).lowercase(true).special(&["<unk>"]);
    let letters = Vocabulary::builder(Unit::Character).special(&["<unk>"]).unknown("<unk>");
    let texts = ["the cat sat", "Anna SAT"];
    (words.unknown("<unk>").fit(texts).unwrap(), letters.fit(texts).unwrap())
}

fn builder(kind: CharacterEncoding) -> ModelBuilder<Tagger> {
    let (words, letters) = vocabularies();
    Tagger::builder(words.len(), 2)
        .embedding_dim(3)
        .hidden_size(4)
        .vocabulary(words)
        .labels(&NAMES)
        .characters(letters, 3, kind)
}

/// Compares the gradients of a tagger with finite differences.
fn check_gradients(model: &Tagger, kind: CharacterEncoding) {
    let x = model.encode_texts(&["the Cat sat", "Anna"]).unwrap();
    let batch = (x, array![[0, 1], [1, 9], [0, 9]]);
    let mut grad = model.zeros_like();
    model.loss_and_grad(&batch, &mut grad, &mut rng(2)).unwrap();
    let loss = |m: &Tagger| m.loss_and_grad(&batch, &mut m.zeros_like(), &mut rng(2));
    let report = GradientCheck::default().run(model, &grad, loss).unwrap();
    assert!(report.relative_error <= 1e-6, "{kind:?}: {report}");
}

#[test]
fn gradients_of_a_tagger_with_characters_agree_with_finite_differences() {
    for (kind, head) in KINDS.into_iter().zip([Head::Crf, Head::Softmax, Head::Crf]) {
        let model = builder(kind).head(head).dropout(0.2).build(&mut rng(1)).unwrap();
        check_gradients(&model, kind);
    }
}

#[test]
fn gradients_with_dropout_of_the_input_and_of_words_agree_with_finite_differences() {
    for kind in KINDS {
        let builder = builder(kind).head(Head::Crf).input_dropout(0.3).word_dropout(0.4);
        let model = builder.build(&mut rng(1)).unwrap();
        check_gradients(&model, kind);
    }
}

#[test]
fn word_dropout_puts_the_unknown_token_into_the_place_of_words_but_keeps_their_characters() {
    let plain = builder(KINDS[0]).build(&mut rng(1)).unwrap();
    let almost_all = 1.0 - 1e-12;
    let model = builder(KINDS[0]).word_dropout(almost_all).build(&mut rng(1)).unwrap();
    assert_eq!(bits(&model), bits(&plain));
    assert_ne!(model.options(), plain.options());
    let x = model.encode_texts(&["the Cat sat", "Anna"]).unwrap();
    let unknown = Sequences::one_hot_from_list(&[vec![0; 3], vec![0]], x.features()).unwrap();
    let letters = model.character_vocabulary().unwrap();
    let spelled = [["the", "Cat", "sat"].as_slice(), &["Anna"]];
    let spelled = spelled.map(|words| letters.characters(words).unwrap());
    let unknown = unknown.with_characters(&spelled, letters.len()).unwrap();
    let tags = array![[0, 1], [1, 9], [0, 9]];
    let gradient = |model: &Tagger, x: &Sequences<f64>| {
        let mut grad = model.zeros_like();
        let loss = model.loss_and_grad(&(x.clone(), tags.clone()), &mut grad, &mut rng(2)).unwrap();
        (loss.to_bits(), bits(&grad))
    };
    assert_eq!(gradient(&model, &x), gradient(&plain, &unknown));
    assert_ne!(gradient(&model, &x), gradient(&plain, &x));
    let p = |model: &Tagger| model.probabilities(&x).unwrap().into_values();
    assert_eq!(distance(&p(&model), &p(&plain)), 0.0, "in use there is no dropout");
}

#[test]
fn dropout_of_the_input_that_cannot_act_is_refused() {
    let build = |b: ModelBuilder<Tagger>| says(b.build(&mut rng(1)));
    let expected = "input_dropout: expected 0 ≤ p < 1, got 1";
    assert_eq!(build(builder(KINDS[0]).input_dropout(1.0)), expected);
    let expected = "word_dropout: expected 0 ≤ p < 1, got -0.5";
    assert_eq!(build(builder(KINDS[0]).word_dropout(-0.5)), expected);
    let expected =
        "word_dropout: expected 0 without a vocabulary that has an unknown token, got 0.1";
    assert_eq!(build(Tagger::builder(5, 2).embedding_dim(3).word_dropout(0.1)), expected);
}

#[test]
fn words_and_texts_are_encoded_with_the_characters_before_lowercasing() {
    let model = builder(KINDS[0]).build(&mut rng(1)).unwrap();
    let x = model.encode_texts(&["the Anna", "xyz"]).unwrap();
    let letters = model.character_vocabulary().unwrap();
    let (characters, size) = x.characters().unwrap();
    assert_eq!(size, letters.len());
    assert_eq!(characters[[1, 0]], letters.encode("Anna").unwrap());
    assert_eq!(characters[[0, 1]], vec![0, 0, 0], "unknown letters");
    assert_eq!(characters[[1, 1]], Vec::<usize>::new(), "padding");
    assert_eq!(model.encode_words(&[vec!["the", "Anna"], vec!["xyz"]]).unwrap(), x);
    assert_ne!(model.encode_texts(&["the anna", "xyz"]).unwrap(), x);
    // A word without characters is possible where words are given.
    let x = model.encode_words(&[["the", ""]]).unwrap();
    assert_eq!(model.predict(&x).unwrap()[0].len(), 2);
}

#[test]
fn files_keep_the_encoder_and_its_vocabulary() {
    for kind in KINDS {
        let model = builder(kind).head(Head::Crf).build(&mut rng(1)).unwrap();
        let file = File::new("characters.safetensors");
        model.save(&file.0).unwrap();
        let again = Tagger::load(&file.0).unwrap();
        assert_eq!((again.names(), bits(&again)), (model.names(), bits(&model)));
        assert!(again.names().contains(&"characters.embedding.weight".to_owned()));
        assert_eq!(again.character_vocabulary(), model.character_vocabulary());
        let texts = ["the Anna sat", "Zoë"];
        let (a, b) = (again.predict_texts(&texts).unwrap(), model.predict_texts(&texts).unwrap());
        assert_eq!(a, b);
        let x = model.encode_texts(&texts).unwrap();
        let p = |model: &Tagger| model.probabilities(&x).unwrap().into_values();
        assert_eq!(distance(&p(&again), &p(&model)), 0.0);
    }
}

#[test]
fn a_classifier_and_a_regressor_read_characters() {
    for kind in KINDS {
        let (words, letters) = vocabularies();
        let builder = SequenceClassifier::<LstmCell<f64>>::builder(words.len(), 2)
            .embedding_dim(3)
            .hidden_size(4)
            .bidirectional(true)
            .pooling(Pooling::Attention)
            .characters(letters.clone(), 3, kind)
            .vocabulary(words.clone())
            .labels(&["no", "yes"]);
        let model = builder.build(&mut rng(1)).unwrap();
        let texts = ["the Cat sat", "Anna"];
        let x = model.encode_texts(&texts).unwrap();
        assert_eq!(x.characters().unwrap().1, model.character_vocabulary().unwrap().len());
        assert_eq!(model.attention_weights(&x).unwrap().row(1).to_vec()[1], 0.0, "padding");

        let batch = (x, vec![0, 1]);
        let mut grad = model.zeros_like();
        model.loss_and_grad(&batch, &mut grad, &mut rng(2)).unwrap();
        let loss =
            |m: &SequenceClassifier<_>| m.loss_and_grad(&batch, &mut m.zeros_like(), &mut rng(2));
        let report = GradientCheck::default().run(&model, &grad, loss).unwrap();
        assert!(report.relative_error <= 1e-6, "{kind:?}: {report}");

        let file = File::new("characters_classifier.safetensors");
        model.save(&file.0).unwrap();
        let again = SequenceClassifier::<LstmCell<f64>>::load(&file.0).unwrap();
        assert_eq!(bits(&again), bits(&model));
        assert_eq!(again.predict_texts(&texts).unwrap(), model.predict_texts(&texts).unwrap());

        let builder = SequenceRegressor::<LstmCell<f64>>::builder(words.len(), 1).embedding_dim(3);
        let builder = builder.characters(letters, 3, kind).vocabulary(words);
        let model = builder.build(&mut rng(1)).unwrap();
        let (a, b) = (model.encode_texts(&["xyz"]).unwrap(), model.encode_texts(&["xy"]).unwrap());
        assert_eq!(a.tokens(), b.tokens(), "both are unknown");
        assert_eq!(model.predict(&a).unwrap().dim(), (1, 1));
    }
}

#[test]
fn options_of_characters_that_cannot_act_are_refused() {
    let (words, letters) = vocabularies();
    let base = || Tagger::builder(words.len(), 2).hidden_size(4);
    let build = |b: ModelBuilder<Tagger>| says(b.build(&mut rng(1)));
    assert_eq!(
        build(base().characters(letters.clone(), 3, KINDS[0])),
        "characters: expected none: they are read beside an embedding (embedding_dim), got 3"
    );
    let base = || base().embedding_dim(2);
    assert_eq!(
        build(base().characters(words.clone(), 3, KINDS[0])),
        "vocabulary: expected a vocabulary of characters, got Word"
    );
    let zero = CharacterEncoding::Lstm { hidden_size: 0 };
    assert!(build(base().characters(letters.clone(), 3, zero)).contains("characters, "));
    let model = base().characters(letters, 3, KINDS[0]).build(&mut rng(1)).unwrap();
    assert_eq!(
        says(model.stream(1)),
        "characters: expected none: a stream reads tokens without their characters, got some"
    );
    let plain = Sequences::one_hot_from_list(&[vec![1]], words.len()).unwrap();
    assert!(says(model.predict(&plain)).starts_with("x: expected tokens with characters"));
    let other = base().build(&mut rng(1)).unwrap();
    assert_ne!(model.options(), other.options());
}

/// Returns texts of random words, of which those that begin with a capital are names. No word of one seed
/// occurs with another.
fn texts(count: usize, seed: u64) -> (Vec<Vec<String>>, Vec<Vec<usize>>) {
    let mut rng = rng(seed);
    let mut word = |name: bool| -> String {
        let first = if name { b'A' } else { b'a' };
        let tail = (0..rng.random_range(3..7)).map(|_| b'a' + rng.random_range(0..26));
        let letters = [first + (seed % 2) as u8].into_iter().chain(tail.collect::<Vec<_>>());
        letters.map(char::from).collect()
    };
    let tags: Vec<Vec<usize>> =
        (0..count).map(|i| (0..3 + i % 3).map(|t| (i / (t + 1)) % 2).collect()).collect();
    let words = tags.iter().map(|tags| tags.iter().map(|&tag| word(tag == 1)).collect()).collect();
    (words, tags)
}

#[test]
fn names_that_were_never_seen_are_found_by_their_characters() {
    let ((train, train_tags), (test, test_tags)) = (texts(60, 1), texts(60, 3));
    let words = Vocabulary::builder(Unit::Word).special(&["<unk>"]).unknown("<unk>");
    let words = words.fit_tokens(&train).unwrap();
    let letters = Vocabulary::builder(Unit::Character).special(&["<unk>"]).unknown("<unk>");
    let letters = letters.fit(train.iter().flatten()).unwrap();
    let data = |texts: &[Vec<String>], tags: Vec<Vec<usize>>| {
        let tokens = texts.iter().map(|words_of| words.encode_tokens(words_of).unwrap()).collect();
        let characters = texts.iter().map(|words_of| letters.characters(words_of).unwrap());
        let data = Dataset::<f64, _>::from_tokens(tokens, words.len(), tags).unwrap();
        data.with_characters(characters.collect(), letters.len()).unwrap()
    };
    let (train, test) = (data(&train, train_tags), data(&test, test_tags));
    let (x, _) = test.batch(&(0..60).collect::<Vec<_>>()).unwrap();
    assert!(x.tokens().unwrap().iter().all(|&token| token == 0 || token == words.len()));
    let accuracy = |characters: bool| {
        let builder = Tagger::builder(words.len(), 2).embedding_dim(6).hidden_size(6);
        let builder = if characters {
            builder.characters(letters.clone(), 5, CharacterEncoding::Lstm { hidden_size: 5 })
        } else {
            builder
        };
        let mut model = builder.build(&mut rng(5)).unwrap();
        let trainer = Trainer::new(Adam::new(0.02).unwrap()).epochs(12).batch_size(10);
        trainer.fit(&mut model, &train, None).unwrap();
        model.evaluate(&test, 20).unwrap().accuracy()
    };
    let (with, without) = (accuracy(true), accuracy(false));
    assert!(with > 0.95 && without < 0.8, "with {with}, without {without}");
}

#[test]
fn a_batch_with_other_values_has_no_characters() {
    let x = words();
    let (characters, size) = x.characters().unwrap();
    assert_eq!((characters.dim(), size), ((3, 3), 7));
    assert_eq!(characters[[2, 0]], [2, 2]);
    assert!(x.with_values(Array3::zeros((3, 3, 1))).unwrap().characters().is_none());
}
