//! Tools as providers of models take them.

use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use super::tools::Tool;

/// A provider's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenAi,
    Anthropic,
}

/// The formats of `include_format`; `arcade` is the definition itself.
pub(super) fn wanted<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<Format>, Refusal> {
    names
        .filter(|name| *name != "arcade")
        .map(Format::read)
        .collect()
}

impl Format {
    pub(super) fn read(name: &str) -> Result<Self, Refusal> {
        match name {
            "openai" => Ok(Self::OpenAi),
            "anthropic" => Ok(Self::Anthropic),
            other => Err(Refusal::bad(format!(
                "`{other}` is no format: use `openai` or `anthropic`"
            ))),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    pub(super) fn of(self, tool: &Tool) -> Value {
        let name = tool.name.replace('.', "_");
        let schema = schema(&tool.parameters);
        match self {
            Self::OpenAi => json!({
                "type": "function",
                "function": {"name": name, "description": tool.description, "parameters": schema},
            }),
            Self::Anthropic => json!({
                "name": name,
                "description": tool.description,
                "input_schema": schema,
            }),
        }
    }
}

fn schema(parameters: &[Value]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for parameter in parameters {
        let Some(name) = parameter["name"].as_str() else {
            continue;
        };
        properties.insert(name.to_owned(), property(parameter));
        if parameter["required"] == true {
            required.push(name);
        }
    }
    if properties.is_empty() {
        return json!({"type": "object", "properties": {}});
    }
    json!({"type": "object", "properties": properties, "required": required})
}

fn property(parameter: &Value) -> Value {
    let schema = &parameter["value_schema"];
    let kind = |name: &str| match name {
        "json" => "object".to_owned(),
        other => other.to_owned(),
    };
    let val_type = schema["val_type"].as_str().unwrap_or("json");
    let mut property = json!({"type": kind(val_type)});
    if let Some(description) = parameter["description"]
        .as_str()
        .filter(|it| !it.is_empty())
    {
        property["description"] = json!(description);
    }
    let listed = Some(&schema["enum"]).filter(|listed| listed.is_array());
    if val_type == "array" {
        let mut items = Map::new();
        if let Some(inner) = schema["inner_val_type"].as_str() {
            items.insert("type".to_owned(), json!(kind(inner)));
        }
        // Whose values are listed are the items.
        if let Some(listed) = listed {
            items.insert("enum".to_owned(), listed.clone());
        }
        property["items"] = items.into();
    } else if let Some(listed) = listed {
        property["enum"] = listed.clone();
    }
    property
}
