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
        while self.counted < at {
            let next = self.text.get(self.counted + 1);
            self.line += match self.text[self.counted] {
                b'\n' => 1,
                b'\r' => u64::from(next != Some(&b'\n')),
                _ => 0,
            };
            self.counted += 1;
        }
        self.line
    }

    /// Returns the line on which a row begins that is read from the byte `at` on: the first one that is
    /// not empty.
    pub(super) fn of_row(&mut self, at: usize) -> u64 {
        let empty = self.text[at..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        self.of(at + empty)
    }
}
