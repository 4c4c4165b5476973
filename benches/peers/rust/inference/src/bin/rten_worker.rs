//! The worker of rten: a case's ONNX model. The worker itself runs in the pool of N threads, so that no run
//! is handed from one thread to another.

use std::sync::Arc;

use inference_workers::{Engine, work};
use peer_protocol::{Array, Made, Result, serve, threads_argument};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{Tensor, TensorView};

struct Rten {
    model: Model,
    outputs: Vec<NodeId>,
    options: RunOptions,
}

impl Engine for Rten {
    type Value = Value;

    fn value(array: &Array) -> Value {
        let values: Vec<f32> = array.values.iter().map(|v| *v as f32).collect();
        Tensor::from_data(array.shape.as_slice(), values).into()
    }

    fn array(value: &Value) -> Result<Array> {
        let view: TensorView<f32> = value.as_tensor_view().ok_or("not a tensor of f32")?;
        Ok(Array::new(view.shape().as_ref(), view.iter().map(|v| f64::from(*v)).collect()))
    }

    fn run(&mut self, x: &Value, states: &[Value]) -> Result<Vec<Value>> {
        let values = std::iter::once(x).chain(states).map(ValueOrView::from);
        let inputs = self.model.input_ids().iter().copied().zip(values).collect();
        Ok(self.model.run(inputs, &self.outputs, Some(self.options.clone()))?)
    }
}

fn main() -> Result<()> {
    let pool = Arc::new(ThreadPool::with_num_threads(threads_argument()));
    let answer = || {
        serve("rten", "0.27.0", |case, tensors| {
            if case.cell == "rnn_tanh" {
                return Ok(Made::Unsupported("the crate has no RNN operator"));
            }
            work(case, tensors, |bytes| {
                let model = ModelOptions::with_all_ops().prepack_weights(true).load(bytes)?;
                let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
                Ok(Rten { outputs: model.output_ids().to_vec(), model, options })
            })
        })
        .map_err(|error| error.to_string())
    };
    Ok(pool.run(answer)?)
}
