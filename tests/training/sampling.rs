//! Choices of tokens: the ends of every option's range, logits that are no numbers, and tokens that are
//! never chosen, by a rule and by a generator.

use ndarray::{Array1, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::{Unit, Vocabulary};
use recurrent::decode::Sampling;
use recurrent::model::{ModelBuilder, SequenceGenerator};
use recurrent::{Arrays, Error, Float, Result};

use crate::common::temporary::Folder;

type Generator = SequenceGenerator<LstmCell<f64>>;

const INF: f64 = f64::INFINITY;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(8)
}

fn warm() -> Sampling {
    Sampling::temperature(1.0).unwrap()
}

fn says<V: std::fmt::Debug>(result: Result<V>) -> String {
    result.unwrap_err().to_string()
}

fn pick<T: Float>(sampling: Sampling, logits: &[T]) -> Result<usize> {
    sampling.pick(Array1::from(logits.to_vec()).view(), &mut rng())
}

#[test]
fn options_of_a_choice_are_refused_where_they_do_nothing() {
    for value in [0.0, -0.0, -1.0, INF, -INF, f64::NAN] {
        let message = says(Sampling::temperature(value));
        assert_eq!(message, format!("temperature: expected a finite value above 0, got {value}"));
    }
    for value in [0.0, -0.1, 1.0 + f64::EPSILON, INF, f64::NAN] {
        assert_eq!(says(warm().top_p(value)), format!("top_p: expected 0 < p ≤ 1, got {value}"));
    }
    assert_eq!(says(warm().top_k(0)), "top_k: expected at least 1, got 0");
    let drawn = "expected none: a greedy choice draws nothing (Sampling::temperature), got";
    assert_eq!(says(Sampling::greedy().top_k(3)), format!("top_k: {drawn} 3"));
    assert_eq!(says(Sampling::greedy().top_p(0.5)), format!("top_p: {drawn} 0.5"));

    let three = [0.5, 0.1, 0.2];
    assert!(pick(warm().top_k(3).unwrap(), &three).unwrap() < 3);
    for k in [4, usize::MAX] {
        let message = says(pick(warm().top_k(k).unwrap(), &three));
        assert_eq!(message, format!("top_k: expected at most 3 (tokens), got {k}"));
    }
}

#[test]
fn extreme_options_choose_the_likeliest_or_any() {
    let logits = [1.0, 3.0, 2.0, 3.0];
    for temperature in [f64::MIN_POSITIVE, 5e-324, 1e-300] {
        let token = pick(Sampling::temperature(temperature).unwrap(), &logits).unwrap();
        assert!(token == 1 || token == 3, "equal logits stay equally likely");
        assert_eq!(pick(Sampling::temperature(temperature).unwrap(), &logits[..3]).unwrap(), 1);
    }
    let flat = Sampling::temperature(f64::MAX).unwrap();
    let mut rng = rng();
    let mut seen = [false; 4];
    (0..200).for_each(|_| {
        seen[flat.pick(array![1.0, 3.0, 2.0, 3.0].view(), &mut rng).unwrap()] = true;
    });
    assert_eq!(seen, [true; 4]);
    assert_eq!(pick(warm().top_p(5e-324).unwrap(), &logits).unwrap(), 1);
    assert_eq!(pick(warm().top_k(1).unwrap(), &logits).unwrap(), 1);
    assert_eq!(pick(warm().top_p(1.0).unwrap(), &[7.0]).unwrap(), 0);
}

#[test]
fn probabilities_that_underflow_are_never_drawn() {
    let mut rng = rng();
    let logits = array![-1e308, 1e308, -1e308];
    let low = array![-3e38_f32, -3e38, 0.0];
    for _ in 0..500 {
        assert_eq!(warm().pick(logits.view(), &mut rng).unwrap(), 1);
        assert_eq!(warm().pick(low.view(), &mut rng).unwrap(), 2);
        assert_eq!(warm().top_k(3).unwrap().pick(logits.view(), &mut rng).unwrap(), 1);
    }
}

