//! Which paths are served, with which method.

use http::Method;
use router_core::Refusal;

/// A part of OpenAI's API that the router serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    ChatCompletions,
    Completions,
    Models,
}

impl Surface {
    /// Every surface that engines answer, in the order of [`Surface::index`].
    pub(crate) const ENGINE: [Self; 2] = [Self::ChatCompletions, Self::Completions];

    /// What a request line asks for.
    pub(crate) fn of(method: &Method, path: &str) -> Result<Self, Refusal> {
        let surface = match path {
            "/v1/chat/completions" => Self::ChatCompletions,
            "/v1/completions" => Self::Completions,
            "/v1/models" => Self::Models,
            _ => return Err(Refusal::unknown_path(path)),
        };
        let allow = surface.method();
        if method == allow { Ok(surface) } else { Err(Refusal::WrongMethod { allow }) }
    }

    fn method(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Completions => "POST",
            Self::Models => "GET",
        }
    }

    /// The label of metrics and the field of log lines.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Models => "models",
        }
    }

    /// Place among [`Surface::ENGINE`]; the models list has none.
    pub(crate) fn index(self) -> Option<usize> {
        Self::ENGINE.iter().position(|surface| *surface == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_these_and_no_others() {
        let cases = [
            ("POST", "/v1/chat/completions", Ok(Surface::ChatCompletions)),
            ("POST", "/v1/completions", Ok(Surface::Completions)),
            ("GET", "/v1/models", Ok(Surface::Models)),
            ("GET", "/v1/completions", Err(Refusal::WrongMethod { allow: "POST" })),
            ("HEAD", "/v1/models", Err(Refusal::WrongMethod { allow: "GET" })),
            ("POST", "/v1/chat/completions/", Err(Refusal::unknown_path("/v1/chat/completions/"))),
            ("GET", "/metrics", Err(Refusal::unknown_path("/metrics"))),
            ("POST", "/v1/load_lora_adapter", Err(Refusal::unknown_path("/v1/load_lora_adapter"))),
        ];
        for (method, path, want) in cases {
            assert_eq!(Surface::of(&Method::from_bytes(method.as_bytes()).unwrap(), path), want, "{method} {path}");
        }
    }
}
