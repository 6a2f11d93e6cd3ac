//! Postgres' binary values in JSON without loss: what JSON's numbers cannot hold becomes a string.

mod parameter;

pub(super) use parameter::Parameter;

use serde_json::Value;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgTypeKind};
use sqlx::{Encode, Postgres, Type, TypeInfo as _};
use std::fmt::Write as _;

/// 2000-01-01, where Postgres counts from, in seconds since 1970.
const EPOCH_SECONDS: i64 = 946_684_800;
const LARGEST_EXACT: u64 = 1 << 53;

/// The type in the database's own words.
pub(super) fn type_name(info: &PgTypeInfo) -> String {
    if let PgTypeKind::Array(element) = info.kind() {
        return format!("{}[]", type_name(element));
    }
    match info.name() {
        "INT2" => "smallint".into(),
        "INT4" => "integer".into(),
        "INT8" => "bigint".into(),
        "FLOAT4" => "real".into(),
        "FLOAT8" => "double precision".into(),
        "BOOL" => "boolean".into(),
        "VARCHAR" => "character varying".into(),
        "CHAR" | "BPCHAR" => "character".into(),
        "TIMESTAMPTZ" => "timestamp with time zone".into(),
        "TIMESTAMP" => "timestamp without time zone".into(),
        "TIMETZ" => "time with time zone".into(),
        "TIME" => "time without time zone".into(),
        "VARBIT" => "bit varying".into(),
        CHAR => CHAR.to_lowercase(),
        name if is_of_owner(name) => name.to_owned(),
        name => name.to_lowercase(),
    }
}

/// Postgres' type of one byte; without quotes it would be another.
const CHAR: &str = "\"CHAR\"";

/// Types that sqlx does not know are named as the database writes them, with quotes where it takes them.
fn is_of_owner(name: &str) -> bool {
    name != CHAR && name.contains(|c: char| c == '"' || c.is_lowercase())
}

/// Whether [`decode`] knows the type's binary form; all others are asked for as text.
pub(super) fn is_known(info: &PgTypeInfo) -> bool {
    const KNOWN: &[&str] = &[
        "BOOL",
        "INT2",
        "INT4",
        "INT8",
        "OID",
        "FLOAT4",
        "FLOAT8",
        "NUMERIC",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "TIMESTAMPTZ",
        "INTERVAL",
        "UUID",
        "INET",
        "CIDR",
        "JSON",
        "JSONB",
        "BYTEA",
        "TEXT",
        "VARCHAR",
        "CHAR",
        "BPCHAR",
        "NAME",
        "\"CHAR\"",
        "XML",
        "UNKNOWN",
        "VOID",
    ];
    match info.kind() {
        PgTypeKind::Array(element) => is_known(element),
        PgTypeKind::Domain(base) => is_known(base),
        PgTypeKind::Enum(_) => true,
        _ => KNOWN.contains(&info.name()),
    }
}

/// What asks for a value of an unknown binary form as text.
pub(super) fn as_text(info: &PgTypeInfo) -> &'static str {
    match info.kind() {
        _ if is_known(info) => "",
        PgTypeKind::Array(_) => "::text[]",
        _ => "::text",
    }
}

/// A value as JSON; `None` where its bytes are not those of its type.
pub(super) fn decode(info: &PgTypeInfo, bytes: &[u8]) -> Option<Value> {
    if let PgTypeKind::Array(element) = info.kind() {
        return array(element, bytes);
    }
    if let PgTypeKind::Domain(base) = info.kind() {
        return decode(base, bytes);
    }
    Some(match info.name() {
        "BOOL" => (*bytes.first()? != 0).into(),
        "INT2" => i16::from_be_bytes(bytes.try_into().ok()?).into(),
        "INT4" => i32::from_be_bytes(bytes.try_into().ok()?).into(),
        "OID" => u32::from_be_bytes(bytes.try_into().ok()?).into(),
        "INT8" => integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        "FLOAT4" => float(
            f32::from_be_bytes(bytes.try_into().ok()?)
                .to_string()
                .parse()
                .ok()?,
        ),
        "FLOAT8" => float(f64::from_be_bytes(bytes.try_into().ok()?)),
        "NUMERIC" => numeric(bytes)?.into(),
        "DATE" => date(i64::from(i32::from_be_bytes(bytes.try_into().ok()?))).into(),
        "TIME" => time(i64::from_be_bytes(bytes.try_into().ok()?)).into(),
        "TIMESTAMP" => timestamp(i64::from_be_bytes(bytes.try_into().ok()?), "").into(),
        "TIMESTAMPTZ" => timestamp(i64::from_be_bytes(bytes.try_into().ok()?), "Z").into(),
        "INTERVAL" => interval(bytes)?.into(),
        "UUID" => uuid(bytes)?.into(),
        "INET" | "CIDR" => address(bytes)?.into(),
        "JSON" => json(bytes)?,
        "JSONB" => json(bytes.get(1..)?)?,
        CHAR => character(bytes)?,
        "BYTEA" => base64(bytes),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => base64(bytes),
        },
    })
}