#[test]
fn logits_that_are_no_numbers_are_an_error_and_draw_nothing() {
    for sampling in [Sampling::greedy(), warm()] {
        for bad in [f64::NAN, INF] {
            for place in 0..3 {
                let mut logits = [0.0; 3];
                logits[place] = bad;
                let index_of = |error| match error {
                    Error::NonFinite { index, .. } => index,
                    other => panic!("{other}"),
                };
                assert_eq!(index_of(pick(sampling, &logits).unwrap_err()), place);
                let logits = Array1::from(logits.to_vec());
                let found = sampling.pick_except(logits.view(), &[place], &mut rng());
                assert_eq!(index_of(found.unwrap_err()), place, "a suppressed one too");
            }
        }
        assert!(pick(sampling, &[f32::NAN]).is_err() && pick(sampling, &[f32::INFINITY]).is_err());
        let nothing =
            "logits: expected at least one finite value of a token that is not suppressed";
        assert_eq!(says(pick(sampling, &[-INF, -INF])), format!("{nothing}, got none"));
        assert_eq!(says(pick::<f64>(sampling, &[])), format!("{nothing}, got none"));
        assert_eq!(pick(sampling, &[-INF, -1e300, -INF]).unwrap(), 1);
    }
}

#[test]
fn suppressed_tokens_are_never_chosen_and_the_others_as_often_as_without_them() {
    let (logits, mut rng) = (array![0.4_f64, 0.3, 0.2, 0.1].mapv(f64::ln), rng());
    let mut counts = [0.0_f64; 4];
    for _ in 0..20_000 {
        counts[warm().pick_except(logits.view(), &[2, 0, 2], &mut rng).unwrap()] += 1.0 / 20_000.0;
    }
    assert_eq!((counts[0], counts[2]), (0.0, 0.0));
    assert!((counts[1] - 0.75).abs() < 0.015, "{counts:?}");
    let mut pick = |tokens: &[usize]| {
        let two = warm().top_k(2).unwrap().pick_except(logits.view(), tokens, &mut rng)?;
        assert!(!tokens.contains(&two));
        Sampling::greedy().pick_except(logits.view(), tokens, &mut rng)
    };
    assert_eq!(pick(&[0]).unwrap(), 1);
    assert_eq!(pick(&[1, 0, 3]).unwrap(), 2);
    assert!(says(pick(&[0, 1, 2, 3])).starts_with("logits: expected at least one finite value"));
    assert_eq!(says(pick(&[1, 4])), "suppress_tokens[1]: expected less than 4 (tokens), got 4");
    assert!(says(pick(&[usize::MAX])).starts_with("suppress_tokens[0]: expected less than 4"));
}

