//! The tools that Arcade offers: those of its own, those that a scenario adds, those of workers.

use serde_json::{Map, Value, json};

use super::authorizations::Standing;
use crate::script::{ArcadeTool, ToolAuthorization};
use crate::template;

/// A tool and how it is run.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    /// `Toolkit.Tool`.
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) parameters: Vec<Value>,
    pub(super) authorization: Option<ToolAuthorization>,
    /// The keys of the secrets that it needs.
    pub(super) secrets: Vec<String>,
    /// The worker that runs it.
    pub(super) worker: Option<String>,
    behavior: Value,
    how: How,
}

#[derive(Clone, Debug, PartialEq)]
enum How {
    Add,
    Divide,
    Scripted(Box<ArcadeTool>),
    Worker,
}

/// The mock's own tools, then the scenario's; one of the same name takes the other's place.
pub(super) fn all(scripted: &[ArcadeTool]) -> Vec<Tool> {
    let numbers = || vec![required("a", "number"), required("b", "number")];
    let texts = |names: &[&str]| names.iter().map(|name| required(name, "string")).collect();
    let mut limit = required("n_emails", "integer");
    limit["required"] = json!(false);
    let mut tools = vec![
        own("Math.Add", "Adds two numbers", numbers(), How::Add),
        own(
            "Math.Divide",
            "Divides one number by another",
            numbers(),
            How::Divide,
        ),
        consented(
            "Github.CreateIssue",
            "Creates an issue in a GitHub repository",
            texts(&["owner", "repo", "title"]),
            ("github", "repo"),
            json!({"number": 1, "url": "https://github.example/{{ input.owner }}/{{ input.repo }}/issues/1", "title": "{{ input.title }}"}),
        ),
        consented(
            "Gmail.ListEmails",
            "Lists the newest emails of the user's mailbox",
            vec![limit],
            ("google", "https://www.googleapis.com/auth/gmail.readonly"),
            json!({"emails": [{"id": "m1", "from": "someone@example.com", "subject": "Hello"}]}),
        ),
    ];
    for tool in scripted {
        let tool = of_script(tool);
        match tools.iter_mut().find(|other| other.name == tool.name) {
            Some(other) => *other = tool,
            None => tools.push(tool),
        }
    }
    tools
}

fn required(name: &str, kind: &str) -> Value {
    json!({
        "name": name,
        "required": true,
        "description": "",
        "inferrable": true,
        "value_schema": {"val_type": kind, "inner_val_type": null, "enum": null},
    })
}

fn own(name: &str, description: &str, parameters: Vec<Value>, how: How) -> Tool {
    Tool {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        description: description.to_owned(),
        parameters,
        authorization: None,
        secrets: Vec::new(),
        worker: None,
        behavior: json!({"read_only": true, "destructive": false, "idempotent": true, "open_world": false}),
        how,
    }
}

fn consented(
    name: &str,
    description: &str,
    parameters: Vec<Value>,
    (provider, scope): (&str, &str),
    result: Value,
) -> Tool {
    let scripted = ArcadeTool {
        name: name.to_owned(),
        result,
        ..ArcadeTool::default()
    };
    let reads = name.contains("List");
    Tool {
        authorization: Some(ToolAuthorization {
            provider_id: provider.to_owned(),
            scopes: vec![scope.to_owned()],
        }),
        behavior: json!({"read_only": reads, "destructive": false, "idempotent": reads, "open_world": true}),
        ..own(
            name,
            description,
            parameters,
            How::Scripted(Box::new(scripted)),
        )
    }
}

fn of_script(tool: &ArcadeTool) -> Tool {
    let behavior =
        json!({"read_only": false, "destructive": false, "idempotent": false, "open_world": true});
    Tool {
        name: tool.name.clone(),
        version: "1.0.0".to_owned(),
        description: tool.description.clone(),
        parameters: parameters(&tool.input),
        authorization: tool.authorization.clone(),
        secrets: Vec::new(),
        worker: None,
        behavior: tool.behavior.clone().unwrap_or(behavior),
        how: How::Scripted(Box::new(tool.clone())),
    }
}

/// Parameters as Arcade lists them, from `{parameters: […]}`, from the list itself, or from a JSON Schema of an object.
fn parameters(input: &Value) -> Vec<Value> {
    let listed = input.as_array().or_else(|| input["parameters"].as_array());
    if let Some(listed) = listed {
        return listed.clone();
    }
    let is_required = |name: &str| {
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
                "required": is_required(name),
                "description": schema["description"].as_str().unwrap_or_default(),
                "inferrable": true,
                "value_schema": value_schema,
            })
        })
        .collect()
}

