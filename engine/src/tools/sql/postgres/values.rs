//! Postgres' binary values in JSON without loss: what JSON's numbers cannot hold becomes a string.

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

/// A parameter in the binary form of the type that the statement wants.
#[derive(Clone)]
pub(super) struct Parameter {
    info: PgTypeInfo,
    bytes: Option<Vec<u8>>,
}

/// What asks Postgres to read a value, and the value as text.
pub(super) struct Asked {
    pub(super) query: String,
    pub(super) text: String,
}

impl Parameter {
    /// As Postgres has read it.
    pub(super) fn told(info: &PgTypeInfo, bytes: &[u8]) -> Self {
        Self {
            info: info.clone(),
            bytes: Some(bytes.to_vec()),
        }
    }

    /// For a value whose form is not known here; `None` where there is no text that Postgres could take for it.
    pub(super) fn ask(info: &PgTypeInfo, value: &Value) -> Option<Asked> {
        // These look a name up in the catalogue.
        const OF_CATALOGUE: &[&str] = &[
            "regclass",
            "regcollation",
            "regnamespace",
            "regoper",
            "regoperator",
            "regproc",
            "regprocedure",
            "regrole",
            "regtype",
        ];
        if OF_CATALOGUE.contains(&innermost(info).name()) {
            return None;
        }
        let text = literal(info, value)?;
        let query = format!("SELECT CAST($1::text AS {})", quoted_name(info));
        // Bytes are base64 here, and another text there.
        let is_bytes = innermost(info).name() == "BYTEA";
        let is_text = !text.contains('\0') && (!is_bytes || text.starts_with("\\x"));
        is_text.then_some(Asked { query, text })
    }

    /// `None` where the value does not read as the type by the forms that are known here.
    pub(super) fn read(info: &PgTypeInfo, value: &Value) -> Option<Self> {
        Some(Self {
            info: info.clone(),
            bytes: if value.is_null() {
                None
            } else {
                Some(encode(info, value)?)
            },
        })
    }
}

impl Type<Postgres> for Parameter {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("text")
    }

    fn compatible(_: &PgTypeInfo) -> bool {
        true
    }
}

impl Encode<'_, Postgres> for Parameter {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match &self.bytes {
            None => Ok(IsNull::Yes),
            Some(bytes) => {
                buffer.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.info.clone())
    }
}

fn encode(info: &PgTypeInfo, value: &Value) -> Option<Vec<u8>> {
    match info.kind() {
        PgTypeKind::Array(element) => return encode_array(element, value),
        PgTypeKind::Domain(base) => return encode(base, value),
        PgTypeKind::Enum(labels) => {
            let label = value.as_str()?;
            let known = labels.iter().any(|known| known == label);
            return known.then(|| label.as_bytes().to_vec());
        }
        _ => {}
    }
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let trimmed = text.trim();
    Some(match info.name() {
        "BOOL" => vec![match trimmed.to_lowercase().as_str() {
            "true" | "t" | "yes" | "on" | "1" => 1,
            "false" | "f" | "no" | "off" | "0" => 0,
            _ => return None,
        }],
        "INT2" => trimmed.parse::<i16>().ok()?.to_be_bytes().to_vec(),
        "INT4" => trimmed.parse::<i32>().ok()?.to_be_bytes().to_vec(),
        "INT8" => trimmed.parse::<i64>().ok()?.to_be_bytes().to_vec(),
        "FLOAT4" => trimmed
            .parse()
            .ok()
            .filter(|number: &f32| number.is_finite())?
            .to_be_bytes()
            .to_vec(),
        "FLOAT8" => trimmed
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())?
            .to_be_bytes()
            .to_vec(),
        "NUMERIC" => to_numeric(trimmed)?,
        "DATE" => {
            let date: jiff::civil::Date = trimmed.parse().ok()?;
            let days = jiff::civil::date(2000, 1, 1).until(date).ok()?.get_days();
            days.to_be_bytes().to_vec()
        }
        "TIMESTAMP" => {
            let at: jiff::civil::DateTime = trimmed.parse().ok()?;
            encode_time(jiff::tz::TimeZone::UTC.to_timestamp(at).ok()?)?
        }
        "TIMESTAMPTZ" => encode_time(trimmed.parse().ok()?)?,
        "BYTEA" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD
                .decode(trimmed)
                .ok()?
        }
        "UUID" => {
            let hex = trimmed.replace('-', "");
            let whole = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            u128::from_str_radix(&hex, 16)
                .ok()
                .filter(|_| whole)?
                .to_be_bytes()
                .to_vec()
        }
        "JSON" => text_of_json(value).into_bytes(),
        "JSONB" => [vec![1], text_of_json(value).into_bytes()].concat(),
        "TEXT" | "VARCHAR" | "CHAR" | "BPCHAR" | "NAME" | "UNKNOWN"
            if !value.is_array() && !value.is_object() && !text.contains('\0') =>
        {
            text.into_bytes()
        }
        _ => return None,
    })
}

