//! The tools that Arcade offers: those of its own, and those that a scenario adds.

use serde_json::{Map, Value, json};

use crate::script::ArcadeTool;
use crate::template;

/// A tool and how it is run.
#[derive(Debug)]
pub(crate) struct Tool {
    scripted: ArcadeTool,
    parameters: Vec<Value>,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Add,
    Divide,
    /// Needs a user's authorization, which nobody has given; by which provider.
    Unauthorized(&'static str),
    Scripted,
}

/// The mock's own tools, then the scenario's; one of the same name takes the other's place.
pub(crate) fn all(scripted: Vec<ArcadeTool>) -> Vec<Tool> {
    let mut tools = vec![
        own(
            "Math.Add",
            "Adds two numbers",
            &[("a", "number"), ("b", "number")],
            How::Add,
        ),
        own(
            "Math.Divide",
            "Divides one number by another",
            &[("a", "number"), ("b", "number")],
            How::Divide,
        ),
        own(
            "Github.CreateIssue",
            "Creates an issue in a GitHub repository",
            &[("owner", "string"), ("repo", "string"), ("title", "string")],
            How::Unauthorized("github"),
        ),
        own(
            "Gmail.ListEmails",
            "Lists the newest emails of the user's mailbox",
            &[],
            How::Unauthorized("google"),
        ),
    ];
    for tool in scripted {
        let tool = Tool {
            parameters: parameters(&tool.input),
            scripted: tool,
            how: How::Scripted,
        };
        match tools.iter_mut().find(|other| other.name() == tool.name()) {
            Some(other) => *other = tool,
            None => tools.push(tool),
        }
    }
    tools
}

fn own(name: &str, description: &str, parameters: &[(&str, &str)], how: How) -> Tool {
    let parameters = parameters
        .iter()
        .map(|(name, kind)| {
            json!({
                "name": name,
                "required": true,
                "description": "",
                "inferrable": true,
                "value_schema": {"val_type": kind},
            })
        })
        .collect();
    Tool {
        scripted: ArcadeTool {
            name: name.to_owned(),
            description: description.to_owned(),
            ..ArcadeTool::default()
        },
        parameters,
        how,
    }
}

/// Parameters as Arcade lists them, from `{parameters: […]}`, from the list itself, or from a JSON Schema of an object.
fn parameters(input: &Value) -> Vec<Value> {
    let listed = input.as_array().or_else(|| input["parameters"].as_array());
    if let Some(listed) = listed {
        return listed.clone();
    }
    let required = |name: &str| {
        input["required"]
            .as_array()
            .is_some_and(|names| names.iter().any(|required| required == name))
    };
    input["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let mut value_schema = Map::new();
            let kind = match schema["type"].as_str() {
                Some("object") | None => "json",
                Some(kind) => kind,
            };
            value_schema.insert("val_type".to_owned(), json!(kind));
            if let Some(inner) = schema["items"]["type"].as_str() {
                value_schema.insert("inner_val_type".to_owned(), json!(inner));
            }
            if let Some(values) = schema.get("enum") {
                value_schema.insert("enum".to_owned(), values.clone());
            }
            json!({
                "name": name,
                "required": required(name),
                "description": schema["description"].as_str().unwrap_or_default(),
                "inferrable": true,
                "value_schema": value_schema,
            })
        })
        .collect()
}

impl Tool {
    pub(crate) fn name(&self) -> &str {
        &self.scripted.name
    }

    pub(crate) fn toolkit(&self) -> &str {
        self.name().split('.').next().unwrap_or_default()
    }

    pub(crate) fn needs_authorization(&self) -> bool {
        matches!(self.how, How::Unauthorized(_))
    }

    /// `ToolDefinition` of the Engine.
    pub(crate) fn definition(&self) -> Value {
        let name = self.name();
        let short = name.split_once('.').map_or(name, |(_, short)| short);
        let computes = matches!(self.how, How::Add | How::Divide);
        let authorization = match self.how {
            How::Unauthorized(provider) => json!({
                "provider_id": provider,
                "provider_type": "oauth2",
                "status": "active",
                "token_status": "not_started",
            }),
            _ => Value::Null,
        };
        json!({
            "name": short,
            "qualified_name": name,
            "fully_qualified_name": format!("{name}@1.0.0"),
            "description": self.scripted.description,
            "toolkit": {"name": self.toolkit(), "version": "1.0.0", "description": ""},
            "input": {"parameters": self.parameters},
            "output": {"available_modes": ["value", "error"], "value_schema": {"val_type": "json"}},
            "requirements": {"met": !self.needs_authorization(), "authorization": authorization, "secrets": []},
            "metadata": {"behavior": {
                "read_only": computes,
                "destructive": false,
                "idempotent": computes,
                "open_world": !computes,
            }},
        })
    }

    /// The `output` of an execution: a value or an error.
    pub(crate) fn run(&self, input: &Value) -> Value {
        let missing = self
            .parameters
            .iter()
            .filter(|parameter| parameter["required"] == true)
            .filter_map(|parameter| parameter["name"].as_str())
            .find(|name| input.get(name).is_none());
        if let Some(name) = missing {
            return self.bad_input(&format!("missing required argument `{name}`"));
        }
        if let Some(message) = &self.scripted.fails {
            return self.error("TOOL_RUNTIME_FATAL", 500, message);
        }
        match self.how {
            How::Scripted | How::Unauthorized(_) => {
                match template::value(&self.scripted.result, &json!({"input": input})) {
                    Ok(value) => json!({"value": value}),
                    Err(missing) => self.bad_input(&missing.to_string()),
                }
            }
            How::Add | How::Divide => {
                let (Some(a), Some(b)) = (input["a"].as_f64(), input["b"].as_f64()) else {
                    return self.bad_input("`a` and `b` must be numbers");
                };
                if self.how == How::Divide && b == 0.0 {
                    return self.error("TOOL_RUNTIME_FATAL", 500, "division by zero");
                }
                let whole = input["a"].as_i64().zip(input["b"].as_i64());
                let value = match (self.how, whole) {
                    (How::Add, Some((a, b))) => a.checked_add(b).map(|sum| json!(sum)),
                    (How::Add, None) => Some(json!(a + b)),
                    _ => Some(json!(a / b)),
                };
                json!({"value": value})
            }
        }
    }

    fn bad_input(&self, message: &str) -> Value {
        self.error("TOOL_RUNTIME_BAD_INPUT_VALUE", 400, message)
    }

    fn error(&self, kind: &str, status: u16, message: &str) -> Value {
        json!({"error": {
            "kind": kind,
            "message": format!("[{kind}] ToolExecutionError during execution of tool '{}': {message}", self.name()),
            "can_retry": false,
            "developer_message": message,
            "status_code": status,
        }})
    }
}
