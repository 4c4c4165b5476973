//! Layers, attention and the CRF.

use ndarray::Array2;
use recurrent::layer::crf::{Constraints, Reduction, Scheme};
use recurrent::layer::{
    Activation, Add, Attention, AttentionScore, AttentionStream, Branches, CharacterEncoder,
    CharacterEncoding, Concat, Conv1d, Crf, Dropout, Embedding, Features, Heads, Layer, LayerNorm,
    Linear, NonCrossing, Padding, Pooling, Residual, StackFrames, TimePooling, VariationalDropout,
    WeightDrop,
};
use recurrent::tensor::Init;
use recurrent::{Arrays, Gru, Lstm, Result, Sequences};

use super::calls;
use super::given::{Given, unchanged};

const WIDTH: usize = 3;

/// A gradient that may not fit the value that it is a gradient of.
pub(super) trait Like: Clone {
    /// Whether it is the gradient of two layers. The first part may then have been used if the second does not fit.
    const PAIR: bool = false;

    fn like(&self, given: &mut Given) -> Self;
}

impl Like for Sequences<f32> {
    fn like(&self, given: &mut Given) -> Self {
        if given.flag() {
            return self.with_values(self.values().clone()).unwrap();
        }
        given.sequences_of(self.time(), self.batch(), self.features())
    }
}

impl Like for Array2<f32> {
    fn like(&self, given: &mut Given) -> Self {
        if given.flag() { self.clone() } else { given.array2(self.nrows(), self.ncols()) }
    }
}

impl<A: Like, B: Like> Like for (A, B) {
    const PAIR: bool = true;

    fn like(&self, given: &mut Given) -> Self {
        (self.0.like(given), self.1.like(given))
    }
}

/// Calls every function of a layer. If its backward pass fails, the gradient must be as before, unless it is that
/// of a pair.
fn layer<X, L: Layer<X, Elem = f32, Output: Like>>(
    given: &mut Given,
    layer: &L,
    x: &X,
) -> Result<()> {
    layer.forward(x)?;
    let (y, tape) = layer.forward_train(x, given.rng())?;
    let (d_y, mut grad) = (y.like(given), layer.zeros_like());
    let back = |grad: &mut L| layer.backward(tape, &d_y, grad);
    if L::Output::PAIR {
        back(&mut grad)?
    } else {
        unchanged(&mut grad, back)?
    };
    Ok(())
}

/// Calls every function of a layer of rows and of sequences.
fn both<L>(given: &mut Given, of: &L) -> Result<()>
where
    L: Layer<Array2<f32>, Elem = f32, Output = Array2<f32>>
        + Layer<Sequences<f32>, Output = Sequences<f32>>,
{
    if given.flag() {
        let x = given.array2(2, WIDTH);
        return layer(given, of, &x);
    }
    let x = given.sequences(WIDTH);
    layer(given, of, &x)
}

fn linear(given: &mut Given) -> Linear<f32> {
    Linear::new(WIDTH, WIDTH, given.rng()).unwrap()
}

fn score(given: &mut Given) -> AttentionScore {
    let [size, filters, kernel_size] = [given.size(), given.size(), given.like(3)];
    given.one(&[
        AttentionScore::Dot,
        AttentionScore::ScaledDot,
        AttentionScore::General,
        AttentionScore::Additive { size },
        AttentionScore::Location { size, filters, kernel_size },
    ])
}

/// Returns an attention of any kind that can be made.
fn attention(given: &mut Given) -> Attention<f32> {
    let kinds = [
        AttentionScore::Dot,
        AttentionScore::ScaledDot,
        AttentionScore::General,
        AttentionScore::Additive { size: 2 },
        AttentionScore::Location { size: 2, filters: 2, kernel_size: 3 },
    ];
    Attention::new(given.one(&kinds), WIDTH, WIDTH, given.rng()).unwrap()
}

