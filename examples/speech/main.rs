//! Speech: one spoken digit, and strings of digits without pauses that anyone has marked.
//!
//! Sound becomes logarithms of energies in 40 bands of frequency, 100 times a second. A bidirectional GRU names the
//! one digit of a recording: many to one. For strings of digits the number of labels is not known, nor where each
//! begins. An LSTM, trained by CTC, gives each digit or a blank at each step, and can do so while the sound
//! arrives.

use recurrent::audio::{Features, Log, Mel, Padding, Spectrum, Stft};
use recurrent::train::Model;

use common::corpus::find;
use common::options::{Failure, Options};
use common::report::Report;
use common::training::loaded_or;
use digits::{digits, new_speakers, train_digits};
use recordings::{RATE, generated, read, read_wav};
use strings::{Transcriber, check_streams, draw, listen, train_strings, transcripts};

#[path = "../common"]
mod common {
    pub(crate) mod corpus;
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}
mod digits;
mod recordings;
mod strings;

const ABOUT: &str = "\
speech: spoken digits. A GRU names the digit of a recording, of known speakers and of one that it never heard. An
LSTM with CTC transcribes strings of 3 to 6 digits while they are spoken.
--save FILE writes the transcriber. --load FILE --input WAV prints the digits of a recording of 8 kHz.";
const PUBLISHED: &str = "\
Published as the Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset): WAV files of 8 kHz;
train.tsv and test.tsv name them, with the columns file, digit and speaker.";

/// Returns the energies of windows of 25 ms, every 10 ms.
fn log_mel() -> recurrent::Result<Features> {
    let stft = Stft::new(256)?.win_length(200)?.hop_length(80)?.padding(Padding::Zeros);
    let mel = Mel::new(RATE, 40).f_min(60.0);
    Features::spectrogram(stft, Spectrum::Power).mel(&mel)?.log(Log::Ln { floor: 1e-6 })
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("speech", ABOUT)? else { return Ok(()) };
    let loaded = options.load.as_ref().map(Transcriber::load).transpose()?;
    if let (Some(model), Some(input)) = (&loaded, &options.input) {
        for (digit, second) in listen(model, &read_wav(input)?)?.digits {
            println!("{second:6.2} s  {digit}");
        }
        return Ok(());
    }
    let files = find(&options, "speech/fsdd", ["train.tsv", "test.tsv"], PUBLISHED);
    let real = files.is_some();
    let (train, test) = match files {
        Some([train, test]) => (read(&train)?, read(&test)?),
        None => (generated(10, 1), generated(5, 2)),
    };
    let spoken = recordings::strings(&test, if options.quick { 60 } else { 300 }, [3, 6], false, 1);
    let held_out = transcripts(&spoken)?;
    let mut report = Report::new("speech", !real);
    for seed in options.seed..options.seed + options.seeds {
        let transcriber = loaded_or(loaded.as_ref(), || train_strings(&options, &train, seed))?;
        let Some(transcriber) = transcriber else { return Ok(()) };
        let score = transcriber.evaluate(&held_out, 50)?;
        report.add("word error rate", score.label_error_rate());
        report.add("exact strings", score.exact_match());
        if seed == options.seed {
            check_streams(&transcriber, &spoken, &held_out)?;
            let picture = if real { "speech_alignment.svg" } else { "speech_generated.svg" };
            draw(&options.out.join(picture), &transcriber, &spoken[0], &held_out.values()[0])?;
            if let Some(file) = &options.save {
                transcriber.save(file)?;
            }
        }
        if loaded.is_some() {
            continue;
        }
        let Some(model) = train_digits(&options, &format!("speech_{seed}"), &train, seed)? else {
            return Ok(());
        };
        report.add("accuracy", model.evaluate(&digits(&test, &[1.0])?, 100)?.accuracy());
        report.published_baseline("accuracy", 0.9733, "logistic regression on MFCCs");
        let Some(accuracy) = new_speakers(&options, &train, &test, seed)? else { return Ok(()) };
        report.add("accuracy on new speakers", accuracy);
        report.baseline("accuracy on new speakers", 0.1, "chance");
    }
    report.print();
    report.require(&options, "word error rate", 0.5, true)
}
