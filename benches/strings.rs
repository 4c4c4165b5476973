//! Copies and reverses random strings of up to 20 letters by an encoder-decoder, with and without
//! attention: the share of strings that are exact, after STEPS (by default 3,000) training steps of 64 strings.
//!
//!     cargo bench -p recurrent-benches --bench strings -- [STEPS]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::decode::Sampling;
use recurrent::layer::AttentionScore;
use recurrent::model::{AttentionPlace, Seq2Seq};
use recurrent::optim::{Adam, clip_global_norm};
use recurrent::train::Model;
use recurrent::{Arrays, GruCell, Result, Sequences};

const BATCH: usize = 64;
const LONGEST: usize = 20;
/// Start, end and 26 letters.
const TOKENS: usize = 28;

fn strings(count: usize, shortest: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let letters = |rng: &mut ChaCha8Rng| {
        let length = rng.random_range(shortest..=LONGEST);
        (0..length).map(|_| rng.random_range(2..TOKENS)).collect()
    };
    (0..count).map(|_| letters(rng)).collect()
}

fn targets(sources: &[Vec<usize>], reverse: bool) -> Vec<Vec<usize>> {
    let of = |source: &Vec<usize>| match reverse {
        true => source.iter().rev().copied().collect(),
        false => source.clone(),
    };
    sources.iter().map(of).collect()
}

/// Returns the share of exact results.
fn exact(model: &Seq2Seq<GruCell<f32>>, sources: &[Vec<usize>], reverse: bool) -> Result<f64> {
    let x = Sequences::one_hot_from_list(sources, TOKENS)?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let found = model.generate(&x, LONGEST + 5, &Sampling::greedy(), &mut rng)?;
    let right =
        found.iter().zip(targets(sources, reverse)).filter(|(found, right)| *found == right);
    Ok(right.count() as f64 / sources.len() as f64)
}

fn main() -> Result<()> {
    let steps = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let steps: usize = steps.unwrap_or(3000);
    println!("| task | attention | loss | exact, 1 to 20 letters | exact, 20 letters |");
    println!("|---|---|---:|---:|---:|");
    for (task, reverse) in [("copy", false), ("reverse", true)] {
        for attention in [Some(AttentionScore::Additive { size: 128 }), None] {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let builder = Seq2Seq::<GruCell<f32>>::builder(TOKENS, TOKENS, 0, 1)
                .embedding_dim(64)
                .hidden_size(128)
                .bidirectional(true);
            let builder = match attention {
                Some(score) => builder.attention(score).attention_place(AttentionPlace::Before),
                None => builder,
            };
            let mut model = builder.build(&mut rng)?;
            let (mut adam, mut grad) = (Adam::new(2e-3)?, model.zeros_like());
            let mut last = 0.0;
            for step in 0..steps {
                // Falls to a tenth over the last half.
                let progress = (2.0 * step as f64 / steps as f64 - 1.0).max(0.0);
                adam.set_learning_rate(2e-3 * (1.0 - 0.9 * progress))?;
                let sources = strings(BATCH, 1, &mut rng);
                let x = Sequences::one_hot_from_list(&sources, TOKENS)?;
                let batch = (x, targets(&sources, reverse));
                grad.fill(0.0);
                last = model.loss_and_grad(&batch, &mut grad, &mut rng)?;
                clip_global_norm(&mut grad, 1.0)?;
                adam.step(&mut model, &grad)?;
            }
            let mut test = ChaCha8Rng::seed_from_u64(99);
            let (all, long) = (strings(1000, 1, &mut test), strings(1000, LONGEST, &mut test));
            let shown = if attention.is_some() { "additive" } else { "none" };
            let (all, long) = (exact(&model, &all, reverse)?, exact(&model, &long, reverse)?);
            println!("| {task} | {shown} | {last:.4} | {all:.3} | {long:.3} |");
        }
    }
    Ok(())
}
