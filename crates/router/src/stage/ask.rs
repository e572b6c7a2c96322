//! What a request says, and its body as an engine is to have it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;
use router_core::{Api, Policy, Refusal, session_key};
use rules::Outline;
use wire::multipart;
use wire::openai::{Splice, scan, splice};
use wire::translate::{Reader, own_reasoning, own_thoughts};

use crate::surface::{Form, Surface};

/// Header by which an application says which part of it asks.
const FEATURE: HeaderName = HeaderName::from_static("x-quartermaster-feature");

/// A request that was read and understood.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) parts: Parts,
    /// The body as it came.
    pub(crate) body: Bytes,
    pub(crate) model: String,
    /// Where the model's name stands in the body, quotes included.
    model_span: Range<usize>,
    form: Form,
    pub(crate) stream: bool,
    /// Most tokens of each answer, if the client set a limit.
    pub(crate) max_tokens: Option<u32>,
    pub(crate) n: Option<u32>,
    pub(crate) wants: Wants,
    /// Whom the caller asks for.
    pub(crate) user: Option<String>,
    /// The part of the application that asks, as the body says.
    feature: Option<String>,
    /// What rules may ask of the body.
    pub(crate) outline: Outline,
    /// What makes the engine tell the count of tokens, when the client has not asked for it.
    usage: Option<Splice<'static>>,
}

/// What helps to choose a replica.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wants {
    /// Most tokens of all answers together, if the client set a limit.
    pub(crate) most_tokens: Option<u64>,
    /// Bytes of all that the model reads, but for encoded images, sounds and files.
    pub(crate) prompt_bytes: usize,
    /// What the request continues, as far as it says: the session, else whom the caller asks for.
    pub(crate) session: Option<String>,
}

/// A body as an engine gets it.
#[derive(Debug)]
pub(crate) struct Sent<'a> {
    /// All up to the last change.
    pub(crate) changed: Vec<u8>,
    /// The rest, as it came.
    pub(crate) rest: &'a [u8],
}

impl Sent<'_> {
    /// All of it in one piece.
    pub(crate) fn whole(&self) -> Cow<'_, [u8]> {
        match (self.changed.as_slice(), self.rest) {
            (changed, []) => changed.into(),
            ([], rest) => rest.into(),
            (changed, rest) => [changed, rest].concat().into(),
        }
    }
}

impl Ask {
    /// Reads what the body of a request at `surface` says. With `count_tokens`, a stream is made to tell the count of its
    /// tokens.
    pub(crate) fn read(surface: Surface, parts: Parts, body: Bytes, count_tokens: bool) -> Result<Self, Refusal> {
        match surface.form() {
            Form::Json => Self::of_json(parts, body, count_tokens && surface.counts_on_request()),
            Form::Multipart => Self::of_form(parts, body),
            Form::InPath => Self::of_path(parts, body),
        }
    }

    /// A request as Bedrock has it. Nothing of its body is ever changed.
    fn of_path(parts: Parts, body: Bytes) -> Result<Self, Refusal> {
        let (_, model, stream) = Surface::of_bedrock(parts.uri.path()).ok_or(Refusal::MissingModel)?;
        let model = percent_decode_str(model).decode_utf8().map_err(|_| Refusal::MissingModel)?.into_owned();
        let fields = scan(&body).map_err(Refusal::Malformed)?;
        let wants = Wants { most_tokens: fields.most_tokens(), prompt_bytes: fields.prompt_bytes, session: None };
        let (max_tokens, outline) = (fields.max_tokens, Outline::of(&fields));
        Ok(Self {
            parts,
            model,
            model_span: 0..0,
            form: Form::InPath,
            stream,
            max_tokens,
            n: None,
            wants,
            user: None,
            feature: None,
            outline,
            usage: None,
            body,
        })
    }

    fn of_json(parts: Parts, body: Bytes, count_tokens: bool) -> Result<Self, Refusal> {
        let mut fields = scan(&body).map_err(Refusal::Malformed)?;
        let model = fields.model.take().ok_or(Refusal::MissingModel)?;
        let stream = fields.stream.unwrap_or(false);
        let usage = if stream && count_tokens { fields.ask_for_usage() } else { None };
        let user = fields.user.take().map(Cow::into_owned);
        let feature = fields.feature.take().map(Cow::into_owned);
        let wants = Wants {
            most_tokens: fields.most_tokens(),
            prompt_bytes: fields.prompt_bytes,
            session: fields.session.take().map(Cow::into_owned).or_else(|| user.clone()),
        };
        let (max_tokens, n, outline) = (fields.max_tokens, fields.n, Outline::of(&fields));
        let (model, model_span) = (model.name.into_owned(), model.span);
        Ok(Self {
            parts,
            model,
            model_span,
            form: Form::Json,
            stream,
            max_tokens,
            n,
            wants,
            user,
            feature,
            outline,
            usage,
            body,
        })
    }

