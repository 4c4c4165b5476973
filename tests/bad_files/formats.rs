//! The formats: valid files, and what is done with a value that was read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array3, ArrayD, Ix1, Ix2, array};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use recurrent::audio::Wav;
use recurrent::cell::Nonlinearity;
use recurrent::data::{Imputer, Scaler, Table, TimeSteps, Unit, Vocabulary};
use recurrent::decode::Sampling;
use recurrent::interop::keras::{KerasModel, KerasOutput};
use recurrent::interop::numpy::{Npz, NpzWriter, read_npy, write_npy};
use recurrent::interop::onnx::{Graph, Value};
use recurrent::interop::pytorch::StateDict;
use recurrent::io::{Reader, Writer};
use recurrent::layer::Pooling;
use recurrent::model::SequenceClassifier;
use recurrent::{Error, Gru, GruCell, Lstm, LstmCell, Result, Sequences};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

use crate::common::temporary::File;
use crate::mutate;
use crate::run::{Format, OWN_MEMORY, Use};

mod models;

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
    Format {
        file: "weights.safetensors",
        seeds: vec![of_lstm, of_both],
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

pub(crate) fn pytorch() -> Format {
    let names = [
        "small.pt",
        "checkpoint.pt",
        "views.pt",
        "views_protocol_4.pt",
        "layers_f32.pt",
        "models_f32.pt",
    ];
    let mut seeds =
        fixtures(&names.map(|name| format!("pytorch/{name}")).each_ref().map(|name| &name[..]));
    seeds.extend(fixtures(&["pytorch/views.safetensors"]));
    Format {
        file: "model.pt",
        seeds,
        mutate: mutate::pytorch,
        read: Box::new(|path, _| {
            let file = StateDict::open(path)?;
            used(move || {
                let mut prefixes = BTreeSet::from([""]);
                for name in file.names() {
                    file.array::<f64, ndarray::IxDyn>(name).ok();
                    file.integers::<ndarray::IxDyn>(name).ok();
                    prefixes.extend(name.rfind('.').map(|dot| &name[..=dot]));
                }
                prefixes.into_iter().for_each(|prefix| layers(&file.prefix(prefix)));
                let values = SequenceClassifier::<LstmCell<f32>>::builder(4, 3);
                file.prefix("classifier.model.").model(values).ok();
                let words = SequenceClassifier::<GruCell<f32>>::builder(6, 3);
                file.prefix("words.model.").model(words.pooling(Pooling::Mean)).ok();
                Ok(())
            })
        }),
        growth: 256,
        beside: OWN_MEMORY,
        cost: 4,
    }
}

fn layers(file: &StateDict) {
    file.lstm::<f32>().ok();
    file.gru::<f64>().ok();
    file.rnn::<f32>(Nonlinearity::Tanh).ok();
    file.projected_lstm::<f32>().ok();
    file.linear::<f32>().ok();
    file.embedding::<f32>().ok();
    file.layer_norm::<f32>().ok();
    file.conv1d::<f32>().ok();
}

/// The most memory of a node of groups in an HDF5 file, whatever the size of the file.
const NODE_MEMORY: usize = 1 << 24;

/// Predicts with a model; one that reads tokens refuses the values.
fn predict(model: &KerasModel) -> Result<()> {
    let tokens = Sequences::one_hot_from_list(&[vec![1, 2, 0], vec![3]], 7)?;
    let of_tokens = model.predict(&tokens);
    for width in 1..=4 {
        let x = Sequences::full(Array3::<f32>::ones((3, 1, width)))?;
        if let Ok(KerasOutput::Rows(y)) = model.predict(&x) {
            y.sum();
        }
    }
    drop(of_tokens);
    Ok(())
}

pub(crate) fn keras() -> Format {
    let names =
        ["sequential", "functional", "masked", "backwards", "activated", "merged", "tokens"];
    let names = names.map(|name| format!("keras/{name}.keras"));
    Format {
        file: "model.keras",
        seeds: fixtures(&names.each_ref().map(|name| &name[..])),
        mutate: mutate::keras,
        read: Box::new(|path, _| {
            let model = KerasModel::open(path)?;
            used(move || predict(&model))
        }),
        growth: 256,
        beside: NODE_MEMORY,
        cost: 4,
    }
}

pub(crate) fn keras_weights() -> Format {
    let json = fs::read_to_string(fixture("keras/sequential.json")).unwrap();
    Format {
        file: "model.weights.h5",
        seeds: fixtures(&["keras/sequential.weights.h5"]),
        mutate: mutate::hdf5,
        read: Box::new(move |path, _| {
            let model = KerasModel::from_json(&json, path)?;
            used(move || predict(&model))
        }),
        growth: 256,
        beside: NODE_MEMORY,
        cost: 4,
    }
}

/// The inputs of a graph, by their names.
type Inputs = BTreeMap<String, Value>;

pub(crate) fn onnx() -> Format {
    let (mut seeds, mut inputs) = (Vec::new(), Vec::new());
    for name in ["onnx_nodes", "onnx_exports", "onnx_keras", "onnx_models", "onnx_unaligned"] {
        for (model, of_model) in cases(name) {
            let limited = |graph: Graph| graph.memory_limit(1 << 24);
            let file = File::with("seed.onnx", &model);
            let graph = Graph::load(&file.0).map(limited);
            if graph.is_ok_and(|graph| run(&graph, &of_model).is_ok()) && model.len() < 1 << 14 {
                seeds.push(model);
                inputs.push(of_model);
            }
        }
    }
    assert!(seeds.len() > 50, "{}", seeds.len());
    Format {
        file: "model.onnx",
        seeds,
        mutate: mutate::protobuf,
        read: Box::new(move |path, seed| {
            let graph = Graph::load(path)?.memory_limit(1 << 24);
            let inputs = inputs[seed].clone();
            used(move || run(&graph, &inputs))
        }),
        growth: 500,
        beside: OWN_MEMORY,
        cost: 2,
    }
}

fn run(graph: &Graph, inputs: &Inputs) -> Result<()> {
    let given = inputs.iter().map(|(name, value)| (&name[..], value.clone()));
    let given: Vec<_> = given.collect();
    graph.run(&given)?;
    let mut stream = graph.stream(&[], &[])?;
    stream.step(&given)?;
    stream.step(&given).map(drop)
}

/// Returns the models of a fixture, each with its inputs.
fn cases(name: &str) -> Vec<(Vec<u8>, Inputs)> {
    let bytes = fs::read(fixture(&format!("{name}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<&str> =
        tensors.names().into_iter().filter_map(|name| name.strip_suffix(".model")).collect();
    names.sort_unstable();
    let case = |name: &str| {
        let model = tensors.tensor(&format!("{name}.model")).unwrap().data().to_vec();
        let prefix = format!("{name}.in.");
        let mut inputs = Inputs::new();
        for full in tensors.names() {
            let Some(input) = full.strip_prefix(&prefix) else { continue };
            inputs.insert(input.to_owned(), value(&tensors.tensor(full).unwrap()));
        }
        (model, inputs)
    };
    names.into_iter().map(case).collect()
}

fn value(tensor: &safetensors::tensor::TensorView<'_>) -> Value {
    fn array<T, const N: usize>(
        tensor: &safetensors::tensor::TensorView<'_>,
        of: fn([u8; N]) -> T,
    ) -> ArrayD<T> {
        let values = tensor.data().chunks_exact(N).map(|bytes| of(bytes.try_into().unwrap()));
        ArrayD::from_shape_vec(tensor.shape(), values.collect()).unwrap()
    }
    match tensor.dtype() {
        Dtype::F32 => array(tensor, f32::from_le_bytes).into(),
        Dtype::F64 => array(tensor, f64::from_le_bytes).into(),
        Dtype::I32 => array(tensor, i32::from_le_bytes).into(),
        Dtype::I64 => array(tensor, i64::from_le_bytes).into(),
        dtype => panic!("{dtype:?}"),
    }
}
