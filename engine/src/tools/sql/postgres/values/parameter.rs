//! Parameters: JSON in the binary form of the type that a statement wants, or in words that Postgres itself reads.

use super::*;

/// A parameter in the binary form of the type that the statement wants.
#[derive(Clone)]
pub(in crate::tools::sql::postgres) struct Parameter {
    info: PgTypeInfo,
    bytes: Option<Vec<u8>>,
}

/// What asks Postgres to read a value, and the value as text.
pub(in crate::tools::sql::postgres) struct Asked {
    pub(in crate::tools::sql::postgres) query: String,
    pub(in crate::tools::sql::postgres) text: String,
}

impl Parameter {
    /// As Postgres has read it.
    pub(in crate::tools::sql::postgres) fn told(info: &PgTypeInfo, bytes: &[u8]) -> Self {
        Self {
            info: info.clone(),
            bytes: Some(bytes.to_vec()),
        }
    }

    /// For a value whose form is not known here; `None` where there is no text that Postgres could take for it.
    pub(in crate::tools::sql::postgres) fn ask(info: &PgTypeInfo, value: &Value) -> Option<Asked> {
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
    pub(in crate::tools::sql::postgres) fn read(info: &PgTypeInfo, value: &Value) -> Option<Self> {
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

pub(super) fn array_literal(items: &[Value]) -> Option<String> {
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
pub(super) fn to_numeric(text: &str) -> Option<Vec<u8>> {
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
