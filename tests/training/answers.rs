//! Tests of predictions by name from texts, and of batches, texts and prompts that models reject.

use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::{Dataset, Source, Texts, Unit, Vocabulary, Windows};
use recurrent::decode::Sampling;
use recurrent::model::{
    Forecaster, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
};
use recurrent::optim::Adam;
use recurrent::train::{Model, Score, Trainer};
use recurrent::{Arrays, Result, Sequences};

use crate::common::bits::bits;
use crate::common::random::random;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(3)
}

#[test]
fn a_generator_refuses_texts_and_prompts_with_its_own_start_or_end() {
    let says = |result: Result<()>| result.unwrap_err().to_string();
    let build = |words: Option<Vocabulary>| {
        let builder = SequenceGenerator::<LstmCell<f64>>::builder(4).hidden_size(2).start(0).end(1);
        match words {
            Some(words) => builder.vocabulary(words).build(&mut rng()).unwrap(),
            None => builder.build(&mut rng()).unwrap(),
        }
    };
    let fit = |model: &mut SequenceGenerator<LstmCell<f64>>, texts: &[&[usize]]| {
        let data = Texts::new(texts.iter().map(|text| text.to_vec()).collect(), 4).unwrap();
        let trained = Trainer::new(Adam::new(0.1).unwrap()).epochs(1).fit(model, &data, None);
        // `measure` rejects the same batches as `learn`.
        assert_eq!(trained.is_err(), model.evaluate(&data, 2).is_err());
        trained.map(|_| ())
    };
    let mut model = build(None);
    let before = bits(&model);
    let refused = "neither the start nor the end token, which the generator adds itself";
    let message = says(fit(&mut model, &[&[2, 3, 1]]));
    let got = "1 (end) in the text [2, 3, 1]";
    assert_eq!(message, format!("epoch 0, step 0: texts[0][2]: expected {refused}, got {got}"));
    let message = says(fit(&mut model, &[&[0, 2, 3]]));
    assert!(message.contains("texts[0][0]: expected neither"), "{message}");
    assert_eq!(bits(&model), before);
    let words = Vocabulary::builder(Unit::Word).fixed(&["<s>", "<e>", "a", "dog"]).unwrap();
    let message = says(fit(&mut build(Some(words)), &[&[0, 2, 3, 1]]));
    assert!(message.ends_with("got 0 (start) in the text \"<s> a dog <e>\""), "{message}");
    let greedy = Sampling::greedy();
    let said = model.generate(None, &[2, 0], 3, &greedy, &mut rng()).map(|_| ());
    let message = says(said);
    assert!(
        message.starts_with(&format!("prompt[1]: expected {refused}, got 0 (start)")),
        "{message}"
    );
    let said = says(model.generate(None, &[9], 3, &greedy, &mut rng()).map(|_| ()));
    assert_eq!(said, "prompt[0]: expected less than 4 (vocabulary_size), got 9");
    // Without start and end markers these are ordinary tokens.
    let mut plain =
        SequenceGenerator::<LstmCell<f64>>::builder(4).hidden_size(2).build(&mut rng()).unwrap();
    fit(&mut plain, &[&[0, 2, 3, 1]]).unwrap();
}

