//! The formats: valid files, and what is done with a value that was read.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array3, ArrayD, Ix1, Ix2, array};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use recurrent::audio::Wav;
use recurrent::data::{Imputer, Scaler, Table, TimeSteps, Unit, Vocabulary};
use recurrent::decode::Sampling;
use recurrent::interop::numpy::{Npz, NpzWriter, read_npy, write_npy};
use recurrent::io::{Reader, Writer};
use recurrent::tensor::Precision;
use recurrent::{Error, Gru, Lstm, Result, Sequences};
use serde::de::DeserializeOwned;

use crate::common::temporary::File;
use crate::mutate;
use crate::run::{Format, OWN_MEMORY, Use};

mod interop;
mod models;

pub(crate) use interop::{keras, keras_weights, onnx, pytorch};
pub(crate) use models::{checkpoints, models};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// Returns the bytes of the file that `write` writes.
fn written(write: impl FnOnce(&Path) -> Result<()>) -> Vec<u8> {
    let file = File::new("seed");
    write(&file.0).unwrap();
    fs::read(&file.0).unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn fixtures(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| fs::read(fixture(name)).unwrap()).collect()
}

fn used(f: impl FnOnce() -> Result<()> + 'static) -> Result<Use> {
    Ok(Box::new(f))
}

pub(crate) fn safetensors() -> Format {
    let lstm = || Lstm::<f32>::builder(2, 3).build(&mut rng()).unwrap();
    let gru = Gru::<f64>::builder(1, 2).num_layers(2).build(&mut rng()).unwrap();
    let of_lstm = written(|path| Writer::default().arrays("a.", &lstm()).about("text").write(path));
    let of_both =
        written(|path| Writer::default().arrays("a.", &lstm()).arrays("b.", &gru).write(path));
    let of_int8 =
        written(|path| Writer::default().arrays_with("a.", &lstm(), Precision::Int8)?.write(path));
    Format {
        file: "weights.safetensors",
        seeds: vec![of_lstm, of_both, of_int8],
        mutate: mutate::safetensors,
        read: Box::new(move |path, _| {
            let mut weights = lstm();
            let file = Reader::open(path)?;
            file.arrays("a.", &mut weights)?;
            used(move || {
                file.names("");
                file.about();
                let x = Sequences::full(Array3::<f32>::ones((2, 1, 2)))?;
                weights.forward(&x, None).map(drop)
            })
        }),
        growth: 64,
        beside: OWN_MEMORY,
        cost: 1,
    }
}

pub(crate) fn csv() -> Format {
    let of_times = b"walk,time,x,y,kind\n7,2024-02-28,0.5,1,up\n7,2024-02-29 23:59,1.5,2,up\n9,2024-03-01T00:00:00.5+01:00,2.5,3,down\n";
    let of_quotes = b"id,text,n\r\n1,\"a, \"\"b\"\"\",2\r\n1,\"two\nlines\",3\r\n\r\n2, c ,4\r\n";
    let of_numbers = b"\xef\xbb\xbfa,b,c\n1,,NaN\n-2e-3,NA,7\n";
    Format {
        file: "table.csv",
        seeds: vec![of_times.to_vec(), of_quotes.to_vec(), of_numbers.to_vec()],
        mutate: mutate::csv,
        read: Box::new(|path, _| {
            let table = Table::read(path)?;
            let plain = Table::reader().quoting(false).delimiter(b';').read(path);
            drop(plain);
            used(move || {
                let names = table.names().to_vec();
                // An answer to a column that fails is an error of that column alone.
                for name in &names {
                    table.column::<f64>(name).ok();
                    table.column::<usize>(name).ok();
                    table.times(name, &TimeSteps::increasing()).ok();
                    table.values_with_missing::<f32>(&[name], &["NA"]).ok();
                    table.groups(name).ok();
                    table.classes(name).ok();
                    table.labels(&names[0], name).ok();
                    table.sequence_times(&names[0], name, &TimeSteps::increasing()).ok();
                }
                table.sequences::<f64>(&names[0], &names).ok();
                Ok(())
            })
        }),
        growth: 256,
        beside: OWN_MEMORY,
        cost: 1,
    }
}

pub(crate) fn npy() -> Format {
    let matrix = array![[1.0_f64, 2.0, 3.0], [4.0, 5.0, 6.0]];
    let fortran = written(|path| write_npy(path, &matrix));
    let fortran = String::from_utf8_lossy(&fortran[10..128]).replace("False, ", "True,  ");
    let values: Vec<u8> = matrix.t().iter().flat_map(|value| value.to_le_bytes()).collect();
    let fortran = [b"\x93NUMPY\x01\x00\x76\x00", fortran.as_bytes(), &values].concat();
    let integers: Array1<i64> = array![1, -2, 3];
    Format {
        file: "array.npy",
        seeds: vec![
            written(|path| write_npy(path, &matrix)),
            written(|path| write_npy(path, &integers)),
            written(|path| {
                write_npy(
                    path,
                    &matrix.mapv(|x| x as f32).into_shape_with_order((1, 3, 2)).unwrap(),
                )
            }),
            fortran,
        ],
        mutate: mutate::npy,
        read: Box::new(|path, _| {
            let single = read_npy::<f32, ndarray::IxDyn>(path);
            let double: ArrayD<f64> = read_npy(path)?;
            read_npy::<f64, Ix2>(path).ok();
            used(move || {
                double.sum();
                single.map(drop)
            })
        }),
        growth: 64,
        beside: OWN_MEMORY,
        cost: 1,
    }
}