/// One byte, in octal where it is no character by itself.
fn character(bytes: &[u8]) -> Option<Value> {
    Some(match bytes.first()? {
        0 => "".into(),
        byte if byte.is_ascii() => char::from(*byte).to_string().into(),
        byte => format!("\\{byte:03o}").into(),
    })
}

/// JSON; as text where it is nested deeper than JSON is read here.
fn json(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(serde_json::from_str(&with_exact_numbers(text)).unwrap_or_else(|_| text.into()))
}

/// The same JSON, with strings in the place of numbers that would lose digits.
fn with_exact_numbers(text: &str) -> String {
    let is_of_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let mut exact = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => length_of_string(rest),
            c if is_of_number(c) && c != 'e' => {
                rest.find(|c| !is_of_number(c)).unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (part, after) = rest.split_at(length);
        if is_of_number(first) && first != 'e' && !is_exact(part) {
            let _ = write!(exact, "\"{part}\"");
        } else {
            exact.push_str(part);
        }
        rest = after;
    }
    exact
}

fn length_of_string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// Whether a JSON number keeps all of its digits as a double.
fn is_exact(number: &str) -> bool {
    const DIGITS: usize = 15;
    if !number.contains(['.', 'e', 'E']) {
        return number
            .parse::<i64>()
            .is_ok_and(|number| number.unsigned_abs() <= LARGEST_EXACT);
    }
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.replace(['-', '.'], "");
    let digits = digits.trim_matches('0');
    let held = number
        .parse()
        .is_ok_and(|held: f64| held.is_normal() || held == 0.0 && digits.is_empty());
    held && digits.len() <= DIGITS
}

fn base64(bytes: &[u8]) -> Value {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .encode(bytes)
        .into()
}

fn integer(number: i64) -> Value {
    if number.unsigned_abs() <= LARGEST_EXACT {
        number.into()
    } else {
        number.to_string().into()
    }
}

fn float(number: f64) -> Value {
    let text = if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    serde_json::Number::from_f64(number).map_or_else(|| text.into(), Value::Number)
}

