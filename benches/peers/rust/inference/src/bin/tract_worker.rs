//! The worker of tract: the optimised plan of a case's ONNX model. Products of matrices are divided among
//! N threads.

use std::sync::Arc;

use inference_workers::{Engine, work};
use peer_protocol::{Array, Result, serve, threads_argument};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

struct Tract {
    plan: Arc<TypedRunnableModel>,
    /// The session that all steps share. The plan of a single step keeps no state in it.
    session: Option<TypedSimpleState>,
}

impl Engine for Tract {
    type Value = TValue;

    fn value(array: &Array) -> TValue {
        let values: Vec<f32> = array.values.iter().map(|v| *v as f32).collect();
        Tensor::from_shape(&array.shape, &values).expect("as many values as the shape has").into()
    }

    fn array(value: &TValue) -> Result<Array> {
        let view = value.to_plain_array_view::<f32>()?;
        Ok(Array::new(view.shape(), view.iter().map(|v| f64::from(*v)).collect()))
    }

    fn run(&mut self, x: &TValue, states: &[TValue]) -> Result<Vec<TValue>> {
        let inputs = std::iter::once(x).chain(states).cloned().collect();
        let results = match &mut self.session {
            Some(session) => session.run(inputs)?,
            None => self.plan.run(inputs)?,
        };
        Ok(results.into_vec())
    }
}

fn main() -> Result<()> {
    let threads = threads_argument();
    if threads > 1 {
        set_default_executor(Executor::multithread(threads));
    }
    serve("tract", "0.23.9", |case, tensors| {
        work(case, tensors, |bytes| {
            let model = tract_onnx::onnx().model_for_read(&mut bytes.as_slice())?;
            let plan = model.into_optimized()?.into_runnable()?;
            let session = (case.mode == "step").then(|| plan.spawn()).transpose()?;
            Ok(Tract { plan, session })
        })
    })
}
