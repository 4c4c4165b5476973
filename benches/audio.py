"""The time of librosa and torchaudio for a second of sound, with the settings of `cargo bench --bench audio`, on one thread.

    pip install librosa==0.11.0 torch==2.15.0 torchaudio==2.11.1
    python benches/audio.py
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time

import librosa
import numpy as np
import torch
import torchaudio.functional as F
import torchaudio.transforms as T

SECONDS, ROUNDS = 2, 300
# Names, sample rates, n_fft, hop, n_mels, and whether MFCCs with slopes are computed.
CASES = [
    ("log-mel 80, n_fft 512, hop 160, 16 kHz", 16_000, 512, 160, 80, False),
    ("log-mel 80, n_fft 400, hop 160, 16 kHz", 16_000, 400, 160, 80, False),
    ("log-mel 128, n_fft 2048, hop 512, 22.05 kHz", 22_050, 2048, 512, 128, False),
    ("13 MFCCs with two slopes, n_fft 512, hop 160, 16 kHz", 16_000, 512, 160, 80, True),
]


def least(call):
    call()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) / SECONDS * 1e3


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    for name, rate, n_fft, hop, n_mels, is_mfcc in CASES:
        x = rng.uniform(-0.5, 0.5, rate * SECONDS).astype(np.float32)
        y = torch.from_numpy(x)
        mel = T.MelSpectrogram(
            rate, n_fft, hop_length=hop, n_mels=n_mels, norm="slaney", mel_scale="slaney"
        )
        db = T.AmplitudeToDB()
        dct = F.create_dct(13, n_mels, "ortho")

        def by_torchaudio():
            with torch.inference_mode():
                z = db(mel(y))
                if is_mfcc:
                    z = torch.matmul(z.transpose(-1, -2), dct).transpose(-1, -2)
                    slope = F.compute_deltas(z, 9)
                    z = torch.cat([z, slope, F.compute_deltas(slope, 9)])
                return z

        def by_librosa():
            power = librosa.feature.melspectrogram(
                y=x, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels, pad_mode="reflect"
            )
            z = librosa.power_to_db(power, top_db=None)
            if is_mfcc:
                z = librosa.feature.mfcc(S=z, n_mfcc=13)
                slopes = [librosa.feature.delta(z, order=order) for order in (1, 2)]
                z = np.concatenate([z, *slopes])
            return z

        assert by_torchaudio().shape[-2:] == by_librosa().shape
        print(f"{name}: torchaudio {least(by_torchaudio):.3f} ms, librosa {least(by_librosa):.3f} ms")


if __name__ == "__main__":
    main()