#[test]
fn a_rule_read_from_text_is_checked_as_one_that_is_made() {
    let sampling = Sampling::temperature(0.5).unwrap().top_k(3).unwrap().top_p(0.9).unwrap();
    for sampling in [sampling, Sampling::greedy(), warm()] {
        let text = serde_json::to_string(&sampling).unwrap();
        assert_eq!(serde_json::from_str::<Sampling>(&text).unwrap(), sampling);
    }
    let read = |text: &str| serde_json::from_str::<Sampling>(text).map(|_| ());
    for text in [
        r#"{"temperature":-1.0,"top_k":null,"top_p":null}"#,
        r#"{"temperature":1.0,"top_k":0,"top_p":null}"#,
        r#"{"temperature":1.0,"top_k":null,"top_p":2.0}"#,
        r#"{"temperature":null,"top_k":2,"top_p":null}"#,
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

fn words() -> Vocabulary {
    let builder = Vocabulary::builder(Unit::Word).special(&["<pad>", "<unk>", "<s>", "</s>"]);
    builder.unknown("<unk>").fixed(&["a", "b", "c"]).unwrap()
}

fn builder() -> ModelBuilder<Generator> {
    Generator::builder(7).hidden_size(5).start(2).end(3).vocabulary(words())
}

/// Returns a generator whose logits are these at every step.
fn always(builder: ModelBuilder<Generator>, logits: [f64; 7]) -> Generator {
    let mut model = builder.build(&mut rng()).unwrap();
    model.for_each_mut(&mut |name, mut array| match name {
        "head.weight" => array.fill(0.0),
        "head.bias" => array.iter_mut().zip(logits).for_each(|(to, from)| *to = from),
        _ => {}
    });
    model
}

fn say(model: &Generator, sampling: Sampling) -> Result<Vec<usize>> {
    Ok(model.generate(None, &[], 40, &sampling, &mut rng())?.remove(0))
}

#[test]
fn a_generator_never_says_its_special_tokens() {
    let model = always(builder(), [9.0, 9.0, 9.0, -9.0, 1.0, 3.0, 2.0]);
    assert_eq!(say(&model, Sampling::greedy()).unwrap(), [5; 40]);
    let text = say(&model, warm()).unwrap();
    assert!(text.iter().all(|&token| token >= 4), "{text:?}");
    let model = always(builder(), [9.0, 9.0, 9.0, 8.0, 1.0, 3.0, 2.0]);
    assert_eq!(
        say(&model, Sampling::greedy()).unwrap(),
        [0_usize; 0],
        "the end is one of the special ones"
    );

    let plain = Generator::builder(7).hidden_size(5).start(2).end(3);
    let model = always(plain, [1.0, 2.0, 9.0, -9.0, 1.0, 3.0, 2.0]);
    assert_eq!(say(&model, Sampling::greedy()).unwrap(), [5; 40], "without a vocabulary");

    let ordinary =
        Vocabulary::builder(Unit::Word).unknown("?").fixed(&["?", "a", "b", "c", "d", "e", "f"]);
    let plain = Generator::builder(7).start(1).vocabulary(ordinary.unwrap());
    let model = always(plain, [9.0, 8.0, 1.0, 2.0, 1.0, 1.0, 1.0]);
    assert_eq!(say(&model, Sampling::greedy()).unwrap(), [3; 40], "an unknown token is not said");

    let both = Generator::builder(7).start(2).end(2);
    let model = always(both, [1.0, 2.0, 9.0, 1.0, 1.0, 3.0, 2.0]);
    assert_eq!(
        say(&model, Sampling::greedy()).unwrap(),
        [0_usize; 0],
        "a start that is the end too"
    );
}

#[test]
fn a_generator_never_says_the_tokens_of_the_users_list_not_even_from_a_file() {
    let file = Folder::new("generator-suppress");
    let built = builder().suppress_tokens(&[5, 6]);
    let model = always(built, [9.0, 9.0, 9.0, -9.0, 1.0, 3.0, 2.0]);
    model.save(file.0.join("file")).unwrap();
    for model in [model, Generator::load(file.0.join("file")).unwrap()] {
        assert_eq!(say(&model, warm()).unwrap(), [4; 40]);
    }
    let model = always(builder().suppress_tokens(&[3]), [0.0, 0.0, 0.0, 9.0, 1.0, 3.0, 2.0]);
    assert_eq!(say(&model, Sampling::greedy()).unwrap(), [5; 40], "an end that is never said");

    let nothing = "logits of step 0 of text 0: expected at least one finite value of a token that is \
                   not suppressed, got none";
    let model = always(builder().suppress_tokens(&[3, 4, 5, 6]), [0.0; 7]);
    assert_eq!(says(say(&model, warm())), nothing);
    let message = says(builder().suppress_tokens(&[1, 7]).build(&mut rng()));
    assert_eq!(message, "suppress_tokens[1]: expected less than 7 (vocabulary_size), got 7");
}

#[test]
fn a_generator_names_the_step_whose_logits_are_no_numbers() {
    let mut logits = [0.0; 7];
    for (bad, shown) in [(f64::NAN, "NaN"), (INF, "inf")] {
        logits[6] = bad;
        let model = always(builder(), logits);
        let message = says(say(&model, warm()));
        let place = "logits of step 0 of text 0: expected finite values, got";
        assert_eq!(message, format!("{place} {shown} at flat index 6"));
    }
    // The output weights are finite, and the row of token 4 in the input weights is not.
    let mut model = always(builder(), [0.0, 0.0, 0.0, -9.0, 9.0, 0.0, 0.0]);
    model.for_each_mut(&mut |name, mut array| {
        if name == "recurrent.weight_ih_l0" {
            array.rows_mut().into_iter().for_each(|mut row| row[4] = f64::NAN);
        }
    });
    let message = says(say(&model, Sampling::greedy()));
    assert!(message.starts_with("logits of step 1 of text 0: expected finite values"), "{message}");
    let message = says(say(&always(builder(), [0.0; 7]), warm().top_k(8).unwrap()));
    assert_eq!(message, "top_k: expected at most 7 (tokens), got 8");
}
