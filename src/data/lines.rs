//! [`Lines`]: the numbers of the lines of a text.

/// A counter of lines, each of which ends with `\n`, `\r\n` or `\r`.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    /// The bytes that have been counted.
    counted: usize,
    /// The line of the next byte, from 1.
    line: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, counted: 0, line: 1 }
    }

    /// Returns the line of the byte `at`, which is not before that of the last call.
    pub(super) fn of(&mut self, at: usize) -> u64 {
        let rest = self.text.get(self.counted..).unwrap_or_default();
        for (k, byte) in rest.iter().enumerate().take(at.saturating_sub(self.counted)) {
            self.line += match byte {
                b'\n' => 1,
                b'\r' => u64::from(rest.get(k + 1) != Some(&b'\n')),
                _ => 0,
            };
        }
        self.counted = self.counted.max(at);
        self.line
    }

    /// Returns the line on which a row begins that is read from the byte `at` on: the first one that is
    /// not empty.
    pub(super) fn of_row(&mut self, at: usize) -> u64 {
        let empty = self.text.iter().skip(at).take_while(|byte| b"\r\n".contains(byte)).count();
        self.of(at + empty)
    }
}
