//! Amounts of processor time and memory in the one spelling that the API server stores.
//!
//! The API server rewrites `1024Mi` to `1Gi` and `0.5` to `500m`. An object that says the same in other letters would look
//! changed on every comparison, and be written for ever.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Reads cores such as `4`, `500m` or `1.5`; at most three decimals. `None` when it is none of these.
pub(super) fn cores(text: &str) -> Option<Quantity> {
    let millis = match text.strip_suffix('m') {
        Some(millis) => digits(millis)?,
        None => match text.split_once('.') {
            None => digits(text)?.checked_mul(1000)?,
            Some((whole, part)) if part.len() <= 3 => {
                let part = digits(part)?.checked_mul(10_i64.pow(3 - u32::try_from(part.len()).ok()?))?;
                digits(whole)?.checked_mul(1000)?.checked_add(part)?
            }
            Some(_) => return None,
        },
    };
    Some(if millis % 1000 == 0 { number(millis / 1000) } else { Quantity(format!("{millis}m")) })
}

/// Reads memory such as `24Gi`: a whole number with one of Ki, Mi, Gi, Ti. `None` when it is none, or beyond all machines.
pub(super) fn memory(text: &str) -> Option<Quantity> {
    const UNITS: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let at = UNITS.iter().skip(1).take(4).position(|unit| text.ends_with(unit))? + 1;
    let mut amount = digits(text.strip_suffix(UNITS[at])?)?;
    // A sum beyond this does not fit the signed bytes that Kubernetes counts in.
    amount.checked_mul(1_i64.checked_shl(10 * u32::try_from(at).ok()?)?)?;
    let mut unit = at;
    while amount != 0 && amount % 1024 == 0 && unit + 1 < UNITS.len() {
        amount /= 1024;
        unit += 1;
    }
    Some(Quantity(if amount == 0 { "0".to_owned() } else { format!("{amount}{}", UNITS[unit]) }))
}

/// A whole number: `1000` is `1k` to the API server.
pub(super) fn number(mut n: i64) -> Quantity {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut unit = 0;
    while n != 0 && n % 1000 == 0 && unit + 1 < UNITS.len() {
        n /= 1000;
        unit += 1;
    }
    Quantity(format!("{n}{}", UNITS[unit]))
}

/// So many hundredths: 80 is `800m`, 100 is `1`.
pub(super) fn percent(n: i32) -> Quantity {
    if n % 100 == 0 { number(i64::from(n / 100)) } else { Quantity(format!("{}m", i64::from(n) * 10)) }
}

fn digits(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_as_the_api_server_does() {
        let table = [
            ("4", Some("4")),
            ("0.5", Some("500m")),
            ("1.5", Some("1500m")),
            ("2.000", Some("2")),
            ("2000m", Some("2")),
            ("1000", Some("1k")),
            ("0", Some("0")),
            ("0.0001", None),
            ("1.", None),
            ("m", None),
            ("-1", None),
            ("", None),
            ("9223372036854775807", None),
        ];
        for (text, want) in table {
            assert_eq!(cores(text).map(|q| q.0).as_deref(), want, "cores {text}");
        }
        let table = [
            ("24Gi", Some("24Gi")),
            ("1024Mi", Some("1Gi")),
            ("1536Mi", Some("1536Mi")),
            ("1048576Ki", Some("1Gi")),
            ("2048Ti", Some("2Pi")),
            ("0Gi", Some("0")),
            ("24", None),
            ("24G", None),
            ("1.5Gi", None),
            ("Gi", None),
            ("99999999999999Ti", None),
        ];
        for (text, want) in table {
            assert_eq!(memory(text).map(|q| q.0).as_deref(), want, "memory {text}");
        }
        for (n, want) in [(32, "32"), (1000, "1k"), (100_000, "100k"), (0, "0"), (2_000_000, "2M")] {
            assert_eq!(number(n).0, want);
        }
    }
}
