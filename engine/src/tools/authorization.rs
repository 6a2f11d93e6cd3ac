//! A person's way to a tool that needs consent: begun for one that does, finished for whoever comes back.

use super::tool::{Backing, Tool};
use super::{ToolError, Tools, absent};
use crate::auth::Principal;
use crate::consent::{BeginError, Begun, FinishError, KeepError, Whose};
use std::sync::Arc;
use tokio::time::Instant;

/// What a person still has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// Nothing.
    Given,
    /// To go there; Arcade hears itself that it is done.
    AtArcade { url: String },
    /// To go there and come back.
    Begun(Begun),
}

/// Why a person is not sent anywhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorizeError {
    #[error("this tool needs nobody's consent")]
    NotNeeded,
    #[error(transparent)]
    Begin(#[from] BeginError),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// A person who came back: to which tool, where that is known, and what became of it.
pub(crate) struct Finished {
    pub(crate) tool: Option<String>,
    pub(crate) outcome: Result<(), FinishError>,
}

impl Tools {
    /// Begins what a person has to do before the tool acts for them. The tool must be granted.
    pub(crate) async fn authorize(
        &self,
        principal: &Principal,
        person: &str,
        name: &str,
    ) -> Result<Authorization, AuthorizeError> {
        let tool = self.granted(principal, name)?;
        match &tool.backing {
            Backing::BuiltIn => Err(AuthorizeError::NotNeeded),
            Backing::Arcade(call) => self.authorize_at_arcade(&tool, &call.name, person).await,
            Backing::Http(endpoint) => {
                let provider = endpoint.provider().ok_or(AuthorizeError::NotNeeded)?;
                let client = &principal.client;
                let whose = Whose::new(&client.tenant, person, name);
                let given = self.consents.is_given(&whose, provider).await;
                if given.map_err(|error| BeginError::Keep(KeepError::from(error)))? {
                    return Ok(Authorization::Given);
                }
                let begun = self.consents.begin(&client.id, &whose, provider).await?;
                Ok(Authorization::Begun(begun))
            }
        }
    }

    /// `name`: as Arcade knows the tool.
    async fn authorize_at_arcade(
        &self,
        tool: &Arc<Tool>,
        name: &str,
        person: &str,
    ) -> Result<Authorization, AuthorizeError> {
        let arcade = self.arcade.as_ref().ok_or_else(absent)?;
        let known = arcade.tools().get(name).cloned().ok_or_else(absent)?;
        match &known.backing {
            Backing::Arcade(call) if call.acts_for_a_person => {}
            _ => return Err(AuthorizeError::NotNeeded),
        }
        let deadline = Instant::now() + tool.timeout();
        Ok(match arcade.authorize(name, person, deadline).await? {
            None => Authorization::Given,
            Some(url) => Authorization::AtArcade { url },
        })
    }

    /// Finishes what the principal began.
    pub(crate) async fn finish_authorization(
        &self,
        principal: &Principal,
        state: &str,
        code: &str,
    ) -> Finished {
        let client = &principal.client;
        let who = (client.tenant.as_str(), client.id.as_str());
        let returned = match self.consents.take(who, state).await {
            Ok(returned) => returned,
            Err(error) => {
                return Finished {
                    tool: None,
                    outcome: Err(error),
                };
            }
        };
        let tool = returned.tool().to_owned();
        // It may have been removed, or be another one by now.
        let found = self.find(&client.tenant, &tool);
        let provider = found.and_then(|tool| match &tool.backing {
            Backing::Http(endpoint) => endpoint.provider().cloned(),
            _ => None,
        });
        let outcome = match provider {
            Some(provider) => {
                let code = code.to_owned();
                self.consents.finish(returned, provider, code).await
            }
            None => Err(FinishError::State),
        };
        Finished {
            tool: Some(tool),
            outcome,
        }
    }
}