/// Groups of four decimal digits, a weight, a sign, and how many digits stand behind the point.
fn numeric(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| {
        Some(u16::from_be_bytes(
            bytes.get(at * 2..at * 2 + 2)?.try_into().ok()?,
        ))
    };
    let (digits, sign, scale) = (usize::from(word(0)?), word(2)?, usize::from(word(3)?));
    let weight = i32::from(i16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    match sign {
        0xc000 => return Some("NaN".into()),
        0xd000 => return Some("Infinity".into()),
        0xf000 => return Some("-Infinity".into()),
        _ => {}
    }
    let group = |place: i32| {
        usize::try_from(weight - place)
            .ok()
            .filter(|at| *at < digits)
            .map_or(Some(0), |at| word(4 + at))
    };
    let mut text = String::new();
    for place in (0..=weight.max(0)).rev() {
        let group = group(place)?;
        if text.is_empty() && group == 0 && place > 0 {
            continue;
        }
        let _ = if text.is_empty() {
            write!(text, "{group}")
        } else {
            write!(text, "{group:04}")
        };
    }
    if scale > 0 {
        let mut fraction = String::new();
        let mut place = -1;
        while fraction.len() < scale {
            let _ = write!(fraction, "{:04}", group(place)?);
            place -= 1;
        }
        text = format!("{text}.{}", &fraction[..scale]);
    }
    Some(if sign == 0x4000 {
        format!("-{text}")
    } else {
        text
    })
}

fn date(days: i64) -> String {
    match days {
        days if days == i64::from(i32::MAX) => return "infinity".into(),
        days if days == i64::from(i32::MIN) => return "-infinity".into(),
        _ => {}
    }
    let (day, era) = day_of(days);
    format!("{day}{era}")
}

/// A day of any year, and its era where that is not ours: the proleptic Gregorian calendar, in eras of 400 years.
fn day_of(days_since_2000: i64) -> (String, &'static str) {
    const DAYS_OF_ERA: i64 = 146_097;
    // Counted from a first of March, so that a leap day is the last of its year.
    let days = days_since_2000 + 730_425;
    let (era, day) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    if year > 0 {
        (format!("{year:04}-{month:02}-{day:02}"), "")
    } else {
        (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC")
    }
}

fn timestamp(micros: i64, zone: &str) -> String {
    const DAY: i64 = 86_400_000_000;
    match micros {
        i64::MAX => return "infinity".into(),
        i64::MIN => return "-infinity".into(),
        _ => {}
    }
    let (day, era) = day_of(micros.div_euclid(DAY));
    format!("{day}T{}{zone}{era}", time(micros.rem_euclid(DAY)))
}

fn time(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}{}",
        seconds % 60,
        fraction(micros.rem_euclid(1_000_000))
    )
}

fn fraction(micros: i64) -> String {
    if micros == 0 {
        String::new()
    } else {
        format!(".{micros:06}").trim_end_matches('0').to_owned()
    }
}

