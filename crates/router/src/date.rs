//! The `Date` header, which changes once a second.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use crate::clock::since_1970;

/// `Sat, 21 Nov 2026 12:23:41 GMT`
pub(crate) const LENGTH: usize = 29;

/// The last date that was asked for: its second since 1970 and its text.
#[derive(Debug)]
pub(crate) struct Date(Cell<(u64, [u8; LENGTH])>);

impl Default for Date {
    fn default() -> Self {
        Self(Cell::new((u64::MAX, [b' '; LENGTH])))
    }
}

impl Date {
    pub(crate) fn now(&self) -> [u8; LENGTH] {
        self.at(since_1970().as_secs())
    }

    fn at(&self, second: u64) -> [u8; LENGTH] {
        let (known, text) = self.0.get();
        if known == second {
            return text;
        }
        let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        let text = date.as_bytes().first_chunk().copied().unwrap_or([b' '; LENGTH]);
        self.0.set((second, text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_clients_read_it() {
        let date = Date::default();
        for _ in 0..2 {
            assert_eq!(&date.at(1_795_263_821), b"Sat, 21 Nov 2026 12:23:41 GMT");
        }
        assert_eq!(&date.at(1_795_263_822), b"Sat, 21 Nov 2026 12:23:42 GMT");
    }
}