/// A list of one dimension or more; the lists within one have equal lengths.
fn encode_array(element: &PgTypeInfo, value: &Value) -> Option<Vec<u8>> {
    let mut sizes = Vec::new();
    let mut level = vec![value];
    while let Some(Value::Array(first)) = level.first() {
        let size = first.len();
        let mut inner = Vec::new();
        for list in &level {
            inner.extend(list.as_array().filter(|list| list.len() == size)?);
        }
        sizes.push(i32::try_from(size).ok()?);
        level = inner;
    }
    if sizes.is_empty() {
        return None;
    }
    let flat = level;
    let dimensions = if flat.is_empty() { &[][..] } else { &sizes };
    let mut bytes = i32::try_from(dimensions.len()).ok()?.to_be_bytes().to_vec();
    bytes.extend(i32::from(flat.iter().any(|value| value.is_null())).to_be_bytes());
    bytes.extend(element.oid()?.0.to_be_bytes());
    for size in dimensions {
        bytes.extend(size.to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
    }
    for value in flat {
        if value.is_null() {
            bytes.extend((-1_i32).to_be_bytes());
            continue;
        }
        let encoded = encode(element, value)?;
        bytes.extend(i32::try_from(encoded.len()).ok()?.to_be_bytes());
        bytes.extend(encoded);
    }
    Some(bytes)
}

/// Microseconds since 2000; `None` for parts of one, which Postgres rounds.
fn encode_time(at: jiff::Timestamp) -> Option<Vec<u8>> {
    let micros = at.as_microsecond() - EPOCH_SECONDS * 1_000_000;
    (at.subsec_nanosecond() % 1_000 == 0).then(|| micros.to_be_bytes().to_vec())
}

/// A type's name that means this type within a cast: without quotes, `bit` and `char` would be of length one.
fn quoted_name(info: &PgTypeInfo) -> String {
    if let PgTypeKind::Array(element) = info.kind() {
        return format!("{}[]", quoted_name(element));
    }
    match info.name() {
        "CHAR" => "pg_catalog.\"bpchar\"".into(),
        CHAR => "pg_catalog.\"char\"".into(),
        name if is_of_owner(name) => name.to_owned(),
        name => format!("pg_catalog.\"{}\"", name.to_lowercase()),
    }
}

/// What an array or a domain is of.
fn innermost(info: &PgTypeInfo) -> &PgTypeInfo {
    match info.kind() {
        PgTypeKind::Array(within) | PgTypeKind::Domain(within) => innermost(within),
        _ => info,
    }
}

/// A value as Postgres reads it from text; a list for an array alone.
fn literal(info: &PgTypeInfo, value: &Value) -> Option<String> {
    match (value, info.kind()) {
        (Value::Array(items), PgTypeKind::Array(_)) => array_literal(items),
        (Value::Array(_) | Value::Object(_) | Value::Null, _) => None,
        (Value::String(text), _) => Some(text.clone()),
        (other, _) => Some(other.to_string()),
    }
}

fn array_literal(items: &[Value]) -> Option<String> {
    let item = |item: &Value| match item {
        Value::Null => Some("NULL".to_owned()),
        Value::Array(items) => array_literal(items),
        Value::Object(_) => None,
        Value::String(text) => Some(format!(
            "\"{}\"",
            text.replace('\\', "\\\\").replace('"', "\\\"")
        )),
        other => Some(other.to_string()),
    };
    let items: Option<Vec<String>> = items.iter().map(item).collect();
    Some(format!("{{{}}}", items?.join(",")))
}

/// A string that reads as JSON is taken as the JSON that it is.
fn text_of_json(value: &Value) -> String {
    match value.as_str() {
        // Without looking at what its numbers come to.
        Some(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
            text.to_owned()
        }
        _ => value.to_string(),
    }
}

/// A decimal number, with an exponent or without.
fn to_numeric(text: &str) -> Option<Vec<u8>> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if text.eq_ignore_ascii_case("nan") {
        return Some([0, 0, 0, 0, 0xc0, 0, 0, 0].to_vec());
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent
        .parse()
        .ok()
        .filter(|exponent: &i32| exponent.abs() <= 1_000)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || all.len() > 1_000 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let scale = (i32::try_from(all.len()).ok()? - point).max(0);
    // Zeros on both sides until the point lies between two groups of four.
    let before = usize::try_from(if point <= 0 {
        4 - point
    } else {
        (4 - point % 4) % 4
    })
    .ok()?;
    let mut digits = "0".repeat(before) + &all;
    let mut at = usize::try_from(point).unwrap_or(0).saturating_add(before);
    if point <= 0 {
        at = 4;
    }
    while digits.len() < at || digits.len() % 4 != at % 4 {
        digits.push('0');
    }
    let shift = (4 - at % 4) % 4;
    let digits = "0".repeat(shift) + &digits;
    let at = at + shift;
    let groups: Vec<u16> = digits
        .as_bytes()
        .chunks(4)
        .filter_map(|group| std::str::from_utf8(group).ok()?.parse().ok())
        .collect();
    let weight = i16::try_from(at / 4).ok()? - 1;
    let sign: u16 = if negative { 0x4000 } else { 0 };
    let mut bytes = u16::try_from(groups.len()).ok()?.to_be_bytes().to_vec();
    bytes.extend(weight.to_be_bytes());
    bytes.extend(sign.to_be_bytes());
    bytes.extend(u16::try_from(scale).ok()?.to_be_bytes());
    for group in &groups {
        bytes.extend(group.to_be_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
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