pub(crate) fn npz() -> Format {
    let mut seeds = fixtures(&["numpy/plain.npz", "numpy/compressed.npz"]);
    let gru = || Gru::<f32>::builder(1, 2).build(&mut rng()).unwrap();
    let x = Sequences::from_list(&[array![[0.5], [1.0]], array![[2.0]]]).unwrap();
    for compressed in [false, true] {
        let writer = NpzWriter::default().arrays("gru.", &gru()).sequences::<f64>("x", &x);
        seeds.push(written(|path| writer.compressed(compressed).write(path)));
    }
    Format {
        file: "arrays.npz",
        seeds,
        mutate: mutate::npz,
        read: Box::new(move |path, _| {
            let file = Npz::open(path)?;
            file.arrays("gru.", &mut gru()).ok();
            file.sequences::<f32>("x").ok();
            let names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
            for name in &names {
                file.array::<f64, ndarray::IxDyn>(name).ok();
                file.integers::<Ix1>(name).ok();
            }
            used(|| Ok(()))
        }),
        growth: 1024,
        beside: OWN_MEMORY,
        cost: 2,
    }
}

/// Reads a description as JSON.
fn described<V: DeserializeOwned>(path: &Path) -> Result<V> {
    let bytes = fs::read(path).unwrap();
    serde_json::from_slice(&bytes).map_err(|error| Error::argument("JSON", "a description", error))
}

pub(crate) fn descriptions() -> Format {
    let words = Vocabulary::builder(Unit::Word).special(&["<pad>", "<unk>"]).unknown("<unk>");
    let words = words.lowercase(true).fit(["The cat saw the dog.", "Ein café"]).unwrap();
    let letters = Vocabulary::builder(Unit::Character).fit(["abc dé"]).unwrap();
    let series = array![[1.0, 2.0], [3.0, 5.0]];
    let imputer = Imputer::mean(&[series.view()]).unwrap().add_indicator(true);
    let sampling = Sampling::temperature(0.7).unwrap().top_k(2).unwrap().top_p(0.9).unwrap();
    Format {
        file: "description.json",
        seeds: vec![
            serde_json::to_vec(&words).unwrap(),
            serde_json::to_vec(&letters).unwrap(),
            serde_json::to_vec(&Scaler::standard(&[series.view()]).unwrap()).unwrap(),
            serde_json::to_vec(&imputer).unwrap(),
            serde_json::to_vec(&sampling).unwrap(),
        ],
        mutate: mutate::json,
        read: Box::new(move |path, seed| {
            let series = series.clone();
            match seed {
                0 | 1 => {
                    let vocabulary = described(path)?;
                    used(move || of_vocabulary(&vocabulary))
                }
                2 => {
                    let scaler: Scaler = described(path)?;
                    used(move || {
                        scaler.columns(&[0]).ok();
                        scaler.inverse_transform(&scaler.transform(&series)?).map(drop)
                    })
                }
                3 => {
                    let imputer: Imputer = described(path)?;
                    used(move || {
                        imputer.names_out(&["x", "y"]).ok();
                        imputer.transform(&series).map(drop)
                    })
                }
                _ => {
                    let sampling: Sampling = described(path)?;
                    used(move || sampling.pick(series.row(1), &mut rng()).map(drop))
                }
            }
        }),
        growth: 512,
        beside: OWN_MEMORY,
        cost: 1,
    }
}

fn of_vocabulary(vocabulary: &Vocabulary) -> Result<()> {
    vocabulary.special();
    vocabulary.characters(&["ab"]).ok();
    if let Ok(numbers) = vocabulary.encode("the dog é") {
        vocabulary.decode(&numbers)?;
    }
    let all: Vec<usize> = (0..vocabulary.len()).collect();
    vocabulary.decode(&all).map(drop)
}

pub(crate) fn wav() -> Format {
    let file = |format: u16, channels: u16, bits: u16, data: &[u8]| {
        let (align, mut file) = (channels * bits / 8, b"RIFF".to_vec());
        file.extend((36 + data.len() as u32).to_le_bytes());
        file.extend(b"WAVEfmt \x10\0\0\0");
        file.extend([format, channels].into_iter().flat_map(u16::to_le_bytes));
        file.extend([16_000, 16_000 * u32::from(align)].into_iter().flat_map(u32::to_le_bytes));
        file.extend([align, bits].into_iter().flat_map(u16::to_le_bytes));
        file.extend(b"data");
        file.extend((data.len() as u32).to_le_bytes());
        [&file, data].concat()
    };
    let bytes: Vec<u8> = (0..96).collect();
    let floats: Vec<u8> = (0..24_u8).flat_map(|i| (f32::from(i) / 24.0).to_le_bytes()).collect();
    Format {
        file: "sound.wav",
        seeds: vec![
            file(1, 1, 8, &bytes),
            file(1, 2, 16, &bytes),
            file(1, 1, 24, &bytes),
            file(1, 3, 32, &bytes),
            file(3, 2, 32, &floats),
        ],
        mutate: mutate::wav,
        read: Box::new(|path, _| {
            let wav = Wav::read(path)?;
            used(move || {
                wav.mix_down();
                assert_eq!(wav.channel(0)?.len(), wav.len());
                wav.is_empty();
                wav.expect_sample_rate(16_000).ok();
                Ok(())
            })
        }),
        growth: 64,
        beside: OWN_MEMORY,
        cost: 1,
    }
}
