//! Decimal numbers as they are written, to integers, with nothing lost on the way.

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDecimal {
    /// Not digits with at most one point, and perhaps an exponent.
    #[error("not a decimal number such as 0.35")]
    Malformed,
    /// It has digits below the smallest unit that is counted.
    #[error("has more decimals than can be counted exactly")]
    TooFine,
    /// It does not fit.
    #[error("is too large")]
    TooLarge,
}

/// The number that `text` writes, times ten to the power of `scale`, exactly. Takes an exponent (`3e-06`) and no sign.
///
/// # Errors
///
/// When the text is no such number, or the result is not a whole one, or does not fit.
pub fn scaled(text: &str, scale: i32) -> Result<u64, BadDecimal> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| BadDecimal::Malformed)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let dot_alone = mantissa.contains('.') && (whole.is_empty() || fraction.is_empty());
    if whole.is_empty() || dot_alone || !all_digits(whole) || !all_digits(fraction) {
        return Err(BadDecimal::Malformed);
    }
    let fraction = fraction.trim_end_matches('0');
    let mut number: u64 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        number =
            number.checked_mul(10).and_then(|n| n.checked_add(u64::from(digit - b'0'))).ok_or(BadDecimal::TooLarge)?;
    }
    if number == 0 {
        return Ok(0);
    }
    let places = i32::try_from(fraction.len()).map_err(|_| BadDecimal::TooFine)?;
    let mut shift = exponent.saturating_add(scale).saturating_sub(places);
    while shift > 0 {
        number = number.checked_mul(10).ok_or(BadDecimal::TooLarge)?;
        shift -= 1;
    }
    while shift < 0 {
        if !number.is_multiple_of(10) {
            return Err(BadDecimal::TooFine);
        }
        number /= 10;
        shift += 1;
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_exactly_or_not_at_all() {
        let cases = [
            ("0", 9, Ok(0)),
            ("0.35", 9, Ok(350_000_000)),
            ("500", 9, Ok(500_000_000_000)),
            ("0.000000001", 9, Ok(1)),
            ("0.0000000001", 9, Err(BadDecimal::TooFine)),
            ("0.10000000000", 9, Ok(100_000_000)),
            ("3e-06", 15, Ok(3_000_000_000)),
            ("3.75e-06", 15, Ok(3_750_000_000)),
            ("1.5E-7", 15, Ok(150_000_000)),
            ("0e-99", 15, Ok(0)),
            ("1e3", 0, Ok(1000)),
            ("20e-1", 0, Ok(2)),
            ("1e-16", 15, Err(BadDecimal::TooFine)),
            ("1e40", 0, Err(BadDecimal::TooLarge)),
            ("99999999999999999999", 0, Err(BadDecimal::TooLarge)),
            ("", 0, Err(BadDecimal::Malformed)),
            (".5", 1, Err(BadDecimal::Malformed)),
            ("5.", 1, Err(BadDecimal::Malformed)),
            ("-1", 0, Err(BadDecimal::Malformed)),
            ("1 ", 0, Err(BadDecimal::Malformed)),
            ("1.2.3", 0, Err(BadDecimal::Malformed)),
            ("1e", 0, Err(BadDecimal::Malformed)),
            ("0x10", 0, Err(BadDecimal::Malformed)),
            ("1,5", 1, Err(BadDecimal::Malformed)),
        ];
        for (text, scale, want) in cases {
            assert_eq!(scaled(text, scale), want, "{text} times ten to the {scale}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 0u64..1_000_000_000_000_000, places in 0usize..12) {
            let digits = format!("{number:0>width$}", width = places + 1);
            let (whole, fraction) = digits.split_at(digits.len() - places);
            let text = if places == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") };
            prop_assert_eq!(scaled(&text, i32::try_from(places).unwrap()), Ok(number));
        }
    }
}
