//! Optimisers, clipping, moving averages and schedules.

use recurrent::Result;
use recurrent::optim::schedule::{
    Anneal, Constant, Cosine, CosineRestarts, Exponential, LinearRamp, Mode, MultiStep, OneCycle,
    Polynomial, ReduceOnPlateau, Schedule, StepDecay, ThresholdMode, Warmup,
};
use recurrent::optim::{
    Adadelta, Adagrad, Adam, AdamW, Ema, Groups, NAdam, Optimizer, OptimizerState, RAdam, RmsProp,
    Sgd, clip_global_norm, clip_global_norm_of_type, clip_value, global_norm,
};

use super::calls;
use super::given::{Given, bits, unchanged};

/// The arrays that the optimisers update.
type Parameters = (ndarray::Array2<f32>, ndarray::Array1<f32>);

fn parameters(given: &mut Given) -> Parameters {
    let weight = given.array2(2, 3);
    // Arrays in another layout are refused.
    let weight = if given.below(9) > 0 { weight.as_standard_layout().to_owned() } else { weight };
    (weight, given.array1(2))
}

/// Calls the functions of an optimiser that it has of its own, beside those of the trait.
macro_rules! own {
    ($given:ident, $optimizer:expr) => {{
        let mut optimizer = $optimizer;
        let (mut theta, grad) = (parameters($given), parameters($given));
        unchanged(&mut theta, |theta| optimizer.step(theta, &grad))?;
        optimizer.set_learning_rate($given.number(0.1))?;
    }};
}

fn state_bits(state: &OptimizerState<Parameters>) -> (Vec<u64>, Vec<Vec<u32>>) {
    let scalars = state.scalars.iter().map(|scalar| scalar.to_bits()).collect();
    (scalars, state.moments.iter().map(bits).collect())
}

/// Calls `f` with an optimiser after a step. Its state and the parameters must be as before if it fails.
fn after_a_step<O: Optimizer<Parameters>>(
    given: &mut Given,
    optimizer: &mut O,
    f: impl FnOnce(&mut Given, &mut O, &mut Parameters) -> Result<()>,
) -> Result<()> {
    let mut theta = parameters(given);
    let grad = theta.clone();
    optimizer.step(&mut theta, &grad)?;
    let before = (state_bits(&optimizer.state()), bits(&theta));
    let rate = optimizer.learning_rate();
    let result = f(given, optimizer, &mut theta);
    if result.is_err() {
        assert!(before == (state_bits(&optimizer.state()), bits(&theta)), "changed");
        assert_eq!(rate, optimizer.learning_rate());
    }
    result
}

/// Calls every function of an optimiser.
fn optimizer<O: Optimizer<Parameters>>(given: &mut Given, mut optimizer: O) -> Result<()> {
    let optimizer = &mut optimizer;
    after_a_step(given, optimizer, |given, optimizer, theta| {
        let grad = parameters(given);
        optimizer.step(theta, &grad)
    })?;
    after_a_step(given, optimizer, |given, optimizer, theta| {
        let decay = given.numbers(2, 0.1).into_iter().map(Some).collect::<Vec<_>>();
        let grad = theta.clone();
        optimizer.step_with_decay(theta, &grad, &decay)
    })?;
    after_a_step(given, optimizer, |given, optimizer, _| {
        optimizer.set_learning_rate(given.number(0.1))
    })?;
    after_a_step(given, optimizer, |given, optimizer, _| {
        let mut state = optimizer.state();
        state.scalars.iter_mut().for_each(|scalar| *scalar = given.number(*scalar));
        let count = given.length(state.scalars.len());
        state.scalars.resize(count, 1.0);
        if !given.flag() {
            state.moments = state.moments.iter().map(|_| parameters(given)).collect();
        }
        optimizer.restore(state)
    })
}

fn sgd(given: &mut Given) -> Result<Sgd<Parameters>> {
    Sgd::new(given.number(0.1))
}

