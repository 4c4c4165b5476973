//! Losses: each with predictions, targets and weights that fit and that do not.

use ndarray::{Array1, Array2, Array3, Axis};
use recurrent::loss::{
    Batch, BceWithLogits, CrossEntropy, Ctc, Huber, KlDivergence, Logits, Loss, Mae, Mse, Quantile,
    RowLoss, SampleWeighted, SampleWeights, SoftCrossEntropy, Sum, Weighted,
};
use recurrent::{Result, Sequences};

use super::calls;
use super::given::Given;
use super::layers::Like;

const WIDTH: usize = 3;

/// Calls every function of a loss of rows.
fn rows<P: Batch<Elem = f32>, L: RowLoss<P>>(
    given: &mut Given,
    loss: &L,
    predicted: &P,
    target: &L::Target,
) -> Result<()> {
    loss.loss(predicted, target)?;
    loss.losses(predicted, target)?;
    loss.count(predicted, target)?;
    let values = predicted.values();
    let weights = given.array2(values.len_of(Axis(0)), values.len_of(Axis(1))).mapv(f64::from);
    let weights = given.flag().then_some(weights.view());
    loss.weighted(predicted, target, weights)?;
    loss.weighted_count(predicted, target, weights)?;
    Ok(())
}

/// Calls a loss whose target is like the prediction.
fn alike<L>(given: &mut Given, loss: &L) -> Result<()>
where
    L: RowLoss<Sequences<f32>, Target = Sequences<f32>>
        + RowLoss<Array2<f32>, Target = Array2<f32>>,
{
    if given.flag() {
        let predicted = given.sequences(WIDTH);
        let target = predicted.like(given);
        return rows(given, loss, &predicted, &target);
    }
    let predicted = given.array2(2, WIDTH);
    let target = predicted.like(given);
    rows(given, loss, &predicted, &target)
}

/// Calls a loss whose targets are distributions.
fn distributions<L: RowLoss<Array2<f32>, Target = Array2<f32>>>(
    given: &mut Given,
    loss: &L,
) -> Result<()> {
    let predicted = given.array2(2, WIDTH);
    let mut target = given.array2(2, WIDTH);
    if given.flag() {
        target = Array2::from_elem(predicted.raw_dim(), 1.0 / predicted.ncols().max(1) as f32);
    }
    rows(given, loss, &predicted, &target)
}

fn classes(given: &mut Given, loss: &CrossEntropy) -> Result<()> {
    if given.flag() {
        let logits = given.sequences(WIDTH);
        let classes = given.classes(&logits, WIDTH);
        return rows(given, loss, &logits, &classes);
    }
    let logits = given.array2(2, WIDTH);
    let classes = Array1::from(given.some(2, WIDTH)).to_vec();
    rows(given, loss, &logits, &classes)
}

fn ctc(given: &mut Given, loss: &Ctc) -> Result<()> {
    let logits = given.sequences(WIDTH);
    let labels = given.lists(logits.batch(), WIDTH);
    loss.loss(&logits, &labels)?;
    loss.losses(&logits, &labels)?;
    Ok(())
}

fn quantile(given: &mut Given) -> Result<Quantile> {
    let level = 0.1 + given.below(8) as f64 / 10.0;
    Quantile::new(given.numbers(1, level))
}

fn quantiles(given: &mut Given) -> Result<()> {
    let loss = quantile(given)?;
    let predicted = given.array2(2, WIDTH * loss.levels().len());
    let target = given.array2(2, WIDTH);
    rows(given, &loss, &predicted, &target)
}

fn sample_weights(given: &mut Given) -> Result<()> {
    let predicted = given.sequences(WIDTH);
    let loss = SampleWeighted::new(Mse);
    if given.flag() {
        let weights = given.sequences_of(predicted.time(), predicted.batch(), 1);
        let weights = weights.with_values(weights.values().mapv(f32::abs))?;
        loss.loss(&predicted, &(predicted.clone(), weights))?;
        return Ok(());
    }
    let weights = given.array2(predicted.time(), predicted.batch()).mapv(f32::abs);
    SampleWeights::<Sequences<f32>>::by_step(&weights, &predicted)?;
    SampleWeighted::new(Mse).loss(&predicted, &(predicted.clone(), weights))?;
    Ok(())
}

calls! {
"loss::Loss::", g:
    loss = alike(g, &Mse)?;
    loss = alike(g, &Mae)?;
    loss = distributions(g, &KlDivergence)?;
    loss = { let x = g.sequences(WIDTH); let y = x.like(g); Sum(Mse).loss(&x, &y)? };
    count = classes(g, &CrossEntropy::default())?;
"loss::RowLoss::", g:
    losses = alike(g, &Mse)?;
    weighted = alike(g, &BceWithLogits::default())?;
    weighted_count = distributions(g, &SoftCrossEntropy::default())?;
"loss::Batch::", g:
    has_step = g.sequences_of(3, 2, WIDTH).has_step(g.index(3), g.index(2));
    losses = <Array2<f32> as Batch>::losses(g.array2(1, 2).mapv(f64::from));
    with_gradient = { let x = g.sequences_of(3, 2, WIDTH); let d = g.array3([3, 2, WIDTH]); x.with_gradient(d)? };
    with_gradient = { let x = g.array2(2, WIDTH); let d: Array3<f32> = g.array3([1, 2, WIDTH]); Batch::with_gradient(&x, d)? };
"loss::Logits::", g:
    shape_of = { let x = g.sequences_of(2, 2, WIDTH); <Sequences<f32> as Logits>::shape_of(&g.classes(&x, WIDTH)) };
"loss::BceWithLogits::", g:
    positive_weight = { let loss = BceWithLogits::default().positive_weight(g.numbers(WIDTH, 2.0))?; alike(g, &loss)? };
"loss::CrossEntropy::", g:
    class_weights = { let loss = CrossEntropy::default().class_weights(g.numbers(WIDTH, 2.0))?; classes(g, &loss)? };
    ignore_index = { let loss = CrossEntropy::default().ignore_index(g.index(WIDTH)); classes(g, &loss)? };
    label_smoothing = { let loss = CrossEntropy::default().label_smoothing(g.number(0.1))?; classes(g, &loss)? };
"loss::SoftCrossEntropy::", g:
    class_weights = { let loss = SoftCrossEntropy::default().class_weights(g.numbers(WIDTH, 2.0))?; distributions(g, &loss)? };
    label_smoothing = { let loss = SoftCrossEntropy::default().label_smoothing(g.number(0.1))?; distributions(g, &loss)? };
"loss::Ctc::", g:
    new = { let loss = Ctc::new(g.index(WIDTH)); ctc(g, &loss)? };
    divide_by_length = { let loss = Ctc::new(0).zero_infinity().divide_by_length(g.flag()); ctc(g, &loss)? };
    losses = { let loss = Ctc::new(0).zero_infinity(); ctc(g, &loss)? };
"loss::Huber::", g:
    new = { let loss = Huber::new(g.number(1.0))?; alike(g, &loss)? };
"loss::Quantile::", g:
    new = quantiles(g)?;
"loss::SampleWeighted::", g:
    new = sample_weights(g)?;
"loss::SampleWeights::", g:
    by_step = sample_weights(g)?;
"loss::Weighted::", g:
    new = { let loss = Weighted::new((g.number(1.0), Mse), (g.number(0.5), Mae))?; let x = (g.array2(2, WIDTH), g.sequences(WIDTH)); let y = x.like(g); loss.loss(&x, &y)? };
}
