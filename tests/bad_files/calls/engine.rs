//! The engine: networks, states, streams, tapes and sequences.

use ndarray::Array2;
use recurrent::cell::{Cell, CellConfig, GruOptions, LayerNormLstmOptions, Nonlinearity, Reset};
use recurrent::cell::{GateWeights, LstmOptions, ProjectedLstmOptions};
use recurrent::check::{GradientCheck, GradientFlow};
use recurrent::error::{TensorReport, check_count, check_shape, check_size};
use recurrent::memory::Reserve;
use recurrent::tensor::{Init, Precision};
use recurrent::{
    Arrays, CoupledLstmCell, Error, Gru, GruCell, LayerNormLstmCell, Lstm, LstmCell,
    PeepholeLstmCell, ProjectedLstmCell, Recompute, Recurrent, RecurrentBuilder, Result, RnnCell,
    Sequences, State, Stream, Tape, TrainingStream, Workspace, arrays,
};

use super::calls;
use super::given::{Given, bits, precision, unchanged};

const INPUT: usize = 3;
const HIDDEN: usize = 2;
const BATCH: usize = 2;

/// Returns a network of two layers, of which some are bidirectional.
fn network(given: &mut Given) -> Lstm<f32> {
    let builder = Lstm::builder(INPUT, HIDDEN).num_layers(2).bidirectional(given.flag());
    builder.build(given.rng()).unwrap()
}

/// Returns a network that can be streamed.
fn forward_network(given: &mut Given) -> Gru<f32> {
    Gru::builder(INPUT, HIDDEN).num_layers(2).build(given.rng()).unwrap()
}

/// Returns a state of the network, or of another one.
fn state<C: Cell<Elem = f32>>(given: &mut Given, network: &Recurrent<C>) -> State<f32> {
    let batch = given.length(BATCH).max(1);
    if given.below(4) == 0 {
        return Lstm::<f32>::builder(1, 1).build(given.rng()).unwrap().zero_state(batch).unwrap();
    }
    network.zero_state(batch).unwrap()
}

/// Returns a state, or none.
fn initial<C: Cell<Elem = f32>>(given: &mut Given, network: &Recurrent<C>) -> Option<State<f32>> {
    given.flag().then(|| state(given, network))
}

/// Returns a gradient for the network, or for one of other sizes.
fn gradient(given: &mut Given, network: &Lstm<f32>) -> Lstm<f32> {
    match given.length(0) {
        0 => network.zeros_like(),
        size => Lstm::builder(size, HIDDEN).build(given.rng()).unwrap(),
    }
}

fn trained(given: &mut Given) -> Result<(Lstm<f32>, Sequences<f32>, Tape<f32>)> {
    let network = network(given);
    let x = given.sequences_of(3, BATCH, INPUT);
    let (y, _, tape) = network.forward_train(&x, None, given.rng())?;
    Ok((network, y, tape))
}

