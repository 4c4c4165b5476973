//! From texts to answers by name, and the batches, texts and prompts that models refuse.

use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::data::{Texts, Unit, Vocabulary, Windows};
use recurrent::decode::Sampling;
use recurrent::model::{Forecaster, SequenceGenerator};
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};
use recurrent::Result;

use crate::common::bits::bits;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(3)
}

#[test]
fn a_generator_refuses_texts_and_prompts_with_its_own_start_or_end() {
    let says = |result: Result<()>| result.unwrap_err().to_string();
    let build = |words: Option<Vocabulary>| {
        let builder = SequenceGenerator::<f64>::builder(4).hidden_size(2).start(0).end(1);
        match words {
            Some(words) => builder.vocabulary(words).build(&mut rng()).unwrap(),
            None => builder.build(&mut rng()).unwrap(),
        }
    };
    let fit = |model: &mut SequenceGenerator<f64>, texts: &[&[usize]]| {
        let data = Texts::new(texts.iter().map(|text| text.to_vec()).collect(), 4).unwrap();
        let trained = Trainer::new(Adam::new(0.1).unwrap()).epochs(1).fit(model, &data, None);
        // What `learn` refuses, `measure` does too.
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
    // Without start and end they are tokens like any others.
    let mut plain = SequenceGenerator::<f64>::builder(4).hidden_size(2).build(&mut rng()).unwrap();
    fit(&mut plain, &[&[0, 2, 3, 1]]).unwrap();
}

#[test]
fn a_forecaster_refuses_windows_of_other_targets() {
    let series = Array2::from_shape_fn((20, 2), |(t, j)| (t + 10 * j) as f64);
    let windows = |horizon, target| Windows::new(1, horizon).unwrap().targets(&[target]);
    let model = Forecaster::<f64>::builder(2, &windows(2, 0)).build(&mut rng()).unwrap();
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