#[test]
fn a_forecaster_refuses_windows_of_other_targets() {
    let series = Array2::from_shape_fn((20, 2), |(t, j)| (t + 10 * j) as f64);
    let windows = |horizon, target| Windows::new(1, horizon).unwrap().targets(&[target]);
    let model = Forecaster::<LstmCell<f64>>::builder(2, &windows(2, 0)).build(&mut rng()).unwrap();
    let evaluate = |windows: Windows| {
        let data = windows.cut(&series).unwrap();
        model.evaluate(&data, 4).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(evaluate(windows(2, 0)), Ok(()));
    let expected = "targets: expected [0], the target features of the model, got [1]";
    assert_eq!(evaluate(windows(2, 1)), Err(expected.to_owned()));
    let expected = "y: expected [4, 2] (batch, horizon · targets), got [4, 3]";
    assert_eq!(evaluate(windows(3, 0)), Err(expected.to_owned()));
}

#[test]
fn a_model_that_keeps_its_vocabulary_answers_texts() {
    let words = || Vocabulary::builder(Unit::Word).fixed(&["a", "b", "c", "d"]).unwrap();
    let classifier = || SequenceClassifier::<LstmCell<f64>>::builder(4, 3).hidden_size(3);
    let model = classifier().vocabulary(words()).labels(&["x", "y", "z"]);
    let model = model.build(&mut rng()).unwrap();
    let x = Sequences::one_hot_from_list(&[vec![0, 3], vec![2]], 4).unwrap();
    assert_eq!(model.encode_texts(&["a d", "c"]).unwrap(), x);
    let said = model.predict_texts(&["a d", "c"]).unwrap();
    assert_eq!(said, model.predict_labels(&x).unwrap());
    let (p, all) = (model.probabilities(&x).unwrap(), model.top_k(&x, 3).unwrap());
    for (b, best) in all.iter().enumerate() {
        assert_eq!(best[0].0, said[b]);
        assert!(best.is_sorted_by(|a, b| a.1 >= b.1));
        for (name, value) in best {
            let class = model.labels().iter().position(|label| label == name).unwrap();
            assert_eq!(*value, p[[b, class]]);
        }
    }
    assert_eq!(model.top_k(&x, 1).unwrap()[1], all[1][..1]);

    fn says<V: std::fmt::Debug>(result: Result<V>) -> String {
        result.unwrap_err().to_string()
    }
    assert_eq!(says(model.top_k(&x, 4)), "k: expected from 1 to 3 (classes), got 4");
    assert_eq!(says(model.top_k(&x, 0)), "k: expected from 1 to 3 (classes), got 0");
    assert_eq!(
        says(model.predict_texts(&["a", "a e"])),
        "texts[1]: expected tokens of the vocabulary, got e"
    );
    assert_eq!(
        says(model.predict_texts(&["a", " "])),
        "texts[1]: expected at least one token, got \" \""
    );
    assert_eq!(says(model.predict_texts::<&str>(&[])), "texts: expected at least 1, got 0");
    let mute = classifier().labels(&["x", "y", "z"]).build(&mut rng()).unwrap();
    let given = "given to the model's builder, got none";
    assert_eq!(
        says(mute.predict_texts(&["a"])),
        format!("vocabulary: expected the vocabulary of the texts, {given}")
    );
    let nameless = classifier().vocabulary(words()).build(&mut rng()).unwrap();
    let names = format!("labels: expected the names of the classes, {given}");
    assert_eq!(says(nameless.predict_texts(&["a"])), names);
    assert_eq!(says(nameless.top_k(&x, 1)), names);

    let builder =
        SequenceTagger::<LstmCell<f64>>::builder(4, 2).vocabulary(words()).labels(&["n", "v"]);
    let tagger = builder.build(&mut rng()).unwrap();
    let tags = tagger.predict_texts(&["a d", "c"]).unwrap();
    let tokens = |b: usize| tags[b].iter().map(|(token, _)| &token[..]).collect::<Vec<_>>();
    assert_eq!([tokens(0), tokens(1)], [vec!["a", "d"], vec!["c"]]);
    let names = |b: usize| tags[b].iter().map(|(_, name)| *name).collect::<Vec<_>>();
    assert_eq!(vec![names(0), names(1)], tagger.predict_labels(&x).unwrap());
    let nameless =
        SequenceTagger::<LstmCell<f64>>::builder(4, 2).vocabulary(words()).build(&mut rng());
    assert!(says(nameless.unwrap().predict_texts(&["a"])).starts_with("labels: expected"));
}

#[test]
fn batch_first_values_are_pointed_to_the_call_that_takes_them() {
    let values = random((3, 5, 2), 1); // 3 sequences of 5 steps, the batch first
    let hint = "batch; x is [time, batch, features], and Sequences::from_batch_first takes \
                [batch, time, features]";
    let error = Sequences::new(values.clone(), vec![5, 4, 5]).unwrap_err().to_string();
    assert_eq!(error, format!("lengths: expected [5] ({hint}), got [3]"));
    let x = Sequences::full(values.clone()).unwrap();
    let says = |result: Result<f64>| result.unwrap_err().to_string();
    let classifier = SequenceClassifier::<LstmCell<f64>>::builder(2, 2).build(&mut rng()).unwrap();
    let mut grad = classifier.zeros_like();
    let learned = classifier.loss_and_grad(&(x.clone(), vec![0, 1, 0]), &mut grad, &mut rng());
    assert_eq!(says(learned), format!("classes: expected [5] ({hint}), got [3]"));
    let regressor = SequenceRegressor::<LstmCell<f64>>::builder(2, 1).build(&mut rng()).unwrap();
    let mut grad = regressor.zeros_like();
    let learned = regressor.loss_and_grad(&(x, Array2::zeros((3, 1))), &mut grad, &mut rng());
    assert_eq!(says(learned), format!("y: expected [5] ({hint}), got [3]"));
    let x = Sequences::from_batch_first(values.view(), vec![5, 4, 5]).unwrap();
    assert!(regressor.loss_and_grad(&(x, Array2::zeros((3, 1))), &mut grad, &mut rng()).is_ok());
}

#[test]
fn a_regressor_learns_from_plain_numbers() {
    let sequences = (1..9).map(|length| Array2::from_elem((length, 1), 0.5)).collect();
    let lengths: Vec<f64> = (1..9).map(|length| f64::from(length) / 8.0).collect();
    let data = Dataset::new(sequences, lengths).unwrap();
    let builder = SequenceRegressor::<LstmCell<f64>>::builder(1, 1).hidden_size(4);
    let mut model = builder.build(&mut rng()).unwrap();
    let before = model.evaluate(&data, 8).unwrap().rmse();
    let trainer = Trainer::new(Adam::new(0.02).unwrap()).epochs(60);
    trainer.fit(&mut model, &data, None).unwrap();
    assert!(model.evaluate(&data, 8).unwrap().rmse() < before / 4.0);
}

#[test]
fn the_likelihoods_of_texts_are_what_the_perplexity_is_the_mean_of() {
    for start in [Some(0), None] {
        let builder = SequenceGenerator::<LstmCell<f64>>::builder(5).hidden_size(3).end(1);
        let builder = if let Some(token) = start { builder.start(token) } else { builder };
        let model = builder.build(&mut rng()).unwrap();
        let texts = Texts::new(vec![vec![2, 3, 4], vec![4], vec![3, 2]], 5).unwrap();
        let log_p = model.log_likelihoods(&texts.batch(&[0, 1, 2]).unwrap()).unwrap();
        for (i, &of_batch) in log_p.iter().enumerate() {
            let alone = model.log_likelihoods(&texts.batch(&[i]).unwrap()).unwrap();
            assert!((alone[0] - of_batch).abs() < 1e-12, "text {i}");
        }
        // Each token is predicted, the end too; the first one only from a start.
        let predicted = if start.is_some() { 6 + 3 } else { 6 };
        let mean = model.evaluate(&texts, 3).unwrap().loss();
        let sum: f64 = log_p.iter().sum();
        assert!((sum + mean * f64::from(predicted)).abs() < 1e-12);
    }
}