/// Calls `f` with a stream of an attention.
fn attended<R>(
    given: &mut Given,
    train: bool,
    f: impl FnOnce(&mut Given, AttentionStream<'_, f32>, &Attention<f32>) -> Result<R>,
) -> Result<()> {
    let attention = attention(given);
    let memory = attention.memory(&given.sequences_of(3, 2, WIDTH))?;
    let stream =
        if train { attention.training_stream(memory)? } else { attention.stream(memory)? };
    f(given, stream, &attention)?;
    Ok(())
}

fn walked_back(given: &mut Given, finish: bool) -> Result<()> {
    attended(given, true, |given, mut stream, attention| {
        for _ in 0..given.length(2) {
            let queries = given.array2(2, WIDTH);
            stream.step(queries.view())?;
        }
        let mut back = stream.backward()?;
        for _ in 0..given.length(2) {
            let (d, weights) = (given.array2(2, WIDTH), given.array2(2, 3));
            back.step(d.view(), given.flag().then_some(weights.view()))?;
        }
        if finish {
            let mut grad =
                if given.flag() { attention.zeros_like() } else { super::layers::attention(given) };
            unchanged(&mut grad, |grad| back.finish(grad))?;
        }
        Ok(())
    })
}

fn attended_memory(given: &mut Given) -> Result<()> {
    let attention = attention(given);
    let keys = given.sequences_of(3, 2, WIDTH);
    let values = given.sequences_of(3, 2, WIDTH);
    attention.memory_of(&keys, &values)?;
    Ok(())
}

fn crf(given: &mut Given) -> Crf<f32> {
    Crf::new(WIDTH, given.rng()).unwrap()
}

/// Calls `f` with a CRF, emissions and tags.
fn tagged<R>(
    given: &mut Given,
    f: impl FnOnce(&mut Given, &Crf<f32>, &Sequences<f32>, &Array2<usize>) -> Result<R>,
) -> Result<()> {
    let reductions = [Reduction::Mean, Reduction::Sum, Reduction::TokenMean];
    let mut crf = crf(given).reduction(given.one(&reductions));
    if given.flag() {
        crf = crf.constraints(Constraints::iob2(&["O", "B-x", "I-x"]).unwrap()).unwrap();
    }
    let emissions = given.sequences(WIDTH);
    let tags = given.classes(&emissions, WIDTH);
    f(given, &crf, &emissions, &tags)?;
    Ok(())
}

fn rules(given: &mut Given) -> Result<Constraints> {
    let starts = given.array1(WIDTH).mapv(|x| x < 0.9);
    let ends = given.array1(WIDTH).mapv(|x| x < 0.9);
    Constraints::new(starts, ends, given.array2(WIDTH, WIDTH).mapv(|x| x < 0.9))
}

fn encoder(given: &mut Given) -> Result<CharacterEncoder<f32>> {
    let [a, b] = [given.size(), given.size()];
    let kinds = [
        CharacterEncoding::Lstm { hidden_size: a },
        CharacterEncoding::Conv { out_channels: a, kernel_size: b },
    ];
    CharacterEncoder::new(given.size(), given.size(), given.one(&kinds), given.rng())
}

fn encoded(given: &mut Given) -> Result<()> {
    let encoder = encoder(given)?;
    let x = given.tokens_of(2, 2, 3);
    let size = encoder.vocabulary_size();
    let words: Vec<Vec<Vec<usize>>> = (0..2).map(|_| given.lists(2, size)).collect();
    let x = x.with_characters(&words, given.like(size))?;
    layer(given, &encoder, &x)
}

fn pooled(given: &mut Given) -> Result<()> {
    let kinds = [Pooling::Last, Pooling::Mean, Pooling::Max, Pooling::Attention];
    let directions = 1 + given.below(2);
    let (features, directions) = (given.like(4), given.like(directions));
    let pooling = TimePooling::new(given.one(&kinds), features, directions, given.rng())?;
    let x = given.sequences(4);
    layer(given, &pooling, &x)
}

fn convolution(given: &mut Given, of: Conv1d<f32>) -> Result<()> {
    let of = of.padding(given.one(&[Padding::Same, Padding::Causal]));
    let x = given.sequences(WIDTH);
    layer(given, &of, &x)
}

fn dropped(given: &mut Given) -> Result<()> {
    let drop = WeightDrop::new(given.number(0.5), given.text("weight_hh*"))?;
    let network = Lstm::<f32>::builder(WIDTH, 2).build(given.rng()).unwrap();
    let mut grad = network.zeros_like();
    let x = given.sequences(WIDTH);
    unchanged(&mut grad, |grad| {
        drop.loss_and_grad(&network, grad, given.rng(), |network, grad, rng| {
            let (y, _, tape) = network.forward_train(&x, None, rng)?;
            network.backward(tape, &y, None, grad)
        })
    })?;
    Ok(())
}

calls! {
"layer::Layer::", g:
    forward = { let of = linear(g); both(g, &of)? };
    forward_train = { let of = Activation::<f32>::tanh(); both(g, &of)? };
    backward = { let of = Residual(LayerNorm::<f32>::new(WIDTH)?); both(g, &of)? };
    backward = { let of = Residual(Gru::<f32>::builder(WIDTH, WIDTH).build(g.rng())?); let x = g.sequences(WIDTH); layer(g, &of, &x)? };
    backward = { let of = (linear(g), linear(g)); let x = g.sequences(WIDTH); layer(g, &of, &x)? };
    backward = { let of = Add::<f32>::new(); let x = (g.array2(2, WIDTH), g.array2(2, WIDTH)); layer(g, &of, &x)? };
    backward = { let of = Concat::<f32>::new(); let x = (g.sequences_of(3, 2, 2), g.sequences_of(3, 2, WIDTH)); layer(g, &of, &x)? };
    backward = { let of = attention(g); let x = (g.sequences_of(2, 2, WIDTH), g.sequences_of(3, 2, WIDTH)); layer(g, &of, &x)? };
"layer::Features::", g:
    add = g.array2(2, WIDTH).add(&g.array2(2, WIDTH))?;
    concat = g.sequences_of(3, 2, WIDTH).concat(&g.sequences_of(3, 2, WIDTH))?;
    split = g.array2(2, WIDTH).split(g.index(WIDTH))?;
"layer::Attention::", g:
    new = { let kind = score(g); Attention::<f32>::new(kind, g.size(), g.size(), g.rng())? };
    attend = attention(g).attend(&g.sequences_of(2, 2, WIDTH), &g.sequences_of(3, 2, WIDTH))?;
    memory = attention(g).memory(&g.sequences_of(3, 2, WIDTH))?;
    memory_of = attended_memory(g)?;
    stream = attended(g, false, |_, _, _| Ok(()))?;
    training_stream = attended(g, true, |_, _, _| Ok(()))?;
"layer::AttentionStream::", g:
    select = attended(g, false, |g, mut s, _| { let rows = g.indices(2); s.select(&rows)?; let q = g.array2(rows.len(), WIDTH); s.step(q.view()) })?;
    step = attended(g, false, |g, mut s, _| { let q = g.array2(2, WIDTH); s.step(q.view()) })?;
"layer::AttentionBackwardStream::", g:
    step = walked_back(g, false)?;
    finish = walked_back(g, true)?;
"layer::Branches::", g:
    new = { let of = Branches::new(linear(g), LayerNorm::<f32>::new(WIDTH)?); let x = (g.array2(2, WIDTH), g.sequences(WIDTH)); layer(g, &of, &x)? };
"layer::Heads::", g:
    new = { let of = Heads::new(linear(g), linear(g)); let x = g.sequences(WIDTH); layer(g, &of, &x)? };
"layer::CharacterEncoder::", g:
    new = encoded(g)?;
"layer::Conv1d::", g:
    new = { let of = Conv1d::new(g.size(), g.size(), g.size(), g.rng())?; convolution(g, of)? };
    from_weight = { let bias = g.array1(2); let of = Conv1d::from_weight(g.array3([2, WIDTH, 3]), g.flag().then_some(bias))?; convolution(g, of)? };
    dilation = { let of = Conv1d::new(WIDTH, 2, 3, g.rng())?.dilation(g.size())?; convolution(g, of)? };
    padding = { let of = Conv1d::new(WIDTH, 2, g.size(), g.rng())?; convolution(g, of)? };
"layer::Crf::", g:
    new = Crf::<f32>::new(g.size(), g.rng())?;
    constraints = crf(g).constraints(rules(g)?)?;
    count = tagged(g, |_, crf, x, _| Ok(crf.count(x)))?;
    k_best = tagged(g, |g, crf, x, _| crf.k_best(x, g.size()))?;
    log_partitions = tagged(g, |_, crf, x, _| crf.log_partitions(x))?;
    loss = tagged(g, |_, crf, x, tags| crf.loss(x, tags))?;
    loss_and_grad = tagged(g, |_, crf, x, tags| unchanged(&mut crf.zeros_like(), |grad| crf.loss_and_grad(x, tags, grad)))?;
    losses = tagged(g, |_, crf, x, tags| crf.losses(x, tags))?;
    marginals = tagged(g, |_, crf, x, _| crf.marginals(x))?;
    reduction = tagged(g, |_, crf, x, tags| crf.loss(x, tags))?;
    viterbi = tagged(g, |_, crf, x, _| crf.viterbi(x))?;
"layer::Dropout::", g:
    new = { let of = Dropout::<f32>::new(g.number(0.5))?; both(g, &of)? };
"layer::Embedding::", g:
    new = { let of = Embedding::<f32>::new(g.size(), g.size(), g.rng())?; let x = g.tokens(of.num_embeddings()); layer(g, &of, &x)? };
    from_weight = { let of = Embedding::from_weight(g.array2(4, WIDTH))?; let x = g.tokens(4); layer(g, &of, &x)? };
    frozen = { let of = Embedding::from_weight(g.array2(4, WIDTH))?.frozen(g.flag()); let x = g.tokens(4); layer(g, &of, &x)? };
    padding_index = { let of = Embedding::<f32>::new(4, WIDTH, g.rng())?.padding_index(g.index(4))?; let x = g.tokens(4); layer(g, &of, &x)? };
"layer::LayerNorm::", g:
    new = { let of = LayerNorm::<f32>::new(g.like(WIDTH))?; both(g, &of)? };
    epsilon = { let of = LayerNorm::<f32>::new(WIDTH)?.epsilon(g.number(1e-5))?; both(g, &of)? };
"layer::Linear::", g:
    new = { let of = Linear::<f32>::new(g.like(WIDTH), g.size(), g.rng())?; both(g, &of)? };
    from_weight = { let bias = g.array1(2); let of = Linear::from_weight(g.array2(2, WIDTH), g.flag().then_some(bias))?; both(g, &of)? };
    with_options = { let init = Init::Normal(g.number(0.5)); let of = Linear::<f32>::with_options(g.like(WIDTH), g.size(), g.flag(), init, g.rng())?; both(g, &of)? };
"layer::NonCrossing::", g:
    new = { let of = NonCrossing::<f32>::new(g.size(), g.size())?; both(g, &of)? };
    new = { let of = NonCrossing::<f32>::new(1, WIDTH)?; both(g, &of)? };
"layer::StackFrames::", g:
    new = { let of = StackFrames::<f32>::new(g.size(), g.size())?; let x = g.sequences(WIDTH); layer(g, &of, &x)? };
"layer::TimePooling::", g:
    new = pooled(g)?;
    attention_weights = TimePooling::<f32>::new(g.one(&[Pooling::Attention, Pooling::Mean]), 4, 1, g.rng())?.attention_weights(&g.sequences(4))?;
"layer::VariationalDropout::", g:
    new = { let of = VariationalDropout::<f32>::new(g.number(0.5))?; let x = g.sequences(WIDTH); layer(g, &of, &x)? };
"layer::WeightDrop::", g:
    new = WeightDrop::new(g.number(0.5), g.text("a*"))?;
    loss_and_grad = dropped(g)?;
"layer::crf::Constraints::", g:
    bioes = Constraints::bioes(&g.texts(&["O", "B-x", "I-x", "E-x", "S-x"]))?;
    iob2 = Constraints::iob2(&g.texts(&["O", "B-x", "I-x"]))?;
    of = Constraints::of(g.one(&[Scheme::Iob2, Scheme::Bioes]), &g.texts(&["O", "B-x", "I-x"]))?;
    new = rules(g)?;
    may_end = rules(g)?.may_end(g.index(WIDTH));
    may_follow = rules(g)?.may_follow(g.index(WIDTH), g.index(WIDTH));
    may_start = rules(g)?.may_start(g.index(WIDTH));
}
