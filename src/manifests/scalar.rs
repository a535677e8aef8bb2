//! What a plain word stands for, as kubectl and Helm read it: YAML 1.1, where `off` is a boolean and `010` is eight.

use serde_json::{Number, Value};

/// The value of a word without quotes.
pub fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            true.into()
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            false.into()
        }
        _ => number(text).map_or_else(|| text.into(), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let first = text.trim_start_matches(['-', '+']).chars().next()?;
    if !first.is_ascii_digit() && first != '.' {
        return None;
    }
    let digits = text.replace('_', "");
    whole(&digits).or_else(|| {
        // A float needs a dot or an exponent; the parser of the standard library knows `inf` and `nan` too.
        let is_float = digits
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
        is_float.then(|| digits.parse().ok().and_then(Number::from_f64))?
    })
}

fn whole(digits: &str) -> Option<Number> {
    let (sign, rest) = match digits.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, digits.strip_prefix('+').unwrap_or(digits)),
    };
    // A second sign would be taken by the parsers below, also behind a prefix: `0-3` is a text.
    if rest.contains(['+', '-']) {
        return None;
    }
    let radix = |prefix: &str, base| i64::from_str_radix(rest.strip_prefix(prefix)?, base).ok();
    let based = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2));
    let octal = || radix("0", 8);
    if let Some(number) = based.or_else(octal) {
        return Some((sign * number).into());
    }
    let large = || rest.parse::<u64>().ok().filter(|_| sign == 1);
    let whole = rest
        .parse::<i64>()
        .ok()
        .map(|number| Number::from(sign * number));
    whole.or_else(|| large().map(Number::from))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_mean_what_kubectl_takes_them_for() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("off", json!(false)),
            ("y", json!(true)),
            ("Offset", json!("Offset")),
            ("8080", json!(8080)),
            ("-1", json!(-1)),
            ("+1", json!(1)),
            ("--1", json!("--1")),
            ("010", json!(8)),
            ("09", json!(9)),
            ("0x10", json!(16)),
            ("-0x1f", json!(-31)),
            ("0-3", json!("0-3")),
            ("0+7", json!("0+7")),
            ("0x-1f", json!("0x-1f")),
            ("-0x-8000000000000000", json!("-0x-8000000000000000")),
            ("-0x8000000000000000", json!("-0x8000000000000000")),
            ("1_000", json!(1000)),
            ("0", json!(0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("25%", json!("25%")),
            ("1.27.1", json!("1.27.1")),
            ("5m", json!("5m")),
            (".inf", json!(".inf")),
            ("1e999", json!("1e999")),
            ("-", json!("-")),
            (".", json!(".")),
        ] {
            assert_eq!(plain(text), value, "{text:?}");
        }
    }
}
