//! Which of its tools a model may call, as OpenAI's shapes say it.

use serde_json::value::RawValue;

use crate::translate::json::{Object, Read, cannot, invalid, list, text};
use crate::unified::{Tool, ToolChoice};

/// What is said of the choice, and the names of the tools that it is among where these are not all.
pub(crate) struct Choice {
    said: ToolChoice,
    among: Option<Vec<String>>,
}

impl From<ToolChoice> for Choice {
    fn from(said: ToolChoice) -> Self {
        Self { said, among: None }
    }
}

impl Choice {
    /// One word.
    pub(crate) fn word(raw: &RawValue) -> Read<Self> {
        match text(raw)?.as_str() {
            "auto" => Ok(ToolChoice::Auto.into()),
            "none" => Ok(ToolChoice::None.into()),
            "required" => Ok(ToolChoice::Any.into()),
            _ => Err(invalid("expected auto, none, required or an object")),
        }
    }

    /// `mode` and `tools` of a choice among some; `name` takes a function's name out of what stands for it.
    pub(crate) fn among(o: &mut Object<'_>, name: impl Fn(&mut Object<'_>) -> Read<String>) -> Read<Self> {
        let said = match o.need("mode", text)?.as_str() {
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Any,
            _ => return Err(invalid("expected auto or required").within("mode")),
        };
        let among = o.need("tools", |raw| {
            list(raw, |raw| {
                let mut o = Object::read(raw)?;
                o.only("type", &[r#""function""#], "only functions are translated")?;
                let name = name(&mut o)?;
                o.end()?;
                Ok(name)
            })
        })?;
        Ok(Self { said, among: Some(among) })
    }

    /// Leaves out of the tools those that it is not among, and gives what is left to say.
    pub(crate) fn of(self, tools: &mut Vec<Tool>) -> Read<ToolChoice> {
        let Some(among) = self.among else { return Ok(self.said) };
        if among.is_empty() || !among.iter().all(|name| tools.iter().any(|tool| tool.name == *name)) {
            return Err(invalid("expected names of functions that `tools` has").within("tools"));
        }
        tools.retain(|tool| among.contains(&tool.name));
        Ok(self.said)
    }
}

/// Refuses other ways of choosing.
pub(crate) fn unknown() -> crate::translate::Untranslatable {
    cannot("only the choice of one function, or among some, is translated").within("type")
}