fn rule(given: &mut Given, schedule: impl Schedule) -> Result<()> {
    let mut schedule = schedule;
    for step in [0, 1, 2, 7, given.size()] {
        let factor = schedule.factor(step);
        assert!(factor.is_finite() && factor >= 0.0, "the factor {factor}");
        schedule.observe(given.number(1.0));
    }
    let mut state = schedule.state();
    state.iter_mut().for_each(|number| *number = given.number(*number));
    let count = given.length(state.len());
    state.resize(count, 1.0);
    let before = schedule.state();
    let result = schedule.restore(&state);
    if result.is_err() {
        assert_eq!(format!("{before:?}"), format!("{:?}", schedule.state()));
    }
    result
}

fn plateau(given: &mut Given, plateau: ReduceOnPlateau) -> Result<()> {
    rule(given, plateau)
}

fn grouped(given: &mut Given, groups: Groups<Adam<Parameters>>) -> Result<()> {
    optimizer(given, groups)
}

fn groups() -> Groups<Adam<Parameters>> {
    Groups::new(Adam::new(0.1).unwrap())
}

fn averaged(given: &mut Given, restore: bool) -> Result<()> {
    let mut ema = Ema::new(given.number(0.9))?;
    let first = (ndarray::Array2::<f32>::ones((2, 3)), ndarray::Array1::ones(2));
    ema.update(&first)?;
    let before = ema.average().map(bits);
    let other = parameters(given);
    let result =
        if restore { ema.restore(given.flag().then_some(other)) } else { ema.update(&other) };
    if result.is_err() {
        assert_eq!(before, ema.average().map(bits));
    }
    result
}

