//! Times loss and gradient of a CRF for `../crf.py`.
//!
//! Arguments: a safetensors file with `emissions` [time, batch, tags], `tags` [time, batch], `lengths` and the
//! scores, all f32, and the seconds to run. Prints the loss, the sum of the squared gradients, and the least
//! time of a call in seconds.

use std::time::{Duration, Instant};

use ndarray::{Array, Array2, Array3, ArrayD, Dimension};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use recurrent::layer::crf::Crf;
use recurrent::{Arrays, Sequences};
use safetensors::SafeTensors;

fn read<D: Dimension>(file: &SafeTensors<'_>, name: &str) -> Array<f32, D> {
    let tensor = file.tensor(name).expect(name);
    let values = tensor.data().chunks_exact(4);
    let values = values.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let array = ArrayD::from_shape_vec(tensor.shape(), values).unwrap();
    array.into_dimensionality().unwrap()
}

fn main() -> recurrent::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let bytes = std::fs::read(&arguments[1]).expect("the file of the case");
    let time = Duration::from_secs_f64(arguments[2].parse().expect("seconds"));
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let lengths: ndarray::Array1<f32> = read(&file, "lengths");
    let emissions: Array3<f32> = read(&file, "emissions");
    let tags = read::<ndarray::Ix2>(&file, "tags").mapv(|tag| tag as usize);
    let x = Sequences::new(emissions, lengths.iter().map(|&length| length as usize).collect())?;
    let mut crf = Crf::<f32>::new(x.features(), &mut ChaCha8Rng::seed_from_u64(1))?;
    for name in ["start_transitions", "end_transitions"] {
        crf.set(name, read::<ndarray::Ix1>(&file, name))?;
    }
    crf.set("transitions", read::<ndarray::Ix2>(&file, "transitions"))?;

    let call = |tags: &Array2<usize>| {
        let mut grad = crf.zeros_like();
        crf.loss_and_grad(&x, tags, &mut grad).map(|(loss, d_x)| (loss, d_x, grad))
    };
    let (loss, d_x, grad) = call(&tags)?;
    let mut squares = 0.0;
    let mut add = |array: ndarray::ArrayViewD<'_, f32>| {
        squares += array.iter().map(|&d| f64::from(d).powi(2)).sum::<f64>();
    };
    add(d_x.values().view().into_dyn());
    grad.for_each(&mut |_, array| add(array.view()));
    let (start, mut least) = (Instant::now(), Duration::MAX);
    while start.elapsed() < time {
        let begin = Instant::now();
        call(&tags)?;
        least = least.min(begin.elapsed());
    }
    println!("{loss} {squares} {}", least.as_secs_f64());
    Ok(())
}
