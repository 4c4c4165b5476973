//! A program that loads a tagger and streams it: each line of numbers is a step, and its label is printed.

use std::io::stdin;

use recurrent::cell::LstmCell;
use recurrent::model::SequenceTagger;
use recurrent::ndarray::{Array1, Axis};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("expected the file of a model")?;
    let model = SequenceTagger::<LstmCell<f32>>::load(path)?;
    let mut stream = model.stream(1)?;
    for line in stdin().lines() {
        let values = line?.split_whitespace().map(str::parse).collect::<Result<Array1<f32>, _>>()?;
        let p = stream.step(values.insert_axis(Axis(0)).view())?;
        let best = (0..p.ncols()).max_by(|&a, &b| p[[0, a]].total_cmp(&p[[0, b]]));
        println!("{}", best.map_or("", |class| &model.labels()[class]));
    }
    Ok(())
}
