//! One tool: its definition, what its arguments and results are checked by, how often it may be called, what runs it.

use super::endpoint::Endpoint;
use super::gate::Gate;
use super::outcome::{ToolError, ToolOutput, Violation};
use super::schema::{Schema, with_integers};
use fact_wire::{ToolDefinition, ToolKind, ToolLimits};
use serde_json::Value;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// Of a result of Arcade's or of an endpoint's, as JSON.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// A tool that can be called.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) definition: ToolDefinition,
    pub(super) gate: Gate,
    pub(super) backing: Backing,
    input: Schema,
    output: Option<Schema>,
}

/// What runs a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Backing {
    BuiltIn,
    Arcade(ArcadeCall),
    Http(Box<Endpoint>),
}

/// How a tool of Arcade's is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArcadeCall {
    /// As Arcade knows it.
    pub(super) name: String,
    /// Whether a second call does no harm.
    pub(super) repeatable: bool,
    /// Whether a person has to consent to it.
    pub(super) acts_for_a_person: bool,
    /// Whether a person's consent is all that is missing, where something is.
    pub(super) consent_is_enough: bool,
}

impl Tool {
    /// A tool with compiled schemas; what is wrong with them.
    pub(super) fn new(
        definition: ToolDefinition,
        backing: Backing,
    ) -> Result<Self, Vec<Violation>> {
        let within = |field: &'static str| {
            move |violations: Vec<Violation>| {
                let violations = violations.into_iter().map(|violation| Violation {
                    path: format!("/{field}{}", violation.path),
                    ..violation
                });
                violations.collect::<Vec<_>>()
            }
        };
        let input = Schema::compile(&definition.input_schema).map_err(within("input_schema"))?;
        let output = definition.output_schema.as_ref().map(Schema::compile);
        let output = output.transpose().map_err(within("output_schema"))?;
        let ToolLimits {
            rate_per_minute,
            max_concurrent,
            ..
        } = definition.limits;
        Ok(Self {
            gate: Gate::new(rate_per_minute, max_concurrent, Instant::now()),
            definition,
            backing,
            input,
            output,
        })
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.definition.limits.timeout_seconds).unwrap_or_default()
    }

    /// The arguments as the tool reads them, if they fit.
    pub(super) fn read<'a>(&self, arguments: &'a Value) -> Result<Cow<'a, Value>, ToolError> {
        let violations = self.input.check(arguments);
        if violations.is_empty() {
            Ok(with_integers(&self.definition.input_schema, arguments))
        } else {
            Err(ToolError::InvalidArguments { violations })
        }
    }

    /// The result, if it is what was promised. The engine's own tools keep their promises and bounds themselves.
    pub(super) fn judge(&self, output: ToolOutput) -> Result<ToolOutput, ToolError> {
        if self.definition.kind == ToolKind::BuiltIn {
            return Ok(output);
        }
        let most = self.definition.limits.max_bytes;
        let length = u64::try_from(output.result.to_string().len()).unwrap_or(u64::MAX);
        if length > most {
            return Err(too_long(most));
        }
        let violations = self
            .output
            .as_ref()
            .map(|schema| schema.check(&output.result))
            .unwrap_or_default();
        match violations.first() {
            None => Ok(output),
            Some(Violation { path, message }) => Err(ToolError::Failed(format!(
                "the tool's result does not fit its schema: `{path}` {message}"
            ))),
        }
    }
}

pub(super) fn too_long(most: u64) -> ToolError {
    ToolError::Failed(format!("the tool's result is longer than {most} bytes"))
}
