//! Decoders: searches, sampling and CTC.

use ndarray::Array2;
use recurrent::decode::ctc::{Greedy, PrefixBeam, PrefixScorer, PrefixSearch, align, greedy};
use recurrent::decode::{BeamSearch, Decoder, LengthPenalty, Sampling, argmax};
use recurrent::{Error, Result};

use super::calls;
use super::given::Given;

const WIDTH: usize = 4;

/// A decoder that returns logits of any number of tokens.
struct Steps<'g> {
    given: &'g mut Given,
    rows: usize,
}

impl Decoder for Steps<'_> {
    type Elem = f32;

    fn step(&mut self, tokens: &[usize]) -> Result<Array2<f32>> {
        self.rows = tokens.len();
        if self.given.below(60) == 59 {
            return Err(Error::argument("step", "a step", "none"));
        }
        Ok(self.given.array2(tokens.len(), WIDTH))
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        if rows.iter().any(|&row| row >= self.rows) {
            return Err(Error::argument("rows", self.rows, format!("{rows:?}")));
        }
        self.rows = rows.len();
        Ok(())
    }
}

/// A scorer that returns any number.
struct Scorer<'g>(&'g mut Given);

impl PrefixScorer for Scorer<'_> {
    fn extend(&mut self, _: &[usize], _: usize) -> f64 {
        self.0.number(-1.0)
    }

    fn finish(&mut self, _: &[usize]) -> f64 {
        self.0.number(-1.0)
    }
}

fn search(given: &mut Given, search: BeamSearch<'_>) -> Result<()> {
    // A search of a huge width keeps every hypothesis.
    let search = search.max_length(given.like(5).min(6))?;
    let first = given.some(2, WIDTH);
    let rows = first.len();
    search.search(&mut Steps { given, rows }, &first)?;
    Ok(())
}

fn beam(given: &mut Given) -> Result<BeamSearch<'static>> {
    Ok(BeamSearch::new(given.size())?.end(given.index(WIDTH)))
}

fn sampling(given: &mut Given) -> Result<Sampling> {
    match given.below(4) {
        0 => Ok(Sampling::greedy()),
        1 => Sampling::temperature(given.number(0.8)),
        2 => Sampling::temperature(1.0)?.top_k(given.size()),
        _ => Sampling::temperature(1.0)?.top_p(given.number(0.8)),
    }
}

fn prefixes(given: &mut Given) -> Result<PrefixBeam> {
    PrefixBeam::new(given.index(WIDTH), given.size())?.n_best(given.size())
}

fn transcribed(given: &mut Given) -> Result<()> {
    let mut search = PrefixSearch::new(prefixes(given)?);
    for _ in 0..given.length(3) {
        let logits = given.array1(WIDTH);
        let mut scorer = Scorer(given);
        search.step(logits.view(), Some(&mut scorer))?;
    }
    search.transcripts(Some(&mut Scorer(given)))?;
    Ok(())
}

calls! {
"decode::", g:
    argmax = argmax(g.array1(WIDTH).view());
"decode::BeamSearch::", g:
    new = { let b = beam(g)?; search(g, b)? };
    early_stopping = { let b = beam(g)?.early_stopping(g.flag()); search(g, b)? };
    end = { let b = BeamSearch::new(2)?.end(g.index(WIDTH)); search(g, b)? };
    length_penalty = { let alpha = g.number(0.6); let b = beam(g)?.length_penalty(g.one(&[LengthPenalty::Wu(alpha), LengthPenalty::Mean]))?; search(g, b)? };
    mask = { let token = g.index(WIDTH); let b = beam(g)?.mask(move |_, _, allowed| if let Some(one) = allowed.get_mut(token) { *one = false; }); search(g, b)? };
    max_length = { let b = beam(g)?.max_length(g.size())?; search(g, b)? };
    min_length = { let b = beam(g)?.min_length(g.size()); search(g, b)? };
    n_best = { let b = beam(g)?.n_best(g.size())?; search(g, b)? };
    no_repeat_ngram_size = { let b = beam(g)?.no_repeat_ngram_size(g.size())?; search(g, b)? };
    search = { let b = beam(g)?; search(g, b)? };
    suppress_tokens = { let b = beam(g)?.suppress_tokens(&g.indices(WIDTH)); search(g, b)? };
"decode::Decoder::", g:
    select = { let rows = g.indices(2); Steps { given: g, rows: 2 }.select(&rows)? };
    step = Steps { given: g, rows: 2 }.step(&[1, 2])?;
"decode::Sampling::", g:
    pick = { let s = sampling(g)?; s.pick(g.array1(WIDTH).view(), g.rng())? };
    pick_except = { let s = sampling(g)?; s.pick_except(g.array1(WIDTH).view(), &g.indices(WIDTH), g.rng())? };
    temperature = Sampling::temperature(g.number(0.8))?.pick(g.array1(WIDTH).view(), g.rng())?;
    top_k = Sampling::temperature(0.9)?.top_k(g.size())?.pick(g.array1(WIDTH).view(), g.rng())?;
    top_p = Sampling::temperature(0.9)?.top_p(g.number(0.8))?.pick(g.array1(WIDTH).view(), g.rng())?;
"decode::ctc::", g:
    align = { let x = g.sequences(WIDTH); align(&x, &g.lists(x.batch(), WIDTH), g.index(WIDTH))? };
    greedy = greedy(&g.sequences(WIDTH), g.index(WIDTH))?;
"decode::ctc::Greedy::", g:
    new = Greedy::new(g.index(WIDTH)).step(g.array1(WIDTH).view())?;
    step = { let mut d = Greedy::new(0); d.step(g.array1(WIDTH).view())?; d.step(g.array1(WIDTH).view())? };
"decode::ctc::PrefixBeam::", g:
    new = prefixes(g)?.decode(&g.sequences(WIDTH))?;
    decode = prefixes(g)?.decode(&g.sequences(WIDTH))?;
    decode_with = { let (b, x) = (prefixes(g)?, g.sequences(WIDTH)); b.decode_with(&x, &mut Scorer(g))? };
    n_best = PrefixBeam::new(0, 3)?.n_best(g.size())?.decode(&g.sequences(WIDTH))?;
"decode::ctc::PrefixScorer::", g:
    extend = Scorer(g).extend(&[1], 2);
    finish = Scorer(g).finish(&[1]);
"decode::ctc::PrefixSearch::", g:
    new = transcribed(g)?;
    step = transcribed(g)?;
    transcripts = transcribed(g)?;
}
