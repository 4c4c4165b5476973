//! Files of PyTorch: [`StateDict`] reads the `state_dict` of a module, and makes layers and models of it.
//!
//! ```no_run
//! use recurrent::interop::pytorch::StateDict;
//!
//! let file = StateDict::open("tagger.pt")?; // torch.save(model.state_dict(), "tagger.pt"), or a safetensors file
//! let words = file.prefix("embedding.").embedding::<f32>()?;
//! let lstm = file.prefix("encoder.lstm.").lstm::<f32>()?; // sizes, layers, directions and bias are in the file
//! let head = file.prefix("head.").linear::<f32>()?;
//! # Ok::<(), recurrent::Error>(())
//! ```
//!
//! # What is read
//!
//! | file | |
//! |---|---|
//! | `.pt`, `.pth` of `torch.save` since PyTorch 1.6 | the zip of a pickle and storages |
//! | a safetensors file | |
//! | the stream format before 1.6, a TorchScript program, a module that was saved whole | refused by name |
//!
//! The pickle may have dictionaries, lists, tuples, texts, numbers, truth values, `None` and tensors, in any
//! nesting: a tensor of `{"model": {"lstm": …}}` has the prefix `model.`. **Nothing is executed**: any other
//! function or class is refused by name, whatever it is. Tensors may be views with any strides, and share
//! storages.
//!
//! # Memory
//!
//! Opening a file takes at most 256 times its size, whatever it contains, and a file of plain tensors about
//! once its size. The tensors of a file may have at most 4 values for each of its bytes, so arrays of all of
//! them take at most 32 times its size as `f64`. A file that asks for more is refused.
//!
//! # Back to PyTorch
//!
//! [`io::save`](crate::io::save) writes weights under PyTorch's names, and
//! [`io::Writer`](crate::io::Writer) those of several layers, each under its prefix. The file is one for
//! `model.load_state_dict(safetensors.torch.load_file(path), strict=True)`.
//!
//! | file | contents |
//! |---|---|
//! | `state_dict` | [`StateDict`]: names, reports, arrays |
//! | `layers` | its layers and models |
//! | `file` | the entries of a file, by name |
//! | `pickle` | the values of a pickle |
//! | `tensor` | arrays with strides within a file |

mod file;
mod layers;
mod pickle;
mod state_dict;
mod tensor;

pub use state_dict::StateDict;
pub use tensor::Dtype;
