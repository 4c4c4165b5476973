//! [`Operator`]: a cell of this crate as an operator of ONNX.
#![expect(clippy::indexing_slicing, reason = "an operator has three peepholes")]

use std::any::Any;

use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};

use crate::arrays::Arrays;
use crate::cell::{
    Cell, CoupledLstmCell, GateWeights, GruCell, LstmCell, Nonlinearity, PeepholeLstmCell, Reset,
    RnnCell,
};
use crate::float::Float;
use crate::model::BuiltInCell;

/// One direction of a layer.
pub(super) struct Operator<T> {
    pub(super) name: &'static str,
    /// W [gates·hidden, input] and R [gates·hidden, hidden], in the order of ONNX.
    pub(super) w: Array2<T>,
    pub(super) r: Array2<T>,
    /// B [2·gates·hidden].
    pub(super) b: Array1<T>,
    /// P [3·hidden].
    pub(super) p: Option<Array1<T>>,
    /// The activation, if it is not the default.
    pub(super) activation: Option<&'static str>,
    /// The flag that is set, if there is one.
    pub(super) flag: Option<&'static str>,
    pub(super) states: &'static [&'static str],
}

impl<T: Float> Operator<T> {
    /// Returns the operator of a cell. Fails with nothing if ONNX has none.
    pub(super) fn of(cell: &dyn Any) -> Option<Self> {
        if let Some(cell) = cell.downcast_ref::<LstmCell<T>>() {
            return Some(Self::new("LSTM", cell, &[0, 3, 1, 2]));
        }
        if let Some(cell) = cell.downcast_ref::<GruCell<T>>() {
            let flag = (cell.reset == Reset::After).then_some("linear_before_reset");
            return Some(Self { flag, ..Self::new("GRU", cell, &[1, 0, 2]) });
        }
        if let Some(cell) = cell.downcast_ref::<RnnCell<T>>() {
            let activation = (cell.nonlinearity == Nonlinearity::Relu).then_some("Relu");
            return Some(Self { activation, ..Self::new("RNN", cell, &[0]) });
        }
        if let Some(cell) = cell.downcast_ref::<PeepholeLstmCell<T>>() {
            let mut p = vec![Vec::new(); 3];
            cell.for_each(&mut |name, array| {
                let names = ["weight_ci", "weight_co", "weight_cf"];
                if let Some(k) = names.iter().position(|&peephole| peephole == name) {
                    p[k] = array.iter().copied().collect();
                }
            });
            let p = Some(p.concat().into());
            return Some(Self { p, ..Self::new("LSTM", cell, &[0, 3, 1, 2]) });
        }
        if let Some(cell) = cell.downcast_ref::<CoupledLstmCell<T>>() {
            return Some(Self::coupled(cell));
        }
        match cell.downcast_ref::<BuiltInCell<T>>()? {
            BuiltInCell::Lstm(cell) => Self::of(cell),
            BuiltInCell::Gru(cell) => Self::of(cell),
            BuiltInCell::Rnn(cell) => Self::of(cell),
            BuiltInCell::PeepholeLstm(cell) => Self::of(cell),
            BuiltInCell::CoupledLstm(cell) => Self::of(cell),
            _ => None,
        }
    }

    /// Returns the operator of a cell, whose gate `order[k]` is gate k of ONNX.
    fn new<C: Cell<Elem = T>>(name: &'static str, cell: &C, order: &[usize]) -> Self {
        let (GateWeights { weight_ih, weight_hh, bias_ih, bias_hh }, hidden) =
            (cell.weights(), cell.hidden_size());
        let zeros = || Array1::zeros(weight_ih.nrows());
        let bias = |bias: &Option<Array1<T>>| -> Vec<T> {
            let column = bias.clone().unwrap_or_else(zeros).insert_axis(Axis(1));
            ordered(column.view(), order, hidden).into_iter().collect()
        };
        Self {
            name,
            w: ordered(weight_ih.view(), order, hidden),
            r: ordered(weight_hh.view(), order, hidden),
            b: [bias(bias_ih), bias(bias_hh)].concat().into(),
            p: None,
            activation: None,
            flag: None,
            states: cell.states(),
        }
    }

    /// Returns the operator of a coupled LSTM. Its gate f is 1 − i of ONNX, and σ(−a) = 1 − σ(a): the sum of
    /// the input gate is that of f with the opposite sign. ONNX does not read the rows of its own f.
    fn coupled(cell: &CoupledLstmCell<T>) -> Self {
        let hidden = cell.hidden_size();
        let mut operator = Self::new("LSTM", cell, &[0, 2, 0, 1]);
        let rows = Slice::from(..hidden);
        let negate = |value: &mut T| *value = -*value;
        operator.w.slice_axis_mut(Axis(0), rows).iter_mut().for_each(negate);
        operator.r.slice_axis_mut(Axis(0), rows).iter_mut().for_each(negate);
        for start in [0, 4 * hidden] {
            let rows = Slice::from(start..start + hidden);
            operator.b.slice_axis_mut(Axis(0), rows).iter_mut().for_each(negate);
        }
        Self { flag: Some("input_forget"), ..operator }
    }
}

/// Returns the rows of the gates in another order.
fn ordered<T: Float>(weight: ArrayView2<'_, T>, order: &[usize], hidden: usize) -> Array2<T> {
    let rows: Vec<usize> =
        order.iter().flat_map(|&gate| gate * hidden..(gate + 1) * hidden).collect();
    weight.select(Axis(0), &rows)
}