calls! {
"optim::Optimizer::", g:
    step = { let o = Sgd::new(0.1)?.momentum(0.9)?; optimizer(g, o)? };
    step_with_decay = { let o = AdamW::new(0.1, 0.1)?; optimizer(g, o)? };
    set_learning_rate = { let o = Adam::new(0.1)?.amsgrad(true); optimizer(g, o)? };
    restore = { let o = RmsProp::new(0.1)?.momentum(0.5)?.centered(true); optimizer(g, o)? };
"optim::Adadelta::", g:
    step = own!(g, Adadelta::<Parameters>::new(0.1)?);
    set_learning_rate = own!(g, Adadelta::<Parameters>::new(0.1)?);
    new = { let o = Adadelta::new(g.number(0.1))?; optimizer(g, o)? };
    decay = { let o = Adadelta::new(0.1)?.decay(g.number(0.9))?; optimizer(g, o)? };
    eps = { let o = Adadelta::new(0.1)?.eps(g.number(1e-6))?; optimizer(g, o)? };
    weight_decay = { let o = Adadelta::new(0.1)?.weight_decay(g.number(0.1))?; optimizer(g, o)? };
"optim::Adagrad::", g:
    step = own!(g, Adagrad::<Parameters>::new(0.1)?);
    set_learning_rate = own!(g, Adagrad::<Parameters>::new(0.1)?);
    new = { let o = Adagrad::new(g.number(0.1))?; optimizer(g, o)? };
    eps = { let o = Adagrad::new(0.1)?.eps(g.number(1e-6))?; optimizer(g, o)? };
    initial_accumulator_value = { let o = Adagrad::new(0.1)?.initial_accumulator_value(g.number(0.1))?; optimizer(g, o)? };
    rate_decay = { let o = Adagrad::new(0.1)?.rate_decay(g.number(0.1))?; optimizer(g, o)? };
    weight_decay = { let o = Adagrad::new(0.1)?.weight_decay(g.number(0.1))?; optimizer(g, o)? };
"optim::Adam::", g:
    step = own!(g, Adam::<Parameters>::new(0.1)?);
    set_learning_rate = own!(g, Adam::<Parameters>::new(0.1)?);
    new = { let o = Adam::new(g.number(0.1))?; optimizer(g, o)? };
    amsgrad = { let o = Adam::new(0.1)?.amsgrad(g.flag()); optimizer(g, o)? };
    betas = { let o = Adam::new(0.1)?.betas(g.number(0.9), g.number(0.99))?; optimizer(g, o)? };
    eps = { let o = Adam::new(0.1)?.eps(g.number(1e-8))?; optimizer(g, o)? };
    weight_decay = { let o = Adam::new(0.1)?.weight_decay(g.number(0.1))?; optimizer(g, o)? };
"optim::AdamW::", g:
    step = own!(g, AdamW::<Parameters>::new(0.1, 0.1)?);
    set_learning_rate = own!(g, AdamW::<Parameters>::new(0.1, 0.1)?);
    new = { let o = AdamW::new(g.number(0.1), g.number(0.1))?; optimizer(g, o)? };
    amsgrad = { let o = AdamW::new(0.1, 0.1)?.amsgrad(g.flag()); optimizer(g, o)? };
    betas = { let o = AdamW::new(0.1, 0.1)?.betas(g.number(0.9), g.number(0.99))?; optimizer(g, o)? };
    eps = { let o = AdamW::new(0.1, 0.1)?.eps(g.number(1e-8))?; optimizer(g, o)? };
    weight_decay = { let o = AdamW::new(0.1, 0.1)?.weight_decay(g.number(0.1))?; optimizer(g, o)? };
"optim::NAdam::", g:
    step = own!(g, NAdam::<Parameters>::new(0.1)?);
    set_learning_rate = own!(g, NAdam::<Parameters>::new(0.1)?);
    new = { let o = NAdam::new(g.number(0.1))?; optimizer(g, o)? };
    betas = { let o = NAdam::new(0.1)?.betas(g.number(0.9), g.number(0.99))?; optimizer(g, o)? };
    eps = { let o = NAdam::new(0.1)?.eps(g.number(1e-8))?; optimizer(g, o)? };
    decoupled_weight_decay = { let o = NAdam::new(0.1)?.decoupled_weight_decay(g.flag()); optimizer(g, o)? };
    weight_decay = { let o = NAdam::new(0.1)?.weight_decay(g.number(0.1))?; optimizer(g, o)? };
"optim::RAdam::", g:
    step = own!(g, RAdam::<Parameters>::new(0.1)?);
    set_learning_rate = own!(g, RAdam::<Parameters>::new(0.1)?);
    new = { let o = RAdam::new(g.number(0.1))?; optimizer(g, o)? };
    betas = { let o = RAdam::new(0.1)?.betas(g.number(0.9), g.number(0.99))?; optimizer(g, o)? };
    eps = { let o = RAdam::new(0.1)?.eps(g.number(1e-8))?; optimizer(g, o)? };
    decoupled_weight_decay = { let o = RAdam::new(0.1)?.decoupled_weight_decay(g.flag()); optimizer(g, o)? };
    weight_decay = { let o = RAdam::new(0.1)?.weight_decay(g.number(0.1))?; optimizer(g, o)? };
"optim::RmsProp::", g:
    step = own!(g, RmsProp::<Parameters>::new(0.1)?);
    set_learning_rate = own!(g, RmsProp::<Parameters>::new(0.1)?);
    new = { let o = RmsProp::new(g.number(0.1))?; optimizer(g, o)? };
    centered = { let o = RmsProp::new(0.1)?.centered(g.flag()); optimizer(g, o)? };
    decay = { let o = RmsProp::new(0.1)?.decay(g.number(0.9))?; optimizer(g, o)? };
    eps = { let o = RmsProp::new(0.1)?.eps(g.number(1e-6))?; optimizer(g, o)? };
    momentum = { let o = RmsProp::new(0.1)?.momentum(g.number(0.9))?; optimizer(g, o)? };
    weight_decay = { let o = RmsProp::new(0.1)?.weight_decay(g.number(0.1))?; optimizer(g, o)? };
"optim::Sgd::", g:
    step = own!(g, Sgd::<Parameters>::new(0.1)?);
    set_learning_rate = own!(g, Sgd::<Parameters>::new(0.1)?);
    new = { let o = sgd(g)?; optimizer(g, o)? };
    dampening = { let o = sgd(g)?.momentum(0.9)?.dampening(g.number(0.1))?; optimizer(g, o)? };
    momentum = { let o = sgd(g)?.momentum(g.number(0.9))?; optimizer(g, o)? };
    nesterov = { let o = sgd(g)?.momentum(0.9)?.nesterov(g.flag()); optimizer(g, o)? };
    weight_decay = { let o = sgd(g)?.weight_decay(g.number(0.1))?; optimizer(g, o)? };
"optim::Groups::", g:
    new = grouped(g, groups())?;
    frozen = { let o = groups().frozen(g.text("0*")); grouped(g, o)? };
    rate = { let o = groups().rate(g.text("0*"), g.number(0.5))?; grouped(g, o)? };
    weight_decay = { let o = groups().weight_decay(g.text("0*"), g.number(0.5))?; grouped(g, o)? };
"optim::Ema::", g:
    new = averaged(g, false)?;
    update = averaged(g, false)?;
    restore = averaged(g, true)?;
"optim::", g:
    clip_global_norm = { let (mut a, most) = (parameters(g), g.number(1.0)); unchanged(&mut a, |a| clip_global_norm(a, most))? };
    clip_global_norm_of_type = { let (mut a, most, p) = (parameters(g), g.number(1.0), g.number(3.0)); unchanged(&mut a, |a| clip_global_norm_of_type(a, most, p))? };
    clip_value = { let (mut a, most) = (parameters(g), g.number(1.0)); unchanged(&mut a, |a| clip_value(a, most))? };
    global_norm = global_norm(&parameters(g), g.number(2.0))?;
"optim::schedule::Schedule::", g:
    factor = rule(g, Constant)?;
    observe = plateau(g, ReduceOnPlateau::default())?;
    restore = plateau(g, ReduceOnPlateau::default().patience(1).cooldown(2))?;
"optim::schedule::Cosine::", g:
    new = { let s = Cosine::new(g.size())?; rule(g, s)? };
    min_factor = { let s = Cosine::new(4)?.min_factor(g.number(0.1))?; rule(g, s)? };
"optim::schedule::CosineRestarts::", g:
    new = { let s = CosineRestarts::new(Cosine::new(g.size())?, g.size())?; rule(g, s)? };
"optim::schedule::Exponential::", g:
    new = { let s = Exponential::new(g.number(0.9))?; rule(g, s)? };
"optim::schedule::LinearRamp::", g:
    new = { let s = LinearRamp::new(g.number(0.1), g.number(1.0), g.size())?; rule(g, s)? };
"optim::schedule::MultiStep::", g:
    new = { let mut m = g.indices(9); m.sort(); m.dedup(); let s = MultiStep::new(m, g.number(0.5))?; rule(g, s)? };
"optim::schedule::OneCycle::", g:
    new = { let s = OneCycle::new(g.size())?; rule(g, s)? };
    anneal_strategy = { let s = OneCycle::new(9)?.anneal_strategy(g.one(&[Anneal::Linear, Anneal::Cosine])); rule(g, s)? };
    divisors = { let s = OneCycle::new(9)?.divisors(g.number(25.0), g.number(100.0))?; rule(g, s)? };
    rise = { let s = OneCycle::new(9)?.rise(g.number(0.3))?; rule(g, s)? };
    three_phase = { let s = OneCycle::new(g.like(9))?.three_phase(g.flag())?; rule(g, s)? };
"optim::schedule::Polynomial::", g:
    new = { let s = Polynomial::new(g.size(), g.number(2.0))?; rule(g, s)? };
    min_factor = { let s = Polynomial::new(4, 2.0)?.min_factor(g.number(0.1))?; rule(g, s)? };
"optim::schedule::ReduceOnPlateau::", g:
    cooldown = { let s = ReduceOnPlateau::default().cooldown(g.size()); plateau(g, s)? };
    gamma = { let s = ReduceOnPlateau::default().gamma(g.number(0.5))?; plateau(g, s)? };
    min_factor = { let s = ReduceOnPlateau::default().min_factor(g.number(0.1))?; plateau(g, s)? };
    mode = { let s = ReduceOnPlateau::default().mode(g.one(&[Mode::Min, Mode::Max])); plateau(g, s)? };
    patience = { let s = ReduceOnPlateau::default().patience(g.size()); plateau(g, s)? };
    threshold = { let s = ReduceOnPlateau::default().threshold(g.number(0.1))?; plateau(g, s)? };
    threshold_mode = { let s = ReduceOnPlateau::default().threshold_mode(g.one(&[ThresholdMode::Rel, ThresholdMode::Abs])); plateau(g, s)? };
"optim::schedule::StepDecay::", g:
    new = { let s = StepDecay::new(g.size(), g.number(0.5))?; rule(g, s)? };
"optim::schedule::Warmup::", g:
    new = { let s = Warmup::new(g.size(), Constant)?; rule(g, s)? };
}