/// Calls `f` with a stream, whose state must be as before if it fails.
fn streamed<R>(
    given: &mut Given,
    f: impl FnOnce(&mut Given, &mut Stream<'_, f32>) -> Result<R>,
) -> Result<()> {
    let network = forward_network(given);
    let mut stream = network.stream(BATCH)?;
    stream.step(Array2::ones((BATCH, INPUT)).view())?;
    let before = (bits(&stream.snapshot()), stream.output().to_owned());
    if let Err(error) = f(given, &mut stream) {
        assert_eq!(before, (bits(&stream.snapshot()), stream.output().to_owned()));
        return Err(error);
    }
    Ok(())
}

fn training_stream(
    given: &mut Given,
    f: impl FnOnce(&mut Given, &mut TrainingStream<'_, LstmCell<f32>>) -> Result<()>,
) -> Result<()> {
    let network = Lstm::<f32>::builder(INPUT, HIDDEN).num_layers(2).build(given.rng()).unwrap();
    let mut rng = given.rng().clone();
    let mut stream = network.training_stream(BATCH, None, &mut rng)?;
    stream.step(Array2::ones((BATCH, INPUT)).view())?;
    let before = (bits(stream.state()), stream.steps());
    let result = f(given, &mut stream);
    if result.is_err() {
        assert_eq!(before, (bits(stream.state()), stream.steps()));
    }
    result
}

fn stepped_back(given: &mut Given, finish: bool) -> Result<()> {
    let network = Lstm::<f32>::builder(INPUT, HIDDEN).build(given.rng()).unwrap();
    let mut rng = given.rng().clone();
    let mut stream = network.training_stream(BATCH, None, &mut rng)?;
    stream.step(Array2::ones((BATCH, INPUT)).view())?;
    let d_final = initial(given, &network);
    let mut back = stream.backward(d_final.as_ref())?;
    for _ in 0..given.length(1) {
        let d = given.array2(BATCH, HIDDEN);
        back.step(d.view())?;
    }
    if !finish {
        return Ok(());
    }
    let mut grad = gradient(given, &network);
    unchanged(&mut grad, |grad| back.finish(grad))?;
    Ok(())
}

fn builder(given: &mut Given) -> RecurrentBuilder<LstmCell<f32>> {
    Lstm::builder(given.size(), given.size())
}

/// Builds a network and runs it.
fn built<C: Cell<Elem = f32>>(given: &mut Given, builder: RecurrentBuilder<C>) -> Result<()> {
    let network = builder.build(given.rng())?;
    let x = given.sequences(network.input_size());
    let (y, _, tape) = network.forward_train(&x, None, given.rng())?;
    let mut grad = network.zeros_like();
    network.backward(tape, &y, None, &mut grad)?;
    Ok(())
}

fn init(given: &mut Given) -> Init {
    let number = given.number(0.5);
    given.one(&[
        Init::HeUniform,
        Init::XavierNormal,
        Init::Uniform(number),
        Init::Normal(number),
        Init::XavierUniform,
        Init::HeNormal,
        Init::Orthogonal,
        Init::Constant(number),
    ])
}

fn config(given: &mut Given) -> CellConfig {
    let mut config = CellConfig::new(given.size(), given.size());
    config.bias = given.flag();
    config.bias_init = init(given);
    config
}

fn any_cell(given: &mut Given) -> Result<()> {
    let number = given.number(1.0);
    let mut rng = given.rng().clone();
    let lstm = LstmOptions { forget_bias: given.flag().then_some(number) };
    let config = config(given);
    match given.below(7) {
        0 => RnnCell::<f32>::new(&config, &Nonlinearity::Relu, &mut rng).map(|_| ()),
        1 => GruCell::<f32>::new(&config, &GruOptions::new(Reset::Before), &mut rng).map(|_| ()),
        2 => LstmCell::<f32>::new(&config, &lstm, &mut rng).map(|_| ()),
        3 => PeepholeLstmCell::<f32>::new(&config, &lstm, &mut rng).map(|_| ()),
        4 => CoupledLstmCell::<f32>::new(&config, &lstm, &mut rng).map(|_| ()),
        5 => {
            let mut options = ProjectedLstmOptions::new(given.size());
            options.lstm = lstm;
            ProjectedLstmCell::<f32>::new(&config, &options, &mut rng).map(|_| ())
        }
        _ => {
            let mut options = LayerNormLstmOptions::default();
            (options.epsilon, options.lstm) = (number, lstm);
            LayerNormLstmCell::<f32>::new(&config, &options, &mut rng).map(|_| ())
        }
    }
}

fn truncated(given: &mut Given) -> Result<()> {
    let network = network(given);
    let x = given.sequences_of(4, BATCH, INPUT);
    let first = initial(given, &network);
    let k2 = given.size();
    let mut windows = network.truncated(&x, first.as_ref(), given.like(k2), k2)?;
    let mut rng = given.rng().clone();
    while let Some(window) = windows.next(&network, &mut rng)? {
        let d = given.sequences_of(window.output().time(), BATCH, network.output_size());
        let d = if given.flag() { window.output().clone() } else { d };
        let mut grad = gradient(given, &network);
        unchanged(&mut grad, |grad| window.backward(&network, &d, grad))?;
    }
    Ok(())
}

fn worked(given: &mut Given, precision: Precision) -> Result<()> {
    let network = network(given);
    let mut workspace: Workspace<'_, f32> = network.workspace_with(precision)?;
    let x = given.sequences_of(3, BATCH, INPUT);
    let first = initial(given, &network);
    workspace.forward(&x, first.as_ref())?;
    Ok(())
}

calls! {
"Arrays::", g:
    add_arrays = { let (mut a, b) = (network(g), network(g)); unchanged(&mut a, |a| a.add_arrays("b", &b))? };
    fill = { let value = g.number(0.0) as f32; network(g).fill(value) };
    set = { let (mut a, array) = (network(g), g.array2(8, 3)); let name = g.one(&["weight_ih_l0", "bias_ih_l1", "x"]); unchanged(&mut a, |a| a.set(name, array))? };
    zip_mut = { let (mut a, b) = (network(g), network(g)); unchanged(&mut a, |a| a.zip_mut("b", &b, &mut |_, mut to, from| to.assign(&from)))? };
"arrays::", g:
    check_same_structure = arrays::check_same_structure("b", &network(g), &network(g))?;
    matches = arrays::matches(g.text("a*"), g.text("abc"));
"Error::", g:
    argument = Error::argument(g.text("a"), g.text("b"), g.size());
"error::", g:
    check_count = check_count("count", g.size())?;
    check_shape = check_shape("x", "time", &g.indices(2), &g.indices(2))?;
    check_size = { let sizes = g.indices(4).iter().map(|_| g.size()).collect::<Vec<_>>(); check_size("x", &sizes)? };
"error::TensorReport::", g:
    is_fit = TensorReport::default().is_fit(g.flag());
"Recurrent::", g:
    builder = { let b = Lstm::<f32>::builder(g.size(), g.size()); built(g, b)? };
    forward = { let n = network(g); let (x, h) = (g.sequences_of(3, BATCH, INPUT), initial(g, &n)); n.forward(&x, h.as_ref())? };
    forward_train = { let n = network(g); let (x, h) = (g.sequences_of(3, BATCH, INPUT), initial(g, &n)); n.forward_train(&x, h.as_ref(), g.rng())? };
    forward_train_with = { let n = network(g); let x = g.sequences_of(4, BATCH, INPUT); let k = g.size(); n.forward_train_with(&x, None, g.rng(), Recompute::Every(k))? };
    backward = { let (n, y, tape) = trained(g)?; let d = if g.flag() { y } else { g.sequences_of(3, BATCH, n.output_size()) }; let s = initial(g, &n); let mut grad = gradient(g, &n); unchanged(&mut grad, |grad| n.backward(tape, &d, s.as_ref(), grad))? };
    backward_steps = { let (n, y, tape) = trained(g)?; let d = if g.flag() { y } else { g.sequences_of(3, BATCH, n.output_size()) }; let mut grad = gradient(g, &n); unchanged(&mut grad, |grad| n.backward_steps(tape, &d, None, grad))? };
    stream = { let n = forward_network(g); n.stream(g.size())?; };
    stream_with = { let n = forward_network(g); n.stream_with(g.size(), precision(g))?; };
    training_stream = { let n = forward_network(g); let (batch, h, mut rng) = (g.like(BATCH), initial(g, &n), g.rng().clone()); n.training_stream(batch, h.as_ref(), &mut rng)?; };
    truncated = truncated(g)?;
    workspace_with = { let p = precision(g); worked(g, p)? };
    zero_state = network(g).zero_state(g.size())?;
"RecurrentBuilder::", g:
    bias = { let b = builder(g).bias(g.flag()); built(g, b)? };
    bias_init = { let b = builder(g).bias_init(init(g)); built(g, b)? };
    bidirectional = { let b = builder(g).bidirectional(g.flag()); built(g, b)? };
    build = any_cell(g)?;
    dropout = { let b = builder(g).num_layers(2).dropout(g.number(0.5)); built(g, b)? };
    hidden_sizes = { let sizes: Vec<usize> = g.indices(3).iter().map(|_| g.size()).collect(); let b = builder(g).hidden_sizes(&sizes); built(g, b)? };
    learned_initial_state = { let b = builder(g).learned_initial_state(g.flag()); built(g, b)? };
    num_layers = { let b = builder(g).num_layers(g.size()); built(g, b)? };
    options = { let b = Recurrent::<ProjectedLstmCell<f32>>::builder(2, 3).options(ProjectedLstmOptions::new(g.size())); built(g, b)? };
    recurrent_dropout = { let b = builder(g).recurrent_dropout(g.number(0.5)); built(g, b)? };
    residual = { let b = builder(g).num_layers(g.size()).residual(g.flag()); built(g, b)? };
    weight_hh = { let b = builder(g).weight_hh(init(g)); built(g, b)? };
    weight_ih = { let b = builder(g).weight_ih(init(g)); built(g, b)? };
    zoneout = { let p = [g.number(0.1), g.number(0.1), 0.1]; let b = builder(g).zoneout(&p[..g.length(2).min(3)]); built(g, b)? };
"Sequences::", g:
    from_batch_first = Sequences::from_batch_first(g.array3([BATCH, 3, 2]).view(), g.some(BATCH, 4))?;
    from_list = { let all: Vec<_> = (0..g.length(2)).map(|_| g.array2(3, 2)).collect(); Sequences::from_list(&all)? };
    from_views = { let all: Vec<_> = (0..g.length(2)).map(|_| g.array2(3, 2)).collect(); Sequences::from_views(&all.iter().map(|x| x.view()).collect::<Vec<_>>())? };
    full = Sequences::full(g.array3([3, BATCH, 2]))?;
    new = Sequences::new(g.array3([3, BATCH, 2]), g.some(BATCH, 4))?;
    one_hot = { let x = g.sequences_of(3, BATCH, 2); Sequences::<f32>::one_hot(g.classes(&x, 4).view(), g.like(4), g.some(BATCH, 4))? };
    one_hot_from_list = Sequences::<f32>::one_hot_from_list(&g.lists(2, 4), g.like(4))?;
    with_characters = { let x = g.tokens_of(2, BATCH, 3); let words: Vec<Vec<Vec<usize>>> = (0..g.length(BATCH)).map(|_| g.lists(2, 5)).collect(); x.with_characters(&words, g.like(5))? };
    with_values = { let x = g.sequences_of(3, BATCH, 2); x.with_values(g.array3([3, BATCH, 4]))? };
"State::", g:
    get = network(g).zero_state(BATCH)?.get(g.text("h"))?;
    part = network(g).zero_state(BATCH)?.part(g.one(&["h", "c", "x"]), g.index(2), g.flag())?.to_owned();
    select = network(g).zero_state(BATCH)?.select(&g.indices(BATCH))?;
    set = { let mut s = forward_network(g).zero_state(BATCH)?; let h = g.array3([2, BATCH, HIDDEN]); let name = g.text("h"); unchanged(&mut s, |s| s.set(name, h))? };
    set_part = { let mut s = forward_network(g).zero_state(BATCH)?; let (h, l, name) = (g.array2(BATCH, HIDDEN), g.index(2), g.text("h")); let reverse = g.index(1) > 0; unchanged(&mut s, |s| s.set_part(name, l, reverse, h.view()))? };
"StepGradients::", g:
    carried = { let (n, y, tape) = trained(g)?; n.backward_steps(tape, &y, None, &mut n.zeros_like())?.2.carried(g.one(&["h", "c", "x"]), g.index(2), g.flag())?.sum() };
    get = { let (n, y, tape) = trained(g)?; n.backward_steps(tape, &y, None, &mut n.zeros_like())?.2.get(g.one(&["h", "c", "x"]), g.index(2), g.flag())?.sum() };
"Stream::", g:
    restore = streamed(g, |g, s| { let network = forward_network(g); let state = state(g, &network); s.restore(&state) })?;
    select = streamed(g, |g, s| { let rows = g.indices(BATCH); s.select(&rows) })?;
    set_threads = streamed(g, |g, s| s.set_threads(g.size().min(8)))?;
    step = streamed(g, |g, s| { let x = g.array2(BATCH, INPUT); s.step(x.view()).map(|y| y.to_owned()) })?;
    step_tokens = streamed(g, |g, s| { let x = g.some(BATCH, INPUT); s.step_tokens(&x).map(|y| y.to_owned()) })?;
"Tape::", g:
    gate = trained(g)?.2.gate(g.one(&["i", "f", "o", "x"]), g.index(2), g.flag())?;
    input = trained(g)?.2.input(g.index(2))?;
    state = trained(g)?.2.state(g.one(&["h", "c", "x"]), g.index(2), g.flag())?;
"TrainingStream::", g:
    backward = stepped_back(g, false)?;
    step = training_stream(g, |g, s| { let x = g.array2(BATCH, INPUT); s.step(x.view()).map(|_| ()) })?;
    step_tokens = { let n = forward_network(g); let mut rng = g.rng().clone(); let mut s = n.training_stream(BATCH, None, &mut rng)?; s.step_tokens(&g.some(BATCH, INPUT))?; s.step_tokens(&g.some(BATCH, INPUT))?; };
    step_tokens = training_stream(g, |g, s| { let x = g.some(BATCH, INPUT); s.step_tokens(&x).map(|_| ()) }).or_else(|error| if g.flag() { Ok(()) } else { Err(error) })?;
"BackwardStream::", g:
    step = stepped_back(g, false)?;
    finish = stepped_back(g, true)?;
"Truncated::", g:
    next = truncated(g)?;
"TruncatedWindow::", g:
    backward = truncated(g)?;
"Workspace::", g:
    forward = worked(g, Precision::Full)?;
"cell::Cell::", g:
    new = any_cell(g)?;
"cell::CellConfig::", g:
    new = CellConfig::new(g.size(), g.size());
    bias = { let mut rng = g.rng().clone(); config(g).bias::<f32>(g.size(), &mut rng)? };
    weight = { let mut rng = g.rng().clone(); config(g).weight::<f32>(init(g), g.like(1), (g.size(), g.size()), &mut rng)? };
"cell::GateWeights::", g:
    new = { let mut rng = g.rng().clone(); GateWeights::<f32>::new(&config(g), g.like(4), g.size(), &mut rng)? };
    set_forget_bias = { let lstm = LstmOptions { forget_bias: Some(g.number(1.0)) }; let mut rng = g.rng().clone(); let mut w = GateWeights::<f32>::new(&CellConfig::new(2, 3), 4, 3, &mut rng)?; let (gates, gate) = (g.like(4), g.index(4)); unchanged(&mut w, |w| w.set_forget_bias(&lstm, gates, gate))? };
"cell::GruOptions::", g:
    new = { let b = Gru::<f32>::builder(2, 2).options(GruOptions::new(g.one(&[Reset::Before, Reset::After]))); built(g, b)? };
"cell::ProjectedLstmOptions::", g:
    new = ProjectedLstmOptions::new(g.size());
"check::GradientCheck::", g:
    run = { let mut check = GradientCheck::default(); (check.step, check.floor, check.max_entries) = (g.number(1e-5), g.number(1e-8), g.size()); let (a, b) = (g.array1(3).mapv(f64::from), g.array1(3).mapv(f64::from)); check.run(&a, &b, |a| Ok(a.sum()))? };
"check::GradientFlow::", g:
    measure = { let n = network(g); let x = g.sequences_of(3, BATCH, INPUT); let d = g.sequences_of(3, BATCH, n.output_size()); GradientFlow::measure(&n, &x, g.rng(), |y, s| Ok((if d.features() == y.features() { y.clone() } else { d.clone() }, Some(s.clone()))))? };
    of = { let (n, y, tape) = trained(g)?; let steps = n.backward_steps(tape, &y, None, &mut n.zeros_like())?.2; GradientFlow::of(&steps, g.one(&["h", "c", "x"]), g.index(2), g.flag())? };
"memory::Reserve::", g:
    new = { let reserve = Reserve::new(g.size()); let b = builder(g); let r = built(g, b); drop(reserve); r? };
}
