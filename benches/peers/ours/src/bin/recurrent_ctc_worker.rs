//! The worker of this crate for the CTC loss with its gradient.

use ndarray::Array3;
use peer_protocol::{Array, Made, Result, Tensors, Work, serve, threads_argument};
use recurrent::Sequences;
use recurrent::loss::{Ctc, Loss};
use recurrent::memory::Reserve;

struct Loaded {
    logits: Sequences<f32>,
    labels: Vec<Vec<usize>>,
}

impl Loaded {
    fn new(tensors: &Tensors) -> Result<Self> {
        let logits = &tensors["logits"];
        let shape = (logits.shape[0], logits.shape[1], logits.shape[2]);
        let values = logits.values.iter().map(|&x| x as f32).collect();
        let whole = |name: &str| tensors[name].values.iter().map(|&x| x as usize);
        let lengths = whole("lengths").collect();
        let rows = (0..shape.1).map(|b| tensors["labels"].row(b).values);
        let labels = rows
            .zip(whole("counts"))
            .map(|(row, count)| row[..count].iter().map(|&label| label as usize).collect());
        let logits = Sequences::new(Array3::from_shape_vec(shape, values)?, lengths)?;
        Ok(Self { logits, labels: labels.collect() })
    }
}

impl Work for Loaded {
    fn run(&mut self) -> Result<()> {
        std::hint::black_box(Ctc::new(0).loss(&self.logits, &self.labels)?);
        Ok(())
    }

    fn check(&mut self) -> Result<Vec<(String, Array)>> {
        let (loss, gradient) = Ctc::new(0).loss(&self.logits, &self.labels)?;
        let (shape, values) = (gradient.values().shape(), gradient.values());
        let values = values.iter().map(|&d| f64::from(d)).collect();
        Ok(vec![
            ("loss".to_owned(), Array::new(&[1], vec![loss])),
            ("gradient".to_owned(), Array::new(shape, values)),
        ])
    }
}

fn main() -> Result<()> {
    // As in `Trainer`. Without it the cost of fresh memory is part of each call.
    let _reserve = Reserve::default();
    rayon::ThreadPoolBuilder::new().num_threads(threads_argument()).build_global()?;
    serve("recurrent", env!("CARGO_PKG_VERSION"), |_, tensors| {
        Ok(Made::Work(Box::new(Loaded::new(tensors)?)))
    })
}
