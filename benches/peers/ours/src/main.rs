//! The worker of this crate, which calls `recurrent` through its public interface.

mod char_lm;
mod sequence;
mod tensors;

use char_lm::CharLm;
use peer_protocol::{Case, Made, Result, Tensors, Work, serve, threads_argument};
use recurrent::Float;
use recurrent::cell::{GruCell, LstmCell, RnnCell};
use recurrent::memory::Reserve;

fn make<T: Float>(case: &Case, tensors: &Tensors) -> Result<Made> {
    if case.mode == "char_lm" {
        return Ok(Made::Work(Box::new(CharLm::<T>::new(case, tensors)?)));
    }
    let work: Box<dyn Work> = match case.cell.as_str() {
        "lstm" => sequence::make::<T, LstmCell<T>>(case, tensors)?,
        "gru" => sequence::make::<T, GruCell<T>>(case, tensors)?,
        "rnn_tanh" => sequence::make::<T, RnnCell<T>>(case, tensors)?,
        _ => return Ok(Made::Unsupported("no such cell")),
    };
    Ok(Made::Work(work))
}

fn main() -> Result<()> {
    // As in `Trainer`. Without it the cost of fresh memory is part of each call.
    let without = std::env::args().any(|argument| argument == "--without-reserve");
    let _reserve = (!without).then(Reserve::default);
    rayon::ThreadPoolBuilder::new().num_threads(threads_argument()).build_global()?;
    serve("recurrent", env!("CARGO_PKG_VERSION"), |case, tensors| match case.dtype.as_str() {
        "f32" => make::<f32>(case, tensors),
        "f64" => make::<f64>(case, tensors),
        _ => Ok(Made::Unsupported("no such dtype")),
    })
}