    fn of_form(parts: Parts, body: Bytes) -> Result<Self, Refusal> {
        let boundary = content_type(&parts.headers).and_then(multipart::boundary);
        let form = boundary.and_then(|boundary| multipart::scan(&body, boundary)).map_err(Refusal::BadForm)?;
        let (model, model_span) =
            form.model.map(|(name, span)| (name.to_owned(), span)).ok_or(Refusal::MissingModel)?;
        let user = form.user.map(str::to_owned);
        let wants = Wants { most_tokens: None, prompt_bytes: form.prompt_bytes, session: user.clone() };
        let stream = form.stream.unwrap_or(false);
        let (max_tokens, n, usage, outline) = (None, None, None, Outline::default());
        Ok(Self {
            parts,
            model,
            model_span,
            form: Form::Multipart,
            stream,
            max_tokens,
            n,
            wants,
            user,
            feature: None,
            outline,
            usage,
            body,
        })
    }

    /// The body for engines that know the model as `served`. Only the model's name and the wish for a count of tokens are
    /// ever changed.
    fn body_for(&self, served: &str) -> Sent<'_> {
        let renamed = match self.form {
            _ if served == self.model => None,
            Form::Json => Some(Splice::model(self.model_span.clone(), served)),
            Form::Multipart => Some(Splice::new(self.model_span.clone(), served.as_bytes())),
            Form::InPath => None,
        };
        let mut splices: Vec<Splice<'_>> = self.usage.iter().cloned().chain(renamed).collect();
        splices.sort_by_key(|splice| splice.span.start);
        let (changed, rest) = splice(&self.body, &splices);
        Sent { changed, rest }
    }

    /// The body for a target that takes the surface as it is: as [`Self::body_for`], without those thoughts of earlier turns
    /// that it would refuse because another target had them.
    pub(crate) fn body_as_it_came(&self, surface: Surface, api: Api, model: &str) -> Sent<'_> {
        let own = match (api, surface) {
            (Api::Anthropic, _) => own_thoughts(&self.body, model),
            (Api::OpenAi, Surface::Responses) => own_reasoning(&self.body, model, Reader::OpenAi),
            (Api::Engine, Surface::Responses) => own_reasoning(&self.body, model, Reader::Engine),
            _ => None,
        };
        own.map_or_else(|| self.body_for(model), |changed| Sent { changed, rest: &[] })
    }

    /// The part of the application that asks: by the header, else by the body's `metadata.feature`.
    pub(crate) fn feature(&self) -> Option<&str> {
        let by_header = self.parts.headers.get(FEATURE).and_then(|value| value.to_str().ok());
        by_header.or(self.feature.as_deref()).filter(|feature| !feature.is_empty())
    }

    /// What the requests of one session share: the header that the policy names, else what the body says: the session, else
    /// the user.
    pub(crate) fn session_key(&self, policy: &Policy) -> Option<u64> {
        let by_body = self.wants.session.as_deref().map(str::as_bytes);
        let name = self.session_header(policy).or(by_body)?;
        (!name.is_empty()).then(|| session_key(name))
    }

    /// The name of the session that the request belongs to, if it says one.
    pub(crate) fn session_name(&self, policy: &Policy) -> Option<&[u8]> {
        let by_body = self.wants.session.as_deref().filter(|name| self.user.as_deref() != Some(name));
        self.session_header(policy).or_else(|| by_body.map(str::as_bytes)).filter(|name| !name.is_empty())
    }

    fn session_header(&self, policy: &Policy) -> Option<&[u8]> {
        self.parts.headers.get(policy.session_header.as_ref()?).map(HeaderValue::as_bytes)
    }

    /// Whether the stream's count of tokens was asked for by the router alone.
    pub(crate) fn hides_usage(&self) -> bool {
        self.usage.is_some()
    }
}

/// The one `Content-Type` of a request.
fn content_type(headers: &HeaderMap) -> Result<&str, multipart::FormError> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok());
    value.ok_or(multipart::FormError::NoBoundary)
}
