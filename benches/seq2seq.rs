//! The time of a training step of encoder-decoders with attention, of a beam search with one, and of the decoding
//! of one sentence with weights of each precision. `benches/peers/seq2seq.py` runs it beside PyTorch.
//!
//!     cargo bench -p recurrent-benches --bench seq2seq -- [ROUNDS] [general | feeding | additive | beam | sentence]

use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::decode::{BeamSearch, Sampling};
use recurrent::layer::AttentionScore;
use recurrent::memory::Reserve;
use recurrent::model::{AttentionPlace, ModelBuilder, Seq2Seq};
use recurrent::optim::Adam;
use recurrent::tensor::Precision;
use recurrent::train::Model;
use recurrent::{Arrays, LstmCell, Result, Sequences};

const BATCH: usize = 64;
const TIME: usize = 20;
const HIDDEN: usize = 192;
const TOKENS: usize = 4000;

type Translator = Seq2Seq<LstmCell<f32>>;

fn builder(hidden: usize) -> ModelBuilder<Translator> {
    // Without an end, every target gets the greatest length.
    let builder = Seq2Seq::builder(TOKENS, TOKENS, 0, 1).suppress_tokens(&[1]);
    builder.embedding_dim(hidden).hidden_size(hidden).attention(AttentionScore::General)
}

fn model(attention: AttentionScore, before: bool, feeding: bool) -> Result<Translator> {
    let place = if before { AttentionPlace::Before } else { AttentionPlace::After };
    let builder = builder(HIDDEN).attention(attention).attention_place(place);
    builder.input_feeding(feeding).build(&mut ChaCha8Rng::seed_from_u64(1))
}

/// Prints the times of one sentence: with weights that are packed for it, and packed before in each precision.
fn sentence(rounds: usize) -> Result<()> {
    for hidden in [HIDDEN, 512, 1024] {
        let model = builder(hidden).build(&mut ChaCha8Rng::seed_from_u64(1))?;
        let source = Sequences::one_hot_from_list(&tokens(1, TIME), TOKENS)?;
        let (greedy, mut rng) = (Sampling::greedy(), ChaCha8Rng::seed_from_u64(3));
        time(&format!("sentence {hidden}"), rounds, || {
            model.generate(&source, TIME, &greedy, &mut rng).map(drop)
        })?;
        for precision in [Precision::Full, Precision::Bf16, Precision::Int8] {
            let name = format!("sentence {hidden}, packed {precision:?}");
            time(&name, rounds, || model.workspace_with(precision).map(drop))?;
            let workspace = model.workspace_with(precision)?;
            time(&name.replace("packed", "workspace"), rounds, || {
                workspace.generate(&source, TIME, &greedy, &mut rng).map(drop)
            })?;
        }
    }
    Ok(())
}

fn tokens(batch: usize, time: usize) -> Vec<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    (0..batch).map(|_| (0..time).map(|_| rng.random_range(2..TOKENS)).collect()).collect()
}

/// Prints the shortest time of `rounds` calls, in milliseconds.
fn time(name: &str, rounds: usize, mut call: impl FnMut() -> Result<()>) -> Result<()> {
    call()?;
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let start = Instant::now();
        call()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name} {:.3}", best * 1e3);
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(5);
    if arguments.iter().any(|argument| argument == "sentence") {
        return sentence(rounds);
    }
    let case = |name: &str| {
        arguments.iter().all(|a| a.parse::<usize>().is_ok() || a == "--bench" || a == name)
    };
    // As in a `Trainer`, memory is kept between the steps.
    let _reserve = Reserve::default();
    let sources = Sequences::one_hot_from_list(&tokens(BATCH, TIME), TOKENS)?;
    // The model adds the end token.
    let batch = (sources, tokens(BATCH, TIME - 1));
    let additive = AttentionScore::Additive { size: HIDDEN };
    for (name, attention, before, feeding) in [
        ("general", AttentionScore::General, false, false),
        ("feeding", AttentionScore::General, false, true),
        ("additive", additive, true, false),
    ] {
        if !case(name) {
            continue;
        }
        let mut model = model(attention, before, feeding)?;
        let (mut adam, mut rng) = (Adam::new(1e-3)?, ChaCha8Rng::seed_from_u64(3));
        let mut grad = model.zeros_like();
        time(name, rounds, || {
            grad.fill(0.0);
            model.loss_and_grad(&batch, &mut grad, &mut rng)?;
            adam.step(&mut model, &grad)
        })?;
    }
    if !case("beam") {
        return Ok(());
    }
    let model = model(AttentionScore::General, false, true)?;
    let search = BeamSearch::new(5)?.max_length(TIME)?;
    let few = Sequences::one_hot_from_list(&tokens(8, TIME), TOKENS)?;
    time("beam", rounds, || {
        let found = model.beam(&few, &search)?;
        assert!(found.iter().all(|best| best[0].tokens.len() == TIME));
        Ok(())
    })?;
    Ok(())
}
