//! Where a head ends, and whether its line ends can be read in one way only.

/// Most bytes in a head.
pub const MAX_HEAD: usize = 64 * 1024;
/// Most header lines in a head.
pub const MAX_HEADERS: usize = 100;

/// Why the lines of a head are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineError {
    /// A line ends in a line feed without a carriage return.
    BareLineFeed,
    /// A header goes on in the next line.
    Folded,
    /// More than [`MAX_HEAD`] bytes.
    TooLong,
}

/// Looks for the end of a head in a growing buffer, touching each byte once.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Bytes of the buffer already looked through.
    scanned: usize,
    /// Where the line that is being looked through begins.
    line: usize,
}

impl Lines {
    /// Length of the head including its empty line, once that has come. Judges line ends on the way, because the parser
    /// behind this one forgives them.
    pub(super) fn end(&mut self, buffer: &[u8]) -> Result<Option<usize>, LineError> {
        while let Some(found) = memchr::memchr(b'\n', &buffer[self.scanned..]) {
            let feed = self.scanned + found;
            if feed == self.line || buffer[feed - 1] != b'\r' {
                return Err(LineError::BareLineFeed);
            }
            if feed >= MAX_HEAD {
                return Err(LineError::TooLong);
            }
            self.scanned = feed + 1;
            if feed == self.line + 1 {
                *self = Self::default();
                return Ok(Some(feed + 1));
            }
            if self.line > 0 && matches!(buffer[self.line], b' ' | b'\t') {
                return Err(LineError::Folded);
            }
            self.line = feed + 1;
        }
        self.scanned = buffer.len();
        if self.scanned > MAX_HEAD { Err(LineError::TooLong) } else { Ok(None) }
    }
}
