//! The time of a training step of encoder-decoders with attention, and of a beam search with one.
//! `benches/peers/seq2seq.py` runs it beside PyTorch.
//!
//!     cargo bench -p recurrent-benches --bench seq2seq -- [ROUNDS] [general | feeding | additive | beam]

use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::decode::BeamSearch;
use recurrent::layer::AttentionScore;
use recurrent::memory::Reserve;
use recurrent::model::{AttentionPlace, Seq2Seq};
use recurrent::optim::Adam;
use recurrent::train::Model;
use recurrent::{Arrays, LstmCell, Result, Sequences};

const BATCH: usize = 64;
const TIME: usize = 20;
const HIDDEN: usize = 192;
const TOKENS: usize = 4000;

fn model(attention: AttentionScore, before: bool, feeding: bool) -> Result<Seq2Seq<LstmCell<f32>>> {
    let place = if before { AttentionPlace::Before } else { AttentionPlace::After };
    Seq2Seq::builder(TOKENS, TOKENS, 0, 1)
        .embedding_dim(HIDDEN)
        .hidden_size(HIDDEN)
        .attention(attention)
        .attention_place(place)
        .input_feeding(feeding)
        .build(&mut ChaCha8Rng::seed_from_u64(1))
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
    // Without an end, every hypothesis gets the greatest length.
    let model = model(AttentionScore::General, false, true)?;
    let search = BeamSearch::new(5)?.max_length(TIME)?.suppress_tokens(&[1]);
    let few = Sequences::one_hot_from_list(&tokens(8, TIME), TOKENS)?;
    time("beam", rounds, || {
        let found = model.beam(&few, &search)?;
        assert!(found.iter().all(|best| best[0].tokens.len() == TIME));
        Ok(())
    })?;
    Ok(())
}