/// ISO 8601, as `interval` is written under `intervalstyle = iso_8601`.
fn interval(bytes: &[u8]) -> Option<String> {
    let micros = i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    let days = i32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
    let months = i32::from_be_bytes(bytes.get(12..16)?.try_into().ok()?);
    let mut text = String::from("P");
    for (number, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if number != 0 {
            let _ = write!(text, "{number}{unit}");
        }
    }
    let seconds = micros / 1_000_000;
    let rest = micros % 1_000_000;
    if micros != 0 {
        text.push('T');
    }
    for (number, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
        if number != 0 {
            let _ = write!(text, "{number}{unit}");
        }
    }
    if seconds % 60 != 0 || rest != 0 {
        let sign = if seconds % 60 == 0 && rest < 0 {
            "-"
        } else {
            ""
        };
        let _ = write!(text, "{sign}{}{}S", seconds % 60, fraction(rest.abs()));
    }
    Some(if text == "P" { "PT0S".into() } else { text })
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let number = u128::from_be_bytes(bytes.try_into().ok()?);
    let hex = format!("{number:032x}");
    Some(format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

/// Family, length of the network, whether it is a network, length, address.
fn address(bytes: &[u8]) -> Option<String> {
    let (bits, network) = (*bytes.get(1)?, *bytes.get(2)? != 0);
    let octets = bytes.get(4..)?;
    let address: std::net::IpAddr = match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok()?.into(),
        _ => <[u8; 16]>::try_from(octets).ok()?.into(),
    };
    let whole = usize::from(bits) == octets.len() * 8;
    Some(if whole && !network {
        address.to_string()
    } else {
        format!("{address}/{bits}")
    })
}

/// Dimensions, then elements in row-major order, each with its length, -1 for NULL.
fn array(element: &PgTypeInfo, bytes: &[u8]) -> Option<Value> {
    let word = |at: usize| Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let dimensions = usize::try_from(word(0)?).ok()?;
    let mut sizes = Vec::new();
    for dimension in 0..dimensions {
        sizes.push(usize::try_from(word(12 + dimension * 8)?).ok()?);
    }
    let mut at = 12 + dimensions * 8;
    let mut flat = Vec::new();
    for _ in 0..if dimensions == 0 {
        0
    } else {
        sizes.iter().product()
    } {
        let length = word(at)?;
        at += 4;
        flat.push(match usize::try_from(length) {
            Err(_) => Value::Null,
            Ok(length) => {
                let value = decode(element, bytes.get(at..at + length)?)?;
                at += length;
                value
            }
        });
    }
    for size in sizes.iter().skip(1).rev() {
        flat = flat
            .chunks((*size).max(1))
            .map(|chunk| Value::from(chunk.to_vec()))
            .collect();
    }
    Some(flat.into())
}

#[cfg(test)]
mod tests {
    use super::parameter::{array_literal, to_numeric};
    use super::*;

    #[test]
    fn a_numeric_keeps_every_digit_both_ways() {
        for text in [
            "0",
            "1",
            "-1",
            "12345.678",
            "0.0001",
            "10000",
            "99999999999999999999.99",
            "-0.10",
            "1000000.00",
            "3.14159265358979",
        ] {
            let bytes = to_numeric(text).unwrap();
            assert_eq!(numeric(&bytes).unwrap(), text, "{bytes:?}");
        }
        assert_eq!(numeric(&to_numeric("1e3").unwrap()).unwrap(), "1000");
        assert_eq!(numeric(&to_numeric("12e-4").unwrap()).unwrap(), "0.0012");
        assert!(
            to_numeric("1.2.3").is_none()
                && to_numeric("abc").is_none()
                && to_numeric("").is_none()
        );
    }

    #[test]
    fn times_are_told_as_rfc_3339() {
        assert_eq!(timestamp(0, "Z"), "2000-01-01T00:00:00Z");
        assert_eq!(timestamp(-1, "Z"), "1999-12-31T23:59:59.999999Z");
        assert_eq!(date(9_131), "2024-12-31");
        assert_eq!(time(3_723_500_000), "01:02:03.5");
        assert_eq!(date(0), "2000-01-01");
        assert_eq!(date(59), "2000-02-29");
        assert_eq!(date(3_652_425), "12000-01-01");
        assert_eq!(date(-730_119), "0001-01-01");
        assert_eq!(date(-730_120), "0001-12-31 BC");
    }

    #[test]
    fn numbers_in_json_keep_their_digits() {
        for (text, told) in [
            ("[1, 1.50, -0, 1e3]", "[1, 1.5, -0.0, 1000.0]"),
            (
                "[9007199254740992, 9007199254740993]",
                r#"[9007199254740992,"9007199254740993"]"#,
            ),
            (
                r#"{"1e400": 1e400, "a\\": -1e-400}"#,
                r#"{"1e400":"1e400","a\\":"-1e-400"}"#,
            ),
            ("0.1234567890123456789", r#""0.1234567890123456789""#),
            (
                r#""12345678901234567890 \" 1e400""#,
                r#""12345678901234567890 \" 1e400""#,
            ),
            ("[true, null, 0.000]", "[true,null,0.0]"),
        ] {
            let told: Value = serde_json::from_str(told).unwrap();
            assert_eq!(json(text.as_bytes()).unwrap(), told, "{text}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(json(deep.as_bytes()).unwrap(), Value::from(deep));
    }

    #[test]
    fn lists_are_written_as_postgres_reads_them() {
        use serde_json::json;
        let literal = |value: Value| array_literal(value.as_array().unwrap());
        assert_eq!(
            literal(json!(["a\"b\\", null, [1, true], "NULL"])).unwrap(),
            r#"{"a\"b\\",NULL,{1,true},"NULL"}"#
        );
        assert_eq!(literal(json!([])).unwrap(), "{}");
        assert_eq!(literal(json!([{}])), None);
        assert_eq!(address(&[2, 24, 0, 4, 10, 0, 0, 1]).unwrap(), "10.0.0.1/24");
    }

    #[test]
    fn what_json_numbers_cannot_hold_is_a_string() {
        assert_eq!(integer(i64::MAX), Value::from("9223372036854775807"));
        assert_eq!(integer(42), Value::from(42));
        assert_eq!(float(f64::NAN), Value::from("NaN"));
    }

    proptest::proptest! {
        #[test]
        fn any_decimal_survives(whole in "[1-9][0-9]{0,24}|0", fraction in "[0-9]{0,12}") {
            let text = if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") };
            proptest::prop_assert_eq!(numeric(&to_numeric(&text).unwrap()).unwrap(), text);
        }
    }
}