impl Tool {
    /// A tool as its worker defines it.
    pub(super) fn of_worker(worker: &str, definition: &Value) -> Option<Self> {
        let toolkit = definition["toolkit"]["name"].as_str()?;
        let name = definition["name"].as_str()?;
        let authorization = &definition["requirements"]["authorization"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let scopes = authorization["oauth2"]["scopes"].as_array();
        let secrets = definition["requirements"]["secrets"].as_array();
        Some(Self {
            name: format!("{toolkit}.{name}"),
            version: definition["toolkit"]["version"]
                .as_str()
                .unwrap_or("1.0.0")
                .to_owned(),
            description: text(&definition["description"]),
            parameters: parameters(&definition["input"]),
            authorization: authorization.is_object().then(|| ToolAuthorization {
                provider_id: text(&authorization["provider_id"]),
                scopes: scopes.into_iter().flatten().map(text).collect(),
            }),
            secrets: secrets
                .into_iter()
                .flatten()
                .map(|secret| text(&secret["key"]))
                .collect(),
            worker: Some(worker.to_owned()),
            behavior: definition["metadata"]["behavior"].clone(),
            how: How::Worker,
        })
    }

    pub(super) fn toolkit(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// Its name without the toolkit's.
    pub(super) fn short(&self) -> &str {
        self.name
            .split_once('.')
            .map_or(&self.name, |(_, short)| short)
    }

    /// Names match whatever their case, and with `_` for the dot.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.name.replace('.', "_").eq_ignore_ascii_case(name)
    }

    /// `ToolDefinition` of the Engine; `standing` is that of the user who asks.
    pub(super) fn definition(
        &self,
        standing: Option<Standing>,
        is_kept: impl Fn(&str) -> bool,
    ) -> Value {
        let name = &self.name;
        let consented = self.authorization.is_none() || standing == Some(Standing::Completed);
        let met = consented && self.secrets.iter().all(|key| is_kept(key));
        let secrets = self
            .secrets
            .iter()
            .map(|key| json!({"key": key, "met": is_kept(key), "status_reason": ""}));
        let secrets: Vec<Value> = secrets.collect();
        let authorization = self.authorization.as_ref().map(|needed| {
            json!({
                "id": format!("arcade-{}", needed.provider_id),
                "provider_id": needed.provider_id,
                "provider_type": "oauth2",
                "oauth2": {"scopes": needed.scopes},
                "status": "active",
                "status_reason": "",
                "token_status": standing.unwrap_or(Standing::NotStarted).name(),
            })
        });
        json!({
            "name": self.short(),
            "qualified_name": name,
            "fully_qualified_name": format!("{name}@{}", self.version),
            "description": self.description,
            "toolkit": {"name": self.toolkit(), "version": self.version, "description": ""},
            "input": {"parameters": self.parameters},
            "output": {"available_modes": ["value", "error"], "description": "", "value_schema": {"val_type": "json"}},
            "requirements": {"met": met, "authorization": authorization, "secrets": secrets},
            "metadata": {"behavior": self.behavior, "classification": {"service_domains": []}, "extras": {}},
        })
    }

    /// Whether its behavior is as `{"read_only": true, …}` wants it.
    pub(super) fn behaves(&self, wanted: &Value) -> bool {
        let wanted = wanted.as_object().into_iter().flatten();
        wanted
            .filter(|(name, _)| self.behavior.get(name.as_str()).is_some())
            .all(|(name, value)| self.behavior[name] == *value)
    }

    /// The `output` of an execution with good arguments: a value or an error.
    pub(super) fn run(&self, input: &Value) -> Value {
        match &self.how {
            How::Scripted(tool) => {
                if let Some(error) = &tool.error {
                    return json!({"error": self.scripted_error(error)});
                }
                if let Some(message) = &tool.fails {
                    return json!({"error": self.error("TOOL_RUNTIME_FATAL", 500, message)});
                }
                match template::value(&tool.result, &json!({"input": input})) {
                    Ok(value) => json!({"value": value}),
                    Err(missing) => {
                        json!({"error": self.error("TOOL_RUNTIME_BAD_INPUT_VALUE", 400, &missing.to_string())})
                    }
                }
            }
            How::Add | How::Divide => {
                let number = |name: &str| input[name].as_f64().unwrap_or_default();
                let (a, b) = (number("a"), number("b"));
                if self.how == How::Divide && b == 0.0 {
                    return json!({"error": self.error("TOOL_RUNTIME_FATAL", 500, "division by zero")});
                }
                let whole = input["a"].as_i64().zip(input["b"].as_i64());
                let value = match (&self.how, whole) {
                    (How::Add, Some((a, b))) => a.checked_add(b).map(|sum| json!(sum)),
                    (How::Add, None) => Some(json!(a + b)),
                    _ => Some(json!(a / b)),
                };
                json!({"value": value})
            }
            How::Worker => json!({"error": self.error("UNKNOWN", 500, "its worker is gone")}),
        }
    }

    /// An error as a scenario gives it, with what every error has.
    fn scripted_error(&self, given: &Value) -> Value {
        let kind = given["kind"].as_str().unwrap_or("TOOL_RUNTIME_FATAL");
        let message = given["message"].as_str().unwrap_or("failed");
        let mut error = self.error(kind, 500, message);
        for (name, value) in given.as_object().into_iter().flatten() {
            error[name] = value.clone();
        }
        error
    }

    /// `output.error` of this kind.
    pub(super) fn error(&self, kind: &str, status: u16, message: &str) -> Value {
        json!({
            "kind": kind,
            "message": format!("[{kind}] ToolExecutionError during execution of tool '{}': {message}", self.name),
            "can_retry": false,
            "developer_message": message,
            "status_code": status,
            "stacktrace": format!("Traceback (most recent call last):\n  {}: {message}", self.name),
        })
    }
}
